//! `slotguard routes verify --live`: right and crossed ways behind every kind of front.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::Scope;

use guard::diagnostic::Code;
use serde_json::Value;

use crate::support::canary::Canary;
use crate::support::ports;
use crate::support::preview::Preview;
use crate::support::proxies::{CADDY, NGINX, caddy, installed, nginx, proxying, write_nginx};
use crate::support::run::{Outcome, Run, assert_whole};
use crate::support::web::serving;

/// The codes that this module shows.
pub(crate) const SHOWN: [Code; 4] =
    [Code::RouteCrossed, Code::RouteIdentity, Code::RouteUnproven, Code::RouteHost];

/// Slots whose backends run, with a web root that a front can serve.
fn preview(slots: &[u8]) -> Preview {
    let preview = Preview::new();
    let place = preview.place();
    let home = place.text("bin/sample-backend");
    // An application that knows nothing of keys.
    place.write("previews/feature/plain.sh", 0o644, &format!("HOME=/ exec {home}\n"));
    for slot in 1..=3 {
        place.write(&format!("web-{slot}/index.html"), 0o644, "<p>page");
    }
    let root = place.text("web-{slot}");
    preview.configure(&format!(
        "[web]\nroot = \"{root}\"\n[programs.plain]\npath = \"/bin/sh\"\nargs = [\"plain.sh\"]\n"
    ));
    slots.iter().for_each(|slot| drop(preview.started(*slot)));
    preview
}

fn verify(preview: &Preview, more: &[&str]) -> Run {
    let config = preview.place().config();
    Run::new("slotguard", &[&["routes", "verify", "--live", "--config", &config], more].concat())
}

/// Returns each way as `slot kind proof`, with the codes of what was found.
#[track_caller]
fn ways(preview: &Preview, more: &[&str]) -> Vec<String> {
    let outcome = verify(preview, more).format("json").run();
    let said = outcome.objects().pop().unwrap();
    let ways = said["live"].as_array().unwrap();
    let found = ways.iter().flat_map(|way| way["findings"].as_array().unwrap()).count();
    assert_eq!(outcome.status, Some(if found == 0 { 0 } else { 65 }), "{outcome:#?}");
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let way = |way: &Value| {
        let codes = way["findings"].as_array().unwrap().iter().map(|one| text(&one["code"]));
        let front = [text(&way["slot"]), text(&way["kind"]), text(&way["proof"])];
        front.into_iter().chain(codes).collect::<Vec<_>>().join(" ")
    };
    ways.iter().map(way).collect()
}

fn show(code: Code, preview: &Preview, more: &[&str]) {
    let shown = ["human", "json"].map(|format| {
        let outcome = verify(preview, more).format(format).run();
        assert!(outcome.said().contains(code.id()), "{outcome:#?}");
        outcome.snapshot(&preview.server.redactor())
    });
    assert_whole(code.id(), &shown.join("\n"));
}

const PROVEN: [&str; 6] = [
    "preview-1 front identity",
    "preview-1 direct identity",
    "preview-2 front identity",
    "preview-2 direct identity",
    "preview-3 front identity",
    "preview-3 direct identity",
];

fn render(preview: &Preview, proxy: &str) -> String {
    let config = preview.place().config();
    let outcome = Run::new("slotguard", &["routes", "render", proxy, "--config", &config]).run();
    outcome.accepted().stdout.clone()
}

/// Crosses the first two slots in what was rendered.
fn crossed(rendered: &str) -> String {
    rendered
        .replace("127.0.0.1:8101", "<1>")
        .replace("127.0.0.1:8102", "127.0.0.1:8101")
        .replace("<1>", "127.0.0.1:8102")
}

#[test]
fn rt_2_rt_6_a_crossed_nginx_is_found_and_the_rendered_one_is_proven() {
    if !installed(NGINX, "rt_2_rt_6_a_crossed_nginx") {
        return;
    }
    let preview = preview(&[1, 2, 3]);
    let rendered = render(&preview, "nginx");
    let with = |text: &str, work: &dyn Fn()| {
        let config = write_nginx(preview.place(), text);
        proxying(nginx(&config, &[]), work);
    };
    with(&rendered, &|| assert_eq!(ways(&preview, &[]), PROVEN));
    with(&crossed(&rendered), &|| {
        let ways = ways(&preview, &[]);
        let code = Code::RouteCrossed.id();
        assert_eq!(ways[0], format!("preview-1 front - {code}"));
        assert_eq!(ways[1], PROVEN[1]);
        assert_eq!(ways[2], format!("preview-2 front - {code}"));
        assert_eq!(ways[4..], PROVEN[4..]);
        show(Code::RouteCrossed, &preview, &["--slot", "preview-1"]);
    });
    with(&rendered.replace("return 421;", "return 200;"), &|| {
        assert_eq!(ways(&preview, &[])[0], format!("{} {1} {1}", PROVEN[0], Code::RouteHost.id()));
        show(Code::RouteHost, &preview, &["--slot", "preview-1"]);
    });
}

#[test]
fn rt_2_rt_6_a_crossed_caddy_is_found_and_the_rendered_one_is_proven() {
    if !installed(CADDY, "rt_2_rt_6_a_crossed_caddy") {
        return;
    }
    let preview = preview(&[1, 2, 3]);
    let rendered = render(&preview, "caddy");
    for (text, found) in [(rendered.clone(), false), (crossed(&rendered), true)] {
        preview.place().write("caddy.json", 0o644, &text);
        proxying(caddy(preview.place(), &preview.place().text("caddy.json")), || {
            let ways = ways(&preview, &[]);
            if found {
                assert!(ways[0].ends_with(Code::RouteCrossed.id()), "{ways:?}");
                assert!(ways[2].ends_with(Code::RouteCrossed.id()), "{ways:?}");
            } else {
                assert_eq!(ways, PROVEN);
            }
        });
    }
}

