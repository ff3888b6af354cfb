//! The shape of the file and the checks that turn it into a [`Config`].

use std::collections::BTreeMap;

use serde::Deserialize;

use super::deploy::{self, RawDeploy};
use super::leases::{self, RawLeases};
use super::lifecycle::{self, RawBackend, RawLifecycle, RawSystemd};
use super::release::{self, RawRelease};
use super::sandbox::{RawSandbox, RawSync};
use super::sidecar::{self, RawSidecar};
use super::worker::{self, Rule};
use super::{Config, Roots, Web, publish, sandbox, tls};
use crate::database_url::{DatabaseTarget, Host};
use crate::diagnostic::{Code, Denial, shown};
use crate::environment::EnvPolicy;
use crate::path::AbsolutePath;
use crate::policy::{DatabasePolicy, Endpoint};
use crate::program::{ProgramEntry, Programs};
use crate::provision::Quotas;
use crate::slot::{SlotId, SlotSet};
use crate::template::Template;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    #[serde(default)]
    slots: Slots,
    #[serde(default)]
    database: Database,
    #[serde(default)]
    quotas: RawQuotas,
    #[serde(default)]
    production: Production,
    #[serde(default)]
    roots: RawRoots,
    #[serde(default)]
    env: Env,
    #[serde(default)]
    programs: BTreeMap<String, Program>,
    #[serde(default)]
    leases: RawLeases,
    #[serde(default)]
    sandbox: RawSandbox,
    #[serde(default)]
    web: RawWeb,
    #[serde(default)]
    lifecycle: RawLifecycle,
    #[serde(default)]
    systemd: RawSystemd,
    #[serde(default)]
    backend: RawBackend,
    #[serde(default)]
    sidecar: RawSidecar,
    #[serde(default)]
    publish: publish::RawPublish,
    #[serde(default)]
    frontend: publish::RawFrontend,
    #[serde(default)]
    sync: RawSync,
    #[serde(default)]
    deploy: RawDeploy,
    #[serde(default)]
    release: RawRelease,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Slots {
    ids: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Database {
    #[serde(default)]
    endpoints: Vec<String>,
    system_identifier: Option<String>,
    tls_ca: Option<String>,
    tls_server_name: Option<String>,
    role: Option<String>,
    password_file: Option<String>,
    admin_password_file: Option<String>,
    seed_password_file: Option<String>,
    #[serde(default)]
    require_stamp: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawQuotas {
    connections: Option<u16>,
    temp_files_mb: Option<u32>,
    statement_timeout_s: Option<u32>,
    idle_in_transaction_timeout_s: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Production {
    #[serde(default)]
    databases: Vec<String>,
    #[serde(default)]
    endpoints: Vec<String>,
    #[serde(default)]
    hosts: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawRoots {
    repository: Option<String>,
    worktree: Option<String>,
    artifact: Option<String>,
    state: Option<String>,
    cross_mounts: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Env {
    #[serde(default)]
    inherit: Vec<String>,
    #[serde(default)]
    block: Vec<String>,
    #[serde(default)]
    set: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawWeb {
    root: Option<String>,
    host: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    path: String,
    #[serde(default)]
    args: Vec<String>,
}

pub(super) fn parse(text: &str) -> Result<Config, Denial> {
    let file: File = toml::from_str(text).map_err(|error| refuse_syntax(text, &error))?;
    if file.version != 1 {
        return Err(refuse_value("version", &file.version.to_string(), "version = 1"));
    }
    let slots_are_configured = file.slots.ids.is_some();
    let slots = match file.slots.ids {
        Some(ids) => SlotSet::parse_csv(&ids.join(","))?,
        None => SlotSet::default(),
    };
    let production_hosts = parse_production_hosts(&file.production.hosts)?;
    let database = parse_database(&file.database, file.production, &slots)?;
    let (admin_password_file, seed_password_file) = parse_service_files(&file.database)?;
    let released_database = release::parse(&file.release, admin_password_file.is_some())?;
    let password_file =
        file.database.password_file.map(|text| parse_password_file(&text, &slots)).transpose()?;
    let set = parse_set(file.env.set)?;
    let roots = parse_roots(file.roots)?;
    let sidecar = sidecar::parse(file.sidecar, database.tls.as_ref())?;
    let sandbox = sandbox::parse(file.sandbox, &database, &sidecar, &roots, &slots)?;
    let child = EnvPolicy::new(file.env.inherit, file.env.block, set, &slots)?;
    let (sync, sync_programs) = sandbox::parse_sync(file.sync, &database)?;
    let publish = publish::parse(file.publish, file.frontend, sync_programs, |key| {
        file.programs.contains_key(key)
    })?;
    Ok(Config {
        database,
        password_file,
        admin_password_file,
        seed_password_file,
        quotas: parse_quotas(&file.quotas)?,
        roots,
        child: child.notifying(sandbox.may_notify()).through_sidecar(sidecar.enabled),
        programs: parse_programs(file.programs)?,
        leases: leases::parse(&file.leases)?,
        lifecycle: lifecycle::parse(&file.lifecycle, &file.systemd, file.backend, &slots)?,
        sandbox,
        sidecar,
        web: parse_web(file.web, &slots)?,
        publish,
        deploy: deploy::parse(&file.deploy)?,
        released_database,
        production_hosts,
        sync,
        slots,
        slots_are_configured,
    })
}

/// Says where the text is wrong and, for keys, what is wrong; never repeats a value.
fn refuse_syntax(text: &str, error: &toml::de::Error) -> Denial {
    let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
    let words = error.message();
    let about_keys = ["unknown field", "missing field", "duplicate key"];
    let message = if about_keys.iter().any(|start| words.starts_with(start)) && names_a_word(words)
    {
        format!("the configuration cannot be read: {}", words.replace('\n', " "))
    } else {
        "the configuration cannot be read: not TOML, or a value of the wrong type".to_owned()
    };
    Denial::new(
        Code::ConfigSyntax,
        message,
        format!("line {line}"),
        "TOML with the documented keys and `version = 1`",
    )
}

/// A key is repeated only if it is a plain word: a secret in its place hardly is one.
fn names_a_word(words: &str) -> bool {
    let key = words.split('`').nth(1).unwrap_or_default();
    key.len() <= 30 && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

pub(super) fn refuse_value(key: &str, found: &str, expected: &str) -> Denial {
    Denial::new(
        Code::ConfigValue,
        format!("the value of `{key}` is not acceptable"),
        format!("{key} = {}", plain_or_hidden(found)),
        expected,
    )
}

/// Repeats a name, an address or a path; anything that could carry a password is hidden.
fn plain_or_hidden(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-:/{}[] \"".contains(&b);
    if text.bytes().all(plain) && !text.contains("://") {
        shown(text)
    } else {
        "(not shown)".to_owned()
    }
}

fn parse_database(
    database: &Database,
    production: Production,
    slots: &SlotSet,
) -> Result<DatabasePolicy, Denial> {
    let endpoint = |key: &str, text: &String| {
        Endpoint::parse(text).ok_or_else(|| refuse_value(key, text, "host:port"))
    };
    let system_identifier =
        database.system_identifier.as_deref().map(parse_system_identifier).transpose()?;
    let endpoints = database
        .endpoints
        .iter()
        .map(|text| {
            endpoint("[database] endpoints", text)
                .and_then(|endpoint| check_endpoint(endpoint, system_identifier))
        })
        .collect::<Result<_, _>>()?;
    let production_endpoints = production
        .endpoints
        .iter()
        .map(|text| endpoint("[production] endpoints", text))
        .collect::<Result<_, _>>()?;
    for name in &production.databases {
        if SlotId::owning_database(name).is_some() {
            let expected = "a name that is no slot's database";
            return Err(refuse_value("[production] databases", name, expected));
        }
    }
    let role = database.role.as_deref().map(|text| parse_role(text, slots)).transpose()?;
    let (ca, server_name) = (database.tls_ca.clone(), database.tls_server_name.clone());
    Ok(DatabasePolicy {
        endpoints,
        system_identifier,
        tls: tls::parse("[database]", ca, server_name)?,
        require_stamp: database.require_stamp,
        role,
        production_databases: production.databases,
        production_endpoints,
    })
}

fn parse_production_hosts(hosts: &[String]) -> Result<Vec<String>, Denial> {
    let plain = |host: &&String| {
        let byte = |b: u8| b.is_ascii_alphanumeric() || b"-.".contains(&b);
        !host.is_empty() && host.contains('.') && host.bytes().all(byte)
    };
    match hosts.iter().find(|host| !plain(host)) {
        None => Ok(hosts.to_vec()),
        Some(bad) => Err(refuse_value("[production] hosts", bad, "a host name with a dot")),
    }
}

fn parse_system_identifier(text: &str) -> Result<u64, Denial> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let expected = "the number that pg_control_system() says, as a text";
    let number = text.parse().ok().filter(|number| digits && *number > 0);
    number.ok_or_else(|| refuse_value("[database] system_identifier", text, expected))
}

/// An endpoint must be an address, and no port that a slot's own services have; one of another host
/// needs a pinned identity, since anything can answer there.
fn check_endpoint(endpoint: Endpoint, pinned: Option<u64>) -> Result<Endpoint, Denial> {
    let key = "[database] endpoints";
    if matches!(endpoint.host, Host::Name(_)) {
        let expected = "an address such as 127.0.0.1:5432; drivers read names differently";
        return Err(refuse_value(key, &endpoint.to_string(), expected));
    }
    if !endpoint.is_loopback_address() && pinned.is_none() {
        let expected = "a loopback address such as 127.0.0.1:5432, or a pinned `system_identifier`";
        return Err(refuse_value(key, &endpoint.to_string(), expected));
    }
    if let Some(slot) = SlotId::owning_port(endpoint.port) {
        let expected = format!("a port that is not one of {slot}'s own services");
        return Err(refuse_value(key, &endpoint.to_string(), &expected));
    }
    Ok(endpoint)
}

fn parse_role(text: &str, slots: &SlotSet) -> Result<Template, Denial> {
    let expected = "a plain role name with {slot}, one role per slot";
    let refuse = || refuse_value("[database] role", text, expected);
    let role = Template::parse(text).ok_or_else(refuse)?;
    let plain = slots.iter().all(|slot| {
        let url = format!("postgresql://{}@127.0.0.1:1/x", role.render(slot));
        DatabaseTarget::parse(&url).is_ok_and(|target| target.user() == role.render(slot))
    });
    if plain && role.tells_apart(slots) { Ok(role) } else { Err(refuse()) }
}

fn parse_password_file(text: &str, slots: &SlotSet) -> Result<Template, Denial> {
    let key = "[database] password_file";
    let refuse = || refuse_value(key, text, "an absolute path with {slot}, one file per slot");
    let template = Template::parse(text).ok_or_else(refuse)?;
    let plain = slots.iter().all(|slot| AbsolutePath::parse(&template.render(slot)).is_ok());
    if plain && template.tells_apart(slots) { Ok(template) } else { Err(refuse()) }
}

/// The two roles that no slot has; each has a file of its own.
fn parse_service_files(
    database: &Database,
) -> Result<(Option<AbsolutePath>, Option<AbsolutePath>), Denial> {
    let path = |key: &str, text: &Option<String>| {
        let parse = |text: &String| {
            let refuse = || refuse_value(key, text, "an absolute plain path");
            AbsolutePath::parse(text).map_err(|_| refuse())
        };
        text.as_ref().map(parse).transpose()
    };
    let (admin_key, seed_key) = ("[database] admin_password_file", "[database] seed_password_file");
    let admin = path(admin_key, &database.admin_password_file)?;
    let seed = path(seed_key, &database.seed_password_file)?;
    match &seed {
        Some(same) if seed == admin => {
            Err(refuse_value(seed_key, same.as_str(), "another file than the administrator's"))
        }
        _ => Ok((admin, seed)),
    }
}

/// Most connections that one slot can be given.
const MOST_CONNECTIONS: u16 = 1000;

fn parse_quotas(raw: &RawQuotas) -> Result<Quotas, Denial> {
    let default = Quotas::default();
    let quotas = Quotas {
        connections: raw.connections.unwrap_or(default.connections),
        temp_files_mb: raw.temp_files_mb.unwrap_or(default.temp_files_mb),
        statement_timeout_s: raw.statement_timeout_s.unwrap_or(default.statement_timeout_s),
        idle_in_transaction_timeout_s: raw
            .idle_in_transaction_timeout_s
            .unwrap_or(default.idle_in_transaction_timeout_s),
    };
    // What the server's settings can hold: 32 bits of kilobytes, 31 of milliseconds.
    let fits = (1..=MOST_CONNECTIONS).contains(&quotas.connections)
        && (1..=2_000_000).contains(&quotas.temp_files_mb)
        && quotas.statement_timeout_s <= 2_000_000
        && quotas.idle_in_transaction_timeout_s <= 2_000_000;
    if fits {
        return Ok(quotas);
    }
    let expected = "connections 1 to 1000, temp_files_mb 1 to 2000000, timeouts to 2000000 seconds";
    Err(refuse_value("[quotas]", "a number out of range", expected))
}

fn parse_roots(raw: RawRoots) -> Result<Roots, Denial> {
    let root = |key: &str, text: Option<String>| match text {
        None => Ok(None),
        Some(text) => AbsolutePath::parse(&text)
            .map(Some)
            .map_err(|_| refuse_value(&format!("[roots] {key}"), &text, "an absolute plain path")),
    };
    let default = Roots::default();
    Ok(Roots {
        repository: root("repository", raw.repository)?,
        worktree: root("worktree", raw.worktree)?,
        artifact: root("artifact", raw.artifact)?,
        state: root("state", raw.state)?.unwrap_or(default.state),
        cross_mounts: raw.cross_mounts.unwrap_or(default.cross_mounts),
    })
}

fn parse_set(set: BTreeMap<String, String>) -> Result<BTreeMap<String, Template>, Denial> {
    let parse = |(name, text): (String, String)| match Template::parse(&text) {
        Some(template) => Ok((name, template)),
        None => Err(Denial::new(
            Code::ConfigValue,
            format!("the value of `{}` under `[env] set` is not acceptable", shown(&name)),
            "a brace that is not part of {slot}",
            "no braces but {slot}",
        )),
    };
    set.into_iter().map(parse).collect()
}

fn parse_web(raw: RawWeb, slots: &SlotSet) -> Result<Web, Denial> {
    let template = |key: &str, rule: &Rule, text: Option<String>| match text {
        None => Ok(None),
        Some(text) => rule
            .read(&text, slots)
            .map(Some)
            .ok_or_else(|| refuse_value(&format!("[web] {key}"), &text, rule.expected)),
    };
    Ok(Web {
        root: template("root", &worker::WEB_ROOT, raw.root)?,
        host: template("host", &worker::PREVIEW_HOST, raw.host)?,
    })
}

fn parse_programs(programs: BTreeMap<String, Program>) -> Result<Programs, Denial> {
    let parse = |(key, program): (String, Program)| {
        let name = format!("[programs.{}]", shown(&key));
        let path = AbsolutePath::parse(&program.path)
            .map_err(|_| refuse_value(&name, &program.path, "an absolute plain path"))?;
        let mut args = program.args;
        let open_ended = args.last().is_some_and(|last| last == "...");
        args.truncate(args.len() - usize::from(open_ended));
        if args.iter().any(|arg| arg == "...") {
            return Err(refuse_value(
                &name,
                "\"...\" before the end",
                "\"...\" as the last argument",
            ));
        }
        Ok(ProgramEntry { key, path: path.as_str().to_owned(), args, open_ended })
    };
    programs.into_iter().map(parse).collect::<Result<_, _>>().map(Programs::new)
}
