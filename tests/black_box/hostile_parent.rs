//! Clauses SE-2, SE-4: what arrives in a program from a hostile parent, through the wrapper and
//! through its peers. The table in `docs/exec.md` is what this test measures.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

use serde_json::Value;

use crate::support::parent::Parent;
use crate::support::place::Place;
use crate::support::programs;
use crate::support::run::{Run, say};

const URL: &str = "postgresql://slot_1@127.0.0.1:5432/app_preview_1";

/// How many variables the parent has that no preview may see.
const DANGEROUS: usize = 200;

/// The number under which the parent leaves a secret file open, and a socket.
const SECRET_FILE: i32 = 9;
const FOREIGN_SOCKET: i32 = 10;

/// A way to start a program.
struct Way {
    name: &'static str,
    /// The words in front of the program.
    words: &'static [&'static str],
    /// Part of what the tool says of its version: another one may behave otherwise.
    version: &'static str,
}

const WAYS: &[Way] = &[
    Way { name: "directly", words: &[], version: "" },
    Way { name: "`env -i`", words: &["/usr/bin/env", "-i"], version: "" },
    Way {
        name: "`setpriv --no-new-privs`",
        words: &["/usr/bin/setpriv", "--no-new-privs"],
        version: "",
    },
    Way {
        name: "`bwrap --clearenv`",
        words: &["/usr/bin/bwrap", "--clearenv", "--bind", "/", "/", "--proc", "/proc"],
        version: "bubblewrap 0.8.0",
    },
    Way { name: "`sudo -n`", words: &["/usr/bin/sudo", "-n"], version: "Sudo version 1.9.13p3" },
    Way { name: "`runtime-wrapper exec`", words: &["runtime-wrapper"], version: "" },
];

impl Way {
    /// Whether the tool is installed in the version that the table is about.
    fn is_here(&self) -> bool {
        let Some(tool) = self.words.first().filter(|tool| tool.starts_with('/')) else {
            return true;
        };
        let path = Path::new(tool);
        path.is_file() && Run::at(path, &["--version"]).run().stdout.contains(self.version)
    }
}

/// Every dangerous name: those of the fixture, and one for each further pattern of the tables.
fn dangerous() -> Vec<String> {
    let fixture = fixtures::hostile_environment().into_iter().map(|variable| variable.name);
    let table = guard::environment::rules().flat_map(guard::environment::Rule::patterns);
    let table = table.map(|pattern| match pattern.strip_prefix('*') {
        Some(suffix) => format!("X{suffix}"),
        None => pattern.replace('*', "X"),
    });
    let mut seen = BTreeSet::new();
    // What the loader or a shell acts on before any of them could drop it stays out of this process.
    let acts = |name: &str| name.starts_with("LD_") || name == "GLIBC_TUNABLES";
    let names = fixture.chain(table).filter(|name| !acts(name));
    names.filter(|name| seen.insert(name.clone())).take(DANGEROUS).collect()
}

struct Scene {
    place: Place,
    secret: File,
    socket: File,
}

impl Scene {
    fn new() -> Self {
        let place = Place::new();
        place.write("secret", 0o600, "x");
        place.install(&programs::program("sandbox-probe"), "bin/sandbox-probe");
        let program = place.text("bin/sandbox-probe");
        place.configure(&format!("[programs.probe]\npath = \"{program}\"\n"));
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let socket = File::from(OwnedFd::from(socket));
        let secret = File::open(place.path("secret")).unwrap();
        Self { place, secret, socket }
    }

