//! What `slotguard install` writes, how it is taken away again, and that the system's own tools
//! accept it.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use guard::diagnostic::Code;
use serde_json::Value;

use crate::support::place::Place;
use crate::support::run::{Outcome, Run, assert_whole, say};

/// The codes that this module shows, for the test that every code is shown.
pub(crate) const SHOWN: [Code; 6] = [
    Code::InstallPath,
    Code::InstallInTheWay,
    Code::InstallChanged,
    Code::NotInstalled,
    Code::InstallManifest,
    Code::InstallUnwritable,
];

const UNIT: &str = "etc/systemd/system/slot-backend@.service";
const CONFIG: &str = "etc/slotguard/slotguard.toml";

/// A place whose directory `host` stands for the host's root.
struct Host(Place);

impl Host {
    fn new() -> Self {
        let place = Place::new();
        std::fs::create_dir_all(place.path("host/etc")).unwrap();
        std::fs::write(place.path("host/etc/hosts"), "127.0.0.1 localhost\n").unwrap();
        Self(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path("host").join(name)
    }

    fn run(&self, command: &str, args: &[&str]) -> Run {
        let root = self.0.text("host");
        Run::new("slotguard", &[&[command, "--root", &root], args].concat())
    }

    fn install(&self, args: &[&str]) -> Run {
        self.run("install", &[&["--programs", "/usr/local/bin"], args].concat())
    }

    /// Everything beneath the root: the content of files, and where directories are.
    fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut content = BTreeMap::new();
        let mut waiting = vec![self.path("")];
        while let Some(directory) = waiting.pop() {
            for entry in std::fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    content.insert(path.clone(), Vec::new());
                    waiting.push(path);
                } else {
                    content.insert(path.clone(), std::fs::read(&path).unwrap());
                }
            }
        }
        content
    }

    fn write(&self, name: &str, text: &str) {
        self.0.write(&format!("host/{name}"), 0o644, text);
    }
}

