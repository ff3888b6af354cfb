//! Where a slot's sidecar leaves what its backend needs to be let in, and reading it.
//!
//! The sidecar makes a secret at its start and writes it where the slot's user can read it. What a
//! client proves is that secret together with the generation of the lease under which it was
//! started: a backend of a former holder does not have the password of the next one.

use std::os::fd::OwnedFd;

use guard::config::{Config, Manager, Roots};
use guard::diagnostic::{Code, Denial};
use guard::io::{FileProblem, Root, SafeFile};
use guard::path::AbsolutePath;
use guard::secret::Secret;
use guard::slot::SlotId;

use crate::lease::Generation;
use crate::listening;

/// The directory beneath the state root that has one directory for each slot's sidecar.
pub const DIRECTORY: &str = "sidecar";

/// The file with the secret of a start.
pub const SECRET: &str = "password";

/// Longest secret, in bytes.
const LONGEST: usize = 200;

/// Permission bits that a stranger would need.
const OF_STRANGERS: u32 = 0o027;

/// Returns the password of a client that was started under this lease.
#[must_use]
pub fn password(secret: &Secret, lease: Option<Generation>) -> Secret {
    let secret = secret.dangerous_expose();
    Secret::new(match lease {
        None => secret.to_owned(),
        Some(generation) => format!("{secret}-{generation}"),
    })
}

/// Reads the password for a backend that starts under this lease.
///
/// # Errors
/// Refuses when no sidecar serves the slot, when what it left behind could be another's, and when
/// somebody else than its user has the slot's port.
pub fn obtain(roots: &Roots, slot: SlotId, lease: Option<Generation>) -> Result<Secret, Denial> {
    let directory = open(roots, slot)?;
    let unusable = |found: String| refuse(slot, format!("`{}`: {found}", path(roots, slot)));
    let stat = rustix::fs::fstat(&directory)
        .map_err(|error| unusable(std::io::Error::from(error).to_string()))?;
    let (owner, mode) = (stat.st_uid, stat.st_mode & 0o7777);
    if mode & OF_STRANGERS != 0 {
        return Err(unusable(format!("mode {mode:04o}")));
    }
    let rule = SafeFile::of_owner(owner, LONGEST, OF_STRANGERS);
    let secret = rule.read_in(&directory, SECRET).map_err(|problem| match problem {
        FileProblem::Missing => refuse(slot, "no password of a start".to_owned()),
        problem => unusable(format!("`{SECRET}`: {problem}")),
    })?;
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(unusable(format!("`{SECRET}`: not what a sidecar writes")));
    }
    require_listener(slot, owner)?;
    Ok(password(&Secret::new(secret), lease))
}

/// Makes sure that a backend that starts now would be let in by its sidecar, where one is demanded.
///
/// A unit brings its sidecar along, so that there nothing is asked.
///
/// # Errors
/// As [`obtain`].
pub fn require(config: &Config, slot: SlotId) -> Result<(), Denial> {
    if !config.sidecar.enabled || config.lifecycle.manager != Manager::Process {
        return Ok(());
    }
    obtain(&config.roots, slot, None).map(drop)
}

fn open(roots: &Roots, slot: SlotId) -> Result<OwnedFd, Denial> {
    let root = Root::open(&roots.state)?;
    let none = || refuse(slot, format!("no directory `{}`", path(roots, slot)));
    // Whoever could write there could put another sidecar's directory in the place of this one.
    root.open_readable_directory(DIRECTORY)?.ok_or_else(none)?;
    let beneath = AbsolutePath::parse(&path(roots, slot))?.beneath(&roots.state);
    root.open_directory(&beneath.ok_or_else(none)?).map_err(|denial| match denial.code() {
        Code::PathMissing => none(),
        _ => denial,
    })
}

fn path(roots: &Roots, slot: SlotId) -> String {
    format!("{}/{DIRECTORY}/{slot}", roots.state.as_str())
}

