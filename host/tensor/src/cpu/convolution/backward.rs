//! From gradients of outputs to those of inputs and weights.

use std::ops::Range;

use super::{Conv2d, Share, forward::apply, windows::Windows};
use crate::{
    cpu::{
        gemm::{Matrix, Table, general},
        par,
    },
    recycled::Buffer,
};

/// The gradients of [`conv2d`](super::conv2d) for x and weight, where wanted. That of the bias is
/// the sum of dy over samples and places.
pub fn conv2d_backward(
    conv: &Conv2d,
    x: &[f32],
    weight: &[f32],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dweight: Option<&mut [f32]>,
) {
    conv.check(x.len(), weight.len(), dy.len());
    if let Some(dx) = dx {
        match turned(conv) {
            Some(turned) => by_convolution(conv, &turned, weight, dy, dx),
            None => by_folding(conv, weight, dy, dx),
        }
    }
    if let Some(dweight) = dweight {
        backward_weight(conv, x, dy, dweight);
    }
}

/// The convolution from dy to dx, where it is one and has little more to do than folding: without
/// steps, dx is dy convolved with the kernel turned around.
fn turned(conv: &Conv2d) -> Option<Conv2d> {
    if conv.stride != [1, 1]
        || conv.batch * conv.places() < conv.outer()
        || conv.input_len() > 2 * conv.places()
    {
        return None;
    }
    let reach = [0, 1].map(|axis| (conv.kernel[axis] - 1) * conv.dilation[axis]);
    let turned = Conv2d {
        channels: conv.outputs,
        outputs: conv.channels,
        input: conv.output,
        output: conv.input,
        padding: [
            reach[0].checked_sub(conv.padding[0])?,
            reach[1].checked_sub(conv.padding[1])?,
        ],
        ..*conv
    };
    turned.is_addressable().then_some(turned)
}

fn by_convolution(conv: &Conv2d, turned: &Conv2d, weight: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (taps, inner, outer) = (conv.taps(), conv.inner(), conv.outer());
    let depth = turned.window();
    // [channels, outer, taps]: a group's inputs take the place of its outputs.
    let mut around = Buffer::take(weight.len());
    par::chunks(&mut around, depth, |at, around| {
        let channel = at / depth;
        let first = channel / inner * outer * inner + channel % inner;
        for (output, around) in around.chunks_exact_mut(taps).enumerate() {
            let weight = &weight[(first + output * inner) * taps..][..taps];
            let weight = weight.iter().rev();
            around.iter_mut().zip(weight).for_each(|(a, w)| *a = *w);
        }
    });
    let weight = |group: usize| Matrix::rows(&around[group * inner * depth..], depth);
    apply(turned, dy, weight, None, dx);
}

/// What each window got, added where the windows lie.
fn by_folding(conv: &Conv2d, weight: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (places, window, groups) = (conv.places(), conv.window(), conv.groups);
    let (outer, inputs) = (conv.outer(), conv.inner() * conv.input_len());
    let share = Share::new(conv);
    let gradients = Gradients::new(conv, share.samples);
    let task = |at: usize, dx: &mut [f32]| {
        let (first, group) = (at / (groups * inputs), at / inputs % groups);
        let samples = dx.len() / inputs;
        let columns = samples * places;
        let mut windows = Buffer::take(window * columns);
        general(
            window,
            columns,
            outer,
            Matrix::rows(&weight[group * outer * window..], window).t(),
            gradients.table(dy, first, samples, group),
            0.0,
            &mut windows,
            columns,
            share.products,
        );
        par::chunks(dx, inputs, |at, dx| {
            dx.fill(0.0);
            conv.fold(&windows[at / inputs * places..], columns, dx);
        });
    };
    let chunk = share.samples * inputs;
    if share.products {
        for (i, dx) in dx.chunks_mut(chunk).enumerate() {
            task(i * chunk, dx);
        }
    } else {
        par::chunks(dx, chunk, task);
    }
}

