//! Attention of float32 in main memory, which never holds all scores.

use super::common::{expanded, host};
use crate::{
    Tensor, TensorError,
    cpu::{
        self, AttentionBias, AttentionGradients, AttentionRule, AttentionShape, Heads, HeadsMut,
    },
    dims::Dims,
    raw,
    tape::{again, record_again},
};

/// Nothing where there is no kernel for it, and for biases that need a gradient.
pub(super) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    bias: Option<&Tensor>,
    scale: f32,
) -> Result<Option<Tensor>, TensorError> {
    let (&[batch, queries, heads, head_dim], &[_, keys, kv_heads, _]) = (q.shape(), k.shape())
    else {
        return Ok(None);
    };
    if !raw::is_host_f32(q) || bias.is_some_and(Tensor::is_tracked) {
        return Ok(None);
    }
    let shape = AttentionShape {
        batch,
        queries,
        keys,
        heads,
        kv_heads,
        head_dim,
    };
    let given = bias;
    let full = Dims::from_slice(&[batch, heads, queries, keys]).unwrap_or(Dims::new());
    let bias = bias.map(|bias| expanded(bias, full)).transpose()?;
    let mut lse = vec![0.0; batch * heads * queries];
    let out = {
        let views = (raw::heads(q)?, raw::heads(k)?, raw::heads(v)?);
        let rule = rule(scale, bias.as_ref());
        host(q.dims(), |out| {
            let (q, k, v) = (views.0.view(), views.1.view(), views.2.view());
            let out = HeadsMut::contiguous(out, queries, heads, head_dim);
            cpu::attention(&shape, &rule, q, k, v, out, &mut lse);
        })
    };
    let lse = {
        let dims = Dims::from_slice(&[lse.len()]).unwrap_or(Dims::new());
        raw::from_vec(&dims, lse)
    };
    let saved = |out: &Tensor| {
        let mut saved = vec![q.clone(), k.clone(), v.clone(), out.clone(), lse];
        saved.extend(bias);
        saved
    };
    record_again(
        "scaled_dot_product_attention",
        out,
        &[q, k, v],
        saved,
        move |context| {
            let [q, k, v, out, lse, bias @ ..] = &context.saved[..] else {
                return Ok(Vec::new());
            };
            let views = (raw::heads(q)?, raw::heads(k)?, raw::heads(v)?);
            let (out, lse) = (raw::f32s(out)?, raw::f32s(lse)?);
            let dout = raw::heads(&context.grad)?;
            let space = |like: &Tensor| vec![0.0; like.numel()];
            let (mut dq, mut dk, mut dv) = (space(q), space(k), space(v));
            cpu::attention_backward(
                &shape,
                &rule(scale, bias.first()),
                views.0.view(),
                views.1.view(),
                views.2.view(),
                Heads::contiguous(&out, queries, heads, head_dim),
                &lse,
                dout.view(),
                AttentionGradients {
                    q: HeadsMut::contiguous(&mut dq, queries, heads, head_dim),
                    k: HeadsMut::contiguous(&mut dk, keys, kv_heads, head_dim),
                    v: HeadsMut::contiguous(&mut dv, keys, kv_heads, head_dim),
                },
            );
            Ok([(dq, q), (dk, k), (dv, v)]
                .into_iter()
                .map(|(values, like)| Some(raw::from_vec(&like.dims(), values)))
                .collect())
        },
        || {
            let others: &[&Tensor] = &given.into_iter().collect::<Vec<_>>();
            again(others, move |x, bias| {
                x[0].scaled_dot_product_attention(&x[1], &x[2], bias.first(), Some(scale))
            })
        },
    )
    .map(Some)
}

/// The rule of an attention whose bias was broadcast to [batch, heads, queries, keys].
fn rule(scale: f32, bias: Option<&Tensor>) -> AttentionRule<'_> {
    let bias = bias.and_then(raw::strided).map(|bias| AttentionBias {
        data: &bias.data[bias.offset..],
        strides: [0, 1, 2, 3].map(|axis| bias.strides[axis].unsigned_abs()),
    });
    AttentionRule {
        scale,
        ranges: None,
        bias,
        dropout: None,
    }
}
