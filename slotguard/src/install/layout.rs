//! What an installation consists of: every file, where it lies and what is in it.
//!
//! The texts are the files of `deploy/`. Nothing here touches the machine.

use guard::diagnostic::{Code, Denial, shown};
use guard::path::AbsolutePath;
use guard::slot::{SlotId, SlotSet};

/// The programs' directory as the texts name it.
const PROGRAMS: &str = "/usr/local/bin/";
/// The state root as the texts name it.
const STATE: &str = "/var/lib/slotguard/state";

/// Where the installing environment says that frontends lie.
pub(super) const WEB_ROOT_VARIABLE: &str = "WORKER_PREVIEW_WEB_ROOT_TEMPLATE";

const UNITS: &str = "/etc/systemd/system";

/// The configuration that an installation starts with.
pub(super) const CONFIG: &str = "/etc/slotguard/slotguard.toml";

/// The rules for the network, where they were asked for.
pub(super) const NETWORK_RULES: &str = "/etc/slotguard/slots.nft";

/// A file as it shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Where, beneath the root.
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) content: String,
    /// Whether one that is there already stays as it is, whatever is in it.
    pub(super) keeps_existing: bool,
}

/// The paths of a host that the texts name.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    /// The directory of the programs.
    pub(super) programs: AbsolutePath,
    /// The directory of the runtime scripts.
    pub(super) scripts: AbsolutePath,
    /// The state root.
    pub(super) state: AbsolutePath,
    /// Where each slot's frontend lies.
    pub(super) web_roots: Vec<AbsolutePath>,
    /// The artifact root, if there is one.
    pub(super) artifact: Option<AbsolutePath>,
}

impl Paths {
    /// Requires that the paths mean in a unit and in a script what they mean here.
    ///
    /// # Errors
    /// Refuses a path with a blank, a `%` or anything else that is special there.
    pub(super) fn require_plain(&self) -> Result<(), Denial> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
        let own = [&self.programs, &self.scripts, &self.state];
        let mut paths = own.into_iter().chain(&self.web_roots).chain(&self.artifact);
        match paths.find(|path| !path.as_str().bytes().all(plain)) {
            None => Ok(()),
            Some(path) => Err(Denial::new(
                Code::InstallPath,
                "a path cannot be written into a unit or a script as it is",
                format!("`{}`", shown(path.as_str())),
                "letters, digits, `.`, `_`, `-` and `/`",
            )),
        }
    }
}

const BACKEND: &str = include_str!("../../../deploy/systemd/slot-backend@.service");
const SOCKET: &str = include_str!("../../../deploy/systemd/slot-backend@.socket");
const SOCKET_PORT: &str = include_str!("../../../deploy/systemd/socket-port.conf");
const WEB: &str = include_str!("../../../deploy/systemd/ouroboros-web@.service");
const WEB_SLOT: &str = include_str!("../../../deploy/systemd/web-slot.conf");
const SLICE: &str = include_str!("../../../deploy/systemd/slotguard.slice");
const SLOT_LIMITS: &str =
    include_str!("../../../deploy/systemd/slotguard-preview-.slice.d/limits.conf");
const REAPER: &str = include_str!("../../../deploy/systemd/slotguard-reaper.service");
const REAPER_TIMER: &str = include_str!("../../../deploy/systemd/slotguard-reaper.timer");
const REAPER_PLACES: &str = include_str!("../../../deploy/systemd/reaper-places.conf");
const REAPER_RESET: &str = include_str!("../../../deploy/systemd/reaper-reset.conf");
const USERS: &str = include_str!("../../../deploy/sysusers.d/slotguard.conf");
const DIRECTORIES: &str = include_str!("../../../deploy/tmpfiles.d/slotguard.conf");
const START_CONFIG: &str = include_str!("../../../deploy/config/slotguard.toml");
const RULES: &str = include_str!("../../../deploy/nftables/slots.nft");
const RULES_UNIT: &str = include_str!("../../../deploy/systemd/slotguard-nftables.service");
const RULES_NEEDED: &str = include_str!("../../../deploy/systemd/backend-nftables.conf");
const URL_FILE: &str = include_str!("../../../deploy/systemd/backend-url-file.conf");
const SIDECAR: &str = include_str!("../../../deploy/systemd/slot-pg@.service");
const SIDECAR_NEEDED: &str = include_str!("../../../deploy/systemd/backend-sidecar.conf");
const SIDECAR_USERS: &str = include_str!("../../../deploy/sysusers.d/slotguard-sidecar.conf");
const SIDECAR_DIRECTORIES: &str = include_str!("../../../deploy/tmpfiles.d/slotguard-sidecar.conf");
const SCRIPT: &str = include_str!("../../../deploy/scripts/slot-verb");

