//! Pooling over windows of planes.

use super::par;

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
                pool.windows(|at, rows, columns| {
                    let (mut largest, mut place) = (f32::NEG_INFINITY, None);
                    for row in rows {
                        for column in columns.clone() {
                            let value = x[row * pool.input[1] + column];
                            if place.is_none() || value > largest || value.is_nan() {
                                (largest, place) = (value, Some(row * pool.input[1] + column));
                            }
                        }
                    }
                    out[at] = largest;
                    places[at] = place.unwrap_or(0) as u32;
                });
            }
        },
    );
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
