//! Products with few rows: every element of b is used so rarely that copying it would cost more than
//! it saves.

use super::{Product, Start};
use crate::cpu::{
    par,
    simd::{dot, simd_fn},
};

/// Rows up to which a product is thin.
const ROWS: usize = 6;
/// Columns of b that are summed up together where its rows are contiguous.
const COLUMNS: usize = 64;

/// Whether the product should go here.
pub(super) fn suits(p: &Product) -> bool {
    p.m <= ROWS && p.a.col_stride == 1 && (p.b.row_stride == 1 || p.b.col_stride == 1)
}

simd_fn! {
    /// Dot products of `a` with each of four rows.
    fn dots(a: &[f32], b: [&[f32]; 4]) -> [f32; 4] {
        let mut lanes = [[0.0_f32; 16]; 4];
        let b = b.map(|b| &b[..a.len()]);
        let chunks = a.len() / 16;
        for chunk in 0..chunks {
            let a = &a[chunk * 16..][..16];
            for j in 0..4 {
                let b = &b[j][chunk * 16..][..16];
                for i in 0..16 {
                    lanes[j][i] = a[i].mul_add(b[i], lanes[j][i]);
                }
            }
        }
        let tail = chunks * 16..a.len();
        let mut out = [0.0; 4];
        for j in 0..4 {
            for (lane, i) in tail.clone().enumerate() {
                lanes[j][lane] = a[i].mul_add(b[j][i], lanes[j][lane]);
            }
            let mut width = 8;
            while width > 0 {
                for i in 0..width {
                    lanes[j][i] += lanes[j][i + width];
                }
                width /= 2;
            }
            out[j] = lanes[j][0];
        }
        out
    }
}

simd_fn! {
    fn one_dot(a: &[f32], b: &[f32]) -> f32 {
        dot(a, b)
    }
}

simd_fn! {
    /// sums += Σ a[p] · b[p] for rows of b `stride` apart.
    fn add_rows(a: &[f32], b: &[f32], stride: usize, sums: &mut [f32; COLUMNS]) {
        let mut local = *sums;
        for (p, a) in a.iter().enumerate() {
            let b = &b[p * stride..][..COLUMNS];
            for i in 0..COLUMNS {
                local[i] = a.mul_add(b[i], local[i]);
            }
        }
        *sums = local;
    }
}

/// Where c is, for tasks that write different columns of it.
#[derive(Clone, Copy)]
struct Output(*mut f32);

// SAFETY: it is only a place; tasks write to different columns (see `run`).
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// Sets the element at `at` to alpha · sum + start.
    ///
    /// # Safety
    /// `at` is an element of c that no other task has.
    unsafe fn set(self, p: &Product, at: usize, column: usize, sum: f32) {
        // SAFETY: the caller's promise.
        let c = unsafe { &mut *self.0.add(at) };
        *c = match p.start {
            Start::Scaled(0.0) => p.alpha * sum,
            Start::Scaled(beta) => p.alpha.mul_add(sum, beta * *c),
            Start::Bias(bias) => p.alpha.mul_add(sum, bias[column]),
        };
    }
}

/// Computes the product, on several threads if it is `shared`.
pub(super) fn run(product: &Product, c: &mut [f32], shared: bool) {
    let p = product;
    let output = Output(c.as_mut_ptr());
    let by_rows = p.b.col_stride == 1 && p.b.row_stride != 1;
    let task = |columns: std::ops::Range<usize>| {
        for i in 0..p.m {
            let a = &p.a.data[i * p.a.row_stride..][..p.k];
            let write = |j: usize, sum: f32| {
                // SAFETY: row i and column j are within c, which `Product` was checked for, and
                // each column belongs to one task.
                unsafe { output.set(p, i * p.c_stride + j, j, sum) };
            };
            if by_rows {
                wide(p, a, columns.clone(), write);
            } else {
                narrow(p, a, columns.clone(), write);
            }
        }
    };
    let grain = if shared {
        par::rows_grain(p.n, p.k, 1).next_multiple_of(COLUMNS)
    } else {
        p.n
    };
    par::tasks(p.n.div_ceil(grain), |at| {
        task(at * grain..((at + 1) * grain).min(p.n))
    });
}

/// b is [k, n]: a row of c is a sum of rows of b.
fn wide(
    p: &Product,
    a: &[f32],
    columns: std::ops::Range<usize>,
    mut write: impl FnMut(usize, f32),
) {
    let mut first = columns.start;
    while first < columns.end {
        let count = COLUMNS.min(columns.end - first);
        let mut sums = [0.0_f32; COLUMNS];
        let b = &p.b.data[first..];
        if (p.k - 1) * p.b.row_stride + COLUMNS <= b.len() {
            // Past the last column there may be others, which are not written.
            add_rows(a, b, p.b.row_stride, &mut sums);
        } else {
            for (q, a) in a.iter().enumerate() {
                let b = &b[q * p.b.row_stride..][..count];
                sums.iter_mut()
                    .zip(b)
                    .for_each(|(sum, b)| *sum = a.mul_add(*b, *sum));
            }
        }
        sums[..count]
            .iter()
            .enumerate()
            .for_each(|(j, sum)| write(first + j, *sum));
        first += count;
    }
}

/// b is [n, k] transposed: an element of c is a dot product.
fn narrow(
    p: &Product,
    a: &[f32],
    columns: std::ops::Range<usize>,
    mut write: impl FnMut(usize, f32),
) {
    let row = |j: usize| &p.b.data[j * p.b.col_stride..][..p.k];
    let mut j = columns.start;
    while j + 4 <= columns.end {
        let sums = dots(a, [row(j), row(j + 1), row(j + 2), row(j + 3)]);
        sums.into_iter()
            .enumerate()
            .for_each(|(i, sum)| write(j + i, sum));
        j += 4;
    }
    while j < columns.end {
        write(j, one_dot(a, row(j)));
        j += 1;
    }
}
