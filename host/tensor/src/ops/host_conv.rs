//! Convolutions of float32 in main memory.

use super::{common::host, conv::Plan};
use crate::{
    Tensor, TensorError,
    cpu::{self, Conv2d},
    dims::Dims,
    raw,
    recycled::Buffer,
};

fn sizes(x: &Tensor, weight: &Tensor, plan: &Plan) -> Conv2d {
    let (x, weight) = (x.shape(), weight.shape());
    Conv2d {
        batch: x[0],
        channels: x[1],
        outputs: weight[0],
        groups: plan.groups,
        input: [x[2], x[3]],
        output: plan.out,
        kernel: [weight[2], weight[3]],
        stride: plan.stride,
        padding: plan.padding,
        dilation: plan.dilation,
    }
}

/// Nothing where there is no kernel for it.
pub(super) fn forward(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    plan: &Plan,
    shape: Dims,
) -> Result<Option<Tensor>, TensorError> {
    if !raw::is_host_f32(x) {
        return Ok(None);
    }
    let conv = sizes(x, weight, plan);
    if !conv.is_addressable() {
        return Err(TensorError::InvalidArgument(format!(
            "conv: a sample of {:?}, or its result, has more than 2³¹ elements with its padding; \
             cut it into parts",
            x.shape()
        )));
    }
    let (x, weight) = (raw::f32s(x)?, raw::f32s(weight)?);
    let bias = bias.map(raw::f32s).transpose()?;
    Ok(Some(host(shape, |out| {
        cpu::conv2d(&conv, &x, &weight, bias.as_deref(), out)
    })))
}

/// The gradients of x and weight that are wanted, for float32 in main memory.
pub(super) fn backward(
    x: &Tensor,
    weight: &Tensor,
    grad: &Tensor,
    plan: &Plan,
    wants: (bool, bool),
) -> Result<(Option<Tensor>, Option<Tensor>), TensorError> {
    let conv = sizes(x, weight, plan);
    let (v, w, dy) = (raw::f32s(x)?, raw::f32s(weight)?, raw::f32s(grad)?);
    let space = |wanted: bool, like: &Tensor| wanted.then(|| Buffer::take(like.numel()));
    let (mut dx, mut dw) = (space(wants.0, x), space(wants.1, weight));
    cpu::conv2d_backward(&conv, &v, &w, &dy, dx.as_deref_mut(), dw.as_deref_mut());
    Ok((
        dx.map(|values| raw::from_buffer(&x.dims(), values)),
        dw.map(|values| raw::from_buffer(&weight.dims(), values)),
    ))
}
