//! `host=… dbname=…` of libpq and `Host=…;Database=…` of PDO, ADO.NET and their like.
//!
//! A text that does not split cleanly is not split at all: the piece left over may belong to a
//! password.

/// Splits a text into its keywords, in lower case, and values.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let found = if text.contains(';') { semicolons(text) } else { blanks(text) }?;
    // A text without any of them is something else that happens to hold a `=`.
    let known = ["host", "hostaddr", "server", "port", "dbname", "database", "user", "password"];
    found.iter().any(|(keyword, _)| known.contains(&keyword.as_str())).then_some(found)
}

/// Every keyword must be a known one: a semicolon may stand in a password.
fn semicolons(text: &str) -> Option<Vec<(String, String)>> {
    const KEYWORDS: &[&str] = &[
        "host", "server", "port", "dbname", "database", "user", "username", "user id", "uid",
        "password", "pwd", "sslmode", "ssl mode", "timeout", "pooling",
    ];
    let items = text.split(';').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let (keyword, value) = item.split_once('=')?;
            let keyword = keyword.trim().to_ascii_lowercase();
            let value = value.trim().trim_matches(['"', '\'']).to_owned();
            KEYWORDS.contains(&keyword.as_str()).then_some((keyword, value))
        })
        .collect()
}

/// libpq's own form: blanks between pairs and around `=`, quotes, `\` before any character.
fn blanks(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (keyword, behind) = rest.split_once('=')?;
        let keyword = keyword.trim_end();
        if keyword.is_empty() || !keyword.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            return None;
        }
        let (value, behind) = value(behind.trim_start())?;
        found.push((keyword.to_owned(), value));
        rest = behind.trim_start();
    }
    Some(found)
}

fn value(text: &str) -> Option<(String, &str)> {
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '\'' if quoted => return Some((value, &text[at + 1..])),
            blank if !quoted && blank.is_whitespace() => return Some((value, &text[at..])),
            other => value.push(other),
        }
    }
    (!quoted).then_some((value, ""))
}

#[cfg(test)]
mod tests {
    use super::pairs;

    fn read(text: &str) -> Option<String> {
        let pairs = pairs(text)?;
        Some(pairs.iter().map(|(keyword, value)| format!("{keyword}={value}|")).collect())
    }

    #[test]
    fn both_forms_are_split() {
        let libpq = "host = 127.0.0.1 dbname=x\npassword='a b\\' =c' user=\\s";
        assert_eq!(read(libpq).unwrap(), "host=127.0.0.1|dbname=x|password=a b' =c|user=s|");
        let ado = "Host=127.0.0.1; Port=5432;User Id='x';";
        assert_eq!(read(ado).unwrap(), "host=127.0.0.1|port=5432|user id=x|");
    }

    #[test]
    fn what_does_not_split_cleanly_is_not_split() {
        for text in [
            "",
            "app_preview_1",
            "a=b",
            "host=x password=hun ter2",
            "host=x password='hunter2",
            "host=x password=hunter2\\",
            "host=x Password=y",
            "Host=x;Password=hun;ter=2",
            "host=x password=hun;ter2=1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
