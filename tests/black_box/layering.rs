//! Who may depend on whom; every edge that is not allowed here is a mistake.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// The crates from the bottom up: each may use only those above it in this list.
const LAYERS: [&str; 14] = [
    "guard",
    "step-report",
    "slot-runtime",
    "pg-tls",
    "runtime-wrapper",
    "migrate-runner",
    "throwaway-postgres",
    "pg-sidecar",
    "web-surface",
    "slotguard",
    "fixtures",
    "slotguard-tests",
    "fuzz",
    "benches",
];

/// The sample application knows nothing of this project.
const OUTSIDE: &str = "sample-backend";

/// Reads the workspace and everything it is built from on this platform.
fn metadata() -> Metadata {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .other_options(vec!["--offline".to_owned(), "--filter-platform".to_owned(), platform])
        .exec()
        .unwrap()
}

/// Returns what a crate is built from; what only its tests use does not count.
fn built_from(package: &Package) -> BTreeSet<String> {
    let counts = |kind| matches!(kind, DependencyKind::Normal | DependencyKind::Build);
    let edges = package.dependencies.iter().filter(|dependency| counts(dependency.kind));
    edges.map(|dependency| dependency.name.clone()).collect()
}

fn graph(metadata: &Metadata) -> BTreeMap<String, BTreeSet<String>> {
    let packages = metadata.workspace_packages().into_iter();
    packages.map(|package| (package.name.to_string(), built_from(package))).collect()
}

/// Returns the edges that are not allowed.
fn mistakes(graph: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let layer = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    let mut mistakes = Vec::new();
    for (name, dependencies) in graph {
        let own = layer(name);
        if own.is_none() && name != OUTSIDE {
            mistakes.push(format!("{name} has no layer"));
        }
        for dependency in dependencies.iter().filter(|dependency| graph.contains_key(*dependency)) {
            let allowed = own.zip(layer(dependency)).is_some_and(|(own, below)| below < own);
            if !allowed {
                mistakes.push(format!("{name} → {dependency}"));
            }
        }
        for (library, users) in [
            ("refinery", &["migrate-runner"][..]),
            ("tokio-postgres", &["migrate-runner", OUTSIDE]),
            ("tokio-rustls", &["pg-tls"]),
        ] {
            let uses = dependencies.iter().any(|dependency| dependency.starts_with(library));
            if uses && !users.contains(&name.as_str()) {
                mistakes.push(format!("{name} → {library}"));
            }
        }
    }
    mistakes
}

#[test]
fn crates_depend_only_on_lower_layers() {
    let graph = graph(&metadata());
    assert!(graph.contains_key("guard") && graph.contains_key("migrate-runner"));
    assert_eq!(mistakes(&graph), Vec::<String>::new());
}

#[test]
fn a_wrong_edge_is_seen() {
    let edge = |from: &str, to: &str| {
        let mut graph: BTreeMap<String, BTreeSet<String>> = LAYERS
            .iter()
            .chain([&OUTSIDE])
            .map(|name| ((*name).to_owned(), BTreeSet::new()))
            .collect();
        graph.entry(from.to_owned()).or_default().insert(to.to_owned());
        mistakes(&graph)
    };
    assert_eq!(edge("slotguard", "guard"), Vec::<String>::new());
    assert_eq!(edge("guard", "step-report"), ["guard → step-report"]);
    assert_eq!(edge("sample-backend", "guard"), ["sample-backend → guard"]);
    assert_eq!(edge("slotguard", "refinery-core"), ["slotguard → refinery"]);
    assert_eq!(edge("guard", "tokio-postgres"), ["guard → tokio-postgres"]);
    assert_eq!(edge("pg-sidecar", "tokio-rustls"), ["pg-sidecar → tokio-rustls"]);
    assert_eq!(edge("newcomer", "guard"), ["newcomer has no layer", "newcomer → guard"]);
}

