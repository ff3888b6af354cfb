//! What an installation or its removal would change, and doing it.
//!
//! Everything is looked at before anything is changed: one file that is not as it was left refuses
//! the whole.

use guard::diagnostic::{Code, Denial, shown};
use guard::path::AbsolutePath;
use serde::Serialize;

use super::layout::File;
use super::manifest::{Entry, Manifest, cannot, digest};
use super::tree::Tree;

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Deed {
    /// It is new.
    Write,
    /// It replaces what an earlier installation wrote.
    Replace,
    /// It is as it shall be.
    Unchanged,
    /// It is the owner's, and stays.
    Keep,
    /// It is taken away.
    Remove,
}

/// A file and what is done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    pub(super) path: String,
    pub(super) deed: Deed,
}

/// All steps.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// Directories that are made, or removed where they are empty.
    pub(super) directories: Vec<String>,
}

/// Plans an installation over what is there.
///
/// # Errors
/// Refuses a file that somebody else put in the place of one, and one that was changed since.
pub(super) fn install(
    tree: &Tree,
    files: &[File],
    before: Option<&Manifest>,
) -> Result<Plan, Denial> {
    let mut plan = Plan::default();
    let mut problems = Problems::default();
    for file in files {
        let found = read(tree, &file.path)?;
        let entry = before.and_then(|manifest| manifest.entry(&file.path));
        let deed = match (&found, entry) {
            (None, _) => Deed::Write,
            (Some(found), _) if found == file.content.as_bytes() => Deed::Unchanged,
            (Some(_), _) if file.keeps_existing => Deed::Keep,
            (Some(found), Some(entry)) if entry.sha256 == digest(found) => Deed::Replace,
            (Some(_), Some(_)) => problems.changed(&file.path),
            (Some(_), None) => problems.in_the_way(&file.path),
        };
        plan.steps.push(Step { path: file.path.clone(), deed });
        for directory in tree.missing(&parse(&file.path)?).map_err(|e| cannot(&file.path, &e))? {
            if !plan.directories.contains(&directory) {
                plan.directories.push(directory);
            }
        }
    }
    for entry in before.map(|manifest| &manifest.files[..]).unwrap_or_default() {
        if !files.iter().any(|file| file.path == entry.path) {
            plan.steps.push(removal(tree, entry, &mut problems)?);
        }
    }
    problems.refuse()?;
    Ok(plan)
}

/// Plans the removal of what was installed.
///
/// # Errors
/// Refuses files that were changed since, unless they are left alone.
pub(super) fn uninstall(
    tree: &Tree,
    manifest: &Manifest,
    keep_changed: bool,
) -> Result<Plan, Denial> {
    let mut problems = Problems::default();
    let removals = manifest.files.iter().map(|entry| removal(tree, entry, &mut problems));
    let steps = removals.collect::<Result<_, _>>()?;
    if !keep_changed {
        problems.refuse()?;
    }
    let directories = manifest.directories.iter().rev().cloned().collect();
    Ok(Plan { steps, directories })
}

fn removal(tree: &Tree, entry: &Entry, problems: &mut Problems) -> Result<Step, Denial> {
    let deed = match read(tree, &entry.path)? {
        None => Deed::Unchanged,
        Some(found) if digest(&found) == entry.sha256 => Deed::Remove,
        Some(_) if entry.is_config => Deed::Keep,
        Some(_) => problems.changed(&entry.path),
    };
    Ok(Step { path: entry.path.clone(), deed })
}

/// Does what was planned. The manifest is written first, so that nothing is ever there without being
/// in it.
pub(super) fn apply_install(
    tree: &Tree,
    files: &[File],
    plan: &Plan,
    before: Option<Manifest>,
) -> Result<(), Denial> {
    let mut manifest = before.unwrap_or_default();
    let missing = Manifest::missing_directories(tree)?;
    for directory in missing.into_iter().chain(plan.directories.iter().cloned()) {
        if !manifest.directories.contains(&directory) {
            manifest.directories.push(directory);
        }
    }
    manifest.directories.sort_unstable();
    let deed = |path: &str| plan.steps.iter().find(|step| step.path == path).map(|step| step.deed);
    let written: Vec<&File> = files
        .iter()
        .filter(|file| matches!(deed(&file.path), Some(Deed::Write | Deed::Replace)))
        .collect();
    for file in &written {
        let (path, sha256) = (file.path.clone(), digest(file.content.as_bytes()));
        manifest.files.retain(|entry| entry.path != path);
        manifest.files.push(Entry { path, sha256, is_config: file.keeps_existing });
    }
    manifest.write(tree)?;
    for file in written {
        tree.write(&parse(&file.path)?, file.mode, file.content.as_bytes())
            .map_err(|error| cannot(&file.path, &error))?;
    }
    remove_files(tree, plan)?;
    let listed = manifest.files.len();
    manifest.files.retain(|entry| deed(&entry.path) != Some(Deed::Remove));
    if manifest.files.len() < listed {
        manifest.write(tree)?;
    }
    Ok(())
}

/// Removes what was planned, the manifest last, and the directories that are empty then.
pub(super) fn apply_uninstall(tree: &Tree, plan: &Plan) -> Result<(), Denial> {
    remove_files(tree, plan)?;
    Manifest::remove(tree)?;
    for directory in &plan.directories {
        tree.remove_directory(&parse(directory)?).map_err(|error| cannot(directory, &error))?;
    }
    Ok(())
}

fn remove_files(tree: &Tree, plan: &Plan) -> Result<(), Denial> {
    for step in plan.steps.iter().filter(|step| step.deed == Deed::Remove) {
        tree.remove(&parse(&step.path)?).map_err(|error| cannot(&step.path, &error))?;
    }
    Ok(())
}

fn read(tree: &Tree, path: &str) -> Result<Option<Vec<u8>>, Denial> {
    tree.read(&parse(path)?).map_err(|error| cannot(path, &error))
}

fn parse(path: &str) -> Result<AbsolutePath, Denial> {
    AbsolutePath::parse(path)
}

/// What keeps the whole from being done.
#[derive(Debug, Default)]
struct Problems {
    changed: Vec<String>,
    in_the_way: Vec<String>,
}

impl Problems {
    fn changed(&mut self, path: &str) -> Deed {
        self.changed.push(path.to_owned());
        Deed::Keep
    }

    fn in_the_way(&mut self, path: &str) -> Deed {
        self.in_the_way.push(path.to_owned());
        Deed::Keep
    }

    fn refuse(&self) -> Result<(), Denial> {
        let list = |paths: &[String]| {
            let shown: Vec<String> =
                paths.iter().map(|path| format!("`{}`", shown(path))).collect();
            shown.join(", ")
        };
        if !self.in_the_way.is_empty() {
            return Err(Denial::new(
                Code::InstallInTheWay,
                "files that were not installed are in the way; nothing was changed",
                list(&self.in_the_way),
                "no such files, or ones that were installed",
            ));
        }
        if !self.changed.is_empty() {
            return Err(Denial::new(
                Code::InstallChanged,
                "installed files were changed since; nothing was changed",
                list(&self.changed),
                "the files as they were installed",
            ));
        }
        Ok(())
    }
}
