//! Updates as chains of tensor operations, for parameters on an accelerator.

use super::{
    config::{AdamW, Sgd},
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
