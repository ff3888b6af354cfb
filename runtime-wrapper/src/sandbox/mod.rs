//! The kernel's rules for one program: opened when the start is planned, enforced just before it.
//!
//! What is demanded is decided in `guard::sandbox`. Here it is turned into rules on handles that are
//! held open, so that nothing is looked up again once it was checked.

mod filter;
mod landlock_rules;
mod program_tree;
mod rules;

use guard::diagnostic::{Code, Denial};
use guard::program::ApprovedProgram;
use guard::sandbox::{Demand, FileRule, Kernel, SandboxFeature, Udp, UnixSockets};
use serde::Serialize;

use crate::places::Places;
use crate::sys;
use rules::HeldRule;

/// Rules for one program, ready to be enforced.
#[derive(Debug)]
pub(crate) struct Sandbox {
    demand: Demand,
    kernel: Kernel,
    rules: Vec<HeldRule>,
}

/// What the kernel enforces; part of every start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enforced {
    /// The kinds of rules; empty when the sandbox is off.
    pub enforced: Vec<SandboxFeature>,
    /// The version of Landlock's interface.
    pub landlock: Option<u32>,
    /// Whether system calls are filtered.
    pub filter: bool,
    /// The ports that the program may bind; `null` for all.
    pub bind_tcp: Option<Vec<u16>>,
    /// The ports that the program may connect to; `null` for all.
    pub connect_tcp: Option<Vec<u16>>,
    /// Which Unix sockets it may open.
    pub unix_sockets: UnixSockets,
    /// Whether it may open UDP sockets.
    pub udp: Udp,
}

impl std::fmt::Display for Enforced {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.enforced.is_empty() {
            return formatter.write_str("off");
        }
        let names: Vec<String> = self.enforced.iter().map(ToString::to_string).collect();
        formatter.write_str(&names.join(", "))
    }
}

/// Returns what the running kernel offers.
pub(crate) fn kernel() -> Kernel {
    Kernel { landlock: sys::landlock_version(), seccomp: sys::can_filter_calls() }
}

impl Sandbox {
    /// Opens what the program may use.
    ///
    /// # Errors
    /// Refuses configured paths that cannot be opened, and a program whose own libraries would stay
    /// closed to it.
    pub(crate) fn prepare(
        demand: Demand,
        program: &ApprovedProgram,
        places: &Places,
    ) -> Result<Self, Denial> {
        let kernel = kernel();
        let mut rules = Vec::new();
        if demand.includes(SandboxFeature::Fs) {
            rules = rules::open(&demand.files)?;
            rules.extend(program_tree::rule(program, &demand.files, places)?);
            rules.extend(rules::of_places(places)?);
        }
        Ok(Self { demand, kernel, rules })
    }

    /// Has the kernel enforce the rules on this process, for good.
    ///
    /// # Errors
    /// Refuses when any of them is not enforced as a whole.
    pub(crate) fn enforce(&self) -> Result<(), Denial> {
        if self.is_off() {
            return Ok(());
        }
        landlock_rules::restrict(self)?;
        filter::install(&self.demand).map_err(|error| incomplete("the filter", &error))
    }

    pub(crate) fn is_off(&self) -> bool {
        self.demand.features.is_empty()
    }

    /// Returns the rules on files.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &FileRule> {
        self.rules.iter().map(HeldRule::rule)
    }

    /// Says what is enforced.
    pub(crate) fn enforced(&self) -> Enforced {
        let off = self.is_off();
        let tcp = self.demand.includes(SandboxFeature::Tcp);
        Enforced {
            enforced: self.demand.features.clone(),
            landlock: self.kernel.landlock.filter(|_| !off),
            filter: !off,
            bind_tcp: tcp.then(|| self.demand.bind_tcp.clone()),
            connect_tcp: tcp.then(|| self.demand.connect_tcp.clone()),
            unix_sockets: if off { UnixSockets::Allow } else { self.demand.unix_sockets },
            udp: if off { Udp::Allow } else { self.demand.udp },
        }
    }
}

/// A step that the kernel refused although it offers what the step needs.
pub(crate) fn incomplete(step: &str, error: &impl std::fmt::Display) -> Denial {
    Denial::new(
        Code::SandboxIncomplete,
        format!("a step of the confinement failed: {step}"),
        error.to_string(),
        "a kernel that takes every step",
    )
}
