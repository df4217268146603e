//! Arithmetic of two arrays of one shape, or of an array with a scalar, a row or a column.

use super::{par, simd::simd_fn};

/// What to do with two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// a + b.
    Add,
    /// a − b.
    Sub,
    /// a · b.
    Mul,
    /// a / b.
    Div,
    /// The larger; NaN if either is.
    Max,
    /// The smaller; NaN if either is.
    Min,
}

#[inline(always)]
fn maximum(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

#[inline(always)]
fn minimum(a: f32, b: f32) -> f32 {
    if a < b || a.is_nan() { a } else { b }
}

/// Runs a loop once for each operation, so that the choice is made outside of it.
macro_rules! for_op {
    ($op:expr, |$f:ident| $body:expr) => {
        match $op {
            BinaryOp::Add => {
                let $f = |a: f32, b: f32| a + b;
                $body
            }
            BinaryOp::Sub => {
                let $f = |a: f32, b: f32| a - b;
                $body
            }
            BinaryOp::Mul => {
                let $f = |a: f32, b: f32| a * b;
                $body
            }
            BinaryOp::Div => {
                let $f = |a: f32, b: f32| a / b;
                $body
            }
            BinaryOp::Max => {
                let $f = |a: f32, b: f32| maximum(a, b);
                $body
            }
            BinaryOp::Min => {
                let $f = |a: f32, b: f32| minimum(a, b);
                $body
            }
        }
    };
}

simd_fn! {
    fn arrays(op: BinaryOp, a: &[f32], b: &[f32], out: &mut [f32]) {
        for_op!(op, |f| {
            for (out, (a, b)) in out.iter_mut().zip(a.iter().zip(b)) {
                *out = f(*a, *b);
            }
        });
    }
}

simd_fn! {
    fn with_scalar(op: BinaryOp, a: &[f32], b: f32, out: &mut [f32]) {
        for_op!(op, |f| {
            for (out, a) in out.iter_mut().zip(a) {
                *out = f(*a, b);
            }
        });
    }
}

/// out = a op b, all of one length.
pub fn binary(op: BinaryOp, a: &[f32], b: &[f32], out: &mut [f32]) {
    assert!(a.len() == out.len() && b.len() == out.len());
    let grain = par::grain(out.len(), 1);
    par::chunks(out, grain, |at, out| {
        let range = at..at + out.len();
        arrays(op, &a[range.clone()], &b[range], out);
    });
}

/// out = a op b for a single b.
pub fn binary_scalar(op: BinaryOp, a: &[f32], b: f32, out: &mut [f32]) {
    assert_eq!(a.len(), out.len());
    let grain = par::grain(out.len(), 1);
    par::chunks(out, grain, |at, out| {
        with_scalar(op, &a[at..at + out.len()], b, out)
    });
}

/// out = a op b for a [rows, cols] and b [cols].
pub fn binary_rows(op: BinaryOp, a: &[f32], b: &[f32], out: &mut [f32]) {
    assert!(a.len() == out.len() && (out.is_empty() || out.len().is_multiple_of(b.len())));
    let cols = b.len().max(1);
    let rows = par::rows_grain(out.len() / cols, cols, 1);
    par::chunks(out, rows * cols, |at, out| {
        let a = &a[at..at + out.len()];
        for (a, out) in a.chunks_exact(cols).zip(out.chunks_exact_mut(cols)) {
            arrays(op, a, b, out);
        }
    });
}

/// out = a op b for a [rows, cols] and b [rows].
pub fn binary_columns(op: BinaryOp, a: &[f32], b: &[f32], out: &mut [f32]) {
    assert!(a.len() == out.len() && (out.is_empty() || out.len().is_multiple_of(b.len())));
    let cols = (out.len() / b.len().max(1)).max(1);
    let rows = par::rows_grain(b.len(), cols, 1);
    par::chunks(out, rows * cols, |at, out| {
        let a = &a[at..at + out.len()];
        let rows = a.chunks_exact(cols).zip(out.chunks_exact_mut(cols));
        for ((a, out), b) in rows.zip(&b[at / cols..]) {
            with_scalar(op, a, *b, out);
        }
    });
}

/// y += x: gradients that come together.
pub fn add_assign(y: &mut [f32], x: &[f32]) {
    simd_fn! {
        fn kernel(y: &mut [f32], x: &[f32]) {
            for (y, x) in y.iter_mut().zip(x) {
                *y += x;
            }
        }
    }
    assert_eq!(y.len(), x.len());
    let grain = par::grain(y.len(), 1);
    par::chunks(y, grain, |at, y| kernel(y, &x[at..at + y.len()]));
}

/// y += alpha · x.
pub fn axpy(y: &mut [f32], alpha: f32, x: &[f32]) {
    simd_fn! {
        fn kernel(y: &mut [f32], alpha: f32, x: &[f32]) {
            for (y, x) in y.iter_mut().zip(x) {
                *y = alpha.mul_add(*x, *y);
            }
        }
    }
    assert_eq!(y.len(), x.len());
    let grain = par::grain(y.len(), 1);
    par::chunks(y, grain, |at, y| kernel(y, alpha, &x[at..at + y.len()]));
}

/// y *= alpha.
pub fn scale_assign(y: &mut [f32], alpha: f32) {
    simd_fn! {
        fn kernel(y: &mut [f32], alpha: f32) {
            for y in y {
                *y *= alpha;
            }
        }
    }
    let grain = par::grain(y.len(), 1);
    par::chunks(y, grain, |_, y| kernel(y, alpha));
}
