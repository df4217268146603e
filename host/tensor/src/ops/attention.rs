//! Attention with an explicit bias.

use super::common::{broadcast, permuted};
use crate::{
    DType, Tensor, TensorError, gpu,
    tape::{again, autocast, record_again},
};

const WHAT: &str = "scaled_dot_product_attention";

impl Tensor {
    /// softmax(q·kᵀ·scale + bias)·v: self is q [batch, tokens, heads, head-dim]; k, v [batch, keys,
    /// kv-heads, head-dim], where kv-heads divides heads; `bias` broadcasts to [batch, heads, tokens,
    /// keys]. `scale` is 1/√head-dim if not given.
    ///
    /// # Errors
    /// `ShapeMismatch` unless the shapes fit; `InvalidArgument` unless all are floating-point, of one
    /// type and device.
    pub fn scaled_dot_product_attention(
        &self,
        k: &Tensor,
        v: &Tensor,
        bias: Option<&Tensor>,
        scale: Option<f32>,
    ) -> Result<Tensor, TensorError> {
        self.need_float(WHAT)?;
        for other in [Some(k), Some(v), bias].into_iter().flatten() {
            self.need_same(WHAT, other)?;
        }
        let mismatch = |why: &str| {
            TensorError::ShapeMismatch(format!(
                "{WHAT}: q {:?}, k {:?}, v {:?}: {why}",
                self.shape(),
                k.shape(),
                v.shape()
            ))
        };
        let (&[batch, tokens, heads, dim], &[kb, keys, kv_heads, kd]) = (self.shape(), k.shape())
        else {
            return Err(mismatch("[batch, tokens, heads, head-dim] is needed"));
        };
        if (kb, kd) != (batch, dim) || v.shape() != k.shape() {
            return Err(mismatch(
                "batch and head-dim must be equal, and k and v of one shape",
            ));
        }
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(mismatch("the key heads must divide the query heads"));
        }
        if let Some(bias) = bias {
            let full = [batch, heads, tokens, keys];
            if bias.rank() > 4 || *broadcast(WHAT, bias.shape(), &full)? != full {
                return Err(TensorError::ShapeMismatch(format!(
                    "{WHAT}: the bias {:?} does not broadcast to [batch, heads, tokens, keys] = \
                     {full:?}",
                    bias.shape()
                )));
            }
        }
        let scale = scale.unwrap_or_else(|| 1.0 / (dim.max(1) as f32).sqrt());
        if self.numel() == 0 || keys == 0 {
            return Tensor::zeros(self.shape(), self.dtype(), &self.device());
        }
        if self.is_half() && self.device().is_cpu() {
            // No processor here multiplies halves faster than what they are converted to.
            let wide = |x: &Tensor| x.cast(DType::F32);
            let bias = bias.map(wide).transpose()?;
            return wide(self)?
                .scaled_dot_product_attention(&wide(k)?, &wide(v)?, bias.as_ref(), Some(scale))?
                .cast(self.dtype());
        }
        if let Some(out) = super::host_attention::attention(self, k, v, bias, scale)? {
            return Ok(out);
        }
        let rule = Rule {
            bias,
            ranges: None,
            scale,
        };
        composed(self, k, v, rule, &|weights| Ok(weights))
    }
}

/// What becomes of scores before the softmax.
#[derive(Clone, Copy)]
pub(crate) struct Rule<'a> {
    /// Added; broadcasts to [batch, heads, tokens, keys].
    pub bias: Option<&'a Tensor>,
    /// The keys that each token sees, (int) [batch, tokens, 2]; only where [`has_ranges`] says so.
    pub ranges: Option<&'a Tensor>,
    /// What scores are multiplied by.
    pub scale: f32,
}

/// Whether ranges of keys can be given instead of a mask.
pub(crate) fn has_ranges(q: &Tensor, bias: Option<&Tensor>) -> bool {
    gpu::has_floats(q) && bias.is_none_or(|bias| !bias.is_tracked())
}

