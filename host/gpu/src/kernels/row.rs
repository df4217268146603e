//! What kernels by rows share.

use burn_backend::{DType, Shape};
use burn_cubecl::{
    CubeRuntime, kernel::into_contiguous, ops::numeric::empty_device_dtype, tensor::CubeTensor,
};
use cubecl::prelude::*;

/// Cubes side by side in the first dimension of a launch; WGPU allows 65,535.
const WIDE: usize = 32_768;

/// A tensor as rows with the same distance.
pub(super) struct Rows<R: CubeRuntime> {
    pub tensor: CubeTensor<R>,
    pub rows: usize,
    pub cols: usize,
    /// Elements from the start of one row to the next.
    pub pitch: usize,
}

impl<R: CubeRuntime> Rows<R> {
    /// The last dimension as columns; a copy where the rows are not spaced evenly.
    pub fn of(tensor: CubeTensor<R>) -> Self {
        match pitch(tensor.meta.shape(), tensor.meta.strides()) {
            Some(pitch) => Self::spaced(tensor, pitch),
            None => {
                let tensor = into_contiguous(tensor);
                let cols = tensor.meta.shape().last().copied().unwrap_or(1);
                Self::spaced(tensor, cols)
            }
        }
    }

    fn spaced(tensor: CubeTensor<R>, pitch: usize) -> Self {
        let shape = tensor.meta.shape();
        let cols = shape.last().copied().unwrap_or(1);
        let rows = shape.num_elements() / cols.max(1);
        Self {
            tensor,
            rows,
            cols,
            pitch,
        }
    }

    pub fn arg(&self) -> ArrayArg<R> {
        self.tensor.clone().into_array_arg()
    }

    /// Of the type in which all of these can be addressed.
    pub fn address(all: &[&Self]) -> AddressType {
        let types = all.iter().map(|rows| rows.tensor.required_address_type());
        types.max().unwrap_or_default()
    }
}

/// The distance of the rows of a tensor whose last dimension lies together, if it is the same for all.
fn pitch(shape: &Shape, strides: &[usize]) -> Option<usize> {
    let Some((cols, lead)) = shape.split_last() else {
        return Some(1);
    };
    if *cols != 1 && strides[lead.len()] != 1 {
        return None;
    }
    // Rows that are one and the same (a broadcast) are none to write to, but can be read.
    Some(step(lead, strides)?.unwrap_or(*cols))
}

/// The distance at which dimensions taken together step through memory, if it is the same everywhere; nothing
/// inside if they have one place only.
pub(crate) fn step(dims: &[usize], strides: &[usize]) -> Option<Option<usize>> {
    let (mut step, mut expected) = (None, 0);
    for (dim, stride) in dims.iter().zip(strides).rev() {
        if *dim == 1 {
            continue;
        }
        if step.is_none() {
            step = Some(*stride);
            expected = *stride;
        }
        if *stride != expected {
            return None;
        }
        expected *= dim;
    }
    Some(step)
}

/// A new tensor of float32 on the device of another.
pub(super) fn new<R: CubeRuntime>(like: &CubeTensor<R>, shape: Shape) -> CubeTensor<R> {
    empty_device_dtype(like.client.clone(), like.device.clone(), shape, DType::F32)
}

/// A new tensor of the shape and type of another.
pub(super) fn alike<R: CubeRuntime>(tensor: &CubeTensor<R>) -> CubeTensor<R> {
    let (client, device) = (tensor.client.clone(), tensor.device.clone());
    empty_device_dtype(client, device, tensor.meta.shape().clone(), tensor.dtype)
}

/// One cube for each row.
pub(super) fn cubes(rows: usize) -> CubeCount {
    let wide = rows.clamp(1, WIDE);
    CubeCount::Static(wide as u32, rows.div_ceil(wide) as u32, 1)
}

/// Units of a cube that walks over so many columns: a power of two.
pub(super) fn units(cols: usize) -> u32 {
    (cols.next_power_of_two() as u32).clamp(32, 256)
}

/// The number of this unit among all. CubeCL's own is no more than 32 bits on CUDA.
#[cube]
pub(super) fn position() -> usize {
    CUBE_POS * CUBE_DIM as usize + UNIT_POS as usize
}

/// The sum over the units of a cube, for all of them.
#[cube]
pub(super) fn sum_of_units(
    value: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] units: u32,
) -> f32 {
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(units as usize / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    let sum = shared[0];
    // Nobody writes again before all have read.
    sync_cube();
    sum
}

/// The largest over the units of a cube, for all of them.
#[cube]
pub(super) fn max_of_units(
    value: f32,
    shared: &mut SharedMemory<f32>,
    #[comptime] units: u32,
) -> f32 {
    let unit = UNIT_POS as usize;
    shared[unit] = value;
    sync_cube();
    let mut half = comptime!(units as usize / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = shared[unit + half];
            shared[unit] = max(shared[unit], other);
        }
        sync_cube();
        half /= 2;
    }
    let largest = shared[0];
    sync_cube();
    largest
}
