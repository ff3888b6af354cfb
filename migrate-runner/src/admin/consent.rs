//! Whether somebody agreed to a plan that was printed.

use std::io::{BufRead as _, IsTerminal as _};

use guard::diagnostic::{Code, Denial};
use step_report::console::Console;

/// Asks a person on a terminal; elsewhere only `--yes` counts.
///
/// # Errors
/// Refuses when nobody agreed.
pub(super) fn obtain(console: &Console, yes: bool) -> Result<(), Denial> {
    if yes {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if stdin.is_terminal() && std::io::stderr().is_terminal() {
        console.note("Do this? [y/N]");
        let mut answer = String::new();
        if stdin.lock().read_line(&mut answer).is_ok() && answer.trim().eq_ignore_ascii_case("y") {
            return Ok(());
        }
    }
    Err(Denial::new(
        Code::ConsentMissing,
        "nothing was changed: nobody agreed to the plan",
        "no `--yes`",
        "`--yes`, after the plan was read",
    ))
}
