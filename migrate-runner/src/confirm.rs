//! `confirm`: what the live server says of itself, for everything that needs to know.

use guard::diagnostic::{Denial, Warning};
use guard::slot::SlotId;
use guard::verify::VerifiedTarget;
use serde::Serialize;
use step_report::console::{Console, Format};
use step_report::exit::ExitStatus;

use crate::limits::Limits;
use crate::session::GuardedSession;

#[derive(Serialize)]
struct Confirmation<'a> {
    schema: &'static str,
    verdict: &'static str,
    slot: SlotId,
    database: &'a str,
    canonical: &'a str,
    role: &'a str,
    // A text, because JSON readers round numbers of this size.
    system_identifier: Option<String>,
    oid: u32,
    stamped: bool,
    warnings: &'a [Warning],
}

/// Connects as the slot, asks, and says what was answered.
///
/// # Errors
/// Refuses as [`GuardedSession::open`].
pub(crate) async fn run(
    console: &Console,
    target: VerifiedTarget,
    limits: &Limits,
    mut warnings: Vec<Warning>,
) -> Result<ExitStatus, Denial> {
    let canonical = target.canonical();
    let session = GuardedSession::open(target, limits).await?;
    let Some(confirmed) = session.target() else { return Ok(ExitStatus::Internal) };
    warnings.extend_from_slice(confirmed.warnings());
    let (target, identity) = (confirmed.target(), confirmed.identity());
    let said = Confirmation {
        schema: "slotguard.confirmation/1",
        verdict: "allowed",
        slot: target.slot(),
        database: target.database(),
        canonical: &canonical,
        role: target.role(),
        system_identifier: identity.system_identifier.map(|number| number.to_string()),
        oid: identity.oid,
        stamped: confirmed.is_stamped(),
        warnings: &warnings,
    };
    if console.format() == Format::Json {
        console.object(&said);
        return Ok(ExitStatus::Done);
    }
    for warning in &warnings {
        console.warn(warning);
    }
    let stamp = if said.stamped { "stamped, and the stamp holds" } else { "not stamped" };
    console.line(&format!("{}: confirmed by the server", said.slot));
    console.line(&format!("  database   {} (oid {})", said.database, said.oid));
    console.line(&format!("  server     {}", said.system_identifier.as_deref().unwrap_or("?")));
    console.line(&format!("  role       {}", said.role));
    console.line(&format!("  identity   {stamp}"));
    Ok(ExitStatus::Done)
}
