//! The gradients of attention: the weights are computed again, a block of queries at a time.

use super::{
    AttentionRule, AttentionShape, Heads, HeadsMut,
    gemm::{Matrix, serial},
    math::exp_negative,
    par,
    simd::{dot, simd_fn},
};

/// Queries of a block.
const QUERIES: usize = 64;

/// Where the gradients of an attention go, of the shapes of q, k and v.
#[derive(Debug)]
pub struct AttentionGradients<'a> {
    /// Of q.
    pub q: HeadsMut<'a>,
    /// Of k.
    pub k: HeadsMut<'a>,
    /// Of v.
    pub v: HeadsMut<'a>,
}

simd_fn! {
    /// Scores → weights e^(score − lse).
    fn weights_of(scores: &mut [f32], lse: f32) {
        for score in scores {
            *score = exp_negative(*score - lse);
        }
    }
}

simd_fn! {
    /// dweights → dscores = weights · (dweights − delta) · scale.
    fn scores_backward(weights: &[f32], dweights: &mut [f32], delta: f32, scale: f32) {
        for (d, w) in dweights.iter_mut().zip(weights) {
            *d = w * (*d - delta) * scale;
        }
    }
}

simd_fn! {
    fn dot_of(a: &[f32], b: &[f32]) -> f32 {
        dot(a, b)
    }
}

/// The gradients of [`super::attention`] from its operands, its output and `lse`, and dout
/// [batch, queries, heads, head_dim]. The bias gets none.
#[allow(clippy::too_many_arguments)]
pub fn attention_backward(
    shape: &AttentionShape,
    rule: &AttentionRule,
    q: Heads,
    k: Heads,
    v: Heads,
    out: Heads,
    lse: &[f32],
    dout: Heads,
    mut gradients: AttentionGradients,
) {
    let s = *shape;
    assert_eq!(lse.len(), s.batch * s.heads * s.queries);
    if s.batch * s.heads * s.head_dim == 0 {
        return;
    }
    let (query_shape, key_shape) = (
        [s.batch, s.queries.max(1), s.heads, s.head_dim],
        [s.batch, s.keys.max(1), s.kv_heads, s.head_dim],
    );
    rule.check(shape);
    if s.queries > 0 {
        for heads in [&q, &out, &dout] {
            heads.check(query_shape);
        }
    }
    if s.keys > 0 {
        k.check(key_shape);
        v.check(key_shape);
    }
    let dq = (s.queries > 0).then(|| gradients.q.shared(query_shape));
    let dkv = (s.keys > 0).then(|| (gradients.k.shared(key_shape), gradients.v.shared(key_shape)));
    // One task: the heads of a sequence that share a key head, so that nobody else writes its
    // gradient.
    let task = |at: usize| {
        let (batch, kv_head) = (at / s.kv_heads, at % s.kv_heads);
        let mut work = Work::new(&s);
        for head in kv_head * s.group()..(kv_head + 1) * s.group() {
            for first in (0..s.queries).step_by(QUERIES) {
                let rows = QUERIES.min(s.queries - first);
                work.block(rule, [batch, head, first], rows, [q, k, v, out, dout], lse);
                for i in 0..rows {
                    let Some(dq) = dq else { continue };
                    // SAFETY: `shared` was given this shape, the borrow lasts until this function
                    // returns, and each (batch, head) belongs to one task.
                    let dq = unsafe { dq.row(batch, first + i, head) };
                    dq.copy_from_slice(&work.dq[i * s.head_dim..][..s.head_dim]);
                }
            }
        }
        let Some((dk, dv)) = dkv else { return };
        for key in 0..s.keys {
            // SAFETY: as above; each (batch, key head) belongs to one task.
            let (dk, dv) = unsafe { (dk.row(batch, key, kv_head), dv.row(batch, key, kv_head)) };
            dk.copy_from_slice(&work.dk[key * s.head_dim..][..s.head_dim]);
            dv.copy_from_slice(&work.dv[key * s.head_dim..][..s.head_dim]);
        }
    };
    if s.batch * s.heads * s.queries * s.keys * s.head_dim < 1 << 17 {
        (0..s.batch * s.kv_heads).for_each(task);
    } else {
        par::tasks(s.batch * s.kv_heads, task);
    }
}

