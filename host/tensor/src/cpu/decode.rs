//! Attention of a few queries over cached keys, which lie in blocks.

use std::ops::Range;

use super::{
    AttentionBias, par,
    simd::{dot, max_of, simd_fn},
    softmax::exp_sum,
};

/// One sequence: its cached keys and values, and which of them each of its queries sees.
#[derive(Clone, Debug)]
pub struct DecodeRow<'a> {
    /// Blocks of keys, [kv_heads, block, head_dim] each.
    pub k: Vec<&'a [f32]>,
    /// Blocks of values.
    pub v: Vec<&'a [f32]>,
    /// The keys that each query sees, [queries].
    pub ranges: Vec<Range<usize>>,
}

/// The sizes of [`attention_decode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeShape {
    /// Queries of each sequence.
    pub queries: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of the keys; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Keys of a block.
    pub block: usize,
}

simd_fn! {
    fn scores_of(q: &[f32], keys: &[f32], scale: f32, scores: &mut [f32]) {
        for (key, score) in keys.chunks_exact(q.len()).zip(scores) {
            *score = dot(q, key) * scale;
        }
    }
}

simd_fn! {
    fn add_values(weights: &[f32], values: &[f32], out: &mut [f32]) {
        for (value, w) in values.chunks_exact(out.len()).zip(weights) {
            for (out, value) in out.iter_mut().zip(value) {
                *out = w.mul_add(*value, *out);
            }
        }
    }
}

simd_fn! {
    /// Scores → weights; returns 1/sum.
    fn normalise(scores: &[f32], weights: &mut [f32]) -> f32 {
        1.0 / exp_sum(scores, max_of(scores), weights)
    }
}

/// softmax(q·kᵀ·scale + bias)·v over the rows' caches: q and out [rows, queries, heads, head_dim].
/// Queries that see no key give 0.
pub fn attention_decode(
    shape: &DecodeShape,
    scale: f32,
    bias: Option<AttentionBias>,
    q: &[f32],
    rows: &[DecodeRow],
    out: &mut [f32],
) {
    let s = *shape;
    assert!(q.len() == out.len() && q.len() == rows.len() * s.queries * s.heads * s.head_dim);
    let group = s.heads / s.kv_heads;
    // One task: the heads that share keys, which are read from memory once.
    let width = group * s.head_dim;
    let task = |at: usize, out: &mut [f32]| {
        let (mut scores, mut weights) = (Vec::new(), Vec::new());
        for (i, out) in out.chunks_exact_mut(width).enumerate() {
            let task = at / width + i;
            let kv_head = task % s.kv_heads;
            let query = task / s.kv_heads % s.queries;
            let index = task / s.kv_heads / s.queries;
            let row = &rows[index];
            let seen = row.ranges[query].clone();
            out.fill(0.0);
            if seen.is_empty() {
                continue;
            }
            let count = seen.len();
            scores.resize(group * count, 0.0);
            weights.resize(group * count, 0.0);
            let q = &q[task * width..][..width];
            blocks(&seen, s.block, |block, within, place| {
                let keys = &row.k[block][kv_head * s.block * s.head_dim..];
                let keys = &keys[within.start * s.head_dim..within.end * s.head_dim];
                for (member, q) in q.chunks_exact(s.head_dim).enumerate() {
                    let scores = &mut scores[member * count + place..][..within.len()];
                    scores_of(q, keys, scale, scores);
                }
            });
            let mut factors = Vec::with_capacity(group);
            for member in 0..group {
                let scores = &mut scores[member * count..][..count];
                if let Some(bias) = bias {
                    let [b, h, t, k] = bias.strides;
                    let first = index * b + (kv_head * group + member) * h + query * t;
                    for (score, key) in scores.iter_mut().zip(seen.clone()) {
                        *score += bias.data[first + key * k];
                    }
                }
                factors.push(normalise(scores, &mut weights[member * count..][..count]));
            }
            blocks(&seen, s.block, |block, within, place| {
                let values = &row.v[block][kv_head * s.block * s.head_dim..];
                let values = &values[within.start * s.head_dim..within.end * s.head_dim];
                for (member, out) in out.chunks_exact_mut(s.head_dim).enumerate() {
                    let weights = &weights[member * count + place..][..within.len()];
                    add_values(weights, values, out);
                }
            });
            for (out, factor) in out.chunks_exact_mut(s.head_dim).zip(factors) {
                out.iter_mut().for_each(|out| *out *= factor);
            }
        }
    };
    let keys = rows
        .iter()
        .flat_map(|row| &row.ranges)
        .map(Range::len)
        .max()
        .unwrap_or(0);
    let cost = (2 * keys).max(1);
    let grain = par::rows_grain(out.len() / width.max(1), width, cost);
    par::chunks(out, grain * width, task);
}

/// Runs `each(block, keys within it, place of the first among the seen)` over a range of keys.
fn blocks(seen: &Range<usize>, size: usize, mut each: impl FnMut(usize, Range<usize>, usize)) {
    let mut at = seen.start;
    while at < seen.end {
        let block = at / size;
        let end = seen.end.min((block + 1) * size);
        each(
            block,
            at - block * size..end - block * size,
            at - seen.start,
        );
        at = end;
    }
}
