//! The tables `[sandbox]` and `[sync]`: what the kernel must enforce, and what it leaves open.

use serde::Deserialize;

use super::file::refuse_value;
use super::{Roots, SidecarPolicy};
use crate::diagnostic::Denial;
use crate::path::AbsolutePath;
use crate::policy::DatabasePolicy;
use crate::sandbox::{
    DotenvInWorktree, SandboxFeature, SandboxPolicy, SyncPolicy, Udp, UnixSockets,
};
use crate::slot::{SlotId, SlotSet};
use crate::template::Template;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSandbox {
    require: Option<Vec<SandboxFeature>>,
    #[serde(default)]
    connect_tcp: Vec<u16>,
    #[serde(default)]
    read: Vec<String>,
    #[serde(default)]
    write: Vec<String>,
    #[serde(default)]
    unix_sockets: UnixSockets,
    #[serde(default)]
    udp: Udp,
    #[serde(default)]
    dotenv_in_worktree: DotenvInWorktree,
}

/// Trees that hold what belongs to others, whatever else is in them; a part of them may be opened.
const TOO_WIDE: &[&str] = &[
    "/etc", "/dev", "/home", "/mnt", "/opt", "/proc", "/root", "/run", "/srv", "/sys", "/tmp",
    "/var", "/var/lib", "/var/run",
];

/// Trees of which no part may be opened.
const NEVER: &[&str] = &["/proc", "/sys", "/dev"];

/// Trees of which no part may be written to.
const NEVER_WRITTEN: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/boot"];

pub(super) fn parse(
    raw: RawSandbox,
    database: &DatabasePolicy,
    sidecar: &SidecarPolicy,
    roots: &Roots,
    slots: &SlotSet,
) -> Result<SandboxPolicy, Denial> {
    let mut require: Vec<SandboxFeature> = Vec::new();
    for feature in raw.require.unwrap_or_else(|| SandboxFeature::ALL.to_vec()) {
        if require.contains(&feature) {
            let found = format!("\"{feature}\" twice");
            return Err(refuse_value("[sandbox] require", &found, "each of them once"));
        }
        require.push(feature);
    }
    let key = "[sandbox] connect_tcp";
    for port in &raw.connect_tcp {
        check_port(key, *port, database)?;
        if sidecar.enabled {
            refuse_endpoint(key, *port, database, " while the sidecar is on")?;
        }
    }
    Ok(SandboxPolicy {
        require,
        connect_tcp: raw.connect_tcp,
        read: parse_paths("[sandbox] read", raw.read, roots, slots)?,
        write: parse_written(raw.write, roots, slots)?,
        unix_sockets: raw.unix_sockets,
        udp: raw.udp,
        dotenv_in_worktree: raw.dotenv_in_worktree,
    })
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSync {
    #[serde(default)]
    programs: Vec<String>,
    #[serde(default)]
    connect_tcp: Vec<u16>,
}

/// Returns what a sync may reach, and the keys of its programs as they were written.
pub(super) fn parse_sync(
    raw: RawSync,
    database: &DatabasePolicy,
) -> Result<(SyncPolicy, Vec<String>), Denial> {
    let key = "[sync] connect_tcp";
    for port in &raw.connect_tcp {
        check_port(key, *port, database)?;
        refuse_endpoint(key, *port, database, "")?;
    }
    Ok((SyncPolicy { connect_tcp: raw.connect_tcp }, raw.programs))
}

/// Refuses a port of the slots' own server, which is not to be reached by this way.
fn refuse_endpoint(
    key: &str,
    port: u16,
    database: &DatabasePolicy,
    when: &str,
) -> Result<(), Denial> {
    if database.endpoints.iter().all(|endpoint| endpoint.port != port) {
        return Ok(());
    }
    let expected = format!("a port that is not one of `[database] endpoints`{when}");
    Err(refuse_value(key, &port.to_string(), &expected))
}

/// The kernel's rules know ports and no addresses: a port that is open is open everywhere.
fn check_port(key: &str, port: u16, database: &DatabasePolicy) -> Result<(), Denial> {
    let refuse = |expected: &str| Err(refuse_value(key, &port.to_string(), expected));
    if port == 0 {
        return refuse("a port from 1 to 65535");
    }
    if let Some(slot) = SlotId::owning_port(port) {
        return refuse(&format!("a port that is not one of {slot}'s own services"));
    }
    if database.production_endpoints.iter().any(|endpoint| endpoint.port == port) {
        return refuse("a port that is not one of `[production] endpoints`");
    }
    Ok(())
}

fn parse_written(
    texts: Vec<String>,
    roots: &Roots,
    slots: &SlotSet,
) -> Result<Vec<Template>, Denial> {
    let key = "[sandbox] write";
    let templates = parse_paths(key, texts, roots, slots)?;
    for template in &templates {
        if !template.tells_apart(slots) {
            let shown = template.render(slots.first());
            return Err(refuse_value(key, &shown, "a path with {slot}, one directory per slot"));
        }
        for path in slots.iter().map(|slot| template.render(slot)) {
            if NEVER_WRITTEN.iter().any(|tree| is_in(&path, tree)) {
                return Err(refuse_value(key, &path, "a directory outside of the system's own"));
            }
        }
    }
    Ok(templates)
}

fn parse_paths(
    key: &str,
    texts: Vec<String>,
    roots: &Roots,
    slots: &SlotSet,
) -> Result<Vec<Template>, Denial> {
    let parse = |text: String| {
        let refuse = |expected: &str| refuse_value(key, &text, expected);
        let template = Template::parse(&text)
            .ok_or_else(|| refuse("an absolute plain path, with no braces but {slot}"))?;
        for slot in slots.iter() {
            let path = AbsolutePath::parse(&template.render(slot))
                .map_err(|_| refuse("an absolute plain path"))?;
            check_path(path.as_str(), roots).map_err(refuse)?;
        }
        Ok(template)
    };
    texts.into_iter().map(parse).collect()
}

/// Says what a path would have to be when it opens what belongs to others.
fn check_path(path: &str, roots: &Roots) -> Result<(), &'static str> {
    if TOO_WIDE.contains(&path) {
        return Err("a smaller part of that directory");
    }
    if NEVER.iter().any(|tree| is_in(path, tree)) {
        return Err("a path outside of /proc, /sys and /dev");
    }
    let state = roots.state.as_str();
    if is_in(path, state) || is_in(state, path) {
        return Err("a path apart from `[roots] state`, where every slot's home is");
    }
    // One worktree is the slot's own, and opened anyway; the others are not.
    let worktrees = roots.worktree.as_ref().map(AbsolutePath::as_str);
    if worktrees.is_some_and(|root| is_in(path, root) || is_in(root, path)) {
        return Err("a path apart from `[roots] worktree`, where every slot's worktree is");
    }
    Ok(())
}

