//! Which branch a worktree is at, read from its files: `git` itself would run the worktree's hooks.

use guard::config::Roots;
use guard::io::{Directory, Root};
use guard::path::AbsolutePath;

/// Largest file of `git` that is read here, in bytes.
const LIMIT: usize = 4096;

/// Longest name of a branch that is shown, in bytes.
const LONGEST: usize = 200;

/// Returns the branch of a worktree, or the beginning of the commit that it is at.
///
/// What the worktree says of its repository is followed beneath the configured roots only.
pub(crate) fn of_worktree(worktree: &str, roots: &Roots) -> Option<String> {
    let worktree = AbsolutePath::parse(worktree).ok()?;
    let tree = open(&worktree, roots)?;
    let git = match tree.open_directory(".git") {
        Ok(git) => git,
        Err(_) => {
            let link = tree.read_text(".git", LIMIT).ok()?;
            let path = AbsolutePath::parse(link.strip_prefix("gitdir: ")?.trim_end()).ok()?;
            open(&path, roots)?
        }
    };
    name(&git.read_text("HEAD", LIMIT).ok()?)
}

fn open(path: &AbsolutePath, roots: &Roots) -> Option<Directory> {
    let roots_of_trees = [&roots.worktree, &roots.repository].into_iter().flatten();
    let mut opened = roots_of_trees.filter_map(|root| {
        let beneath = path.beneath(root)?;
        let root = Root::open(root).ok()?.crossing_mounts(roots.cross_mounts);
        root.open_directory(&beneath).ok().map(Directory::from)
    });
    opened.next()
}

/// Reads the content of `HEAD`; a branch chooses its name, so an odd one is none.
fn name(head: &str) -> Option<String> {
    let head = head.trim_end();
    if let Some(branch) = head.strip_prefix("ref: refs/heads/") {
        let plain = branch.chars().all(|c| !c.is_control() && !c.is_whitespace());
        return (plain && (1..=LONGEST).contains(&branch.len())).then(|| branch.to_owned());
    }
    let is_commit = head.len() >= 40 && head.bytes().all(|b| b.is_ascii_hexdigit());
    is_commit.then(|| head[..12].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_names_a_branch_or_a_commit() {
        assert_eq!(name("ref: refs/heads/feature/login\n").as_deref(), Some("feature/login"));
        let commit = "da39a3ee5e6b4b0d3255bfef95601890afd80709\n";
        assert_eq!(name(commit).as_deref(), Some("da39a3ee5e6b"));
        for odd in
            ["", "ref: refs/heads/", "ref: refs/heads/a\u{1b}[31m", "ref: refs/tags/v1", "root:x:0"]
        {
            assert_eq!(name(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_worktree_s_repository_is_followed_beneath_the_roots_only() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let write = |name: &str, text: &str| {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), text).unwrap();
        };
        let root = |name: &str| AbsolutePath::parse(at(name).to_str().unwrap()).ok();
        write("repo/.git/worktrees/a/HEAD", "ref: refs/heads/feature-7\n");
        write("elsewhere/HEAD", "ref: refs/heads/secret\n");
        write("trees/own/.git/HEAD", "ref: refs/heads/main\n");
        let link = |to: &str| format!("gitdir: {}\n", at(to).to_str().unwrap());
        write("trees/linked/.git", &link("repo/.git/worktrees/a"));
        write("trees/astray/.git", &link("elsewhere"));
        let roots = Roots { worktree: root("trees"), repository: root("repo"), ..Roots::default() };
        let branch = |tree: &str| of_worktree(at(tree).to_str().unwrap(), &roots);
        assert_eq!(branch("trees/own").as_deref(), Some("main"));
        assert_eq!(branch("trees/linked").as_deref(), Some("feature-7"));
        assert_eq!(branch("trees/astray"), None);
        assert_eq!(branch("elsewhere"), None);
    }
}
