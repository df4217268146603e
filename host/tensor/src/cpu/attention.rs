//! Attention without the matrix of all scores: a block of queries at a time.

use std::ops::Range;

use super::{
    dropout::{factor, keep_scale},
    gemm::{Matrix, serial},
    math::exp_negative,
    par,
    simd::{LANES, fold_sum, max_of, simd_fn},
};

/// The sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Sequences.
    pub batch: usize,
    /// Queries of each.
    pub queries: usize,
    /// Keys of each.
    pub keys: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of the keys; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
}

impl AttentionShape {
    /// Query heads that share a key head.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// A tensor [batch, tokens, heads, head_dim] whose heads are contiguous: the first element of a head
/// is at batch · strides[0] + token · strides[1] + head · strides[2].
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    data: &'a [f32],
    strides: [usize; 3],
}

impl<'a> Heads<'a> {
    /// Any strides, so that parts of a joint projection need no copy.
    pub fn new(data: &'a [f32], strides: [usize; 3]) -> Self {
        Self { data, strides }
    }

    /// Row-major memory.
    pub fn contiguous(data: &'a [f32], tokens: usize, heads: usize, head_dim: usize) -> Self {
        Self::new(
            data,
            [tokens * heads * head_dim, heads * head_dim, head_dim],
        )
    }

    /// The memory from the start of a head on.
    pub(super) fn row(&self, batch: usize, token: usize, head: usize) -> &'a [f32] {
        let [b, t, h] = self.strides;
        &self.data[batch * b + token * t + head * h..]
    }

    /// One head of a sequence from `token` on, [tokens, head_dim].
    pub(super) fn matrix(&self, batch: usize, token: usize, head: usize) -> Matrix<'a> {
        Matrix::new(self.row(batch, token, head), self.strides[1], 1)
    }

    pub(super) fn check(&self, shape: [usize; 4]) {
        let [batch, tokens, heads, dim] = shape;
        let [b, t, h] = self.strides;
        let last = (batch - 1) * b + (tokens - 1) * t + (heads - 1) * h + dim;
        assert!(last <= self.data.len());
    }
}

/// A tensor as [`Heads`] to be written. Its heads must not overlap.
#[derive(Debug)]
pub struct HeadsMut<'a> {
    data: &'a mut [f32],
    strides: [usize; 3],
}

impl<'a> HeadsMut<'a> {
    /// Any strides whose heads do not overlap, so that gradients can go into parts of a joint one.
    pub fn new(data: &'a mut [f32], strides: [usize; 3]) -> Self {
        Self { data, strides }
    }

    /// Row-major memory.
    pub fn contiguous(data: &'a mut [f32], tokens: usize, heads: usize, head_dim: usize) -> Self {
        Self::new(
            data,
            [tokens * heads * head_dim, heads * head_dim, head_dim],
        )
    }

    /// A handle that tasks can share, after checking that it has room for the shape and that no
    /// element is at two places.
    pub(super) fn shared(&mut self, shape: [usize; 4]) -> SharedHeads {
        let [batch, tokens, heads, dim] = shape;
        let [b, t, h] = self.strides;
        let last = (batch - 1) * b + (tokens - 1) * t + (heads - 1) * h + dim;
        assert!(last <= self.data.len());
        let mut axes = [(b, batch), (t, tokens), (h, heads)];
        axes.sort_unstable();
        let mut extent = dim;
        for (stride, size) in axes {
            if size > 1 {
                assert!(stride >= extent, "heads overlap");
                extent += stride * (size - 1);
            }
        }
        SharedHeads {
            data: self.data.as_mut_ptr(),
            strides: self.strides,
            dim,
        }
    }
}

/// Memory that tasks write at different heads and tokens.
#[derive(Clone, Copy)]
pub(super) struct SharedHeads {
    data: *mut f32,
    strides: [usize; 3],
    dim: usize,
}

// SAFETY: it is only a place; what is written through it is each writer's promise (`row`).
unsafe impl Send for SharedHeads {}
// SAFETY: as above.
unsafe impl Sync for SharedHeads {}

impl SharedHeads {
    /// One head of a token.
    ///
    /// # Safety
    /// The indices are within the shape that `HeadsMut::shared` was given, its memory is still
    /// borrowed, and nobody else reads or writes this head now.
    pub(super) unsafe fn row<'a>(&self, batch: usize, token: usize, head: usize) -> &'a mut [f32] {
        let [b, t, h] = self.strides;
        // SAFETY: `shared` checked that the last head ends within the slice, and that no two heads
        // overlap; the caller promises the rest.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.data.add(batch * b + token * t + head * h),
                self.dim,
            )
        }
    }
}

/// Added to the scores.
#[derive(Clone, Copy, Debug)]
pub struct AttentionBias<'a> {
    /// Its elements.
    pub data: &'a [f32],
    /// Strides of [batch, heads, queries, keys], 0 where it is broadcast.
    pub strides: [usize; 4],
}

