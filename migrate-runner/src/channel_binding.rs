//! What ties a login to the TLS that it runs in: `tls-server-end-point` of RFC 5929.
//!
//! Whoever stands between with another certificate of the same authority relays a login to a server
//! with TLS in vain: both ends name the certificate that they see. Only the algorithm is read here;
//! rustls judged the rest.

use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Returns the hash of a server's certificate that both ends of a login name.
///
/// `None` where the signature of the certificate does not name one hash, such as Ed25519; the login
/// then does without.
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    match signature_algorithm(certificate)? {
        SHA256_WITH_RSA | ECDSA_WITH_SHA256 => Some(Sha256::digest(certificate).to_vec()),
        SHA384_WITH_RSA | ECDSA_WITH_SHA384 => Some(Sha384::digest(certificate).to_vec()),
        SHA512_WITH_RSA | ECDSA_WITH_SHA512 => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

// From RFC 8017 and RFC 5758. Weaker ones pass no verification, so their rule is not needed.
const SHA256_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const SHA384_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
const SHA512_WITH_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const ECDSA_WITH_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const ECDSA_WITH_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;

/// A certificate is a sequence of what is signed, the algorithm and the signature.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (parts, _) = element(SEQUENCE, certificate)?;
    let (_, rest) = element(SEQUENCE, parts)?;
    let (algorithm, _) = element(SEQUENCE, rest)?;
    let (identifier, _) = element(OBJECT_IDENTIFIER, algorithm)?;
    Some(identifier)
}

/// Returns the content of the first element, if it is of this kind, and what follows it.
fn element(kind: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // No certificate is longer than what three bytes of length can say.
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length).filter(|_| *found == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[SEQUENCE, 0x82][..], &length, content].concat()
    }

    fn certificate(algorithm: &[u8]) -> Vec<u8> {
        let length = u8::try_from(algorithm.len()).unwrap();
        let algorithm = [&[OBJECT_IDENTIFIER, length][..], algorithm].concat();
        let signed = sequence(&[7; 300]);
        sequence(&[signed, sequence(&algorithm), vec![3, 1, 0]].concat())
    }

    #[test]
    fn the_hash_is_the_one_of_the_signature() {
        for (algorithm, length) in [
            (SHA256_WITH_RSA, 32),
            (ECDSA_WITH_SHA256, 32),
            (SHA384_WITH_RSA, 48),
            (ECDSA_WITH_SHA384, 48),
            (SHA512_WITH_RSA, 64),
            (ECDSA_WITH_SHA512, 64),
        ] {
            let hash = server_end_point(&certificate(algorithm)).unwrap();
            assert_eq!(hash.len(), length, "{algorithm:?}");
        }
        let ed25519 = [0x2b, 0x65, 0x70];
        assert_eq!(server_end_point(&certificate(&ed25519)), None);
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        let whole = certificate(ECDSA_WITH_SHA256);
        for end in 0..whole.len() {
            assert_eq!(server_end_point(&whole[..end]), None, "{end}");
        }
        for bad in [&[SEQUENCE, 0x80][..], &[SEQUENCE, 0x84, 0, 0, 0, 0], &[SEQUENCE, 0xff], &[0]] {
            assert_eq!(server_end_point(bad), None, "{bad:?}");
        }
    }
}