/// What an installation has beside what every one has.
#[derive(Debug, Clone, Default)]
pub(super) struct Extras {
    /// The ports of the databases: rules for the network, which say what each slot's user may reach.
    pub(super) database_ports: Option<Vec<u16>>,
    /// Units take the database URL from a file of root's.
    pub(super) url_files: bool,
    /// Backends reach their database by a sidecar of each slot.
    pub(super) sidecar: bool,
    /// The addresses of the databases, where the reaper resets what was given back.
    pub(super) reset_addresses: Option<Vec<String>>,
    /// The template of the web roots, where the installing environment says it and not the file.
    pub(super) web_root_template: Option<String>,
}

/// Lists every file of an installation for these slots.
pub(super) fn files(slots: &SlotSet, paths: &Paths, extras: &Extras) -> Vec<File> {
    let mut files: Vec<File> = [
        ("slot-backend@.service", BACKEND),
        ("slot-backend@.socket", SOCKET),
        ("ouroboros-web@.service", WEB),
        ("slotguard.slice", SLICE),
        ("slotguard-preview-.slice.d/limits.conf", SLOT_LIMITS),
        ("slotguard-reaper.service", REAPER),
        ("slotguard-reaper.timer", REAPER_TIMER),
    ]
    .into_iter()
    .map(|(name, text)| file(format!("{UNITS}/{name}"), text.to_owned()))
    .collect();
    files.extend(slots.iter().map(socket_port));
    files.extend(slots.iter().map(web_slot));
    files.push(file("/etc/sysusers.d/slotguard.conf".to_owned(), per_slot(USERS, slots)));
    files.push(file("/etc/tmpfiles.d/slotguard.conf".to_owned(), per_slot(DIRECTORIES, slots)));
    files.push(start_config(slots));
    let ports = extras.database_ports.as_deref();
    files.extend(ports.into_iter().flat_map(|ports| network_rules(slots, ports)));
    if extras.url_files {
        let path = format!("{UNITS}/slot-backend@.service.d/url-file.conf");
        files.push(file(path, URL_FILE.to_owned()));
    }
    if extras.sidecar {
        files.extend(sidecar(slots));
    }
    files.push(reaper_places(paths, extras.web_root_template.as_deref()));
    files.extend(extras.reset_addresses.as_deref().map(reaper_reset));
    files.extend(SCRIPTS.iter().map(|script| script.file(paths)));
    for file in &mut files {
        file.content = file
            .content
            .replace(PROGRAMS, &format!("{}/", paths.programs.as_str()))
            .replace(STATE, paths.state.as_str());
    }
    files
}

fn file(path: String, content: String) -> File {
    File { path, mode: 0o644, content, keeps_existing: false }
}

/// The reaper may write where the page of a freed slot is shown, and nowhere else beside the state.
fn reaper_places(paths: &Paths, template: Option<&str>) -> File {
    let mut content = REAPER_PLACES.to_owned();
    for path in paths.web_roots.iter().chain(&paths.artifact) {
        content.push_str(&format!("ReadWritePaths=-{}\n", path.as_str()));
    }
    if let Some(template) = template {
        content.push_str(&format!("Environment={WEB_ROOT_VARIABLE}={template}\n"));
    }
    file(format!("{UNITS}/slotguard-reaper.service.d/places.conf"), content)
}

