//! The report of a publish as one page that needs nothing but itself.

use std::fmt::Write as _;

use serde_json::Value;

use super::step::Step;
use crate::flow::{State, StepReport};

/// What the page is about.
pub(crate) struct Page<'a> {
    /// The slot.
    pub(crate) slot: &'a str,
    /// How the publish ended, in a word.
    pub(crate) outcome: &'a str,
    /// What that means for the slot.
    pub(crate) standing: &'a str,
    /// When it began, in UTC.
    pub(crate) began: &'a str,
    /// The worktree that was published.
    pub(crate) worktree: &'a str,
    /// The steps, in order.
    pub(crate) steps: &'a [StepReport<Step>],
}

/// Colours follow the reader's preference; nothing is loaded from anywhere.
const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8885;--bad:#c62828;--good:#2e7d32}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.4rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}\
td.time{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
.failed{color:var(--bad);font-weight:600}.done{color:var(--good)}\
.bar{display:inline-block;height:.6rem;background:currentColor;opacity:.4;min-width:1px}\
pre{overflow-x:auto;padding:.6rem;border:1px solid var(--line)}\
dt{font-weight:600}dd{margin:0 0 .4rem}";

/// Renders the page.
pub(crate) fn render(page: &Page<'_>) -> String {
    let title = format!("{}: {}", page.slot, page.outcome);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head><body>\n\
         <h1>{title}</h1>\n<p>{standing}</p>\n\
         <dl><dt>Worktree</dt><dd><code>{worktree}</code></dd><dt>Began</dt><dd>{began}</dd></dl>\n",
        title = escape(&title),
        standing = escape(page.standing),
        worktree = escape(page.worktree),
        began = escape(page.began),
    );
    out.push_str("<h2>Steps</h2>\n<table><thead><tr><th>Step</th><th>State</th><th>What</th>");
    out.push_str("<th>Time</th></tr></thead><tbody>\n");
    let longest = page.steps.iter().map(|step| step.duration_ms).max().unwrap_or(0).max(1);
    for step in page.steps {
        let width = step.duration_ms * 100 / longest;
        // Writing to a text cannot fail.
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"{}\">{}</td><td>{}</td><td class=\"time\">{} ms<br>\
             <span class=\"bar\" style=\"width:{width}px\"></span></td></tr>",
            step.step,
            step.state,
            step.state,
            escape(&step.summary),
            step.duration_ms,
        );
    }
    out.push_str("</tbody></table>\n");
    for step in page.steps {
        details(&mut out, step);
    }
    out.push_str("</body></html>\n");
    out
}

fn details(out: &mut String, step: &StepReport<Step>) {
    if step.details.is_empty() && step.refusal.is_none() && step.output.is_empty() {
        return;
    }
    let open = if step.state == State::Failed { " open" } else { "" };
    let _ = writeln!(out, "<details{open}><summary>{}</summary>", step.step);
    if let Some(refusal) = &step.refusal {
        let _ = writeln!(
            out,
            "<p class=\"failed\">{} {}</p><dl><dt>Found</dt><dd>{}</dd><dt>Expected</dt><dd>{}</dd>\
             <dt>What to do</dt><dd>{}</dd></dl>",
            refusal.code(),
            escape(refusal.message()),
            escape(refusal.found()),
            escape(refusal.expected()),
            escape(refusal.next_step()),
        );
    }
    if !step.output.is_empty() {
        let _ = writeln!(out, "<pre>{}</pre>", escape(&step.output.join("\n")));
    }
    for (name, value) in &step.details {
        let text = match value {
            Value::String(text) => text.clone(),
            other => serde_json::to_string_pretty(other).unwrap_or_default(),
        };
        let _ = writeln!(out, "<h3>{}</h3><pre>{}</pre>", escape(name), escape(&text));
    }
    out.push_str("</details>\n");
}

/// A branch chooses many of these texts, so none of them may become markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            other if other.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use guard::diagnostic::{Code, Denial};

    use super::super::step::Step;
    use super::*;

    fn step(summary: &str) -> StepReport<Step> {
        StepReport {
            step: Step::Migration,
            state: State::Failed,
            duration_ms: 12,
            summary: summary.to_owned(),
            details: serde_json::Map::from_iter([("plan".to_owned(), "V1 </pre>".into())]),
            output: vec!["<b>last</b> line\u{1b}[31m".to_owned()],
            refusal: Some(Denial::new(Code::ForeignDatabase, "m", "<found>", "e")),
        }
    }

    fn page(steps: &[StepReport<Step>]) -> String {
        let (slot, outcome) = ("preview-1", "failed");
        let standing = "schema: previous, backend: previous";
        let (began, worktree) = ("2026-01-01T00:00:00Z", "/srv/previews/<img src=x>");
        render(&Page { slot, outcome, standing, began, worktree, steps })
    }

    #[test]
    fn nothing_that_a_branch_says_becomes_markup() {
        let html = page(&[step("<script>alert(1)</script>")]);
        for bad in ["<script", "<img", "<b>", "<found>", "V1 </pre>", "\u{1b}"] {
            assert!(!html.contains(bad), "{bad}\n{html}");
        }
        assert!(html.contains("&lt;script&gt;"));
        assert!(html.contains("SG2101") && html.contains("last&lt;/b&gt; line"));
    }

    #[test]
    fn the_page_loads_nothing() {
        let html = page(&[step("x")]);
        for word in ["http:", "https:", "src=", "url(", "<link", "@import"] {
            let outside = html.replace("src=x", "");
            assert!(!outside.contains(word), "{word}");
        }
    }
}
