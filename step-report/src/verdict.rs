//! The one JSON object that says allowed or denied.

use guard::diagnostic::{Denial, Warning};
use guard::verify::VerifiedTarget;
use serde::Serialize;

/// The schema that every verdict names.
pub const SCHEMA: &str = "slotguard.verdict/1";

/// A verdict as it appears in every JSON output.
#[derive(Debug, Serialize)]
pub struct Verdict<'a> {
    schema: &'static str,
    /// The id of the request, for streams of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a serde_json::Value>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<&'a str>,
    #[serde(flatten)]
    target: TargetFields<'a>,
    /// What the live server said, when it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<serde_json::Value>,
    #[serde(flatten)]
    denial: Option<&'a Denial>,
    warnings: &'a [Warning],
}

/// The parts of an allowed target; of a denied one nothing is repeated here.
#[derive(Debug, Default, Serialize)]
struct TargetFields<'a> {
    database: Option<&'a str>,
    host: Option<String>,
    port: Option<u16>,
    user: Option<&'a str>,
    canonical: Option<String>,
}

impl<'a> Verdict<'a> {
    /// Says that a target is allowed.
    #[must_use]
    pub fn allowed(slot: &'a str, target: &'a VerifiedTarget, warnings: &'a [Warning]) -> Self {
        let target = TargetFields {
            database: Some(target.database()),
            host: Some(target.host().to_string()),
            port: Some(target.port()),
            user: Some(target.role()),
            canonical: Some(target.canonical()),
        };
        let slot = Some(slot);
        Self {
            schema: SCHEMA,
            id: None,
            verdict: "allowed",
            slot,
            target,
            live: None,
            denial: None,
            warnings,
        }
    }

    /// Says that something is denied, and why.
    #[must_use]
    pub fn denied(slot: Option<&'a str>, denial: &'a Denial) -> Self {
        Self {
            schema: SCHEMA,
            id: None,
            verdict: "denied",
            slot,
            target: TargetFields::default(),
            live: None,
            denial: Some(denial),
            warnings: &[],
        }
    }

    /// Adds what the live server said of the target.
    #[must_use]
    pub fn confirmed(mut self, live: serde_json::Value) -> Self {
        self.live = Some(live);
        self
    }

    /// Names the request that this answers.
    #[must_use]
    pub fn answering(mut self, id: &'a serde_json::Value) -> Self {
        self.id = Some(id);
        self
    }
}

#[cfg(test)]
mod tests {
    use guard::diagnostic::Code;

    use super::*;

    #[test]
    fn a_denial_has_the_documented_keys() {
        let denial = Denial::new(Code::UnknownSlot, "m", "f", "e");
        let id = serde_json::json!(7);
        let text = serde_json::to_value(Verdict::denied(None, &denial).answering(&id)).unwrap();
        for (key, value) in
            [("verdict", "denied"), ("code", "SG1001"), ("found", "f"), ("schema", SCHEMA)]
        {
            assert_eq!(text[key], value, "{key}");
        }
        assert_eq!(text["id"], 7);
        assert!(text["canonical"].is_null());
        assert!(text["help"].is_string() && text["expected"].is_string());
    }
}
