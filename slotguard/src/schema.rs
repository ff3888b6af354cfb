//! `slotguard schema`: the JSON Schemas of what the programs print.

use guard::diagnostic::{Code, Denial, shown};
use step_report::console::Console;
use step_report::exit::ExitStatus;
use step_report::schema::{SCHEMAS, find};

/// Prints one schema, or the names of all.
pub(crate) fn run(console: &Console, name: Option<&str>) -> ExitStatus {
    let Some(name) = name else {
        SCHEMAS.iter().for_each(|(name, _)| console.line(name));
        return ExitStatus::Done;
    };
    match find(name) {
        Some(text) => {
            console.line(text.trim_end());
            ExitStatus::Done
        }
        None => {
            let names: Vec<&str> = SCHEMAS.iter().map(|(name, _)| *name).collect();
            let denial = Denial::new(
                Code::Usage,
                "there is no such schema",
                format!("`{}`", shown(name)),
                format!("one of {}", names.join(", ")),
            );
            console.refuse(None, &denial)
        }
    }
}
