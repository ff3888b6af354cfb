//! Ctrl-C and its kind: what is being built is given up; what is being exchanged is not.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use guard::admin::AdminTarget;
use guard::diagnostic::{Code, Denial};
use guard::provision::next_name;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::build;
use super::session::AdminSession;

/// The signals that ask to stop, caught from the moment this is made.
#[derive(Debug)]
pub(super) struct Interrupt {
    signals: [(&'static str, Signal); 3],
}

impl Interrupt {
    /// Starts to listen; from here on none of them ends the program by itself.
    ///
    /// # Errors
    /// Refuses when the system does not allow it.
    pub(super) fn listen() -> Result<Self, Denial> {
        let listen = |name, kind| match signal(kind) {
            Ok(signal) => Ok((name, signal)),
            Err(error) => {
                let message = "signals cannot be listened to";
                Err(Denial::new(Code::Internal, message, error.to_string(), "a signal handler"))
            }
        };
        Ok(Self {
            signals: [
                listen("SIGINT", SignalKind::interrupt())?,
                listen("SIGTERM", SignalKind::terminate())?,
                listen("SIGHUP", SignalKind::hangup())?,
            ],
        })
    }

    /// Does the work, or drops it in the middle once a signal came and says which one.
    ///
    /// # Errors
    /// Returns the refusal of the work.
    pub(super) async fn unless<T>(
        &mut self,
        work: impl Future<Output = Result<T, Denial>>,
    ) -> Result<T, Stopped> {
        let mut work = pin!(work);
        poll_fn(|cx| match self.poll(cx) {
            Some(name) => Poll::Ready(Err(Stopped::Signal(name))),
            None => work.as_mut().poll(cx).map(|done| done.map_err(Stopped::Refused)),
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Option<&'static str> {
        let came = |signal: &mut Signal, cx: &mut Context<'_>| signal.poll_recv(cx).is_ready();
        self.signals.iter_mut().find_map(|(name, signal)| came(signal, cx).then_some(*name))
    }
}

/// Why work did not come to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It was refused.
    Refused(Denial),
    /// A signal asked to stop.
    Signal(&'static str),
}

impl Stopped {
    /// Clears away `<database>__next` and explains why it was not completed.
    pub(super) async fn give_up(
        self,
        target: &AdminTarget,
        admin: &AdminSession,
        database: &str,
    ) -> Denial {
        let signal = match self {
            Self::Refused(denial) => {
                // What cannot be dropped now is dropped by the next run.
                let _ = build::drop_own(admin, &next_name(database)).await;
                return denial;
            }
            Self::Signal(name) => name,
        };
        let help = match clear_away(target, admin, database).await {
            Ok(()) => "What was built is dropped; run it again when you like.".to_owned(),
            Err(denial) => {
                let (next, found) = (next_name(database), denial.found());
                format!("`{next}` is left over ({found}); the next run drops it.")
            }
        };
        Denial::new(
            Code::ResetInterrupted,
            format!("interrupted; `{database}` is as it was"),
            signal,
            "a run to the end",
        )
        .help(help)
    }
}

/// Ends the statement that the dropped work may have left running, then drops what it built.
async fn clear_away(
    target: &AdminTarget,
    admin: &AdminSession,
    database: &str,
) -> Result<(), Denial> {
    let helper = build::open(target).await?;
    helper.run(&format!("SELECT pg_cancel_backend({})", admin.server().pid)).await?;
    // Where nothing ran any more, this is what is cancelled in its place.
    let _ = admin.attempt("SELECT 1").await;
    build::drop_own(admin, &next_name(database)).await
}
