//! One look at one slot: every part for itself, so that a broken one hides none of the others.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::{Duration, SystemTime};

use guard::diagnostic::Denial;
use guard::io::{LoadedConfig, Root};
use guard::slot::SlotId;
use serde::Serialize;
use slot_runtime::lease::{EmbeddedStore, Generation, Lease, LeaseStore as _, Moment};
use slot_runtime::lifecycle::{Backend, HealthState, State};
use slot_runtime::{StateRoot, pending_reset, record};

use super::branch;
use crate::artifacts::{self, Past};
use crate::ask;
use crate::publish::{free_page, release};

/// How long the front may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// How one slot stands. Nothing in it changes only because time passes.
#[derive(Debug, Serialize)]
pub(crate) struct SlotStatus {
    pub(crate) slot: SlotId,
    pub(crate) lease: LeaseSeen,
    /// The worktree that the slot's record names.
    pub(crate) worktree: Option<String>,
    pub(crate) branch: Option<String>,
    pub(crate) backend: BackendSeen,
    pub(crate) frontend: FrontendSeen,
    pub(crate) database: DatabaseSeen,
    /// The newest publish that left an artifact.
    pub(crate) last_publish: Option<Past>,
}

#[derive(Debug, Serialize)]
pub(crate) struct LeaseSeen {
    /// Unclaimed, held or expired; none where it cannot be read.
    pub(crate) standing: Option<&'static str>,
    pub(crate) generation: Option<Generation>,
    pub(crate) owner: Option<String>,
    pub(crate) purpose: Option<String>,
    pub(crate) expires_at: Option<String>,
    #[serde(skip)]
    pub(crate) ends: Option<Moment>,
    pub(crate) problem: Option<Denial>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct BackendSeen {
    pub(crate) state: Option<State>,
    pub(crate) pid: Option<i32>,
    pub(crate) started_at: Option<String>,
    /// What answers on the slot's port, while the backend runs.
    pub(crate) health: Option<HealthState>,
    pub(crate) problem: Option<Denial>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct FrontendSeen {
    /// The release that the web root's link leads to.
    pub(crate) release: Option<String>,
    /// Whether that is the page of a free slot.
    pub(crate) free: bool,
    /// Whether somebody listens on the slot's frontend port.
    pub(crate) listening: bool,
    pub(crate) problem: Option<Denial>,
}

/// What the database says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Identity {
    /// Its stamp holds.
    Stamped,
    /// It is the slot's by name and role, and carries no stamp.
    Unstamped,
    /// It cannot be reached, or is refused; the problem says which.
    Refused,
    /// Endpoint and role are not configured, so that there is nobody to ask.
    NotAsked,
}

#[derive(Debug, Serialize)]
pub(crate) struct DatabaseSeen {
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) oid: Option<u32>,
    /// Since when it has to be reset, if it has.
    pub(crate) reset_due: Option<String>,
    pub(crate) problem: Option<Denial>,
}

impl SlotStatus {
    /// Looks at a slot; whatever cannot be seen says why.
    pub(crate) fn look(slot: SlotId, loaded: &LoadedConfig) -> Self {
        let config = &loaded.config;
        let state = StateRoot::open_or_create(&config.roots);
        let record = state.as_ref().ok().and_then(|state| record::find(state, slot).ok()?);
        let worktree = record.and_then(|record| record.assignment.worktree);
        let branch = worktree.as_deref().and_then(|path| branch::of_worktree(path, &config.roots));
        Self {
            slot,
            lease: LeaseSeen::look(slot, loaded),
            worktree,
            branch,
            backend: state
                .and_then(|state| BackendSeen::look(slot, &state, loaded))
                .unwrap_or_else(|problem| BackendSeen {
                    problem: Some(problem),
                    ..BackendSeen::default()
                }),
            frontend: FrontendSeen::look(slot, loaded),
            database: DatabaseSeen::look(slot, loaded),
            last_publish: artifacts::newest(config, slot, "publish"),
        }
    }

