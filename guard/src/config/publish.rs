//! What the publish flow takes from a worktree, and how much of it is kept.

use serde::Deserialize;

use super::file::refuse_value;
use crate::diagnostic::Denial;
use crate::layout::Layout;
use crate::path::RelativePath;

/// Where the publish flow finds things in a worktree, and how much it keeps.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The directory of migrations, relative to the worktree; none means that there are none.
    pub migrations: Option<RelativePath>,
    /// The layout of that directory; none means the one that its names show.
    pub layout: Option<Layout>,
    /// The directory of the built frontend, relative to the worktree; none means no frontend.
    pub dist: Option<RelativePath>,
    /// The key under `[programs]` that builds the frontend.
    pub build: Option<String>,
    /// The keys under `[programs]` that bring the dependencies in, in order.
    pub sync: Vec<String>,
    /// How many releases are kept beside the one that is served and the one before it.
    pub keep_releases: usize,
    /// How many artifacts of each slot are kept.
    pub keep_artifacts: usize,
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            migrations: None,
            layout: None,
            dist: None,
            build: None,
            sync: Vec::new(),
            keep_releases: 3,
            keep_artifacts: 50,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFrontend {
    dist: Option<String>,
    build: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPublish {
    migrations: Option<String>,
    layout: Option<String>,
    keep_releases: Option<u16>,
    keep_artifacts: Option<u16>,
}

/// Parses the tables; `program_exists` says whether a key stands under `[programs]`.
pub(super) fn parse(
    publish: RawPublish,
    frontend: RawFrontend,
    sync: Vec<String>,
    program_exists: impl Fn(&str) -> bool,
) -> Result<Publish, Denial> {
    let default = Publish::default();
    if let Some(key) = frontend.build.as_deref().filter(|key| !program_exists(key)) {
        let expected = "a key under `[programs]`";
        return Err(refuse_value("[frontend] build", key, expected));
    }
    if let Some(key) = sync.iter().find(|key| !program_exists(key)) {
        return Err(refuse_value("[sync] programs", key, "keys under `[programs]`"));
    }
    if frontend.build.is_some() && frontend.dist.is_none() {
        let expected = "`[frontend] dist`, the directory that the build writes";
        return Err(refuse_value("[frontend] build", "no `[frontend] dist`", expected));
    }
    Ok(Publish {
        layout: layout(publish.layout)?,
        migrations: directory("[publish] migrations", publish.migrations)?,
        dist: directory("[frontend] dist", frontend.dist)?,
        build: frontend.build,
        sync,
        keep_releases: publish.keep_releases.map_or(default.keep_releases, usize::from),
        keep_artifacts: publish.keep_artifacts.map_or(default.keep_artifacts, usize::from),
    })
}

fn layout(text: Option<String>) -> Result<Option<Layout>, Denial> {
    let names = || Layout::ALL.map(Layout::name).join(", ");
    let refuse = |text: &str| refuse_value("[publish] layout", text, &names());
    text.map(|text| text.parse().map_err(|_| refuse(&text))).transpose()
}

fn directory(key: &str, text: Option<String>) -> Result<Option<RelativePath>, Denial> {
    let parse = |text: String| {
        let expected = "a plain path relative to the worktree";
        RelativePath::parse(&text).map_err(|_| refuse_value(key, &text, expected))
    };
    text.map(parse).transpose()
}
