//! The judgement of a configuration of Caddy: near a slot, only what is made for that slot.
//!
//! The order of routes counts, because the first one that fits answers; the order of names in an
//! object, and of texts in a list, does not.

use super::super::finding::{Finding, Place, named_slot};
use super::super::front::Front;
use super::render::render;
use super::syntax::{Kind, Value};
use crate::diagnostic::Code;
use crate::slot::SlotId;

/// Apps beside `http` that answer no request.
const APPS: &[&str] = &["http", "pki", "tls"];

/// What `http` may hold beside its servers.
const HTTP: &[&str] = &["grace_period", "http_port", "https_port", "servers", "shutdown_delay"];

/// What the server of a slot may hold beside what is made for it.
const HARMLESS: &[&str] = &["logs"];

/// Handlers of other servers that lead nowhere, or only where they literally say.
const HANDLERS: &[&str] = &[
    "authentication",
    "encode",
    "error",
    "file_server",
    "headers",
    "map",
    "request_body",
    "reverse_proxy",
    "rewrite",
    "static_response",
    "subroute",
    "vars",
];

/// Judges a configuration as Caddy runs it: JSON, adapted if it was written otherwise.
#[must_use]
pub fn verify(fronts: &[Front], text: &str, name: &str) -> Vec<Finding> {
    let unreadable = |line, why: &str| {
        let at = Place { file: name.to_owned(), line };
        let expected = "the JSON that Caddy runs, as `caddy adapt` prints it";
        vec![Finding::new(
            Code::RouteUnverifiable,
            &at,
            "the configuration cannot be read",
            why,
            expected,
        )]
    };
    let value = match Value::read(text) {
        Ok(value) => value,
        Err(fault) => return unreadable(fault.line, fault.why),
    };
    let Ok(made) = Value::read(&render(fronts)) else {
        return unreadable(1, "nothing to compare with");
    };
    let mut judge = Judge { file: name, findings: Vec::new() };
    judge.whole(fronts, &value, &made);
    judge.findings
}

