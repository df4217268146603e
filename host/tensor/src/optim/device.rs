//! Updates of parameters on a GPU, and by chains of operations what is too rarely used to have a kernel.

use tenon_gpu::kernels::{self, Kernel};

use super::{
    config::{Adafactor, AdamW, Lion, Sgd},
    optimizer::Update,
};
use crate::{Tensor, TensorError, gpu};

/// The new value of a parameter; the moments are replaced.
pub(super) fn adamw(
    config: &AdamW,
    update: &Update,
    value: &Tensor,
    gradient: &Tensor,
    moments: &mut [Tensor],
) -> Result<Tensor, TensorError> {
    let step = config.step(update);
    let kernel = kernels::AdamW {
        beta1: step.beta1,
        beta2: step.beta2,
        rest1: step.rest1,
        rest2: step.rest2,
        eps: step.eps,
        keep: step.keep,
        size: step.size,
        unroot: step.unroot,
        gradient_scale: step.gradient_scale,
    };
    stepped(kernel, value, gradient, moments)
}

/// The new value of a parameter; the velocity is replaced.
pub(super) fn sgd(
    config: &Sgd,
    update: &Update,
    value: &Tensor,
    gradient: &Tensor,
    moments: &mut [Tensor],
) -> Result<Tensor, TensorError> {
    let step = config.step(update);
    let kernel = kernels::Sgd {
        lr: step.lr,
        weight_decay: step.weight_decay,
        momentum: step.momentum,
        rest: step.rest,
        ahead: step.ahead,
        gradient_scale: step.gradient_scale,
    };
    stepped(kernel, value, gradient, moments)
}

/// The new value of a parameter; the mean is replaced.
pub(super) fn lion(
    config: &Lion,
    update: &Update,
    value: &Tensor,
    gradient: &Tensor,
    moments: &mut [Tensor],
) -> Result<Tensor, TensorError> {
    let step = config.step(update);
    let kernel = kernels::Lion {
        beta1: step.beta1,
        rest1: step.rest1,
        beta2: step.beta2,
        rest2: step.rest2,
        keep: step.keep,
        lr: step.lr,
        gradient_scale: step.gradient_scale,
    };
    stepped(kernel, value, gradient, moments)
}

/// Runs the kernel of a step, which gives the parameter and its moments.
fn stepped(
    kernel: impl Kernel,
    value: &Tensor,
    gradient: &Tensor,
    moments: &mut [Tensor],
) -> Result<Tensor, TensorError> {
    if value.numel() == 0 {
        return Ok(value.clone());
    }
    let inputs: Vec<&Tensor> = [value, gradient].into_iter().chain(&*moments).collect();
    let results = gpu::run_all("optimizer", &inputs, kernel)?;
    let mut results = results
        .into_iter()
        .map(|result| value.like(result, value.dims()));
    let new = results.next();
    for (moment, result) in moments.iter_mut().zip(results) {
        *moment = result;
    }
    new.ok_or_else(|| TensorError::Failed("optimizer: the kernel gave nothing".to_owned()))
}

/// The new value of a parameter; its second moments are replaced.
pub(super) fn adafactor(
    config: &Adafactor,
    update: &Update,
    value: &Tensor,
    gradient: &Tensor,
    moments: &mut [Tensor],
) -> Result<Tensor, TensorError> {
    // Σ x² / n, as a scalar that stays on the device.
    let mean_square = |x: &Tensor| x.mul(x)?.mean(&[], false);
    let steps = update.step as f64;
    let rest = steps.powf(config.beta2_decay);
    let rate = update.lr.min(1.0 / steps.sqrt());
    let size = mean_square(value)?.sqrt()?.clamp(Some(config.eps2), None)?;
    let square = gradient.mul(gradient)?;
    let moved =
        |old: &Tensor, new: &Tensor| old.mul_scalar(1.0 - rest)?.add(&new.mul_scalar(rest)?);
    let variance = match moments {
        [rows, columns] => {
            *rows = moved(rows, &square.mean(&[-1], true)?)?;
            *columns = moved(columns, &square.mean(&[-2], true)?)?;
            let all = rows.mean(&[-2], true)?.clamp(Some(config.eps1), None)?;
            rows.mul(columns)?.div(&all)?
        }
        [variance] => {
            *variance = moved(variance, &square)?;
            variance.clone()
        }
        _ => return Ok(value.clone()),
    };
    let least = config.eps1 * config.eps1;
    let direction = gradient.mul(&variance.clamp(Some(least), None)?.rsqrt()?)?;
    let longer = mean_square(&direction)?
        .sqrt()?
        .mul_scalar(1.0 / config.clip)?
        .clamp(Some(1.0), None)?;
    value
        .mul_scalar(1.0 - update.lr * update.decay)?
        .sub(&direction.mul(&size.mul_scalar(rate)?.div(&longer)?)?)
}
