//! Activations, element by element.

use burn_backend::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::{calculate_cube_count_elemwise, prelude::*};

use super::{
    Kernel, exactly,
    row::{self, Rows, place, position},
};

/// √(2/π) and the cubic factor of GELU's tanh form; 1/√2, 1/√(2π).
const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;
const FRAC_1_SQRT_2: f32 = std::f32::consts::FRAC_1_SQRT_2;
const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;

const UNITS: u32 = 256;

/// Which function.
///
/// As a kernel: takes x, gives the function of it. [`Pointwise::SiluMul`] takes x and what silu(x) is
/// multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pointwise {
    /// x · Φ(x).
    Gelu,
    /// x · ½(1 + tanh(√(2/π)(x + 0.044715 x³))).
    GeluTanh,
    /// x · sigmoid(x).
    Silu,
    /// silu(x) · up.
    SiluMul,
}

/// The slope of a function of [`Pointwise`] times dy. Takes x and, of any type of floats, dy; gives dx. Not for
/// [`Pointwise::SiluMul`].
#[derive(Clone, Copy, Debug)]
pub struct PointwiseBackward {
    /// Of which function.
    pub function: Pointwise,
    /// The type of the result.
    pub dtype: DType,
}

/// The gradients of [`Pointwise::SiluMul`]. Takes x, up and, of any type of floats, dy; gives dx and dup.
#[derive(Clone, Copy, Debug)]
pub struct SiluMulBackward {
    /// The type of the results.
    pub dtype: DType,
}

#[cube]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + f32::exp(-x))
}

/// The part of x that each function lets through.
#[cube]
fn share(x: f32, #[comptime] function: Pointwise) -> f32 {
    match comptime!(function) {
        // ½(1 + tanh u) is sigmoid(2u).
        Pointwise::GeluTanh => sigmoid(2.0 * SQRT_2_OVER_PI * (x + CUBIC * x * x * x)),
        Pointwise::Gelu => 0.5 * (1.0 + Erf::erf(x * FRAC_1_SQRT_2)),
        Pointwise::Silu | Pointwise::SiluMul => sigmoid(x),
    }
}

#[cube]
fn slope(x: f32, #[comptime] function: Pointwise) -> f32 {
    let share = share(x, function);
    match comptime!(function) {
        Pointwise::GeluTanh => {
            let inner = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * x * x);
            share + x * 2.0 * share * (1.0 - share) * inner
        }
        Pointwise::Gelu => share + x * FRAC_1_SQRT_TAU * f32::exp(-0.5 * x * x),
        Pointwise::Silu | Pointwise::SiluMul => share * (1.0 + x * (1.0 - share)),
    }
}

/// Counts, columns and pitches are in vectors here, of which each unit has one: reads that wait for memory
/// together.
#[cube(launch_unchecked, address_type = "dynamic")]
fn forward<N: Size>(
    x: &Array<Vector<f32, N>>,
    up: &Array<Vector<f32, N>>,
    y: &mut Array<Vector<f32, N>>,
    count: usize,
    cols: usize,
    x_pitch: usize,
    up_pitch: usize,
    y_pitch: usize,
    #[comptime] function: Pointwise,
) {
    let index = position();
    if index >= count {
        terminate!();
    }
    let values = x[place(index, cols, x_pitch)];
    let mut ups = values;
    if comptime!(function == Pointwise::SiluMul) {
        ups = up[place(index, cols, up_pitch)];
    }
    let mut results = Vector::<f32, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let value = values[lane];
        let mut out = value * share(value, function);
        if comptime!(function == Pointwise::SiluMul) {
            out *= ups[lane];
        }
        results[lane] = out;
    }
    y[place(index, cols, y_pitch)] = results;
}

