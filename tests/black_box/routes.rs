//! `slotguard routes verify`: what is made is clean, and one mistake at a time is found at its line.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of what the lint takes for one")]

use guard::diagnostic::Code;
use serde_json::Value;

use crate::support::place::Place;
use crate::support::proxies::{CADDY, NGINX, caddy_validate, installed, nginx, write_nginx};
use crate::support::run::{Outcome, Run};
use crate::support::web::HOST;

/// A place whose configuration names the slots' roots and hosts.
fn place() -> Place {
    let place = Place::new();
    place.configure(&format!("[web]\nroot = \"/srv/web-preview-{{slot}}\"\nhost = \"{HOST}\"\n"));
    place
}

fn render(place: &Place, proxy: &str) -> String {
    let config = place.config();
    let outcome = Run::new("slotguard", &["routes", "render", proxy, "--config", &config]).run();
    outcome.accepted().stdout.clone()
}

fn verify(place: &Place, proxy: &str, text: &str) -> Outcome {
    let (config, option) = (place.config(), format!("--{proxy}-config"));
    Run::new("slotguard", &["routes", "verify", &option, "-", "--config", &config])
        .with_stdin(text)
        .format("json")
        .run()
}

/// Returns the findings as code and line.
fn findings(outcome: &Outcome) -> Vec<(String, usize)> {
    let report: Value = serde_json::from_str(outcome.stdout.trim()).unwrap();
    let findings = report["configurations"][0]["findings"].as_array().unwrap();
    let finding = |finding: &Value| {
        let line = usize::try_from(finding["line"].as_u64().unwrap()).unwrap();
        (finding["code"].as_str().unwrap().to_owned(), line)
    };
    findings.iter().map(finding).collect()
}

/// A mistake: what is replaced, by what, and how it is found. The place is the first one behind the
/// server of `preview-1` begins.
type Mistake = (&'static str, &'static str, Code);

/// Makes each mistake in a clean text and expects it at its own line; a part that was taken away
/// is said at the block that lacks it.
fn find_all(proxy: &str, clean: &str, from: &str, mistakes: &[Mistake]) {
    let place = place();
    verify(&place, proxy, clean).accepted();
    for (right, wrong, code) in mistakes {
        let start = clean.find(from).unwrap();
        let at = start + clean[start..].find(right).unwrap_or_else(|| panic!("no `{right}`"));
        let text = format!("{}{wrong}{}", &clean[..at], &clean[at + right.len()..]);
        let outcome = verify(&place, proxy, &text);
        assert_eq!(outcome.status, Some(65), "{wrong}: {outcome:#?}");
        let line = text[..at + wrong.len()].lines().count().max(1);
        let found = findings(&outcome);
        let is_at = |at: usize| match code {
            Code::RouteMissing => true,
            // A reader stumbles where the text stops making sense, not where that began.
            Code::RouteUnverifiable => at >= line,
            _ => at == line,
        };
        let is_there = found.iter().any(|(found, at)| found == code.id() && is_at(*at));
        assert!(is_there, "{wrong}: {code} at line {line} is not in {found:?}");
    }
}

