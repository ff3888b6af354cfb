//! The limits of resources that every program starts with; they can be lowered, never raised.

/// A resource of a process that has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// The size of a memory dump, in bytes.
    Core,
    /// Open descriptors.
    Nofile,
    /// Processes and threads of the user.
    Nproc,
}

impl std::fmt::Display for Resource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Core => "memory dumps",
            Self::Nofile => "open files",
            Self::Nproc => "processes",
        })
    }
}

/// The most that a program may have of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Limit {
    /// The resource.
    pub resource: Resource,
    /// What it starts with.
    pub soft: u64,
    /// What it may raise that to.
    pub hard: u64,
}

/// Every limit. One that the parent has set lower stays as it is.
///
/// A dump of one byte is none: unlike 0, it also stops a `core_pattern` that pipes to a program.
pub const LIMITS: [Limit; 3] = [
    Limit { resource: Resource::Core, soft: 1, hard: 1 },
    Limit { resource: Resource::Nofile, soft: 4096, hard: 65_536 },
    Limit { resource: Resource::Nproc, soft: 4096, hard: 4096 },
];
