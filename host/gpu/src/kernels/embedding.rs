//! The gradient of an embedding.

use burn_backend::DType;
use burn_cubecl::{
    CubeRuntime, kernel::into_contiguous, ops::numeric::zeros_client, tensor::CubeTensor,
};
use cubecl::prelude::*;

use super::{
    Kernel, exactly,
    row::Rows,
    team::{Team, sum_of_units},
};

/// Row i of the result is the sum of the rows of dy whose id is i, in their order: the same bits every time.
///
/// Takes dy [n, cols] and the ids [n] (int), each below `count`; gives [count, cols].
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingBackward {
    /// Rows of the embedding.
    pub count: usize,
}

/// Cubes for each place, of which those of the first with an id add up the rows of all with it: a column for
/// each unit.
#[cube(launch_unchecked, address_type = "dynamic")]
fn sum_rows<I: Int>(
    dy: &Array<f32>,
    ids: &Array<I>,
    sums: &mut Array<f32>,
    count: usize,
    cols: usize,
    blocks: usize,
    dy_pitch: usize,
    sums_pitch: usize,
    #[comptime] team: Team,
    #[define(I)] _ints: StorageType,
) {
    let first = CUBE_POS / blocks;
    if first >= count {
        terminate!();
    }
    let width = comptime!(team.width());
    let mut shared = SharedMemory::<f32>::new(comptime!(team.places()));
    let mut hits = SharedMemory::<u32>::new(width);
    let unit = UNIT_POS as usize;
    let col = CUBE_POS % blocks * width + unit;
    let id = ids[first];
    let mut earlier = 0.0f32;
    let mut place = unit;
    while place < first {
        if ids[place] == id {
            earlier = 1.0f32;
        }
        place += width;
    }
    if sum_of_units(earlier, &mut shared, team) == 0.0 {
        let mut sum = 0.0f32;
        let mut start = first;
        while start < count {
            let mut hit = 0u32;
            if start + unit < count {
                let same = ids[start + unit] == id;
                if same {
                    hit = 1u32;
                }
            }
            hits[unit] = hit;
            // This also waits until all hits are there.
            let found = sum_of_units(f32::cast_from(hit), &mut shared, team);
            if col < cols {
                if found == f32::cast_from(width) {
                    // Nothing but hits: reads that need not wait for each other.
                    for next in 0..width {
                        sum += dy[(start + next) * dy_pitch + col];
                    }
                } else if found > 0.0 {
                    for next in 0..width {
                        if hits[next] == 1 {
                            sum += dy[(start + next) * dy_pitch + col];
                        }
                    }
                }
            }
            // Nobody writes the next hits before all have read these.
            sync_cube();
            start += width;
        }
        if col < cols {
            sums[usize::cast_from(id) * sums_pitch + col] = sum;
        }
    }
}

impl Kernel for EmbeddingBackward {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [dy, ids] = exactly(inputs);
        let (dy, ids) = (Rows::of(dy), into_contiguous(ids));
        let client = dy.tensor.client.clone();
        let shape = [self.count, dy.cols].into();
        let sums = zeros_client(client.clone(), dy.tensor.device.clone(), shape, DType::F32);
        let sums = Rows::of(sums);
        let team = Team::cube(&client);
        let blocks = dy.cols.div_ceil(team.width());
        let ints = ids.dtype.into();
        // SAFETY: the kernel stays within the rows and columns of dy and the ids, one for each row, which are
        // below `count`; an element of the sums is written by one cube alone.
        unsafe {
            sum_rows::launch_unchecked::<R>(
                &client,
                team.cubes(dy.rows * blocks),
                team.dim(),
                Rows::address(&[&dy, &sums]),
                dy.arg(),
                ids.into_array_arg(),
                sums.arg(),
                dy.rows,
                dy.cols,
                blocks,
                dy.pitch,
                sums.pitch,
                team,
                ints,
            );
        }
        vec![sums.tensor]
    }
}
