//! Settings turned into the numbers of a step, which are the same for the processor and for GPUs.

use tenon_gpu::kernels;

use super::{
    config::{AdamW, Lion, Sgd},
    optimizer::Update,
};

impl AdamW {
    pub(super) fn step(&self, update: &Update) -> kernels::AdamW {
        let step = i32::try_from(update.step).unwrap_or(i32::MAX);
        // What the biased moments are set right with.
        let first = 1.0 - self.beta1.powi(step);
        let second = 1.0 - self.beta2.powi(step);
        kernels::AdamW {
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            rest1: (1.0 - self.beta1) as f32,
            rest2: (1.0 - self.beta2) as f32,
            eps: self.eps as f32,
            keep: (1.0 - update.lr * update.decay) as f32,
            size: (update.lr / first) as f32,
            unroot: (1.0 / second.sqrt()) as f32,
            gradient_scale: update.gradient_scale as f32,
        }
    }
}

impl Sgd {
    pub(super) fn step(&self, update: &Update) -> kernels::Sgd {
        // The first gradient is the velocity, whatever the dampening.
        let (momentum, rest) = if update.step == 1 {
            (0.0, 1.0)
        } else {
            (self.momentum, 1.0 - self.dampening)
        };
        kernels::Sgd {
            lr: update.lr as f32,
            weight_decay: update.decay as f32,
            momentum: momentum as f32,
            rest: rest as f32,
            ahead: self.nesterov.then_some(self.momentum as f32),
            has_velocity: self.momentum != 0.0,
            gradient_scale: update.gradient_scale as f32,
        }
    }
}

impl Lion {
    pub(super) fn step(&self, update: &Update) -> kernels::Lion {
        kernels::Lion {
            beta1: self.beta1 as f32,
            rest1: (1.0 - self.beta1) as f32,
            beta2: self.beta2 as f32,
            rest2: (1.0 - self.beta2) as f32,
            keep: (1.0 - update.lr * update.decay) as f32,
            lr: update.lr as f32,
            gradient_scale: update.gradient_scale as f32,
        }
    }
}
