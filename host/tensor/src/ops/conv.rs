//! Convolutions.

use burn_backend::ops::{ConvOptions as BurnOptions, ModuleOps};

use super::{
    ConvOptions,
    common::{need_shape, reshaped, sum_over_places},
};
use crate::{
    DType, Tensor, TensorError, raw,
    tape::{again, autocast, record_again},
    value::on,
};

/// Sizes of a checked convolution over two spatial dimensions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
    /// Height and width of the output.
    pub out: [usize; 2],
}

impl Plan {
    fn options(&self) -> BurnOptions<2> {
        BurnOptions::new(self.stride, self.padding, self.dilation, self.groups)
    }
}

impl Tensor {
    /// self [batch, in, length]; weight [out, in / groups, kernel]; bias [out].
    ///
    /// # Errors
    /// As [`Self::conv2d`].
    pub fn conv1d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: &ConvOptions,
    ) -> Result<Tensor, TensorError> {
        if let Some(dtype) = autocast([self, weight]) {
            let bias = bias.map(|bias| bias.cast(dtype)).transpose()?;
            return self
                .cast(dtype)?
                .conv1d(&weight.cast(dtype)?, bias.as_ref(), options)?
                .cast(DType::F32);
        }
        let plan = plan("conv1d", self, weight, bias, options, 1)?;
        let flat = |x: &Tensor| x.unsqueeze(2);
        convolve(&flat(self)?, &flat(weight)?, bias, plan)?.squeeze(2)
    }

    /// self [batch, in, height, width]; weight [out, in / groups, kernel height, kernel width]; bias
    /// [out].
    ///
    /// # Errors
    /// `ShapeMismatch` unless the shapes fit; `InvalidArgument` for options that do not have one
    /// entry for each spatial dimension, strides or dilations of 0, groups that do not divide the
    /// channels, and tensors that are not floating-point, of one type and device.
    pub fn conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: &ConvOptions,
    ) -> Result<Tensor, TensorError> {
        if let Some(dtype) = autocast([self, weight]) {
            let bias = bias.map(|bias| bias.cast(dtype)).transpose()?;
            return self
                .cast(dtype)?
                .conv2d(&weight.cast(dtype)?, bias.as_ref(), options)?
                .cast(DType::F32);
        }
        let plan = plan("conv2d", self, weight, bias, options, 2)?;
        convolve(self, weight, bias, plan)
    }
}

/// The smallest number of positions that a kernel spans; nothing when it overflows.
pub(super) fn span(kernel: usize, dilation: usize) -> Option<usize> {
    kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)
}

/// How many times a window of `span` fits.
pub(super) fn positions(size: usize, padding: usize, span: usize, stride: usize) -> Option<usize> {
    let padded = size.checked_add(padding.checked_mul(2)?)?;
    Some(padded.checked_sub(span)? / stride + 1)
}

fn plan(
    what: &'static str,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions,
    spatial: usize,
) -> Result<Plan, TensorError> {
    let invalid = |why: String| TensorError::InvalidArgument(format!("{what}: {why}"));
    let mismatch = |why: String| {
        TensorError::ShapeMismatch(format!(
            "{what}: x {:?} and weight {:?}: {why}",
            x.shape(),
            weight.shape()
        ))
    };
    x.need_float(what)?;
    x.need_same(what, weight)?;
    if x.rank() != spatial + 2 || weight.rank() != spatial + 2 {
        return Err(mismatch(format!("both need {} dimensions", spatial + 2)));
    }
    let groups = options.groups;
    let settings = [&options.stride, &options.padding, &options.dilation];
    if settings.iter().any(|setting| setting.len() != spatial) {
        return Err(invalid(format!(
            "stride {:?}, padding {:?} and dilation {:?} need one entry for each of the {spatial} \
             spatial dimensions",
            options.stride, options.padding, options.dilation
        )));
    }
    if groups == 0 || options.stride.contains(&0) || options.dilation.contains(&0) {
        return Err(invalid(
            "stride, dilation and groups must be at least 1".into(),
        ));
    }
    let (channels, outputs) = (x.shape()[1], weight.shape()[0]);
    if !channels.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
        return Err(invalid(format!(
            "{groups} groups do not divide {channels} input and {outputs} output channels"
        )));
    }
    if weight.shape()[1] != channels / groups {
        return Err(mismatch(format!(
            "the weight's second dimension must be {channels} channels / {groups} groups = {}",
            channels / groups
        )));
    }
    if let Some(bias) = bias {
        x.need_same(what, bias)?;
        need_shape(what, "the bias", bias, &[outputs])?;
    }
    let mut plan = Plan {
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        groups,
        out: [1, 1],
    };
    let skip = 2 - spatial;
    for index in 0..spatial {
        let (size, kernel) = (x.shape()[index + 2], weight.shape()[index + 2]);
        let (stride, padding) = (options.stride[index], options.padding[index]);
        let dilation = options.dilation[index];
        let out = span(kernel, dilation)
            .and_then(|span| positions(size, padding, span, stride))
            .ok_or_else(|| {
                mismatch(format!(
                    "a kernel of {kernel} with dilation {dilation} does not fit into {size} with \
                     padding {padding}"
                ))
            })?;
        plan.stride[index + skip] = stride;
        plan.padding[index + skip] = padding;
        plan.dilation[index + skip] = dilation;
        plan.out[index + skip] = out;
    }
    Ok(plan)
}

