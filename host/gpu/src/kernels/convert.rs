//! Conversion between types of floats.

use burn_backend::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{
    Kernel, exactly,
    row::{self, Rows},
    team::{Team, row_of, unit_of},
};

/// Columns that a unit has at a time: reads that wait for memory together.
const EACH: usize = 4;

/// Takes x [..., cols] of any type of floats; gives it in another. For rows that cannot be read several
/// elements at a time, as those of a vocabulary of odd size; else Burn's is as fast.
#[derive(Clone, Copy, Debug)]
pub struct Convert {
    /// The type of the result.
    pub dtype: DType,
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn convert<F: Float, G: Float>(
    x: &Array<F>,
    y: &mut Array<G>,
    rows: usize,
    cols: usize,
    x_pitch: usize,
    y_pitch: usize,
    #[comptime] team: Team,
    #[define(F)] _from: StorageType,
    #[define(G)] _to: StorageType,
) {
    let row = row_of(team);
    if row >= rows {
        terminate!();
    }
    let width = comptime!(team.width());
    let mut first = unit_of(team);
    while first < cols {
        #[unroll]
        for step in 0..EACH {
            let col = first + step * width;
            if col < cols {
                y[row * y_pitch + col] = G::cast_from(x[row * x_pitch + col]);
            }
        }
        first += EACH * width;
    }
}

impl Kernel for Convert {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [x] = exactly(inputs).map(Rows::of);
        let shape = x.tensor.meta.shape().clone();
        let y = Rows::of(row::of_type(&x.tensor, shape, self.dtype));
        let team = Team::of(&x.tensor.client, x.cols);
        let (from, to) = (x.tensor.dtype.into(), self.dtype.into());
        // SAFETY: the kernel stays within `rows` and `cols`, which both have.
        unsafe {
            convert::launch_unchecked::<R>(
                &x.tensor.client,
                team.cubes(x.rows),
                team.dim(),
                Rows::address(&[&x, &y]),
                x.arg(),
                y.arg(),
                x.rows,
                x.cols,
                x.pitch,
                y.pitch,
                team,
                from,
                to,
            );
        }
        vec![y.tensor]
    }
}
