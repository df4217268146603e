//! How work is shared.
//!
//! A task costs a few microseconds to hand over, so small inputs stay on the caller's thread. Where
//! elements are independent the size of a task is free; reductions use [`FIXED`] ones.

use rayon::prelude::*;

/// Elements of the cheapest kernels that are worth a task of their own.
const GRAIN: usize = 1 << 14;
/// Elements that one task of a reduction takes, whatever the number of threads.
pub(super) const FIXED: usize = 1 << 15;

/// Elements for a task of elementwise work over `len` elements, `cost` times as dear as a copy.
pub(super) fn grain(len: usize, cost: usize) -> usize {
    let tasks = rayon::current_num_threads() * 4;
    len.div_ceil(tasks)
        .max(GRAIN / cost.max(1))
        .next_multiple_of(64)
}

/// Rows for a task of work over `rows` rows of `width` elements.
pub(super) fn rows_grain(rows: usize, width: usize, cost: usize) -> usize {
    grain(rows * width, cost).div_ceil(width.max(1)).max(1)
}

/// Whether `tasks` tasks should be run one after the other.
pub(super) fn alone(tasks: usize) -> bool {
    tasks <= 1 || rayon::current_num_threads() == 1
}

/// Runs `each` for 0..tasks.
pub(super) fn tasks(tasks: usize, each: impl Fn(usize) + Sync + Send) {
    if alone(tasks) {
        (0..tasks).for_each(each);
    } else {
        (0..tasks).into_par_iter().with_max_len(1).for_each(each);
    }
}

/// Cuts `out` into chunks and runs `each(start, chunk)` on them.
pub(super) fn chunks<T: Send>(
    out: &mut [T],
    chunk: usize,
    each: impl Fn(usize, &mut [T]) + Sync + Send,
) {
    let chunk = chunk.max(1);
    if alone(out.len().div_ceil(chunk)) {
        for (i, out) in out.chunks_mut(chunk).enumerate() {
            each(i * chunk, out);
        }
    } else {
        out.par_chunks_mut(chunk)
            .enumerate()
            .for_each(|(i, out)| each(i * chunk, out));
    }
}

/// As [`chunks`] for two outputs, each with a chunk size of its own; `each(index, a, b)`.
pub(super) fn chunks2<A: Send, B: Send>(
    (a, a_chunk): (&mut [A], usize),
    (b, b_chunk): (&mut [B], usize),
    each: impl Fn(usize, &mut [A], &mut [B]) + Sync + Send,
) {
    let (a_chunk, b_chunk) = (a_chunk.max(1), b_chunk.max(1));
    if alone(a.len().div_ceil(a_chunk)) {
        for (i, (a, b)) in a.chunks_mut(a_chunk).zip(b.chunks_mut(b_chunk)).enumerate() {
            each(i, a, b);
        }
    } else {
        a.par_chunks_mut(a_chunk)
            .zip(b.par_chunks_mut(b_chunk))
            .enumerate()
            .for_each(|(i, (a, b))| each(i, a, b));
    }
}

/// As [`chunks2`] for three outputs.
pub(super) fn chunks3<A: Send, B: Send, C: Send>(
    (a, a_chunk): (&mut [A], usize),
    (b, b_chunk): (&mut [B], usize),
    (c, c_chunk): (&mut [C], usize),
    each: impl Fn(usize, &mut [A], &mut [B], &mut [C]) + Sync + Send,
) {
    let (a_chunk, b_chunk, c_chunk) = (a_chunk.max(1), b_chunk.max(1), c_chunk.max(1));
    if alone(a.len().div_ceil(a_chunk)) {
        let chunks = a.chunks_mut(a_chunk).zip(b.chunks_mut(b_chunk));
        for (i, ((a, b), c)) in chunks.zip(c.chunks_mut(c_chunk)).enumerate() {
            each(i, a, b, c);
        }
    } else {
        a.par_chunks_mut(a_chunk)
            .zip(b.par_chunks_mut(b_chunk))
            .zip(c.par_chunks_mut(c_chunk))
            .enumerate()
            .for_each(|(i, ((a, b), c))| each(i, a, b, c));
    }
}

/// The values of `each(start..end)` over the ranges of `chunk` that cover 0..len, in order.
pub(super) fn collect<T: Send>(
    len: usize,
    chunk: usize,
    each: impl Fn(std::ops::Range<usize>) -> T + Sync + Send,
) -> Vec<T> {
    let chunk = chunk.max(1);
    let range = |i: usize| i * chunk..((i + 1) * chunk).min(len);
    let count = len.div_ceil(chunk);
    if alone(count) {
        (0..count).map(|i| each(range(i))).collect()
    } else {
        (0..count).into_par_iter().map(|i| each(range(i))).collect()
    }
}
