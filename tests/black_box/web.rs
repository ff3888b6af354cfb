//! `web-surface serve`: a release from memory, and `/api` from the slot's own backend.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use guard::diagnostic::Code;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::canary::Canary;
use crate::support::place::Place;
use crate::support::ports;
use crate::support::preview::Preview;
use crate::support::web::{Client, get, serving};

/// A place with the release `1`.
fn published() -> Place {
    let place = Place::new();
    place.publish("1", "<p>one");
    place
}

#[test]
fn rt_3_rt_4_rt_5_each_front_reaches_its_own_backend() {
    let _ports = ports::reserve();
    let place = published();
    let canaries = Canary::all();
    for slot in [1, 2, 3] {
        serving(place.front(&format!("preview-{slot}")), |_| {
            let mut client = Client::connect(3100 + slot);
            client.send(format!("GET /api/who HTTP/1.1\r\nHost: preview{slot}\r\n\r\n"));
            let answer = client.answer().unwrap();
            assert!(answer.text().starts_with(&format!("slot {slot}\n")), "{answer:?}");
        });
    }
    assert_eq!(canaries.each_ref().map(Canary::connections), [1, 1, 1]);
}

#[test]
fn rt_1_rt_2_the_sample_frontend_and_its_relative_api_share_one_origin() {
    let _ports = ports::reserve();
    let (place, canary) = (Place::new(), Canary::start(1));
    let frontend = fixtures::sample_app().join("frontend");
    for name in ["index.html", "app.js", "style.css"] {
        let text = std::fs::read_to_string(frontend.join(name)).unwrap();
        place.write(&format!("web/{name}"), 0o644, &text);
    }
    serving(place.front("preview-1"), |_| {
        assert!(get(3101, "/", "").text().contains("app.js"));
        let script = get(3101, "/app.js", "").text();
        assert!(script.contains("/api") && !script.contains("://"), "{script}");
        assert!(get(3101, "/api/orders", "").text().starts_with("slot 1\n"));
        assert_eq!(canary.take_heads().len(), 1);
    });
}

#[test]
fn files_are_answered_with_tags_parts_and_encodings() {
    let _ports = ports::reserve();
    let place = published();
    let large = "0123456789".repeat(500_000);
    place.write("web/releases/1/large.bin", 0o644, &large);
    for end in ["br", "gz"] {
        place.write(&format!("web/releases/1/app.js.{end}"), 0o644, end);
    }
    serving(place.front("preview-1"), |_| {
        let plain = get(3101, "/app.js", "");
        assert_eq!((plain.status, plain.header("vary")), (200, Some("Accept-Encoding")));
        assert_eq!(plain.header("content-type"), Some("text/javascript; charset=utf-8"));
        let tag = plain.header("etag").unwrap();
        let known = get(3101, "/app.js", &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((known.status, known.body.len()), (304, 0));
        let brotli = get(3101, "/app.js", "Accept-Encoding: gzip, br\r\n");
        assert_eq!((brotli.header("content-encoding"), brotli.text()), (Some("br"), "br".into()));
        assert_ne!(brotli.header("etag"), Some(tag));
        let gzip = get(3101, "/app.js", "Accept-Encoding: br;q=0, gzip\r\n");
        assert_eq!(gzip.header("content-encoding"), Some("gzip"));
        for (target, whole) in [("/app.js", plain.text()), ("/large.bin", large.clone())] {
            let part = get(3101, target, "Range: bytes=5-9\r\nAccept-Encoding: br\r\n");
            assert_eq!((part.status, part.text()), (206, whole[5..10].to_owned()), "{target}");
            assert_eq!(part.header("content-range"), Some(&*format!("bytes 5-9/{}", whole.len())));
            let outside = get(3101, target, "Range: bytes=9999999-\r\n");
            assert_eq!(outside.status, 416);
            assert_eq!(get(3101, target, "").text(), whole, "{target}");
        }
        let mut client = Client::connect(3101);
        client.send("HEAD /large.bin HTTP/1.1\r\nHost: preview1\r\nConnection: close\r\n\r\n");
        let head = client.head().unwrap();
        assert_eq!(head.header("content-length"), Some("5000000"));
        assert!(client.rest().is_empty());
    });
}

#[test]
fn a_directory_gets_its_slash_and_api_never_the_index() {
    let _ports = ports::reserve();
    let place = published();
    let html = "Accept: text/html\r\n";
    serving(place.front("preview-1"), |_| {
        let moved = get(3101, "/docs?a=b", html);
        assert_eq!((moved.status, moved.header("location")), (301, Some("/docs/?a=b")));
        assert_eq!(get(3101, "/orders/7", html).text(), "<p>one");
        assert_eq!(get(3101, "/orders/7", "Accept: application/json\r\n").status, 404);
        for path in ["/.env", "/.git/config", "/orders/.env"] {
            assert_eq!(get(3101, path, html).status, 404, "{path}");
        }
        // No backend is there: a request that could fall to the index would be answered by it.
        let mut client = Client::connect(3101);
        client.send("POST /api HTTP/1.1\r\nHost: preview1\r\nAccept: text/html\r\nContent-Length: 1\r\n\r\nx");
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.text().contains(Code::BackendUnavailable.id()), "{answer:?}");
    });
}

