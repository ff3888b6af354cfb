//! The judgement of a configuration of nginx: near a slot, only what is made for that slot.
//!
//! What is made is parsed by the same reader, and every directive of a slot's server must be one of
//! it. An allowlist of words would let through what a new directive means; here nothing is let
//! through that was not made.

use super::super::finding::{Finding, Place, named_slot};
use super::super::front::Front;
use super::render::render;
use super::syntax::{Node, Unreadable, read};
use crate::diagnostic::Code;
use crate::slot::SlotId;

/// Directives of the `main` and `events` level that cannot move a request.
const MAIN: &[&str] = &[
    "daemon",
    "error_log",
    "events",
    "load_module",
    "master_process",
    "pid",
    "user",
    "worker_cpu_affinity",
    "worker_priority",
    "worker_processes",
    "worker_rlimit_nofile",
];

/// Directives of the `http` level that no slot's answer depends on.
const HTTP: &[&str] = &[
    "access_log",
    "client_body_temp_path",
    "default_type",
    "error_log",
    "fastcgi_temp_path",
    "gzip",
    "gzip_comp_level",
    "gzip_types",
    "gzip_vary",
    "keepalive_timeout",
    "log_format",
    "map_hash_bucket_size",
    "map_hash_max_size",
    "proxy_temp_path",
    "scgi_temp_path",
    "sendfile",
    "server_names_hash_bucket_size",
    "server_names_hash_max_size",
    "server_tokens",
    "ssl_ciphers",
    "ssl_prefer_server_ciphers",
    "ssl_protocols",
    "ssl_session_cache",
    "tcp_nodelay",
    "tcp_nopush",
    "types",
    "types_hash_max_size",
    "uwsgi_temp_path",
];

/// Directives of a slot's server that change no answer.
const HARMLESS: &[&str] = &["access_log", "error_log"];

/// Directives that hand a request on; their target must be a literal.
const HANDS_ON: &[&str] =
    &["fastcgi_pass", "grpc_pass", "memcached_pass", "proxy_pass", "scgi_pass", "uwsgi_pass"];

/// Directives that hold code, or that make a request elsewhere.
const OPAQUE: &[&str] =
    &["_by_lua", "js_", "perl", "mirror", "auth_request", "resolver", "upstream"];

/// Judges a configuration: the text of one file, or what `nginx -T` prints.
#[must_use]
pub fn verify(fronts: &[Front], text: &str, name: &str) -> Vec<Finding> {
    let nodes = match read(text, name) {
        Ok(nodes) => nodes,
        Err(fault) => return vec![unverifiable(&fault)],
    };
    let made = match read(&render(fronts), "rendered") {
        Ok(made) => made,
        Err(fault) => return vec![unverifiable(&fault)],
    };
    let start = Place { file: name.to_owned(), line: 1 };
    let mut judge = Judge { made, findings: Vec::new(), end: start };
    judge.whole(fronts, &nodes);
    judge.findings
}

fn unverifiable(fault: &Unreadable) -> Finding {
    let expected = "a configuration in the syntax of nginx, whole";
    Finding::new(
        Code::RouteUnverifiable,
        &fault.at,
        "the configuration cannot be read",
        &fault.why,
        expected,
    )
}

struct Judge {
    made: Vec<Node>,
    findings: Vec<Finding>,
    /// Where a server that is missing would be.
    end: Place,
}

impl Judge {
    fn whole(&mut self, fronts: &[Front], nodes: &[Node]) {
        let https: Vec<&Node> = nodes.iter().filter(|node| node.name == "http").collect();
        let is_main = !https.is_empty() || nodes.iter().any(|node| node.name == "events");
        if !is_main {
            self.http(fronts, nodes);
            return;
        }
        for node in nodes.iter().filter(|node| node.name != "http") {
            if !MAIN.contains(&node.name.as_str()) {
                self.unknown(node, "a directive of the main level that is not known");
            }
        }
        match https[..] {
            [http] => self.http(fronts, http.children.as_deref().unwrap_or_default()),
            _ => self.missing("`http` once", &format!("`http` {} times", https.len())),
        }
    }

    fn http(&mut self, fronts: &[Front], nodes: &[Node]) {
        for node in nodes {
            if node.name == "server" {
                self.server(fronts, node);
            } else if !self.is_made(node) && !HTTP.contains(&node.name.as_str()) {
                self.beside(node);
            }
        }
        let made = std::mem::take(&mut self.made);
        for node in &made {
            match nodes.iter().filter(|other| other.says_the_same(node)).count() {
                1 => {}
                // A server that is there and differs was judged directive by directive.
                0 if node.name == "server" && server_of(nodes, node).is_some() => {}
                0 => self.missing(&node.shown_with_listen(), "nothing like it"),
                _ => self.missing(&format!("{} once", node.shown_with_listen()), "it twice"),
            }
        }
        self.made = made;
    }

    fn is_made(&self, node: &Node) -> bool {
        self.made.iter().any(|made| made.says_the_same(node))
    }

    /// Judges what stands beside the servers: harmless for the slots only if it does not name one.
    fn beside(&mut self, node: &Node) {
        let is_ours = node.args.iter().any(|arg| arg.starts_with("$slotguard_"));
        if ["map", "geo"].contains(&node.name.as_str()) && !is_ours && first_naming(node).is_none()
        {
            return;
        }
        match first_naming(node) {
            Some(named) => self.foreign(named, "a directive beside the servers names a slot"),
            None => self.unknown(node, "a directive of the http level that is not known"),
        }
    }

