//! Sums and extremes.

use super::{
    par,
    simd::{LANES, max_of, simd_fn, sum_of},
};

simd_fn! {
    /// The sum of one part, short enough for single precision.
    fn sum_part(x: &[f32]) -> f32 {
        sum_of(x, |x| x)
    }
}

/// The sum of all elements.
pub fn sum(x: &[f32]) -> f64 {
    let parts = par::collect(x.len(), par::FIXED, |range| {
        // Parts of parts, so that rounding errors do not grow with the length.
        x[range]
            .chunks(4096)
            .map(|x| f64::from(sum_part(x)))
            .sum::<f64>()
    });
    parts.iter().sum()
}

/// Sums over the last dimension: x [rows, cols] → out [rows].
pub fn sum_last(x: &[f32], cols: usize, out: &mut [f32]) {
    each_row(x, cols, out, sum_row);
}

/// Means over the last dimension: x [rows, cols] → out [rows].
pub fn mean_last(x: &[f32], cols: usize, out: &mut [f32]) {
    each_row(x, cols, out, |x| sum_row(x) / x.len() as f32);
}

fn sum_row(x: &[f32]) -> f32 {
    if x.len() <= 4096 {
        sum_part(x)
    } else {
        x.chunks(4096).map(|x| f64::from(sum_part(x))).sum::<f64>() as f32
    }
}

/// The largest over the last dimension, NaN where there is one: x [rows, cols] → out [rows].
pub fn max_last(x: &[f32], cols: usize, out: &mut [f32]) {
    each_row(x, cols, out, max_row);
}

simd_fn! {
    fn max_row(x: &[f32]) -> f32 {
        let (largest, nan) = (max_of(x), sum_of(x, |x| if x.is_nan() { 1.0 } else { 0.0 }));
        if nan > 0.0 { f32::NAN } else { largest }
    }
}

/// The smallest over the last dimension, NaN where there is one: x [rows, cols] → out [rows].
pub fn min_last(x: &[f32], cols: usize, out: &mut [f32]) {
    simd_fn! {
        fn row(x: &[f32]) -> f32 {
            let mut lanes = [f32::INFINITY; LANES];
            let mut nan = [false; LANES];
            for chunk in x.chunks(LANES) {
                for (i, x) in chunk.iter().enumerate() {
                    lanes[i] = if *x < lanes[i] { *x } else { lanes[i] };
                    nan[i] |= x.is_nan();
                }
            }
            if nan.contains(&true) {
                return f32::NAN;
            }
            lanes.iter().fold(f32::INFINITY, |a, b| a.min(*b))
        }
    }
    each_row(x, cols, out, row);
}

/// Where the largest of the last dimension is (the first of equals; the first NaN if there is one):
/// x [rows, cols] → out [rows].
pub fn argmax_last(x: &[f32], cols: usize, out: &mut [i64]) {
    assert_eq!(x.len(), out.len() * cols);
    let rows = par::rows_grain(out.len(), cols, 2);
    par::chunks(out, rows, |first, out| {
        for (row, out) in out.iter_mut().enumerate() {
            let x = &x[(first + row) * cols..][..cols];
            let largest = max_row(x);
            let at = if largest.is_nan() {
                x.iter().position(|x| x.is_nan())
            } else {
                x.iter().position(|x| *x == largest)
            };
            *out = at.unwrap_or(0) as i64;
        }
    });
}

fn each_row(x: &[f32], cols: usize, out: &mut [f32], value: impl Fn(&[f32]) -> f32 + Sync + Send) {
    assert_eq!(x.len(), out.len() * cols);
    let rows = par::rows_grain(out.len(), cols, 1);
    par::chunks(out, rows, |first, out| {
        for (row, out) in out.iter_mut().enumerate() {
            *out = value(&x[(first + row) * cols..][..cols]);
        }
    });
}

/// Columns that one task of [`sum_rows`] sums: few enough for the first-level cache.
const COLUMNS: usize = 256;
/// Rows that are added before they are added to the others, so that rounding errors grow slowly.
const ROWS: usize = 64;

/// Sums over the first dimension, the gradient of a bias: x [rows, cols] → out [cols].
pub fn sum_rows(x: &[f32], cols: usize, out: &mut [f32]) {
    simd_fn! {
        fn add(sums: &mut [f32], x: &[f32]) {
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum += x;
            }
        }
    }
    assert!(out.len() == cols && (cols == 0 || x.len().is_multiple_of(cols)));
    // Narrow matrices are shared by columns too: every column is summed by one task.
    let width = if cols >= 4 * COLUMNS { COLUMNS } else { 64 };
    let width = if x.len() < par::FIXED { cols } else { width };
    par::chunks(out, width, |first, out| {
        out.fill(0.0);
        let mut block = [0.0_f32; COLUMNS];
        for (at, out) in out.chunks_mut(COLUMNS).enumerate() {
            let first = first + at * COLUMNS;
            let block = &mut block[..out.len()];
            for rows in x.chunks(ROWS * cols) {
                block.fill(0.0);
                for row in rows.chunks_exact(cols) {
                    add(block, &row[first..first + block.len()]);
                }
                add(out, block);
            }
        }
    });
}
