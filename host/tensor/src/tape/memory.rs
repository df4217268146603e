//! How much memory a tape keeps alive.

use std::collections::HashMap;

use crate::Tensor;

/// The memory behind saved tensors, each piece counted once.
#[derive(Default)]
pub(super) struct Held {
    bytes: usize,
    /// The most that there were.
    peak: usize,
    /// For pieces that can be told apart: how many saved tensors use them.
    users: HashMap<usize, usize, Plain>,
}

impl Held {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn peak(&self) -> usize {
        self.peak
    }

    pub fn add(&mut self, tensor: &Tensor) {
        let (key, bytes) = tensor.storage();
        let users = match key {
            Some(key) => self.users.entry(key).or_default(),
            None => &mut 0,
        };
        if *users == 0 {
            self.bytes += bytes;
            self.peak = self.peak.max(self.bytes);
        }
        *users += 1;
    }

    pub fn remove(&mut self, tensor: &Tensor) {
        let (key, bytes) = tensor.storage();
        if let Some(key) = key {
            match self.users.get_mut(&key) {
                Some(users) if *users > 1 => {
                    *users -= 1;
                    return;
                }
                Some(_) => {
                    self.users.remove(&key);
                }
                None => return,
            }
        }
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Addresses are spread well enough by a multiplication.
#[derive(Clone, Copy, Default)]
struct Plain;

struct Multiply(u64);

impl std::hash::BuildHasher for Plain {
    type Hasher = Multiply;

    fn build_hasher(&self) -> Multiply {
        Multiply(0)
    }
}

impl std::hash::Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ (value >> 4)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}
