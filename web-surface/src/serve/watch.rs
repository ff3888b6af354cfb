//! Noticing a new release and putting it in place of the old one.
//!
//! A request keeps the release it began with. A release that cannot be served is said once, and the
//! one before it stays.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use guard::diagnostic::Denial;
use guard::slot::SlotId;
use hyper::HeaderMap;
use step_report::console::{Console, Format};
use step_report::event::Event;

use super::limits;
use crate::release::{Published, Release, WebRoot};

/// The release that is served now.
#[derive(Debug)]
pub(super) struct Shelf {
    release: Mutex<Arc<Release>>,
    first: Option<String>,
    /// What every answer with a file says of the front.
    common: HeaderMap,
}

/// What tells one published state from another.
fn mark(published: &Published) -> Option<String> {
    let mark: &dyn Debug = &published.directory.mark().ok()?;
    Some(format!("{:?} {mark:?}", published.name))
}

impl Shelf {
    /// Puts the first release on the shelf.
    pub(super) fn new(published: &Published, release: Release, common: HeaderMap) -> Self {
        Self { release: Mutex::new(Arc::new(release)), first: mark(published), common }
    }

    /// Returns the release of this moment.
    pub(super) fn release(&self) -> Arc<Release> {
        Arc::clone(&self.release.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, release: Release) {
        *self.release.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(release);
    }
}

/// Follows the web root for good.
pub(super) async fn follow(console: &Console, slot: SlotId, root: &WebRoot, shelf: &Arc<Shelf>) {
    let mut seen = shelf.first.clone();
    let mut refused: Option<Denial> = None;
    loop {
        tokio::time::sleep(limits::RELEASE_LOOK).await;
        let outcome = match root.look() {
            Ok(published) if mark(&published) == seen => continue,
            Ok(published) => {
                seen = mark(&published);
                load(published, shelf.common.clone()).await
            }
            Err(denial) => Err(denial),
        };
        match outcome {
            Ok(release) => {
                super::say(console, slot, "web.released", &release);
                shelf.put(release);
                refused = None;
            }
            Err(denial) if refused.as_ref() == Some(&denial) => {}
            Err(denial) => {
                say_refusal(console, slot, &denial);
                refused = Some(denial);
            }
        }
    }
}

/// Reads a release beside the requests that go on.
async fn load(published: Published, common: HeaderMap) -> Result<Release, Denial> {
    let read = tokio::task::spawn_blocking(move || Release::load(&published, &common)).await;
    read.unwrap_or_else(|error| {
        Err(super::internal("the release cannot be read", &std::io::Error::other(error)))
    })
}

fn say_refusal(console: &Console, slot: SlotId, denial: &Denial) {
    if console.format() == Format::Json {
        console.object(&Event::now(super::PROGRAM, slot, "web.release_refused", denial));
        return;
    }
    console.line(&format!("{slot}: the release before it stays: {denial}"));
}
