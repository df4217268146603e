//! How the units of a launch share rows out, and what they add up together.

use burn_cubecl::CubeRuntime;
use cubecl::{ir::features::Plane, prelude::*};

/// Cubes side by side in the first dimension of a launch; WGPU allows 65,535.
const WIDE: usize = 32_768;

/// How the units of a launch share rows out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Team {
    /// Units of a cube.
    cube: u32,
    /// Units of a plane, which add up their numbers without a barrier; 1 where that cannot be relied on.
    plane: u32,
    /// Whether each plane has a row to itself, which is faster for short rows, instead of each cube.
    alone: bool,
}

impl Team {
    const CUBE: u32 = 256;

    /// For rows of so many columns, of which each unit has `size` at a time.
    pub fn of<R: CubeRuntime>(client: &ComputeClient<R>, cols: usize, size: usize) -> Self {
        let plane = plane(client);
        if plane > 1 && cols <= 64 * plane as usize {
            return Self {
                cube: Self::CUBE,
                plane,
                alone: true,
            };
        }
        let cube = (cols.div_ceil(size).next_power_of_two() as u32).clamp(32, Self::CUBE);
        Self {
            cube,
            plane: if cube.is_multiple_of(plane) { plane } else { 1 },
            alone: false,
        }
    }

    /// Whole cubes for what is no row.
    pub fn cube<R: CubeRuntime>(client: &ComputeClient<R>) -> Self {
        Self {
            cube: Self::CUBE,
            plane: plane(client),
            alone: false,
        }
    }

    /// Cubes for all rows.
    pub fn cubes(self, rows: usize) -> CubeCount {
        let each = if self.alone {
            self.cube / self.plane
        } else {
            1
        };
        let cubes = rows.div_ceil(each as usize);
        let wide = cubes.clamp(1, WIDE);
        CubeCount::Static(wide as u32, cubes.div_ceil(wide) as u32, 1)
    }

    pub fn dim(self) -> CubeDim {
        CubeDim::new_1d(self.cube)
    }

    /// Units that walk over a row side by side.
    pub fn width(self) -> usize {
        (if self.alone { self.plane } else { self.cube }) as usize
    }

    /// Numbers that the units of a cube keep for each other.
    pub fn places(self) -> usize {
        match self.alone {
            true => 1,
            false => (self.cube / self.plane) as usize,
        }
    }
}

/// The units of a plane, if that is the same everywhere and cubes are made of whole ones.
fn plane<R: CubeRuntime>(client: &ComputeClient<R>) -> u32 {
    let properties = client.properties();
    let (least, most) = (
        properties.hardware.plane_size_min,
        properties.hardware.plane_size_max,
    );
    let whole = least == most && least > 0 && Team::CUBE.is_multiple_of(least);
    if whole && properties.features.plane.contains(Plane::Ops) {
        least
    } else {
        1
    }
}

/// The row of this unit's team.
#[cube]
pub(super) fn row_of(#[comptime] team: Team) -> usize {
    let mut row = CUBE_POS;
    if comptime!(team.alone) {
        row = CUBE_POS * comptime!((team.cube / team.plane) as usize) + PLANE_POS as usize;
    }
    row
}

/// The number of this unit in its team.
#[cube]
pub(super) fn unit_of(#[comptime] team: Team) -> usize {
    let mut unit = UNIT_POS as usize;
    if comptime!(team.alone) {
        unit = UNIT_POS_PLANE as usize;
    }
    unit
}

/// What becomes of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Joined {
    Sum,
    Larger,
}

#[cube]
fn join(a: f32, b: f32, #[comptime] how: Joined) -> f32 {
    match comptime!(how) {
        Joined::Sum => a + b,
        Joined::Larger => max(a, b),
    }
}

/// The sum over the units of a team, for all of them.
#[cube]
pub(super) fn sum_of_units(
    value: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] team: Team,
) -> f32 {
    of_units(value, shared, team, Joined::Sum)
}

/// The largest over the units of a team, for all of them.
#[cube]
pub(super) fn max_of_units(
    value: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] team: Team,
) -> f32 {
    of_units(value, shared, team, Joined::Larger)
}

#[cube]
fn of_units(
    value: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] team: Team,
    #[comptime] how: Joined,
) -> f32 {
    if comptime!(team.plane > 1) {
        by_planes(value, shared, team, how)
    } else {
        by_halves(value, shared, team, how)
    }
}

#[cube]
fn by_planes(
    value: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] team: Team,
    #[comptime] how: Joined,
) -> f32 {
    let mut all = match comptime!(how) {
        Joined::Sum => plane_sum(value),
        Joined::Larger => plane_max(value),
    };
    if comptime!(!team.alone) {
        if UNIT_POS_PLANE == 0 {
            shared[PLANE_POS as usize] = all;
        }
        sync_cube();
        all = shared[0];
        let mut place = comptime!(1usize).runtime();
        while place < comptime!(team.places()) {
            all = join(all, shared[place], how);
            place += 1;
        }
        // Nobody writes again before all have read.
        sync_cube();
    }
    all
}

