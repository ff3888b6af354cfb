//! Hostile requests, byte by byte, against every kind of front, with a backend for every slot.
//!
//! What reaches a foreign backend fails the test whatever the answer was.

use fixtures::WebAnswer;

use crate::support::canary::Canary;
use crate::support::place::Place;
use crate::support::ports;
use crate::support::web::{Client, serving};

/// Sends every request to the front of `preview-1` and compares what became of it.
fn play(front: &str) {
    let canaries = Canary::all();
    let mut wrong = Vec::new();
    for request in fixtures::web_requests() {
        let before = canaries.each_ref().map(Canary::connections);
        let mut client = Client::connect(3101);
        client.send(request.bytes());
        let status = client.head().map_or(0, |answer| answer.status);
        client.rest();
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
        let spoofed = ["10.6.6.6", "evil.example", "spoofed", "preview-2", "smuggled", "HTTP2"];
        for head in heads {
            if let Some(trace) = spoofed.iter().find(|trace| head.contains(**trace)) {
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
