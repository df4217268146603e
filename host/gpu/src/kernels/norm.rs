//! Layer norm and RMS norm over the last dimension.

use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{
    Kernel,
    row::{self, Rows},
    team::{Team, row_of, sum_of_units, unit_of},
};

/// x → (x − mean) / √(variance + eps) · weight + bias, or x / √(mean(x²) + eps) · weight.
///
/// Takes x [..., cols], then weight and bias [cols] where there are any; gives the result, the mean (if
/// centred) and the inverse root of each row [rows].
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Whether the mean is subtracted: layer norm.
    pub centred: bool,
    /// Whether there is a weight.
    pub weight: bool,
    /// Whether there is a bias.
    pub bias: bool,
    /// Added to the variance.
    pub eps: f32,
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn forward(
    x: &Array<f32>,
    weight: &Array<f32>,
    bias: &Array<f32>,
    y: &mut Array<f32>,
    means: &mut Array<f32>,
    roots: &mut Array<f32>,
    rows: usize,
    cols: usize,
    x_pitch: usize,
    y_pitch: usize,
    eps: f32,
    #[comptime] centred: bool,
    #[comptime] has_weight: bool,
    #[comptime] has_bias: bool,
    #[comptime] team: Team,
) {
    let row = row_of(team);
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(comptime!(team.places()));
    let unit = unit_of(team);
    let start = row * x_pitch;
    let mut mean = 0.0f32;
    if centred {
        let mut sum = 0.0f32;
        let mut col = unit;
        while col < cols {
            sum += x[start + col];
            col += comptime!(team.width());
        }
        mean = sum_of_units(sum, &mut shared, team) / f32::cast_from(cols);
    }
    let mut square = 0.0f32;
    let mut col = unit;
    while col < cols {
        let value = x[start + col] - mean;
        square += value * value;
        col += comptime!(team.width());
    }
    let variance = sum_of_units(square, &mut shared, team) / f32::cast_from(cols);
    let root = 1.0 / f32::sqrt(variance + eps);
    if unit == 0 {
        roots[row] = root;
        if centred {
            means[row] = mean;
        }
    }
    let out = row * y_pitch;
    let mut col = unit;
    while col < cols {
        let mut value = (x[start + col] - mean) * root;
        if has_weight {
            value *= weight[col];
        }
        if has_bias {
            value += bias[col];
        }
        y[out + col] = value;
        col += comptime!(team.width());
    }
}

