//! The JSON Schemas of everything that is printed as JSON.
//!
//! They are files, so that a person can read them without a program; a test holds every program's
//! output against them.

/// Every schema: its name on the command line and its text.
pub const SCHEMAS: &[(&str, &str)] = &[
    ("artifact", include_str!("../schemas/artifact.json")),
    ("artifacts", include_str!("../schemas/artifacts.json")),
    ("backend", include_str!("../schemas/backend.json")),
    ("confirmation", include_str!("../schemas/confirmation.json")),
    ("demo", include_str!("../schemas/demo.json")),
    ("deploy", include_str!("../schemas/deploy.json")),
    ("diagnostic", include_str!("../schemas/diagnostic.json")),
    ("doctor", include_str!("../schemas/doctor.json")),
    ("event", include_str!("../schemas/event.json")),
    ("install", include_str!("../schemas/install.json")),
    ("lease", include_str!("../schemas/lease.json")),
    ("leases", include_str!("../schemas/leases.json")),
    ("exec-plan", include_str!("../schemas/exec-plan.json")),
    ("explain-env", include_str!("../schemas/explain-env.json")),
    ("kernel", include_str!("../schemas/kernel.json")),
    ("lint", include_str!("../schemas/lint.json")),
    ("migration-adoption", include_str!("../schemas/migration-adoption.json")),
    ("migration-plan", include_str!("../schemas/migration-plan.json")),
    ("migration-run", include_str!("../schemas/migration-run.json")),
    ("migration-trace", include_str!("../schemas/migration-trace.json")),
    ("migration-status", include_str!("../schemas/migration-status.json")),
    ("provision", include_str!("../schemas/provision.json")),
    ("provision-check", include_str!("../schemas/provision-check.json")),
    ("publish", include_str!("../schemas/publish.json")),
    ("reap", include_str!("../schemas/reap.json")),
    ("reset", include_str!("../schemas/reset.json")),
    ("routes", include_str!("../schemas/routes.json")),
    ("seed", include_str!("../schemas/seed.json")),
    ("status", include_str!("../schemas/status.json")),
    ("truncated", include_str!("../schemas/truncated.json")),
    ("sidecar-status", include_str!("../schemas/sidecar-status.json")),
    ("verdict", include_str!("../schemas/verdict.json")),
];

/// Returns the text of a schema by its name, such as `verdict`.
#[must_use]
pub fn find(name: &str) -> Option<&'static str> {
    SCHEMAS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_is_json_and_names_itself() {
        for (name, text) in SCHEMAS {
            let schema: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(schema["title"], format!("slotguard.{name}/1"));
            assert_eq!(schema["properties"]["schema"]["const"], schema["title"]);
            assert_eq!(find(name), Some(*text));
        }
        assert_eq!(find("nothing"), None);
    }
}