/// As [`forward`].
#[cube(launch_unchecked, address_type = "dynamic")]
fn backward<F: Float, G: Float, N: Size>(
    x: &Array<Vector<f32, N>>,
    up: &Array<Vector<f32, N>>,
    dy: &Array<Vector<F, N>>,
    dx: &mut Array<Vector<G, N>>,
    dup: &mut Array<Vector<G, N>>,
    count: usize,
    cols: usize,
    x_pitch: usize,
    up_pitch: usize,
    dy_pitch: usize,
    dx_pitch: usize,
    #[comptime] function: Pointwise,
    #[define(F)] _of_dy: StorageType,
    #[define(G)] _of_dx: StorageType,
) {
    let index = position();
    if index >= count {
        terminate!();
    }
    let values = x[place(index, cols, x_pitch)];
    let grads = dy[place(index, cols, dy_pitch)];
    let mut ups = values;
    if comptime!(function == Pointwise::SiluMul) {
        ups = up[place(index, cols, up_pitch)];
    }
    let mut for_x = Vector::<G, N>::empty();
    let mut for_up = Vector::<G, N>::empty();
    #[unroll]
    for lane in 0..N::value() {
        let value = values[lane];
        let mut grad = f32::cast_from(grads[lane]);
        if comptime!(function == Pointwise::SiluMul) {
            for_up[lane] = G::cast_from(grad * value * share(value, function));
            grad *= ups[lane];
        }
        for_x[lane] = G::cast_from(grad * slope(value, function));
    }
    let out = place(index, cols, dx_pitch);
    dx[out] = for_x;
    if comptime!(function == Pointwise::SiluMul) {
        dup[out] = for_up;
    }
}

fn launch<R: CubeRuntime>(count: usize, x: &Rows<R>) -> (CubeCount, CubeDim) {
    let dim = CubeDim::new_1d(UNITS);
    let count = calculate_cube_count_elemwise(&x.tensor.client, count, dim);
    (count, dim)
}

impl Kernel for Pointwise {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let mut inputs = inputs.into_iter().map(Rows::of);
        let x = inputs.next().unwrap_or_else(|| panic!("no input"));
        let up = inputs.next();
        let y = Rows::of(row::new(&x.tensor, x.tensor.meta.shape().clone()));
        let up = up.as_ref().unwrap_or(&x);
        let size = Rows::vector(&[&x, up, &y]);
        let count = x.rows * x.cols / size;
        let (cubes, dim) = launch(count, &x);
        // SAFETY: the kernel stays below `count`, and all of these have so many vectors.
        unsafe {
            forward::launch_unchecked::<R>(
                &x.tensor.client,
                cubes,
                dim,
                Rows::address(&[&x, up, &y]),
                size,
                x.arg(),
                up.arg(),
                y.arg(),
                count,
                x.cols / size,
                x.pitch / size,
                up.pitch / size,
                y.pitch / size,
                self,
            );
        }
        vec![y.tensor]
    }
}

fn gradients<R: CubeRuntime>(
    function: Pointwise,
    x: &Rows<R>,
    up: Option<&Rows<R>>,
    dy: &Rows<R>,
    dtype: DType,
) -> Vec<CubeTensor<R>> {
    let new = || {
        Rows::of(row::of_type(
            &x.tensor,
            x.tensor.meta.shape().clone(),
            dtype,
        ))
    };
    let dx = new();
    let dup = up.map(|_| new());
    let up = up.unwrap_or(x);
    let size = Rows::vector(&[x, up, dy, &dx]);
    let count = x.rows * x.cols / size;
    let (cubes, dim) = launch(count, x);
    // SAFETY: the kernel stays below `count`, and all of these have so many vectors; dx and dup, of one
    // shape, are laid out alike.
    unsafe {
        backward::launch_unchecked::<R>(
            &x.tensor.client,
            cubes,
            dim,
            Rows::address(&[x, up, dy, &dx]),
            size,
            x.arg(),
            up.arg(),
            dy.arg(),
            dx.arg(),
            dup.as_ref().unwrap_or(&dx).arg(),
            count,
            x.cols / size,
            x.pitch / size,
            up.pitch / size,
            dy.pitch / size,
            dx.pitch / size,
            function,
            dy.tensor.dtype.into(),
            dtype.into(),
        );
    }
    [Some(dx), dup]
        .into_iter()
        .flatten()
        .map(|rows| rows.tensor)
        .collect()
}

impl Kernel for PointwiseBackward {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [x, dy] = exactly(inputs).map(Rows::of);
        gradients(self.function, &x, None, &dy, self.dtype)
    }
}

impl Kernel for SiluMulBackward {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [x, up, dy] = exactly(inputs).map(Rows::of);
        gradients(Pointwise::SiluMul, &x, Some(&up), &dy, self.dtype)
    }
}
