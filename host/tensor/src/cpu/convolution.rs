//! Convolution as matrix products over unfolded windows.

use std::ops::Range;

use super::{
    gemm::{Matrix, serial},
    par,
};

/// The sizes of a convolution: x [batch, channels, height, width], weight
/// [outputs, channels/groups, kernel height, kernel width]. One dimension: height 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// Samples.
    pub batch: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Channels of the output.
    pub outputs: usize,
    /// Groups of channels that do not mix.
    pub groups: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Steps between applications.
    pub stride: [usize; 2],
    /// Zeros on both sides.
    pub padding: [usize; 2],
    /// Steps between the kernel's elements.
    pub dilation: [usize; 2],
}

impl Conv2d {
    fn input_len(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_len(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Inputs of one group.
    fn inner(&self) -> usize {
        self.channels / self.groups
    }

    /// Outputs of one group.
    fn outer(&self) -> usize {
        self.outputs / self.groups
    }

    /// Elements of a window.
    fn window(&self) -> usize {
        self.inner() * self.kernel[0] * self.kernel[1]
    }

    /// Whether windows are single elements, so that the input itself is what they unfold to.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.padding == [0, 0]
    }

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

    /// Runs `each(row of the unfolded matrix, channel, output row, output columns, input place)`.
    fn taps(&self, mut each: impl FnMut(usize, usize, usize, Range<usize>, Option<usize>)) {
        let mut row = 0;
        for channel in 0..self.inner() {
            for ky in 0..self.kernel[0] {
                let (rows, first_y) = self.valid(0, ky);
                for kx in 0..self.kernel[1] {
                    let (columns, first_x) = self.valid(1, kx);
                    for y in 0..self.output[0] {
                        let inside = rows.contains(&y).then(|| {
                            (first_y + (y - rows.start) * self.stride[0]) * self.input[1] + first_x
                        });
                        each(row, channel, y, columns.clone(), inside);
                    }
                    row += 1;
                }
            }
        }
    }

    /// x [inner, height, width] → windows [window, out height · out width].
    fn unfold(&self, x: &[f32], windows: &mut [f32]) {
        let (places, width) = (self.output_len(), self.output[1]);
        self.taps(|row, channel, y, columns, inside| {
            let out = &mut windows[row * places + y * width..][..width];
            let Some(place) = inside else {
                out.fill(0.0);
                return;
            };
            out[..columns.start].fill(0.0);
            out[columns.end..].fill(0.0);
            let out = &mut out[columns];
            let x = &x[channel * self.input_len() + place..];
            if self.stride[1] == 1 {
                let count = out.len();
                out.copy_from_slice(&x[..count]);
            } else {
                let x = x.iter().step_by(self.stride[1]);
                out.iter_mut().zip(x).for_each(|(out, x)| *out = *x);
            }
        });
    }

    /// Adds windows [window, out height · out width] to x [inner, height, width].
    fn fold(&self, windows: &[f32], x: &mut [f32]) {
        let (places, width) = (self.output_len(), self.output[1]);
        self.taps(|row, channel, y, columns, inside| {
            let Some(place) = inside else { return };
            let from = &windows[row * places + y * width..][columns];
            let x = &mut x[channel * self.input_len() + place..];
            let x = x.iter_mut().step_by(self.stride[1]);
            from.iter().zip(x).for_each(|(from, x)| *x += from);
        });
    }

    fn check(&self, x: usize, weight: usize, out: usize) {
        assert_eq!(x, self.batch * self.channels * self.input_len());
        assert_eq!(weight, self.outputs * self.window());
        assert_eq!(out, self.batch * self.outputs * self.output_len());
    }
}

/// out [batch, outputs, out height, out width]; bias [outputs].
pub fn conv2d(conv: &Conv2d, x: &[f32], weight: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
    conv.check(x.len(), weight.len(), out.len());
    if out.is_empty() {
        return;
    }
    let (places, window) = (conv.output_len(), conv.window());
    let (inner, outer) = (conv.inner(), conv.outer());
    // One task: one group of one sample.
    par::chunks(out, outer * places, |at, out| {
        let task = at / (outer * places);
        let group = task % conv.groups;
        let x = &x[task * inner * conv.input_len()..][..inner * conv.input_len()];
        let mut unfolded = Vec::new();
        let windows = if conv.is_pointwise() {
            x
        } else {
            unfolded.resize(window * places, 0.0);
            conv.unfold(x, &mut unfolded);
            &unfolded
        };
        let beta = match bias {
            None => 0.0,
            Some(bias) => {
                let planes = out.chunks_exact_mut(places);
                planes
                    .zip(&bias[group * outer..])
                    .for_each(|(out, bias)| out.fill(*bias));
                1.0
            }
        };
        let weight = Matrix::rows(&weight[group * outer * window..], window);
        let windows = Matrix::rows(windows, places);
        serial(
            outer, places, window, 1.0, weight, windows, beta, out, places,
        );
    });
}

/// Samples whose weight gradients one task adds up, whatever the number of threads.
const SAMPLES: usize = 4;

/// The gradients of [`conv2d`] for x and weight, where wanted. That of the bias is the sum of dy
/// over samples and places.
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
        backward_x(conv, weight, dy, dx);
    }
    if let Some(dweight) = dweight {
        backward_weight(conv, x, dy, dweight);
    }
}

fn backward_x(conv: &Conv2d, weight: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (places, window) = (conv.output_len(), conv.window());
    let (inner, outer) = (conv.inner(), conv.outer());
    par::chunks(dx, inner * conv.input_len(), |at, dx| {
        let task = at / (inner * conv.input_len());
        let group = task % conv.groups;
        let dy = Matrix::rows(&dy[task * outer * places..], places);
        let weight = Matrix::rows(&weight[group * outer * window..], window).t();
        if conv.is_pointwise() {
            serial(window, places, outer, 1.0, weight, dy, 0.0, dx, places);
            return;
        }
        let mut windows = vec![0.0; window * places];
        serial(
            window,
            places,
            outer,
            1.0,
            weight,
            dy,
            0.0,
            &mut windows,
            places,
        );
        dx.fill(0.0);
        conv.fold(&windows, dx);
    });
}

fn backward_weight(conv: &Conv2d, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let (places, window) = (conv.output_len(), conv.window());
    let (inner, outer) = (conv.inner(), conv.outer());
    let parts = par::collect(conv.batch, SAMPLES, |samples| {
        let mut part = vec![0.0; conv.outputs * window];
        let mut unfolded = Vec::new();
        for task in samples.start * conv.groups..samples.end * conv.groups {
            let group = task % conv.groups;
            let x = &x[task * inner * conv.input_len()..][..inner * conv.input_len()];
            let windows = if conv.is_pointwise() {
                x
            } else {
                unfolded.resize(window * places, 0.0);
                conv.unfold(x, &mut unfolded);
                &unfolded
            };
            let dy = Matrix::rows(&dy[task * outer * places..], places);
            let windows = Matrix::rows(windows, places).t();
            let part = &mut part[group * outer * window..][..outer * window];
            serial(outer, window, places, 1.0, dy, windows, 1.0, part, window);
        }
        part
    });
    dweight.fill(0.0);
    for part in parts {
        dweight
            .iter_mut()
            .zip(part)
            .for_each(|(sum, part)| *sum += part);
    }
}
