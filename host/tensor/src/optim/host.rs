//! Updates in host memory: settings turned into the numbers of the kernels.

use super::{
    config::{AdamW, Lion, Sgd},
    optimizer::Update,
};
use crate::{
    Tensor, TensorError,
    cpu::{self, AdamWStep, LionStep, SgdStep},
    raw,
};

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
    let (size, root) = config.corrections(update);
    let step = AdamWStep {
        beta1: config.beta1 as f32,
        beta2: config.beta2 as f32,
        rest1: (1.0 - config.beta1) as f32,
        rest2: (1.0 - config.beta2) as f32,
        eps: config.eps as f32,
        keep: (1.0 - update.lr * update.decay) as f32,
        size: size as f32,
        unroot: (1.0 / root) as f32,
        gradient_scale: update.gradient_scale as f32,
    };
    cpu::adamw(&step, values, gradient, first, second);
}

pub(super) fn sgd(
    config: &Sgd,
    update: &Update,
    values: &mut [f32],
    gradient: &[f32],
    moments: &mut [Vec<f32>],
) {
    // The first gradient is the velocity, whatever the dampening.
    let (momentum, rest) = if update.step == 1 {
        (0.0, 1.0)
    } else {
        (config.momentum, 1.0 - config.dampening)
    };
    let step = SgdStep {
        lr: update.lr as f32,
        weight_decay: update.decay as f32,
        momentum: momentum as f32,
        rest: rest as f32,
        ahead: config.nesterov.then_some(config.momentum as f32),
        gradient_scale: update.gradient_scale as f32,
    };
    cpu::sgd(
        &step,
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
    let step = LionStep {
        beta1: config.beta1 as f32,
        rest1: (1.0 - config.beta1) as f32,
        beta2: config.beta2 as f32,
        rest2: (1.0 - config.beta2) as f32,
        keep: (1.0 - update.lr * update.decay) as f32,
        lr: update.lr as f32,
        gradient_scale: update.gradient_scale as f32,
    };
    cpu::lion(&step, values, gradient, mean);
}
