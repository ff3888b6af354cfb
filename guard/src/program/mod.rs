//! The allowlist of programs: what may be started, with which arguments.
//!
//! Pure: whether the file at the path is safe to run is read by [`crate::io`].

mod launder;

use crate::diagnostic::{Code, Denial, shown};
use crate::slot::SlotId;

/// One entry of `[programs]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramEntry {
    /// The key under `[programs]`.
    pub key: String,
    /// The absolute path, compared as text with what is asked for.
    pub path: String,
    /// The arguments, exact; `{slot}` in one stands for the slot's number.
    pub args: Vec<String>,
    /// Whether further arguments may follow (the list ended with `"..."`).
    pub open_ended: bool,
}

/// The programs that may be started.
#[derive(Debug, Clone, Default)]
pub struct Programs(Vec<ProgramEntry>);

/// Proof that a program with its arguments is on the allowlist.
///
/// ```
/// use guard::program::{ProgramEntry, Programs};
/// let entry = ProgramEntry {
///     key: "backend".into(), path: "/usr/bin/node".into(), args: vec![], open_ended: true,
/// };
/// let slot = "preview-1".parse().unwrap();
/// let approved =
///     Programs::new(vec![entry]).approve(slot, "/usr/bin/node", &["server.js".into()]).unwrap();
/// assert_eq!(approved.path(), "/usr/bin/node");
/// ```
///
/// ```compile_fail
/// use guard::program::{ApprovedProgram, ProgramEntry, Programs};
/// let entry = ProgramEntry {
///     key: "backend".into(), path: "/usr/bin/node".into(), args: vec![], open_ended: true,
/// };
/// let slot: guard::slot::SlotId = "preview-1".parse().unwrap();
/// let approved = ApprovedProgram { key: entry.key, path: entry.path, args: vec!["server.js".into()] };
/// assert_eq!(approved.path(), "/usr/bin/node");
/// ```
#[derive(Debug)]
pub struct ApprovedProgram {
    key: String,
    path: String,
    args: Vec<String>,
}

impl ApprovedProgram {
    /// Returns the key of the entry that allowed it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Returns the absolute path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the arguments.
    #[must_use]
    pub fn args(&self) -> &[String] {
        &self.args
    }
}

impl Programs {
    /// Builds the allowlist.
    #[must_use]
    pub fn new(entries: Vec<ProgramEntry>) -> Self {
        Self(entries)
    }

    /// Approves a program with its arguments (contract clauses SE-1 and NC-2).
    ///
    /// # Errors
    /// Refuses container runtimes whatever is configured, a path without an entry, arguments that no
    /// entry of the path allows, and programs that would run another one or a text. Arguments are not
    /// repeated: they may hold secrets.
    pub fn approve(
        &self,
        slot: SlotId,
        path: &str,
        args: &[String],
    ) -> Result<ApprovedProgram, Denial> {
        self.approve_where(path, args, |entry| entry.allows(slot, args))
    }

    fn approve_where(
        &self,
        path: &str,
        args: &[String],
        allows: impl Fn(&ProgramEntry) -> bool,
    ) -> Result<ApprovedProgram, Denial> {
        refuse_container(path, path)?;
        let same_path: Vec<&ProgramEntry> = self.0.iter().filter(|e| e.path == path).collect();
        if same_path.is_empty() {
            return Err(Denial::new(
                Code::ProgramNotAllowed,
                format!("`{}` is not an allowed program", shown(path)),
                format!("program `{}`", shown(path)),
                self.describe(),
            ));
        }
        let entry = same_path.iter().find(|entry| allows(entry)).ok_or_else(|| {
            let allowed: Vec<String> = same_path.iter().map(|entry| entry.describe()).collect();
            Denial::new(
                Code::ProgramArguments,
                format!("`{}` is not allowed with these arguments", shown(path)),
                match args.len() {
                    1 => "1 argument that no entry has".to_owned(),
                    count => format!("{count} arguments that no entry has"),
                },
                allowed.join(" or "),
            )
        })?;
        approve_entry(entry, args.to_vec())
    }

    /// Approves the program of one entry, with further arguments behind those of the entry.
    ///
    /// # Errors
    /// Refuses a key without an entry, and otherwise as [`Programs::approve`] does.
    pub fn approve_key(
        &self,
        slot: SlotId,
        key: &str,
        further: &[String],
    ) -> Result<ApprovedProgram, Denial> {
        let entry = self.0.iter().find(|entry| entry.key == key).ok_or_else(|| {
            let keys: Vec<String> = self.0.iter().map(|e| format!("`{}`", shown(&e.key))).collect();
            let expected = if keys.is_empty() {
                "an entry under `[programs]`; there is none".to_owned()
            } else {
                keys.join(" or ")
            };
            let message = format!("no program is allowed as `{}`", shown(key));
            Denial::new(Code::ProgramKey, message, format!("key `{}`", shown(key)), expected)
        })?;
        refuse_container(&entry.path, &entry.path)?;
        if !further.is_empty() && !entry.open_ended {
            return Err(Denial::new(
                Code::ProgramArguments,
                format!("`{}` is not allowed with further arguments", shown(&entry.path)),
                format!("{} further arguments", further.len()),
                entry.describe(),
            ));
        }
        let own = entry.args.iter().map(|argument| render_argument(slot, argument));
        approve_entry(entry, own.chain(further.iter().cloned()).collect())
    }

