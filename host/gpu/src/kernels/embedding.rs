//! The gradient of an embedding.

use burn_backend::DType;
use burn_cubecl::{
    CubeRuntime, kernel::into_contiguous, ops::numeric::zeros_client, tensor::CubeTensor,
};
use cubecl::prelude::*;

use super::{
    Kernel, exactly,
    row::{Rows, Team, sum_of_units},
};

/// Row i of the result is the sum of the rows of dy whose id is i, in their order: the same bits every time.
///
/// Takes dy [n, cols] and the ids [n] (int), each below `count`; gives [count, cols].
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingBackward {
    /// Rows of the embedding.
    pub count: usize,
}

/// A cube for each place, of which the first with an id adds up the rows of all with it.
#[cube(launch_unchecked, address_type = "dynamic")]
fn sum_rows<I: Int>(
    dy: &Array<f32>,
    ids: &Array<I>,
    sums: &mut Array<f32>,
    count: usize,
    cols: usize,
    dy_pitch: usize,
    sums_pitch: usize,
    #[comptime] team: Team,
    #[define(I)] _ints: StorageType,
) {
    let first = CUBE_POS;
    if first >= count {
        terminate!();
    }
    let width = comptime!(team.width());
    let mut shared = SharedMemory::<f32>::new(comptime!(team.places()));
    let mut hits = SharedMemory::<u32>::new(width);
    let unit = UNIT_POS as usize;
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
        let out = usize::cast_from(id) * sums_pitch;
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
            // Most stretches have none; this also waits until all hits are there.
            if sum_of_units(f32::cast_from(hit), &mut shared, team) > 0.0 {
                let mut next = comptime!(0usize).runtime();
                while next < width {
                    if hits[next] == 1 {
                        let mut col = unit;
                        while col < cols {
                            sums[out + col] += dy[(start + next) * dy_pitch + col];
                            col += width;
                        }
                    }
                    next += 1;
                }
            }
            // Nobody writes the next hits before all have read these.
            sync_cube();
            start += width;
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
        let ints = ids.dtype.into();
        // SAFETY: the kernel stays within the rows and columns of dy and the ids, one for each row, which are
        // below `count`; a row of the sums is written by one cube alone.
        unsafe {
            sum_rows::launch_unchecked::<R>(
                &client,
                team.cubes(dy.rows),
                team.dim(),
                Rows::address(&[&dy, &sums]),
                dy.arg(),
                ids.into_array_arg(),
                sums.arg(),
                dy.rows,
                dy.cols,
                dy.pitch,
                sums.pitch,
                team,
                ints,
            );
        }
        vec![sums.tensor]
    }
}
