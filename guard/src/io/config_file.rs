//! Finding and reading `slotguard.toml`.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::safe_file::{FileProblem, SafeFile};
use crate::config::Config;
use crate::diagnostic::{Code, Denial, shown};
use crate::environment::Environment;
use crate::path::AbsolutePath;

const DEFAULT_PATH: &str = "/etc/slotguard/slotguard.toml";

const RULE: SafeFile = SafeFile::of_caller(64 * 1024, 0o022);

/// A configuration and where it came from.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The checked configuration.
    pub config: Config,
    /// The file, or `None` for the contract's defaults.
    pub source: Option<PathBuf>,
}

/// Loads the configuration that the option, `SLOTGUARD_CONFIG` or the default path names, and
/// reconciles it with the environment's `SLOT_IDS_CSV` and `WORKER_*`.
///
/// # Errors
/// Refuses a named file that is missing, an unsafe file, and an unacceptable content.
pub fn load_config(
    option: Option<&Path>,
    environment: &Environment,
) -> Result<LoadedConfig, Denial> {
    let named = environment
        .value("SLOTGUARD_CONFIG")
        .map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(path)));
    let mut loaded = load_config_at(option.or(named.as_deref()))?;
    loaded.config.reconcile_slots(environment.value("SLOT_IDS_CSV"))?;
    loaded.config.reconcile_worker_variables(environment)?;
    Ok(loaded)
}

/// Loads the configuration from the named file or the default path, whatever the environment says.
///
/// # Errors
/// As [`load_config`].
pub fn load_config_at(named: Option<&Path>) -> Result<LoadedConfig, Denial> {
    let path = named.unwrap_or(Path::new(DEFAULT_PATH));
    let text = match RULE.read(path) {
        Ok(text) => text,
        Err(FileProblem::Missing) if named.is_none() => {
            return Ok(LoadedConfig { config: Config::default(), source: None });
        }
        Err(problem) => return Err(refuse(path, &problem)),
    };
    let config = Config::parse(&text)?;
    refuse_beneath_roots(path, &config)?;
    Ok(LoadedConfig { config, source: Some(path.to_owned()) })
}

fn refuse(path: &Path, problem: &FileProblem) -> Denial {
    let path = shown(&path.to_string_lossy());
    match problem {
        FileProblem::Missing => Denial::new(
            Code::ConfigMissing,
            "the configuration file does not exist",
            format!("no file `{path}`"),
            "the named file",
        ),
        problem => Denial::new(
            Code::ConfigFile,
            "the configuration file is not safe to read",
            format!("`{path}`: {problem}"),
            "a regular file of root or the caller, not writable by others, at most 64 KiB",
        ),
    }
}

/// A branch must not be able to bring its own policy.
fn refuse_beneath_roots(path: &Path, config: &Config) -> Result<(), Denial> {
    let Ok(real) = std::fs::canonicalize(path) else {
        return Ok(());
    };
    let Ok(real) = AbsolutePath::parse(&real.to_string_lossy()) else {
        return Ok(());
    };
    let roots = [&config.roots.worktree, &config.roots.repository];
    for root in roots.into_iter().flatten() {
        let resolved = std::fs::canonicalize(root.as_str()).ok();
        let resolved = resolved.and_then(|r| AbsolutePath::parse(&r.to_string_lossy()).ok());
        let outside = [Some(root.clone()), resolved]
            .into_iter()
            .flatten()
            .all(|root| real.beneath(&root).is_none());
        if !outside {
            return Err(Denial::new(
                Code::ConfigFile,
                "the configuration file lies beneath a root that previews write to",
                format!("`{}` beneath `{}`", shown(real.as_str()), shown(root.as_str())),
                "a file outside `[roots] worktree` and `[roots] repository`",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, text: &str) -> PathBuf {
        let path = directory.join("slotguard.toml");
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn a_named_file_that_is_missing_is_not_the_default() {
        let denial = load_config_at(Some(Path::new("/nonexistent/slotguard.toml"))).unwrap_err();
        assert_eq!(denial.code(), Code::ConfigMissing);
    }

    #[test]
    fn the_option_beats_the_environment() {
        let directory = tempfile::tempdir().unwrap();
        let path = write(directory.path(), "version = 1\n[slots]\nids = [\"preview-2\"]\n");
        let environment = Environment::new([(
            b"SLOTGUARD_CONFIG".to_vec(),
            path.as_os_str().as_bytes().to_vec(),
        )])
        .unwrap();
        let loaded = load_config(None, &environment).unwrap();
        assert_eq!(loaded.config.slots().to_string(), "preview-2");
        let elsewhere = Path::new("/nonexistent/slotguard.toml");
        assert!(load_config(Some(elsewhere), &environment).is_err());
    }

    #[test]
    fn a_file_beneath_a_root_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        let text = format!("version = 1\n[roots]\nworktree = \"{root}\"\n");
        let denial = load_config_at(Some(&write(directory.path(), &text))).unwrap_err();
        assert_eq!(denial.code(), Code::ConfigFile);
        let beside = format!("version = 1\n[roots]\nworktree = \"{root}/previews\"\n");
        assert!(load_config_at(Some(&write(directory.path(), &beside))).is_ok());
    }
}
