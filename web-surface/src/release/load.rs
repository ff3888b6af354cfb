//! Reading a release whole, within bounds and without following a link.

use std::collections::HashMap;
use std::time::SystemTime;

use guard::diagnostic::{Code, Denial, shown};
use guard::io::{Directory, FileProblem};
use hyper::HeaderMap;

use super::asset::{Asset, Encoding, Variant};
use super::web_root::Published;

const MOST_FILES: usize = 20_000;
const MOST_MEMORY: u64 = 256 * 1024 * 1024;
const MOST_LARGE_FILES: usize = 256;
const DEEPEST: usize = 16;

const INDEX: &str = "index.html";

/// The files of one release by their names.
#[derive(Debug)]
pub(crate) struct Release {
    name: Option<String>,
    assets: HashMap<String, Asset>,
}

/// What a name of the release is.
#[derive(Debug)]
pub(crate) enum Found<'r> {
    Asset(&'r Asset),
    /// A directory with an index that was asked for without the slash at its end.
    Directory,
    Nothing,
}

impl Release {
    /// Reads a published release, whose files are answered with `common` headers beside their own.
    ///
    /// # Errors
    /// Refuses a release that holds a link or anything but files, that is too large, or has no index.
    pub(crate) fn load(published: &Published, common: &HeaderMap) -> Result<Self, Denial> {
        let mut reading = Reading::default();
        reading.directory(&published.directory, "", 0)?;
        let assets = reading.finish(common);
        if !assets.contains_key(INDEX) {
            return Err(unfit("no `index.html`"));
        }
        Ok(Self { name: published.name.clone(), assets })
    }

    /// Returns the name beneath `releases`.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns how many files there are.
    pub(crate) fn len(&self) -> usize {
        self.assets.len()
    }

    /// Looks up a decoded path.
    pub(crate) fn find(&self, path: &str) -> Found<'_> {
        if path.is_empty() || path.ends_with('/') {
            let index = self.assets.get(&format!("{path}{INDEX}"));
            return index.map_or(Found::Nothing, Found::Asset);
        }
        if let Some(asset) = self.assets.get(path) {
            return Found::Asset(asset);
        }
        let is_directory = self.assets.contains_key(&format!("{path}/{INDEX}"));
        if is_directory { Found::Directory } else { Found::Nothing }
    }

    /// Returns the page that every navigation without a file of its own gets.
    pub(crate) fn index(&self) -> Option<&Asset> {
        self.assets.get(INDEX)
    }
}

/// A file that was read, and when it was written.
struct FileRead {
    variant: Variant,
    modified: SystemTime,
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    files: HashMap<String, FileRead>,
    memory: u64,
    large: usize,
}

