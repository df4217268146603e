//! Rotary position embeddings: pairs of elements, turned by angles.

use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{
    Kernel, exactly,
    row::{self, Rows, place, position},
};

/// Takes x [batch, tokens, heads, head-dim] and the angles' cosines and sines [batch, tokens, 1, pairs];
/// gives x turned. What is past the pairs stays.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// Whether the elements of a pair lie side by side; else the second is `pairs` further.
    pub interleaved: bool,
    /// Whether to turn back, as gradients are.
    pub back: bool,
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn turn(
    x: &Array<f32>,
    cosines: &Array<f32>,
    sines: &Array<f32>,
    y: &mut Array<f32>,
    count: usize,
    dim: usize,
    heads: usize,
    pairs: usize,
    x_pitch: usize,
    y_pitch: usize,
    sign: f32,
    #[comptime] interleaved: bool,
) {
    let index = position();
    if index >= count {
        terminate!();
    }
    let within = index % dim;
    let mut value = x[place(index, dim, x_pitch)];
    if within < 2 * pairs {
        let (mut pair, mut second) = (within, 0usize);
        if interleaved {
            pair = within / 2;
            second = within % 2;
        } else if within >= pairs {
            pair = within - pairs;
            second = 1usize;
        }
        let mut distance = pairs;
        if interleaved {
            distance = 1usize;
        }
        let angle = index / dim / heads * pairs + pair;
        let (cosine, sine) = (cosines[angle], sines[angle] * sign);
        if second == 1 {
            value = value * cosine + x[place(index - distance, dim, x_pitch)] * sine;
        } else {
            value = value * cosine - x[place(index + distance, dim, x_pitch)] * sine;
        }
    }
    y[place(index, dim, y_pitch)] = value;
}

impl Kernel for Rotary {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [x, cosines, sines] = exactly(inputs);
        let (x, cosines, sines) = (
            Rows::of(x),
            into_contiguous(cosines),
            into_contiguous(sines),
        );
        let y = Rows::of(row::new(&x.tensor, x.tensor.meta.shape().clone()));
        let (heads, pairs) = (x.tensor.meta.shape()[2], cosines.meta.shape()[3]);
        let count = x.rows * x.cols;
        let dim = CubeDim::new_1d(256);
        // SAFETY: the kernel stays below `count`, both elements of a pair are in one row, and there is an
        // angle for each pair of each batch and token.
        unsafe {
            turn::launch_unchecked::<R>(
                &x.tensor.client,
                calculate_cube_count_elemwise(&x.tensor.client, count, dim),
                dim,
                Rows::address(&[&x, &y]),
                x.arg(),
                cosines.into_array_arg(),
                sines.into_array_arg(),
                y.arg(),
                count,
                x.cols,
                heads,
                pairs,
                x.pitch,
                y.pitch,
                if self.back { -1.0 } else { 1.0 },
                self.interleaved,
            );
        }
        vec![y.tensor]
    }
}
