//! Passwords of the slots' roles: made here, kept in files of mode 0600, never said.
//!
//! The server gets a SCRAM verifier, so that no password stands in its log either.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use guard::admin::AdminTarget;
use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::read_password;
use guard::provision::{ADMIN_ROLE, SEED_ROLE, Wanted};
use guard::secret::Secret;

use crate::checksum::hex;

/// Bytes of a password and of a nonce, from the kernel's generator.
const RANDOM_BYTES: usize = 16;

/// Where each role's password is kept.
#[derive(Debug)]
pub(super) struct PasswordFiles(Vec<(String, PathBuf)>);

impl PasswordFiles {
    /// Takes them from the configuration.
    ///
    /// # Errors
    /// Refuses a configuration that does not name all of them.
    pub(super) fn configured(config: &Config, wanted: &Wanted) -> Result<Self, Denial> {
        let lacking = |key: &str| {
            Denial::new(
                Code::PasswordFiles,
                "it is not known where the passwords of the slots' roles are kept",
                format!("no `[database] {key}`"),
                "`password_file`, `admin_password_file` and `seed_password_file`",
            )
        };
        let slots = config.password_file.as_ref().ok_or_else(|| lacking("password_file"))?;
        let path = |slot: &guard::provision::SlotRole| PathBuf::from(slots.render(slot.slot));
        let mut files: Vec<_> =
            wanted.slots.iter().map(|slot| (slot.role.clone(), path(slot))).collect();
        for (role, key, file) in [
            (ADMIN_ROLE, "admin_password_file", &config.admin_password_file),
            (SEED_ROLE, "seed_password_file", &config.seed_password_file),
        ] {
            let file = file.as_ref().ok_or_else(|| lacking(key))?;
            files.push((role.to_owned(), PathBuf::from(file.as_str())));
        }
        Ok(Self(files))
    }

    /// Returns the file of a role.
    pub(super) fn of(&self, role: &str) -> Option<&Path> {
        self.0.iter().find(|(own, _)| own == role).map(|(_, path)| path.as_path())
    }

    /// Reads the password of a role; `None` when there is no file yet.
    ///
    /// # Errors
    /// Refuses a file that others could read or have written, and an empty one.
    pub(super) fn read(&self, role: &str) -> Result<Option<Secret>, Denial> {
        let Some(path) = self.of(role) else { return Ok(None) };
        if path.symlink_metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let password = read_password(path)?;
        if password.dangerous_expose().is_empty() {
            return Err(unusable(path, "it is empty"));
        }
        Ok(Some(password))
    }

    /// Reads the password of a role, or makes one and its file.
    ///
    /// # Errors
    /// As [`PasswordFiles::read`], and when the file cannot be made.
    pub(super) fn obtain(&self, role: &str) -> Result<Secret, Denial> {
        if let Some(password) = self.read(role)? {
            return Ok(password);
        }
        let Some(path) = self.of(role) else {
            return Err(unusable(Path::new(role), "no file is configured"));
        };
        let password = random_hex()?;
        write_new(path, &password).map_err(|error| unusable(path, &error.to_string()))?;
        Ok(Secret::new(password))
    }
}

/// Returns the login of the role that owns the slots' databases.
///
/// # Errors
/// Refuses when its password is not there, or the configuration lacks the endpoint.
pub(super) fn preview_admin(config: &Config) -> Result<AdminTarget, Denial> {
    AdminTarget::preview_admin(
        required(config.admin_password_file.as_ref(), "admin_password_file")?,
        &config.database,
    )
}

/// Returns the login of the role that fills the seed.
///
/// # Errors
/// As [`preview_admin`].
pub(super) fn seed_owner(config: &Config) -> Result<AdminTarget, Denial> {
    AdminTarget::seed_owner(
        required(config.seed_password_file.as_ref(), "seed_password_file")?,
        &config.database,
    )
}

fn required(file: Option<&guard::path::AbsolutePath>, key: &str) -> Result<Secret, Denial> {
    let file = file.ok_or_else(|| {
        Denial::new(
            Code::PasswordFiles,
            "it is not known where the administrator's password is kept",
            format!("no `[database] {key}`"),
            format!("`{key}`, as `migrate-runner provision` writes it"),
        )
    })?;
    read_password(Path::new(file.as_str()))
}

/// Returns what the server stores in the place of a password.
pub(super) fn verifier(password: &Secret) -> String {
    postgres_protocol::password::scram_sha_256(password.dangerous_expose().as_bytes())
}

/// Returns a random text of 128 bits.
///
/// # Errors
/// Refuses when the kernel has no randomness.
pub(super) fn random_hex() -> Result<String, Denial> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        Denial::new(Code::Internal, "the kernel gives no randomness", error.to_string(), "128 bits")
    })?;
    Ok(hex(&bytes))
}

/// Writes a file that is whole or not there, for its owner only.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".slotguard-").tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    // Fails where something of that name appeared meanwhile.
    file.persist_noclobber(path)?;
    std::fs::File::open(directory)?.sync_all()
}

fn unusable(path: &Path, why: &str) -> Denial {
    Denial::new(
        Code::PasswordFiles,
        "a password file cannot be used",
        format!("`{}`: {}", shown(&path.to_string_lossy()), shown(why)),
        "a file of mode 0600 in a directory that exists",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files(directory: &Path) -> PasswordFiles {
        PasswordFiles(vec![("slot_1".to_owned(), directory.join("slot_1.pw"))])
    }

    #[test]
    fn a_password_is_made_once_and_kept_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        assert!(files.read("slot_1").unwrap().is_none());
        let first = files.obtain("slot_1").unwrap();
        assert_eq!(first.dangerous_expose().len(), 32);
        let mode = std::fs::metadata(files.of("slot_1").unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(files.obtain("slot_1").unwrap().dangerous_expose(), first.dangerous_expose());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_empty_or_open_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path());
        let path = files.of("slot_1").unwrap();
        std::fs::write(path, "").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(files.read("slot_1").unwrap_err().code(), Code::PasswordFiles);
        std::fs::write(path, "pw").unwrap();
        assert!(files.read("slot_1").unwrap().is_some());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(files.read("slot_1").unwrap_err().code(), Code::TargetUnreadable);
    }

    #[test]
    fn the_server_gets_a_verifier() {
        let verifier = verifier(&Secret::new("hunter2".to_owned()));
        assert!(verifier.starts_with("SCRAM-SHA-256$4096:") && !verifier.contains("hunter2"));
    }
}
