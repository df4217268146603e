//! Pooling over windows of planes.

use super::{par, simd::simd_fn};

/// The sizes of a pooling: planes [height, width] of x [planes, height, width].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Height and width of the output.
    pub output: [usize; 2],
    /// The window.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Padding on both sides; it never wins a maximum, and counts as zeros in a mean.
    pub padding: [usize; 2],
}

impl Pool2d {
    fn input_len(&self) -> usize {
        self.input[0] * self.input[1]
    }

    fn output_len(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// The part of the `axis` that window `at` covers.
    fn window(&self, axis: usize, at: usize) -> std::ops::Range<usize> {
        let start = at * self.stride[axis];
        let end = (start + self.kernel[axis]).saturating_sub(self.padding[axis]);
        start.saturating_sub(self.padding[axis])..end.min(self.input[axis])
    }

    /// Runs `each(place in the output, rows, columns)` over the windows of a plane.
    fn windows(&self, mut each: impl FnMut(usize, std::ops::Range<usize>, std::ops::Range<usize>)) {
        for y in 0..self.output[0] {
            for x in 0..self.output[1] {
                each(y * self.output[1] + x, self.window(0, y), self.window(1, x));
            }
        }
    }

    fn planes(&self, output_len: usize) -> usize {
        let planes = output_len / self.output_len().max(1);
        par::rows_grain(
            planes,
            self.output_len() * self.kernel[0] * self.kernel[1],
            1,
        )
    }
}

simd_fn! {
    /// Compares an element of each window in a row, `stride` apart and at `place` the first, with the
    /// largest so far.
    fn compare(x: &[f32], stride: usize, place: u32, out: &mut [f32], places: &mut [u32]) {
        let each = |i: usize, x: f32, out: &mut f32, at: &mut u32| {
            let better = x > *out || x.is_nan();
            *out = if better { x } else { *out };
            *at = if better { place + (i * stride) as u32 } else { *at };
        };
        let outputs = out.iter_mut().zip(places);
        match stride {
            1 => {
                let all = x.iter().zip(outputs).enumerate();
                all.for_each(|(i, (x, (out, at)))| each(i, *x, out, at));
            }
            2 => {
                let (pairs, last) = x.as_chunks::<2>();
                let x = pairs.iter().map(|pair| pair[0]).chain(last.first().copied());
                let all = x.zip(outputs).enumerate();
                all.for_each(|(i, (x, (out, at)))| each(i, x, out, at));
            }
            _ => {
                let all = x.iter().step_by(stride).zip(outputs).enumerate();
                all.for_each(|(i, (x, (out, at)))| each(i, *x, out, at));
            }
        }
    }
}

/// The largest of each window (NaN if there is one), and the place of it in its plane, which the
/// gradient needs: x [planes, height, width] → out, places [planes, out height, out width].
pub fn max_pool2d(pool: &Pool2d, x: &[f32], out: &mut [f32], places: &mut [u32]) {
    let (inputs, outputs) = (pool.input_len(), pool.output_len());
    assert!(out.len() == places.len() && x.len() * outputs == out.len() * inputs);
    let grain = pool.planes(out.len());
    par::chunks2(
        (out, grain * outputs),
        (places, grain * outputs),
        |i, out, places| {
            let planes = out
                .chunks_exact_mut(outputs)
                .zip(places.chunks_exact_mut(outputs));
            for (plane, (out, places)) in planes.enumerate() {
                let x = &x[(i * grain + plane) * inputs..][..inputs];
                pool.largest(x, out, places);
            }
        },
    );
}

impl Pool2d {
    /// [`max_pool2d`] of one plane: one element of the windows after the other, for whole rows.
    fn largest(&self, x: &[f32], out: &mut [f32], places: &mut [u32]) {
        let width = self.output[1];
        let rows = out
            .chunks_exact_mut(width)
            .zip(places.chunks_exact_mut(width));
        for (y, (out, places)) in rows.enumerate() {
            let rows = self.window(0, y);
            out.fill(f32::NEG_INFINITY);
            for (column, place) in places.iter_mut().enumerate() {
                *place = (rows.start * self.input[1] + self.window(1, column).start) as u32;
            }
            for row in rows {
                for tap in 0..self.kernel[1] {
                    // The windows whose element lies in the row.
                    let (stride, padding) = (self.stride[1], self.padding[1]);
                    let first = padding.saturating_sub(tap).div_ceil(stride);
                    let end = (self.input[1] + padding)
                        .saturating_sub(tap)
                        .div_ceil(stride);
                    let end = end.min(width);
                    if first >= end {
                        continue;
                    }
                    let place = row * self.input[1] + first * stride + tap - padding;
                    let x = &x[place..(row + 1) * self.input[1]];
                    let (out, places) = (&mut out[first..end], &mut places[first..end]);
                    compare(x, stride, place as u32, out, places);
                }
            }
        }
    }
}

/// The gradient of [`max_pool2d`]: dy goes to the places.
pub fn max_pool2d_backward(pool: &Pool2d, dy: &[f32], places: &[u32], dx: &mut [f32]) {
    let (inputs, outputs) = (pool.input_len(), pool.output_len());
    assert!(dy.len() == places.len() && dx.len() * outputs == dy.len() * inputs);
    let grain = pool.planes(dy.len());
    par::chunks(dx, grain * inputs, |at, dx| {
        for (plane, dx) in dx.chunks_exact_mut(inputs).enumerate() {
            dx.fill(0.0);
            let range = (at / inputs + plane) * outputs..(at / inputs + plane + 1) * outputs;
            for (dy, place) in dy[range.clone()].iter().zip(&places[range]) {
                dx[*place as usize] += dy;
            }
        }
    });
}

/// The mean of each window, padding counted as zeros.
pub fn avg_pool2d(pool: &Pool2d, x: &[f32], out: &mut [f32]) {
    let (inputs, outputs) = (pool.input_len(), pool.output_len());
    assert!(x.len() * outputs == out.len() * inputs);
    let grain = pool.planes(out.len());
    let share = 1.0 / (pool.kernel[0] * pool.kernel[1]) as f32;
    par::chunks(out, grain * outputs, |at, out| {
        for (plane, out) in out.chunks_exact_mut(outputs).enumerate() {
            let x = &x[(at / outputs + plane) * inputs..][..inputs];
            pool.windows(|at, rows, columns| {
                let mut sum = 0.0;
                for row in rows {
                    sum += x[row * pool.input[1]..][columns.clone()]
                        .iter()
                        .sum::<f32>();
                }
                out[at] = sum * share;
            });
        }
    });
}

/// The gradient of [`avg_pool2d`].
pub fn avg_pool2d_backward(pool: &Pool2d, dy: &[f32], dx: &mut [f32]) {
    let (inputs, outputs) = (pool.input_len(), pool.output_len());
    assert!(dx.len() * outputs == dy.len() * inputs);
    let grain = pool.planes(dy.len());
    let share = 1.0 / (pool.kernel[0] * pool.kernel[1]) as f32;
    par::chunks(dx, grain * inputs, |at, dx| {
        for (plane, dx) in dx.chunks_exact_mut(inputs).enumerate() {
            dx.fill(0.0);
            let dy = &dy[(at / inputs + plane) * outputs..][..outputs];
            pool.windows(|at, rows, columns| {
                for row in rows {
                    for dx in &mut dx[row * pool.input[1]..][columns.clone()] {
                        *dx += dy[at] * share;
                    }
                }
            });
        }
    });
}
