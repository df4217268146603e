//! Attention as a chain of tensor operations: for every device and type that has no kernel of its
//! own, and for biases that need a gradient.

use super::{
    attention::Call,
    cache::{Slot, Store},
    mask::{self, MaskKey, Ranges},
    pass::{Memo, Stage},
};
use crate::{DType, Tensor, TensorError, ops::attention_weights};

/// Attention over k and v as they were given. `padded`: whether there are queries without keys.
pub(super) fn masked(
    call: &Call,
    k: &Tensor,
    v: &Tensor,
    key: &MaskKey,
    ranges: &Ranges,
    padded: bool,
) -> Result<Tensor, TensorError> {
    let keys = k.shape()[1];
    let mask = call
        .pass
        .memo(Memo::Additive(key.clone()), || additive(call, keys, ranges))?;
    let out = attend(call, k, v, &mask)?;
    if !padded {
        return Ok(out);
    }
    let blind = call
        .pass
        .memo(Memo::Blind(key.clone()), || blind(call, ranges))?;
    out.masked_fill(&blind, 0.0)
}

/// Attention over caches that live on the device: the rows' keys are padded to the longest.
pub(super) fn cached(
    call: &Call,
    slots: &[Slot],
    keys: usize,
    ranges: &Ranges,
) -> Result<Tensor, TensorError> {
    let padded = |second: bool| -> Result<Tensor, TensorError> {
        let rows: Vec<Tensor> = slots
            .iter()
            .map(|slot| {
                let shape = [keys, slot.kv_heads, slot.head_dim];
                match &slot.store {
                    Store::Device(Some(values)) => {
                        let x = if second { &values.1 } else { &values.0 };
                        x.pad(&[(0, keys - slot.len), (0, 0), (0, 0)], 0.0)
                    }
                    _ => Tensor::zeros(&shape, call.q.dtype(), call.pass.device()),
                }
            })
            .collect::<Result<_, _>>()?;
        Tensor::stack(&rows.iter().collect::<Vec<_>>(), 0)
    };
    let (k, v) = (padded(false)?, padded(true)?);
    let mask = additive(call, keys, ranges)?;
    attend(call, &k, &v, &mask)?.masked_fill(&blind(call, ranges)?, 0.0)
}

/// The mask that is added to the scores, [batch, 1, queries, keys].
fn additive(call: &Call, keys: usize, ranges: &Ranges) -> Result<Tensor, TensorError> {
    let shape = [call.batch, 1, call.tokens, keys];
    Tensor::from_f32(&shape, &mask::additive(ranges, keys), call.pass.device())
}

/// Which queries see no key, boolean [batch, queries, 1, 1].
fn blind(call: &Call, ranges: &Ranges) -> Result<Tensor, TensorError> {
    let shape = [call.batch, call.tokens, 1, 1];
    Tensor::from_bytes(
        &shape,
        DType::Bool,
        &mask::blind(ranges),
        call.pass.device(),
    )
}

fn attend(call: &Call, k: &Tensor, v: &Tensor, mask: &Tensor) -> Result<Tensor, TensorError> {
    let mask = match call.q.dtype() {
        DType::F32 => mask.clone(),
        // Half precision has no -1e9; minus infinity would give NaN where nothing is seen.
        DType::F16 => mask.clamp(Some(-3e4), None)?.cast(DType::F16)?,
        other => mask.cast(other)?,
    };
    let bias = match call.bias {
        Some(bias) => bias.add(&mask)?,
        None => mask,
    };
    if call.pass.stage() != Stage::Train || call.options.dropout == 0.0 {
        let scale = Some(call.scale);
        return Tensor::scaled_dot_product_attention(call.q, k, v, Some(&bias), scale);
    }
    let heads_first = |x: &Tensor| x.permute(&[0, 2, 1, 3]);
    let q = heads_first(call.q)?;
    let k = repeat_heads(&heads_first(k)?, call.heads)?;
    let v = repeat_heads(&heads_first(v)?, call.heads)?;
    let weights = attention_weights(&q, &k, Some(&bias), call.scale)?;
    let weights = call.pass.dropout(&weights, call.options.dropout)?;
    heads_first(&weights.matmul(&v)?)
}

/// [batch, kv-heads, keys, dim] → [batch, heads, keys, dim]: each key head serves a group of heads.
fn repeat_heads(x: &Tensor, heads: usize) -> Result<Tensor, TensorError> {
    let [batch, kv_heads, keys, dim] = [0, 1, 2, 3].map(|i| x.shape()[i] as i64);
    let group = heads as i64 / kv_heads;
    if group == 1 {
        return Ok(x.clone());
    }
    x.unsqueeze(2)?
        .expand(&[batch, kv_heads, group, keys, dim])?
        .reshape(&[batch, heads as i64, keys, dim])
}
