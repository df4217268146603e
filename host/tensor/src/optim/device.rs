//! Updates as chains of tensor operations: for parameters on an accelerator, and for what is too
//! rarely used to have a kernel of its own.

use super::{
    config::{Adafactor, AdamW, Lion, Sgd},
    optimizer::Update,
};
use crate::{Tensor, TensorError};

/// The new value of a parameter; the moments are replaced.
pub(super) fn adamw(
    config: &AdamW,
    update: &Update,
    value: &Tensor,
    gradient: &Tensor,
    moments: &mut [Tensor],
) -> Result<Tensor, TensorError> {
    let [first, second] = moments else {
        return Ok(value.clone());
    };
    *first = first
        .mul_scalar(config.beta1)?
        .add(&gradient.mul_scalar(1.0 - config.beta1)?)?;
    let square = gradient.mul(gradient)?;
    *second = second
        .mul_scalar(config.beta2)?
        .add(&square.mul_scalar(1.0 - config.beta2)?)?;
    let (size, root) = config.corrections(update);
    let denominator = second
        .sqrt()?
        .mul_scalar(1.0 / root)?
        .add_scalar(config.eps)?;
    value
        .mul_scalar(1.0 - update.lr * update.decay)?
        .sub(&first.div(&denominator)?.mul_scalar(size)?)
}

/// The new value of a parameter; the velocity is replaced.
pub(super) fn sgd(
    config: &Sgd,
    update: &Update,
    value: &Tensor,
    gradient: &Tensor,
    moments: &mut [Tensor],
) -> Result<Tensor, TensorError> {
    let mut direction = gradient.add(&value.mul_scalar(update.decay)?)?;
    if let [velocity] = moments {
        *velocity = if update.step == 1 {
            direction.clone()
        } else {
            velocity
                .mul_scalar(config.momentum)?
                .add(&direction.mul_scalar(1.0 - config.dampening)?)?
        };
        direction = if config.nesterov {
            direction.add(&velocity.mul_scalar(config.momentum)?)?
        } else {
            velocity.clone()
        };
    }
    value.sub(&direction.mul_scalar(update.lr)?)
}

/// The new value of a parameter; the mean is replaced.
pub(super) fn lion(
    config: &Lion,
    update: &Update,
    value: &Tensor,
    gradient: &Tensor,
    moments: &mut [Tensor],
) -> Result<Tensor, TensorError> {
    let [mean] = moments else {
        return Ok(value.clone());
    };
    let moved = |beta: f64| {
        mean.mul_scalar(beta)?
            .add(&gradient.mul_scalar(1.0 - beta)?)
    };
    let (direction, next) = (moved(config.beta1)?.sign()?, moved(config.beta2)?);
    *mean = next;
    value
        .mul_scalar(1.0 - update.lr * update.decay)?
        .sub(&direction.mul_scalar(update.lr)?)
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
