//! Conversion between types of floats.

use burn_backend::DType;
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

use super::{
    Kernel, exactly,
    row::{self, Rows},
    team::{Team, row_of, unit_of},
};

/// Takes x [..., cols] of any type of floats; gives it in another. For odd rows, as those of a vocabulary, which
/// Burn reads one element at a time; else its kernel is as fast.
#[derive(Clone, Copy, Debug)]
pub struct Convert {
    /// The type of the result.
    pub dtype: DType,
}

/// Pitches are in vectors here, of which the last of a row may be no longer in it.
#[cube(launch_unchecked, address_type = "dynamic")]
fn convert<F: Float, G: Float, N: Size>(
    x: &Array<Vector<F, N>>,
    y: &mut Array<Vector<G, N>>,
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
    let mut at = unit_of(team);
    while at * N::value() < cols {
        y[row * y_pitch + at] = Vector::cast_from(x[row * x_pitch + at]);
        at += comptime!(team.width());
    }
}

impl Kernel for Convert {
    fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
        let [x] = exactly(inputs).map(Rows::of);
        let shape = x.tensor.meta.shape().clone();
        let y = Rows::of(row::of_type(&x.tensor, shape, self.dtype));
        let size = Rows::vector_over_gaps(&[&x, &y]);
        let team = Team::of(&x.tensor.client, x.cols, size);
        let (from, to) = (x.tensor.dtype.into(), self.dtype.into());
        // SAFETY: vectors of `size` stay within the memory of both; the kernel stays within `rows` and `cols`.
        unsafe {
            convert::launch_unchecked::<R>(
                &x.tensor.client,
                team.cubes(x.rows),
                team.dim(),
                Rows::address(&[&x, &y]),
                size,
                x.arg(),
                y.arg(),
                x.rows,
                x.cols,
                x.pitch / size,
                y.pitch / size,
                team,
                from,
                to,
            );
        }
        vec![y.tensor]
    }
}
