//! Dropout whose mask is a function of a key: the n-th element is kept when the n-th number of the key is at
//! least p. The numbers are SplitMix64's as on the processor (`tenon_tensor::rng`), bit for bit, in pairs of
//! 32 bits, since not every GPU has 64.

use burn_backend::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{
    Kernel, exactly,
    row::{self, Rows, place, position},
};

/// Takes x, of less than 2³² elements of any type of floats; gives x / (1 − p) where it is kept, else 0. Its own backward.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// The probability of a 0.
    pub p: f32,
    /// What the mask is a function of.
    pub key: u64,
    /// The type of the result.
    pub dtype: DType,
}

/// The random number of an index in [0, 1), a multiple of 2⁻²⁴.
#[cube]
fn uniform(index: u32, key_low: u32, key_high: u32) -> f32 {
    // key + (index + 1) · 0x9E3779B97F4A7C15
    let count = index + 1;
    let product = count * 0x7F4A_7C15u32;
    let low = product + key_low;
    let mut carry = 0u32;
    if low < product {
        carry = 1u32;
    }
    let mut high = count.mul_hi(0x7F4A_7C15u32) + count * 0x9E37_79B9u32 + key_high + carry;
    if count == 0 {
        // 2³² · γ
        high += 0x7F4A_7C15u32;
    }
    // (z ^ z >> 30) · 0xBF58476D1CE4E5B9
    let a_low = low ^ ((low >> 30) | (high << 2));
    let a_high = high ^ (high >> 30);
    let b_low = a_low * 0x1CE4_E5B9u32;
    let b_high = a_low.mul_hi(0x1CE4_E5B9u32) + a_low * 0xBF58_476Du32 + a_high * 0x1CE4_E5B9u32;
    // (z ^ z >> 27) · 0x94D049BB133111EB
    let c_low = b_low ^ ((b_low >> 27) | (b_high << 5));
    let c_high = b_high ^ (b_high >> 27);
    let d_high = c_low.mul_hi(0x1331_11EBu32) + c_low * 0x94D0_49BBu32 + c_high * 0x1331_11EBu32;
    // z ^ z >> 31, of which the uppermost 24 bits count.
    f32::cast_from((d_high ^ (d_high >> 31)) >> 8) * (1.0 / 16_777_216.0)
}

/// Counts, columns and pitches are in vectors here, of which each unit has one.
#[cube(launch_unchecked, address_type = "dynamic")]
fn forward<F: Float, G: Float, N: Size>(
    x: &Array<Vector<F, N>>,
    y: &mut Array<Vector<G, N>>,
    count: usize,
    cols: usize,
    x_pitch: usize,
    y_pitch: usize,
    p: f32,
    scale: f32,
    key_low: u32,
    key_high: u32,
    #[define(F)] _of_x: StorageType,
    #[define(G)] _of_y: StorageType,
) {
    let index = position();
    if index >= count {
        terminate!();
    }
    let values = x[place(index, cols, x_pitch)];
    let mut results = Vector::<G, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let mut value = 0.0f32;
        let element = u32::cast_from(index * N::value() + lane);
        if uniform(element, key_low, key_high) >= p {
            value = f32::cast_from(values[lane]) * scale;
        }
        results[lane] = G::cast_from(value);
    }
    y[place(index, cols, y_pitch)] = results;
}

impl Kernel for Dropout {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [x] = exactly(inputs).map(Rows::of);
        let shape = x.tensor.meta.shape().clone();
        let y = Rows::of(row::of_type(&x.tensor, shape, self.dtype));
        let size = Rows::vector(&[&x, &y]);
        let count = x.rows * x.cols / size;
        let dim = CubeDim::new_1d(256);
        // SAFETY: the kernel stays below `count`, and both have so many vectors.
        unsafe {
            forward::launch_unchecked::<R>(
                &x.tensor.client,
                calculate_cube_count_elemwise(&x.tensor.client, count, dim),
                dim,
                Rows::address(&[&x, &y]),
                size,
                x.arg(),
                y.arg(),
                count,
                x.cols / size,
                x.pitch / size,
                y.pitch / size,
                self.p,
                1.0 / (1.0 - self.p),
                self.key as u32,
                (self.key >> 32) as u32,
                x.tensor.dtype.into(),
                self.dtype.into(),
            );
        }
        vec![y.tensor]
    }
}
