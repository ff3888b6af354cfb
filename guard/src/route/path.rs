//! The raw path of a request: the slot's `/api`, a page, or a text that two readers may read apart.
//!
//! The bytes are judged before anything decodes them, because the backend gets exactly these bytes
//! and may decode them in its own way. What has a second spelling is refused rather than cleaned.

use std::borrow::Cow;

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'p> {
    /// `/api` or something beneath it: the slot's own backend.
    Api,
    /// Anything else: the slot's own release.
    Page(PagePath<'p>),
}

/// A path of the release, decoded, without the leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePath<'p>(Cow<'p, str>);

impl PagePath<'_> {
    /// Returns the path as the release names its files.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether a component begins with a dot, as `.env` and `.git` do.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.0.split('/').any(|component| component.starts_with('.'))
    }

    /// Returns whether the last component has a dot, as the name of a file does.
    #[must_use]
    pub fn names_a_file(&self) -> bool {
        self.0.rsplit('/').next().is_some_and(|last| last.contains('.'))
    }
}

/// Why a path is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathFault {
    /// It does not begin with a slash.
    NotAPath,
    /// A control character, a blank, or a byte outside ASCII.
    Byte,
    /// A backslash.
    Backslash,
    /// A percent sign without two hexadecimal digits.
    Escape,
    /// An encoded slash, backslash, dot, percent sign or control character.
    EncodedSeparator,
    /// An encoded character that needs no encoding.
    NeedlessEscape,
    /// Decoded, it is not UTF-8.
    NotText,
    /// Two slashes beside each other.
    EmptySegment,
    /// A component that is `.` or `..`, also with parameters behind it.
    DotSegment,
    /// A first component that only some readers take for `/api`.
    ApiSpelling,
}

impl PathFault {
    /// Returns what was found, as a fragment.
    #[must_use]
    pub fn found(self) -> &'static str {
        match self {
            Self::NotAPath => "a target that does not begin with a slash",
            Self::Byte => "a control character, a blank or a byte outside ASCII",
            Self::Backslash => "a backslash",
            Self::Escape => "a percent sign without two hexadecimal digits",
            Self::EncodedSeparator => {
                "an encoded slash, backslash, dot, percent sign or control character"
            }
            Self::NeedlessEscape => "an encoded letter, digit, `-`, `_` or `~`",
            Self::NotText => "bytes that are not UTF-8 once decoded",
            Self::EmptySegment => "two slashes beside each other",
            Self::DotSegment => "a component `.` or `..`",
            Self::ApiSpelling => "a first component that only some readers take for `/api`",
        }
    }
}

/// Decides where the raw path of a request leads; the query is no part of it.
///
/// # Errors
/// Refuses every path that has a second spelling.
pub fn classify(path: &[u8]) -> Result<Target<'_>, PathFault> {
    let rest = path.strip_prefix(b"/").ok_or(PathFault::NotAPath)?;
    let escaped = judge_bytes(rest)?;
    let mut segments = rest.split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        judge_segment(segment, segments.peek().is_none())?;
    }
    let first = rest.split(|byte| *byte == b'/').next().unwrap_or_default();
    if first == b"api" {
        return Ok(Target::Api);
    }
    let stem = first.split(|byte| b";%".contains(byte)).next().unwrap_or_default();
    if stem.eq_ignore_ascii_case(b"api") {
        return Err(PathFault::ApiSpelling);
    }
    let text = std::str::from_utf8(rest).map_err(|_| PathFault::Byte)?;
    let decoded = if escaped { Cow::Owned(decode(rest)?) } else { Cow::Borrowed(text) };
    Ok(Target::Page(PagePath(decoded)))
}

/// Judges each byte and each escape; returns whether there is an escape.
fn judge_bytes(path: &[u8]) -> Result<bool, PathFault> {
    let mut escaped = false;
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        match byte {
            b'%' => {
                judge_escape(escape(path, at)?)?;
                escaped = true;
                at += 2;
            }
            b'\\' => return Err(PathFault::Backslash),
            b'!'..=b'~' => {}
            _ => return Err(PathFault::Byte),
        }
        at += 1;
    }
    if escaped {
        decode(path)?;
    }
    Ok(escaped)
}

fn escape(path: &[u8], at: usize) -> Result<u8, PathFault> {
    let digit = |at: usize| path.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let value = digit(at + 1).zip(digit(at + 2)).map(|(high, low)| high * 16 + low);
    value.and_then(|value| u8::try_from(value).ok()).ok_or(PathFault::Escape)
}

fn judge_escape(byte: u8) -> Result<(), PathFault> {
    match byte {
        b'/' | b'\\' | b'.' | b'%' | 0..=0x1f | 0x7f => Err(PathFault::EncodedSeparator),
        b'-' | b'_' | b'~' => Err(PathFault::NeedlessEscape),
        byte if byte.is_ascii_alphanumeric() => Err(PathFault::NeedlessEscape),
        _ => Ok(()),
    }
}

