//! Attention as a chain of tensor operations: for every device and type that has no kernel of its
//! own, and for biases that need a gradient.

use super::{
    attention::Call,
    cache::{Slot, Store},
    mask::{self, MaskKey, Ranges},
    pass::{Memo, Stage},
};
use crate::{
    DType, Tensor, TensorError,
    ops::{AttentionRule, attention, has_ranges},
};

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
    if has_ranges(call.q, call.bias) {
        let memo = Memo::Ranges(key.clone());
        let ranges = call.pass.memo(memo, || on_device(call, ranges))?;
        return attend(call, k, v, call.bias, Some(&ranges));
    }
    let mask = call
        .pass
        .memo(Memo::Additive(key.clone()), || additive(call, keys, ranges))?;
    let out = attend(call, k, v, Some(&with_mask(call, &mask)?), None)?;
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
    if has_ranges(call.q, call.bias) {
        return attend(call, &k, &v, call.bias, Some(&on_device(call, ranges)?));
    }
    let mask = additive(call, keys, ranges)?;
    let bias = with_mask(call, &mask)?;
    attend(call, &k, &v, Some(&bias), None)?.masked_fill(&blind(call, ranges)?, 0.0)
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

/// The ranges as kernels take them, (int) [batch, queries, 2].
fn on_device(call: &Call, ranges: &Ranges) -> Result<Tensor, TensorError> {
    let ends: Vec<i64> = ranges.iter().flatten().map(|end| i64::from(*end)).collect();
    Tensor::from_i64(&[call.batch, call.tokens, 2], &ends, call.pass.device())
}

/// The mask and the bias in one.
fn with_mask(call: &Call, mask: &Tensor) -> Result<Tensor, TensorError> {
    let mask = match call.q.dtype() {
        DType::F32 => mask.clone(),
        // Half precision has no -1e9; minus infinity would give NaN where nothing is seen.
        DType::F16 => mask.clamp(Some(-3e4), None)?.cast(DType::F16)?,
        other => mask.cast(other)?,
    };
    match call.bias {
        Some(bias) => bias.add(&mask),
        None => Ok(mask),
    }
}

fn attend(
    call: &Call,
    k: &Tensor,
    v: &Tensor,
    bias: Option<&Tensor>,
    ranges: Option<&Tensor>,
) -> Result<Tensor, TensorError> {
    if k.shape()[1] == 0 {
        return Tensor::zeros(call.q.shape(), call.q.dtype(), &call.q.device());
    }
    let p = match call.pass.stage() {
        Stage::Train => call.options.dropout,
        _ => 0.0,
    };
    if p == 0.0 && ranges.is_none() {
        let scale = Some(call.scale);
        return Tensor::scaled_dot_product_attention(call.q, k, v, bias, scale);
    }
    let rule = AttentionRule {
        bias,
        ranges,
        scale: call.scale,
    };
    attention(call.q, k, v, rule, &|weights| match p {
        0.0 => Ok(weights),
        p => call.pass.dropout(&weights, p),
    })
}