/// The paths with one deed, as the program said them.
fn with_deed(outcome: &Outcome, deed: &str) -> Vec<String> {
    let said = &outcome.accepted().objects()[0];
    let files = said["files"].as_array().unwrap().iter();
    let files = files.filter(|file| file["deed"] == deed);
    files.map(|file| file["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_dry_run_lists_and_writes_nothing() {
    let host = Host::new();
    let before = host.content();
    let dry = host.install(&["--dry-run"]).format("json").run();
    let listed = with_deed(&dry, "write");
    assert!(listed.iter().any(|path| path.ends_with("/slot-backend@.service")), "{listed:?}");
    assert_eq!(host.content(), before);

    let wet = host.install(&[]).format("json").run();
    assert_eq!(with_deed(&wet, "write"), listed, "what was listed is what is written");
    for path in listed {
        assert!(host.path(path.trim_start_matches('/')).is_file(), "{path}");
    }
    let dry = host.run("uninstall", &["--dry-run"]).format("json").run();
    assert!(!with_deed(&dry, "remove").is_empty());
    assert!(host.path(UNIT).is_file());
}

#[test]
fn a_second_run_changes_nothing_and_uninstall_leaves_the_root_as_it_was() {
    let host = Host::new();
    host.write("srv/oroboros/current/scripts/deploy", "somebody's own\n");
    let before = host.content();
    host.install(&[]).run().accepted();
    let installed = host.content();
    assert!(installed.len() > before.len());

    let again = host.install(&[]).format("json").run();
    assert_eq!((with_deed(&again, "write"), with_deed(&again, "replace")), (vec![], vec![]));
    assert_eq!(host.content(), installed);

    host.run("uninstall", &[]).run().accepted();
    assert_eq!(host.content(), before);
}

#[test]
fn a_later_version_replaces_what_an_earlier_one_wrote() {
    let host = Host::new();
    let first = host.run("install", &["--programs", "/opt/old"]).run();
    first.accepted();
    let later = host.install(&[]).format("json").run();
    assert!(with_deed(&later, "replace").contains(&format!("/{UNIT}")));
    let unit = std::fs::read_to_string(host.path(UNIT)).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/") && !unit.contains("/opt/old"), "{unit}");
    // Scripts that move are taken away where they were.
    let moved = host.install(&["--scripts", "/srv/elsewhere"]).format("json").run();
    let gone = "/srv/oroboros/current/scripts/slot-start".to_owned();
    assert!(with_deed(&moved, "remove").contains(&gone));
    assert!(!host.path(gone.trim_start_matches('/')).exists());
    host.run("uninstall", &[]).run().accepted();
    assert!(!host.path("srv").exists() && !host.path("etc/slotguard").exists());
}

#[test]
fn the_owner_s_configuration_stays() {
    let host = Host::new();
    let own = "version = 1\n[slots]\nids = [\"preview-2\"]\n";
    host.write(CONFIG, own);
    let outcome = host.install(&[]).format("json").run();
    assert_eq!(with_deed(&outcome, "keep"), [format!("/{CONFIG}")]);
    let users = std::fs::read_to_string(host.path("etc/sysusers.d/slotguard.conf")).unwrap();
    assert!(users.contains("slot-preview-2") && !users.contains("slot-preview-1"), "{users}");
    host.run("uninstall", &[]).run().accepted();
    assert_eq!(std::fs::read_to_string(host.path(CONFIG)).unwrap(), own);

    // One that was installed and then edited is the owner's, too.
    std::fs::remove_file(host.path(CONFIG)).unwrap();
    host.install(&[]).run().accepted();
    host.write(CONFIG, own);
    host.run("uninstall", &[]).run().accepted();
    assert_eq!(std::fs::read_to_string(host.path(CONFIG)).unwrap(), own);
}

#[test]
fn a_changed_file_keeps_everything_as_it_is_unless_it_is_left_alone() {
    let host = Host::new();
    host.install(&[]).run().accepted();
    host.write(UNIT, "# mine\n");
    let before = host.content();
    host.run("uninstall", &[]).format("json").run().denied(Code::InstallChanged);
    host.run("install", &["--programs", "/opt/new"]).run().refused(Code::InstallChanged);
    assert_eq!(host.content(), before);
    host.run("uninstall", &["--keep-changed"]).run().accepted();
    assert_eq!(std::fs::read_to_string(host.path(UNIT)).unwrap(), "# mine\n");
    assert!(!host.path("etc/sysusers.d").exists());
    // Now it is nobody's, and in the way.
    host.install(&[]).run().refused(Code::InstallInTheWay);
    assert!(!host.path("etc/sysusers.d").exists());
    std::fs::remove_file(host.path(UNIT)).unwrap();
    host.install(&[]).run().accepted();
}

type Scenario = (Code, fn(&Host) -> Run);

const REFUSALS: [Scenario; 6] = [
    (Code::InstallPath, |host| host.install(&["--scripts", "/srv/my scripts"])),
    (Code::InstallInTheWay, |host| {
        host.write(UNIT, "# mine\n");
        host.install(&[])
    }),
    (Code::InstallChanged, |host| {
        host.install(&[]).run().accepted();
        host.write(UNIT, "# mine\n");
        host.run("uninstall", &[])
    }),
    (Code::NotInstalled, |host| host.run("uninstall", &[])),
    (Code::InstallManifest, |host| {
        host.install(&[]).run().accepted();
        host.write("etc/slotguard/installed.json", "{\"files\":[]}");
        host.run("uninstall", &[])
    }),
    (Code::InstallUnwritable, |host| {
        std::fs::create_dir_all(host.path(UNIT)).unwrap();
        host.install(&[])
    }),
];

#[test]
fn each_refusal_as_people_and_programs_meet_it() {
    for (code, prepare) in REFUSALS {
        let shown = ["human", "json"].map(|format| {
            let host = Host::new();
            let outcome = prepare(&host).format(format).run();
            outcome.refused(code);
            outcome.snapshot(&host.0.redactor())
        });
        assert_whole(code.id(), &shown.join("\n"));
    }
}

/// A host with scripts over a program that only writes down how it was started.
fn host_with_scripts() -> Host {
    let host = Host::new();
    let bin = host.0.text("bin");
    let record = "#!/bin/sh\nprintf '%s\\n' \"$@\" >>\"${0%/*}/started\"\n";
    host.0.write_program("bin/slotguard", record);
    host.run("install", &["--programs", &bin]).run().accepted();
    host
}

fn script(host: &Host, name: &str, args: &[&str]) -> Run {
    Run::at(&host.path("srv/oroboros/current/scripts").join(name), args)
}

const SCRIPTS: [&str; 6] =
    ["slot-start", "slot-restart", "slot-stop", "slot-status", "slot-health", "slot-release"];

#[test]
fn se_4_se_5_the_scripts_refuse_what_is_no_slot_before_anything_starts() {
    let host = host_with_scripts();
    let hostile: &[&[&str]] = &[
        &[],
        &[""],
        &["preview1"],
        &["preview-0"],
        &["preview-10"],
        &["Preview-1"],
        &["preview-1;id"],
        &["preview-1 "],
        &[" preview-1"],
        &["preview-1\n"],
        &["preview-1\nid"],
        &["../preview-1"],
        &["preview-1/../preview-2"],
        &["../x"],
        &["$(id)"],
        &["`id`"],
        &["*"],
        &["preview-?"],
        &["preview-[1]"],
        &["preview-\u{b9}"],
        &["--help"],
        &["-e"],
        &["preview-1", "preview-2"],
        &["preview-1", ""],
    ];
    for name in SCRIPTS {
        for args in hostile {
            let run = script(&host, name, args).with("IFS", "-").with("PATH", "/nowhere");
            let outcome = run.run();
            assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(64), ""), "{outcome:?}");
            assert_eq!(outcome.objects()[0]["code"], Code::UnknownSlot.id(), "{outcome:?}");
        }
        assert!(!host.0.path("bin/started").exists(), "{name} started something");
    }
}

