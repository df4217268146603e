//! Softmax over the last dimension, with what attention does before it.

use burn_backend::DType;
use burn_cubecl::{CubeRuntime, kernel::into_contiguous, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{
    Kernel,
    row::{self, Rows},
    team::{Team, max_of_units, row_of, sum_of_units, unit_of},
};

/// What attention does to its scores [batch, heads, tokens, keys].
#[derive(Clone, Copy, Debug)]
pub struct Scores {
    /// Heads of the scores.
    pub heads: usize,
    /// Tokens of the scores.
    pub tokens: usize,
    /// Of a bias [batch or 1, heads or 1, tokens or 1, keys or 1] that is added, the distances between
    /// batches, heads, tokens and keys; 0 where it has one for all.
    pub bias: Option<[usize; 4]>,
    /// Whether a token sees some keys only: from the first number of the ranges [batch, tokens, 2] up to the
    /// second. Others get 0; without any, all do.
    pub ranges: bool,
}

impl Scores {
    /// Of rows that are no scores.
    const NONE: Self = Self {
        heads: 1,
        tokens: 1,
        bias: None,
        ranges: false,
    };
}

/// x → softmax(x · scale + bias) over the last dimension, or the part of it that may be seen.
///
/// Takes x [..., cols] of any type of floats, and, where there are any, the bias (float32) and the ranges
/// (int); gives the result, of x's type.
#[derive(Clone, Copy, Debug)]
pub struct Softmax {
    /// What x is multiplied by.
    pub scale: f32,
    /// What x is, where it is scores of attention.
    pub scores: Option<Scores>,
}

/// The columns that a row sees.
#[cube]
fn seen<I: Int>(
    ranges: &Array<I>,
    row: usize,
    cols: usize,
    heads: usize,
    tokens: usize,
    #[comptime] has_ranges: bool,
) -> (usize, usize) {
    let (mut first, mut last) = (0usize, cols);
    if has_ranges {
        let query = row / tokens / heads * tokens + row % tokens;
        first = usize::cast_from(ranges[2 * query]);
        last = usize::cast_from(ranges[2 * query + 1]);
    }
    (first, last)
}

/// What the softmax is of.
#[cube]
fn score<F: Float>(
    x: F,
    scale: f32,
    bias: &Array<f32>,
    place: usize,
    #[comptime] has_bias: bool,
) -> f32 {
    let mut value = f32::cast_from(x) * scale;
    if has_bias {
        value += bias[place];
    }
    value
}

/// Pitches are in vectors here.
#[cube(launch_unchecked, address_type = "dynamic")]
fn forward<F: Float, I: Int, N: Size>(
    x: &Array<Vector<F, N>>,
    bias: &Array<f32>,
    ranges: &Array<I>,
    y: &mut Array<Vector<F, N>>,
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
    #[comptime] has_ranges: bool,
    #[comptime] team: Team,
    #[define(F)] _floats: StorageType,
    #[define(I)] _ints: StorageType,
) {
    let row = row_of(team);
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(comptime!(team.places()));
    let unit = unit_of(team);
    let (start, out) = (row * x_pitch, row * y_pitch);
    let mut place = 0usize;
    if has_bias {
        let (token, rest) = (row % tokens, row / tokens);
        place = token * of_token + (rest % heads) * of_head + (rest / heads) * of_batch;
    }
    let (first, last) = seen(ranges, row, cols, heads, tokens, has_ranges);
    let begin = first / N::value() + unit;
    let mut largest = f32::min_value();
    let mut at = begin;
    while at * N::value() < last {
        let values = x[start + at];
        #[unroll]
        for lane in 0..N::value() {
            let col = at * N::value() + lane;
            if col >= first && col < last {
                let value = score::<F>(values[lane], scale, bias, place + col * of_key, has_bias);
                largest = max(largest, value);
            }
        }
        at += comptime!(team.width());
    }
    let largest = max_of_units(largest, &mut shared, team);
    let mut sum = 0.0f32;
    let mut at = begin;
    while at * N::value() < last {
        let values = x[start + at];
        #[unroll]
        for lane in 0..N::value() {
            let col = at * N::value() + lane;
            if col >= first && col < last {
                let value = score::<F>(values[lane], scale, bias, place + col * of_key, has_bias);
                sum += f32::exp(value - largest);
            }
        }
        at += comptime!(team.width());
    }
    let total = sum_of_units(sum, &mut shared, team);
    let mut share = 1.0 / total;
    if comptime!(has_bias || has_ranges) {
        // A bias has ruled out all keys: attention to none is 0.
        if total == 0.0 {
            share = 0.0f32;
        }
    }
    let mut at = unit;
    while at * N::value() < cols {
        let mut values = Vector::<F, N>::empty().fill(F::new(0.0));
        if (at + 1) * N::value() > first && at * N::value() < last {
            values = x[start + at];
        }
        let mut powers = Vector::<F, N>::empty();
        #[unroll]
        for lane in 0..N::value() {
            let col = at * N::value() + lane;
            let mut power = 0.0f32;
            if col >= first && col < last {
                let value = score::<F>(values[lane], scale, bias, place + col * of_key, has_bias);
                power = f32::exp(value - largest) * share;
            }
            powers[lane] = F::cast_from(power);
        }
        y[out + at] = powers;
        at += comptime!(team.width());
    }
}

impl Kernel for Softmax {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let mut inputs = inputs.into_iter();
        let x = Rows::of(inputs.next().unwrap_or_else(|| panic!("softmax: no input")));
        let scores = self.scores.unwrap_or(Scores::NONE);
        let mut next = |there: bool| there.then(|| inputs.next().map(into_contiguous)).flatten();
        let (bias, ranges) = (next(scores.bias.is_some()), next(scores.ranges));
        let y = Rows::of(row::alike(&x.tensor));
        let floats = x.tensor.dtype.into();
        let ranges = ranges.unwrap_or_else(|| x.tensor.clone());
        let ints = ints_of(&ranges, scores.ranges);
        let size = Rows::vector(&[&x, &y]);
        let team = Team::of(&x.tensor.client, x.cols, size);
        let strides = scores.bias.unwrap_or([0; 4]);
        // SAFETY: vectors of `size` make up rows and their distances; the kernel stays within `rows` and `cols`, within the bias by its strides, and the ranges,
        // one for each batch and token, within `cols`.
        unsafe {
            forward::launch_unchecked::<R>(
                &x.tensor.client,
                team.cubes(x.rows),
                team.dim(),
                Rows::address(&[&x, &y]),
                size,
                x.arg(),
                bias.unwrap_or_else(|| x.tensor.clone()).into_array_arg(),
                ranges.into_array_arg(),
                y.arg(),
                x.rows,
                x.cols,
                x.pitch / size,
                y.pitch / size,
                self.scale,
                scores.heads,
                scores.tokens,
                strides[0],
                strides[1],
                strides[2],
                strides[3],
                scores.bias.is_some(),
                scores.ranges,
                team,
                floats,
                ints,
            );
        }
        vec![y.tensor]
    }
}

