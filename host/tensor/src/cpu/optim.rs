//! Optimiser steps over one parameter, in one walk over memory.

use tenon_gpu::kernels::{AdamW, Lion, Sgd};

use super::{par, simd::simd_fn};

/// m = β₁m + (1−β₁)g; v = β₂v + (1−β₂)g²; p = keep·p − size·m/(√v·unroot + eps).
pub fn adamw(step: &AdamW, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
    simd_fn! {
        fn kernel(s: &AdamW, p: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32]) {
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

/// g += decay·p; velocity = momentum·velocity + rest·g; p −= lr·velocity. Without a velocity,
/// p −= lr·g.
pub fn sgd(step: &Sgd, p: &mut [f32], g: &[f32], velocity: Option<&mut [f32]>) {
    simd_fn! {
        fn plain(s: &Sgd, p: &mut [f32], g: &[f32]) {
            for (p, g) in p.iter_mut().zip(g) {
                let g = s.weight_decay.mul_add(*p, g * s.gradient_scale);
                *p = (-s.lr).mul_add(g, *p);
            }
        }
    }
    simd_fn! {
        fn with_velocity(s: &Sgd, ahead: f32, share: f32, p: &mut [f32], g: &[f32], v: &mut [f32]) {
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

/// p = keep·p − lr·sign(β₁m + (1−β₁)g); m = β₂m + (1−β₂)g.
pub fn lion(step: &Lion, p: &mut [f32], g: &[f32], m: &mut [f32]) {
    simd_fn! {
        fn kernel(s: &Lion, p: &mut [f32], g: &[f32], m: &mut [f32]) {
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
