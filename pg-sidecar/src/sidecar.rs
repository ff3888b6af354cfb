//! What all sessions of one sidecar share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::SystemTime;

use guard::diagnostic::{Code, Denial};
use slot_runtime::lease::{EmbeddedStore, Generation};
use tokio::sync::watch;

use crate::cancel::Keys;
use crate::counters::{Counters, SCHEMA, Standing, Status};
use crate::door::Door;
use crate::events::Events;
use crate::handshake::Rules;
use crate::holder::{self, Held, Holder};
use crate::identity::Confirmed;
use crate::serve::Nothing;
use crate::settings::Settings;
use crate::upstream::Upstream;

/// Clients that may log in at one time beyond the sessions that there may be.
const MORE_WAITING: u16 = 64;

/// One sidecar.
#[derive(Debug)]
pub(crate) struct Sidecar {
    pub(crate) settings: Settings,
    pub(crate) upstream: Upstream,
    pub(crate) cancels: Rc<Keys>,
    pub(crate) door: Door,
    pub(crate) counters: Counters,
    pub(crate) events: Events,
    rules: RefCell<Rc<Rules>>,
    gate: watch::Sender<Gate>,
    doubt: RefCell<Option<Denial>>,
    leases: EmbeddedStore,
    unleased: RefCell<Option<Denial>>,
    open: Cell<u16>,
}

/// Who is let in now; a session ends when it is no longer among them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gate {
    standing: Standing,
    holder: Holder,
}

impl Gate {
    /// Returns whether a session of this lease may be open.
    pub(crate) fn admits(self, lease: Option<Generation>) -> bool {
        self.standing == Standing::Serving && self.holder == Holder::Of(lease)
    }
}

impl Sidecar {
    pub(crate) fn new(
        settings: Settings,
        upstream: Upstream,
        confirmed: Confirmed,
        door: Door,
        leases: EmbeddedStore,
        events: Events,
    ) -> Self {
        let rules = Rc::new(settings.rules(confirmed.newest_minor));
        Self {
            settings,
            upstream,
            cancels: Rc::default(),
            door,
            counters: Counters::default(),
            events,
            rules: RefCell::new(rules),
            gate: watch::Sender::new(Gate {
                standing: Standing::Serving,
                holder: Holder::Of(None),
            }),
            doubt: RefCell::default(),
            leases,
            unleased: RefCell::default(),
            open: Cell::default(),
        }
    }

    /// Returns what may pass now.
    pub(crate) fn rules(&self) -> Rc<Rules> {
        Rc::clone(&self.rules.borrow())
    }

    /// Returns whether sessions are let in.
    pub(crate) fn standing(&self) -> Standing {
        let Gate { standing, holder } = *self.gate.borrow();
        match (standing, holder) {
            (Standing::Serving, Holder::Locked) => Standing::Unleased,
            (standing, _) => standing,
        }
    }

    /// Returns what tells when it changes who is let in.
    pub(crate) fn watch_gate(&self) -> watch::Receiver<Gate> {
        self.gate.subscribe()
    }

    /// Looks who holds the slot, and lets clients of nobody else in.
    pub(crate) fn look_at_lease(&self) {
        let slot = self.settings.slot;
        let (holder, denial) = match holder::look(&self.leases, slot, SystemTime::now()) {
            Ok(lease) => (Holder::Of(lease), None),
            Err(denial) => (Holder::Locked, Some(denial)),
        };
        if self.gate.borrow().holder == holder {
            return;
        }
        if let Holder::Of(lease) = holder {
            self.door.turn_to(lease);
            let people = lease.map_or("unclaimed".to_owned(), |lease| format!("held by {lease}"));
            self.events.say("sidecar.held", &people, Held::from(lease));
        }
        if let Some(denial) = &denial {
            self.events.say("sidecar.unleased", &denial.to_string(), denial);
        }
        self.unleased.replace(denial);
        self.gate.send_modify(|gate| gate.holder = holder);
    }

    /// Takes the lease that a session which begins now belongs to.
    ///
    /// # Errors
    /// Refuses when nobody is let in.
    pub(crate) fn lease(&self) -> Result<Option<Generation>, Denial> {
        self.look_at_lease();
        match (self.closed(), self.gate.borrow().holder) {
            (None, Holder::Of(lease)) => Ok(lease),
            (denial, _) => Err(denial.unwrap_or_else(|| self.over(None))),
        }
    }

