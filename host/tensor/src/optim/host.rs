//! Updates in host memory.

use super::{config::OptimizerConfig, optimizer::Update};
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

/// Steps a parameter and its moments where they are.
pub(super) fn step(
    config: &OptimizerConfig,
    update: &Update,
    value: &mut Tensor,
    gradient: &Tensor,
    moments: &mut [Vec<f32>],
) -> Result<(), TensorError> {
    let gradient = raw::f32s(gradient)?;
    with_values(value, |values| match (config, moments) {
        (OptimizerConfig::Adamw(config), [first, second]) => {
            cpu::adamw(&config.step(update), values, &gradient, first, second);
        }
        (OptimizerConfig::Sgd(config), moments) => {
            let velocity = moments.first_mut().map(Vec::as_mut_slice);
            cpu::sgd(&config.step(update), values, &gradient, velocity);
        }
        (OptimizerConfig::Lion(config), [mean]) => {
            cpu::lion(&config.step(update), values, &gradient, mean);
        }
        // Each has as many as it keeps, and Adafactor is never in host memory.
        _ => {}
    })
}
