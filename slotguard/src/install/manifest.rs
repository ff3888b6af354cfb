//! What an installation wrote, so that exactly that is taken away again.

use std::fmt::Write as _;
use std::io::Error;

use guard::diagnostic::{Code, Denial, shown};
use guard::path::AbsolutePath;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::tree::Tree;

/// Where it lies beneath the root.
const PATH: &str = "/etc/slotguard/installed.json";

const SCHEMA: &str = "slotguard.install-manifest/1";

/// The files and directories that were written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    schema: String,
    /// The files, and what was in them.
    pub(super) files: Vec<Entry>,
    /// The directories that were not there before, each before what is in it.
    pub(super) directories: Vec<String>,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) sha256: String,
    /// Whether the owner is meant to change it.
    pub(super) is_config: bool,
}

impl Default for Manifest {
    fn default() -> Self {
        Self { schema: SCHEMA.to_owned(), files: Vec::new(), directories: Vec::new() }
    }
}

impl Manifest {
    /// Reads the manifest; `None` where nothing is installed.
    ///
    /// # Errors
    /// Refuses one that was not written by this program.
    pub(super) fn read(tree: &Tree) -> Result<Option<Self>, Denial> {
        let Some(text) = tree.read(&path()?).map_err(|error| refuse(&error.to_string()))? else {
            return Ok(None);
        };
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| refuse(&format!("line {} cannot be read", error.line())))?;
        if manifest.schema != SCHEMA {
            return Err(refuse(&format!("schema `{}`", shown(&manifest.schema))));
        }
        let named = manifest.files.iter().map(|entry| &entry.path);
        for path in named.chain(&manifest.directories) {
            AbsolutePath::parse(path).map_err(|denial| refuse(denial.found()))?;
        }
        Ok(Some(manifest))
    }

    /// Writes the manifest.
    pub(super) fn write(&self, tree: &Tree) -> Result<(), Denial> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| refuse(&error.to_string()))?;
        tree.write(&path()?, 0o644, &text).map_err(|error| cannot(PATH, &error))
    }

    /// Removes the manifest itself.
    pub(super) fn remove(tree: &Tree) -> Result<(), Denial> {
        tree.remove(&path()?).map_err(|error| cannot(PATH, &error))
    }

    /// Returns the entry of a path.
    pub(super) fn entry(&self, path: &str) -> Option<&Entry> {
        self.files.iter().find(|entry| entry.path == path)
    }

    /// Lists the directories on the way to the manifest that do not exist.
    pub(super) fn missing_directories(tree: &Tree) -> Result<Vec<String>, Denial> {
        tree.missing(&path()?).map_err(|error| cannot(PATH, &error))
    }
}

fn path() -> Result<AbsolutePath, Denial> {
    AbsolutePath::parse(PATH)
}

/// Returns the digest of a file's content.
pub(super) fn digest(content: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(content) {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn refuse(found: &str) -> Denial {
    Denial::new(
        Code::InstallManifest,
        "it cannot be told what was installed",
        format!("`{PATH}`: {found}"),
        "the manifest as `slotguard install` wrote it",
    )
}

/// Says that a file of the installation cannot be read, written or removed.
pub(super) fn cannot(path: &str, error: &Error) -> Denial {
    Denial::new(
        Code::InstallUnwritable,
        "a file of the installation cannot be read, written or removed",
        format!("`{}`: {error}", shown(path)),
        "a root that the caller may write to",
    )
}
