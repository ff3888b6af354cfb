//! Hazards as people, programs, code scanners and workflows meet them.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use guard::diagnostic::Code;
use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::run::{Outcome, Run, assert_whole};
use crate::support::schema;
use crate::support::server::Server;
use crate::trace::DEPLOYED;

/// The codes of hazards; the catalogue's bad and good texts are migrations.
pub(crate) const SHOWN: [Code; 8] = [
    Code::HazardRewrite,
    Code::HazardScan,
    Code::HazardIndex,
    Code::HazardClients,
    Code::HazardLoss,
    Code::HazardType,
    Code::HazardRerun,
    Code::HazardMeaning,
];

fn lint(place: &Place, text: &str, args: &[&str]) -> Run {
    place.write("V1__x.sql", 0o644, text);
    let file = place.text("V1__x.sql");
    Run::new("migrate-runner", &[&["lint", &file], args].concat())
}

#[test]
fn hazards_as_the_catalogue_shows_them() {
    for code in SHOWN {
        let place = Place::new();
        let shown = ["human", "json"].map(|format| {
            let run = lint(&place, code.entry().bad, &["--deny", "hazard"]);
            let outcome = run.format(format).run();
            outcome.refused(code);
            outcome.snapshot(&place.redactor())
        });
        assert_whole(code.id(), &shown.join("\n"));
        lint(&place, code.entry().good, &["--deny", "hazard"]).format("json").run().accepted();
    }
}

#[test]
fn a_hazard_warns_and_only_with_deny_it_refuses() {
    let place = Place::new();
    let run = |text: &str, args: &[&str]| lint(&place, text, args).format("json").run().status;
    assert_eq!(run("DROP TABLE a;", &[]), Some(0));
    assert_eq!(run("DROP TABLE a;", &["--deny", "hazard"]), Some(65));
    assert_eq!(run("CREATE TABLE a (); DROP TABLE a;", &["--deny", "hazard"]), Some(0));
    assert_eq!(run("CHECKPOINT;", &[]), Some(65));
}

/// Returns line and rule of each hazard, for each file.
fn hazards(report: &Value) -> Vec<Vec<String>> {
    let rule = |finding: &Value| {
        assert_eq!(finding["class"], "hazard", "{finding}");
        format!("{} {}", finding["line"], finding["rule"].as_str().unwrap())
    };
    let of_file = |file: &Value| file["findings"].as_array().unwrap().iter().map(rule).collect();
    report["files"].as_array().unwrap().iter().map(of_file).collect()
}

#[test]
fn every_migration_of_the_corpus_has_its_hazards_and_no_other() {
    let directory = fixtures::hazard_migrations();
    let run = |args: &[&str]| {
        let args = [&["lint", directory.to_str().unwrap()], args].concat();
        let outcome = Run::new("migrate-runner", &args).format("json").run();
        hazards(&outcome.objects()[0])
    };
    let found = run(&["--deployed", &DEPLOYED.to_string()]);
    let expected = fixtures::hazard_cases();
    let deployed = usize::try_from(DEPLOYED).unwrap();
    assert!(expected.len() >= 40 && found.len() == deployed + expected.len());
    assert!(found[..deployed].iter().all(Vec::is_empty));
    for (found, expected) in found[deployed..].iter().zip(&expected) {
        assert_eq!(*found, expected.hazards, "{}", expected.file);
    }
    // With every file pending, all tables are new, and what is said about them is said no more.
    let all: Vec<String> = run(&[]).concat();
    let about_tables = |rule: &String| !rule.contains("enum-value") && !rule.contains("domain");
    assert_eq!(
        all.into_iter().filter(about_tables).collect::<Vec<_>>(),
        ["6 require-concurrent-index-creation"]
    );
}

const TEXT: &str = "\
-- A password: hunter2
UPDATE users SET secret = 'hunter2'; ALTER TABLE users DROP COLUMN name;
DO $$
BEGIN
    EXECUTE 'ALTER TABLE users ' || 'ALTER COLUMN id TYPE bigint';
END
$$;
CREATE FUNCTION later() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
\tTRUNCATE users CASCADE; -- hunter2
END $$;
CHECKPOINT;
";

#[test]
fn findings_are_shown_beside_their_lines() {
    let place = Place::new();
    let shown = ["human", "sarif", "github"].map(|format| {
        let outcome = lint(&place, TEXT, &[]).format(format).run();
        outcome.refused(Code::ReachesServer);
        assert!(!outcome.said().contains("hunter2"), "{outcome:#?}");
        outcome.snapshot(&place.redactor())
    });
    assert_whole("hazards", &shown.join("\n"));
}

