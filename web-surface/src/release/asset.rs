//! One file of a release, ready to be answered.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

use super::content_type;

/// Files up to this size are kept in memory.
pub(crate) const LARGEST_IN_MEMORY: u64 = 4 * 1024 * 1024;

/// How a file's bytes are encoded on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Brotli,
    Gzip,
}

impl Encoding {
    /// Returns the name in headers.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// Where the bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Memory(Bytes),
    /// The very file that was hashed, held open.
    File(Arc<File>),
}

/// The bytes of a file in one encoding.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    pub(crate) content: Content,
    pub(crate) length: u64,
    pub(crate) etag: HeaderValue,
    /// The headers of an answer with all of it, put together once and not for every request.
    pub(crate) headers: HeaderMap,
}

/// A file with its variants.
#[derive(Debug)]
pub(crate) struct Asset {
    pub(crate) plain: Variant,
    pub(crate) brotli: Option<Variant>,
    pub(crate) gzip: Option<Variant>,
}

impl Asset {
    /// Builds the asset of a name, without headers yet.
    pub(super) fn new(plain: Variant) -> Self {
        Self { plain, brotli: None, gzip: None }
    }

    /// Puts the headers of every variant together: those of the asset's name and `common` ones.
    pub(super) fn prepare(&mut self, name: &str, common: &HeaderMap) {
        let varies = self.varies();
        let cache_control = if is_named_by_content(name) {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        let mut headers = common.clone();
        for (name, value) in [
            (header::CACHE_CONTROL, cache_control),
            (header::CONTENT_TYPE, content_type::of(name)),
            (header::ACCEPT_RANGES, "bytes"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if varies {
            headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        for (variant, encoding) in [
            (Some(&mut self.plain), None),
            (self.brotli.as_mut(), Some(Encoding::Brotli)),
            (self.gzip.as_mut(), Some(Encoding::Gzip)),
        ] {
            let Some(variant) = variant else { continue };
            variant.headers.clone_from(&headers);
            variant.headers.insert(header::ETAG, variant.etag.clone());
            variant.headers.insert(header::CONTENT_LENGTH, variant.length.into());
            if let Some(encoding) = encoding {
                let token = HeaderValue::from_static(encoding.token());
                variant.headers.insert(header::CONTENT_ENCODING, token);
            }
        }
    }

    /// Returns whether there is a choice of encodings.
    pub(crate) fn varies(&self) -> bool {
        self.brotli.is_some() || self.gzip.is_some()
    }
}

impl Variant {
    /// Reads and hashes a file; a large one stays on disk.
    ///
    /// # Errors
    /// Returns the system's error.
    pub(super) fn read(mut file: File) -> std::io::Result<Self> {
        let size = file.metadata()?.len();
        if size > LARGEST_IN_MEMORY {
            let (length, digest) = digest_of(&mut file)?;
            return Ok(Self {
                content: Content::File(Arc::new(file)),
                length,
                etag: etag(&digest),
                headers: HeaderMap::new(),
            });
        }
        let mut bytes = Vec::new();
        file.take(LARGEST_IN_MEMORY).read_to_end(&mut bytes)?;
        let digest = Sha256::digest(&bytes);
        let length = bytes.len() as u64;
        let (content, etag) = (Content::Memory(bytes.into()), etag(&digest));
        Ok(Self { content, length, etag, headers: HeaderMap::new() })
    }

    /// Returns how much memory the bytes take.
    pub(super) fn in_memory(&self) -> u64 {
        match self.content {
            Content::Memory(_) => self.length,
            Content::File(_) => 0,
        }
    }
}

fn digest_of(file: &mut File) -> std::io::Result<(u64, Vec<u8>)> {
    let (mut hash, mut length) = (Sha256::new(), 0);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((length, hash.finalize().to_vec()));
        }
        hash.update(&buffer[..count]);
        length += count as u64;
    }
}

/// Half of the digest is enough to tell two contents apart.
fn etag(digest: &[u8]) -> HeaderValue {
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{hex}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Returns whether a name holds a hash of its content, as bundlers write it.
///
/// Only hexadecimal pieces count: a word that looks like a hash would be kept by browsers for a year.
fn is_named_by_content(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    let is_hash = |piece: &str| {
        piece.len() >= 8
            && piece.bytes().all(|b| b.is_ascii_hexdigit())
            && piece.bytes().any(|b| b.is_ascii_digit())
            && piece.bytes().any(|b| b.is_ascii_alphabetic())
    };
    !file.ends_with(".html") && file.split(['.', '-']).skip(1).any(is_hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_with_a_hash_are_kept_for_long() {
        for name in ["assets/app-0a1b2c3d.js", "app.4f3e2d1c9b.css"] {
            assert!(is_named_by_content(name), "{name}");
        }
        for name in [
            "index.html",
            "app-0a1b2c3d.html",
            "app.js",
            "photo-20240101.jpg",
            "a-deadbeef.js",
            "0a1b2c3d.js",
        ] {
            assert!(!is_named_by_content(name), "{name}");
        }
    }

    #[test]
    fn the_tag_follows_the_content() {
        let read = |text: &str| {
            let place = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(place.path(), text).unwrap();
            Variant::read(File::open(place.path()).unwrap()).unwrap()
        };
        assert_eq!(read("a").etag, read("a").etag);
        assert_ne!(read("a").etag, read("b").etag);
        assert_eq!(read("a").etag.as_bytes().len(), 34);
    }
}
