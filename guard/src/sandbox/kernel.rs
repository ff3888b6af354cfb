//! What a kernel can enforce, from the version of its Landlock interface, and whether that is
//! enough.

use super::SandboxFeature;
use crate::diagnostic::{Code, Denial};

/// What the running kernel offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// The version of Landlock's interface; `None` where it is missing or switched off.
    pub landlock: Option<u32>,
    /// Whether system calls can be filtered.
    pub seccomp: bool,
}

/// Something that kernels learnt at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct KernelFeature {
    /// What it is.
    pub name: &'static str,
    /// The version of Landlock's interface that has it.
    pub landlock: u32,
    /// The version of Linux that came with it.
    pub linux: &'static str,
    /// The entry of `[sandbox] require` that needs it.
    pub needed_for: Option<SandboxFeature>,
    /// What goes on without it.
    pub without: &'static str,
}

#[rustfmt::skip]
const FEATURES: &[KernelFeature] = &[
    KernelFeature { name: "rules on files", landlock: 1, linux: "5.13", needed_for: Some(SandboxFeature::Fs),
        without: "the program may use every file of its user" },
    KernelFeature { name: "moving files between directories", landlock: 2, linux: "5.19", needed_for: None,
        without: "it is refused, even within the worktree" },
    KernelFeature { name: "rules on truncation", landlock: 3, linux: "6.2", needed_for: None,
        without: "the program may empty files that its user can write" },
    KernelFeature { name: "rules on TCP ports", landlock: 4, linux: "6.7", needed_for: Some(SandboxFeature::Tcp),
        without: "the program may bind and connect to every port" },
    KernelFeature { name: "rules on device controls", landlock: 5, linux: "6.10", needed_for: None,
        without: "devices that the program may open take every control" },
    KernelFeature { name: "scopes of signals and abstract sockets", landlock: 6, linux: "6.12",
        needed_for: Some(SandboxFeature::Scope),
        without: "the program may signal every process of its user" },
    KernelFeature { name: "rules on Unix sockets in the file system", landlock: 9, linux: "7.1", needed_for: None,
        without: "the filter of system calls alone keeps the program from them" },
];

impl Kernel {
    /// Returns what kernels learnt, in order.
    #[must_use]
    pub fn features() -> &'static [KernelFeature] {
        FEATURES
    }

    /// Returns whether this kernel has something.
    #[must_use]
    pub fn has(self, feature: &KernelFeature) -> bool {
        self.landlock.is_some_and(|version| version >= feature.landlock)
    }

    /// Returns what this kernel can enforce as a whole.
    #[must_use]
    pub fn enforceable(self) -> Vec<SandboxFeature> {
        let all = SandboxFeature::ALL.into_iter();
        all.filter(|feature| self.seccomp && self.lacks(*feature).is_none()).collect()
    }

    /// Returns the line of `[sandbox]` that demands what this kernel can enforce.
    #[must_use]
    pub fn fitting_line(self) -> String {
        let quoted = |feature: SandboxFeature| format!("\"{feature}\"");
        let features: Vec<String> = self.enforceable().into_iter().map(quoted).collect();
        format!("require = [{}]", features.join(", "))
    }

    fn lacks(self, wanted: SandboxFeature) -> Option<&'static KernelFeature> {
        FEATURES.iter().find(|f| f.needed_for == Some(wanted) && !self.has(f))
    }

    /// Requires that this kernel can enforce every one of these.
    ///
    /// # Errors
    /// Names what is missing, and the line that would fit.
    pub fn require(self, features: &[SandboxFeature]) -> Result<(), Denial> {
        let missing = |feature: &SandboxFeature| {
            let lacks = self.lacks(*feature);
            lacks.map(|f| format!("`{feature}` needs Linux {} ({})", f.linux, f.name))
        };
        let mut missing: Vec<String> = features.iter().filter_map(missing).collect();
        if !self.seccomp && !features.is_empty() {
            missing.push("every rule needs a kernel with seccomp filters".to_owned());
        }
        if missing.is_empty() {
            return Ok(());
        }
        let has = self.landlock.map_or_else(
            || "a kernel without Landlock, or with Landlock switched off".to_owned(),
            |version| format!("a kernel with version {version} of Landlock"),
        );
        Err(Denial::new(
            Code::SandboxUnavailable,
            "this kernel cannot enforce what `[sandbox] require` demands",
            has,
            missing.join("; "),
        )
        .help(format!(
            "Use a newer kernel. What this one enforces is `{}`; `runtime-wrapper probe` says what \
             is lost.",
            self.fitting_line()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(landlock: u32) -> Kernel {
        Kernel { landlock: Some(landlock), seccomp: true }
    }

    #[test]
    fn each_kernel_has_the_line_that_fits() {
        let none = Kernel { landlock: None, seccomp: true };
        let unfiltered = Kernel { landlock: Some(7), seccomp: false };
        for (kernel, line) in [
            (none, "require = []"),
            (unfiltered, "require = []"),
            (kernel(2), "require = [\"fs\"]"),
            (kernel(4), "require = [\"fs\", \"tcp\"]"),
            (kernel(5), "require = [\"fs\", \"tcp\"]"),
            (kernel(6), "require = [\"fs\", \"tcp\", \"scope\"]"),
            (kernel(10), "require = [\"fs\", \"tcp\", \"scope\"]"),
        ] {
            assert_eq!(kernel.fitting_line(), line, "{kernel:?}");
            assert!(kernel.require(&kernel.enforceable()).is_ok(), "{kernel:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named_beside_the_line_that_fits() {
        let denial = kernel(2).require(&SandboxFeature::ALL).unwrap_err();
        assert_eq!(denial.code(), Code::SandboxUnavailable);
        assert!(denial.expected().contains("`tcp` needs Linux 6.7"), "{denial}");
        assert!(denial.expected().contains("`scope` needs Linux 6.12"), "{denial}");
        assert!(!denial.expected().contains("`fs`"), "{denial}");
        assert!(denial.next_step().contains("`require = [\"fs\"]`"), "{denial:?}");
        let unfiltered = Kernel { landlock: Some(7), seccomp: false };
        assert!(unfiltered.require(&[SandboxFeature::Fs]).is_err());
        assert!(unfiltered.require(&[]).is_ok(), "nothing is demanded");
    }
}