/// The front of a slot with this place's configuration.
fn front(preview: &Preview, slot: u8) -> Run {
    let (config, slot) = (preview.place().config(), format!("preview-{slot}"));
    Run::new("web-surface", &["serve", "--slot", &slot, "--config", &config])
}

/// Hands every connection to a port on to another one, until told to end.
fn relay<'s>(scope: &'s Scope<'s, '_>, listener: &'s TcpListener, to: u16) {
    scope.spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
            let (mut client_in, mut client_out) = (client.try_clone().unwrap(), client);
            let (mut server_in, mut server_out) = (server.try_clone().unwrap(), server);
            scope.spawn(move || {
                let _ = copy(&mut client_in, &mut server_out);
                let _ = server_out.shutdown(Shutdown::Write);
            });
            scope.spawn(move || {
                let _ = copy(&mut server_in, &mut client_out);
                let _ = client_out.shutdown(Shutdown::Both);
            });
        }
    });
}

#[test]
fn rt_2_rt_6_web_surface_is_proven_and_what_leads_elsewhere_in_its_place_is_found() {
    let preview = preview(&[1, 2]);
    serving(front(&preview, 2), |_| {
        serving(front(&preview, 1), |_| {
            let mut expected = PROVEN[..4].to_vec();
            expected.extend(["preview-3 front -", "preview-3 direct -"]);
            assert_eq!(ways(&preview, &[]), expected);
        });
        // Its port leads to the front of the other slot.
        let listener = ports::listen(3101).unwrap();
        std::thread::scope(|scope| {
            relay(scope, &listener, 3102);
            let ways = ways(&preview, &["--slot", "preview-1"]);
            let codes = format!("{} {}", Code::RouteCrossed.id(), Code::RouteHost.id());
            assert_eq!(ways, [format!("preview-1 front - {codes}"), PROVEN[1].to_owned()]);
            // It ends with a connection that leads nowhere.
            rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        });
    });
}

#[test]
fn lc_7_a_foreign_process_on_a_backend_s_port_is_found() {
    let preview = preview(&[]);
    serving(front(&preview, 1), |_| {
        // A front without a backend leads nowhere else.
        let only = ["--slot", "preview-1"];
        assert_eq!(ways(&preview, &only), ["preview-1 front owner", "preview-1 direct -"]);
        let canary = Canary::start(1);
        let code = Code::PortForeign.id();
        let found = [format!("preview-1 front - {code}"), format!("preview-1 direct - {code}")];
        assert_eq!(ways(&preview, &only), found);
        drop(canary);
        preview.started(1);
        assert_eq!(ways(&preview, &only), PROVEN[..2]);
    });
}

#[test]
fn rt_6_without_an_identity_the_owners_of_the_sockets_decide() {
    let preview = preview(&[]);
    preview.start(1, "plain").run().accepted();
    let only = ["--slot", "preview-1"];
    serving(front(&preview, 1), |_| {
        assert_eq!(ways(&preview, &only), ["preview-1 front owner", "preview-1 direct owner"]);
    });
    if installed(NGINX, "rt_6_without_an_identity") {
        let config = write_nginx(preview.place(), &render(&preview, "nginx"));
        proxying(nginx(&config, &[]), || {
            let front = format!("preview-1 front - {}", Code::RouteUnproven.id());
            assert_eq!(ways(&preview, &only), [front, "preview-1 direct owner".to_owned()]);
            show(Code::RouteUnproven, &preview, &only);
        });
    }
}

#[test]
fn rt_6_a_key_of_another_start_proves_nothing() {
    let preview = preview(&[1]);
    let key = preview.place().path("state/preview-1/home/.slotguard-identity");
    let own = std::fs::read_to_string(&key).unwrap();
    let only = ["--slot", "preview-1"];
    std::fs::write(&key, "0".repeat(64)).unwrap();
    assert_eq!(
        ways(&preview, &only),
        [
            "preview-1 front -".to_owned(),
            format!("preview-1 direct - {}", Code::RouteIdentity.id())
        ]
    );
    show(Code::RouteIdentity, &preview, &only);
    std::fs::write(&key, own).unwrap();
    assert_eq!(ways(&preview, &only), ["preview-1 front -", PROVEN[1]]);
    // A new start has a new one.
    preview.backend("restart", 1, &[]).run().accepted();
    assert_eq!(ways(&preview, &only), ["preview-1 front -", PROVEN[1]]);
}

#[test]
fn en_12_the_template_of_the_dev_fallback_must_be_each_slot_s_own() {
    let preview = preview(&[1]);
    let with = |template: &str| -> Outcome {
        let run = verify(&preview, &["--slot", "preview-1"]).format("json");
        run.with("WORKER_SLOT_API_DIRECT_TEMPLATE", template).run()
    };
    with("http://127.0.0.1:8101").denied(Code::WorkerVariable);
    let said = with("http://127.0.0.1:810{slot}").objects().pop().unwrap();
    assert_eq!(said["live"][1]["address"], "127.0.0.1:8101");
    assert_eq!(said["live"][1]["proof"], "identity");
}