fn is_in(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::diagnostic::Code;

    const BASE: &str = "version = 1\n[roots]\nworktree = \"/srv/previews\"\n\
                        state = \"/var/lib/slotguard/state\"\n\
                        [production]\nendpoints = [\"db.example:6543\"]\n[sandbox]\n";

    fn code(line: &str) -> Option<Code> {
        Config::parse(&format!("{BASE}{line}\n")).err().map(|denial| denial.code())
    }

    #[test]
    fn the_server_behind_the_sidecar_is_not_opened_beside_it() {
        let config = |enabled: bool, port: u16| {
            let text = format!(
                "version = 1\n[database]\nendpoints = [\"127.0.0.1:5432\"]\n\
                 [sidecar]\nenabled = {enabled}\n[sandbox]\nconnect_tcp = [{port}]\n"
            );
            Config::parse(&text).err().map(|denial| denial.code())
        };
        assert_eq!(config(true, 5432), Some(Code::ConfigValue));
        assert_eq!(config(true, 6379), None);
        assert_eq!(config(false, 5432), None);
    }

    #[test]
    fn sm_2_a_port_of_a_slot_or_of_production_is_never_opened() {
        for port in ["0", "3101", "8102", "5109", "6543"] {
            assert_eq!(code(&format!("connect_tcp = [{port}]")), Some(Code::ConfigValue), "{port}");
        }
        for port in ["65536", "-1", "\"443\""] {
            assert_eq!(
                code(&format!("connect_tcp = [{port}]")),
                Some(Code::ConfigSyntax),
                "{port}"
            );
        }
        assert_eq!(code("connect_tcp = [443, 3100, 8100, 8110, 6379]"), None);
    }

    #[test]
    fn a_sync_never_reaches_a_database() {
        let code = |port: u16| {
            let text = format!(
                "version = 1\n[database]\nendpoints = [\"127.0.0.1:5432\"]\n\
                 [production]\nendpoints = [\"db.example:6543\"]\n[sync]\nconnect_tcp = [{port}]\n"
            );
            Config::parse(&text).err().map(|denial| denial.code())
        };
        for port in [0, 5432, 6543, 8101] {
            assert_eq!(code(port), Some(Code::ConfigValue), "{port}");
        }
        assert_eq!(code(443), None);
    }

    #[test]
    fn a_path_that_opens_what_belongs_to_others_is_refused() {
        for path in [
            "opt/node",
            "/",
            "/etc",
            "/home",
            "/var/lib",
            "/proc/1",
            "/dev/shm",
            "/srv",
            "/srv/previews",
            "/srv/previews/feature-7",
            "/var/lib/slotguard",
            "/var/lib/slotguard/state/preview-2",
            "/opt/../etc",
            "/opt/{n}",
        ] {
            for key in ["read", "write"] {
                let line = format!("{key} = [\"{path}\"]");
                assert_eq!(code(&line), Some(Code::ConfigValue), "{line}");
            }
        }
        for path in ["/opt/node", "/home/app/.nvm", "/srv/repo", "/etc/app", "/srv/previews-shared"]
        {
            assert_eq!(code(&format!("read = [\"{path}\"]")), None, "{path}");
        }
    }

    #[test]
    fn what_is_written_to_is_one_slot_s_and_none_of_the_system_s() {
        assert_eq!(code("write = [\"/var/cache/app\"]"), Some(Code::ConfigValue));
        assert_eq!(code("write = [\"/usr/share/app-{slot}\"]"), Some(Code::ConfigValue));
        assert_eq!(code("write = [\"/var/cache/app-{slot}\"]"), None);
    }

    #[test]
    fn words_of_the_table_are_a_closed_set() {
        for line in [
            "require = [\"fs\", \"fs\"]",
            "require = [\"udp\"]",
            "unix_sockets = \"yes\"",
            "udp = true",
            "dotenv_in_worktree = \"ignore\"",
            "landlock = \"off\"",
        ] {
            assert!(code(line).is_some(), "{line}");
        }
        assert_eq!(
            code("require = [\"scope\", \"fs\"]\nunix_sockets = \"notify\"\nudp = \"allow\""),
            None
        );
    }
}
