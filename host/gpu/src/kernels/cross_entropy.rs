//! Cross entropy of rows of logits, without keeping probabilities.

use burn_backend::DType;
use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{
    Kernel, exactly,
    row::{self, Rows},
    team::{Team, max_of_units, row_of, sum_of_units, unit_of},
};

/// The loss of each row: lse − (1 − ε)·x[target] − ε·mean(x).
///
/// Takes logits [rows, classes] and targets (int, each a class) [rows]; gives the losses and log Σ eˣ,
/// [rows] each.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy {
    /// ε, the share of the target that is spread over all classes.
    pub label_smoothing: f32,
}

/// Pitches are in vectors here, of which the last of a row may be no longer in it.
#[cube(launch_unchecked, address_type = "dynamic")]
fn forward<I: Int, N: Size>(
    x: &Array<Vector<f32, N>>,
    targets: &Array<I>,
    losses: &mut Array<f32>,
    sums: &mut Array<f32>,
    rows: usize,
    cols: usize,
    pitch: usize,
    smoothing: f32,
    #[comptime] team: Team,
    #[define(I)] _ints: StorageType,
) {
    let row = row_of(team);
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(comptime!(team.places()));
    let unit = unit_of(team);
    let start = row * pitch;
    // One walk: the sum is kept relative to the largest so far (Milakov and Gimelshein 2018, "Online
    // normalizer calculation for softmax").
    let mut own = f32::min_value();
    let mut sum = 0.0f32;
    let mut total = 0.0f32;
    let mut at = unit;
    while at * N::value() < cols {
        let values = x[start + at];
        #[unroll]
        for lane in 0..N::value() {
            if at * N::value() + lane < cols {
                let value = values[lane];
                if value > own {
                    sum *= f32::exp(own - value);
                    own = value;
                }
                sum += f32::exp(value - own);
                total += value;
            }
        }
        at += comptime!(team.width());
    }
    let largest = max_of_units(own, &mut shared, team);
    let sum = sum_of_units(sum * f32::exp(own - largest), &mut shared, team);
    let lse = largest + f32::ln(sum);
    let mean = sum_of_units(total, &mut shared, team) / f32::cast_from(cols);
    if unit == 0 {
        let target = usize::cast_from(targets[row]);
        let near = x[start + target / N::value()];
        let mut hit = 0.0f32;
        #[unroll]
        for lane in 0..N::value() {
            if target % N::value() == lane {
                hit = near[lane];
            }
        }
        sums[row] = lse;
        let mut loss = (1.0 - smoothing) * (lse - hit);
        // Of classes that are ruled out the mean is infinite, and 0 times that is no number.
        if smoothing != 0.0 {
            loss += smoothing * (lse - mean);
        }
        losses[row] = loss;
    }
}

impl Kernel for CrossEntropy {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [x, targets] = exactly(inputs);
        let (x, targets) = (Rows::of(x), into_contiguous(targets));
        let size = Rows::vector_over_gaps(&[&x]);
        let team = Team::of(&x.tensor.client, x.cols, size);
        let [losses, sums] = [(); 2].map(|()| row::new(&x.tensor, [x.rows].into()));
        let ints = targets.dtype.into();
        // SAFETY: vectors of `size` stay within the memory of x; the kernel stays within `rows` and `cols`, and
        // targets are below `cols`.
        unsafe {
            forward::launch_unchecked::<R>(
                &x.tensor.client,
                team.cubes(x.rows),
                team.dim(),
                Rows::address(&[&x]),
                size,
                x.arg(),
                targets.into_array_arg(),
                losses.clone().into_array_arg(),
                sums.clone().into_array_arg(),
                x.rows,
                x.cols,
                x.pitch / size,
                self.label_smoothing,
                team,
                ints,
            );
        }
        vec![losses, sums]
    }
}

/// The gradient of [`CrossEntropy`]: scale · (softmax − (1 − ε)·[target] − ε/classes).
///
/// Takes logits [rows, classes], targets, log Σ eˣ and the scales, [rows] each; gives dx.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropyBackward {
    /// ε, the share of the target that is spread over all classes.
    pub label_smoothing: f32,
    /// The type of the result.
    pub dtype: DType,
}

/// As [`forward`].
#[cube(launch_unchecked, address_type = "dynamic")]
fn backward<F: Float, I: Int, N: Size>(
    x: &Array<Vector<f32, N>>,
    targets: &Array<I>,
    sums: &Array<f32>,
    scales: &Array<f32>,
    dx: &mut Array<Vector<F, N>>,
    rows: usize,
    cols: usize,
    x_pitch: usize,
    dx_pitch: usize,
    smoothing: f32,
    #[comptime] team: Team,
    #[define(F)] _of_dx: StorageType,
    #[define(I)] _ints: StorageType,
) {
    let row = row_of(team);
    if row >= rows {
        terminate!();
    }
    let (target, lse, scale) = (usize::cast_from(targets[row]), sums[row], scales[row]);
    let rest = smoothing / f32::cast_from(cols);
    let mut at = unit_of(team);
    while at * N::value() < cols {
        let values = x[row * x_pitch + at];
        let mut results = Vector::<F, N>::empty();
        #[unroll]
        for lane in 0..N::value() {
            let mut value = f32::exp(values[lane] - lse) - rest;
            if at * N::value() + lane == target {
                value -= 1.0 - smoothing;
            }
            value *= scale;
            // Rows that do not count, whatever is in them.
            if scale == 0.0 {
                value = 0.0f32;
            }
            results[lane] = F::cast_from(value);
        }
        dx[row * dx_pitch + at] = results;
        at += comptime!(team.width());
    }
}

impl Kernel for CrossEntropyBackward {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [x, targets, sums, scales] = exactly(inputs);
        let (x, targets) = (Rows::of(x), into_contiguous(targets));
        let (sums, scales) = (into_contiguous(sums), into_contiguous(scales));
        let shape = x.tensor.meta.shape().clone();
        let dx = Rows::of(row::of_type(&x.tensor, shape, self.dtype));
        let size = Rows::vector_over_gaps(&[&x, &dx]);
        let team = Team::of(&x.tensor.client, x.cols, size);
        let ints = targets.dtype.into();
        // SAFETY: vectors of `size` stay within the memory of x and dx; the kernel stays within `rows` and
        // `cols`, which all of these have.
        unsafe {
            backward::launch_unchecked::<R>(
                &x.tensor.client,
                team.cubes(x.rows),
                team.dim(),
                Rows::address(&[&x, &dx]),
                size,
                x.arg(),
                targets.into_array_arg(),
                sums.into_array_arg(),
                scales.into_array_arg(),
                dx.arg(),
                x.rows,
                x.cols,
                x.pitch / size,
                dx.pitch / size,
                self.label_smoothing,
                team,
                self.dtype.into(),
                ints,
            );
        }
        vec![dx.tensor]
    }
}
