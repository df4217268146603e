//! Where the elements of windows lie.

use super::Conv2d;
use crate::{
    cpu::{gemm::Table, par},
    recycled::Buffer,
};

/// The windows of an input as operands: row (channel, tap), column (sample, position).
pub(super) struct Windows<'a> {
    /// The input with its padding.
    data: Padded<'a>,
    /// Offsets of a group's rows.
    rows: Vec<u32>,
    /// Offsets of the columns of as many samples as are taken together.
    columns: Vec<u32>,
    /// Elements of a sample and of a group in it.
    sample: usize,
    group: usize,
    /// Columns of a sample.
    places: usize,
}

impl<'a> Windows<'a> {
    /// Of x, with columns for `samples` samples.
    pub(super) fn new(conv: &Conv2d, x: &'a [f32], samples: usize) -> Self {
        let size = [0, 1].map(|axis| conv.input[axis] + 2 * conv.padding[axis]);
        let data = match conv.padding {
            [0, 0] => Padded::None(x),
            _ => Padded::Zeros(padded(conv, x, size)),
        };
        let plane = size[0] * size[1];
        let sample = conv.channels * plane;
        let mut rows = Vec::with_capacity(conv.window());
        for channel in 0..conv.inner() {
            for ky in 0..conv.kernel[0] {
                for kx in 0..conv.kernel[1] {
                    let place = ky * conv.dilation[0] * size[1] + kx * conv.dilation[1];
                    rows.push((channel * plane + place) as u32);
                }
            }
        }
        let mut columns = Vec::with_capacity(samples * conv.places());
        for at in 0..samples {
            for y in 0..conv.output[0] {
                for x in 0..conv.output[1] {
                    let place = y * conv.stride[0] * size[1] + x * conv.stride[1];
                    columns.push((at * sample + place) as u32);
                }
            }
        }
        Self {
            data,
            rows,
            columns,
            sample,
            group: conv.inner() * plane,
            places: conv.places(),
        }
    }

    /// Those of a group in `samples` samples from `first` on.
    pub(super) fn table(&self, first: usize, samples: usize, group: usize) -> Table<'_> {
        let data: &[f32] = match &self.data {
            Padded::None(x) => x,
            Padded::Zeros(x) => x,
        };
        Table {
            data: &data[first * self.sample + group * self.group..],
            rows: &self.rows,
            cols: &self.columns[..samples * self.places],
        }
    }
}

enum Padded<'a> {
    None(&'a [f32]),
    Zeros(Buffer),
}

/// x [planes, height, width] with zeros around every plane, which make it `size`.
fn padded(conv: &Conv2d, x: &[f32], size: [usize; 2]) -> Buffer {
    let (inputs, plane) = (conv.input_len(), size[0] * size[1]);
    let mut out = Buffer::take(conv.batch * conv.channels * plane);
    let planes = par::rows_grain(conv.batch * conv.channels, plane, 2);
    par::chunks(&mut out, planes * plane, |at, out| {
        let x = &x[at / plane * inputs..];
        for (x, out) in x.chunks_exact(inputs).zip(out.chunks_exact_mut(plane)) {
            out.fill(0.0);
            let rows = out.chunks_exact_mut(size[1]).skip(conv.padding[0]);
            for (x, out) in x.chunks_exact(conv.input[1]).zip(rows) {
                out[conv.padding[1]..][..conv.input[1]].copy_from_slice(x);
            }
        }
    });
    out
}