    /// Approves a program that acts for no slot: path and arguments must be those of an entry.
    ///
    /// # Errors
    /// Refuses as [`Programs::approve`] does, and arguments beyond those of the entry.
    pub fn approve_exactly(&self, path: &str, args: &[String]) -> Result<ApprovedProgram, Denial> {
        self.approve_where(path, args, |entry| entry.args == args)
    }

    fn describe(&self) -> String {
        if self.0.is_empty() {
            return "an entry under `[programs]`; there is none".to_owned();
        }
        let paths: Vec<String> = self.0.iter().map(|entry| format!("`{}`", entry.path)).collect();
        paths.join(" or ")
    }
}

impl ProgramEntry {
    fn allows(&self, slot: SlotId, args: &[String]) -> bool {
        let same = |(own, given): (&String, &String)| render_argument(slot, own) == *given;
        let enough =
            args.len() == self.args.len() || self.open_ended && args.len() > self.args.len();
        enough && self.args.iter().zip(args).all(same)
    }

    fn describe(&self) -> String {
        let mut words = vec![self.path.as_str()];
        words.extend(self.args.iter().map(String::as_str));
        words.extend(self.open_ended.then_some("…"));
        format!("`{}`", words.join(" "))
    }
}

fn render_argument(slot: SlotId, argument: &str) -> String {
    argument.replace("{slot}", &slot.number().to_string())
}

fn approve_entry(entry: &ProgramEntry, args: Vec<String>) -> Result<ApprovedProgram, Denial> {
    let (key, path) = (entry.key.clone(), entry.path.clone());
    let program = ApprovedProgram { key, path, args };
    refuse_laundering(&program, &entry.path)?;
    Ok(program)
}

/// Container runtimes, their clients and orchestrators, by file name.
const CONTAINER_RUNTIMES: &[&str] = &[
    "apptainer",
    "buildah",
    "colima",
    "conmon",
    "containerd",
    "containerd-shim",
    "containerd-shim-runc-v2",
    "crictl",
    "crun",
    "ctr",
    "docker",
    "docker-compose",
    "docker-init",
    "docker-proxy",
    "docker.io",
    "dockerd",
    "finch",
    "helm",
    "incus",
    "k0s",
    "k3s",
    "kind",
    "kubeadm",
    "kubectl",
    "kubelet",
    "limactl",
    "lxc",
    "lxc-attach",
    "lxc-execute",
    "lxc-start",
    "lxd",
    "machinectl",
    "microk8s",
    "minikube",
    "nerdctl",
    "oc",
    "podman",
    "podman-compose",
    "podman-remote",
    "rootlesskit",
    "runc",
    "runsc",
    "singularity",
    "skopeo",
    "systemd-nspawn",
    "youki",
];

/// Programs that are many: they do what the name says that they were called by.
#[cfg(feature = "io")]
const MULTI_CALL: &[&str] = &["busybox", "coreutils", "toybox"];

/// Judges a program by where its path leads when links are followed.
#[cfg(feature = "io")]
pub(crate) fn refuse_what_it_is(program: &ApprovedProgram, real: &str) -> Result<(), Denial> {
    refuse_container(program.path(), real)?;
    if MULTI_CALL.contains(&file_name(real)) {
        return Ok(());
    }
    refuse_laundering(program, real)
}

