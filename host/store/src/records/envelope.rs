//! The stored form of a value: a tag, a checksum over table, key and payload, the payload.
//!
//! Including table and key means that a value read from the wrong place is noticed as well.

use crate::error::{StoreError, printable};

const TAG: u8 = 1;
const SUM: usize = 8;
const HEADER: usize = 1 + SUM;

fn checksum(table: &str, key: &[u8], payload: &[u8]) -> [u8; SUM] {
    let mut hasher = blake3::Hasher::new();
    // Lengths first, so that no two (table, key, payload) feed the hash the same bytes.
    hasher.update(&(table.len() as u32).to_le_bytes());
    hasher.update(&(key.len() as u32).to_le_bytes());
    hasher.update(table.as_bytes());
    hasher.update(key);
    hasher.update(payload);
    let mut out = [0; SUM];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..SUM]);
    out
}

/// The stored form of `payload`.
pub fn seal(table: &str, key: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.push(TAG);
    out.extend_from_slice(&checksum(table, key, payload));
    out.extend_from_slice(payload);
    out
}

/// Verifies a stored form and returns its payload.
pub fn open<'a>(table: &str, key: &[u8], stored: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let corrupt = |reason: &str| StoreError::CorruptRecord {
        table: table.to_owned(),
        key: printable(key),
        reason: reason.to_owned(),
    };
    let Some((header, payload)) = stored.split_at_checked(HEADER) else {
        return Err(corrupt("shorter than its checksum"));
    };
    if header[0] != TAG {
        return Err(corrupt("unknown value tag"));
    }
    if header[1..] != checksum(table, key, payload) {
        return Err(corrupt("its checksum does not match"));
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_bit_matters() {
        let sealed = seal("t", b"key", b"payload");
        assert_eq!(open("t", b"key", &sealed).ok(), Some(&b"payload"[..]));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open("t", b"key", &flipped).is_err(), "bit {bit}");
        }
        assert!(open("t", b"kez", &sealed).is_err());
        assert!(open("u", b"key", &sealed).is_err());
        assert!(open("t", b"key", &sealed[..4]).is_err());
    }
}
