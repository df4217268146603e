//! Softmax and its logarithm over rows.

use super::{
    math::exp_negative,
    par,
    simd::{LANES, dot, fold_sum, max_of, simd_fn, sum_of},
};

/// Writes e^(x − largest) and returns the sum.
#[inline(always)]
pub(super) fn exp_sum(x: &[f32], largest: f32, out: &mut [f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (x_chunks, x_tail) = x.as_chunks::<LANES>();
    let (out_chunks, out_tail) = out.as_chunks_mut::<LANES>();
    for (x, out) in x_chunks.iter().zip(out_chunks) {
        for i in 0..LANES {
            let e = exp_negative(x[i] - largest);
            out[i] = e;
            lanes[i] += e;
        }
    }
    for (lane, (x, out)) in lanes.iter_mut().zip(x_tail.iter().zip(out_tail)) {
        let e = exp_negative(*x - largest);
        *out = e;
        *lane += e;
    }
    fold_sum(&lanes)
}

/// The sum of e^(x − largest).
#[inline(always)]
pub(super) fn sum_exp(x: &[f32], largest: f32) -> f32 {
    sum_of(x, |x| exp_negative(x - largest))
}

fn rows(
    cost: usize,
    x: &[f32],
    cols: usize,
    out: &mut [f32],
    each: impl Fn(&[f32], &mut [f32]) + Sync + Send,
) {
    assert!(x.len() == out.len() && (x.is_empty() || x.len().is_multiple_of(cols)));
    let cols = cols.max(1);
    let rows = par::rows_grain(x.len() / cols, cols, cost);
    par::chunks(out, rows * cols, |at, out| {
        let x = &x[at..at + out.len()];
        for (x, out) in x.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
            each(x, out);
        }
    });
}

/// Softmax over the last dimension of x [rows, cols]. A row of −∞ gives NaN, as in PyTorch.
pub fn softmax(x: &[f32], cols: usize, out: &mut [f32]) {
    simd_fn! {
        fn row(x: &[f32], out: &mut [f32]) {
            let sum = exp_sum(x, max_of(x), out);
            let factor = 1.0 / sum;
            for out in out {
                *out *= factor;
            }
        }
    }
    rows(5, x, cols, out, row);
}

/// The gradient of [`softmax`] from its output y: dx = y · (dy − Σ y·dy).
pub fn softmax_backward(y: &[f32], dy: &[f32], cols: usize, dx: &mut [f32]) {
    simd_fn! {
        fn row(y: &[f32], dy: &[f32], dx: &mut [f32]) {
            let mean = dot(y, dy);
            for (dx, (y, dy)) in dx.iter_mut().zip(y.iter().zip(dy)) {
                *dx = y * (dy - mean);
            }
        }
    }
    rows_backward(2, y, dy, cols, dx, row);
}

/// The logarithm of [`softmax`].
pub fn log_softmax(x: &[f32], cols: usize, out: &mut [f32]) {
    simd_fn! {
        fn row(x: &[f32], out: &mut [f32]) {
            let largest = max_of(x);
            let log_sum = sum_exp(x, largest).ln();
            for (out, x) in out.iter_mut().zip(x) {
                *out = (x - largest) - log_sum;
            }
        }
    }
    rows(5, x, cols, out, row);
}

/// The gradient of [`log_softmax`] from its output y: dx = dy − eʸ · Σ dy.
pub fn log_softmax_backward(y: &[f32], dy: &[f32], cols: usize, dx: &mut [f32]) {
    simd_fn! {
        fn row(y: &[f32], dy: &[f32], dx: &mut [f32]) {
            let sum = sum_of(dy, |x| x);
            for (dx, (y, dy)) in dx.iter_mut().zip(y.iter().zip(dy)) {
                *dx = dy - exp_negative(*y) * sum;
            }
        }
    }
    rows_backward(4, y, dy, cols, dx, row);
}

/// log Σ eˣ over the last dimension: x [rows, cols] → out [rows].
pub fn logsumexp(x: &[f32], cols: usize, out: &mut [f32]) {
    assert_eq!(x.len(), out.len() * cols);
    let rows = par::rows_grain(out.len(), cols, 4);
    par::chunks(out, rows, |first, out| {
        for (row, out) in out.iter_mut().enumerate() {
            *out = logsumexp_row(&x[(first + row) * cols..][..cols]);
        }
    });
}

simd_fn! {
    /// log Σ eˣ; an infinite largest element is the result.
    pub(super) fn logsumexp_row(x: &[f32]) -> f32 {
        let largest = max_of(x);
        if largest.is_infinite() {
            // NaN next to an infinity still gives NaN.
            return if x.iter().any(|x| x.is_nan()) { f32::NAN } else { largest };
        }
        largest + sum_exp(x, largest).ln()
    }
}

/// The gradient of [`logsumexp`] from its input and output: dx = dy · e^(x − y).
pub fn logsumexp_backward(x: &[f32], y: &[f32], dy: &[f32], cols: usize, dx: &mut [f32]) {
    simd_fn! {
        fn row(x: &[f32], y: f32, dy: f32, dx: &mut [f32]) {
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = dy * exp_negative(x - y);
            }
        }
    }
    assert!(x.len() == dx.len() && x.len() == y.len() * cols && y.len() == dy.len());
    let cols = cols.max(1);
    let rows = par::rows_grain(y.len(), cols, 4);
    par::chunks(dx, rows * cols, |at, dx| {
        for (i, dx) in dx.chunks_exact_mut(cols).enumerate() {
            let at = at / cols + i;
            row(&x[at * cols..][..cols], y[at], dy[at], dx);
        }
    });
}

fn rows_backward(
    cost: usize,
    y: &[f32],
    dy: &[f32],
    cols: usize,
    dx: &mut [f32],
    each: impl Fn(&[f32], &[f32], &mut [f32]) + Sync + Send,
) {
    assert!(y.len() == dx.len() && dy.len() == dx.len());
    let cols = cols.max(1);
    let rows = par::rows_grain(dx.len() / cols, cols, cost);
    par::chunks(dx, rows * cols, |at, dx| {
        let range = at..at + dx.len();
        let (y, dy) = (&y[range.clone()], &dy[range]);
        let inputs = y.chunks_exact(cols).zip(dy.chunks_exact(cols));
        for ((y, dy), dx) in inputs.zip(dx.chunks_exact_mut(cols)) {
            each(y, dy, dx);
        }
    });
}