#[test]
fn an_answer_of_the_backend_is_cleaned() {
    let _ports = ports::reserve();
    let (place, _canary) = (published(), Canary::start(1));
    serving(place.front("preview-1"), |_| {
        let answer = get(3101, "/api/hop", "");
        assert_eq!(answer.header("x-kept"), Some("1"));
        assert_eq!(answer.header("x-slot-id"), Some("preview-1"));
        for name in ["x-hop", "keep-alive", "x-accel-redirect", "x-sendfile", "alt-svc"] {
            assert_eq!(answer.header(name), None, "{name}: {answer:?}");
        }
        for path in ["/api/dies", "/api/garbage", "/api/101"] {
            let answer = get(3101, path, "");
            assert_eq!(answer.status, 502, "{path}");
            assert!(answer.text().contains(Code::BackendFailed.id()), "{answer:?}");
        }
    });
}

#[test]
fn events_and_bodies_stream_piece_by_piece() {
    let _ports = ports::reserve();
    let (place, canary) = (published(), Canary::start(1));
    serving(place.front("preview-1"), |_| {
        let mut client = Client::connect(3101);
        client.send("GET /api/events HTTP/1.1\r\nHost: preview1\r\n\r\n");
        assert_eq!(client.head().unwrap().header("content-type"), Some("text/event-stream"));
        // The second event does not exist yet: the first one is not waiting for it.
        assert_eq!(client.chunk().unwrap(), b"data: first\n\n");
        canary.open_gate();
        assert_eq!(client.chunk().unwrap(), b"data: second\n\n");
        assert_eq!(client.chunk(), None);

        let mut client = Client::connect(3101);
        client.send("POST /api/upload HTTP/1.1\r\nHost: preview1\r\nContent-Length: 6\r\n\r\nabc");
        canary.wait_for_body();
        let answer = client.send("def").answer().unwrap();
        assert!(answer.text().ends_with("abcdef"), "{answer:?}");
    });
}

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://preview1.example.com\r\n";

#[test]
fn a_websocket_is_a_tunnel_after_101() {
    let _ports = ports::reserve();
    let (place, canary) = (published(), Canary::start(1));
    serving(place.front("preview-1"), |_| {
        let mut client = Client::connect(3101);
        // The first frame goes out before the answer is there.
        let request = format!("GET /api/ws HTTP/1.1\r\nHost: preview1\r\n{UPGRADE}\r\nfirst");
        let answer = client.send(request).head().unwrap();
        assert_eq!((answer.status, answer.header("upgrade")), (101, Some("websocket")));
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(client.bytes(5), b"first");
        // What looks like a request is a frame like any other.
        let frame = "GET /api/hidden HTTP/1.1\r\nHost: preview1\r\n\r\n";
        assert_eq!(client.send(frame).bytes(frame.len()), frame.as_bytes());
        drop(client);
        assert_eq!(canary.take_heads().len(), 1);
    });
}

