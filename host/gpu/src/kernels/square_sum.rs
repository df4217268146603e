//! The sum of the squares of many tensors.

use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{
    Kernel,
    row::{Rows, Team, packed, place, position, sum_of_units},
};

/// Cubes for a tensor.
const CUBES: usize = 1024;
/// Elements that are worth a cube.
const WORTH: usize = 4096;

/// The sum of all squares, in parts.
///
/// Takes tensors; gives one of sums, whose sum it is.
#[derive(Clone, Copy, Debug)]
pub struct SquareSum;

#[cube(launch_unchecked, address_type = "dynamic")]
fn squares(
    x: &Array<f32>,
    sums: &mut Array<f32>,
    rows: usize,
    cols: usize,
    pitch: usize,
    first: usize,
    #[comptime] team: Team,
) {
    let mut shared = SharedMemory::<f32>::new(comptime!(team.places()));
    let mut sum = 0.0f32;
    let count = rows * cols;
    let mut index = position();
    let step = CUBE_COUNT * comptime!(team.width());
    while index < count {
        let value = x[place(index, cols, pitch)];
        sum += value * value;
        index += step;
    }
    let sum = sum_of_units(sum, &mut shared, team);
    if UNIT_POS == 0 {
        sums[first + CUBE_POS] = sum;
    }
}

impl Kernel for SquareSum {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let inputs: Vec<Rows<R>> = inputs.into_iter().map(Rows::of).collect();
        let cubes = |x: &Rows<R>| (x.rows * x.cols).div_ceil(WORTH).clamp(1, CUBES);
        let total = inputs.iter().map(cubes).sum::<usize>();
        let Some(one) = inputs.first() else {
            return Vec::new();
        };
        let sums = packed(&one.tensor, [total].into());
        let team = Team::cube(&one.tensor.client);
        let mut first = 0;
        for x in &inputs {
            let count = cubes(x);
            // The walk goes past the end, where 32 bits would begin anew.
            let address = match (x.rows * x.cols) >> 31 {
                0 => Rows::address(&[x]),
                _ => AddressType::U64,
            };
            // SAFETY: the kernel stays within the tensor, and each cube has a place of its own.
            unsafe {
                squares::launch_unchecked::<R>(
                    &x.tensor.client,
                    CubeCount::Static(count as u32, 1, 1),
                    team.dim(),
                    address,
                    x.arg(),
                    sums.clone().into_array_arg(),
                    x.rows,
                    x.cols,
                    x.pitch,
                    first,
                    team,
                );
            }
            first += count;
        }
        vec![sums]
    }
}