/// Dropout of the weights: the element (batch, head, query, key) is number
/// ((batch · heads + head) · queries + query) · keys + key under the key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionDropout {
    /// The probability that a weight is dropped.
    pub p: f32,
    /// Names the random numbers.
    pub key: u64,
}

/// What an attention computes, but for its operands.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRule<'a> {
    /// Multiplies q·kᵀ.
    pub scale: f32,
    /// The keys [start, end) that each query sees, [batch, queries]: causal attention, padding,
    /// packed documents and windows are all of this form. Nothing: all keys.
    pub ranges: Option<&'a [[u32; 2]]>,
    /// Added to the scores.
    pub bias: Option<AttentionBias<'a>>,
    /// Dropout of the weights.
    pub dropout: Option<AttentionDropout>,
}

impl AttentionRule<'_> {
    /// The keys that a query sees.
    pub(super) fn range(&self, shape: &AttentionShape, batch: usize, query: usize) -> Range<usize> {
        match self.ranges {
            None => 0..shape.keys,
            Some(ranges) => {
                let [start, end] = ranges[batch * shape.queries + query];
                let end = (end as usize).min(shape.keys);
                (start as usize).min(end)..end
            }
        }
    }

    /// The keys that any of the queries sees.
    pub(super) fn hull(
        &self,
        shape: &AttentionShape,
        batch: usize,
        queries: Range<usize>,
    ) -> Range<usize> {
        queries
            .map(|query| self.range(shape, batch, query))
            .filter(|range| !range.is_empty())
            .reduce(|hull, range| hull.start.min(range.start)..hull.end.max(range.end))
            .unwrap_or(0..0)
    }

    /// Adds the bias to the scores of a query for the keys from `first` on.
    pub(super) fn add_bias(&self, [batch, head, query, first]: [usize; 4], scores: &mut [f32]) {
        let Some(bias) = self.bias else { return };
        let [b, h, q, k] = bias.strides;
        let start = batch * b + head * h + query * q + first * k;
        match k {
            0 => {
                let value = bias.data[start];
                scores.iter_mut().for_each(|score| *score += value);
            }
            1 => {
                let values = &bias.data[start..][..scores.len()];
                scores
                    .iter_mut()
                    .zip(values)
                    .for_each(|(score, value)| *score += value);
            }
            _ => {
                let values = bias.data[start..].iter().step_by(k);
                scores
                    .iter_mut()
                    .zip(values)
                    .for_each(|(score, value)| *score += value);
            }
        }
    }

    /// Multiplies the weights of a query for the keys from `first` on by dropout's factors.
    pub(super) fn drop(
        &self,
        shape: &AttentionShape,
        [batch, head, query, first]: [usize; 4],
        weights: &mut [f32],
    ) {
        simd_fn! {
            fn kernel(weights: &mut [f32], key: u64, first: u64, p: f32, scale: f32) {
                for (i, weight) in weights.iter_mut().enumerate() {
                    *weight *= factor(key, first + i as u64, p, scale);
                }
            }
        }
        let Some(AttentionDropout { p, key }) = self.dropout else {
            return;
        };
        let row = (batch * shape.heads + head) * shape.queries + query;
        let first = row as u64 * shape.keys as u64 + first as u64;
        kernel(weights, key, first, p, keep_scale(p));
    }

    pub(super) fn check(&self, shape: &AttentionShape) {
        let ranges = self.ranges.map(<[_]>::len);
        assert!(ranges.is_none_or(|len| len == shape.batch * shape.queries));
    }
}

/// Queries of a block.
const QUERIES: usize = 64;
/// Keys of a block: with the queries', scores that stay in the second-level cache.
const KEYS: usize = 512;

simd_fn! {
    /// e^(score − largest) over a row; returns the sum.
    fn exponentials(scores: &mut [f32], largest: f32) -> f32 {
        let mut lanes = [0.0_f32; LANES];
        let (chunks, tail) = scores.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for i in 0..LANES {
                chunk[i] = exp_negative(chunk[i] - largest);
                lanes[i] += chunk[i];
            }
        }
        for (lane, score) in lanes.iter_mut().zip(tail) {
            *score = exp_negative(*score - largest);
            *lane += *score;
        }
        fold_sum(&lanes)
    }
}

simd_fn! {
    fn largest_of(x: &[f32]) -> f32 {
        max_of(x)
    }
}

simd_fn! {
    pub(super) fn scale_row(x: &mut [f32], factor: f32) {
        for x in x {
            *x *= factor;
        }
    }
}

