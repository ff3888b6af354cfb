//! What a client asks of a file: an encoding, only if it changed, only a part.

use hyper::HeaderMap;
use hyper::header::{self, HeaderValue};

use crate::release::{Asset, Encoding, Variant};

/// A part of a file: first byte and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Bytes {
        at: u64,
        length: u64,
    },
    /// No byte of the file is in the range.
    Outside,
}

/// Chooses the variant to answer with; a part is always one of the plain bytes.
pub(super) fn variant<'a>(asset: &'a Asset, headers: &HeaderMap) -> &'a Variant {
    let accepted = headers.get(header::ACCEPT_ENCODING);
    if asset.varies() && !headers.contains_key(header::RANGE) {
        for (variant, encoding) in
            [(&asset.brotli, Encoding::Brotli), (&asset.gzip, Encoding::Gzip)]
        {
            if let Some(variant) = variant
                && accepted.is_some_and(|value| accepts(value, encoding))
            {
                return variant;
            }
        }
    }
    &asset.plain
}

/// Returns whether `Accept-Encoding` allows an encoding, by its name or by `*`.
fn accepts(value: &HeaderValue, encoding: Encoding) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let mut any = None;
    for item in text.split(',') {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        let weight =
            parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
        let wanted = weight.is_none_or(|q| q.trim().parse::<f32>().is_ok_and(|q| q > 0.0));
        let name = name.trim();
        if name.eq_ignore_ascii_case(encoding.token()) {
            return wanted;
        }
        if name == "*" {
            any = Some(wanted);
        }
    }
    any.unwrap_or(false)
}

/// Returns whether the client already has the file with this tag.
pub(super) fn is_known(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    tags.any(|tag| {
        let tag = tag.trim_ascii();
        tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes()
    })
}

/// Returns the part that is asked for; what is not one plain range is answered as a whole.
pub(super) fn part(headers: &HeaderMap, etag: &HeaderValue, length: u64) -> Part {
    let Some(range) = headers.get(header::RANGE) else { return Part::Whole };
    if headers.get(header::IF_RANGE).is_some_and(|tag| tag != etag) {
        return Part::Whole;
    }
    let asked = range.to_str().ok().and_then(|text| text.strip_prefix("bytes="));
    asked.and_then(|text| parse(text.trim(), length)).unwrap_or(Part::Whole)
}

fn parse(text: &str, length: u64) -> Option<Part> {
    let (first, last) = text.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    if first.is_empty() {
        let suffix = number(last)?.min(length);
        return Some(if suffix == 0 {
            Part::Outside
        } else {
            Part::Bytes { at: length - suffix, length: suffix }
        });
    }
    let at = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < at {
        return None;
    }
    Some(if at >= length {
        Part::Outside
    } else {
        Part::Bytes { at, length: last.min(length - 1) - at + 1 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: header::HeaderName, value: &'static str) -> HeaderMap {
        [(name, HeaderValue::from_static(value))].into_iter().collect()
    }

    #[test]
    fn an_encoding_is_taken_only_if_it_is_wanted() {
        let gzip = |value| accepts(&HeaderValue::from_static(value), Encoding::Gzip);
        for value in ["gzip", "br, GZIP;q=0.5", "*", "deflate, *;q=0.1", "gzip ; q=1"] {
            assert!(gzip(value), "{value}");
        }
        for value in ["", "br", "gzip;q=0", "*;q=0", "gzip;q=0, *", "gzip;q=x", "xgzip"] {
            assert!(!gzip(value), "{value}");
        }
    }

    #[test]
    fn a_known_tag_is_found_in_a_list() {
        let etag = HeaderValue::from_static("\"a\"");
        for value in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(is_known(&with(header::IF_NONE_MATCH, value), &etag), "{value}");
        }
        for value in ["\"b\"", "a", ""] {
            assert!(!is_known(&with(header::IF_NONE_MATCH, value), &etag), "{value}");
        }
    }

    #[test]
    fn one_plain_range_is_a_part() {
        let etag = HeaderValue::from_static("\"a\"");
        let asked = |value| part(&with(header::RANGE, value), &etag, 10);
        for (value, expected) in [
            ("bytes=0-3", Part::Bytes { at: 0, length: 4 }),
            ("bytes=4-", Part::Bytes { at: 4, length: 6 }),
            ("bytes=4-99", Part::Bytes { at: 4, length: 6 }),
            ("bytes=-3", Part::Bytes { at: 7, length: 3 }),
            ("bytes=-30", Part::Bytes { at: 0, length: 10 }),
            ("bytes=10-", Part::Outside),
            ("bytes=-0", Part::Outside),
            ("bytes=3-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("lines=0-3", Part::Whole),
            ("bytes=99999999999999999999-", Part::Whole),
        ] {
            assert_eq!(asked(value), expected, "{value}");
        }
    }

    #[test]
    fn a_part_of_another_version_is_the_whole() {
        let etag = HeaderValue::from_static("\"a\"");
        let mut headers = with(header::RANGE, "bytes=0-3");
        headers.insert(header::IF_RANGE, HeaderValue::from_static("\"b\""));
        assert_eq!(part(&headers, &etag, 10), Part::Whole);
        headers.insert(header::IF_RANGE, etag.clone());
        assert_eq!(part(&headers, &etag, 10), Part::Bytes { at: 0, length: 4 });
    }
}