struct Judge<'n> {
    file: &'n str,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn whole(&mut self, fronts: &[Front], value: &Value, made: &Value) {
        for (key, part) in value.members() {
            match key.as_str() {
                "apps" | "logging" => {}
                "admin" => self.compare(part, made.get("admin"), key, None),
                _ => self.unknown(part.line, "a part of the configuration that is not known", key),
            }
        }
        let apps = value.get("apps");
        for (key, part) in apps.map_or(&[][..], Value::members) {
            if !APPS.contains(&key.as_str()) {
                self.unknown(part.line, "an app that is not known", key);
            } else if key != "http" {
                self.elsewhere(part);
            }
        }
        let Some(http) = apps.and_then(|apps| apps.get("http")) else {
            self.missing(value.line, "no app `http`", "the servers of the slots");
            return;
        };
        for (key, part) in http.members().iter().filter(|(key, _)| !HTTP.contains(&key.as_str())) {
            self.unknown(part.line, "a setting of `http` that is not known", key);
        }
        let servers = http.get("servers").map_or(&[][..], Value::members);
        let made = made.get("apps").and_then(|apps| apps.get("http")?.get("servers"));
        for (_, server) in servers {
            match fronts.iter().find(|front| listens_at(server, &front.address())) {
                Some(front) => {
                    let slot = front.slot();
                    let own = made.and_then(|made| made.get(&slot.to_string()));
                    self.compare(server, own, "server", Some(slot));
                }
                None => self.elsewhere(server),
            }
        }
        for front in fronts {
            let address = front.address();
            let count = servers.iter().filter(|(_, server)| listens_at(server, &address)).count();
            if count != 1 {
                let found = format!("{count} servers that listen at {address}");
                self.missing(http.line, &found, &format!("one server of {}", front.slot()));
            }
        }
    }

    /// Compares a value with what is made for the slot, and says each difference at its own place.
    fn compare(&mut self, found: &Value, made: Option<&Value>, name: &str, slot: Option<SlotId>) {
        let Some(made) = made else {
            self.stranger(found, name, slot);
            return;
        };
        match (&found.kind, &made.kind) {
            (Kind::Object(members), Kind::Object(expected)) => {
                for (key, value) in members {
                    let harmless = name == "server" && HARMLESS.contains(&key.as_str());
                    if !harmless {
                        self.compare(value, made.get(key), key, slot);
                    }
                }
                for (key, value) in expected.iter().filter(|(key, _)| found.get(key).is_none()) {
                    let expected = format!("`\"{key}\": {}`", value.shown());
                    self.missing(found.line, &format!("`{name}` without `{key}`"), &expected);
                }
            }
            (Kind::List(_), Kind::List(_)) => self.compare_lists(found, made, name, slot),
            (Kind::Plain(own), Kind::Plain(expected)) | (Kind::Text(own), Kind::Text(expected))
                if own == expected => {}
            _ => self.stranger(found, name, slot),
        }
    }

    fn compare_lists(&mut self, found: &Value, made: &Value, name: &str, slot: Option<SlotId>) {
        let (own, expected) = (found.elements(), made.elements());
        let texts = own.iter().chain(expected).all(|element| element.text().is_some());
        if texts {
            for element in own {
                let twice = own.iter().filter(|other| other.text() == element.text()).count() > 1;
                if twice || !expected.iter().any(|made| made.text() == element.text()) {
                    self.stranger(element, name, slot);
                }
            }
        } else {
            for (index, element) in own.iter().enumerate() {
                self.compare(element, expected.get(index), name, slot);
            }
        }
        if own.len() < expected.len() {
            let found_text = format!("`{name}` with {} of {} elements", own.len(), expected.len());
            self.missing(found.line, &found_text, &made.shown());
        }
    }

    fn stranger(&mut self, found: &Value, name: &str, slot: Option<SlotId>) {
        let shown = format!("`\"{name}\": {}`", found.shown());
        let others = named_slot(&found.shown()).filter(|other| Some(*other) != slot);
        if others.is_some() {
            self.foreign(found.line, "the server of a slot leads to another slot", &shown);
        } else if ["dial", "root", "upstreams"].contains(&name) {
            self.foreign(
                found.line,
                "the server of a slot leads to something else than its own",
                &shown,
            );
        } else {
            self.unknown(found.line, "the server of a slot holds what is not made for it", &shown);
        }
    }

    /// Judges what is no slot's: nothing in it may reach one.
    fn elsewhere(&mut self, value: &Value) {
        let message = "a server that is no slot's names a slot";
        if let Some(text) = value.text()
            && named_slot(text).is_some()
        {
            self.foreign(value.line, message, text);
        }
        for (key, part) in value.members() {
            let text = part.text().unwrap_or_default();
            if named_slot(key).is_some() {
                self.foreign(part.line, message, key);
            }
            if key == "handler" && !HANDLERS.contains(&text) {
                self.unknown(part.line, "a handler that nobody can judge", text);
            }
            if key == "dynamic_upstreams" || (key == "dial" && text.contains('{')) {
                self.unknown(
                    part.line,
                    "a target that is only known when a request is there",
                    text,
                );
            }
            self.elsewhere(part);
        }
        value.elements().iter().for_each(|element| self.elsewhere(element));
    }

    fn foreign(&mut self, line: usize, message: &str, found: &str) {
        let expected = "only what `slotguard routes render caddy` writes for the slot";
        self.say(Code::RouteForeign, line, message, found, expected);
    }

    fn unknown(&mut self, line: usize, message: &str, found: &str) {
        let expected = "what `slotguard routes render caddy` writes";
        self.say(Code::RouteUnknown, line, message, found, expected);
    }

    fn missing(&mut self, line: usize, found: &str, expected: &str) {
        let message = "something that the slots need is not there, or not once";
        self.say(Code::RouteMissing, line, message, found, expected);
    }

    fn say(&mut self, code: Code, line: usize, message: &str, found: &str, expected: &str) {
        let at = Place { file: self.file.to_owned(), line };
        self.findings.push(Finding::new(code, &at, message, found, expected));
    }
}

fn listens_at(server: &Value, address: &str) -> bool {
    let listen = server.get("listen").map_or(&[][..], Value::elements);
    listen.iter().any(|own| own.text() == Some(address))
}
