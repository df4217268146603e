//! Operands whose elements lie anywhere, as windows over images do.

#[cfg(target_arch = "x86_64")]
use super::pack::transposed;
use super::{Matrix, Operand};
#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::{Level, level};

/// The element (i, j) is `data[rows[i] + cols[j]]`.
#[derive(Clone, Copy, Debug)]
pub(in crate::cpu) struct Table<'a> {
    pub data: &'a [f32],
    pub rows: &'a [u32],
    pub cols: &'a [u32],
}

impl Table<'_> {
    /// Some of the columns.
    pub(in crate::cpu) fn columns(self, range: std::ops::Range<usize>) -> Self {
        Self {
            cols: &self.cols[range],
            ..self
        }
    }

    /// The transposed operand, over the same memory.
    pub(in crate::cpu) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
        }
    }
}

/// Whether offsets follow each other without gaps within each `B` of them.
#[cfg(target_arch = "x86_64")]
fn in_runs<const B: usize>(offsets: &[u32]) -> bool {
    let (blocks, rest) = offsets.as_chunks::<B>();
    rest.is_empty()
        && blocks
            .iter()
            .all(|block| (0..B).all(|i| block[i] == block[0].wrapping_add(i as u32)))
}

/// A panel of `W` rows that lie next to each other in runs of `B`.
#[cfg(target_arch = "x86_64")]
fn by_runs<const W: usize, const B: usize>(x: Table, out: &mut [f32]) {
    let starts = x.rows.iter().step_by(B);
    for (out, column) in out.chunks_exact_mut(W).zip(x.cols) {
        for (out, start) in out.as_chunks_mut::<B>().0.iter_mut().zip(starts.clone()) {
            if let Some(run) = x.data[(start + column) as usize..].first_chunk::<B>() {
                *out = *run;
            }
        }
    }
}

impl Operand for Table<'_> {
    fn from(self, i: usize, j: usize) -> Self {
        Self {
            data: self.data,
            rows: &self.rows[i..],
            cols: &self.cols[j..],
        }
    }

    fn check(&self, rows: usize, cols: usize) {
        let last = |offsets: &[u32]| offsets.iter().max().map_or(0, |last| *last as usize);
        assert!(last(&self.rows[..rows]) + last(&self.cols[..cols]) < self.data.len());
    }

    #[cfg(target_arch = "x86_64")]
    fn panel<const W: usize>(self, rows: usize, depth: usize, out: &mut [f32]) {
        let (out, x) = (
            &mut out[..depth * W],
            Self {
                rows: &self.rows[..rows],
                cols: &self.cols[..depth],
                ..self
            },
        );
        if rows == W && W.is_multiple_of(16) && in_runs::<16>(x.rows) {
            return by_runs::<W, 16>(x, out);
        }
        if rows == W && W.is_multiple_of(8) && in_runs::<8>(x.rows) {
            return by_runs::<W, 8>(x, out);
        }
        if rows == W && W.is_multiple_of(4) && in_runs::<4>(x.rows) {
            return by_runs::<W, 4>(x, out);
        }
        if level() == Level::V4 && in_runs::<16>(&x.cols[..depth - depth % 16]) {
            let at = |i: usize, p: usize| (x.rows[i] + x.cols[p]) as usize;
            return transposed::<W>(x.data, at, rows, depth, out);
        }
        for (out, column) in out.chunks_exact_mut(W).zip(x.cols) {
            let data = &x.data[*column as usize..];
            for (out, row) in out.iter_mut().zip(x.rows) {
                *out = data[*row as usize];
            }
            out[rows..].fill(0.0);
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn panel_t<const W: usize>(self, rows: usize, depth: usize, out: &mut [f32]) {
        self.t().panel::<W>(rows, depth, out);
    }

    fn as_matrix<R>(self, rows: usize, cols: usize, work: impl FnOnce(Matrix) -> R) -> R {
        let dense: Vec<f32> = self.rows[..rows]
            .iter()
            .flat_map(|row| {
                self.cols[..cols]
                    .iter()
                    .map(move |column| self.data[(row + column) as usize])
            })
            .collect();
        work(Matrix::rows(&dense, cols))
    }
}