const IN_NGINX: &[Mistake] = &[
    // Other backends.
    ("127.0.0.1:8101;", "127.0.0.1:8102;", Code::RouteForeign),
    ("127.0.0.1:8101;", "127.0.0.1:8103/;", Code::RouteForeign),
    ("127.0.0.1:8101;", "localhost:8101;", Code::RouteForeign),
    ("127.0.0.1:8101;", "127.0.0.1:8080;", Code::RouteForeign),
    ("127.0.0.1:8101;", "127.0.0.1:8101/;", Code::RouteForeign),
    ("127.0.0.1:8101;", "127.0.0.1:8101$request_uri;", Code::RouteForeign),
    (
        "proxy_pass http://127.0.0.1:8101;",
        "proxy_pass http://127.0.0.1:$arg_port;",
        Code::RouteForeign,
    ),
    (
        "proxy_pass http://127.0.0.1:8101;",
        "proxy_pass http://unix:/run/app.sock;",
        Code::RouteForeign,
    ),
    (
        "proxy_pass http://127.0.0.1:8101;",
        "proxy_pass https://production.example;",
        Code::RouteForeign,
    ),
    ("proxy_pass http://127.0.0.1:8101;", "fastcgi_pass 127.0.0.1:9000;", Code::RouteForeign),
    ("proxy_pass http://127.0.0.1:8101;", "proxy_pass http://backend;", Code::RouteForeign),
    // Directives that are not made.
    (
        "proxy_redirect off;",
        "proxy_redirect off; proxy_set_header Host production.example;",
        Code::RouteUnknown,
    ),
    ("proxy_redirect off;", "proxy_redirect default;", Code::RouteUnknown),
    ("proxy_buffering off;", "proxy_buffering on;", Code::RouteUnknown),
    ("proxy_next_upstream off;", "proxy_next_upstream error;", Code::RouteUnknown),
    (
        "proxy_set_header X-Slot-Id preview-1;",
        "proxy_set_header X-Slot-Id preview-2;",
        Code::RouteForeign,
    ),
    (
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        Code::RouteUnknown,
    ),
    (
        "proxy_set_header Upgrade $slotguard_upgrade;",
        "proxy_set_header Upgrade $http_upgrade;",
        Code::RouteUnknown,
    ),
    ("client_max_body_size 100m;", "client_max_body_size 0;", Code::RouteUnknown),
    (
        "client_max_body_size 100m;",
        "client_max_body_size 100m; rewrite ^ /api/admin last;",
        Code::RouteUnknown,
    ),
    (
        "client_max_body_size 100m;",
        "client_max_body_size 100m; merge_slashes off;",
        Code::RouteUnknown,
    ),
    (
        "client_max_body_size 100m;",
        "client_max_body_size 100m; location /admin { proxy_pass http://127.0.0.1:8102; }",
        Code::RouteForeign,
    ),
    (
        "client_max_body_size 100m;",
        "client_max_body_size 100m; location /files { alias /etc/; }",
        Code::RouteUnknown,
    ),
    (
        "client_max_body_size 100m;",
        "client_max_body_size 100m; set $backend 127.0.0.1:8102;",
        Code::RouteForeign,
    ),
    (
        "client_max_body_size 100m;",
        "client_max_body_size 100m; error_page 404 = @other;",
        Code::RouteUnknown,
    ),
    ("client_max_body_size 100m;", "client_max_body_size 100m; autoindex on;", Code::RouteUnknown),
    (
        "client_max_body_size 100m;",
        "client_max_body_size 100m; content_by_lua_file /etc/x.lua;",
        Code::RouteUnknown,
    ),
    ("client_max_body_size 100m;", "client_max_body_size 100m; mirror /copy;", Code::RouteUnknown),
    (
        "client_max_body_size 100m;",
        "client_max_body_size 100m; access_log /tmp/$host.log;",
        Code::RouteUnknown,
    ),
    ("return 421;", "return 200;", Code::RouteUnknown),
    ("root /srv/web-preview-1/current;", "root /srv/web-preview-2/current;", Code::RouteForeign),
    ("root /srv/web-preview-1/current;", "root /srv;", Code::RouteUnknown),
    ("disable_symlinks on from=$document_root;", "disable_symlinks off;", Code::RouteUnknown),
    ("location = /api {", "location ~* ^/api {", Code::RouteUnknown),
    (
        "try_files $uri $uri/index.html $slotguard_page =404;",
        "try_files $uri /index.html;",
        Code::RouteUnknown,
    ),
    ("listen 127.0.0.1:3101 default_server;", "listen 127.0.0.1:3101;", Code::RouteUnknown),
    (
        "listen 127.0.0.1:3101 default_server;",
        "listen 127.0.0.1:3101 default_server; listen 3102;",
        Code::RouteForeign,
    ),
    ("listen 127.0.0.1:3101 default_server;", "listen 3101 default_server;", Code::RouteForeign),
    // Parts that are missing.
    ("disable_symlinks on from=$document_root;", "", Code::RouteMissing),
    ("proxy_set_header Forwarded \"\";", "", Code::RouteMissing),
    ("return 421;", "", Code::RouteMissing),
    // Text that cannot be read.
    ("return 421;", "return 421", Code::RouteUnverifiable),
    ("return 421;", "include /etc/nginx/more.conf;", Code::RouteUnverifiable),
    ("return 421;", "return \"421;", Code::RouteUnverifiable),
];