/// What was left by a sidecar that was killed must not lead to whoever has its port now.
fn require_listener(slot: SlotId, owner: u32) -> Result<(), Denial> {
    let port = slot.sidecar_port();
    let listening = listening::on_loopback(port);
    if listening.is_empty() {
        return Err(refuse(slot, format!("nobody listens on 127.0.0.1:{port}")));
    }
    match listening.iter().find(|socket| socket.owner != owner) {
        None => Ok(()),
        Some(other) => {
            let found = format!("uid {} listens on port {port}, not uid {owner}", other.owner);
            Err(refuse(slot, found))
        }
    }
}

fn refuse(slot: SlotId, found: String) -> Denial {
    let message = format!("the sidecar of {slot}, which `[sidecar]` demands, does not serve");
    let expected = format!("`pg-sidecar serve --slot {slot}`");
    Denial::new(Code::SidecarDemanded, message, found, expected)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A slot whose port no other test of this crate takes.
    fn slot() -> SlotId {
        "preview-9".parse().unwrap()
    }

    #[test]
    fn a_password_is_read_where_a_sidecar_serves_and_nowhere_else() {
        let place = tempfile::tempdir().unwrap();
        let state = AbsolutePath::parse(place.path().to_str().unwrap()).unwrap();
        let roots = Roots { state, ..Roots::default() };
        let obtain = |lease: Option<&str>| {
            let lease = lease.map(|number| number.parse().unwrap());
            let obtained = obtain(&roots, slot(), lease);
            obtained.map(|secret| secret.dangerous_expose().to_owned())
        };
        let found = || {
            let denial = obtain(None).unwrap_err();
            assert_eq!(denial.code(), Code::SidecarDemanded, "{denial}");
            denial.found().to_owned()
        };
        let directory = place.path().join("sidecar/preview-9");
        let set_mode = |name: &str, mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(place.path().join(name), mode).unwrap();
        };
        assert!(found().starts_with("no directory"));
        std::fs::create_dir_all(&directory).unwrap();
        set_mode("sidecar", 0o755);
        set_mode("sidecar/preview-9", 0o700);
        assert!(found().starts_with("no password"));
        std::fs::write(directory.join("password"), "c0ffee").unwrap();
        set_mode("sidecar/preview-9/password", 0o600);
        assert!(found().starts_with("nobody listens"));

        let listener = TcpListener::bind(("127.0.0.1", slot().sidecar_port())).unwrap();
        assert_eq!(obtain(None).unwrap(), "c0ffee");
        assert_eq!(obtain(Some("7")).unwrap(), "c0ffee-7");
        for (name, bad, good) in [
            ("sidecar/preview-9", 0o755, 0o750),
            ("sidecar/preview-9", 0o770, 0o750),
            ("sidecar/preview-9/password", 0o644, 0o640),
            ("sidecar/preview-9/password", 0o660, 0o640),
        ] {
            set_mode(name, bad);
            assert!(found().contains(&format!("{bad:04o}")), "{name}");
            set_mode(name, good);
            assert!(obtain(None).is_ok(), "{name}");
        }
        for bad in ["", "not a secret\n", &"a".repeat(LONGEST + 1)] {
            std::fs::write(directory.join("password"), bad).unwrap();
            assert!(found().contains("`password`"), "{bad}");
        }
        std::fs::write(directory.join("password"), "c0ffee").unwrap();
        assert!(obtain(None).is_ok());
        drop(listener);
        assert!(found().starts_with("nobody listens"));
        set_mode("sidecar", 0o777);
        assert_eq!(obtain_code(&roots), Code::RootUnusable);
    }

    fn obtain_code(roots: &Roots) -> Code {
        obtain(roots, slot(), None).unwrap_err().code()
    }

    #[test]
    fn a_port_of_another_user_is_not_the_sidecars() {
        let listener = TcpListener::bind(("127.0.0.1", 5108)).unwrap();
        let slot = "preview-8".parse().unwrap();
        let own = rustix::process::geteuid().as_raw();
        require_listener(slot, own).unwrap();
        let denial = require_listener(slot, own + 1).unwrap_err();
        assert!(denial.found().contains("listens on port 5108, not uid"), "{denial}");
        drop(listener);
    }
}
