//! Losses that are computed from logits without keeping probabilities.

use super::{
    math::{self, exp_negative},
    par,
    simd::{simd_fn, sum_of},
    softmax::logsumexp_row,
};

/// What a cross entropy is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Elements of a row of logits.
    pub classes: usize,
    /// Rows with this target do not count.
    pub ignore_index: i64,
    /// The share of the target that is spread over all classes, in [0, 1].
    pub label_smoothing: f32,
}

simd_fn! {
    fn mean(x: &[f32]) -> f32 {
        sum_of(x, |x| x) / x.len() as f32
    }
}

/// The loss of each row of logits [rows, classes] for targets [rows], 0 where the target is
/// ignored: lse − (1 − ε)·x[target] − ε·mean(x). `lse` [rows] is what [`cross_entropy_backward`]
/// needs, log Σ eˣ. Targets must be classes or `ignore_index` (see [`super::first_invalid`]).
pub fn cross_entropy(
    options: &CrossEntropy,
    logits: &[f32],
    targets: &[i64],
    losses: &mut [f32],
    lse: &mut [f32],
) {
    let classes = options.classes;
    assert!(logits.len() == targets.len() * classes);
    assert!(losses.len() == targets.len() && lse.len() == targets.len());
    let rows = par::rows_grain(targets.len(), classes, 4);
    par::chunks2((losses, rows), (lse, rows), |i, losses, lse| {
        for (row, (loss, lse)) in losses.iter_mut().zip(lse).enumerate() {
            let row = i * rows + row;
            let x = &logits[row * classes..][..classes];
            if targets[row] == options.ignore_index {
                (*loss, *lse) = (0.0, 0.0);
                continue;
            }
            *lse = logsumexp_row(x);
            let smoothing = options.label_smoothing;
            *loss = (1.0 - smoothing) * (*lse - x[targets[row] as usize]);
            if smoothing != 0.0 {
                *loss += smoothing * (*lse - mean(x));
            }
        }
    });
}

/// The gradient of the logits: dy · (softmax − (1 − ε)·[target] − ε/classes), 0 in ignored rows.
/// `dy` has one element for each row, or one for all (a mean: 1/counted rows).
pub fn cross_entropy_backward(
    options: &CrossEntropy,
    logits: &[f32],
    targets: &[i64],
    lse: &[f32],
    dy: &[f32],
    dlogits: &mut [f32],
) {
    simd_fn! {
        fn softmax_scaled(x: &[f32], lse: f32, dy: f32, shift: f32, dx: &mut [f32]) {
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = dy.mul_add(exp_negative(x - lse), shift);
            }
        }
    }
    let classes = options.classes;
    assert!(logits.len() == targets.len() * classes && dlogits.len() == logits.len());
    assert!(lse.len() == targets.len() && (dy.len() == targets.len() || dy.len() == 1));
    let rows = par::rows_grain(targets.len(), classes, 3);
    par::chunks(dlogits, rows * classes.max(1), |at, dlogits| {
        for (row, dx) in dlogits.chunks_exact_mut(classes).enumerate() {
            let row = at / classes + row;
            if targets[row] == options.ignore_index {
                dx.fill(0.0);
                continue;
            }
            let dy = if dy.len() == 1 { dy[0] } else { dy[row] };
            let smoothing = options.label_smoothing;
            let shift = -dy * smoothing / classes as f32;
            softmax_scaled(&logits[row * classes..][..classes], lse[row], dy, shift, dx);
            dx[targets[row] as usize] -= dy * (1.0 - smoothing);
        }
    });
}

/// −t·log σ(x) − (1 − t)·log(1 − σ(x)), element by element.
pub fn bce_with_logits(x: &[f32], targets: &[f32], losses: &mut [f32]) {
    simd_fn! {
        fn kernel(x: &[f32], targets: &[f32], losses: &mut [f32]) {
            for (loss, (x, t)) in losses.iter_mut().zip(x.iter().zip(targets)) {
                // log(1 + e) for e in (0, 1], by log1p's correction of the rounding of 1 + e.
                let e = exp_negative(-x.abs());
                let u = 1.0 + e;
                let d = u - 1.0;
                let log1p = if d == 0.0 { e } else { math::log(u) * (e / d) };
                let relu = if *x > 0.0 { *x } else { 0.0 };
                *loss = relu - x * t + log1p;
            }
        }
    }
    assert!(x.len() == losses.len() && targets.len() == losses.len());
    let grain = par::grain(losses.len(), 6);
    par::chunks(losses, grain, |at, losses| {
        let range = at..at + losses.len();
        kernel(&x[range.clone()], &targets[range], losses);
    });
}

/// The gradient of [`bce_with_logits`] for x: σ(x) − t, times dy (one for each element, or one for
/// all).
pub fn bce_with_logits_backward(x: &[f32], targets: &[f32], dy: &[f32], dx: &mut [f32]) {
    simd_fn! {
        fn kernel(x: &[f32], targets: &[f32], dx: &mut [f32]) {
            for (dx, (x, t)) in dx.iter_mut().zip(x.iter().zip(targets)) {
                *dx = math::sigmoid(*x) - t;
            }
        }
    }
    assert!(x.len() == dx.len() && targets.len() == dx.len());
    assert!(dy.len() == dx.len() || dy.len() == 1);
    let grain = par::grain(dx.len(), 4);
    par::chunks(dx, grain, |at, dx| {
        let range = at..at + dx.len();
        kernel(&x[range.clone()], &targets[range.clone()], dx);
        if dy.len() == 1 {
            dx.iter_mut().for_each(|dx| *dx *= dy[0]);
        } else {
            dx.iter_mut().zip(&dy[range]).for_each(|(dx, dy)| *dx *= dy);
        }
    });
}