    fn server(&mut self, fronts: &[Front], server: &Node) {
        let children = server.children.as_deref().unwrap_or_default();
        let made =
            self.made.iter().find(|made| made.name == "server" && listens_alike(made, server));
        match made.cloned() {
            Some(made) => self.of_slot(fronts, server, &made),
            None => self.elsewhere(children),
        }
    }

    /// Judges the server of a slot: every directive is one that is made, and none of these is missing.
    fn of_slot(&mut self, fronts: &[Front], server: &Node, made: &Node) {
        let slot = fronts.iter().find(|front| listens_at(made, &front.address())).map(Front::slot);
        self.compare(server, made, slot.map(SlotId::number));
    }

    fn compare(&mut self, found: &Node, made: &Node, slot: Option<u8>) {
        let (own, expected) = (
            found.children.as_deref().unwrap_or_default(),
            made.children.as_deref().unwrap_or_default(),
        );
        for node in own {
            if expected.iter().any(|made| made.says_the_same(node)) {
                if own.iter().filter(|other| other.says_the_same(node)).count() > 1 {
                    self.unknown(node, "a directive of a slot stands twice");
                }
                continue;
            }
            let twin =
                expected.iter().find(|made| made.name == node.name && made.args == node.args);
            match twin {
                Some(twin) if twin.children.is_some() && node.children.is_some() => {
                    self.compare(node, twin, slot);
                }
                _ => self.stranger(node, slot),
            }
        }
        for made in expected {
            let is_there = own.iter().any(|node| node.name == made.name && node.args == made.args);
            if !is_there {
                let message = "the server of a slot lacks a directive";
                self.findings.push(Finding::new(
                    Code::RouteMissing,
                    &found.at,
                    message,
                    &found.shown(),
                    &format!("`{}`", made.shown()),
                ));
            }
        }
    }

    fn stranger(&mut self, node: &Node, slot: Option<u8>) {
        if HARMLESS.contains(&node.name.as_str()) && !node.args.iter().any(|arg| arg.contains('$'))
        {
            return;
        }
        let other = first_naming(node);
        match other {
            Some(named) if naming(named).map(SlotId::number) != slot => {
                self.foreign(named, "the server of a slot leads to another slot");
            }
            _ if HANDS_ON.contains(&node.name.as_str()) => {
                self.foreign(node, "the server of a slot leads to something else than its backend");
            }
            _ => self.unknown(node, "the server of a slot holds what is not made for it"),
        }
    }

    /// Judges a server that is no slot's: nothing in it may reach one.
    fn elsewhere(&mut self, nodes: &[Node]) {
        for node in nodes {
            let name = node.name.as_str();
            if naming(node).is_some() {
                self.foreign(node, "a server that is no slot's names a slot");
            } else if HANDS_ON.contains(&name) && node.args.iter().any(|arg| arg.contains('$')) {
                self.unknown(node, "a target that is only known when a request is there");
            } else if OPAQUE.iter().any(|part| name.contains(part)) {
                self.unknown(node, "a directive that nobody can judge");
            }
            self.elsewhere(node.children.as_deref().unwrap_or_default());
        }
    }

    fn foreign(&mut self, node: &Node, message: &str) {
        let expected = "only what `slotguard routes render nginx` writes for the slot";
        self.findings.push(Finding::new(
            Code::RouteForeign,
            &node.at,
            message,
            &format!("`{}`", node.shown()),
            expected,
        ));
    }

    fn unknown(&mut self, node: &Node, message: &str) {
        let expected = "a directive that `slotguard routes render nginx` writes, or a harmless one";
        self.findings.push(Finding::new(
            Code::RouteUnknown,
            &node.at,
            message,
            &format!("`{}`", node.shown()),
            expected,
        ));
    }

    fn missing(&mut self, expected: &str, found: &str) {
        let message = "something that the slots need is not there, or not once";
        self.findings.push(Finding::new(Code::RouteMissing, &self.end, message, found, expected));
    }
}

/// Returns the slot that the words of a directive name.
fn naming(node: &Node) -> Option<SlotId> {
    node.args.iter().find_map(|arg| named_slot(arg))
}

/// Returns the first directive, in the block too, that names a slot.
fn first_naming(node: &Node) -> Option<&Node> {
    let own = naming(node).or_else(|| named_slot(&node.name)).map(|_| node);
    own.or_else(|| node.children.iter().flatten().find_map(first_naming))
}

fn listens(server: &Node) -> impl Iterator<Item = &Node> {
    server.children.iter().flatten().filter(|node| node.name == "listen")
}

fn listens_at(server: &Node, address: &str) -> bool {
    listens(server).any(|listen| listen.args.first().is_some_and(|arg| arg == address))
}

/// Returns whether two servers share an address to listen on.
fn listens_alike(made: &Node, server: &Node) -> bool {
    listens(made).any(|listen| listen.args.first().is_some_and(|arg| listens_at(server, arg)))
}

fn server_of<'n>(nodes: &'n [Node], made: &Node) -> Option<&'n Node> {
    nodes.iter().find(|node| node.name == "server" && listens_alike(made, node))
}

impl Node {
    fn shown_with_listen(&self) -> String {
        let listen =
            listens(self).next().map_or_else(String::new, |node| format!(" {}", node.shown()));
        format!("`{}{listen}`", self.shown())
    }
}
