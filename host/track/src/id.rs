//! Identifiers that sort by time: 48 bits of milliseconds and 80 random bits (ULID), as 26
//! lower-case characters of Crockford's base 32.

use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;
use parking_lot::Mutex;

/// Length of an identifier in characters.
pub const LENGTH: usize = 26;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RANDOM_BITS: u32 = 80;

/// Hands out identifiers, each greater than the one before even within a millisecond.
#[derive(Debug, Default)]
pub struct Ids {
    last: Mutex<u128>,
}

impl Ids {
    pub fn next(&self, now: Timestamp) -> String {
        let millis = now.as_millisecond().max(0) as u128;
        let fresh = (millis << RANDOM_BITS) | (random() & ((1 << RANDOM_BITS) - 1));
        let mut last = self.last.lock();
        // Same millisecond, or the clock went back: count on from the last one.
        let id = if fresh >> RANDOM_BITS > *last >> RANDOM_BITS {
            fresh
        } else {
            *last + 1
        };
        *last = id;
        text(id)
    }
}

fn random() -> u128 {
    // Seeded by the operating system; identifiers need to differ, not to be secret.
    let state = RandomState::new();
    (u128::from(state.hash_one(1_u8)) << 64) | u128::from(state.hash_one(2_u8))
}

fn text(id: u128) -> String {
    (0..LENGTH)
        .rev()
        .map(|place| ALPHABET[(id >> (5 * place)) as usize & 31] as char)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_sort_by_time_and_never_repeat() {
        let ids = Ids::default();
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let mut all: Vec<String> = (0..1000).map(|i| ids.next(at(1_000 + i / 100))).collect();
        all.push(ids.next(at(5)));
        let mut sorted = all.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(
            all, sorted,
            "in order and distinct, even when the clock goes back"
        );
        assert!(all.iter().all(|id| id.len() == LENGTH));
    }

    #[test]
    fn the_text_keeps_the_order_of_the_number() {
        assert_eq!(text(0), "0".repeat(LENGTH));
        assert_eq!(text(31), format!("{}z", "0".repeat(LENGTH - 1)));
        assert_eq!(text(u128::MAX), format!("7{}", "z".repeat(LENGTH - 1)));
    }
}