fn refuse_laundering(program: &ApprovedProgram, real: &str) -> Result<(), Denial> {
    let ApprovedProgram { key, path, args } = program;
    let Some(reason) = launder::reason_against(real, args) else { return Ok(()) };
    Err(Denial::new(
        Code::LaunderingProgram,
        format!("`{}` would run something that is on no list", shown(path)),
        format!("`{}` of `[programs.{}]`: {reason}", shown(real), shown(key)),
        "the program itself, or an interpreter with a script",
    ))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn refuse_container(path: &str, real: &str) -> Result<(), Denial> {
    if CONTAINER_RUNTIMES.contains(&file_name(real)) {
        return Err(Denial::new(
            Code::ContainerRuntime,
            format!("`{}` is a container runtime", shown(path)),
            format!("program `{}`", shown(path)),
            "a host process",
        ));
    }
    Ok(())
}

/// Makes an entry as the configuration would, for tests.
#[cfg(test)]
pub(crate) fn entry(key: &str, path: &str, args: &[&str], open_ended: bool) -> ProgramEntry {
    ProgramEntry {
        key: key.to_owned(),
        path: path.to_owned(),
        args: args.iter().map(ToString::to_string).collect(),
        open_ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Programs {
        Programs::new(vec![
            entry("backend", "/usr/bin/node", &["server.js"], false),
            entry("tool", "/usr/bin/tool", &["run"], true),
            entry("box", "/usr/bin/docker", &[], true),
            entry("shell", "/bin/sh", &[], true),
            entry("web", "/usr/bin/web", &["--port", "810{slot}"], false),
        ])
    }

    fn slot() -> SlotId {
        "preview-2".parse().unwrap()
    }

    fn code(path: &str, args: &[&str]) -> Option<Code> {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        programs().approve(slot(), path, &args).err().map(|denial| denial.code())
    }

    #[test]
    fn se_1_only_listed_programs_with_listed_arguments_pass() {
        assert_eq!(code("/usr/bin/node", &["server.js"]), None);
        assert_eq!(code("/usr/bin/node", &["server.js", "-x"]), Some(Code::ProgramArguments));
        assert_eq!(code("/usr/bin/node", &["-e", "x"]), Some(Code::ProgramArguments));
        assert_eq!(code("/usr/bin/node", &[]), Some(Code::ProgramArguments));
        assert_eq!(code("/usr/bin/tool", &["run", "anything"]), None);
        for path in ["node", "/usr/bin/../bin/node", "/bin/bash", "", "/usr/bin/node\0"] {
            assert_eq!(code(path, &["server.js"]), Some(Code::ProgramNotAllowed), "{path:?}");
        }
    }

    #[test]
    fn without_a_slot_an_entry_allows_its_own_arguments_only() {
        let code = |path: &str, args: &[&str]| {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            programs().approve_exactly(path, &args).err().map(|denial| denial.code())
        };
        assert_eq!(code("/usr/bin/node", &["server.js"]), None);
        assert_eq!(code("/usr/bin/tool", &["run"]), None);
        assert_eq!(code("/usr/bin/tool", &["run", "anything"]), Some(Code::ProgramArguments));
        assert_eq!(code("/usr/bin/web", &["--port", "8102"]), Some(Code::ProgramArguments));
        assert_eq!(code("/usr/bin/docker", &[]), Some(Code::ContainerRuntime));
        assert_eq!(code("/bin/sh", &[]), Some(Code::LaunderingProgram));
    }

    #[test]
    fn an_argument_can_be_a_template_of_the_slot() {
        assert_eq!(code("/usr/bin/web", &["--port", "8102"]), None);
        for port in ["8101", "810{slot}", "81022"] {
            assert_eq!(code("/usr/bin/web", &["--port", port]), Some(Code::ProgramArguments));
        }
    }

    #[test]
    fn se_1_an_entry_for_a_shell_allows_scripts_but_no_text() {
        assert_eq!(code("/bin/sh", &["start.sh"]), None);
        assert_eq!(code("/bin/sh", &["-c", "id"]), Some(Code::LaunderingProgram));
    }

    #[test]
    fn nc_2_container_runtimes_are_refused_even_when_listed() {
        assert_eq!(code("/usr/bin/docker", &["run"]), Some(Code::ContainerRuntime));
        assert_eq!(code("/opt/bin/podman", &[]), Some(Code::ContainerRuntime));
        assert_eq!(code("/opt/bin/docker.io", &[]), Some(Code::ContainerRuntime));
        assert_eq!(code("/opt/bin/dockerfile-lint", &[]), Some(Code::ProgramNotAllowed));
    }

    #[test]
    fn se_1_a_key_stands_for_its_entry_and_allows_no_more() {
        let approve = |key: &str, further: &[&str]| {
            let further: Vec<String> = further.iter().map(ToString::to_string).collect();
            programs().approve_key(slot(), key, &further)
        };
        let code = |key, further: &[&str]| approve(key, further).err().map(|d| d.code());
        assert_eq!(approve("web", &[]).unwrap().args(), ["--port", "8102"]);
        assert_eq!(approve("tool", &["x"]).unwrap().args(), ["run", "x"]);
        assert_eq!(code("backend", &[]), None);
        assert_eq!(code("backend", &["x"]), Some(Code::ProgramArguments));
        assert_eq!(code("shell", &["-c", "id"]), Some(Code::LaunderingProgram));
        assert_eq!(code("box", &[]), Some(Code::ContainerRuntime));
        assert_eq!(code("/usr/bin/node", &[]), Some(Code::ProgramKey));
    }

    #[test]
    fn arguments_are_not_repeated() {
        let denial =
            programs().approve(slot(), "/usr/bin/node", &["hunter2".to_owned()]).unwrap_err();
        assert!(!format!("{denial:?}").contains("hunter2"));
    }
}
