//! Diagnostics as people read them on a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Effects, Style};
use guard::diagnostic::{Denial, Warning};

const ERROR: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
const WARNING: Style = AnsiColor::Yellow.on_default().effects(Effects::BOLD);
const HELP: Style = AnsiColor::Cyan.on_default().effects(Effects::BOLD);
const BOLD: Style = Style::new().effects(Effects::BOLD);

/// Renders a refusal with its evidence and next step.
pub(crate) fn denial(denial: &Denial) -> String {
    let (code, message) = (denial.code(), denial.message());
    let mut text = format!("{ERROR}error[{code}]{ERROR:#}: {BOLD}{message}{BOLD:#}\n");
    let _ = writeln!(text, "  found:    {}", denial.found());
    let _ = writeln!(text, "  expected: {}", denial.expected());
    let _ = writeln!(text, "  {HELP}help:{HELP:#}     {}", denial.next_step());
    let _ = writeln!(text, "  see:      slotguard explain {code}");
    text
}

/// Renders a warning with its next step.
pub(crate) fn warning(warning: &Warning) -> String {
    let (code, message) = (warning.code(), warning.message());
    let mut text = format!("{WARNING}warning[{code}]{WARNING:#}: {message}\n");
    let _ = writeln!(text, "  {HELP}help:{HELP:#}     {}", warning.next_step());
    text
}
