//! Values that look like secrets, whatever their variable is called. A reason to warn, not to drop:
//! the name was allowed by a person.

/// Beginnings that only credentials have.
const PREFIXES: &[&str] = &[
    "-----BEGIN ",
    "AKIA",
    "ASIA",
    "eyJ",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "npm_",
    "pypi-",
    "rk_live_",
    "sk-",
    "sk_live_",
    "sk_test_",
    "xoxb-",
    "xoxp-",
    "SG.",
    "AIza",
    "ya29.",
];

/// Least length and entropy (bits a character) of text that is taken for a random key.
const KEY_LENGTH: usize = 32;
const KEY_ENTROPY: f64 = 4.2;

/// Returns whether a value looks like a secret.
#[must_use]
pub fn looks_secret(value: &str) -> bool {
    let value = value.trim();
    PREFIXES.iter().any(|prefix| value.starts_with(prefix) && value.len() >= prefix.len() + 12)
        || looks_like_a_key(value)
}

/// Only base64-like text: hexadecimal, UUIDs, paths and URLs have too little entropy to be told from
/// ordinary values, or a shape of their own.
fn looks_like_a_key(value: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b);
    value.len() >= KEY_LENGTH
        && value.bytes().all(letter)
        && !value.starts_with('/')
        && entropy(value) >= KEY_ENTROPY
}

/// Shannon entropy in bits a character.
fn entropy(text: &str) -> f64 {
    let mut counts = [0u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let length = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    counts
        .into_iter()
        .filter(|count| *count > 0)
        .map(|count| f64::from(count) / length)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::looks_secret;

    #[test]
    fn credentials_are_told_from_ordinary_values() {
        for value in [
            "ghp_0123456789abcdefghij",
            "sk_live_0123456789abcdef",
            "-----BEGIN PRIVATE KEY-----",
            "eyJhbGciOiJIUzI1NiJ9.e30.x",
            "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xYzZ+/cC==",
        ] {
            assert!(looks_secret(value), "{value}");
        }
        for value in [
            "",
            "a,b,c",
            "https://api.example/v1/orders?limit=100&sort=asc",
            "/srv/previews/feature-7/node_modules/.bin/something-long",
            "123e4567-e89b-12d3-a456-426614174000",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "enable-checkout,enable-search,enable-cart",
        ] {
            assert!(!looks_secret(value), "{value}");
        }
    }
}
