//! Attention in host memory by the processor's kernels.

use std::{ops::Range, sync::Arc};

use super::{
    attention::Call,
    cache::{BLOCK, Slot, Store},
    mask::Ranges,
    pass::Stage,
};
use crate::{
    Tensor, TensorError,
    cpu::{
        self, AttentionBias, AttentionDropout, AttentionGradients, AttentionRule, AttentionShape,
        DecodeRow, DecodeShape, HeadsMut,
    },
    dims::Dims,
    raw,
    recycled::Buffer,
    tape::{Backward, InputGradients, again, record_again},
};

/// Whether these kernels compute attention over such a q.
pub(super) fn serves(q: &Tensor) -> bool {
    raw::is_host_f32(q)
}

/// Attention over k and v as they were given.
pub(super) fn masked(
    call: &Call,
    k: &Tensor,
    v: &Tensor,
    ranges: Arc<Ranges>,
) -> Result<Tensor, TensorError> {
    let shape = AttentionShape {
        batch: call.batch,
        queries: call.tokens,
        keys: k.shape()[1],
        heads: call.heads,
        kv_heads: k.shape()[2],
        head_dim: call.head_dim,
    };
    let training = call.pass.stage() == Stage::Train;
    let dropout = (training && call.options.dropout > 0.0).then(|| AttentionDropout {
        p: call.options.dropout,
        key: call.pass.draw(),
    });
    let masked = Masked {
        shape,
        scale: call.scale,
        ranges,
        dropout,
    };
    masked.attend(call.q, k, v, call.bias)
}

/// Attention in which every query sees a range of the keys.
#[derive(Clone)]
struct Masked {
    shape: AttentionShape,
    scale: f32,
    ranges: Arc<Ranges>,
    dropout: Option<AttentionDropout>,
}

impl Masked {
    fn attend(
        self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Tensor, TensorError> {
        let Self {
            shape,
            scale,
            dropout,
            ..
        } = self;
        let mut out = Buffer::take(q.numel());
        let mut lse = vec![0.0; shape.batch * shape.heads * shape.queries];
        let bias = bias.map(|bias| bias.detach()).transpose()?;
        with_rule(scale, &self.ranges, bias.as_ref(), dropout, |rule| {
            let (q, k, v) = (raw::heads(q)?, raw::heads(k)?, raw::heads(v)?);
            let target = HeadsMut::contiguous(&mut out, shape.queries, shape.heads, shape.head_dim);
            cpu::attention(&shape, rule, q.view(), k.view(), v.view(), target, &mut lse);
            Ok(())
        })?;
        let out = raw::from_buffer(&q.dims(), out);
        let other = bias.clone();
        let saved = |out: &Tensor| {
            let mut dims = Dims::new();
            dims.push(lse.len());
            let lse = raw::from_vec(&dims, lse);
            let mut saved = vec![q.clone(), k.clone(), v.clone(), out.clone(), lse];
            saved.extend(bias);
            saved
        };
        let same = self.clone();
        let again = || {
            let others: &[&Tensor] = &other.iter().collect::<Vec<_>>();
            again(others, move |x, bias| {
                let same = same.clone();
                same.attend(&x[0], &x[1], &x[2], bias.first())
            })
        };
        let backward = move |context: Backward<'_>| self.gradients(&context);
        record_again("attention", out, &[q, k, v], saved, backward, again)
    }

    fn gradients(&self, context: &Backward<'_>) -> Result<InputGradients, TensorError> {
        let [q, k, v, out, lse, ..] = context.saved.as_slice() else {
            return Ok(Vec::new());
        };
        let (shape, bias) = (self.shape, context.saved.get(5));
        let lse = raw::f32s(lse)?;
        let mut gradients = [q, k, v].map(|x| Buffer::take(x.numel()));
        with_rule(self.scale, &self.ranges, bias, self.dropout, |rule| {
            let [dq, dk, dv] = &mut gradients;
            let (heads, kv_heads, dim) = (shape.heads, shape.kv_heads, shape.head_dim);
            let target = AttentionGradients {
                q: HeadsMut::contiguous(dq, shape.queries, heads, dim),
                k: HeadsMut::contiguous(dk, shape.keys, kv_heads, dim),
                v: HeadsMut::contiguous(dv, shape.keys, kv_heads, dim),
            };
            let (hq, hk, hv) = (raw::heads(q)?, raw::heads(k)?, raw::heads(v)?);
            let (hout, dout) = (raw::heads(out)?, raw::heads(&context.grad)?);
            cpu::attention_backward(
                &shape,
                rule,
                hq.view(),
                hk.view(),
                hv.view(),
                hout.view(),
                &lse,
                dout.view(),
                target,
            );
            Ok(())
        })?;
        let shapes = [q.dims(), k.dims(), v.dims()];
        let gradients = gradients.into_iter().zip(shapes);
        Ok(gradients
            .map(|(values, dims)| Some(raw::from_buffer(&dims, values)))
            .collect())
    }
}

/// Runs a kernel with the rule of these parts.
fn with_rule<T>(
    scale: f32,
    ranges: &Ranges,
    bias: Option<&Tensor>,
    dropout: Option<AttentionDropout>,
    run: impl FnOnce(&AttentionRule) -> Result<T, TensorError>,
) -> Result<T, TensorError> {
    let data = bias.map(raw::f32s).transpose()?;
    let bias = data.as_deref().zip(bias).map(|(data, bias)| AttentionBias {
        data,
        strides: broadcast_strides(bias.shape()),
    });
    run(&AttentionRule {
        scale,
        ranges: Some(ranges),
        bias,
        dropout,
    })
}

/// Attention over the rows' cached keys: no copy of the cache is made.
pub(super) fn cached(call: &Call, slots: &[Slot], ranges: &Ranges) -> Result<Tensor, TensorError> {
    let shape = DecodeShape {
        queries: call.tokens,
        heads: call.heads,
        kv_heads: slots.first().map_or(1, |slot| slot.kv_heads),
        head_dim: call.head_dim,
        block: BLOCK,
    };
    let rows: Vec<DecodeRow> = slots
        .iter()
        .zip(ranges.chunks_exact(call.tokens.max(1)))
        .map(|(slot, ranges)| {
            let blocks = match &slot.store {
                Store::Host(blocks) => blocks.as_slice(),
                Store::Device(_) => &[],
            };
            DecodeRow {
                k: blocks.iter().map(|block| block.k.as_slice()).collect(),
                v: blocks.iter().map(|block| block.v.as_slice()).collect(),
                ranges: ranges
                    .iter()
                    .map(|[start, end]| Range {
                        start: *start as usize,
                        end: *end as usize,
                    })
                    .collect(),
            }
        })
        .collect();
    let data = call.bias.map(raw::f32s).transpose()?;
    let bias = data
        .as_deref()
        .zip(call.bias)
        .map(|(data, bias)| AttentionBias {
            data,
            strides: broadcast_strides(bias.shape()),
        });
    let q = raw::f32s(call.q)?;
    let mut out = vec![0.0; q.len()];
    cpu::attention_decode(&shape, call.scale, bias, &q, &rows, &mut out);
    Ok(raw::from_vec(&call.q.dims(), out))
}

/// Row-major strides of a shape of at most four dimensions, aligned on the right; 0 where it is
/// broadcast.
fn broadcast_strides(shape: &[usize]) -> [usize; 4] {
    let mut strides = [0; 4];
    let mut stride = 1;
    for (dim, size) in shape.iter().enumerate().rev() {
        if *size != 1 {
            strides[4 - shape.len() + dim] = stride;
        }
        stride *= size;
    }
    strides
}
