//! `slotguard doctor`: the health of an installation, check by check.

use std::path::Path;

use guard::diagnostic::Denial;
use guard::io::{LoadedConfig, environment_snapshot, load_config};
use serde::Serialize;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

use crate::install::network;
use crate::options::Doctor;
use crate::{ask, sibling};

/// Programs that must stand beside this one.
const SIBLINGS: [&str; 4] = ["migrate-runner", "runtime-wrapper", "pg-sidecar", "web-surface"];

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    Finding,
    NotChecked,
}

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    state: State,
    said: String,
    findings: Vec<Denial>,
}

impl Check {
    fn ok(name: impl Into<String>, said: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, said: said.into(), findings: Vec::new() }
    }

    fn not_checked(name: impl Into<String>, said: impl Into<String>) -> Self {
        Self { state: State::NotChecked, ..Self::ok(name, said) }
    }

    fn judged(name: impl Into<String>, good: impl Into<String>, findings: Vec<Denial>) -> Self {
        match findings.len() {
            0 => Self::ok(name, good),
            1 => Self { state: State::Finding, findings, ..Self::ok(name, "1 finding") },
            many => {
                let said = format!("{many} findings");
                Self { state: State::Finding, findings, ..Self::ok(name, said) }
            }
        }
    }
}

#[derive(Serialize)]
struct Health<'a> {
    schema: &'static str,
    checks: &'a [Check],
}

/// Examines and says what was found; 65 when anything needs mending.
pub(crate) fn run(console: &Console, options: &Doctor) -> ExitStatus {
    let checks = examine(options);
    if console.format() == Format::Json {
        console.object(&Health { schema: "slotguard.doctor/1", checks: &checks });
    } else {
        checks.iter().for_each(|check| show(console, check));
    }
    let sound = checks.iter().all(|check| check.state != State::Finding);
    if sound { ExitStatus::Done } else { ExitStatus::BadData }
}

fn show(console: &Console, check: &Check) {
    let mark = match check.state {
        State::Ok => "ok",
        State::Finding => "FINDING",
        State::NotChecked => "not checked",
    };
    console.line(&format!("{mark:<12} {}: {}", check.name, check.said));
    for finding in &check.findings {
        console.line(&format!("  {}  {}", finding.code(), finding.message()));
        console.line(&format!("          found:    {}", finding.found()));
        console.line(&format!("          expected: {}", finding.expected()));
        console.line(&format!("          help:     {}", finding.next_step()));
    }
}

fn examine(options: &Doctor) -> Vec<Check> {
    let mut checks = Vec::new();
    let findings = SIBLINGS.iter().filter_map(|name| sibling::find(name).err()).collect();
    let version = concat!("all of version ", env!("CARGO_PKG_VERSION"));
    checks.push(Check::judged("programs", version, findings));
    let loaded = environment_snapshot()
        .and_then(|environment| load_config(options.config.config.as_deref(), &environment));
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(denial) => {
            checks.push(Check::judged("configuration", "", vec![denial]));
            return checks;
        }
    };
    let source = loaded.source.as_ref();
    let said = source
        .map_or("none, the contract's defaults".to_owned(), |path| path.display().to_string());
    checks.push(Check::ok("configuration", said));
    checks.push(cluster(options, &loaded));
    checks.extend(
        network::findings(loaded.config.slots())
            .map(|findings| Check::judged("network rules", "in force for every slot", findings)),
    );
    checks.extend(slots(&loaded));
    checks
}

fn cluster(options: &Doctor, loaded: &LoadedConfig) -> Check {
    let name = "cluster";
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let (option, value) = match (&options.admin_url_file, &options.admin_socket) {
        (Some(file), _) => ("--admin-url-file", text(file)),
        (None, Some(directory)) => ("--admin-socket", text(directory)),
        (None, None) => {
            let why = "name a superuser with --admin-url-file or --admin-socket";
            return Check::not_checked(name, why);
        }
    };
    match ask::provision_check(&[option, &value], loaded) {
        Ok(findings) => Check::judged(name, "as provisioning makes it", findings),
        Err(denial) => Check::judged(name, "", vec![denial]),
    }
}

/// Each slot's own database, as the configuration alone determines it.
fn slots(loaded: &LoadedConfig) -> Vec<Check> {
    let config = &loaded.config;
    let name = |slot| format!("database of {slot}");
    let is_known = config.database.endpoints.len() == 1 && config.database.role.is_some();
    let check = |slot| {
        if !is_known {
            let why = "the configuration names no single endpoint and role";
            return Check::not_checked(name(slot), why);
        }
        match ask::confirm(slot, None, loaded) {
            Ok(live) if live.stamped => {
                Check::ok(name(slot), "the slot's own, and its stamp holds")
            }
            Ok(live) => {
                let warnings = live.warnings.into_iter().map(ask::Said::into_denial).collect();
                Check::judged(name(slot), "the slot's own", warnings)
            }
            Err(denial) => Check::judged(name(slot), "", vec![denial]),
        }
    };
    config.slots().iter().map(check).collect()
}