/// Mistakes beside the servers.
const BESIDE_NGINX: &[Mistake] = &[
    ("# preview-1", "upstream other { server 127.0.0.1:8102; }", Code::RouteForeign),
    ("# preview-1", "proxy_set_header X-A b;", Code::RouteUnknown),
    ("# preview-1", "js_import x.js;", Code::RouteUnknown),
    (
        "# preview-1",
        "server { listen 80; location / { proxy_pass http://127.0.0.1:8101; } }",
        Code::RouteForeign,
    ),
    ("# preview-1", "server { listen 80; server_name preview1.example.com; }", Code::RouteForeign),
    (
        "# preview-1",
        "server { listen 80; location / { proxy_pass http://$host; } }",
        Code::RouteUnknown,
    ),
    ("# preview-1", "server { listen 0.0.0.0:3101; }", Code::RouteForeign),
    ("# preview-1", "map $http_host $slotguard_1_host { default 1; }", Code::RouteUnknown),
];

#[test]
fn every_mistake_in_nginx_is_found_at_its_line() {
    let clean = render(&place(), "nginx");
    find_all("nginx", &clean, "server {\n    listen 127.0.0.1:3101", IN_NGINX);
    find_all("nginx", &clean, "# preview-1", BESIDE_NGINX);
}

const IN_CADDY: &[Mistake] = &[
    ("127.0.0.1:8101", "127.0.0.1:8102", Code::RouteForeign),
    ("127.0.0.1:8101", "127.0.0.1:9000", Code::RouteForeign),
    ("127.0.0.1:8101", "unix//run/app.sock", Code::RouteForeign),
    ("127.0.0.1:8101", "{http.request.header.X-Backend}", Code::RouteForeign),
    ("\"127.0.0.1:3101\"", "\"127.0.0.1:3101\", \":3102\"", Code::RouteForeign),
    ("\"localhost:3101\"", "\"evil.example\"", Code::RouteUnknown),
    ("\"status_code\": 421", "\"status_code\": 200", Code::RouteUnknown),
    (
        "\"handler\": \"reverse_proxy\",",
        "\"handler\": \"reverse_proxy\", \"rewrite\": {\"uri\": \"/x\"},",
        Code::RouteUnknown,
    ),
    (
        "\"handler\": \"reverse_proxy\",",
        "\"handler\": \"reverse_proxy\", \"dynamic_upstreams\": {\"source\": \"a\"},",
        Code::RouteUnknown,
    ),
    ("\"/api\"", "\"/API\"", Code::RouteUnknown),
    ("/srv/web-preview-1/current", "/srv/web-preview-2/current", Code::RouteForeign),
    ("/srv/web-preview-1/current", "/", Code::RouteForeign),
    ("\"X-Forwarded-*\",", "", Code::RouteMissing),
    ("\"compression\": false", "\"compression\": true", Code::RouteUnknown),
    ("\"max_size\": 104857600", "\"max_size\": 0", Code::RouteUnknown),
    ("\"listen\": [", "\"listen\": [], \"listen\": [", Code::RouteUnverifiable),
    ("\"listen\": [", "\"listen\": ", Code::RouteUnverifiable),
    (
        "\"protocols\": [",
        "\"trusted_proxies\": {\"source\": \"static\"}, \"protocols\": [",
        Code::RouteUnknown,
    ),
    ("\"versions\": [", "\"versions\": [ \"2\",", Code::RouteUnknown),
];