#[cube]
fn by_halves(
    value: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] team: Team,
    #[comptime] how: Joined,
) -> f32 {
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(team.cube as usize / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] = join(shared[unit], other, how);
        }
        sync_cube();
        half /= 2;
    }
    let all = shared[0];
    sync_cube();
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::panic::catch_unwind;

    use burn_backend::{FloatDType, TensorData};
    use burn_cubecl::{kernel::into_contiguous, tensor::CubeTensor};

    use super::*;
    use crate::{
        Device, Gpu, Tensor,
        kernels::{Kernel, exactly, row::new, run},
    };

    #[cube(launch_unchecked)]
    fn size(out: &mut Array<f32>) {
        if UNIT_POS == 0 {
            out[0] = f32::cast_from(PLANE_DIM);
        }
    }

    /// The units of a plane on this device, whatever it says about others.
    struct Size;

    impl Kernel for Size {
        fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
            let [x] = exactly(inputs);
            let out = new(&x, [1].into());
            let dim = CubeDim::new_1d(Team::CUBE);
            // SAFETY: it writes the one element.
            unsafe {
                size::launch_unchecked::<R>(
                    &x.client,
                    CubeCount::Static(1, 1, 1),
                    dim,
                    out.clone().into_array_arg(),
                );
            }
            vec![out]
        }
    }

    #[cube(launch_unchecked)]
    fn walk(
        x: &Array<f32>,
        sums: &mut Array<f32>,
        largest: &mut Array<f32>,
        rows: usize,
        cols: usize,
        #[comptime] team: Team,
    ) {
        let row = row_of(team);
        if row >= rows {
            terminate!();
        }
        let mut shared = SharedMemory::<f32>::new(comptime!(team.places()));
        let unit = unit_of(team);
        let mut sum = 0.0f32;
        let mut most = f32::min_value();
        let mut col = unit;
        while col < cols {
            let value = x[row * cols + col];
            sum += value;
            most = max(most, value);
            col += comptime!(team.width());
        }
        let sum = sum_of_units(sum, &mut shared, team);
        let most = max_of_units(most, &mut shared, team);
        // Every unit has them: the last says so.
        if unit == comptime!(team.width() - 1) {
            sums[row] = sum;
            largest[row] = most;
        }
    }

    struct Walk(Team);

    impl Kernel for Walk {
        fn launch<R: CubeRuntime>(self, inputs: Vec<CubeTensor<R>>) -> Vec<CubeTensor<R>> {
            let [x] = exactly(inputs);
            let (rows, cols) = (x.meta.shape()[0], x.meta.shape()[1]);
            let [sums, largest] = [(); 2].map(|()| new(&x, [rows].into()));
            // SAFETY: it stays within rows and cols.
            unsafe {
                walk::launch_unchecked::<R>(
                    &x.client,
                    self.0.cubes(rows),
                    self.0.dim(),
                    into_contiguous(x.clone()).into_array_arg(),
                    sums.clone().into_array_arg(),
                    largest.clone().into_array_arg(),
                    rows,
                    cols,
                    self.0,
                );
            }
            vec![sums, largest]
        }
    }

    fn read(tensor: Tensor) -> Vec<f32> {
        Gpu::float_into_data(tensor).unwrap().to_vec().unwrap()
    }

    #[test]
    fn every_team_adds_up_rows() {
        let device = Device::Wgpu(Default::default());
        let one =
            catch_unwind(|| Gpu::float_full([1].into(), 0.0.into(), &device, FloatDType::F32));
        let Ok(one) = one else {
            println!("not tested: there is no GPU, nor what stands in for one");
            return;
        };
        let plane = read(run(vec![one], Size).remove(0))[0] as u32;
        println!("planes of {plane}");
        assert!(plane > 0 && Team::CUBE.is_multiple_of(plane), "{plane}");
        for (rows, cols) in [(1, 1), (67, 5), (300, 40), (9, 1000)] {
            // Whole numbers: every order gives the same sums.
            let value = |index: usize| ((index * 37) % 101) as f32 - 50.0;
            let values: Vec<f32> = (0..rows * cols).map(value).collect();
            let lines = || values.chunks(cols);
            let sums: Vec<f32> = lines().map(|line| line.iter().sum()).collect();
            let largest: Vec<f32> = lines()
                .map(|line| line.iter().copied().fold(f32::MIN, f32::max))
                .collect();
            let teams = [(1, false), (plane, false), (plane, true)];
            for (plane, alone) in teams {
                if alone && plane == 1 {
                    continue;
                }
                let team = Team {
                    cube: Team::CUBE,
                    plane,
                    alone,
                };
                let data = TensorData::new(values.clone(), [rows, cols]);
                let x = Gpu::float_from_data(data, &device);
                let mut found = run(vec![x], Walk(team)).into_iter();
                let mut next = || read(found.next().unwrap());
                assert_eq!(next(), sums, "{rows}x{cols} by {team:?}");
                assert_eq!(next(), largest, "{rows}x{cols} by {team:?}");
            }
        }
    }
}