/// The part of the SARIF 2.1.0 schema that our documents use: names, kinds, enumerations, and what
/// must be there. The official schema allows more; it allows nothing else under these names.
fn sarif_schema() -> Value {
    let text = json!({
        "type": "object",
        "properties": { "text": { "type": "string" } },
        "required": ["text"],
        "additionalProperties": false,
    });
    let number = json!({ "type": "integer" });
    let object = |properties: Value, required: &[&str]| {
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    };
    let list = |items: Value| json!({ "type": "array", "items": items });
    let string = json!({ "type": "string" });
    let rule = object(
        json!({
            "id": string, "name": string, "shortDescription": text, "fullDescription": text, "help": text,
        }),
        &["id"],
    );
    let region = object(
        json!({
            "startLine": number, "startColumn": number, "endLine": number, "endColumn": number,
        }),
        &["startLine"],
    );
    let artifact = object(json!({ "uri": string }), &["uri"]);
    let place =
        object(json!({ "artifactLocation": artifact, "region": region }), &["artifactLocation"]);
    let location = object(json!({ "physicalLocation": place }), &["physicalLocation"]);
    let tags = object(json!({ "tags": list(string.clone()) }), &["tags"]);
    let result = object(
        json!({
            "ruleId": string,
            "ruleIndex": number,
            "level": { "enum": ["none", "note", "warning", "error"] },
            "message": text,
            "locations": list(location),
            "properties": tags,
        }),
        &["message"],
    );
    let driver = object(
        json!({ "name": string, "semanticVersion": string, "rules": list(rule) }),
        &["name"],
    );
    let run = object(
        json!({
            "tool": object(json!({ "driver": driver }), &["driver"]),
            "columnKind": { "enum": ["utf16CodeUnits", "unicodeCodePoints"] },
            "results": list(result),
        }),
        &["tool"],
    );
    object(
        json!({ "$schema": string, "version": { "const": "2.1.0" }, "runs": list(run) }),
        &["version", "runs"],
    )
}

#[test]
fn sarif_is_as_its_schema_says_and_its_parts_agree() {
    let place = Place::new();
    for text in [TEXT, "CREATE TABLE a ();"] {
        let outcome = lint(&place, text, &[]).format("sarif").run();
        let document: Value = serde_json::from_str(&outcome.stdout).unwrap();
        schema::matches(&document, &sarif_schema()).unwrap();
        let run = &document["runs"][0];
        for result in run["results"].as_array().unwrap() {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
            let region = &result["locations"][0]["physicalLocation"]["region"];
            assert!(region["startLine"].as_u64() >= Some(1), "{region}");
            assert!(region["startColumn"].as_u64() >= Some(1), "{region}");
        }
        assert_eq!(run["results"].as_array().unwrap().is_empty(), text != TEXT);
    }
}

#[test]
fn only_some_commands_have_further_formats() {
    let place = Place::new();
    for (format, text) in [("sarif", "SELECT 1;"), ("github", "SELECT 1;")] {
        lint(&place, text, &[]).format(format).run().accepted();
    }
    lint(&place, "SELECT 1;", &[]).format("markdown").run().refused(Code::Usage);
    let run = place.migrate("confirm", &["--slot", "preview-1"]);
    run.format("sarif").run().refused(Code::Usage);
}

fn planned(server: &Server, files: &[(&str, &str)], args: &[&str]) -> Outcome {
    for (name, text) in files {
        server.place.write(&format!("previews/x/migrations/{name}"), 0o644, text);
    }
    let migrations = server.place.text("previews/x/migrations");
    server.migrate("plan", 1, &migrations).and(args).format("json").run()
}

#[test]
fn a_plan_warns_of_what_is_pending_only() {
    let server = Server::new();
    let table = ("V1__a.sql", "CREATE TABLE a (b bigint);");
    let index = ("V2__b.sql", "CREATE INDEX i ON a (b);");
    // Both are pending, so the table is new.
    planned(&server, &[table, index], &["--deny", "hazard"]).accepted();
    let outcome = planned(&server, &[], &["--deployed", "1", "--deny", "hazard"]);
    outcome.refused(Code::HazardIndex);
    let migrations = server.place.text("previews/x/migrations");
    server.migrate("apply", 1, &migrations).run().accepted();
    planned(&server, &[], &["--deny", "hazard"]).accepted();
    let drop = ("V3__c.sql", "DROP TABLE a;");
    let plan = &planned(&server, &[drop], &[]).objects()[0];
    assert_eq!(plan["hazards"][0]["file"], "V3__c.sql");
    assert_eq!(plan["hazards"][0]["code"], Code::HazardLoss.id());
    assert_eq!(plan["hazards"].as_array().unwrap().len(), 1);
}
