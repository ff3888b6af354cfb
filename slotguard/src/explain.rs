//! `slotguard explain`: a diagnostic code in full, from the catalogue.

use guard::diagnostic::{Code, Denial, shown};
use serde::Serialize;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

#[derive(Serialize)]
struct Explanation {
    schema: &'static str,
    code: Code,
    exit: u8,
    summary: &'static str,
    condition: &'static str,
    effect: &'static str,
    way_out: &'static str,
    bad: &'static str,
    good: &'static str,
}

/// Explains one code, or lists all of them.
pub(crate) fn run(console: &Console, code: Option<&str>) -> ExitStatus {
    let Some(text) = code else {
        Code::ALL.iter().for_each(|code| list(console, *code));
        return ExitStatus::Done;
    };
    match Code::parse(text) {
        Some(code) => {
            explain(console, code);
            ExitStatus::Done
        }
        None => {
            let (first, last) = (Code::ALL[0], Code::ALL[Code::ALL.len() - 1]);
            let denial = Denial::new(
                Code::Usage,
                "there is no such diagnostic code",
                format!("`{}`", shown(text)),
                format!("a code from {first} to {last}"),
            )
            .help("`slotguard explain` without a code lists all of them");
            console.refuse(None, &denial)
        }
    }
}

fn explanation(code: Code) -> Explanation {
    let entry = code.entry();
    Explanation {
        schema: "slotguard.diagnostic/1",
        code,
        exit: ExitStatus::from(code).number(),
        summary: entry.summary,
        condition: entry.condition,
        effect: entry.effect,
        way_out: entry.way_out,
        bad: entry.bad,
        good: entry.good,
    }
}

fn list(console: &Console, code: Code) {
    match console.format() {
        Format::Json => console.object(&explanation(code)),
        Format::Human => console.line(&format!("{code}  {}", code.entry().summary)),
    }
}

fn explain(console: &Console, code: Code) {
    let full = explanation(code);
    if console.format() == Format::Json {
        console.object(&full);
        return;
    }
    console.line(&format!("{code}: {}\n", full.summary));
    for (title, text) in [
        ("When", full.condition),
        ("Otherwise", full.effect),
        ("Do this", full.way_out),
        ("Refused", full.bad),
        ("Accepted", full.good),
    ] {
        paragraph(console, title, text);
    }
    console.line(&format!("  Exit code   {}", full.exit));
}

/// Width of explained text, in characters; a comfortable line on an 80-column terminal.
const WIDTH: usize = 64;

fn paragraph(console: &Console, title: &str, text: &str) {
    let mut line = String::new();
    let mut title = title;
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            console.line(&format!("  {title:<11} {line}"));
            title = "";
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    console.line(&format!("  {title:<11} {line}"));
}