impl Reading {
    fn directory(
        &mut self,
        directory: &Directory,
        prefix: &str,
        depth: usize,
    ) -> Result<(), Denial> {
        if depth > DEEPEST {
            return Err(unfit(&format!("`{}` lies deeper than {DEEPEST} levels", shown(prefix))));
        }
        let names =
            directory.names().map_err(|error| unfit(&format!("`{}`: {error}", shown(prefix))))?;
        for name in names {
            let Ok(name) = String::from_utf8(name) else {
                return Err(unfit(&format!("a name in `{}` that is not UTF-8", shown(prefix))));
            };
            // Hidden files are never answered, so they are not even opened.
            if !name.starts_with('.') {
                self.entry(directory, &name, format!("{prefix}{name}"), depth)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        directory: &Directory,
        name: &str,
        path: String,
        depth: usize,
    ) -> Result<(), Denial> {
        let fault = |problem: FileProblem| unfit(&format!("`{}`: {problem}", shown(&path)));
        match directory.open_file(name) {
            Ok(file) => self.file(file, path),
            Err(FileProblem::NotRegular) => {
                if directory.read_link(name).is_ok() {
                    return Err(link(&path));
                }
                let below = directory.open_directory(name).map_err(fault)?;
                self.directory(&below, &format!("{path}/"), depth + 1)
            }
            Err(problem) => Err(fault(problem)),
        }
    }

    fn file(&mut self, file: std::fs::File, path: String) -> Result<(), Denial> {
        let fault = |error: std::io::Error| unfit(&format!("`{}`: {error}", shown(&path)));
        let modified = file.metadata().and_then(|metadata| metadata.modified()).map_err(fault)?;
        let variant = Variant::read(file).map_err(fault)?;
        self.memory += variant.in_memory();
        self.large += usize::from(variant.in_memory() < variant.length);
        self.files.insert(path, FileRead { variant, modified });
        for (found, most, what) in [
            (self.files.len() as u64, MOST_FILES as u64, "files"),
            (self.memory, MOST_MEMORY, "bytes in memory"),
            (self.large as u64, MOST_LARGE_FILES as u64, "large files"),
        ] {
            if found > most {
                return Err(unfit(&format!("more than {most} {what}")));
            }
        }
        Ok(())
    }

    /// Puts variants beside their originals; a stale variant is left out.
    fn finish(self, common: &HeaderMap) -> HashMap<String, Asset> {
        let mut assets = HashMap::new();
        let mut variants = Vec::new();
        let modified: HashMap<&str, SystemTime> =
            self.files.iter().map(|(path, file)| (path.as_str(), file.modified)).collect();
        for (path, file) in &self.files {
            let encoded = [(".br", Encoding::Brotli), (".gz", Encoding::Gzip)];
            let original = encoded.into_iter().find_map(|(end, encoding)| {
                let original = path.strip_suffix(end)?;
                modified.get(original).map(|written| (original, encoding, *written))
            });
            match original {
                None => {
                    assets.insert(path.clone(), Asset::new(file.variant.clone()));
                }
                Some((original, encoding, written)) if file.modified >= written => {
                    variants.push((original, encoding, file.variant.clone()));
                }
                Some(_) => {}
            }
        }
        for (original, encoding, variant) in variants {
            if let Some(asset) = assets.get_mut(original) {
                match encoding {
                    Encoding::Brotli => asset.brotli = Some(variant),
                    Encoding::Gzip => asset.gzip = Some(variant),
                }
            }
        }
        assets.iter_mut().for_each(|(path, asset)| asset.prepare(path, common));
        assets
    }
}

fn unfit(found: &str) -> Denial {
    Denial::new(
        Code::WebContent,
        "the release cannot be served",
        found,
        "a built frontend: regular files and directories, with an `index.html`",
    )
}

fn link(path: &str) -> Denial {
    Denial::new(
        Code::WebRelease,
        "the release holds a symbolic link",
        format!("`{}`", shown(path)),
        "regular files and directories only",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn load(place: &Path) -> Result<Release, Code> {
        let directory = Directory::open(place).unwrap();
        Release::load(&Published { directory, name: None }, &HeaderMap::new())
            .map_err(|denial| denial.code())
    }

    fn with_index() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(INDEX), "<p>index").unwrap();
        place
    }

    #[test]
    fn hidden_files_are_not_part_of_a_release() {
        let place = with_index();
        std::fs::write(place.path().join(".env"), "SECRET").unwrap();
        std::fs::create_dir(place.path().join(".git")).unwrap();
        symlink("/etc/passwd", place.path().join(".git/link")).unwrap();
        assert_eq!(load(place.path()).unwrap().len(), 1);
    }

    #[test]
    fn se_3_a_link_or_anything_but_a_file_is_refused() {
        let place = with_index();
        std::fs::create_dir(place.path().join("a")).unwrap();
        assert!(load(place.path()).is_ok());
        symlink("../index.html", place.path().join("a/link")).unwrap();
        assert_eq!(load(place.path()).unwrap_err(), Code::WebRelease);
        std::fs::remove_file(place.path().join("a/link")).unwrap();
        let _socket =
            std::os::unix::net::UnixListener::bind(place.path().join("a/socket")).unwrap();
        assert_eq!(load(place.path()).unwrap_err(), Code::WebContent);
        assert_eq!(load(tempfile::tempdir().unwrap().path()).unwrap_err(), Code::WebContent);
    }

    #[test]
    fn a_release_is_not_endlessly_deep() {
        let place = with_index();
        let deep = |levels: usize| vec!["d"; levels].join("/");
        std::fs::create_dir_all(place.path().join(deep(DEEPEST))).unwrap();
        assert!(load(place.path()).is_ok());
        std::fs::create_dir_all(place.path().join(deep(DEEPEST + 1))).unwrap();
        assert_eq!(load(place.path()).unwrap_err(), Code::WebContent);
    }

    #[test]
    fn a_variant_older_than_its_original_is_left_out() {
        let place = with_index();
        let write = |name: &str, age: u64| {
            let path = place.path().join(name);
            std::fs::write(&path, name).unwrap();
            let file = std::fs::File::options().write(true).open(path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age)).unwrap();
        };
        write("a.js", 10);
        write("a.js.br", 10);
        write("a.js.gz", 11);
        write("lonely.gz", 5);
        let release = load(place.path()).unwrap();
        let Found::Asset(asset) = release.find("a.js") else { panic!("a.js is gone") };
        assert!(asset.brotli.is_some() && asset.gzip.is_none());
        assert!(matches!(release.find("a.js.br"), Found::Nothing));
        assert!(matches!(release.find("lonely.gz"), Found::Asset(_)));
    }

    #[test]
    fn a_directory_is_known_by_its_index() {
        let place = with_index();
        std::fs::create_dir(place.path().join("docs")).unwrap();
        std::fs::write(place.path().join("docs/index.html"), "").unwrap();
        let release = load(place.path()).unwrap();
        assert!(matches!(release.find(""), Found::Asset(_)));
        assert!(matches!(release.find("docs"), Found::Directory));
        assert!(matches!(release.find("docs/"), Found::Asset(_)));
        assert!(matches!(release.find("doc"), Found::Nothing));
    }
}
