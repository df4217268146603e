//! The sum of the squares of many tensors.

use std::cmp::Reverse;

use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{
    Kernel,
    row::{Rows, packed, place},
    several,
    team::{Team, sum_of_units},
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

/// Each tensor has the cubes from the end of the last to its own. Counts, columns and pitches are in vectors.
#[cube(launch_unchecked, address_type = "dynamic")]
fn squares<N: Size>(
    x: &Sequence<Array<Vector<f32, N>>>,
    sums: &mut Array<f32>,
    counts: &Sequence<usize>,
    cols: &Sequence<usize>,
    pitches: &Sequence<usize>,
    ends: &Sequence<usize>,
    place_of_first: usize,
    #[comptime] tensors: usize,
    #[comptime] team: Team,
) {
    let mut shared = SharedMemory::<f32>::new(comptime!(team.places()));
    let width = comptime!(team.width());
    let mut sum = 0.0f32;
    let mut first = 0usize;
    #[unroll]
    for tensor in 0..tensors {
        let end = *ends.index(tensor);
        if CUBE_POS >= first && CUBE_POS < end {
            let x = x.index(tensor);
            let count = *counts.index(tensor);
            let (cols, pitch) = (*cols.index(tensor), *pitches.index(tensor));
            let mut index = (CUBE_POS - first) * width + UNIT_POS as usize;
            while index < count {
                let values = x[place(index, cols, pitch)];
                #[unroll]
                for lane in 0..N::value() {
                    sum += values[lane] * values[lane];
                }
                index += (end - first) * width;
            }
        }
        first = end;
    }
    let sum = sum_of_units(sum, &mut shared, team);
    if UNIT_POS == 0 {
        sums[place_of_first + CUBE_POS] = sum;
    }
}

impl Kernel for SquareSum {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let mut inputs: Vec<Rows<R>> = inputs.into_iter().map(Rows::of).collect();
        // So that what has to be read one by one does not make others be.
        inputs.sort_by_key(|x| Reverse(Rows::vector(&[x])));
        let count = |x: &Rows<R>| x.rows * x.cols;
        let cubes = |x: &Rows<R>| count(x).div_ceil(WORTH).clamp(1, CUBES);
        let total = inputs.iter().map(cubes).sum::<usize>();
        let Some(one) = inputs.first() else {
            return Vec::new();
        };
        let client = one.tensor.client.clone();
        let sums = packed(&one.tensor, [total].into());
        let team = Team::cube(&client);
        let mut first = 0;
        for tensors in several(inputs.len(), 1, &client) {
            let rest = inputs.split_off(tensors);
            let mut end = 0;
            let mut ends = Vec::with_capacity(tensors);
            for x in &inputs {
                end += cubes(x);
                ends.push(end);
            }
            // The walk goes past the end, where 32 bits would begin anew.
            let address = match inputs.iter().any(|x| count(x) >> 31 > 0) {
                false => Rows::address(&inputs.iter().collect::<Vec<_>>()),
                true => AddressType::U64,
            };
            let size = Rows::vector(&inputs.iter().collect::<Vec<_>>());
            // SAFETY: the kernel stays within the tensors, and each cube has a place of its own.
            unsafe {
                squares::launch_unchecked::<R>(
                    &client,
                    CubeCount::Static(end as u32, 1, 1),
                    team.dim(),
                    address,
                    size,
                    inputs.iter().map(Rows::arg).collect(),
                    sums.clone().into_array_arg(),
                    inputs.iter().map(|x| count(x) / size).collect(),
                    inputs.iter().map(|x| x.cols / size).collect(),
                    inputs.iter().map(|x| x.pitch / size).collect(),
                    ends.into_iter().collect(),
                    first,
                    tensors,
                    team,
                );
            }
            first += end;
            inputs = rest;
        }
        vec![sums]
    }
}
