//! `AbsolutePath`: one meaning, and beneath means beneath.
//!
//! The input is a path and, on a second line, a root.

use std::path::{Component, Path};

use guard::path::{AbsolutePath, RelativePath};

use super::{Target, refused};
use crate::engine::Signature;

pub(super) const TARGET: Target = Target {
    name: "path",
    check,
    #[rustfmt::skip]
    dictionary: &[
        "/", "//", ".", "..", "/..", "../", "/./", "/srv", "/srv/previews", "\n/srv", "\n/srv/previews",
        "\n", "\r", "\0", "\u{1b}", "\u{85}", "\u{2028}", "\u{feff}", "%2e", "%2E", "%2f", "%5C", "%00",
        "%252e", "\\", "~", "$HOME", " ", "...", "-evil", "\u{ff0e}\u{ff0e}", "\u{2215}", "file://",
    ],
};

fn check(input: &[u8]) -> Signature {
    let text = String::from_utf8_lossy(input);
    let (path, root) = text.split_once('\n').unwrap_or((&text, "/srv"));
    match AbsolutePath::parse(path) {
        Err(denial) => refused(&denial),
        Ok(path_read) => {
            has_one_meaning(path, &path_read);
            is_beneath_its_parents(&path_read);
            let beneath = AbsolutePath::parse(root).ok().map(|root| agrees(&path_read, &root));
            format!("accepted components={} beneath={beneath:?}", path.split('/').count().min(12))
        }
    }
}

fn has_one_meaning(text: &str, path: &AbsolutePath) {
    assert_eq!(AbsolutePath::parse(path.as_str()).as_ref(), Ok(path), "printing changes it");
    assert_eq!(text.strip_suffix('/').unwrap_or(text), path.as_str(), "reading changes it");
    assert!(!path.as_str().chars().any(char::is_control), "a control character is accepted");
    assert!(path.as_str().split('/').skip(1).all(|part| !["", ".", ".."].contains(&part)));
    let mut components = Path::new(path.as_str()).components();
    assert_eq!(components.next(), Some(Component::RootDir));
    assert!(components.all(|part| matches!(part, Component::Normal(_))), "a way up is accepted");
}

/// Every parent is a root that the path is beneath, and a longer name is not.
fn is_beneath_its_parents(path: &AbsolutePath) {
    assert!(path.beneath(path).is_none(), "a path is beneath itself");
    for (end, _) in path.as_str().match_indices('/').skip(1) {
        let (root, rest) = path.as_str().split_at(end);
        let parse = |text: &str| AbsolutePath::parse(text).ok();
        let root_read = parse(root).unwrap_or_else(|| panic!("the parent {root:?} is refused"));
        let beneath = path.beneath(&root_read);
        assert_eq!(beneath.as_ref().map(RelativePath::as_str), rest.strip_prefix('/'));
        assert!(root_read.beneath(path).is_none(), "a parent is beneath its child");
        let sibling = parse(&format!("{root}-x"));
        assert!(sibling.is_some_and(|sibling| path.beneath(&sibling).is_none()));
    }
}

/// Returns whether the path is beneath the root, after asking the standard library too.
fn agrees(path: &AbsolutePath, root: &AbsolutePath) -> bool {
    let ours = path.beneath(root);
    let other = Path::new(path.as_str()).strip_prefix(root.as_str()).ok();
    let other = other.filter(|rest| !rest.as_os_str().is_empty());
    assert_eq!(ours.as_ref().map(|part| Path::new(part.as_str())), other);
    ours.is_some()
}
