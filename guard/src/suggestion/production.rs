//! Whether a refused text names production, in whatever spelling.
//!
//! Generous on purpose: a text that cannot be read is searched, so that production is called by its
//! name even where the grammar refuses for another reason. Names come from the configuration, never
//! from the text.

use super::reading::Reading;
use crate::database_url::decode;
use crate::policy::{DatabasePolicy, Endpoint};

/// Returns what the text names, in words.
pub(super) fn named_in(
    text: &str,
    reading: Option<&Reading>,
    policy: &DatabasePolicy,
) -> Option<String> {
    let decoded = String::from_utf8_lossy(&decode(text).collect::<Vec<u8>>()).into_owned();
    let endpoint = policy.production_endpoints.iter().find(|endpoint| {
        let read = reading.is_some_and(|reading| {
            reading.host.as_ref() == Some(&endpoint.host) && reading.port == Some(endpoint.port)
        });
        read || holds_endpoint(&decoded, endpoint)
    });
    if let Some(endpoint) = endpoint {
        return Some(format!("the production server {endpoint}"));
    }
    let database = policy.production_databases.iter().find(|name| holds_database(&decoded, name));
    database.map(|name| format!("the production database `{name}`"))
}

fn holds_endpoint(text: &str, endpoint: &Endpoint) -> bool {
    let (text, wanted) = (text.to_ascii_lowercase(), endpoint.to_string());
    text.match_indices(&wanted).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + wanted.len()..].chars().next();
        let in_host = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        !before.is_some_and(in_host) && !after.is_some_and(|c| c.is_ascii_digit())
    })
}

/// Whether the name stands where a text names a database: behind a slash, behind a keyword, or
/// alone.
fn holds_database(text: &str, name: &str) -> bool {
    let in_name = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].trim_end_matches([' ', '\'', '"']);
        let lower = before.to_ascii_lowercase();
        // An escaped NUL ends one start-up field and begins another.
        let keyword = lower.strip_suffix(['=', '\0']).map(str::trim_end);
        let behind_keyword = keyword.is_some_and(|before| {
            ["dbname", "database", "db", "catalog"].iter().any(|word| before.ends_with(word))
        });
        let ends = !text[at + name.len()..].starts_with(in_name);
        // Right behind the scheme stands a user.
        let behind_slash = before.ends_with('/') && !before.ends_with("://");
        ends && (before.is_empty() || behind_slash || behind_keyword)
    })
}