/// softmax(q·kᵀ·scale + bias)·v: q, out [batch, queries, heads, head_dim], k and v
/// [batch, keys, kv_heads, head_dim]. Queries that see no key give 0. `lse` [batch, heads, queries]
/// is what [`super::attention_backward`] needs: log Σ e^score, −∞ where no key is seen.
#[allow(clippy::too_many_arguments)]
pub fn attention(
    shape: &AttentionShape,
    rule: &AttentionRule,
    q: Heads,
    k: Heads,
    v: Heads,
    mut out: HeadsMut,
    lse: &mut [f32],
) {
    let s = *shape;
    assert_eq!(lse.len(), s.batch * s.heads * s.queries);
    if lse.is_empty() || s.head_dim == 0 {
        return;
    }
    rule.check(shape);
    q.check([s.batch, s.queries, s.heads, s.head_dim]);
    let out = out.shared([s.batch, s.queries, s.heads, s.head_dim]);
    if s.keys > 0 {
        k.check([s.batch, s.keys, s.kv_heads, s.head_dim]);
        v.check([s.batch, s.keys, s.kv_heads, s.head_dim]);
    }
    let blocks = s.queries.div_ceil(QUERIES);
    let task = |at: usize, lse: &mut [f32]| {
        let (row, block) = (at / blocks, at % blocks);
        let (batch, head) = (row / s.heads, row % s.heads);
        let first = block * QUERIES;
        let mut work = Work::new(&s, lse.len());
        work.run(rule, [batch, head, first], q, k, v);
        for (i, lse) in lse.iter_mut().enumerate() {
            // SAFETY: `shared` was given this shape, the borrow lasts until this function returns,
            // and each (batch, head, query) belongs to one task.
            let out = unsafe { out.row(batch, first + i, head) };
            *lse = work.finish(i, out);
        }
    };
    // Blocks do not cross heads, so chunks of lse are cut by hand.
    let mut parts: Vec<&mut [f32]> = Vec::with_capacity(s.batch * s.heads * blocks);
    for row in lse.chunks_mut(s.queries) {
        parts.extend(row.chunks_mut(QUERIES));
    }
    let cost = s.queries * s.keys * s.head_dim * s.batch * s.heads;
    if cost < 1 << 18 {
        for (at, lse) in parts.into_iter().enumerate() {
            task(at, lse);
        }
    } else {
        par::chunks(&mut parts, 1, |at, part| task(at, part[0]));
    }
}

/// One block of queries of one head.
struct Work {
    shape: AttentionShape,
    rows: usize,
    scores: Vec<f32>,
    sums: Vec<f32>,
    largest: Vec<f32>,
    total: Vec<f32>,
}

impl Work {
    fn new(shape: &AttentionShape, rows: usize) -> Self {
        Self {
            shape: *shape,
            rows,
            scores: Vec::new(),
            sums: vec![0.0; rows * shape.head_dim],
            largest: vec![f32::NEG_INFINITY; rows],
            total: vec![0.0; rows],
        }
    }

    fn run(
        &mut self,
        rule: &AttentionRule,
        [batch, head, first]: [usize; 3],
        q: Heads,
        k: Heads,
        v: Heads,
    ) {
        let s = self.shape;
        let (dim, rows) = (s.head_dim, self.rows);
        let kv_head = head / s.group();
        let hull = rule.hull(&s, batch, first..first + rows);
        let q = q.matrix(batch, first, head);
        let mut at = hull.start;
        while at < hull.end {
            let width = KEYS.min(hull.end - at);
            self.scores.resize(rows * width, 0.0);
            let keys = k.matrix(batch, at, kv_head).t();
            serial(
                rows,
                width,
                dim,
                rule.scale,
                q,
                keys,
                0.0,
                &mut self.scores,
                width,
            );
            for (i, scores) in self.scores.chunks_exact_mut(width).enumerate() {
                let range = rule.range(&s, batch, first + i);
                let seen =
                    range.start.clamp(at, at + width) - at..range.end.clamp(at, at + width) - at;
                scores[..seen.start].fill(0.0);
                scores[seen.end.max(seen.start)..].fill(0.0);
                if seen.is_empty() {
                    continue;
                }
                let place = [batch, head, first + i, at + seen.start];
                let scores = &mut scores[seen];
                rule.add_bias(place, scores);
                let largest = largest_of(scores).max(self.largest[i]);
                if largest == f32::NEG_INFINITY {
                    scores.fill(0.0);
                    continue;
                }
                let shrink = (self.largest[i] - largest).exp();
                self.largest[i] = largest;
                self.total[i] = self.total[i] * shrink + exponentials(scores, largest);
                if shrink != 1.0 {
                    scale_row(&mut self.sums[i * dim..][..dim], shrink);
                }
                rule.drop(&s, place, scores);
            }
            let weights = Matrix::rows(&self.scores, width);
            let values = v.matrix(batch, at, kv_head);
            serial(
                rows,
                dim,
                width,
                1.0,
                weights,
                values,
                1.0,
                &mut self.sums,
                dim,
            );
            at += width;
        }
    }

    /// Writes the i-th output and returns its log-sum.
    fn finish(&self, i: usize, out: &mut [f32]) -> f32 {
        let total = self.total[i];
        if total == 0.0 {
            out.fill(0.0);
            return f32::NEG_INFINITY;
        }
        out.copy_from_slice(&self.sums[i * out.len()..][..out.len()]);
        scale_row(out, 1.0 / total);
        self.largest[i] + total.ln()
    }
}