/// The type of ranges; where there are none, one that every device has.
fn ints_of<R: CubeRuntime>(ranges: &CubeTensor<R>, there: bool) -> StorageType {
    if there {
        ranges.dtype.into()
    } else {
        DType::I32.into()
    }
}

/// The gradient of [`Softmax`]: scale · y · (dy − Σ y·dy).
///
/// Takes y and dy, of one type of floats, and the ranges where there are any; gives dx.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxBackward {
    /// What x was multiplied by.
    pub scale: f32,
    /// What x was, where it was scores of attention.
    pub scores: Option<Scores>,
}

/// Pitches are in vectors here.
#[cube(launch_unchecked, address_type = "dynamic")]
fn backward<F: Float, I: Int, N: Size>(
    y: &Array<Vector<F, N>>,
    dy: &Array<Vector<F, N>>,
    ranges: &Array<I>,
    dx: &mut Array<Vector<F, N>>,
    rows: usize,
    cols: usize,
    y_pitch: usize,
    dy_pitch: usize,
    dx_pitch: usize,
    scale: f32,
    heads: usize,
    tokens: usize,
    #[comptime] has_ranges: bool,
    #[comptime] team: Team,
    #[define(F)] _floats: StorageType,
    #[define(I)] _ints: StorageType,
) {
    let row = row_of(team);
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(comptime!(team.places()));
    let unit = unit_of(team);
    let (first, last) = seen(ranges, row, cols, heads, tokens, has_ranges);
    let mut sum = 0.0f32;
    let mut at = first / N::value() + unit;
    while at * N::value() < last {
        let (values, slopes) = (y[row * y_pitch + at], dy[row * dy_pitch + at]);
        #[unroll]
        for lane in 0..N::value() {
            let col = at * N::value() + lane;
            if col >= first && col < last {
                sum += f32::cast_from(values[lane]) * f32::cast_from(slopes[lane]);
            }
        }
        at += comptime!(team.width());
    }
    let total = sum_of_units(sum, &mut shared, team);
    let mut at = unit;
    while at * N::value() < cols {
        let mut values = Vector::<F, N>::empty().fill(F::new(0.0));
        let mut slopes = Vector::<F, N>::empty().fill(F::new(0.0));
        if (at + 1) * N::value() > first && at * N::value() < last {
            values = y[row * y_pitch + at];
            slopes = dy[row * dy_pitch + at];
        }
        let mut results = Vector::<F, N>::empty();
        #[unroll]
        for lane in 0..N::value() {
            let col = at * N::value() + lane;
            let mut value = 0.0f32;
            if col >= first && col < last {
                let slope = f32::cast_from(slopes[lane]) - total;
                value = scale * f32::cast_from(values[lane]) * slope;
            }
            results[lane] = F::cast_from(value);
        }
        dx[row * dx_pitch + at] = results;
        at += comptime!(team.width());
    }
}

impl Kernel for SoftmaxBackward {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let mut inputs = inputs.into_iter();
        let (Some(y), Some(dy), ranges) = (inputs.next(), inputs.next(), inputs.next()) else {
            panic!("softmax: an input is missing");
        };
        let (y, dy) = (Rows::of(y), Rows::of(dy));
        let scores = self.scores.unwrap_or(Scores::NONE);
        let ranges = ranges.map_or_else(|| y.tensor.clone(), into_contiguous);
        let ints = ints_of(&ranges, scores.ranges);
        let dx = Rows::of(row::alike(&y.tensor));
        let floats = y.tensor.dtype.into();
        let size = Rows::vector(&[&y, &dy, &dx]);
        let team = Team::of(&y.tensor.client, y.cols, size);
        // SAFETY: vectors of `size` make up rows and their distances; the kernel stays within `rows` and
        // `cols`, which all of these have.
        unsafe {
            backward::launch_unchecked::<R>(
                &y.tensor.client,
                team.cubes(y.rows),
                team.dim(),
                Rows::address(&[&y, &dy, &dx]),
                size,
                y.arg(),
                dy.arg(),
                ranges.into_array_arg(),
                dx.arg(),
                y.rows,
                y.cols,
                y.pitch / size,
                dy.pitch / size,
                dx.pitch / size,
                self.scale,
                scores.heads,
                scores.tokens,
                scores.ranges,
                team,
                floats,
                ints,
            );
        }
        vec![dx.tensor]
    }
}
