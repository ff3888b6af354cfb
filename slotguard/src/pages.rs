//! Reference pages as Markdown, made from the tables that decide.

use guard::diagnostic::Code;
use guard::environment::{NameClass, Rule, rules};
use step_report::console::Console;
use step_report::exit::ExitStatus;

use crate::options::Page;

/// Writes a page as the file under `docs/` holds it.
pub(crate) fn write(console: &Console, page: Page) -> ExitStatus {
    match page {
        Page::Diagnostics => diagnostics(console),
        Page::Environment => environment(console),
    }
    ExitStatus::Done
}

const DIAGNOSTICS_HEAD: &str = "\
# Diagnostics

Every refusal and warning carries one of these codes. A code, once published, keeps its meaning.
`slotguard explain CODE` shows the same text. This page is made by `scripts/generate`.";

fn diagnostics(console: &Console) {
    console.line(DIAGNOSTICS_HEAD);
    for code in Code::ALL {
        let entry = code.entry();
        console.line(&format!("\n## {code}: {}\n", entry.summary));
        console.line(&format!("{}\n", entry.condition));
        console.line(&format!("- **Otherwise:** {}", entry.effect));
        console.line(&format!("- **Do this:** {}", entry.way_out));
        console.line(&format!("- **Refused:** `{}`", entry.bad));
        console.line(&format!("- **Accepted:** `{}`", entry.good));
        console.line(&format!("- **Exit code:** {}", ExitStatus::from(*code).number()));
    }
}

const ENVIRONMENT_HEAD: &str = "\
# Names of environment variables

A program of a slot gets an environment built from nothing: what follows from the slot, what the
configuration sets, `LANG`, `LC_*`, `TERM` and `TZ` with plain values, and what `[env] inherit` names
exactly (`FEATURE_FLAGS`) or by its beginning (`FRONTEND_*`). From a service manager come `INVOCATION_ID`
and `JOURNAL_STREAM`, `NOTIFY_SOCKET` and `WATCHDOG_*` where Unix sockets are open to the program, and
`LISTEN_FDS` and `LISTEN_PID` for sockets on the slot's own port. Everything else is left out. The names
below are treated specially; the first row that fits counts. Those of PostgreSQL, other database addresses,
Node and the network count in any letter case. This page is made by `scripts/generate`.";

fn environment(console: &Console) {
    console.line(ENVIRONMENT_HEAD);
    for (class, title) in [
        (NameClass::Never, "Never in a preview, and not even allowed in the configuration"),
        (NameClass::SetOnly, "Never inherited, but may be set under `[env] set`"),
        (NameClass::OptIn, "Inherited only when named exactly"),
    ] {
        console.line(&format!("\n## {title}\n\n| acts on | why | names |\n|---|---|---|"));
        rules().filter(|rule| rule.class == class).for_each(|rule| row(console, rule));
    }
}

fn row(console: &Console, rule: &Rule) {
    let names: Vec<String> = rule.patterns().iter().map(|name| format!("`{name}`")).collect();
    console.line(&format!("| {} | {} | {} |", rule.group, rule.reason, names.join(", ")));
}