impl Kernel for Norm {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let mut inputs = inputs.into_iter().map(Rows::of);
        let x = inputs.next().unwrap_or_else(|| panic!("norm: no input"));
        let weight = inputs.next();
        let bias = inputs.next();
        let shape = x.tensor.meta.shape().clone();
        let y = Rows::of(row::new(&x.tensor, shape));
        let roots = row::new(&x.tensor, [x.rows].into());
        let means = self.centred.then(|| row::new(&x.tensor, [x.rows].into()));
        let team = Team::of(&x.tensor.client, x.cols, 1);
        // SAFETY: the kernel stays within `rows` and `cols`, which all of these have.
        unsafe {
            forward::launch_unchecked::<R>(
                &x.tensor.client,
                team.cubes(x.rows),
                team.dim(),
                Rows::address(&[&x, &y]),
                x.arg(),
                weight.as_ref().unwrap_or(&x).arg(),
                bias.as_ref().unwrap_or(&x).arg(),
                y.arg(),
                means.as_ref().unwrap_or(&roots).clone().into_array_arg(),
                roots.clone().into_array_arg(),
                x.rows,
                x.cols,
                x.pitch,
                y.pitch,
                self.eps,
                self.centred,
                self.weight,
                self.bias,
                team,
            );
        }
        [Some(y.tensor), means, Some(roots)]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// The gradients of [`Norm`].
///
/// Takes x, dy, the means (if centred), the inverse roots, and the weight where there is one; gives dx, and
/// where it is asked for the sums over parts of the rows [parts, 2, cols] of what weight and bias get.
#[derive(Clone, Copy, Debug)]
pub struct NormBackward {
    /// Whether the mean was subtracted.
    pub centred: bool,
    /// Whether there is a weight.
    pub weight: bool,
    /// Whether weight or bias want gradients.
    pub affine: bool,
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn backward(
    x: &Array<f32>,
    dy: &Array<f32>,
    means: &Array<f32>,
    roots: &Array<f32>,
    weight: &Array<f32>,
    dx: &mut Array<f32>,
    rows: usize,
    cols: usize,
    x_pitch: usize,
    dy_pitch: usize,
    dx_pitch: usize,
    #[comptime] centred: bool,
    #[comptime] has_weight: bool,
    #[comptime] team: Team,
) {
    let row = row_of(team);
    if row >= rows {
        terminate!();
    }
    let mut shared = SharedMemory::<f32>::new(comptime!(team.places()));
    let unit = unit_of(team);
    let mut mean = 0.0f32;
    if centred {
        mean = means[row];
    }
    let root = roots[row];
    let mut sum = 0.0f32;
    let mut product = 0.0f32;
    let mut col = unit;
    while col < cols {
        let mut inner = dy[row * dy_pitch + col];
        if has_weight {
            inner *= weight[col];
        }
        sum += inner;
        product += inner * (x[row * x_pitch + col] - mean) * root;
        col += comptime!(team.width());
    }
    let product = sum_of_units(product, &mut shared, team) / f32::cast_from(cols);
    let mut centre = 0.0f32;
    if centred {
        centre = sum_of_units(sum, &mut shared, team) / f32::cast_from(cols);
    }
    let mut col = unit;
    while col < cols {
        let mut inner = dy[row * dy_pitch + col];
        if has_weight {
            inner *= weight[col];
        }
        let normal = (x[row * x_pitch + col] - mean) * root;
        dx[row * dx_pitch + col] = (inner - centre - normal * product) * root;
        col += comptime!(team.width());
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn affine(
    x: &Array<f32>,
    dy: &Array<f32>,
    means: &Array<f32>,
    roots: &Array<f32>,
    sums: &mut Array<f32>,
    rows: usize,
    cols: usize,
    x_pitch: usize,
    dy_pitch: usize,
    part: usize,
    #[comptime] centred: bool,
) {
    let col = CUBE_POS_X as usize * CUBE_DIM as usize + UNIT_POS as usize;
    if col >= cols {
        terminate!();
    }
    let first = CUBE_POS_Y as usize * part;
    let last = min(first + part, rows);
    let mut for_weight = 0.0f32;
    let mut for_bias = 0.0f32;
    let mut row = first;
    while row < last {
        let mut value = x[row * x_pitch + col];
        if centred {
            value -= means[row];
        }
        let slope = dy[row * dy_pitch + col];
        for_weight += slope * value * roots[row];
        for_bias += slope;
        row += 1;
    }
    let out = CUBE_POS_Y as usize * 2 * cols + col;
    sums[out] = for_weight;
    sums[out + cols] = for_bias;
}

impl Kernel for NormBackward {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let mut inputs = inputs.into_iter();
        let mut next = || {
            Rows::of(
                inputs
                    .next()
                    .unwrap_or_else(|| panic!("norm: an input is missing")),
            )
        };
        let (x, dy) = (next(), next());
        let means = self.centred.then(&mut next);
        let roots = next();
        let weight = self.weight.then(&mut next);
        let shape = x.tensor.meta.shape().clone();
        let dx = Rows::of(row::new(&x.tensor, shape));
        let team = Team::of(&x.tensor.client, x.cols, 1);
        let client = &x.tensor.client;
        let address = Rows::address(&[&x, &dy, &dx]);
        let means = means.as_ref().unwrap_or(&roots);
        // SAFETY: the kernel stays within `rows` and `cols`, which all of these have.
        unsafe {
            backward::launch_unchecked::<R>(
                client,
                team.cubes(x.rows),
                team.dim(),
                address,
                x.arg(),
                dy.arg(),
                means.arg(),
                roots.arg(),
                weight.as_ref().unwrap_or(&roots).arg(),
                dx.arg(),
                x.rows,
                x.cols,
                x.pitch,
                dy.pitch,
                dx.pitch,
                self.centred,
                self.weight,
                team,
            );
        }
        if !self.affine {
            return vec![dx.tensor];
        }
        let (parts, cubes) = row::parts(x.rows, x.cols);
        let part = x.rows.div_ceil(parts);
        let sums = row::packed(&x.tensor, [parts, 2, x.cols].into());
        // SAFETY: each cube stays within the columns and its part of the rows; `sums` has a place for each.
        unsafe {
            affine::launch_unchecked::<R>(
                client,
                cubes,
                CubeDim::new_1d(row::COLUMNS),
                address,
                x.arg(),
                dy.arg(),
                means.arg(),
                roots.arg(),
                sums.clone().into_array_arg(),
                x.rows,
                x.cols,
                x.pitch,
                dy.pitch,
                part,
                self.centred,
            );
        }
        vec![dx.tensor, sums]
    }
}
