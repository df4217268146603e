//! Layers of networks over images and signals.

use super::Scope;
use crate::{
    ConvOptions, Tensor, TensorError,
    params::{Fans, Init},
};

/// Options of [`Scope::conv`].
#[derive(Clone, Debug, PartialEq)]
pub struct ConvLayerOptions {
    /// Of the convolution itself.
    pub conv: ConvOptions,
    /// Whether there is a `NAME.bias`.
    pub bias: bool,
    /// Initial weight.
    pub weight_init: Init,
    /// Initial bias.
    pub bias_init: Init,
}

impl ConvLayerOptions {
    /// PyTorch's defaults around a convolution.
    pub fn new(conv: ConvOptions) -> Self {
        Self {
            conv,
            bias: true,
            weight_init: Init::Kaiming,
            bias_init: Init::Kaiming,
        }
    }
}

impl Scope {
    /// `NAME.weight` [out, in / groups, kernel...], `NAME.bias`. x [batch, in, length] or
    /// [batch, in, height, width].
    ///
    /// # Errors
    /// `ShapeMismatch` when the rank of x and the kernel do not fit; as the convolution.
    pub fn conv(
        &self,
        name: &str,
        x: &Tensor,
        out: usize,
        kernel: &[usize],
        options: &ConvLayerOptions,
    ) -> Result<Tensor, TensorError> {
        let shape = x.shape();
        if !(1..=2).contains(&kernel.len()) || shape.len() != kernel.len() + 2 {
            return Err(TensorError::ShapeMismatch(format!(
                "conv `{}`: input {shape:?} with kernel {kernel:?}; a kernel of n dimensions (1 or 2) \
                 needs an input [batch, channels, and n more]",
                self.full(name)
            )));
        }
        let groups = options.conv.groups.max(1);
        if !shape[1].is_multiple_of(groups) {
            return Err(TensorError::InvalidArgument(format!(
                "conv `{}`: {} input channels cannot be split into {groups} groups",
                self.full(name),
                shape[1]
            )));
        }
        let mut weight_shape = vec![out, shape[1] / groups];
        weight_shape.extend_from_slice(kernel);
        let fans = Fans::of(&weight_shape);
        let here = self.child(name);
        let weight = here.obtain("weight", &weight_shape, options.weight_init, fans)?;
        let bias = options
            .bias
            .then(|| here.obtain("bias", &[out], options.bias_init, fans))
            .transpose()?;
        here.seen(match kernel.len() {
            1 => x.conv1d(&weight, bias.as_ref(), &options.conv)?,
            _ => x.conv2d(&weight, bias.as_ref(), &options.conv)?,
        })
    }

    /// x [batch, channels, ...]; `NAME.weight`, `.bias`, `.running_mean`, `.running_var`. Batch
    /// statistics in training (the running ones move towards them by `momentum`), running ones
    /// otherwise.
    ///
    /// # Errors
    /// `ShapeMismatch` for x of less than two dimensions; `InvalidArgument` in training when there
    /// is only one value for each channel.
    pub fn batch_norm(
        &self,
        name: &str,
        x: &Tensor,
        momentum: f32,
        eps: f32,
    ) -> Result<Tensor, TensorError> {
        let shape = x.shape();
        if shape.len() < 2 {
            return Err(TensorError::ShapeMismatch(format!(
                "batch-norm `{}`: input {shape:?}, but [batch, channels, ...] is needed",
                self.full(name)
            )));
        }
        let channels = shape[1];
        let here = self.child(name);
        let weight = here.obtain("weight", &[channels], Init::Ones, None)?;
        let bias = here.obtain("bias", &[channels], Init::Zeros, None)?;
        let running_mean = here.buffer("running_mean", &[channels], Init::Zeros)?;
        let running_var = here.buffer("running_var", &[channels], Init::Ones)?;
        if !self.is_training() {
            return here.seen(x.channels_scaled(
                &running_mean,
                &running_var,
                (&weight, &bias),
                eps,
            )?);
        }
        let count = x.numel() / channels.max(1);
        if count < 2 {
            return Err(TensorError::InvalidArgument(format!(
                "batch-norm `{}`: {count} value for each channel in a training pass; at least 2 \
                 are needed, so use a larger batch",
                self.full(name)
            )));
        }
        let (y, [mean, variance]) = x.batch_norm(&weight, &bias, eps)?;
        let unbiased = count as f64 / (count - 1) as f64;
        let moved = |old: &Tensor, new: &Tensor, factor: f64| {
            let momentum = f64::from(momentum);
            old.mul_scalar(1.0 - momentum)?
                .add(&new.mul_scalar(momentum * factor)?)
        };
        here.set_buffer("running_mean", &moved(&running_mean, &mean, 1.0)?)?;
        here.set_buffer("running_var", &moved(&running_var, &variance, unbiased)?)?;
        here.seen(y)
    }
}