/// Buffers of one task.
struct Work {
    shape: AttentionShape,
    weights: Vec<f32>,
    dweights: Vec<f32>,
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

impl Work {
    fn new(shape: &AttentionShape) -> Self {
        Self {
            shape: *shape,
            weights: Vec::new(),
            dweights: Vec::new(),
            dq: vec![0.0; QUERIES * shape.head_dim],
            dk: vec![0.0; shape.keys * shape.head_dim],
            dv: vec![0.0; shape.keys * shape.head_dim],
        }
    }

    /// One block of queries of a head: sets dq, adds to dk and dv.
    fn block(
        &mut self,
        rule: &AttentionRule,
        [batch, head, first]: [usize; 3],
        rows: usize,
        [q, k, v, out, dout]: [Heads; 5],
        lse: &[f32],
    ) {
        let s = self.shape;
        let dim = s.head_dim;
        let kv_head = head / s.group();
        let hull = rule.hull(&s, batch, first..first + rows);
        let (at, width) = (hull.start, hull.len());
        if width == 0 {
            self.dq.fill(0.0);
            return;
        }
        self.weights.resize(rows * width, 0.0);
        self.dweights.resize(rows * width, 0.0);
        let queries = q.matrix(batch, first, head);
        let dqueries = dout.matrix(batch, first, head);
        let keys = k.matrix(batch, at, kv_head);
        let values = v.matrix(batch, at, kv_head);
        serial(
            rows,
            width,
            dim,
            rule.scale,
            queries,
            keys.t(),
            0.0,
            &mut self.weights,
            width,
        );
        serial(
            rows,
            width,
            dim,
            1.0,
            dqueries,
            values.t(),
            0.0,
            &mut self.dweights,
            width,
        );
        let lse = &lse[(batch * s.heads + head) * s.queries + first..];
        for (i, lse) in lse.iter().enumerate().take(rows) {
            let weights = &mut self.weights[i * width..][..width];
            let dweights = &mut self.dweights[i * width..][..width];
            let range = rule.range(&s, batch, first + i);
            let seen = range.start.clamp(at, at + width) - at..range.end.clamp(at, at + width) - at;
            if seen.is_empty() || *lse == f32::NEG_INFINITY {
                weights.fill(0.0);
                dweights.fill(0.0);
                continue;
            }
            weights[..seen.start].fill(0.0);
            weights[seen.end..].fill(0.0);
            dweights[..seen.start].fill(0.0);
            dweights[seen.end..].fill(0.0);
            let place = [batch, head, first + i, at + seen.start];
            let (weights, dweights) = (&mut weights[seen.clone()], &mut dweights[seen]);
            rule.add_bias(place, weights);
            weights_of(weights, *lse);
            // Σ weights·dweights is dout·out, with dropout or without.
            let delta = dot_of(
                &dout.row(batch, first + i, head)[..dim],
                &out.row(batch, first + i, head)[..dim],
            );
            rule.drop(&s, place, dweights);
            scores_backward(weights, dweights, delta, rule.scale);
            rule.drop(&s, place, weights);
        }
        let weights = Matrix::rows(&self.weights, width);
        let dscores = Matrix::rows(&self.dweights, width);
        let (dk, dv) = (&mut self.dk[at * dim..], &mut self.dv[at * dim..]);
        serial(width, dim, rows, 1.0, weights.t(), dqueries, 1.0, dv, dim);
        serial(width, dim, rows, 1.0, dscores.t(), queries, 1.0, dk, dim);
        serial(rows, dim, width, 1.0, dscores, keys, 0.0, &mut self.dq, dim);
    }
}