/// By recorded operations, which also give the bias its gradient. `dropout` is applied to the weights.
pub(crate) fn composed(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rule: Rule<'_>,
    dropout: &dyn Fn(Tensor) -> Result<Tensor, TensorError>,
) -> Result<Tensor, TensorError> {
    let dtype = match autocast([q, k]) {
        // All of it: the scores are most of the memory that moves.
        Some(dtype) if has_ranges(q, rule.bias) => dtype,
        _ => q.dtype(),
    };
    let (q, rule) = if dtype == DType::F16 && q.dtype() != dtype {
        // Scores of float16 may overflow unless the scale goes to q.
        let q = q.mul_scalar(f64::from(rule.scale))?;
        (q, Rule { scale: 1.0, ..rule })
    } else {
        (q.clone(), rule)
    };
    let given = q.dtype();
    let (q, k, v) = (swapped(&q, dtype)?, swapped(k, dtype)?, swapped(v, dtype)?);
    swapped(&by_heads(&q, &k, &v, rule, dropout)?, given)
}

/// Dimensions 1 and 2 exchanged, in `dtype`. On a GPU in memory too, except for a single row, whose heads
/// products can read as they are: one copy does both, and each product would make its own.
fn swapped(x: &Tensor, dtype: DType) -> Result<Tensor, TensorError> {
    let swap = |x: &Tensor, dtype: DType| -> Result<Tensor, TensorError> {
        let view = permuted(x, &[0, 2, 1, 3])?;
        match dtype == x.dtype() {
            true if view.shape()[0] > 1 => gpu::in_order(&view),
            true => Ok(view),
            false => view.cast(dtype),
        }
    };
    let out = record_again(
        "permute",
        swap(x, dtype)?,
        &[x],
        |_| Vec::new(),
        move |context| Ok(vec![Some(swap(&context.grad, context.taken(0))?)]),
        || again(&[], move |x, _| swapped(&x[0], dtype)),
    )?;
    // The gradient becomes what x is.
    Ok(out.takes_gradient_in(x.is_half().then(|| x.dtype())))
}

/// The same for tensors whose heads come before their tokens.
fn by_heads(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    rule: Rule<'_>,
    dropout: &dyn Fn(Tensor) -> Result<Tensor, TensorError>,
) -> Result<Tensor, TensorError> {
    let heads = q.shape()[1];
    let (k, v) = (repeated(k, heads)?, repeated(v, heads)?);
    dropout(weights(q, &k, rule)?)?.matmul(&v)
}

/// softmax(q·kᵀ·scale + bias) of q [batch, heads, tokens, dim] and k [batch, heads, keys, dim].
fn weights(q: &Tensor, k: &Tensor, rule: Rule<'_>) -> Result<Tensor, TensorError> {
    let Rule {
        bias,
        ranges,
        scale,
    } = rule;
    let by_kernel = has_ranges(q, bias);
    if by_kernel && q.dtype() != DType::F16 && autocast([q, k]).is_none() {
        return q.matmul_turned(k)?.attention_weights(bias, ranges, scale);
    }
    let q = if scale == 1.0 {
        q.clone()
    } else {
        q.mul_scalar(f64::from(scale))?
    };
    let mut scores = q.matmul_turned(k)?;
    if by_kernel {
        return scores.attention_weights(bias, ranges, 1.0);
    }
    if let Some(bias) = bias {
        scores = scores.add(bias)?;
    }
    scores.softmax(-1)
}

/// [batch, kv-heads, keys, dim] → [batch, heads, keys, dim]: each key head serves a group of heads.
fn repeated(x: &Tensor, heads: usize) -> Result<Tensor, TensorError> {
    let [batch, kv_heads, keys, dim] = [0, 1, 2, 3].map(|axis| x.shape()[axis] as i64);
    let group = heads as i64 / kv_heads;
    if group == 1 {
        return Ok(x.clone());
    }
    x.unsqueeze(2)?
        .expand(&[batch, kv_heads, group, keys, dim])?
        .reshape(&[batch, heads as i64, keys, dim])
}