    /// Returns what cannot be seen or is refused, with the part that it is about.
    pub(crate) fn problems(&self) -> impl Iterator<Item = (&'static str, &Denial)> {
        let parts = [
            ("lease", &self.lease.problem),
            ("backend", &self.backend.problem),
            ("frontend", &self.frontend.problem),
            ("database", &self.database.problem),
        ];
        parts.into_iter().filter_map(|(part, problem)| Some((part, problem.as_ref()?)))
    }
}

impl LeaseSeen {
    fn look(slot: SlotId, loaded: &LoadedConfig) -> Self {
        let now = SystemTime::now().into();
        let (standing, lease, problem) = match EmbeddedStore::new(&loaded.config.roots).read(slot) {
            Err(problem) => (None, None, Some(problem)),
            Ok(standing) => {
                let lease = standing.lease().cloned();
                let word = match &lease {
                    None => "unclaimed",
                    Some(lease) if lease.expired(now) => "expired",
                    Some(_) => "held",
                };
                (Some(word), lease, None)
            }
        };
        let of_lease = |part: fn(&Lease) -> Option<String>| lease.as_ref().and_then(part);
        Self {
            standing,
            generation: lease.as_ref().map(|lease| lease.generation),
            owner: of_lease(|lease| Some(lease.owner.to_string())),
            purpose: of_lease(|lease| lease.purpose.as_ref().map(ToString::to_string)),
            expires_at: of_lease(|lease| Some(lease.expires_at.to_string())),
            ends: lease.as_ref().map(|lease| lease.expires_at),
            problem,
        }
    }
}

impl BackendSeen {
    fn look(slot: SlotId, state: &StateRoot, loaded: &LoadedConfig) -> Result<Self, Denial> {
        let backend = Backend::open(state, slot, &loaded.config.lifecycle)?;
        let seen = backend.observe()?;
        let health = (seen.state == State::Running).then(|| backend.health());
        let unwell = health.as_ref().and_then(|health| health.denial(slot));
        let ended = (seen.state == State::Failed).then(|| backend.refuse_ended(&seen));
        Ok(Self {
            state: Some(seen.state),
            pid: seen.pid,
            started_at: seen.started_at,
            health: health.map(|health| health.state),
            problem: unwell.or(ended),
        })
    }
}

impl FrontendSeen {
    fn look(slot: SlotId, loaded: &LoadedConfig) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, slot.frontend_port()));
        let listening = TcpStream::connect_timeout(&address, PATIENCE).is_ok();
        let seen = Self { listening, ..Self::default() };
        match Self::served(slot, loaded) {
            Ok(None) => seen,
            Ok(Some((release, free))) => Self { release: Some(release), free, ..seen },
            Err(problem) => Self { problem: Some(problem), ..seen },
        }
    }

    /// Returns the release that is served, and whether it is the page of a free slot.
    fn served(slot: SlotId, loaded: &LoadedConfig) -> Result<Option<(String, bool)>, Denial> {
        let path = loaded.config.web.root(slot)?;
        if !std::path::Path::new(path.as_str()).exists() {
            return Ok(None);
        }
        let root = Root::open(&path)?;
        let Some(release) = release::current(root.handle().as_fd()) else { return Ok(None) };
        let free = free_page::is_one(&release::served_index(root.handle())?);
        Ok(Some((release, free)))
    }
}

impl DatabaseSeen {
    fn look(slot: SlotId, loaded: &LoadedConfig) -> Self {
        let policy = &loaded.config.database;
        let asked = policy.endpoints.len() == 1 && policy.role.is_some();
        let (identity, oid, problem) = match asked.then(|| ask::confirm(slot, None, loaded)) {
            None => (Identity::NotAsked, None, None),
            Some(Ok(live)) if live.stamped => (Identity::Stamped, Some(live.oid), None),
            Some(Ok(live)) => (Identity::Unstamped, Some(live.oid), None),
            Some(Err(problem)) => (Identity::Refused, None, Some(problem)),
        };
        // What cannot be read is due as well, and is the greater problem.
        let (reset_due, problem) = match pending_reset::since(&loaded.config.roots, slot) {
            Ok(since) => (since, problem),
            Err(unreadable) => (None, Some(unreadable)),
        };
        Self { name: slot.database_name(), identity, oid, reset_due, problem }
    }
}
