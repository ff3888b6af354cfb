//! Paths as text: absolute ones that mean what they say, and the part beneath a root.
//!
//! Text alone is never enough: what is opened is opened beneath a held directory, see
//! [`crate::io`]. These types only make sure that the text has one meaning.

use crate::diagnostic::{Code, Denial, shown};

/// An absolute path without `.`, `..`, doubled slashes, control characters or encoded separators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsolutePath(String);

/// A path of at least one component beneath some root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelativePath(String);

impl AbsolutePath {
    /// Parses an absolute path; one trailing slash is dropped.
    ///
    /// # Errors
    /// Refuses everything that could be read in two ways.
    pub fn parse(text: &str) -> Result<Self, Denial> {
        let refuse = |why: &str| {
            Err(Denial::new(
                Code::PathMalformed,
                format!("the path is not written plainly: {why}"),
                format!("`{}`", shown(text)),
                "an absolute path without `.`, `..` or doubled slashes",
            ))
        };
        let Some(rest) = text.strip_prefix('/') else {
            return refuse("it is not absolute");
        };
        if text.chars().any(char::is_control) {
            return refuse("it holds a control character");
        }
        let lower = text.to_ascii_lowercase();
        if ["%2e", "%2f", "%5c", "%00", "%25"].iter().any(|escape| lower.contains(escape)) {
            return refuse("it holds an encoded separator or dot");
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        for component in rest.split('/') {
            match component {
                "" => return refuse("it is the root itself or has an empty component"),
                "." | ".." => return refuse("it has a `.` or `..` component"),
                _ => {}
            }
        }
        Ok(Self(format!("/{rest}")))
    }

    /// Returns the path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the part beneath `root`, by whole components.
    #[must_use]
    pub fn beneath(&self, root: &Self) -> Option<RelativePath> {
        let rest = self.0.strip_prefix(&root.0)?.strip_prefix('/')?;
        Some(RelativePath(rest.to_owned()))
    }
}

impl RelativePath {
    /// Parses a relative path; one trailing slash is dropped.
    ///
    /// # Errors
    /// Refuses everything that could be read in two ways, and an absolute path.
    pub fn parse(text: &str) -> Result<Self, Denial> {
        let absolute = AbsolutePath::parse(&format!("/{text}"))?;
        Ok(Self(absolute.0[1..].to_owned()))
    }

    /// Returns the path as text, without a leading slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_stays_beneath() {
        assert_eq!(RelativePath::parse("dist/app/").unwrap().as_str(), "dist/app");
        for bad in ["", "/", "/etc", "../x", "a/../b", ".", "a//b", "a%2fb"] {
            assert!(RelativePath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_paths_are_read() {
        assert_eq!(AbsolutePath::parse("/srv/previews/").unwrap().as_str(), "/srv/previews");
        assert!(AbsolutePath::parse("/srv/a b/c-d.e").is_ok());
    }

    #[test]
    fn se_5_ambiguous_paths_are_refused() {
        for bad in [
            "",
            "/",
            "//",
            "srv",
            "./srv",
            "/srv/../etc",
            "/srv/./x",
            "/srv//x",
            "/srv/x//",
            "/srv/%2e%2e/x",
            "/srv/a%2Fb",
            "/srv/\nx",
            "/srv/..",
        ] {
            let denial = AbsolutePath::parse(bad).unwrap_err();
            assert_eq!(denial.code(), Code::PathMalformed, "{bad:?}");
        }
    }

    #[test]
    fn beneath_means_whole_components() {
        let path = |text| AbsolutePath::parse(text).unwrap();
        let root = path("/srv/previews");
        assert_eq!(path("/srv/previews/a/b").beneath(&root).unwrap().as_str(), "a/b");
        assert!(path("/srv/previews").beneath(&root).is_none());
        assert!(path("/srv/previews-evil/a").beneath(&root).is_none());
        assert!(path("/srv").beneath(&root).is_none());
    }
}