#[test]
fn en_3_the_scripts_lie_where_the_worker_looks_for_them() {
    let host = Host::new();
    let name = "WORKER_PREVIEW_RUNTIME_SCRIPTS_DIR";
    host.install(&[]).with(name, "/srv/app/scripts").run().accepted();
    assert!(host.path("srv/app/scripts/slot-start").is_file());
    assert!(!host.path("srv/oroboros").exists());
    host.run("uninstall", &[]).run().accepted();
    host.install(&[]).with(name, "srv/../scripts").run().refused(Code::PathMalformed);
    assert!(!host.path("etc/slotguard").exists());
}

#[test]
fn the_scripts_start_one_command_on_one_slot() {
    let host = host_with_scripts();
    let started = |name: &str, lease: Option<&str>| {
        let run = script(&host, name, &["preview-2"]);
        let run = lease.iter().fold(run, |run, lease| run.with("SLOTGUARD_LEASE", lease));
        run.run().accepted();
        let words = std::fs::read_to_string(host.0.path("bin/started")).unwrap();
        std::fs::remove_file(host.0.path("bin/started")).unwrap();
        words.lines().collect::<Vec<_>>().join("|")
    };
    for verb in ["start", "restart", "stop"] {
        let front = format!("--format|json|backend|{verb}|--slot|preview-2");
        let name = format!("slot-{verb}");
        assert_eq!(started(&name, None), front);
        assert_eq!(started(&name, Some("7")), format!("{front}|--lease|7"));
        assert_eq!(started(&name, Some("7 8; id")), format!("{front}|--lease|7 8; id"));
    }
    for verb in ["status", "health"] {
        let name = format!("slot-{verb}");
        assert_eq!(
            started(&name, Some("7")),
            format!("--format|json|backend|{verb}|--slot|preview-2")
        );
    }
    let published = "--format|json|publish|--worktree||--slot|preview-2";
    assert_eq!(started("slot-publish", None), published);
    assert_eq!(started("slot-publish", Some("7")), format!("{published}|--lease|7"));
    assert_eq!(started("slot-release", None), "--format|json|backend|stop|--slot|preview-2");
    let released = "--format|json|slot|release|--slot|preview-2|--lease|7";
    assert_eq!(started("slot-release", Some("7")), released);
}

