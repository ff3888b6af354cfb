//! What every program says to write instead of a refused `DATABASE_URL`.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use serde_json::{Value, json};

use crate::support::place::{PINNED, Place};
use crate::support::run::Run;

const PAGE: &str = include_str!("../../docs/database-url.md");

/// Returns the rows of the page: what was written, and what to write instead.
fn rows() -> Vec<(&'static str, &'static str)> {
    let (_, section) = PAGE.split_once("## What to write instead").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let cell = |cell: &'static str| cell.trim().strip_prefix('`')?.strip_suffix('`');
    let row = |line: &'static str| {
        let (written, instead) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
        Some((cell(written)?, cell(instead)?))
    };
    section.lines().filter_map(row).collect()
}

/// Returns the URL that a denial's help says to write.
fn suggestion(denial: &Value) -> &str {
    let help = denial["help"].as_str().unwrap();
    help.strip_prefix("Write ").unwrap_or(help).split([',', ' ']).next().unwrap()
}

#[test]
fn db_1_each_row_of_the_page_is_answered_so_and_the_answer_is_accepted() {
    let place = Place::new();
    let rows = rows();
    assert!(rows.len() >= 15, "{rows:?}");
    let ask = |urls: Vec<String>| {
        let line = |url| format!("{}\n", json!({"slot": "preview-1", "url": url}));
        let requests: String = urls.into_iter().map(line).collect();
        place.check(&["--stdin"]).with_stdin(&requests).run().objects()
    };
    let answers = ask(rows.iter().map(|(written, _)| (*written).to_owned()).collect());
    assert_eq!(answers.len(), rows.len());
    for ((written, instead), answer) in rows.iter().zip(&answers) {
        assert_eq!(answer["verdict"], "denied", "{written}");
        assert_eq!(suggestion(answer), *instead, "{written}");
    }
    for answer in ask(rows.iter().map(|(_, url)| url.replace("<password>", "x")).collect()) {
        assert_eq!(answer["verdict"], "allowed", "{answer}");
    }
}

#[test]
fn db_1_every_program_says_what_to_write_instead() {
    let place = Place::new();
    place.copy_migrations(&fixtures::migrations("fails-midway"), "feature");
    place.configure(&format!("{PINNED}[programs.cat]\npath = \"/bin/cat\"\n"));
    let migrations = place.text("previews/feature/migrations");
    let file = place.text("url");
    for (written, instead) in [
        (
            "postgresql+psycopg://slot_1:s3cret@127.0.0.1:5432/app_preview_1",
            "postgresql://slot_1:<password>@127.0.0.1:5432/app_preview_1",
        ),
        (
            "postgresql://slot_1@localhost:5432/app_preview_1?schema=public",
            "postgresql://slot_1@127.0.0.1:5432/app_preview_1?schema=public",
        ),
    ] {
        place.write("url", 0o600, written);
        let migrate = ["--slot", "preview-1", "--migrations", &migrations];
        let by_file = |run: Run| run.and(&["--database-url-file", &file]);
        for run in [
            place.check(&["--slot", "preview-1"]).with("DATABASE_URL", written),
            by_file(place.check(&["--slot", "preview-1"])),
            place.check(&["--slot", "preview-1", "--database-url", written]),
            place.migrate("plan", &migrate).with("DATABASE_URL", written),
            by_file(place.migrate("apply", &migrate)),
            place.exec(&[], &["/bin/cat"]).with("DATABASE_URL", written),
            place.exec(&["--database-url-file", &file], &["/bin/cat"]),
        ] {
            let outcome = run.format("json").run();
            assert_eq!(outcome.status, Some(77), "{outcome:?}");
            let said = outcome.said();
            let mut denials = said.lines().filter_map(|line| serde_json::from_str(line).ok());
            let denial: Value = denials.next_back().unwrap();
            assert_eq!(suggestion(&denial), instead, "{said}");
        }
    }
}
