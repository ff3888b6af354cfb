//! A private directory with a configuration, worktrees and programs.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::redact::Redactor;
use super::run::Run;

/// The tables that most configurations of the tests have.
pub(crate) const PINNED: &str = "\
[database]
endpoints = [\"127.0.0.1:5432\"]
role = \"slot_{slot}\"
[production]
databases = [\"app_production\"]
endpoints = [\"127.0.0.1:5433\"]
";

/// A directory that is gone when dropped.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// Makes the directory, with a pinned configuration and a worktree `feature`.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for part in ["bin", "previews/feature", "state", "empty"] {
            std::fs::create_dir_all(directory.path().join(part)).unwrap();
        }
        let place = Self { directory };
        place.configure(PINNED);
        place
    }

    /// Writes the configuration: the roots of this place and these tables.
    pub(crate) fn configure(&self, tables: &str) {
        let at = self.text("");
        let at = at.trim_end_matches('/');
        self.write(
            "slotguard.toml",
            0o600,
            &format!(
                "version = 1\n[roots]\nworktree = \"{at}/previews\"\nstate = \"{at}/state\"\n{tables}"
            ),
        );
    }

    /// Adds a root of artifacts to the configuration.
    pub(crate) fn keep_artifacts(&self, root: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        let roots = format!("[roots]\nartifact = \"{root}\"\n");
        self.write("slotguard.toml", 0o600, &text.replacen("[roots]\n", &roots, 1));
    }

    /// Writes a file with this mode.
    pub(crate) fn write(&self, name: &str, mode: u32, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Copies a file to an executable one.
    ///
    /// Another program writes it: a file that this process has open for writing would be inherited
    /// by a child that another test forks at that moment, and could then not be executed.
    pub(crate) fn install(&self, from: &Path, name: &str) {
        let (from, to) = (from.to_str().unwrap(), self.text(name));
        let outcome = Run::at(Path::new("/usr/bin/install"), &["-m", "0755", from, &to]).run();
        assert_eq!(outcome.status, Some(0), "{outcome:?}");
    }

    /// Writes an executable file.
    pub(crate) fn write_program(&self, name: &str, text: &str) {
        self.write("draft", 0o600, text);
        self.install(&self.path("draft"), name);
    }

    /// Copies the `.sql` files of a directory into a worktree and returns the copy's path.
    pub(crate) fn copy_migrations(&self, from: &Path, worktree: &str) -> String {
        let to = format!("previews/{worktree}/migrations");
        self.copy_texts(from, &to);
        self.text(&to)
    }

    fn copy_texts(&self, from: &Path, to: &str) {
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let to = format!("{to}/{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                self.copy_texts(&path, &to);
            } else {
                self.write(&to, 0o644, &std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    /// Returns a path in the directory.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Returns a path in the directory as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Returns the path of the configuration.
    pub(crate) fn config(&self) -> String {
        self.text("slotguard.toml")
    }

    /// Returns a redactor that knows this place.
    pub(crate) fn redactor(&self) -> Redactor {
        Redactor::default().path(self.directory.path(), "<dir>")
    }

    /// Prepares `slotguard check` with this place's configuration.
    pub(crate) fn check(&self, args: &[&str]) -> Run {
        let config = self.config();
        Run::new("slotguard", &[&["check", "--config", &config], args].concat())
    }

    /// Prepares a `migrate-runner` command with this place's configuration.
    pub(crate) fn migrate(&self, command: &str, args: &[&str]) -> Run {
        let config = self.config();
        Run::new("migrate-runner", &[&[command, "--config", &config], args].concat())
    }

    /// Prepares `runtime-wrapper exec` for `preview-1` with this place's configuration.
    pub(crate) fn exec(&self, options: &[&str], words: &[&str]) -> Run {
        let config = self.config();
        let front = ["exec", "--config", &config, "--slot", "preview-1"];
        Run::new("runtime-wrapper", &[&front, options, &["--"], words].concat())
    }
}