    /// Says to a client of a lease that is over that it is.
    pub(crate) fn over(&self, began: Option<Generation>) -> Denial {
        let now = match self.gate.borrow().holder {
            Holder::Of(lease) => lease,
            Holder::Locked => None,
        };
        holder::over(self.settings.slot, began, now)
    }

    /// Lets sessions in, because the server said again who it is.
    pub(crate) fn confirmed(&self, confirmed: Confirmed) {
        self.rules.replace(Rc::new(self.settings.rules(confirmed.newest_minor)));
        self.doubt.take();
        let changed = self.become_standing(Standing::Serving);
        if changed {
            self.events.say("sidecar.confirmed", "the server is confirmed again", Nothing {});
        }
    }

    /// Lets nobody in and ends every session, because the server may be another one.
    pub(crate) fn doubted(&self, why: &Denial) {
        let denial = Denial::new(
            Code::WireUnconfirmed,
            format!("the server of {} is no longer confirmed as the slot's", self.settings.slot),
            format!("{}: {}", why.code(), why.message()),
            "a server that `migrate-runner confirm` agrees to",
        );
        self.events.say("sidecar.unconfirmed", &denial.to_string(), &denial);
        self.doubt.replace(Some(denial));
        self.become_standing(Standing::Unconfirmed);
    }

    /// Lets nobody in and lets every session end.
    pub(crate) fn drain(&self) {
        self.events.say("sidecar.draining", "sessions end after their transaction", Nothing {});
        self.gate.send_modify(|gate| gate.standing = Standing::Draining);
    }

    /// A sidecar that stops does not begin again.
    fn become_standing(&self, next: Standing) -> bool {
        self.gate.send_if_modified(|gate| {
            let changes = gate.standing != next && gate.standing != Standing::Draining;
            if changes {
                gate.standing = next;
            }
            changes
        })
    }

    /// Returns why nobody is let in, if so.
    pub(crate) fn closed(&self) -> Option<Denial> {
        let slot = self.settings.slot;
        match self.standing() {
            Standing::Serving => None,
            Standing::Draining => Some(Denial::new(
                Code::WireDraining,
                format!("the sidecar of {slot} is stopping"),
                "a session while it stops",
                "a session before or after",
            )),
            Standing::Unleased => self.unleased.borrow().clone(),
            Standing::Unconfirmed => self.doubt.borrow().clone(),
        }
    }

    /// Takes one of the sessions that there may be.
    ///
    /// # Errors
    /// Refuses when all are taken.
    pub(crate) fn take_session(self: &Rc<Self>) -> Result<Permit, Denial> {
        let most = self.settings.most_sessions;
        if self.open.get() >= most {
            return Err(self.full(format!("{most} open sessions")));
        }
        self.open.set(self.open.get() + 1);
        Ok(Permit(Rc::clone(self)))
    }

    /// Counts a client that logs in, among those of its kind of socket.
    ///
    /// # Errors
    /// Refuses when too many do.
    pub(crate) fn take_waiting(&self, waiting: &Rc<Cell<u16>>) -> Result<Waiting, Denial> {
        let most = self.settings.most_sessions.saturating_add(MORE_WAITING);
        if waiting.get() >= most {
            return Err(self.full(format!("{most} clients that log in")));
        }
        waiting.set(waiting.get() + 1);
        Ok(Waiting(Rc::clone(waiting)))
    }

    fn full(&self, found: String) -> Denial {
        let message = format!("{} has as many sessions as there may be", self.settings.slot);
        let expected = format!("at most {} sessions", self.settings.most_sessions);
        Denial::new(Code::WireFull, message, found, expected)
    }

    /// Returns whether no session is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.get() == 0
    }

    /// Returns how it stands.
    pub(crate) fn status(&self, socket: String) -> Status {
        let counters = &self.counters;
        Status {
            schema: SCHEMA.to_owned(),
            slot: self.settings.slot.to_string(),
            standing: self.standing(),
            port: self.settings.slot.sidecar_port(),
            socket,
            mode: self.settings.mode,
            open: self.open.get(),
            most_sessions: self.settings.most_sessions,
            sessions: counters.sessions.get(),
            refused: counters.refused.get(),
            cancels: counters.cancels.get(),
            unknown_cancels: counters.unknown_cancels.get(),
            audited: counters.audited.get(),
            bytes_to_server: counters.bytes_to_server.get(),
            bytes_to_client: counters.bytes_to_client.get(),
        }
    }
}

/// One of the sessions that there may be; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Rc<Sidecar>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
    }
}

/// One of the clients that log in; no longer counted when dropped.
#[derive(Debug)]
pub(crate) struct Waiting(Rc<Cell<u16>>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