fn reaper_reset(addresses: &[String]) -> File {
    let allowed = format!("IPAddressAllow={}\n", addresses.join(" "));
    let path = format!("{UNITS}/slotguard-reaper.service.d/reset.conf");
    file(path, format!("{REAPER_RESET}{allowed}"))
}

/// The port is computed from the slot.
fn socket_port(slot: SlotId) -> File {
    file(format!("{UNITS}/slot-backend@{slot}.socket.d/port.conf"), for_slot(SOCKET_PORT, slot))
}

/// The instance carries the slot's alias, as the contract names it; what it serves is the slot's id.
fn web_slot(slot: SlotId) -> File {
    let alias = slot.dns_alias();
    let path = format!("{UNITS}/ouroboros-web@{alias}.service.d/slot.conf");
    file(path, for_slot(WEB_SLOT, slot))
}

/// A unit and a user for the sidecar of each slot; the backend's unit brings its sidecar along.
fn sidecar(slots: &SlotSet) -> [File; 4] {
    let needed = format!("{UNITS}/slot-backend@.service.d/sidecar.conf");
    [
        file(format!("{UNITS}/slot-pg@.service"), SIDECAR.to_owned()),
        file(needed, SIDECAR_NEEDED.to_owned()),
        file("/etc/sysusers.d/slotguard-sidecar.conf".to_owned(), per_slot(SIDECAR_USERS, slots)),
        file(
            "/etc/tmpfiles.d/slotguard-sidecar.conf".to_owned(),
            per_slot(SIDECAR_DIRECTORIES, slots),
        ),
    ]
}

fn network_rules(slots: &SlotSet, database_ports: &[u16]) -> [File; 3] {
    let ports: String = database_ports.iter().map(|port| format!("{port}, ")).collect();
    let rules = per_slot(RULES, slots).replace("{database_ports}", &ports);
    let needed = format!("{UNITS}/slot-backend@.service.d/nftables.conf");
    [
        file(NETWORK_RULES.to_owned(), rules),
        file(format!("{UNITS}/slotguard-nftables.service"), RULES_UNIT.to_owned()),
        file(needed, RULES_NEEDED.to_owned()),
    ]
}

/// Writes a line that holds `{id}` once for each slot.
fn per_slot(text: &str, slots: &SlotSet) -> String {
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        if line.contains("{id}") {
            out.extend(slots.iter().map(|slot| for_slot(line, slot)));
        } else {
            out.push_str(line);
        }
    }
    out
}

fn for_slot(line: &str, slot: SlotId) -> String {
    line.replace("{id}", &slot.to_string())
        .replace("{backend_port}", &slot.backend_port().to_string())
        .replace("{sidecar_port}", &slot.sidecar_port().to_string())
}

/// The configuration that an installation starts with.
pub(super) fn start_config(slots: &SlotSet) -> File {
    let ids: Vec<String> = slots.iter().map(|slot| format!("\"{slot}\"")).collect();
    let content = START_CONFIG.replace("{ids}", &ids.join(", "));
    File { keeps_existing: true, ..file(CONFIG.to_owned(), content) }
}

/// A runtime script, and what it runs once its one argument is known to be a slot.
struct Script {
    name: &'static str,
    does: &'static str,
    command: &'static str,
}

const LEASED: &str = "\
if [ -n \"${SLOTGUARD_LEASE:-}\" ]; then
    set -- \"$1\" --lease \"$SLOTGUARD_LEASE\"
fi
";

