//! Sums of columns: what the gradient of a bias is.

use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{
    Kernel, exactly,
    row::{self, Rows},
};

/// Rows that are not worth dividing.
const FEW: usize = 64;

/// Takes x [..., cols] of any type of floats; gives the sums over all rows, [cols], in float32.
#[derive(Clone, Copy, Debug)]
pub struct ColumnSum;

#[cube(launch_unchecked, address_type = "dynamic")]
fn add_rows<F: Float>(
    x: &Array<F>,
    sums: &mut Array<f32>,
    rows: usize,
    cols: usize,
    pitch: usize,
    part: usize,
    #[define(F)] _floats: StorageType,
) {
    let col = CUBE_POS_X as usize * CUBE_DIM as usize + UNIT_POS as usize;
    if col >= cols {
        terminate!();
    }
    let mut row = CUBE_POS_Y as usize * part;
    let last = min(row + part, rows);
    let mut sum = 0.0f32;
    while row < last {
        sum += f32::cast_from(x[row * pitch + col]);
        row += 1;
    }
    sums[CUBE_POS_Y as usize * cols + col] = sum;
}

fn add<R: CubeRuntime>(x: &Rows<R>, parts: usize, cubes: CubeCount) -> CubeTensor<R> {
    let shape = match parts {
        1 => [x.cols].into(),
        _ => [parts, x.cols].into(),
    };
    let sums = row::packed(&x.tensor, shape);
    // SAFETY: each cube stays within the columns and its part of the rows; `sums` has a place for each.
    unsafe {
        add_rows::launch_unchecked::<R>(
            &x.tensor.client,
            cubes,
            CubeDim::new_1d(row::COLUMNS),
            Rows::address(&[x]),
            x.arg(),
            sums.clone().into_array_arg(),
            x.rows,
            x.cols,
            x.pitch,
            x.rows.div_ceil(parts),
            x.tensor.dtype.into(),
        );
    }
    sums
}

impl Kernel for ColumnSum {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [mut x] = exactly(inputs).map(Rows::of);
        if x.rows > FEW {
            let (parts, cubes) = row::parts(x.rows, x.cols);
            x = Rows::of(add(&x, parts, cubes));
        }
        let cubes = row::columns(x.cols, 1);
        vec![add(&x, 1, cubes)]
    }
}
