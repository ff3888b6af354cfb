//! What happened, as lines on standard output.

use std::rc::Rc;

use guard::diagnostic::Denial;
use guard::slot::SlotId;
use serde::Serialize;
use step_report::console::{Console, Format};
use step_report::event::Event;

use crate::peer::Peer;

/// Where the events of one slot's sidecar go.
#[derive(Debug)]
pub(crate) struct Events {
    console: Rc<Console>,
    slot: SlotId,
}

/// A client that was not let in, or that had to go.
#[derive(Debug, Serialize)]
pub(crate) struct Refused<'a> {
    pub(crate) peer: &'a Peer,
    #[serde(flatten)]
    pub(crate) denial: &'a Denial,
}

impl Events {
    pub(crate) fn new(console: Rc<Console>, slot: SlotId) -> Self {
        Self { console, slot }
    }

    /// Says that something happened; people get a line of their own.
    pub(crate) fn say(&self, event: &str, people: &str, details: impl Serialize) {
        match self.console.format() {
            Format::Json => {
                self.console.object(&Event::now("pg-sidecar", self.slot, event, details));
            }
            Format::Human => self.console.line(&format!("{}: {people}", self.slot)),
        }
    }

    /// Says that a client was refused.
    pub(crate) fn refused(&self, peer: &Peer, denial: &Denial) {
        let people = format!("refused {peer}: {denial}");
        self.say("session.refused", &people, Refused { peer, denial });
    }
}
