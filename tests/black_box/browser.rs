//! What people see: the sample's page through the slot's front, the report of a publish and the page
//! of a free slot, in a real browser. The pictures are in `target/tmp/screenshots`.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::path::PathBuf;

use serde_json::Value;

use crate::support::bench::{Bench, summary};
use crate::support::browser::Browser;
use crate::support::web::get;

const FRONT: &str = "http://127.0.0.1:3101";

const ORDERS: &str = "document.querySelectorAll('#order-rows tr').length";

#[test]
fn rt_1_a_page_is_used_while_its_release_and_its_backend_are_replaced() {
    let Some(mut browser) = Browser::open("rt_1_a_page_is_used") else { return };
    let bench = Bench::new().serving();
    assert_eq!(summary(&bench.publish(&[]).run())["outcome"], "published");
    browser.go(&format!("{FRONT}/"));
    browser.wait_until(&format!(
        "{ORDERS} === 4 && document.querySelector('#live').textContent === 'live'"
    ));
    for (id, value) in [("slot", "preview-1"), ("database", "app_preview_1"), ("role", "slot_1")] {
        let shown = browser.eval(&format!("document.getElementById('{id}').textContent"));
        assert_eq!(shown, value, "{id}");
    }
    browser.screenshot("sample");

    // The row appears because the backend said so: the page does not ask by itself.
    browser.fill("[name=name]", "Ada Quay");
    browser.fill("[name=email]", "ada@quay.example");
    browser.click("#submit");
    browser.wait_until(&format!("{ORDERS} === 5"));
    browser.wait_until("document.getElementById('form-message').dataset.state === 'ok'");
    browser.screenshot("sample-ordered");

    let page = std::fs::read_to_string(fixtures::sample_app().join("frontend/index.html")).unwrap();
    bench.write("frontend/index.html", &page.replace("<h1>Harbour</h1>", "<h1>Harbour Two</h1>"));
    assert_eq!(summary(&bench.publish(&[]).run())["outcome"], "published");
    // An open page stays as it is, hears of orders again, and is answered on.
    let heading = "document.querySelector('h1').textContent";
    assert_eq!(browser.eval(heading), "Harbour");
    browser.wait_until("document.querySelector('#live').textContent === 'live'");
    let status = "fetch('style.css').then((answer) => answer.status)";
    assert_eq!(browser.eval(status), 200);
    browser.click("#reload");
    browser.wait_until(&format!("{ORDERS} === 5"));
    browser.reload();
    assert_eq!(browser.eval(heading), "Harbour Two");
    browser.wait_until(&format!("{ORDERS} === 5"));

    assert_eq!(browser.origins().into_iter().collect::<Vec<_>>(), [FRONT]);
    // The stream of events ended with the old backend; nothing else failed.
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|text| text.contains("/api/events")), "{complaints:#?}");
}

#[test]
fn dg_9_the_report_of_a_publish_reads_well_in_a_browser() {
    let Some(mut browser) = Browser::open("dg_9_the_report_of_a_publish") else { return };
    let bench = Bench::new().serving();
    let done = summary(&bench.publish(&[]).run());
    bench.write("migrations/V11__fail.sql", "ALTER TABLE no_such_table ADD x int;\n");
    let failed = summary(&bench.publish(&[]).run());
    for (name, said, heading) in [
        ("report-published", done, "preview-1: published"),
        ("report-failed", failed, "preview-1: failed"),
    ] {
        browser.go(&report(&said));
        assert_eq!(browser.eval("document.querySelector('h1').textContent"), heading);
        let steps = said["steps"].as_array().unwrap().len();
        assert_eq!(browser.eval("document.querySelectorAll('tbody tr').length"), steps);
        // Nothing is wider than the window.
        assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth"), true);
        browser.screenshot(name);
    }
    let refusal = browser.eval("document.querySelector('details[open] .failed').innerText");
    assert!(refusal.as_str().unwrap().starts_with("SG"), "{refusal}");
    assert_eq!(browser.complaints(), [""; 0]);
    assert_eq!(browser.origins().into_iter().collect::<Vec<_>>(), ["file://"]);
}

fn report(said: &Value) -> String {
    let artifact = PathBuf::from(said["artifact"].as_str().unwrap());
    format!("file://{}", artifact.join("report.html").display())
}

#[test]
fn lc_10_a_released_slot_says_in_a_browser_that_it_is_free() {
    let Some(mut browser) = Browser::open("lc_10_a_released_slot") else { return };
    let bench = Bench::new().serving();
    let claimed = bench
        .slot("claim", &["--slot", "preview-1", "--owner", "worker-1", "--purpose", "feature-7"])
        .run();
    let generation = summary(&claimed)["generation"].to_string();
    bench.publish(&["--lease", &generation]).run().accepted();
    bench.slot("release", &["--slot", "preview-1", "--lease", &generation]).run().accepted();
    // The front looks twice a second; the page before this one would ask a backend that is gone.
    let is_free = || get(3101, "/", "").text().contains("is free");
    assert!((0..100).any(|_| is_free() || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        false
    }));
    browser.go(&format!("{FRONT}/"));
    assert_eq!(browser.eval("document.querySelector('h1').textContent"), "preview-1 is free");
    browser.screenshot("free");
    // A bookmark into the application that was there leads here as well.
    browser.go(&format!("{FRONT}/orders/7"));
    assert_eq!(browser.eval("document.title"), "preview-1 is free");
    assert_eq!(browser.complaints(), [""; 0]);
    assert_eq!(browser.origins().into_iter().collect::<Vec<_>>(), [FRONT]);
}
