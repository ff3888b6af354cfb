//! The names under which a slot's front answers.

use crate::slot::SlotId;
use crate::template::Template;

/// The values of `Host` that belong to one slot; none of them belongs to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Returns the hosts of a slot: its own loopback address, its alias, and its public name.
    #[must_use]
    pub fn of(slot: SlotId, public: Option<&Template>) -> Self {
        let port = slot.frontend_port();
        let public = public.map(|template| template.render(slot).to_ascii_lowercase());
        let mut hosts = vec![format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        for name in [slot.dns_alias()].into_iter().chain(public) {
            hosts.push(format!("{name}:{port}"));
            hosts.push(name);
        }
        Self(hosts)
    }

    /// Returns every host, in lower case.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Returns whether a `Host` header is one of them, in any letter case.
    #[must_use]
    pub fn accepts(&self, host: &[u8]) -> bool {
        self.0.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(host))
    }

    /// Returns whether an `Origin` header is a page of this slot.
    #[must_use]
    pub fn accepts_origin(&self, origin: &[u8]) -> bool {
        let host =
            [&b"http://"[..], b"https://"].iter().find_map(|scheme| origin.strip_prefix(*scheme));
        host.is_some_and(|host| self.accepts(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(slot: &str) -> Hosts {
        Hosts::of(slot.parse().unwrap(), Template::parse("preview{slot}.example.com").as_ref())
    }

    #[test]
    fn rt_6_a_host_belongs_to_one_slot_at_most() {
        for slot in SlotId::all() {
            for host in hosts(&slot.to_string()).iter() {
                let owners =
                    SlotId::all().filter(|s| hosts(&s.to_string()).accepts(host.as_bytes()));
                assert_eq!(owners.collect::<Vec<_>>(), [slot], "{host}");
            }
        }
    }

    #[test]
    fn only_whole_names_count() {
        let own = hosts("preview-1");
        for good in ["127.0.0.1:3101", "LocalHost:3101", "preview1", "preview1.example.com:3101"] {
            assert!(own.accepts(good.as_bytes()), "{good}");
            assert!(own.accepts_origin(format!("http://{good}").as_bytes()), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1",
            "127.0.0.1:3102",
            "localhost",
            "preview2",
            "preview1.",
            "preview1.example.com.",
            "preview1.example.com:80",
            "evil.preview1.example.com",
            "preview1.example.com.evil",
            "[::1]:3101",
            " preview1",
            "user@preview1",
            "127.0.0.1:03101",
            "preview1.example.com:3102",
        ] {
            assert!(!own.accepts(bad.as_bytes()), "{bad}");
        }
        for bad in ["null", "preview1", "http://preview2", "ftp://preview1", "http://preview1/"] {
            assert!(!own.accepts_origin(bad.as_bytes()), "{bad}");
        }
    }
}