/// A convolution over two spatial dimensions, recorded.
fn convolve(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    plan: Plan,
) -> Result<Tensor, TensorError> {
    let outputs = weight.shape()[0];
    let mut shape = x.dims().replaced(1, outputs);
    (shape[2], shape[3]) = (plan.out[0], plan.out[1]);
    crate::tensor::check_shape("conv", &shape, 4)?;
    let empty = x.numel() == 0 || weight.numel() == 0 || shape.numel() == 0;
    let out = if empty {
        let zeros = Tensor::zeros(&shape, x.dtype(), &x.device())?;
        match bias {
            Some(bias) => {
                let column = bias.dims().with(1, 1).with(2, 1);
                zeros.add(&reshaped(bias, column)?)?
            }
            None => zeros,
        }
    } else if let Some(out) = super::host_conv::forward(x, weight, bias, &plan, shape)? {
        out
    } else {
        let options = plan.options();
        let (v, w) = (x.value(), weight.value());
        let out = match bias.map(Tensor::value) {
            None => on!("conv", |v, w| B => B::conv2d(v, w, None, options)),
            Some(b) => on!("conv", |v, w, b| B => B::conv2d(v, w, Some(b), options)),
        }?;
        x.like(out, shape)
    };
    let saved = |_: &Tensor| vec![x.clone(), weight.clone()];
    let backward = move |context: crate::tape::Backward<'_>| {
        let (x, weight, g) = (&context.saved[0], &context.saved[1], &context.grad);
        let for_bias = context.when(2, || sum_over_places(g))?;
        let wants = (context.wants(0), context.wants(1));
        if empty {
            let zeros = super::common::zeros_like;
            return Ok(vec![Some(zeros(x)?), Some(zeros(weight)?), for_bias]);
        }
        if raw::is_host_f32(g) {
            let (for_x, for_weight) = super::host_conv::backward(x, weight, g, &plan, wants)?;
            return Ok(vec![for_x, for_weight, for_bias]);
        }
        let gradient = |first: bool| -> Result<Tensor, TensorError> {
            let (v, w, dy) = (x.value(), weight.value(), g.value());
            let options = plan.options();
            let (like, out) = if first {
                (
                    x,
                    on!("conv", |v, w, dy| B => B::conv2d_x_backward(v, w, dy, options))?,
                )
            } else {
                (
                    weight,
                    on!("conv", |v, w, dy| B => B::conv2d_weight_backward(v, w, dy, options))?,
                )
            };
            Ok(like.like(out, like.dims()))
        };
        Ok(vec![
            wants.0.then(|| gradient(true)).transpose()?,
            wants.1.then(|| gradient(false)).transpose()?,
            for_bias,
        ])
    };
    match bias {
        Some(bias) => record_again("conv", out, &[x, weight, bias], saved, backward, || {
            again(&[], move |x, _| convolve(&x[0], &x[1], x.get(2), plan))
        }),
        None => record_again("conv", out, &[x, weight], saved, backward, || {
            again(&[], move |x, _| convolve(&x[0], &x[1], None, plan))
        }),
    }
}
