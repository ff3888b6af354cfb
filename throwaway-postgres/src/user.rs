//! Decides which user the server runs as.
//!
//! `initdb` and `postgres` refuse root, so root hands over to an unprivileged account; anybody else
//! runs the server as themselves. Accounts are looked up in `/etc/passwd` only: the name service
//! may sit on a network, and the accounts wanted here are always local.

use std::fs;
use std::io;

use thiserror::Error;

/// The user that owns and runs a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerUser {
    uid: u32,
    switch_to: Option<Ids>,
    has_passwd_entry: bool,
}

/// The user and group a child changes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Why no user was found to run the server as.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UserError {
    /// Root has nobody to hand the server over to.
    #[error(
        "`postgres` refuses to run as root, and {PASSWD} lists none of the users {} to run it as",
        listed(SERVER_ACCOUNTS)
    )]
    NoServerAccount,
    /// The list of accounts cannot be read.
    #[error("cannot read {PASSWD}")]
    Passwd {
        /// What the system said.
        source: io::Error,
    },
}

impl ServerUser {
    /// Returns the user for a server started by this process.
    pub(crate) fn for_this_process() -> Result<Self, UserError> {
        let uid = rustix::process::geteuid().as_raw();
        match fs::read(PASSWD) {
            Ok(passwd) => Self::choose(&String::from_utf8_lossy(&passwd), uid),
            // An ordinary user needs no entry from us: `initdb` looks itself up.
            Err(_) if uid != ROOT => Self::choose("", uid),
            Err(source) => Err(UserError::Passwd { source }),
        }
    }

    fn choose(passwd: &str, uid: u32) -> Result<Self, UserError> {
        if uid != ROOT {
            return Ok(Self {
                uid,
                switch_to: None,
                has_passwd_entry: accounts(passwd).any(|(_, ids)| ids.uid == uid),
            });
        }
        let ids = SERVER_ACCOUNTS
            .iter()
            .find_map(|wanted| unprivileged_account(passwd, wanted))
            .ok_or(UserError::NoServerAccount)?;
        Ok(Self { uid: ids.uid, switch_to: Some(ids), has_passwd_entry: true })
    }

    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns what a child must change to, or nothing when it already is the right user.
    pub(crate) fn switch_to(&self) -> Option<Ids> {
        self.switch_to
    }

    /// Returns whether `/etc/passwd` has the user; without an entry anywhere `initdb` gives up.
    pub(crate) fn has_passwd_entry(&self) -> bool {
        self.has_passwd_entry
    }
}

fn unprivileged_account(passwd: &str, wanted: &str) -> Option<Ids> {
    accounts(passwd).find(|(name, ids)| *name == wanted && ids.uid != ROOT).map(|(_, ids)| ids)
}

fn accounts(passwd: &str) -> impl Iterator<Item = (&str, Ids)> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some((name, Ids { uid, gid }))
    })
}

fn listed(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(" and ")
}

const PASSWD: &str = "/etc/passwd";
const ROOT: u32 = 0;
const SERVER_ACCOUNTS: &[&str] = &["postgres", "nobody"];

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "root:x:0:0:root:/root:/bin/sh\n\
                        nobody:x:65534:65533::/:/bin/false\n\
                        postgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";

    #[test]
    fn root_hands_over_to_postgres_else_nobody() {
        let only_nobody = "+::::::\nbroken\nnobody:x:65534:65533::/:/bin/false\n";
        for (passwd, uid, gid) in [(BOTH, 101, 104), (only_nobody, 65534, 65533)] {
            let user = ServerUser::choose(passwd, ROOT).unwrap();
            assert_eq!(user.switch_to(), Some(Ids { uid, gid }));
            assert_eq!(user.uid(), uid);
        }
    }

    #[test]
    fn root_never_hands_over_to_root() {
        for passwd in ["", "root:x:0:0::/:/bin/sh\n", "postgres:x:0:0::/:/bin/sh\n"] {
            let error = ServerUser::choose(passwd, ROOT).unwrap_err();
            assert_eq!(
                error.to_string(),
                "`postgres` refuses to run as root, and /etc/passwd lists none of the users \
                 `postgres` and `nobody` to run it as"
            );
        }
    }

    #[test]
    fn anybody_else_stays_as_they_are() {
        for (uid, has_passwd_entry) in [(101, true), (4242, false)] {
            let user = ServerUser::choose(BOTH, uid).unwrap();
            assert_eq!(user.switch_to(), None);
            assert_eq!(user.uid(), uid);
            assert_eq!(user.has_passwd_entry(), has_passwd_entry);
        }
    }
}