#[test]
fn the_decision_and_the_wrapper_bring_no_runtime() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().unwrap();
    for name in ["guard", "step-report", "slot-runtime", "runtime-wrapper"] {
        let package = metadata.packages.iter().find(|package| package.name.as_str() == name);
        let mut waiting = vec![&package.unwrap().id];
        let mut seen = BTreeSet::new();
        while let Some(id) = waiting.pop() {
            if !seen.insert(id) {
                continue;
            }
            let node = resolve.nodes.iter().find(|node| node.id == *id).unwrap();
            let is_built = |dependency: &&cargo_metadata::NodeDep| {
                dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development)
            };
            waiting.extend(node.deps.iter().filter(is_built).map(|dependency| &dependency.pkg));
        }
        assert!(seen.len() > 1, "{name} seems to have no dependencies");
        let runtime = seen.iter().find(|id| metadata[**id].name.as_str() == "tokio");
        assert_eq!(runtime, None, "{name}");
    }
}

/// The modules beneath the execution path's crates that start programs, and the features that they
/// need.
const CHILDREN: [&str; 3] = [
    "slot-runtime/src/lifecycle/children.rs",
    "slot-runtime/src/installation/ask.rs",
    "slot-runtime/src/installation/child.rs",
];
const FEATURES: [&str; 2] = ["installation", "lifecycle"];

#[test]
fn se_1_the_execution_path_is_built_without_what_starts_children() {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../slot-runtime/src/lib.rs");
    let library = std::fs::read_to_string(library).unwrap();
    for feature in FEATURES {
        let gate = format!("#[cfg(feature = \"{feature}\")]\npub mod {feature};");
        assert!(library.contains(&gate), "{library}");
    }
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let features = |name: &str| -> Option<Vec<String>> {
        let package = packages.iter().find(|package| package.name.as_str() == name)?;
        let edge = |dependency: &&cargo_metadata::Dependency| dependency.name == "slot-runtime";
        package.dependencies.iter().find(edge).map(|dependency| dependency.features.clone())
    };
    assert_eq!(features("runtime-wrapper").unwrap(), Vec::<String>::new());
    assert_eq!(features("slotguard").unwrap(), FEATURES);
    let own = packages.iter().find(|package| package.name.as_str() == "slot-runtime").unwrap();
    assert_eq!(own.features.get("default"), None);
}

#[test]
fn se_1_the_guarded_programs_start_no_children() {
    for name in
        ["guard", "step-report", "slot-runtime", "pg-tls", "runtime-wrapper", "migrate-runner"]
    {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        let files = sources(&directory);
        assert!(!files.is_empty(), "{name} has no sources");
        for file in files.iter().filter(|file| !CHILDREN.iter().any(|own| file.ends_with(own))) {
            let text = std::fs::read_to_string(file).unwrap();
            for needle in ["process::Command", "Command::new", "process::{Command", "posix_spawn"] {
                assert!(!text.contains(needle), "{needle} in {}", file.display());
            }
        }
    }
}

/// Names, and beginnings of names, that belong to container tools only.
const CONTAINER_FILES: [&str; 5] =
    ["dockerfile", "containerfile", "docker-compose", "compose.y", "chart.y"];
const CONTAINER_CRATES: [&str; 5] = ["bollard", "docker", "kube", "k8s-", "testcontainers"];

#[test]
fn sc_2_nc_1_nc_2_the_tree_holds_nothing_of_containers() {
    let is_of = |names: &[&str], name: &str| {
        let name = name.to_ascii_lowercase();
        names.iter().any(|start| name.starts_with(start))
    };
    let metadata = metadata();
    assert!(metadata.packages.len() > 10);
    let package = metadata.packages.iter().find(|p| is_of(&CONTAINER_CRATES, p.name.as_str()));
    assert!(package.is_none(), "{package:?}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let names: Vec<String> = files(&root, &|_| true)
        .iter()
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .collect();
    assert!(names.iter().any(|name| name == "layering.rs"), "the tree was not walked");
    let file = names.iter().find(|name| is_of(&CONTAINER_FILES, name));
    assert_eq!(file, None);
    assert!(is_of(&CONTAINER_FILES, "Dockerfile.dev"));
}

/// Returns every `.rs` file below a directory.
pub(crate) fn sources(directory: &Path) -> Vec<PathBuf> {
    files(directory, &|path| path.extension().is_some_and(|extension| extension == "rs"))
}

/// Returns the wanted files below a directory, without what is built or hidden.
fn files(directory: &Path, wanted: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if name != "target" && !name.starts_with('.') {
                found.extend(files(&path, wanted));
            }
        } else if wanted(&path) {
            found.push(path);
        }
    }
    found
}
