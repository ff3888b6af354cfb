//! Ctrl-C and its kind: what is being built is given up; what is being exchanged is not.

use guard::admin::AdminTarget;
use guard::diagnostic::{Code, Denial};
use guard::provision::next_name;

use super::build;
use super::session::AdminSession;
use crate::interrupt::Interrupt;

/// Does the work, or drops it in the middle once a signal came.
///
/// # Errors
/// Says whether it was refused or which signal came.
pub(super) async fn unless_interrupted<T>(
    interrupt: &mut Interrupt,
    work: impl Future<Output = Result<T, Denial>>,
) -> Result<T, Stopped> {
    tokio::select! {
        biased;
        name = interrupt.came() => Err(Stopped::Signal(name)),
        done = work => done.map_err(Stopped::Refused),
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
