//! `slotguard check --stdin`: a verdict for every line, from the line alone.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::support::place::Place;
use crate::support::run::Run;

const URL: &str = "postgresql://slot_1@127.0.0.1:5432/app_preview_1";

fn stream(place: &Place, lines: &[Value]) -> Run {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    place.check(&["--stdin"]).with_stdin(&text)
}

#[test]
fn db_1_every_url_of_the_corpus_is_judged_as_its_case_says() {
    let place = Place::new();
    place.configure("");
    let cases = fixtures::url_cases();
    let request = |(id, case): (usize, &fixtures::UrlCase)| json!({"id": id, "slot": case.slot, "url": case.url, "env": {}});
    let requests: Vec<Value> = cases.iter().enumerate().map(request).collect();
    let outcome = stream(&place, &requests).run();
    assert_eq!((outcome.status, outcome.stderr.as_str()), (Some(0), ""));
    let answers = outcome.objects();
    assert_eq!(answers.len(), cases.len());
    for (id, (case, answer)) in cases.iter().zip(&answers).enumerate() {
        let why = &case.why;
        assert_eq!(answer["id"], id, "{why}");
        assert_eq!(answer["code"].as_str(), case.code.as_deref(), "{why}: {answer}");
        let verdict = if case.code.is_some() { "denied" } else { "allowed" };
        assert_eq!(answer["verdict"], verdict, "{why}: {answer}");
        assert_eq!(answer["slot"], case.slot, "{why}");
        let names_the_slots_own = answer["database"] == format!("app_preview_{}", &case.slot[8..]);
        assert_eq!(names_the_slots_own, case.code.is_none(), "{why}: {answer}");
    }
}

#[test]
fn ids_of_every_kind_come_back_in_order() {
    let place = Place::new();
    let ids = [json!(1), json!("two"), json!(null), json!([3, {"x": 4}]), json!(5.5)];
    let request = |id: &Value| json!({"id": id, "slot": "preview-1", "url": URL, "env": {}});
    let outcome = stream(&place, &ids.iter().map(request).collect::<Vec<_>>()).run();
    let answers = outcome.accepted().objects();
    assert_eq!(answers.iter().map(|answer| answer["id"].clone()).collect::<Vec<_>>(), ids);
}

#[test]
fn the_environment_of_the_process_is_not_read() {
    let place = Place::new();
    let request = json!({"id": 1, "slot": "preview-1", "url": URL, "env": {}});
    let hostile = [
        ("PGHOSTADDR", "127.0.0.9"),
        ("DATABASE_URL", "postgresql://slot_1@127.0.0.1:5432/app_production"),
        ("DIRECT_URL", "postgresql://slot_1@127.0.0.1:5432/app_production"),
        ("SLOT_IDS_CSV", "preview-9"),
        ("SLOTGUARD_CONFIG", "/nonexistent"),
    ];
    let run = |run: Run| hostile.iter().fold(run, |run, (name, value)| run.with(name, value)).run();
    let outcome = run(stream(&place, std::slice::from_ref(&request)));
    assert_eq!(outcome.accepted().objects()[0]["verdict"], "allowed");
    // The same variables on a line of its own are judged.
    for (name, value) in &hostile[..3] {
        let mut line = request.clone();
        line["env"] = json!({*name: *value});
        let answers = stream(&place, &[line]).run().objects();
        assert_eq!(answers[0]["verdict"], "denied", "{name}");
    }
    // And a single check reads them.
    let outcome = run(place.check(&["--slot", "preview-1", "--database-url", URL]));
    assert_eq!(outcome.status, Some(64), "{outcome:?}");
}

#[test]
fn a_reader_that_asks_one_at_a_time_gets_each_answer_at_once() {
    use std::io::{BufRead as _, BufReader};
    let place = Place::new();
    let mut child = place.check(&["--stdin"]).start();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for id in 0..3 {
        let request = json!({"id": id, "slot": "preview-1", "url": URL});
        writeln!(input, "{request}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["id"], id);
    }
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_closed_output_is_a_quiet_end() {
    use std::io::Read as _;
    let place = Place::new();
    let mut child = place.check(&["--stdin"]).start();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    let request = json!({"id": 1, "slot": "preview-1", "url": URL});
    // The program ends before it has read everything.
    let unread = (0..1_000_000).any(|_| writeln!(input, "{request}").is_err());
    assert!(unread, "nobody reads the answers, and still they are made");
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn a_stream_without_lines_has_no_answers() {
    let outcome = Place::new().check(&["--stdin"]).run();
    assert_eq!(outcome.accepted().said(), "");
}
