//! Softmax over the last dimension, with what attention does before it.

use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{
    Kernel, exactly,
    row::{self, Rows, max_of_units, sum_of_units},
};

/// How a bias [batch or 1, heads or 1, tokens or 1, keys or 1] lies over scores [batch, heads, tokens, keys].
#[derive(Clone, Copy, Debug, Default)]
pub struct Bias {
    /// Heads of the scores.
    pub heads: usize,
    /// Tokens of the scores.
    pub tokens: usize,
    /// The distances between batches, heads, tokens and keys of the bias; 0 where it has one for all.
    pub strides: [usize; 4],
}

/// x → softmax(x · scale + bias) over the last dimension.
///
/// Takes x [..., cols] of any type of floats, and the bias (float32) where there is one; gives the result, of
/// x's type.
#[derive(Clone, Copy, Debug)]
pub struct Softmax {
    /// What x is multiplied by.
    pub scale: f32,
    /// How the bias lies.
    pub bias: Option<Bias>,
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn forward<F: Float>(
    x: &Array<F>,
    bias: &Array<f32>,
    y: &mut Array<F>,
    rows: usize,
    cols: usize,
    x_pitch: usize,
    y_pitch: usize,
    scale: f32,
    heads: usize,
    tokens: usize,
    of_batch: usize,
    of_head: usize,
    of_token: usize,
    of_key: usize,
    #[comptime] has_bias: bool,
    #[comptime] units: u32,
    #[define(F)] _floats: StorageType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(units as usize);
    let unit = UNIT_POS as usize;
    let (start, out) = (row * x_pitch, row * y_pitch);
    let mut place = 0usize;
    if has_bias {
        let (token, rest) = (row % tokens, row / tokens);
        place = token * of_token + (rest % heads) * of_head + (rest / heads) * of_batch;
    }
    let mut largest = f32::min_value();
    let mut col = unit;
    while col < cols {
        let mut value = f32::cast_from(x[start + col]) * scale;
        if has_bias {
            value += bias[place + col * of_key];
        }
        largest = max(largest, value);
        col += units as usize;
    }
    let largest = max_of_units(largest, &mut shared, units);
    let mut sum = 0.0f32;
    let mut col = unit;
    while col < cols {
        let mut value = f32::cast_from(x[start + col]) * scale;
        if has_bias {
            value += bias[place + col * of_key];
        }
        sum += f32::exp(value - largest);
        col += units as usize;
    }
    let share = 1.0 / sum_of_units(sum, &mut shared, units);
    let mut col = unit;
    while col < cols {
        let mut value = f32::cast_from(x[start + col]) * scale;
        if has_bias {
            value += bias[place + col * of_key];
        }
        y[out + col] = F::cast_from(f32::exp(value - largest) * share);
        col += units as usize;
    }
}

impl Kernel for Softmax {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let mut inputs = inputs.into_iter();
        let x = Rows::of(inputs.next().unwrap_or_else(|| panic!("softmax: no input")));
        let bias = inputs.next().map(into_contiguous);
        let y = Rows::of(row::alike(&x.tensor));
        let floats = x.tensor.dtype.into();
        let units = row::units(x.cols);
        let lies = self.bias.unwrap_or(Bias {
            heads: 1,
            tokens: 1,
            strides: [0; 4],
        });
        // SAFETY: the kernel stays within `rows` and `cols`, and within the bias by its strides.
        unsafe {
            forward::launch_unchecked::<R>(
                &x.tensor.client,
                row::cubes(x.rows),
                CubeDim::new_1d(units),
                Rows::address(&[&x, &y]),
                x.arg(),
                bias.unwrap_or_else(|| x.tensor.clone()).into_array_arg(),
                y.arg(),
                x.rows,
                x.cols,
                x.pitch,
                y.pitch,
                self.scale,
                lies.heads,
                lies.tokens,
                lies.strides[0],
                lies.strides[1],
                lies.strides[2],
                lies.strides[3],
                self.bias.is_some(),
                units,
                floats,
            );
        }
        vec![y.tensor]
    }
}

/// The gradient of [`Softmax`]: scale · y · (dy − Σ y·dy).
///
/// Takes y and dy, of one type of floats; gives dx.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxBackward {
    /// What x was multiplied by.
    pub scale: f32,
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn backward<F: Float>(
    y: &Array<F>,
    dy: &Array<F>,
    dx: &mut Array<F>,
    rows: usize,
    cols: usize,
    y_pitch: usize,
    dy_pitch: usize,
    dx_pitch: usize,
    scale: f32,
    #[comptime] units: u32,
    #[define(F)] _floats: StorageType,
) {
    let row = CUBE_POS;
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(units as usize);
    let unit = UNIT_POS as usize;
    let mut sum = 0.0f32;
    let mut col = unit;
    while col < cols {
        sum += f32::cast_from(y[row * y_pitch + col]) * f32::cast_from(dy[row * dy_pitch + col]);
        col += units as usize;
    }
    let total = sum_of_units(sum, &mut shared, units);
    let mut col = unit;
    while col < cols {
        let value = f32::cast_from(y[row * y_pitch + col]);
        let slope = f32::cast_from(dy[row * dy_pitch + col]) - total;
        dx[row * dx_pitch + col] = F::cast_from(scale * value * slope);
        col += units as usize;
    }
}

impl Kernel for SoftmaxBackward {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [y, dy] = exactly(inputs).map(Rows::of);
        let dx = Rows::of(row::alike(&y.tensor));
        let floats = y.tensor.dtype.into();
        let units = row::units(y.cols);
        // SAFETY: the kernel stays within `rows` and `cols`, which all of these have.
        unsafe {
            backward::launch_unchecked::<R>(
                &y.tensor.client,
                row::cubes(y.rows),
                CubeDim::new_1d(units),
                Rows::address(&[&y, &dy, &dx]),
                y.arg(),
                dy.arg(),
                dx.arg(),
                y.rows,
                y.cols,
                y.pitch,
                dy.pitch,
                dx.pitch,
                self.scale,
                units,
                floats,
            );
        }
        vec![dx.tensor]
    }
}