/// Mistakes beside the servers.
const BESIDE_CADDY: &[Mistake] = &[
    ("\"disabled\": true", "\"listen\": \"0.0.0.0:2019\"", Code::RouteUnknown),
    ("\"apps\": {", "\"apps\": { \"layer4\": {},", Code::RouteUnknown),
    (
        "\"servers\": {",
        "\"servers\": { \"x\": {\"listen\": [\":80\"], \"routes\": [{\"handle\": [{\"handler\": \"reverse_proxy\", \"upstreams\": [{\"dial\": \"127.0.0.1:8102\"}]}]}]},",
        Code::RouteForeign,
    ),
    (
        "\"servers\": {",
        "\"servers\": { \"x\": {\"listen\": [\":80\"], \"routes\": [{\"handle\": [{\"handler\": \"exec\"}]}]},",
        Code::RouteUnknown,
    ),
    (
        "\"servers\": {",
        "\"servers\": { \"x\": {\"listen\": [\"0.0.0.0:3101\"]},",
        Code::RouteForeign,
    ),
];

#[test]
fn every_mistake_in_caddy_is_found_at_its_line() {
    let clean = render(&place(), "caddy");
    find_all("caddy", &clean, "\"preview-1\": {", IN_CADDY);
    find_all("caddy", &clean, "{", BESIDE_CADDY);
}

#[test]
fn the_same_in_another_order_is_clean() {
    let place = place();
    let clean = render(&place, "nginx");
    let (front, last) = clean.split_at(clean.find("# preview-3").unwrap());
    let (front, second) = front.split_at(front.find("# preview-2").unwrap());
    let moved = format!("{front}{last}\naccess_log off;\n{second}");
    verify(&place, "nginx", &moved).accepted();
    let one = "        proxy_buffering off;\n        proxy_request_buffering off;\n";
    let other =
        "        # as before\n        proxy_request_buffering off;\n        proxy_buffering off;\n";
    let reordered = clean.replace(one, other);
    assert_ne!(reordered, clean);
    verify(&place, "nginx", &reordered).accepted();

    let clean = render(&place, "caddy");
    let mut value: Value = serde_json::from_str(&clean).unwrap();
    let compact = serde_json::to_string(&value).unwrap();
    verify(&place, "caddy", &compact).accepted();
    let hosts = &mut value["apps"]["http"]["servers"]["preview-1"];
    hosts["logs"] = Value::from(serde_json::Map::new());
    let servers = value["apps"]["http"]["servers"].as_object_mut().unwrap();
    let own = servers.remove("preview-1").unwrap();
    servers.insert("zz".to_owned(), own);
    verify(&place, "caddy", &serde_json::to_string(&value).unwrap()).accepted();
}

#[test]
fn what_the_real_proxies_print_is_clean() {
    let place = place();
    if installed(NGINX, "what_the_real_proxies_print_is_clean") {
        let config = write_nginx(&place, &render(&place, "nginx"));
        let dump = nginx(&config, &["-T"]).run();
        assert_eq!(dump.status, Some(0), "{dump:#?}");
        verify(&place, "nginx", &dump.stdout).accepted();
        let foreign = dump.stdout.replacen("http://127.0.0.1:8101", "http://127.0.0.1:8103", 1);
        let outcome = verify(&place, "nginx", &foreign);
        let report: Value = serde_json::from_str(outcome.stdout.trim()).unwrap();
        let finding = &report["configurations"][0]["findings"][0];
        assert!(finding["file"].as_str().unwrap().ends_with("/slots.conf"), "{finding}");
        // One file of two: what it includes was not shown.
        let alone = std::fs::read_to_string(config).unwrap();
        let outcome = verify(&place, "nginx", &alone);
        assert_eq!(findings(&outcome)[0].0, Code::RouteUnverifiable.id());
    }
    if installed(CADDY, "what_the_real_proxies_print_is_clean") {
        place.write("caddy.json", 0o644, &render(&place, "caddy"));
        let valid = caddy_validate(&place, &place.text("caddy.json")).run();
        assert_eq!(valid.status, Some(0), "{valid:#?}");
    }
}
