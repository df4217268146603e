//! Operands in the order in which the innermost loop reads them.

use std::arch::x86_64::*;

use super::Matrix;
use crate::cpu::simd::{Level, level};

/// Writes a panel: out[p · W + i] = x[i, p] for `rows` ≤ W rows and `depth` columns. What is past
/// `rows` is arbitrary but finite wherever x is.
pub(super) fn panel<const W: usize>(x: Matrix, rows: usize, depth: usize, out: &mut [f32]) {
    let out = &mut out[..depth * W];
    if x.row_stride == 1 {
        copied::<W>(x, rows, out);
    } else if x.col_stride == 1 {
        let at = |i: usize, p: usize| i * x.row_stride + p;
        transposed::<W>(x.data, at, rows, depth, out);
    } else {
        for (p, out) in out.chunks_exact_mut(W).enumerate() {
            for (i, out) in out.iter_mut().enumerate() {
                *out = if i < rows {
                    x.data[i * x.row_stride + p * x.col_stride]
                } else {
                    0.0
                };
            }
        }
    }
}

/// The rows of a panel lie next to each other.
fn copied<const W: usize>(x: Matrix, rows: usize, out: &mut [f32]) {
    for (p, out) in out.chunks_exact_mut(W).enumerate() {
        let from = &x.data[p * x.col_stride..];
        if let (true, Some(from)) = (rows == W, from.first_chunk::<W>()) {
            out.copy_from_slice(from);
        } else {
            out[..rows].copy_from_slice(&from[..rows]);
            out[rows..].fill(0.0);
        }
    }
}

/// A panel of x[i, p] = `data[at(i, p)]`, where 16 columns lie next to each other from each multiple
/// of 16 on.
pub(super) fn transposed<const W: usize>(
    data: &[f32],
    at: impl Fn(usize, usize) -> usize,
    rows: usize,
    depth: usize,
    out: &mut [f32],
) {
    let blocks = if level() == Level::V4 { depth / 16 } else { 0 };
    for block in 0..blocks {
        for first in (0..W).step_by(16) {
            let count = (W - first).min(16);
            // Rows that are not there are the first one again.
            let row = |i: usize| {
                if first + i < rows && i < count {
                    first + i
                } else {
                    0
                }
            };
            let row: [&[f32; 16]; 16] = std::array::from_fn(|i| {
                let from = &data[at(row(i), block * 16)..];
                from.first_chunk().unwrap_or(&[0.0; 16])
            });
            let out = &mut out[block * 16 * W + first..];
            // SAFETY: `level` found AVX-512.
            unsafe { transpose_16(&row, out, W, count) };
        }
    }
    for p in blocks * 16..depth {
        for (i, out) in out[p * W..][..W].iter_mut().enumerate() {
            *out = if i < rows { data[at(i, p)] } else { 0.0 };
        }
    }
}

/// Writes the first `count` elements of each column of 16 rows; columns go `stride` apart.
///
/// Loops by index: a closure with these instructions is not inlined into the `map` of an array, and hands
/// every register over through memory.
#[target_feature(enable = "avx512f")]
#[allow(clippy::needless_range_loop)]
fn transpose_16(rows: &[&[f32; 16]; 16], out: &mut [f32], stride: usize, count: usize) {
    let mut r = [_mm512_setzero_ps(); 16];
    for i in 0..16 {
        // SAFETY: each row has 16 elements.
        r[i] = unsafe { _mm512_loadu_ps(rows[i].as_ptr()) };
    }
    let mut t = [_mm512_setzero_ps(); 16];
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    // Two neighbours at a time: the four rows of a group come together.
    for i in 0..4 {
        let (a, b) = (_mm512_castps_pd(t[4 * i]), _mm512_castps_pd(t[4 * i + 1]));
        let (c, d) = (
            _mm512_castps_pd(t[4 * i + 2]),
            _mm512_castps_pd(t[4 * i + 3]),
        );
        r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    // Now quarter q of r[4i + j] is column 4q + j of rows 4i to 4i + 3.
    for j in 0..4 {
        let even = _mm512_shuffle_f32x4::<0x88>(r[j], r[4 + j]);
        let odd = _mm512_shuffle_f32x4::<0xDD>(r[j], r[4 + j]);
        let even2 = _mm512_shuffle_f32x4::<0x88>(r[8 + j], r[12 + j]);
        let odd2 = _mm512_shuffle_f32x4::<0xDD>(r[8 + j], r[12 + j]);
        t[j] = _mm512_shuffle_f32x4::<0x88>(even, even2);
        t[8 + j] = _mm512_shuffle_f32x4::<0xDD>(even, even2);
        t[4 + j] = _mm512_shuffle_f32x4::<0x88>(odd, odd2);
        t[12 + j] = _mm512_shuffle_f32x4::<0xDD>(odd, odd2);
    }
    assert!(count <= 16 && 15 * stride + count <= out.len());
    let mask = if count == 16 {
        u16::MAX
    } else {
        (1 << count) - 1
    };
    for p in 0..16 {
        // SAFETY: `count` elements from p · stride on lie in `out`, as was asserted.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr().add(p * stride), mask, t[p]) };
    }
}