fn decode(path: &[u8]) -> Result<String, PathFault> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        if *byte == b'%' {
            bytes.push(escape(path, at)?);
            at += 3;
        } else {
            bytes.push(*byte);
            at += 1;
        }
    }
    String::from_utf8(bytes).map_err(|_| PathFault::NotText)
}

/// Only the last component may be empty: a slash at the end.
fn judge_segment(segment: &[u8], is_last: bool) -> Result<(), PathFault> {
    if segment.is_empty() && !is_last {
        return Err(PathFault::EmptySegment);
    }
    let dots = segment.iter().take_while(|byte| **byte == b'.').count();
    let after = &segment[dots..];
    let ends = after.is_empty() || after.starts_with(b";") || after.starts_with(b"%");
    if (1..=2).contains(&dots) && ends {
        return Err(PathFault::DotSegment);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rt_2_api_and_what_lies_beneath_it_is_the_backends() {
        for path in
            ["/api", "/api/", "/api/x", "/api/a%20b", "/api/a;b=c", "/api/%C3%A9", "/api/x."]
        {
            assert_eq!(classify(path.as_bytes()), Ok(Target::Api), "{path}");
        }
    }

    #[test]
    fn what_is_beside_api_is_a_page() {
        for (path, decoded) in [
            ("/", ""),
            ("/apis", "apis"),
            ("/x/api", "x/api"),
            ("/api-docs", "api-docs"),
            ("/a%20b/c/", "a b/c/"),
            ("/...", "..."),
            ("/a..b", "a..b"),
            ("/%E2%82%AC", "€"),
        ] {
            let target = classify(path.as_bytes()).unwrap();
            assert_eq!(target, Target::Page(PagePath(decoded.into())), "{path}");
        }
    }

    #[test]
    fn rt_6_a_path_with_a_second_spelling_is_refused() {
        for (path, fault) in [
            ("", PathFault::NotAPath),
            ("*", PathFault::NotAPath),
            ("/a b", PathFault::Byte),
            ("/a\u{1}", PathFault::Byte),
            ("/é", PathFault::Byte),
            ("/a\\b", PathFault::Backslash),
            ("/%", PathFault::Escape),
            ("/%2", PathFault::Escape),
            ("/%zz", PathFault::Escape),
            ("/%+1", PathFault::Escape),
            ("/api%2fx", PathFault::EncodedSeparator),
            ("/api/%2e%2e/x", PathFault::EncodedSeparator),
            ("/api/%5C", PathFault::EncodedSeparator),
            ("/api/%2525", PathFault::EncodedSeparator),
            ("/api/%00", PathFault::EncodedSeparator),
            ("/%61pi/x", PathFault::NeedlessEscape),
            ("/a%2Db", PathFault::NeedlessEscape),
            ("/api/%ff", PathFault::NotText),
            ("/api/%c0%80", PathFault::NotText),
            ("//", PathFault::EmptySegment),
            ("//api", PathFault::EmptySegment),
            ("/api//x", PathFault::EmptySegment),
            ("/api//", PathFault::EmptySegment),
            ("/.", PathFault::DotSegment),
            ("/api/..", PathFault::DotSegment),
            ("/api/../x", PathFault::DotSegment),
            ("/x/./api", PathFault::DotSegment),
            ("/api/..;/x", PathFault::DotSegment),
            ("/api/..%3B/x", PathFault::DotSegment),
            ("/API/x", PathFault::ApiSpelling),
            ("/Api", PathFault::ApiSpelling),
            ("/api;x/y", PathFault::ApiSpelling),
            ("/api%20/x", PathFault::ApiSpelling),
            ("/api%3Fx", PathFault::ApiSpelling),
        ] {
            assert_eq!(classify(path.as_bytes()), Err(fault), "{path:?}");
        }
    }

    #[test]
    fn hidden_files_are_seen_at_any_depth() {
        let page = |path: &'static str| match classify(path.as_bytes()).unwrap() {
            Target::Page(page) => page,
            Target::Api => panic!("{path}"),
        };
        for path in ["/.env", "/.git/config", "/a/.hidden/b"] {
            assert!(page(path).is_hidden(), "{path}");
        }
        for path in ["/", "/a.b", "/a/b."] {
            assert!(!page(path).is_hidden(), "{path}");
        }
        assert!(page("/a.js").names_a_file() && !page("/a.b/c").names_a_file());
    }

    proptest! {
        #[test]
        fn nothing_panics_and_a_page_never_leaves_its_root(path in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Target::Page(page)) = classify(&path) {
                prop_assert!(!page.as_str().starts_with('/'));
                prop_assert!(page.as_str().split('/').all(|part| part != ".." && part != "."));
            }
        }

        #[test]
        fn paths_of_tricky_pieces_lead_to_one_place(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec!["/", "api", "API", ".", "..", ";", "%2e", "%2f", "%61", "\\", "%", "x"]),
                0..8,
            )
        ) {
            let path = pieces.concat();
            if classify(path.as_bytes()) == Ok(Target::Api) {
                prop_assert!(path == "/api" || path.starts_with("/api/"));
                prop_assert!(!path.contains("//") && !path.contains("/../") && !path.ends_with("/.."));
            }
        }
    }
}
