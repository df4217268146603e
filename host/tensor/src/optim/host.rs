//! Updates in host memory.

use super::{
    config::{AdamW, Lion, Sgd},
    optimizer::Update,
};
use crate::{Tensor, TensorError, cpu, raw};

/// Changes the numbers of a tensor, where they are if nothing else holds them.
pub(super) fn with_values(
    tensor: &mut Tensor,
    change: impl FnOnce(&mut [f32]),
) -> Result<(), TensorError> {
    if let Some(values) = raw::f32s_mut(tensor) {
        change(values);
        return Ok(());
    }
    let mut values = raw::f32s(tensor)?.to_vec();
    change(&mut values);
    *tensor = raw::from_vec(&tensor.dims(), values);
    Ok(())
}

pub(super) fn adamw(
    config: &AdamW,
    update: &Update,
    values: &mut [f32],
    gradient: &[f32],
    moments: &mut [Vec<f32>],
) {
    let [first, second] = moments else { return };
    cpu::adamw(&config.step(update), values, gradient, first, second);
}

pub(super) fn sgd(
    config: &Sgd,
    update: &Update,
    values: &mut [f32],
    gradient: &[f32],
    moments: &mut [Vec<f32>],
) {
    cpu::sgd(
        &config.step(update),
        values,
        gradient,
        moments.first_mut().map(Vec::as_mut_slice),
    );
}

pub(super) fn lion(
    config: &Lion,
    update: &Update,
    values: &mut [f32],
    gradient: &[f32],
    moments: &mut [Vec<f32>],
) {
    let [mean] = moments else { return };
    cpu::lion(&config.step(update), values, gradient, mean);
}
