//! The keys and values of a sequence that is being generated.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::{Tensor, TensorError};

/// Tokens in a block of host memory. Blocks are shared between forks until one of them writes, so a
/// block is also the most that a diverging beam copies for each layer.
pub(crate) const BLOCK: usize = 32;

/// A cache that a pass and its owner share.
pub type SharedCache = Arc<Mutex<SequenceCache>>;

/// The cache of one generated sequence: for each attention layer, the keys and values of the tokens
/// that the model has seen. A pass of stage `prefill` or `decode` reads and extends it.
///
/// A pass that failed may have extended only some of the layers: [`Self::truncate`] to the length
/// before it, or drop the cache.
#[derive(Clone, Default)]
pub struct SequenceCache {
    pub(crate) slots: BTreeMap<u32, Slot>,
    /// Tokens seen of each input.
    pub(crate) lengths: BTreeMap<String, usize>,
}

/// One layer's keys and values.
#[derive(Clone)]
pub(crate) struct Slot {
    /// The input that the keys follow.
    pub input: String,
    /// Whether these are the keys of another sequence, complete since `prefill`.
    pub cross: bool,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub len: usize,
    pub store: Store,
}

#[derive(Clone)]
pub(crate) enum Store {
    /// Blocks of [`BLOCK`] tokens.
    Host(Vec<Arc<Block>>),
    /// [len, kv-heads, head-dim] each; nothing while the slot is empty.
    Device(Option<Box<(Tensor, Tensor)>>),
}

/// Keys and values of [`BLOCK`] tokens, [kv-heads, BLOCK, head-dim] each: the keys of one head are
/// contiguous, which is what the kernel walks over.
#[derive(Clone)]
pub(crate) struct Block {
    pub k: Vec<f32>,
    pub v: Vec<f32>,
}

impl SequenceCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty cache, shared.
    pub fn shared() -> SharedCache {
        Arc::new(Mutex::new(Self::new()))
    }

    /// Tokens of the growing sequence that the model has seen.
    pub fn len(&self) -> usize {
        let growing = self.slots.values().find(|slot| !slot.cross);
        match growing {
            Some(slot) => self.input_len(&slot.input),
            None => self.lengths.values().copied().max().unwrap_or(0),
        }
    }

    /// Whether no token has been seen.
    pub fn is_empty(&self) -> bool {
        self.lengths.values().all(|length| *length == 0)
    }

    /// Tokens of input `name` that the model has seen.
    pub fn input_len(&self, name: &str) -> usize {
        self.lengths.get(name).copied().unwrap_or(0)
    }

    /// A second cache with the same content. Blocks are shared until one of the two writes: cheap
    /// enough for every step of a beam search.
    pub fn fork(&self) -> Self {
        self.clone()
    }

    /// Forgets the tokens of the growing sequence from the `length`-th on. Keys of other sequences
    /// (cross attention) stay.
    ///
    /// # Errors
    /// As slicing a tensor of the device.
    pub fn truncate(&mut self, length: usize) -> Result<(), TensorError> {
        for slot in self.slots.values_mut().filter(|slot| !slot.cross) {
            if let Some(seen) = self.lengths.get_mut(&slot.input) {
                *seen = (*seen).min(length);
            }
            slot.truncate(length)?;
        }
        Ok(())
    }

    /// Bytes of keys and values; blocks shared with forks are counted in each.
    pub fn bytes(&self) -> usize {
        self.slots
            .values()
            .map(|slot| match &slot.store {
                Store::Host(blocks) => blocks.len() * BLOCK * slot.width() * 8,
                Store::Device(_) => slot.len * slot.width() * 8,
            })
            .sum()
    }
}

impl std::fmt::Debug for SequenceCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SequenceCache")
            .field("lengths", &self.lengths)
            .field("layers", &self.slots.len())
            .field("bytes", &self.bytes())
            .finish()
    }
}

/// The caches of the beams that survive a step: the i-th is that of `parents[i]` before it. A cache
/// with one child is passed on, others are forked.
///
/// # Errors
/// `InvalidArgument` when a parent does not exist.
pub fn reorder(caches: &[SharedCache], parents: &[usize]) -> Result<Vec<SharedCache>, TensorError> {
    let mut used = vec![false; caches.len()];
    parents
        .iter()
        .map(|parent| {
            let cache = caches.get(*parent).ok_or_else(|| {
                TensorError::InvalidArgument(format!(
                    "reorder: there is no cache {parent} among {}",
                    caches.len()
                ))
            })?;
            if std::mem::replace(&mut used[*parent], true) {
                Ok(Arc::new(Mutex::new(cache.lock().fork())))
            } else {
                Ok(cache.clone())
            }
        })
        .collect()
}

impl Slot {
    pub fn new(input: &str, cross: bool, kv_heads: usize, head_dim: usize, host: bool) -> Self {
        Self {
            input: input.to_owned(),
            cross,
            kv_heads,
            head_dim,
            len: 0,
            store: if host {
                Store::Host(Vec::new())
            } else {
                Store::Device(None)
            },
        }
    }

    /// Numbers in the keys of one token.
    fn width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Appends tokens on the host; k and v [tokens, kv-heads, head-dim].
    pub fn append_host(&mut self, k: &[f32], v: &[f32]) {
        let (width, dim, heads) = (self.width(), self.head_dim, self.kv_heads);
        let Store::Host(blocks) = &mut self.store else {
            return;
        };
        for (k, v) in k.chunks_exact(width).zip(v.chunks_exact(width)) {
            let offset = self.len % BLOCK;
            if offset == 0 {
                blocks.push(Arc::new(Block {
                    k: vec![0.0; BLOCK * width],
                    v: vec![0.0; BLOCK * width],
                }));
            }
            if let Some(block) = blocks.last_mut().map(Arc::make_mut) {
                for head in 0..heads {
                    let to = (head * BLOCK + offset) * dim;
                    let from = head * dim;
                    block.k[to..to + dim].copy_from_slice(&k[from..from + dim]);
                    block.v[to..to + dim].copy_from_slice(&v[from..from + dim]);
                }
            }
            self.len += 1;
        }
    }