/// Leaves a configuration with the sidecar on.
fn with_sidecar(host: &Host) {
    let own = "version = 1\n[database]\nendpoints = [\"127.0.0.1:5432\"]\n\
               [sidecar]\nenabled = true\n";
    host.write(CONFIG, own);
}

#[test]
fn with_the_sidecar_on_only_its_unit_has_the_login() {
    let host = Host::new();
    host.install(&["--url-files"]).run().accepted();
    assert!(host.path("etc/systemd/system/slot-backend@.service.d/url-file.conf").is_file());
    assert!(!host.path("etc/systemd/system/slot-pg@.service").exists());
    with_sidecar(&host);
    let before = host.content();
    let denial = host.install(&["--url-files"]).format("json").run().denied(Code::Usage);
    assert!(denial["found"].as_str().unwrap().contains("[sidecar]"), "{denial}");
    assert_eq!(host.content(), before);
    let outcome = host.install(&["--nftables"]).format("json").run();
    let gone = "/etc/systemd/system/slot-backend@.service.d/url-file.conf".to_owned();
    assert!(with_deed(&outcome, "remove").contains(&gone), "{outcome:?}");
    let written = with_deed(&outcome, "write");
    assert!(written.contains(&"/etc/systemd/system/slot-pg@.service".to_owned()), "{written:?}");
    let rules = std::fs::read_to_string(host.path("etc/slotguard/slots.nft")).unwrap();
    assert!(rules.contains("tcp dport { 5101 } accept"), "{rules}");
}

/// Finds a tool of systemd; `None`, said aloud, where there is none.
fn tool(name: &str) -> Option<PathBuf> {
    let path = Path::new("/usr/bin").join(name);
    if path.is_file() {
        return Some(path);
    }
    say(&format!("SKIPPED: no {name}"));
    None
}

#[test]
fn the_units_are_as_closed_as_they_can_be_and_well_formed() {
    let Some(analyze) = tool("systemd-analyze") else { return };
    let host = Host::new();
    // The verification looks for the programs that the units start.
    with_sidecar(&host);
    host.run("install", &["--programs", "/usr/bin", "--nftables"]).run().accepted();
    let units = host.path("etc/systemd/system");
    for name in [
        "slot-backend@.service",
        "slot-pg@.service",
        "ouroboros-web@.service",
        "slotguard-reaper.service",
        "slotguard-nftables.service",
    ] {
        let unit = units.join(name);
        let args = ["security", "--offline=true", "--threshold=15", unit.to_str().unwrap()];
        let outcome = Run::at(&analyze, &args).with("PATH", "/usr/bin").run();
        assert_eq!(outcome.status, Some(0), "{name} is more than 1.5: {outcome:?}");
        assert!(!outcome.said().contains("ignoring"), "{outcome:?}");
    }
    let path = format!("{}:", units.to_str().unwrap());
    let mut names = vec![
        "slot-pg@preview-1.service",
        "slot-backend@preview-1.socket",
        "slotguard-preview-1.slice",
        "slotguard-reaper.timer",
    ];
    // It stops by the program itself, and names its manual.
    if Path::new("/usr/sbin/nft").is_file() {
        names.push("slotguard-nftables.service");
    } else {
        say("SKIPPED: slotguard-nftables.service, since there is no nft");
    }
    for unit in std::fs::read_dir(&units).unwrap() {
        let unit = unit.unwrap().path();
        if unit.extension().is_some_and(|kind| kind == "service") {
            let text = std::fs::read_to_string(&unit).unwrap();
            let lines = text.lines().map(|line| match line.split_once('=') {
                Some((name @ ("ExecStart" | "ExecStartPre"), _)) => {
                    format!("{name}=/usr/bin/true\n")
                }
                _ => format!("{line}\n"),
            });
            std::fs::write(&unit, lines.collect::<String>()).unwrap();
        }
    }
    let verify =
        [&["verify", "slot-backend@preview-1.service", "slotguard-reaper.service"][..], &names];
    let outcome = Run::at(&analyze, &verify.concat()).with("SYSTEMD_UNIT_PATH", &path).run();
    assert_eq!((outcome.status, outcome.said().as_str()), (Some(0), ""), "{outcome:?}");
}

