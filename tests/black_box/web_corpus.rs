//! Hostile requests, byte by byte, against every kind of front, with a backend for every slot.
//!
//! What reaches a foreign backend fails the test whatever the answer was.

use fixtures::WebAnswer;

use crate::support::canary::Canary;
use crate::support::place::Place;
use crate::support::ports;
use crate::support::proxies::{CADDY, NGINX, caddy, installed, nginx, proxying, write_nginx};
use crate::support::run::Run;
use crate::support::web::{Client, HOST, serving};

/// Sends every request to the front of `preview-1` and compares what became of it.
fn play(front: &str) {
    let canaries = Canary::all();
    let mut wrong = Vec::new();
    for request in fixtures::web_requests() {
        let before = canaries.each_ref().map(Canary::connections);
        let mut client = Client::connect(3101);
        client.send(request.bytes());
        let status = client.head().map_or(0, |answer| answer.status);
        client.hurry().rest();
        let heads = canaries[0].take_heads();
        let found = WebAnswer(status, heads.len());
        if found != request.expected(front) {
            wrong.push(format!(
                "{}: {found:?} instead of {:?}",
                request.name,
                request.expected(front)
            ));
        }
        let after = canaries.each_ref().map(Canary::connections);
        if before[1..] != after[1..] {
            wrong.push(format!("{}: reached a foreign backend", request.name));
        }
        // nginx cannot drop what only `Connection` names.
        let taken = (front != "nginx").then_some("taken away");
        let spoofed = ["10.6.6.6", "evil.example", "spoofed", "preview-2", "smuggled", "HTTP2"];
        for head in heads {
            if let Some(trace) = spoofed.into_iter().chain(taken).find(|trace| head.contains(trace))
            {
                wrong.push(format!("{}: the backend saw `{trace}`:\n{head}", request.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{front}:\n{}", wrong.join("\n"));
}

#[test]
fn the_corpus_is_large_and_its_names_are_unique() {
    let requests = fixtures::web_requests();
    let mut names: Vec<&str> = requests.iter().map(|request| request.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), requests.len());
    let hostile = requests.iter().filter(|request| !request.name.starts_with("passes: ")).count();
    assert!(hostile >= 80 && requests.len() - hostile >= 15, "{hostile} of {}", requests.len());
}

#[test]
fn rt_6_nothing_of_the_corpus_passes_web_surface() {
    let _ports = ports::reserve();
    let place = Place::new();
    place.publish("1", "<p>one");
    serving(place.front("preview-1"), |_| play("web-surface"));
}

/// A place whose configuration serves its release to every slot, for a proxy.
fn for_proxies() -> Place {
    let place = Place::new();
    place.publish("1", "<p>one");
    for slot in [1, 2, 3] {
        place.link("web", &format!("web-preview-{slot}"));
    }
    let root = place.text("web-preview-{slot}");
    place.configure(&format!("[web]\nroot = \"{root}\"\nhost = \"{HOST}\"\n"));
    place
}

#[test]
fn rt_6_nothing_of_the_corpus_passes_nginx() {
    if !installed(NGINX, "rt_6_nothing_of_the_corpus_passes_nginx") {
        return;
    }
    let _ports = ports::reserve();
    let place = for_proxies();
    let config = write_nginx(&place, &render(&place, "nginx"));
    proxying(nginx(&config, &[]), || play("nginx"));
}

#[test]
fn rt_6_nothing_of_the_corpus_passes_caddy() {
    if !installed(CADDY, "rt_6_nothing_of_the_corpus_passes_caddy") {
        return;
    }
    let _ports = ports::reserve();
    let place = for_proxies();
    place.write("caddy.json", 0o644, &render(&place, "caddy"));
    proxying(caddy(&place, &place.text("caddy.json")), || play("caddy"));
}

fn render(place: &Place, proxy: &str) -> String {
    let config = place.config();
    let outcome = Run::new("slotguard", &["routes", "render", proxy, "--config", &config]).run();
    outcome.accepted().stdout.clone()
}
