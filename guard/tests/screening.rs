//! The corpus of `fixtures/migrations-screening`, held against the screening.

use guard::migration::{Screening, screen};

fn codes(screening: &Screening) -> Vec<&'static str> {
    screening.findings.iter().map(|finding| finding.code.id()).collect()
}

#[test]
fn every_hostile_text_is_refused_with_its_code() {
    let mut wrong = Vec::new();
    for case in fixtures::hostile_migrations() {
        let screening = screen(&case.text);
        let code = case.code.unwrap_or_default();
        if !codes(&screening).contains(&code.as_str()) {
            wrong.push(format!(
                "{} {code} {}: {:?}\n{}",
                case.file,
                case.why,
                codes(&screening),
                case.text
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} are not refused as they must be:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn no_benign_text_is_refused() {
    let mut wrong = Vec::new();
    for case in fixtures::benign_migrations() {
        let screening = screen(&case.text);
        if !screening.findings.is_empty() {
            wrong.push(format!(
                "{} {}: {:#?}\n{}",
                case.file, case.why, screening.findings, case.text
            ));
        }
    }
    assert!(wrong.is_empty(), "{} false alarms:\n{}", wrong.len(), wrong.join("\n"));
}