    /// Starts the probe in one way, from a parent that is careless in everything.
    fn arrives(&self, words: &[&str], doubled: bool) -> (Value, u32) {
        let program = self.place.text("bin/sandbox-probe");
        let run = match words {
            ["runtime-wrapper"] => self.place.exec(&[], &[&program]).format("json"),
            [] => Run::at::<&str>(Path::new(&program), &[]),
            [tool, rest @ ..] => Run::at(Path::new(tool), &[rest, &[&program]].concat()),
        };
        let names = dangerous();
        assert_eq!(names.len(), DANGEROUS, "the tables have become smaller");
        let entries: Vec<String> = names.iter().map(|name| format!("{name}=leak")).collect();
        let mut entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        let url = format!("DATABASE_URL={URL}");
        entries.push(&url);
        if doubled {
            entries.extend(["TWICE=1", "TWICE=2"]);
        }
        let run = run
            .with_entries(&entries)
            .under(Parent::Careless)
            .under(Parent::descriptor(SECRET_FILE, &self.secret))
            .under(Parent::descriptor(FOREIGN_SOCKET, &self.socket));
        let mut pid = 0;
        let outcome = run.run_while(|running| pid = running.id());
        if doubled && outcome.stdout.is_empty() {
            return (Value::Null, pid);
        }
        let probe = outcome.stdout.lines().last().and_then(|line| serde_json::from_str(line).ok());
        (probe.unwrap_or_else(|| panic!("{outcome:#?}")), pid)
    }

    /// Measures one way: what a row of the table says.
    fn row(&self, words: &[&str]) -> Vec<String> {
        let (probe, pid) = self.arrives(words, false);
        let (doubled, _) = self.arrives(words, true);
        let names = strings(&probe["names"]);
        let leaked = dangerous().iter().filter(|name| names.contains(&name.as_str())).count();
        let twice = match &doubled {
            Value::Null => "refused".to_owned(),
            probe => strings(&probe["names"]).iter().filter(|n| **n == "TWICE").count().to_string(),
        };
        let open = |number: i32| {
            let open = strings(&probe["descriptors"]).contains(&number.to_string().as_str());
            if open { "open" } else { "closed" }.to_owned()
        };
        let bit = |field: &str, signal: i32| {
            let mask = u64::from_str_radix(probe[field].as_str().unwrap(), 16).unwrap();
            mask & (1 << (signal - 1)) != 0
        };
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        vec![
            leaked.to_string(),
            twice,
            open(SECRET_FILE),
            open(FOREIGN_SOCKET),
            yes(bit("ignored", libc::SIGTERM)),
            yes(bit("blocked", libc::SIGUSR1)),
            probe["umask"].as_str().unwrap().to_owned(),
            probe["core"].as_str().unwrap().to_owned(),
            yes(probe["no_new_privs"] == "1"),
            yes(probe["parent_readable"] == true),
            yes(probe["pid"] == pid),
        ]
    }
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// Reads the rows of the table in the documentation, without its head.
fn documented() -> Vec<Vec<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/exec.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("<!-- measured: hostile parent -->").unwrap();
    let lines = rest.trim_start().lines().take_while(|line| line.starts_with('|'));
    let cells =
        |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.skip(2).map(cells).collect()
}

#[test]
fn se_2_se_4_the_table_of_what_arrives_is_true() {
    let scene = Scene::new();
    let documented = documented();
    assert_eq!(documented.len(), WAYS.len(), "one row for each way");
    // Limits, groups and parents differ from user to user; the page says what root sees.
    if !rustix::process::geteuid().is_root() {
        say("SKIPPED: the table says what arrives in a program of root");
        return;
    }
    let (mut measured, mut said) = (Vec::new(), Vec::new());
    for (way, row) in WAYS.iter().zip(documented) {
        if !way.is_here() {
            say(&format!("SKIPPED: {} is not installed, or of another version", way.name));
            continue;
        }
        let mut cells = scene.row(way.words);
        cells.insert(0, way.name.to_owned());
        measured.push(format!("| {} |", cells.join(" | ")));
        said.push(format!("| {} |", row.join(" | ")));
    }
    assert_eq!(measured, said, "the table is:\n{}", measured.join("\n"));
}

#[test]
fn se_2_nothing_of_a_hostile_parent_arrives_through_the_wrapper() {
    let scene = Scene::new();
    let row = scene.row(&["runtime-wrapper"]);
    let wanted = ["0", "refused", "closed", "closed", "no", "no", "0027", "1", "yes", "no", "yes"];
    assert_eq!(row, wanted);
    let (probe, _) = scene.arrives(&["runtime-wrapper"], false);
    assert_eq!(probe["capabilities"], "0000000000000000", "{probe}");
    let direct = scene.row(&[]);
    assert_eq!(direct[0], DANGEROUS.to_string(), "the parent is not hostile");
    assert_eq!(direct[1..6], ["2", "open", "open", "yes", "yes"]);
}
