//! Optimiser steps over one parameter, in one walk over memory.

use super::{par, simd::simd_fn};

/// The numbers of an AdamW step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// 1 − beta1, rounded once from the exact difference.
    pub rest1: f32,
    /// 1 − beta2.
    pub rest2: f32,
    /// Added to the root.
    pub eps: f32,
    /// What is left of the parameter after weight decay: 1 − lr·decay.
    pub keep: f32,
    /// lr / (1 − beta1ᵗ).
    pub size: f32,
    /// 1/√(1 − beta2ᵗ).
    pub unroot: f32,
    /// What gradients are multiplied by (clipping, unscaling).
    pub gradient_scale: f32,
}

/// m = β₁m + (1−β₁)g; v = β₂v + (1−β₂)g²; p = keep·p − size·m/(√v·unroot + eps).
pub fn adamw(step: &AdamWStep, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    simd_fn! {
        fn kernel(s: &AdamWStep, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
            let moments = m.iter_mut().zip(v);
            for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(moments) {
                let g = g * s.gradient_scale;
                *m = s.beta1.mul_add(*m, s.rest1 * g);
                *v = s.beta2.mul_add(*v, s.rest2 * g * g);
                let root = v.sqrt().mul_add(s.unroot, s.eps);
                *p = s.keep.mul_add(*p, -(s.size * *m / root));
            }
        }
    }
    assert!(g.len() == p.len() && m.len() == p.len() && v.len() == p.len());
    let grain = par::grain(p.len(), 2);
    par::chunks3((p, grain), (m, grain), (v, grain), |i, p, m, v| {
        kernel(step, p, &g[i * grain..][..p.len()], m, v);
    });
}

/// The numbers of an SGD step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f32,
    /// Added to the gradient: decay · p.
    pub weight_decay: f32,
    /// Decay of the velocity; 0 in the first step, whose gradient is the velocity.
    pub momentum: f32,
    /// The gradient's share in the velocity: 1 − dampening; 1 in the first step.
    pub rest: f32,
    /// The velocity's share in the direction of Nesterov's form, which is g + ahead·velocity.
    pub ahead: Option<f32>,
    /// What gradients are multiplied by.
    pub gradient_scale: f32,
}

/// g += decay·p; velocity = momentum·velocity + rest·g; p −= lr·velocity. Without a velocity,
/// p −= lr·g.
pub fn sgd(step: &SgdStep, p: &mut [f32], g: &[f32], velocity: Option<&mut [f32]>) {
    simd_fn! {
        fn plain(s: &SgdStep, p: &mut [f32], g: &[f32]) {
            for (p, g) in p.iter_mut().zip(g) {
                let g = s.weight_decay.mul_add(*p, g * s.gradient_scale);
                *p = (-s.lr).mul_add(g, *p);
            }
        }
    }
    simd_fn! {
        fn with_velocity(s: &SgdStep, ahead: f32, share: f32, p: &mut [f32], g: &[f32], v: &mut [f32]) {
            for ((p, g), v) in p.iter_mut().zip(g).zip(v) {
                let g = s.weight_decay.mul_add(*p, g * s.gradient_scale);
                *v = s.momentum.mul_add(*v, s.rest * g);
                let direction = ahead.mul_add(*v, share * g);
                *p = (-s.lr).mul_add(direction, *p);
            }
        }
    }
    assert_eq!(g.len(), p.len());
    let grain = par::grain(p.len(), 1);
    match velocity {
        None => par::chunks(p, grain, |at, p| plain(step, p, &g[at..at + p.len()])),
        Some(velocity) => {
            assert_eq!(velocity.len(), p.len());
            let (ahead, share) = step.ahead.map_or((1.0, 0.0), |ahead| (ahead, 1.0));
            par::chunks2((p, grain), (velocity, grain), |i, p, v| {
                with_velocity(step, ahead, share, p, &g[i * grain..][..p.len()], v);
            });
        }
    }
}

/// The numbers of a Lion step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LionStep {
    /// The mean's share in the direction.
    pub beta1: f32,
    /// 1 − beta1.
    pub rest1: f32,
    /// Decay of the mean.
    pub beta2: f32,
    /// 1 − beta2.
    pub rest2: f32,
    /// What is left of the parameter after weight decay: 1 − lr·decay.
    pub keep: f32,
    /// Learning rate.
    pub lr: f32,
    /// What gradients are multiplied by.
    pub gradient_scale: f32,
}

/// p = keep·p − lr·sign(β₁m + (1−β₁)g); m = β₂m + (1−β₂)g.
pub fn lion(step: &LionStep, p: &mut [f32], g: &[f32], m: &mut [f32]) {
    simd_fn! {
        fn kernel(s: &LionStep, p: &mut [f32], g: &[f32], m: &mut [f32]) {
            for ((p, g), m) in p.iter_mut().zip(g).zip(m) {
                let g = g * s.gradient_scale;
                let direction = s.beta1.mul_add(*m, s.rest1 * g);
                // Not `signum`, which is 1 for 0.
                let sign = f32::from(direction > 0.0) - f32::from(direction < 0.0);
                *m = s.beta2.mul_add(*m, s.rest2 * g);
                *p = s.keep.mul_add(*p, -(s.lr * sign));
            }
        }
    }
    assert!(g.len() == p.len() && m.len() == p.len());
    let grain = par::grain(p.len(), 2);
    par::chunks2((p, grain), (m, grain), |i, p, m| {
        kernel(step, p, &g[i * grain..][..p.len()], m);
    });
}

/// Σ x², in double precision: for clipping by the global norm.
pub fn square_sum(x: &[f32]) -> f64 {
    simd_fn! {
        fn part(x: &[f32]) -> f64 {
            let mut lanes = [0.0_f64; 16];
            let (chunks, tail) = x.as_chunks::<16>();
            for chunk in chunks {
                for i in 0..16 {
                    let x = f64::from(chunk[i]);
                    lanes[i] = x.mul_add(x, lanes[i]);
                }
            }
            for (lane, x) in lanes.iter_mut().zip(tail) {
                *lane += f64::from(*x) * f64::from(*x);
            }
            lanes.iter().sum()
        }
    }
    par::collect(x.len(), par::FIXED, |range| part(&x[range]))
        .iter()
        .sum()
}
