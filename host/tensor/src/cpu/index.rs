//! Reading and adding at indices.

use std::ops::Range;

use super::{par, simd::simd_fn};

/// Where the first index is that is neither in 0..count nor `ignore`.
pub fn first_invalid(indices: &[i64], count: usize, ignore: Option<i64>) -> Option<usize> {
    let valid = |index: i64| (0..count as i64).contains(&index) || Some(index) == ignore;
    // The common case in a loop without an exit, which vectorises.
    if indices.iter().fold(true, |all, index| all & valid(*index)) {
        return None;
    }
    indices.iter().position(|index| !valid(*index))
}

/// Rows of weight [count, cols] at ids [n] → out [n, cols]. Ids must be in 0..count.
pub fn embedding(weight: &[f32], cols: usize, ids: &[i64], out: &mut [f32]) {
    index_select(weight, 1, weight.len() / cols.max(1), cols, ids, out);
}

/// The gradient of [`embedding`] for the weight: dy [n, cols] added up at ids [n] → dweight
/// [count, cols].
pub fn embedding_backward(ids: &[i64], dy: &[f32], cols: usize, dweight: &mut [f32]) {
    dweight.fill(0.0);
    index_add(dweight, 1, dweight.len() / cols.max(1), cols, ids, dy);
}

/// The entries at `index` [n] of a dimension: x [outer, count, inner] → out [outer, n, inner].
pub fn index_select(
    x: &[f32],
    outer: usize,
    count: usize,
    inner: usize,
    index: &[i64],
    out: &mut [f32],
) {
    assert!(x.len() == outer * count * inner && out.len() == outer * index.len() * inner);
    if out.is_empty() {
        return;
    }
    let rows = par::rows_grain(out.len() / inner, inner, 1);
    par::chunks(out, rows * inner, |at, out| {
        for (row, out) in out.chunks_exact_mut(inner).enumerate() {
            let row = at / inner + row;
            let from = row / index.len() * count + index[row % index.len()] as usize;
            out.copy_from_slice(&x[from * inner..][..inner]);
        }
    });
}

/// Adds source [outer, n, inner] to y [outer, count, inner] at `index` [n]. Entries with one index
/// are added in their order, whatever the number of threads.
pub fn index_add(
    y: &mut [f32],
    outer: usize,
    count: usize,
    inner: usize,
    index: &[i64],
    source: &[f32],
) {
    simd_fn! {
        fn add(y: &mut [f32], x: &[f32]) {
            for (y, x) in y.iter_mut().zip(x) {
                *y += x;
            }
        }
    }
    assert!(y.len() == outer * count * inner && source.len() == outer * index.len() * inner);
    if source.is_empty() {
        return;
    }
    // Each task owns a range of the entries and walks over all indices: reading them is cheap.
    let work = par::rows_grain(index.len(), inner, 1);
    let shares = index
        .len()
        .div_ceil(work)
        .min(2 * rayon::current_num_threads());
    let share = count.div_ceil(shares.max(1)).max(1);
    for (y, source) in y
        .chunks_exact_mut(count * inner)
        .zip(source.chunks_exact(index.len() * inner))
    {
        par::chunks(y, share * inner, |at, y| {
            let first = at / inner;
            let owned: Range<usize> = first..first + y.len() / inner;
            for (index, x) in index.iter().zip(source.chunks_exact(inner)) {
                let index = *index as usize;
                if owned.contains(&index) {
                    add(&mut y[(index - first) * inner..][..inner], x);
                }
            }
        });
    }
}

/// out[o, i, j] = x[o, index[o, i, j], j] for x [outer, count, inner] and index, out
/// [outer, n, inner].
pub fn gather(x: &[f32], outer: usize, count: usize, inner: usize, index: &[i64], out: &mut [f32]) {
    assert!(x.len() == outer * count * inner && index.len() == out.len());
    if out.is_empty() {
        return;
    }
    let n = out.len() / (outer * inner);
    let rows = par::rows_grain(outer * n, inner, 2);
    par::chunks(out, rows * inner, |at, out| {
        for (row, out) in out.chunks_exact_mut(inner).enumerate() {
            let row = at / inner + row;
            let base = row / n * count * inner;
            let index = &index[row * inner..][..inner];
            for (j, (out, index)) in out.iter_mut().zip(index).enumerate() {
                *out = x[base + *index as usize * inner + j];
            }
        }
    });
}

/// y[o, index[o, i, j], j] += source[o, i, j] for y [outer, count, inner] and index, source
/// [outer, n, inner]; in order of i, whatever the number of threads.
pub fn scatter_add(
    y: &mut [f32],
    outer: usize,
    count: usize,
    inner: usize,
    index: &[i64],
    source: &[f32],
) {
    assert!(y.len() == outer * count * inner && index.len() == source.len());
    if source.is_empty() {
        return;
    }
    let n = source.len() / (outer * inner);
    // One `outer` entry is never shared, so its order is that of the loop.
    let grain = par::rows_grain(outer, (n * inner).max(count * inner), 2);
    par::chunks(y, grain * count * inner, |at, y| {
        let first = at / (count * inner);
        for (o, y) in y.chunks_exact_mut(count * inner).enumerate() {
            let range = (first + o) * n * inner..(first + o + 1) * n * inner;
            let rows = index[range.clone()].chunks_exact(inner);
            for (index, source) in rows.zip(source[range].chunks_exact(inner)) {
                for (j, (index, source)) in index.iter().zip(source).enumerate() {
                    y[*index as usize * inner + j] += source;
                }
            }
        }
    });
}
