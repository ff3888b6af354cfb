//! The ordinary work of ordinary drivers through the sidecar, and how each hears a refusal.
//!
//! `tests/differential/README.md` tells where the drivers come from.

use serde_json::json;

use crate::differential::{Driver, cache};
use crate::support::run::say;
use crate::support::server::Server;
use crate::support::sidecar::{self, Sidecar};

/// What each driver does; not every one can do everything.
const WORK: [(&str, &[&str]); 6] = [
    ("psycopg", &["prepared", "copy in", "copy out", "large", "pipeline", "cancel", "notify"]),
    ("asyncpg", &["prepared", "copy in", "copy out", "large", "cancel", "notify"]),
    ("pg", &["prepared", "large", "notify"]),
    ("postgres.js", &["prepared", "pipeline", "copy in", "copy out", "large", "cancel", "notify"]),
    (
        "tokio-postgres",
        &["prepared", "pipeline", "copy in", "copy out", "large", "cancel", "notify"],
    ),
    ("sqlx", &["prepared", "copy in", "copy out", "large", "notify"]),
];

#[test]
fn every_driver_does_its_ordinary_work_and_hears_why_it_is_refused() {
    let drivers = Driver::prepared(&cache());
    drivers.skipped.iter().for_each(|skipped| say(skipped));
    let server = Server::new();
    sidecar::configure(&server, "");
    let sidecar = Sidecar::start(&server);
    let urls = [
        sidecar.url("slot_1", "app_preview_1"),
        sidecar.url("slot_1", "app_production"),
        sidecar.url("postgres", "app_preview_1"),
        sidecar.url("slot_1", "app_preview_1").replace(&sidecar.password(), "another"),
    ];
    let requests: String = urls.iter().map(|url| format!("{}\n", json!({ "url": url }))).collect();
    let mut tried = Vec::new();
    for driver in drivers.ready.iter().filter(|driver| driver.name != "psql") {
        let (name, work) = WORK.iter().find(|(name, _)| *name == driver.name).expect("its work");
        let answers = driver.work(&requests);
        assert_eq!(answers[0], json!({ "done": work }), "{name}");
        for (answer, code) in answers[1..].iter().zip(["SG8713", "SG8714", "SG8721"]) {
            let told = answer["error"].as_str().is_some_and(|words| words.contains(code));
            assert!(told, "{name} {code}: {answer}");
        }
        tried.push(*name);
    }
    assert!(tried.contains(&"tokio-postgres"), "{:?}", drivers.skipped);
    // Each cancelled what it began, and no request went astray.
    let status = sidecar.status(&server);
    let cancelling =
        |name: &&str| WORK.iter().any(|(n, work)| n == name && work.contains(&"cancel"));
    let cancels = tried.iter().filter(|name| cancelling(name)).count();
    assert_eq!((&status["cancels"], &status["unknown_cancels"]), (&json!(cancels), &json!(0)));
    // Some drivers try again.
    let refused = status["refused"].as_u64().and_then(|refused| usize::try_from(refused).ok());
    assert!(refused >= Some(3 * tried.len()), "{status}");
    sidecar.stop();
}