#[test]
fn a_get_waits_for_a_backend_that_restarts() {
    let _ports = ports::reserve();
    let place = published();
    serving(place.front("preview-1"), |_| {
        let canary = Canary::start(1);
        assert_eq!(get(3101, "/api/a", "").status, 200);
        drop(canary);
        let mut waiting: Vec<Client> = (0..8)
            .map(|_| {
                let mut client = Client::connect(3101);
                client.send("GET /api/b HTTP/1.1\r\nHost: preview1\r\n\r\n");
                client
            })
            .collect();
        // A body is not kept: its request is answered while the others wait.
        let mut client = Client::connect(3101);
        client.send("POST /api/c HTTP/1.1\r\nHost: preview1\r\nContent-Length: 1\r\n\r\nx");
        let refused = client.answer().unwrap();
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
        let canary = Canary::start(1);
        for client in &mut waiting {
            assert_eq!(client.answer().unwrap().status, 200);
        }
        let heads = canary.take_heads();
        assert!(heads.iter().all(|head| head.starts_with("GET /api/b ")), "{heads:?}");
        assert_eq!(heads.len(), waiting.len());
    });
}

#[test]
fn rt_6_what_is_not_the_slot_s_backend_gets_no_request() {
    let preview = Preview::new();
    let place = preview.place();
    place.publish("1", "<p>one");
    let post = "POST /api/x HTTP/1.1\r\nHost: preview1\r\nContent-Length: 1\r\n\r\nx";
    serving(place.front("preview-1"), |_| {
        // Nothing was ever started for the slot: who keeps backends by hand is not kept from it.
        let canary = Canary::start(1);
        assert_eq!(get(3101, "/api/a", "").status, 200);
        drop(canary);

        preview.started(1);
        assert_eq!(get(3101, "/api/health", "").status, 200);
        preview.stopped(1);
        let canary = Canary::start(1);
        let refused = Client::connect(3101).send(post).answer().unwrap();
        assert_eq!(refused.status, 502, "{refused:?}");
        assert!(refused.text().contains(Code::BackendForeign.id()), "{refused:?}");
        // A request that can wait is answered by the slot's own backend, once it is back.
        let mut waiting = Client::connect(3101);
        waiting.send("GET /api/health HTTP/1.1\r\nHost: preview1\r\n\r\n");
        assert!(canary.take_heads().is_empty());
        drop(canary);
        preview.started(1);
        let answer = waiting.answer().unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.text().contains("app_preview_1"), "{answer:?}");
    });
}

#[test]
fn a_release_is_switched_under_load_without_a_failed_request() {
    let _ports = ports::reserve();
    let place = published();
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let outcome = serving(place.front("preview-1").format("json"), |running| {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = Client::connect(3101);
                    while !done.load(Ordering::SeqCst) {
                        let answer = client.get("/", "");
                        let text = answer.text();
                        let whole = text == format!("<p>{}", "x".repeat(text.len() - 3));
                        assert!(answer.status == 200 && (whole || text == "<p>one"), "{answer:?}");
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for round in 2..6 {
                place.publish(&round.to_string(), &format!("<p>{}", "x".repeat(1000 * round)));
                assert!(running.says(&format!("\"release\":\"{round}\"")));
            }
            // One that leads out is refused, and the one before it stays.
            place.point("../../etc");
            assert!(running.says(Code::WebRelease.id()));
            assert_eq!(get(3101, "/", "").body.len(), 5003);
            done.store(true, Ordering::SeqCst);
        });
    });
    assert!(answered.load(Ordering::SeqCst) > 100);
    let events = outcome.objects();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((of("web.started"), of("web.released"), of("web.release_refused")), (1, 4, 1));
}

