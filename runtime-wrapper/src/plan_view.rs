//! `plan`: everything that a start would do, shown and not done.

use guard::diagnostic::shown;
use guard::environment::{Decision, Outcome};
use guard::sandbox::{FileRule, LIMITS, Limit};
use guard::slot::SlotId;
use serde::Serialize;
use step_report::console::{Console, Format};

use crate::plan::ExecPlan;
use crate::report::Start;

#[derive(Serialize)]
struct View<'a> {
    schema: &'static str,
    slot: SlotId,
    #[serde(flatten)]
    start: Start<'a>,
    environment: &'a [Decision],
    files: Vec<&'a FileRule>,
    limits: &'a [Limit],
    /// Whether other databases answer on the database's port, where rules on ports end.
    database_port_is_shared: bool,
    sockets: usize,
}

/// Shows a plan.
pub(crate) fn show(console: &Console, plan: &ExecPlan) {
    let start = plan.start();
    let view = View {
        schema: "slotguard.exec-plan/1",
        slot: plan.slot(),
        database_port_is_shared: start
            .target
            .as_ref()
            .is_some_and(|target| target.port != plan.slot().sidecar_port()),
        start,
        environment: plan.decisions(),
        files: plan.file_rules().collect(),
        limits: &LIMITS,
        sockets: plan.sockets(),
    };
    match console.format() {
        Format::Json => console.object(&view),
        Format::Human => tell(console, &view),
    }
}

fn tell(console: &Console, view: &View<'_>) {
    let View { slot, start, .. } = view;
    console.line(&format!(
        "{slot} would start {} ({})",
        shown(start.program_key),
        shown(start.program_path)
    ));
    console.line(&format!("  in {}", shown(start.working_directory)));
    let target = start.target.as_ref();
    let database = target.map_or("no database".to_owned(), |target| target.canonical.clone());
    console.line(&format!("  on {database}"));
    if view.database_port_is_shared {
        console
            .line("     whose port other databases share: rules on ports cannot tell them apart");
    }
    console.line(&format!("Sandbox: {}", start.sandbox));
    tell_ports(console, "bind", start.sandbox.bind_tcp.as_deref());
    tell_ports(console, "connect to", start.sandbox.connect_tcp.as_deref());
    console.line(&format!(
        "  Unix sockets: {}; UDP: {}",
        start.sandbox.unix_sockets, start.sandbox.udp
    ));
    for rule in &view.files {
        console.line(&format!("  {}: {} ({})", rule.path, rule.access, rule.reason));
    }
    for limit in view.limits {
        let (resource, soft, hard) = (limit.resource, limit.soft, limit.hard);
        console.line(&format!("  limit of {resource}: {soft}, at most {hard}"));
    }
    console.line("Variables:");
    for decision in view.environment {
        let arrives = if decision.outcome == Outcome::Dropped { "-" } else { "+" };
        console.line(&format!("  {arrives} {}: {}", decision.name, decision.reason));
    }
    for warning in start.warnings {
        console.warn(warning);
    }
}

fn tell_ports(console: &Console, verb: &str, ports: Option<&[u16]>) {
    let ports = ports.map_or("every port".to_owned(), |ports| {
        ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    });
    console.line(&format!("  may {verb} {ports}"));
}
