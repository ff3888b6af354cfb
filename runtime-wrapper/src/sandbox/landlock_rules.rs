//! The rules of Landlock: files, TCP ports, and what lies outside of the program's own scope.
//!
//! Only rights that the running kernel has are asked for, and of those all or nothing.

use guard::diagnostic::Denial;
use guard::sandbox::{Access, SandboxFeature, UnixSockets};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    RulesetError, RulesetStatus, Scope,
};

use super::rules::HeldRule;
use super::{Sandbox, incomplete};

const STEP: &str = "Landlock";

/// Has Landlock enforce the rules on this process.
///
/// # Errors
/// Refuses when the kernel does not take all of them.
pub(super) fn restrict(sandbox: &Sandbox) -> Result<(), Denial> {
    let status = build(sandbox).map_err(|error| incomplete(STEP, &describe(&error)))?;
    if status.ruleset == RulesetStatus::FullyEnforced && status.no_new_privs {
        return Ok(());
    }
    Err(incomplete(STEP, &format!("{:?}", status.ruleset)))
}

/// The crate keeps the reason in the chain below its own words.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

fn build(sandbox: &Sandbox) -> Result<RestrictionStatus, RulesetError> {
    let demand = &sandbox.demand;
    let abi = abi(sandbox.kernel.landlock.unwrap_or_default());
    let handled = handled_files(abi, demand.unix_sockets);
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    if demand.includes(SandboxFeature::Fs) {
        ruleset = ruleset.handle_access(handled)?;
    }
    if demand.includes(SandboxFeature::Tcp) {
        ruleset = ruleset.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?;
    }
    if demand.includes(SandboxFeature::Scope) {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket | Scope::Signal)?;
    }
    let mut created = ruleset.create()?;
    for held in &sandbox.rules {
        let rights = rights(held, abi) & handled;
        created = created.add_rule(PathBeneath::new(held.handle(), rights))?;
    }
    if demand.includes(SandboxFeature::Tcp) {
        for port in &demand.bind_tcp {
            created = created.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        for port in &demand.connect_tcp {
            created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    created.restrict_self()
}

/// The highest interface that both the kernel and the rules here know.
fn abi(version: u32) -> ABI {
    match version {
        0 => ABI::Unsupported,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        6 => ABI::V6,
        7 => ABI::V7,
        8 => ABI::V8,
        _ => ABI::V9,
    }
}

/// No rule opens a Unix socket, so where the policy lets the program open some, the kernel must not
/// be asked to look at them.
fn handled_files(abi: ABI, unix_sockets: UnixSockets) -> BitFlags<AccessFs> {
    let all = AccessFs::from_all(abi);
    if unix_sockets == UnixSockets::Deny {
        all
    } else {
        all & !BitFlags::from(AccessFs::ResolveUnix)
    }
}

fn rights(held: &HeldRule, abi: ABI) -> BitFlags<AccessFs> {
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let rights = match held.rule().access {
        Access::Read => read,
        Access::ReadExecute => read | AccessFs::Execute,
        Access::ReadWrite => read | AccessFs::WriteFile | AccessFs::Truncate,
        Access::Full => AccessFs::from_all(abi) & !(devices | AccessFs::ResolveUnix),
    };
    // A right on entries, given to a file, would be refused by the kernel.
    if held.is_directory { rights } else { rights & AccessFs::from_file(abi) }
}
