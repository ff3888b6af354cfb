//! Where a slot's release lies: a directory, or `releases/<name>` that `current` points at.

use std::path::Path;

use guard::config::Config;
use guard::diagnostic::{Code, Denial, shown};
use guard::io::{Directory, FileProblem, Root};
use guard::path::AbsolutePath;
use guard::slot::SlotId;

const CURRENT: &str = "current";
const RELEASES: &str = "releases";

/// Longest name of a release.
const LONGEST_NAME: usize = 64;

/// The directory in which a slot's frontend is published.
#[derive(Debug, Clone)]
pub(crate) struct WebRoot(AbsolutePath);

/// The release that is published now, held open.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) directory: Directory,
    /// The name beneath `releases`; none where the web root itself is the release.
    pub(crate) name: Option<String>,
}

impl WebRoot {
    /// Returns the configured web root of a slot.
    pub(crate) fn configured(slot: SlotId, config: &Config) -> Result<Self, Denial> {
        config.web.root(slot).map(Self)
    }

    /// Takes a directory that a person names, unless it is another slot's.
    pub(crate) fn named(path: &Path, slot: SlotId, config: &Config) -> Result<Self, Denial> {
        let unusable = |error: std::io::Error| {
            Denial::new(
                Code::RootUnusable,
                "the release cannot be used",
                format!("`{}`: {error}", shown(&path.to_string_lossy())),
                "a directory owned by root or the caller",
            )
        };
        let real = std::fs::canonicalize(path).map_err(unusable)?;
        let given = std::path::absolute(path).map_err(unusable)?;
        for other in SlotId::all().filter(|other| *other != slot) {
            let root = config.web.root(other)?;
            let real_root = std::fs::canonicalize(root.as_str());
            let lies_in = |place: &Path| real.starts_with(place) || given.starts_with(place);
            if lies_in(Path::new(root.as_str())) || real_root.is_ok_and(|root| lies_in(&root)) {
                return Err(foreign(slot, other));
            }
        }
        AbsolutePath::parse(&real.to_string_lossy()).map(Self)
    }

    /// Looks what is published now.
    pub(crate) fn look(&self) -> Result<Published, Denial> {
        let root = Root::open(&self.0)?.into_directory();
        match root.read_link(CURRENT) {
            Ok(target) => self.follow(&root, &target),
            Err(FileProblem::Missing) => match root.open_directory(RELEASES) {
                Err(FileProblem::Missing) => Ok(Published { directory: root, name: None }),
                _ => Err(self.refuse("no `current`: nothing is published")),
            },
            Err(problem) => Err(self.refuse(&format!("`current`: {problem}"))),
        }
    }

    /// Follows `current` by hand, so that it can lead nowhere but to a release.
    fn follow(&self, root: &Directory, target: &str) -> Result<Published, Denial> {
        let name = target.strip_prefix("releases/").filter(|name| is_plain_name(name));
        let name = name.ok_or_else(|| self.refuse(&format!("`current` -> `{}`", shown(target))))?;
        let directory =
            root.open_directory(RELEASES).and_then(|releases| releases.open_directory(name));
        let directory =
            directory.map_err(|problem| self.refuse(&format!("`releases/{name}`: {problem}")))?;
        Ok(Published { directory, name: Some(name.to_owned()) })
    }

    fn refuse(&self, found: &str) -> Denial {
        Denial::new(
            Code::WebRelease,
            format!("the release beneath `{}` cannot be followed", shown(self.0.as_str())),
            found,
            "`current` -> `releases/<name>`, a directory",
        )
    }
}

fn is_plain_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

fn foreign(slot: SlotId, owner: SlotId) -> Denial {
    Denial::new(
        Code::WebRootForeign,
        format!("{slot} would show the frontend of another slot"),
        format!("the web root of {owner}"),
        format!("a directory of {slot}"),
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn look(directory: &Path) -> Result<Option<String>, Code> {
        let root = WebRoot(AbsolutePath::parse(directory.to_str().unwrap()).unwrap());
        root.look().map(|published| published.name).map_err(|denial| denial.code())
    }

    #[test]
    fn se_3_current_leads_to_a_release_or_nowhere() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        assert_eq!(look(root), Ok(None));
        std::fs::create_dir_all(root.join("releases/42")).unwrap();
        std::fs::create_dir_all(root.join("releases/.hidden")).unwrap();
        symlink("/etc", root.join("releases/link")).unwrap();
        assert_eq!(look(root), Err(Code::WebRelease));
        for (target, expected) in [
            ("releases/42", Ok(Some("42".to_owned()))),
            ("releases/42/", Err(Code::WebRelease)),
            ("./releases/42", Err(Code::WebRelease)),
            ("releases/../releases/42", Err(Code::WebRelease)),
            ("releases/..", Err(Code::WebRelease)),
            ("releases/.hidden", Err(Code::WebRelease)),
            ("releases/link", Err(Code::WebRelease)),
            ("releases/gone", Err(Code::WebRelease)),
            ("releases/", Err(Code::WebRelease)),
            ("/etc", Err(Code::WebRelease)),
        ] {
            let link = root.join(CURRENT);
            let _ = std::fs::remove_file(&link);
            symlink(target, &link).unwrap();
            assert_eq!(look(root), expected, "{target}");
        }
        std::fs::remove_file(root.join(CURRENT)).unwrap();
        std::fs::create_dir(root.join(CURRENT)).unwrap();
        assert_eq!(look(root), Err(Code::WebRelease));
    }

    #[test]
    fn rt_6_another_slots_web_root_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().to_str().unwrap();
        let config = format!("version = 1\n[web]\nroot = \"{at}/web-preview-{{slot}}\"\n");
        let config = Config::parse(&config).unwrap();
        for name in ["web-preview-1", "web-preview-2/releases/7", "elsewhere"] {
            std::fs::create_dir_all(place.path().join(name)).unwrap();
        }
        symlink("web-preview-2", place.path().join("link")).unwrap();
        let named = |name: &str| {
            let root =
                WebRoot::named(&place.path().join(name), "preview-1".parse().unwrap(), &config);
            root.map(|_| ()).map_err(|denial| denial.code())
        };
        assert_eq!(named("web-preview-1"), Ok(()));
        assert_eq!(named("elsewhere"), Ok(()));
        for name in ["web-preview-2", "web-preview-2/releases/7", "link", "link/releases/7"] {
            assert_eq!(named(name), Err(Code::WebRootForeign), "{name}");
        }
        assert_eq!(named("none"), Err(Code::RootUnusable));
    }
}