#[test]
fn the_system_makes_a_user_and_a_private_directory_for_each_slot() {
    let tools = (tool("systemd-sysusers"), tool("systemd-tmpfiles"));
    let (Some(sysusers), Some(tmpfiles)) = tools else { return };
    if !rustix::process::geteuid().is_root() {
        say("SKIPPED: only root makes users");
        return;
    }
    let host = Host::new();
    with_sidecar(&host);
    host.install(&[]).run().accepted();
    let root = format!("--root={}", host.0.text("host"));
    assert_eq!(Run::at(&sysusers, &[&root]).run().status, Some(0));
    assert_eq!(Run::at(&tmpfiles, &[&root, "--create"]).run().status, Some(0));

    let passwd = std::fs::read_to_string(host.path("etc/passwd")).unwrap();
    let uid = |slot: &str| -> u32 {
        let line = passwd.lines().find(|line| line.starts_with(&format!("slot-{slot}:")));
        line.unwrap().split(':').nth(2).unwrap().parse().unwrap()
    };
    let group = std::fs::read_to_string(host.path("etc/group")).unwrap();
    let gid = |slot: &str| -> u32 {
        let line = group.lines().find(|line| line.starts_with(&format!("slot-{slot}:")));
        line.unwrap().split(':').nth(2).unwrap().parse().unwrap()
    };
    let mut uids = Vec::new();
    for slot in ["preview-1", "preview-2", "preview-3"] {
        use std::os::unix::fs::MetadataExt as _;
        let directory = host.path("var/lib/slotguard/state").join(slot);
        let metadata = std::fs::metadata(directory).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (uid(slot), 0o700), "{slot}");
        uids.push(metadata.uid());
        // The sidecar is another user, and the slot's group reads what it leaves.
        let sidecar = host.path("var/lib/slotguard/state/sidecar").join(slot);
        let metadata = std::fs::metadata(sidecar).unwrap();
        assert_eq!(metadata.uid(), uid(&format!("pg-{slot}")), "{slot}");
        assert_eq!((metadata.gid(), metadata.mode() & 0o777), (gid(slot), 0o750), "{slot}");
        uids.push(metadata.uid());
    }
    uids.sort_unstable();
    uids.dedup();
    assert_eq!(uids.len(), 6, "one user for each slot and one for each sidecar");
    for shared in ["leases", "records", "sidecar"] {
        let metadata = std::fs::metadata(host.path("var/lib/slotguard/state").join(shared));
        assert_eq!(metadata.unwrap().permissions().mode() & 0o777, 0o755, "{shared}");
    }
}

#[test]
fn what_is_left_to_do_is_said() {
    let host = Host::new();
    let said: Value = host.install(&[]).format("json").run().accepted().objects()[0].clone();
    assert_eq!(said["next"][0], "systemd-sysusers");
    assert_eq!((&said["action"], &said["dry_run"]), (&"install".into(), &false.into()));
}