#[test]
fn open_requests_end_before_the_front_does() {
    let _ports = ports::reserve();
    let (place, canary) = (published(), Canary::start(1));
    let outcome = serving(place.front("preview-1").format("json"), |running| {
        let mut idle = Client::connect(3101);
        assert_eq!(idle.get("/", "").status, 200);
        let mut client = Client::connect(3101);
        client.send("GET /api/events HTTP/1.1\r\nHost: preview1\r\n\r\n");
        assert_eq!(client.head().unwrap().status, 200);
        running.signal(Signal::TERM);
        // An idle connection ends; the open answer goes on to its end.
        assert!(idle.has_ended());
        canary.open_gate();
        let pieces = [client.chunk(), client.chunk(), client.chunk()];
        assert!(pieces[0].is_some() && pieces[1].is_some() && pieces[2].is_none());
        assert!(client.rest().is_empty());
    });
    let events = outcome.objects();
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["cut"]), (&Value::from("web.stopped"), &Value::from(0)));
}

#[test]
fn a_connection_ends_on_which_nothing_is_sent_unless_the_backend_is_waited_for() {
    let _ports = ports::reserve();
    let (place, canary) = (published(), Canary::start(1));
    serving(place.front("preview-1"), |_| {
        let mut events = Client::connect(3101);
        events.send("GET /api/events HTTP/1.1\r\nHost: preview1\r\n\r\n");
        assert_eq!(events.head().unwrap().status, 200);
        assert_eq!(events.chunk().unwrap(), b"data: first\n\n");
        let (mut idle, mut kept) = (Client::connect(3101), Client::connect(3101));
        let mut slow = Client::connect(3101);
        assert_eq!(idle.get("/", "").status, 200);
        slow.send("GET / HTTP/1.1\r\nHost: preview1\r\n");
        for number in 0..40 {
            slow.send(format!("X-{number}: a header every second\r\n"));
            if number % 10 == 0 {
                assert_eq!(kept.get("/", "").status, 200);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        assert!(slow.has_ended() && idle.has_ended());
        assert_eq!(kept.get("/", "").status, 200);
        canary.open_gate();
        assert_eq!(events.chunk().unwrap(), b"data: second\n\n");
        assert_eq!(events.chunk(), None);
    });
}

#[test]
fn the_log_has_every_request_and_no_query() {
    let _ports = ports::reserve();
    let place = published();
    let outcome = serving(place.front("preview-1").format("json"), |_| {
        get(3101, "/app.js?token=s3cret", "");
        get(3101, "/.env?token=s3cret", "");
        get(3101, "/a/../b?token=s3cret", "");
    });
    let events = outcome.objects();
    let requests: Vec<&Value> =
        events.iter().filter(|event| event["event"] == "web.request").collect();
    let shown: Vec<(&Value, &Value, &Value)> =
        requests.iter().map(|event| (&event["path"], &event["status"], &event["code"])).collect();
    let (ok, missing, bad) = (Value::from(200), Value::from(404), Value::from(400));
    let code = Value::from(Code::RequestPath.id());
    assert_eq!(
        shown,
        [
            (&Value::from("/app.js"), &ok, &Value::Null),
            (&Value::from("/.env"), &missing, &Value::Null),
            (&Value::from("/a/../b"), &bad, &code),
        ]
    );
    let silent = serving(place.front("preview-1").and(&["--no-access-log"]).format("json"), |_| {
        get(3101, "/", "");
    });
    assert!(!silent.stdout.contains("web.request"), "{silent:?}");
}

#[test]
fn the_configured_root_is_served_without_an_option() {
    let _ports = ports::reserve();
    let place = Place::new();
    let at = place.text("web-preview-");
    for slot in [1, 2, 3] {
        place.write(&format!("web-preview-{slot}/index.html"), 0o644, &format!("<p>of {slot}"));
    }
    place.configure(&format!("[web]\nroot = \"{at}{{slot}}\"\n"));
    let config = place.config();
    let args = ["serve", "--slot", "preview-1", "--config", &config];
    serving(crate::support::run::Run::new("web-surface", &args), |_| {
        assert_eq!(get(3101, "/", "").text(), "<p>of 1");
    });
}
