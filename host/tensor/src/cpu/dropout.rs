//! Dropout whose mask is a function of a key, so that nothing has to be kept for the gradient.

use super::{par, simd::simd_fn};
use crate::rng;

/// The factor of the element at `index`: 0 with probability p, else 1/(1 − p).
#[inline(always)]
pub(super) fn factor(key: u64, index: u64, p: f32, scale: f32) -> f32 {
    if rng::uniform_at(key, index) < p {
        0.0
    } else {
        scale
    }
}

/// 1/(1 − p); 0 for p = 1, where everything is dropped.
pub(super) fn keep_scale(p: f32) -> f32 {
    if p >= 1.0 { 0.0 } else { 1.0 / (1.0 - p) }
}

/// out = x/(1 − p) where the number at the element's index under `key` is at least p, else 0.
pub fn dropout(x: &[f32], p: f32, key: u64, out: &mut [f32]) {
    simd_fn! {
        fn kernel(x: &[f32], p: f32, scale: f32, key: u64, first: u64, out: &mut [f32]) {
            for (i, (out, x)) in out.iter_mut().zip(x).enumerate() {
                *out = x * factor(key, first + i as u64, p, scale);
            }
        }
    }
    assert_eq!(x.len(), out.len());
    let scale = keep_scale(p);
    let grain = par::grain(x.len(), 4);
    par::chunks(out, grain, |at, out| {
        kernel(&x[at..at + out.len()], p, scale, key, at as u64, out);
    });
}

/// The gradient of [`dropout`]: the same mask on dy.
pub fn dropout_backward(dy: &[f32], p: f32, key: u64, dx: &mut [f32]) {
    dropout(dy, p, key, dx);
}
