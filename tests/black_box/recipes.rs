//! The recipes of a dependency sync that ship: each is accepted, and those whose tools are here run.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::path::Path;

use guard::config::Config;

use crate::support::bench::{Bench, states, summary};
use crate::support::run::{Run, say};

const RECIPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/recipes");

fn recipe(name: &str) -> String {
    std::fs::read_to_string(format!("{RECIPES}/{name}.toml")).unwrap()
}

#[test]
fn every_recipe_is_accepted_and_syncs_with_its_own_program() {
    let mut names: Vec<String> = std::fs::read_dir(RECIPES)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["cargo", "npm", "pip", "pnpm", "uv"]);
    for name in names {
        let config = Config::parse(&format!("version = 1\n{}", recipe(&name))).unwrap();
        assert_eq!(config.publish.sync, [name.as_str()]);
        let slot = "preview-1".parse().unwrap();
        config.programs.approve_key(slot, &name, &[]).unwrap();
    }
}

/// A bench that syncs by a recipe; none where its program is not here.
fn bench(name: &str, program: &str) -> Option<Bench> {
    if !Path::new(program).is_file() {
        say(&format!("SKIPPED: no {program}"));
        return None;
    }
    let bench = Bench::new().serving();
    let text = std::fs::read_to_string(bench.server.place.config()).unwrap();
    bench.server.place.write("slotguard.toml", 0o600, &format!("{text}{}", recipe(name)));
    Some(bench)
}

#[track_caller]
fn synced(bench: &Bench) {
    let outcome = bench.publish(&[]).run();
    let done = summary(&outcome);
    assert!(states(&done).contains(&"dependency-sync done".to_owned()), "{outcome:#?}");
    let again = summary(&bench.publish(&[]).run());
    assert!(states(&again).contains(&"dependency-sync unchanged".to_owned()), "{again:#}");
}

#[test]
fn npm_installs_a_package_of_the_worktree() {
    let Some(bench) = bench("npm", "/usr/bin/npm") else { return };
    bench.write("greeting/package.json", r#"{"name":"greeting","version":"1.0.0"}"#);
    bench.write(
        "package.json",
        r#"{"name":"app","version":"1.0.0","dependencies":{"greeting":"file:greeting"}}"#,
    );
    bench.write(
        "package-lock.json",
        r#"{"name":"app","version":"1.0.0","lockfileVersion":3,"requires":true,"packages":{
            "":{"name":"app","version":"1.0.0","dependencies":{"greeting":"file:greeting"}},
            "greeting":{"version":"1.0.0"},
            "node_modules/greeting":{"resolved":"greeting","link":true}}}"#,
    );
    synced(&bench);
    let place = &bench.server.place;
    assert!(place.path("previews/feature/node_modules/greeting/package.json").is_file());
}

/// Packs a wheel with one module, as the format of wheels has it.
const WHEEL: &str = "\
import zipfile
with zipfile.ZipFile('greeting-1.0-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('greeting.py', 'WORD = 1\\n')
    at = 'greeting-1.0.dist-info/'
    wheel.writestr(at + 'METADATA', 'Metadata-Version: 2.1\\nName: greeting\\nVersion: 1.0\\n')
    wheel.writestr(at + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(at + 'RECORD', '')
";

#[test]
fn pip_installs_a_wheel_of_the_worktree() {
    let Some(bench) = bench("pip", "/usr/bin/pip3") else { return };
    bench.write("pack.py", WHEEL);
    let worktree = bench.server.place.text("previews/feature");
    let front = ["-C", worktree.as_str()];
    let pack = Run::at(Path::new("/usr/bin/python3"), &["pack.py"]);
    assert_eq!(pack.behind(Path::new("/usr/bin/env"), &front).run().status, Some(0));
    bench.write("requirements.txt", "--no-index\n./greeting-1.0-py3-none-any.whl\n");
    synced(&bench);
    let place = &bench.server.place;
    assert!(place.path("previews/feature/python-packages/greeting.py").is_file());
}