/// Gradients of outputs as operands: row output, column (sample, position).
struct Gradients {
    rows: Vec<u32>,
    columns: Vec<u32>,
    sample: usize,
    group: usize,
    places: usize,
}

impl Gradients {
    /// With columns for `samples` samples.
    fn new(conv: &Conv2d, samples: usize) -> Self {
        let places = conv.places();
        let sample = conv.outputs * places;
        let columns = (0..samples)
            .flat_map(|at| (0..places).map(move |place| (at * sample + place) as u32))
            .collect();
        Self {
            rows: (0..conv.outer()).map(|o| (o * places) as u32).collect(),
            columns,
            sample,
            group: conv.outer() * places,
            places,
        }
    }

    fn table<'a>(&'a self, dy: &'a [f32], first: usize, samples: usize, group: usize) -> Table<'a> {
        Table {
            data: &dy[first * self.sample + group * self.group..],
            rows: &self.rows,
            cols: &self.columns[..samples * self.places],
        }
    }
}

/// Terms of a product that is added to the weight's gradient, about: what the caches hold, and enough
/// that threads seldom wait for each other.
const TERMS: usize = 2304;

/// The samples and positions are what is summed over: in parts that do not depend on threads.
fn backward_weight(conv: &Conv2d, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let (places, window, outer) = (conv.places(), conv.window(), conv.outer());
    let samples = conv.reachable((TERMS / places).clamp(1, conv.batch));
    let (windows, gradients) = (
        Windows::new(conv, x, samples),
        Gradients::new(conv, samples),
    );
    let one_group = |group: usize, dweight: &mut [f32], shared: bool| {
        let mut beta = 0.0;
        for first in (0..conv.batch).step_by(samples) {
            let samples = samples.min(conv.batch - first);
            let (dy, x) = (
                gradients.table(dy, first, samples, group),
                windows.table(first, samples, group),
            );
            for start in (0..dy.cols.len()).step_by(TERMS) {
                let range = start..(start + TERMS).min(dy.cols.len());
                general(
                    outer,
                    window,
                    range.len(),
                    dy.columns(range.clone()),
                    x.columns(range.clone()).t(),
                    beta,
                    dweight,
                    window,
                    shared,
                );
                beta = 1.0;
            }
        }
    };
    if conv.groups == 1 {
        one_group(0, dweight, true);
    } else {
        par::chunks(dweight, outer * window, |at, dweight| {
            one_group(at / (outer * window), dweight, false);
        });
    }
}

impl Conv2d {
    /// The positions along `axis` whose tap `tap` lies inside the input, and the input's place of
    /// the first.
    fn valid(&self, axis: usize, tap: usize) -> (Range<usize>, usize) {
        let (stride, padding) = (self.stride[axis], self.padding[axis]);
        let shift = tap * self.dilation[axis];
        let first = padding.saturating_sub(shift).div_ceil(stride);
        let end = (self.input[axis] + padding)
            .saturating_sub(shift)
            .div_ceil(stride)
            .min(self.output[axis]);
        if first >= end {
            return (0..0, 0);
        }
        (first..end, first * stride + shift - padding)
    }

    /// Adds windows, rows [window] `columns` apart with this sample's positions first, to x
    /// [inner, height, width].
    fn fold(&self, windows: &[f32], columns: usize, x: &mut [f32]) {
        let width = self.output[1];
        let mut row = 0;
        for x in x.chunks_exact_mut(self.input_len()) {
            for ky in 0..self.kernel[0] {
                let (rows, first_y) = self.valid(0, ky);
                for kx in 0..self.kernel[1] {
                    let (valid, first_x) = self.valid(1, kx);
                    for (i, y) in rows.clone().enumerate() {
                        let from = &windows[row * columns + y * width..][valid.clone()];
                        let place = (first_y + i * self.stride[0]) * self.input[1] + first_x;
                        let x = x[place..].iter_mut().step_by(self.stride[1]);
                        from.iter().zip(x).for_each(|(from, x)| *x += from);
                    }
                    row += 1;
                }
            }
        }
    }
}