    /// Appends tokens on the device; k and v [tokens, kv-heads, head-dim].
    pub fn append_device(&mut self, k: &Tensor, v: &Tensor) -> Result<(), TensorError> {
        let added = k.shape()[0];
        if let Store::Device(values) = &mut self.store {
            *values = Some(Box::new(match values.take().map(|values| *values) {
                Some((old_k, old_v)) => {
                    (Tensor::cat(&[&old_k, k], 0)?, Tensor::cat(&[&old_v, v], 0)?)
                }
                None => (k.clone(), v.clone()),
            }));
            self.len += added;
        }
        Ok(())
    }

    fn truncate(&mut self, length: usize) -> Result<(), TensorError> {
        if length >= self.len {
            return Ok(());
        }
        match &mut self.store {
            Store::Host(blocks) => blocks.truncate(length.div_ceil(BLOCK)),
            Store::Device(values) => {
                *values = match values.take().map(|values| *values) {
                    Some((k, v)) if length > 0 => {
                        let kept = (k.narrow(0, 0, length)?, v.narrow(0, 0, length)?);
                        Some(Box::new(kept))
                    }
                    _ => None,
                };
            }
        }
        self.len = length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn grow(cache: &mut SequenceCache, tokens: std::ops::Range<usize>) {
        let slot = cache
            .slots
            .entry(0)
            .or_insert_with(|| Slot::new("ids", false, 2, 3, true));
        for token in tokens {
            let k: Vec<f32> = (0..6).map(|i| (token * 10 + i) as f32).collect();
            let v: Vec<f32> = k.iter().map(|k| -k).collect();
            slot.append_host(&k, &v);
            *cache.lengths.entry("ids".into()).or_default() += 1;
        }
    }

    fn key(cache: &SequenceCache, token: usize, head: usize) -> [f32; 3] {
        let Store::Host(blocks) = &cache.slots[&0].store else {
            panic!("the slot is on the host")
        };
        let at = (head * BLOCK + token % BLOCK) * 3;
        blocks[token / BLOCK].k[at..at + 3].try_into().unwrap()
    }

    #[test]
    fn tokens_land_in_their_blocks() {
        let mut cache = SequenceCache::new();
        grow(&mut cache, 0..2 * BLOCK + 5);
        assert_eq!(cache.len(), 2 * BLOCK + 5);
        assert_eq!(key(&cache, 0, 1), [3.0, 4.0, 5.0]);
        let token = 2 * BLOCK + 4;
        let first = (token * 10) as f32;
        assert_eq!(key(&cache, token, 0), [first, first + 1.0, first + 2.0]);
        assert_eq!(cache.bytes(), 3 * BLOCK * 6 * 8);
    }

    #[test]
    fn forks_share_until_they_write() {
        let mut cache = SequenceCache::new();
        grow(&mut cache, 0..BLOCK + 3);
        let mut fork = cache.fork();
        let shared = |a: &SequenceCache, b: &SequenceCache, block: usize| {
            let (Store::Host(a), Store::Host(b)) = (&a.slots[&0].store, &b.slots[&0].store) else {
                panic!("the slots are on the host")
            };
            Arc::ptr_eq(&a[block], &b[block])
        };
        assert!(shared(&cache, &fork, 0) && shared(&cache, &fork, 1));
        grow(&mut fork, 900..901);
        grow(&mut cache, 700..701);
        assert!(shared(&cache, &fork, 0) && !shared(&cache, &fork, 1));
        assert_eq!(key(&fork, BLOCK + 3, 0)[0], 9000.0);
        assert_eq!(key(&cache, BLOCK + 3, 0)[0], 7000.0);
        assert_eq!(key(&cache, BLOCK + 2, 0), key(&fork, BLOCK + 2, 0));
    }

    #[test]
    fn truncating_and_growing_again_overwrites() {
        let mut cache = SequenceCache::new();
        grow(&mut cache, 0..BLOCK + 3);
        cache.truncate(BLOCK - 1).unwrap();
        assert_eq!(cache.len(), BLOCK - 1);
        grow(&mut cache, 500..502);
        assert_eq!(key(&cache, BLOCK - 1, 0)[0], 5000.0);
        assert_eq!(key(&cache, BLOCK, 0)[0], 5010.0);
        assert_eq!(key(&cache, BLOCK - 2, 0)[0], ((BLOCK - 2) * 10) as f32);
    }

    #[test]
    fn reordering_moves_only_children_and_forks_twins() {
        let caches: Vec<_> = (0..3).map(|_| SequenceCache::shared()).collect();
        for (index, cache) in caches.iter().enumerate() {
            grow(&mut cache.lock(), 0..index + 1);
        }
        let next = reorder(&caches, &[2, 0, 2]).unwrap();
        assert!(Arc::ptr_eq(&next[0], &caches[2]) && !Arc::ptr_eq(&next[2], &caches[2]));
        let lengths: Vec<_> = next.iter().map(|cache| cache.lock().len()).collect();
        assert_eq!(lengths, [3, 1, 3]);
        assert!(reorder(&caches, &[3]).is_err());
    }
}