const SCRIPTS: [Script; 7] = [
    Script {
        name: "slot-start",
        does: "starts the slot's backend as its record says",
        command: "{leased}exec /usr/local/bin/slotguard --format json backend start --slot \"$@\"",
    },
    Script {
        name: "slot-restart",
        does: "restarts the slot's backend and no other",
        command: "{leased}exec /usr/local/bin/slotguard --format json backend restart --slot \"$@\"",
    },
    Script {
        name: "slot-stop",
        does: "stops the slot's backend and no other",
        command: "{leased}exec /usr/local/bin/slotguard --format json backend stop --slot \"$@\"",
    },
    Script {
        name: "slot-status",
        does: "says whether the slot's backend runs",
        command: "exec /usr/local/bin/slotguard --format json backend status --slot \"$1\"",
    },
    Script {
        name: "slot-health",
        does: "says whether the slot's backend answers on the slot's port",
        command: "exec /usr/local/bin/slotguard --format json backend health --slot \"$1\"",
    },
    Script {
        name: "slot-publish",
        does: "publishes the worktree of SLOT_WORKTREE_PATH into the slot",
        command: "\
{leased}exec /usr/local/bin/slotguard --format json publish --worktree \"${SLOT_WORKTREE_PATH:-}\" --slot \"$@\"",
    },
    Script {
        name: "slot-release",
        does: "stops the slot's backend and frees the slot; one that nobody holds is only stopped",
        command: "\
if [ -n \"${SLOTGUARD_LEASE:-}\" ]; then
    exec /usr/local/bin/slotguard --format json slot release --slot \"$1\" --lease \"$SLOTGUARD_LEASE\"
fi
exec /usr/local/bin/slotguard --format json backend stop --slot \"$1\"",
    },
];

impl Script {
    fn file(&self, paths: &Paths) -> File {
        let content = SCRIPT
            .replace("{script}", self.name)
            .replace("{does}", self.does)
            .replace("{command}", self.command)
            .replace("{leased}", LEASED);
        let path = format!("{}/{}", paths.scripts.as_str(), self.name);
        File { path, mode: 0o755, content, keeps_existing: false }
    }
}

#[cfg(test)]
mod tests {
    use guard::config::Config;

    use super::*;

    fn paths() -> Paths {
        let path = |text| AbsolutePath::parse(text).unwrap();
        Paths {
            programs: path("/opt/slotguard/bin"),
            scripts: path("/srv/app/scripts"),
            state: path("/srv/state"),
            web_roots: vec![path("/srv/web-1"), path("/srv/web-3")],
            artifact: Some(path("/srv/artifacts")),
        }
    }

    fn everything() -> Extras {
        Extras {
            database_ports: Some(vec![5432, 5433]),
            url_files: true,
            sidecar: true,
            reset_addresses: Some(vec!["127.0.0.1".to_owned()]),
            web_root_template: Some("/srv/web-{slot}".to_owned()),
        }
    }

    fn content(name: &str) -> String {
        let slots = SlotSet::parse_csv("preview-1,preview-3").unwrap();
        let mut files = files(&slots, &paths(), &everything()).into_iter();
        files.find(|file| file.path.ends_with(name)).expect(name).content
    }

    #[test]
    fn every_slot_of_the_host_and_no_other_has_its_lines() {
        let users = content("sysusers.d/slotguard.conf");
        assert!(users.contains("u slot-preview-1 ") && users.contains("u slot-preview-3 "));
        assert!(!users.contains("preview-2"), "{users}");
        let directories = content("tmpfiles.d/slotguard.conf");
        assert!(
            directories.contains("d /srv/state/preview-3 0700 slot-preview-3 slot-preview-3 -")
        );
        assert!(content("slot-backend@preview-3.socket.d/port.conf").ends_with("127.0.0.1:8103\n"));
    }

    #[test]
    fn the_paths_of_the_host_stand_everywhere_and_no_placeholder_is_left() {
        let slots = SlotSet::default();
        let placeholders =
            ["{id}", "{ids}", "{script}", "{does}", "{command}", "{leased}", "_port"];
        for file in files(&slots, &paths(), &everything()) {
            for left in placeholders.into_iter().chain([PROGRAMS, STATE]) {
                assert!(!file.content.contains(left), "{left} in {}", file.path);
            }
        }
        let unit = content("slot-backend@.service");
        assert!(unit.contains("ExecStart=/opt/slotguard/bin/runtime-wrapper exec --slot %i "));
        assert!(unit.contains("ReadWritePaths=/srv/state/%i"));
    }

    #[test]
    fn rules_for_the_network_are_there_only_when_asked_for() {
        let rules = content("slots.nft");
        assert!(rules.contains("\"slot-preview-3\" ct direction reply tcp sport 8103 accept"));
        assert!(rules.contains("tcp dport { 5432, 5433, 5103 } accept"), "{rules}");
        let without = files(&SlotSet::default(), &paths(), &Extras::default());
        assert!(!without.iter().any(|file| file.path.contains("nft")));
    }

    #[test]
    fn the_sidecar_has_a_unit_and_users_only_where_it_is_on() {
        assert!(content("slot-pg@.service").contains("/opt/slotguard/bin/pg-sidecar serve --slot"));
        let users = content("sysusers.d/slotguard-sidecar.conf");
        assert!(users.contains("u slot-pg-preview-3 ") && !users.contains("preview-2"), "{users}");
        let directories = content("tmpfiles.d/slotguard-sidecar.conf");
        let own = "d /srv/state/sidecar/preview-1 0750 slot-pg-preview-1 slot-preview-1 -";
        assert!(directories.contains(own), "{directories}");
        let without = files(&SlotSet::default(), &paths(), &Extras::default());
        assert!(!without.iter().any(|file| file.path.contains("sidecar")));
        // A sidecar is the only database that its slot's user reaches.
        let ports = Extras { database_ports: Some(Vec::new()), ..everything() };
        let rules = files(&SlotSet::default(), &paths(), &ports);
        let rules = rules.into_iter().find(|file| file.path == NETWORK_RULES).unwrap().content;
        assert!(rules.contains("tcp dport { 5102 } accept"), "{rules}");
    }

    #[test]
    fn a_file_with_the_url_is_demanded_only_when_asked_for() {
        let drop_in = content("url-file.conf");
        assert!(drop_in.contains("LoadCredential=database_url:/etc/slotguard/%i.url"));
        assert!(drop_in.contains("ExecStart=/opt/slotguard/bin/runtime-wrapper exec --slot %i "));
        let without = files(&SlotSet::default(), &paths(), &Extras::default());
        assert!(!without.iter().any(|file| file.path.ends_with("url-file.conf")));
    }

    #[test]
    fn the_reaper_may_write_to_web_roots_and_artifacts_and_reach_the_database_it_resets() {
        let places = content("slotguard-reaper.service.d/places.conf");
        for line in [
            "ReadWritePaths=-/srv/web-1\n",
            "ReadWritePaths=-/srv/web-3\n",
            "ReadWritePaths=-/srv/artifacts\n",
            "Environment=WORKER_PREVIEW_WEB_ROOT_TEMPLATE=/srv/web-{slot}\n",
        ] {
            assert!(places.contains(line), "{places}");
        }
        assert!(content("reaper.service.d/reset.conf").ends_with("IPAddressAllow=127.0.0.1\n"));
        let without = files(&SlotSet::default(), &paths(), &Extras::default());
        assert!(!without.iter().any(|file| file.path.ends_with("reset.conf")));
        assert!(!without.iter().any(|file| file.content.contains("Environment=WORKER")));
    }

    #[test]
    fn the_configuration_to_start_with_is_accepted() {
        let config = Config::parse(&content("slotguard.toml")).unwrap();
        assert_eq!(config.slots().to_string(), "preview-1,preview-3");
        assert_eq!(config.roots.state.as_str(), "/srv/state");
    }

    #[test]
    fn a_path_that_means_something_else_in_a_unit_is_refused() {
        assert!(paths().require_plain().is_ok());
        let odd = vec![AbsolutePath::parse("/srv/web 1").unwrap()];
        assert!(Paths { web_roots: odd, ..paths() }.require_plain().is_err());
        for odd in ["/srv/a b", "/srv/%i", "/srv/$x", "/srv/\"x", "/srv/ä"] {
            let scripts = AbsolutePath::parse(odd).unwrap();
            let denial = Paths { scripts, ..paths() }.require_plain().unwrap_err();
            assert_eq!(denial.code(), Code::InstallPath, "{odd}");
        }
    }
}
