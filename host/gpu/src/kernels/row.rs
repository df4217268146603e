//! What kernels by rows share.

use burn_backend::{DType, Shape};
use burn_cubecl::{
    CubeRuntime,
    kernel::into_contiguous,
    ops::numeric::{empty_device_contiguous_dtype, empty_device_dtype},
    tensor::CubeTensor,
};
use cubecl::prelude::*;

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

    /// Elements that can be read and written at a time in all of these: the start, the rows and their distances
    /// are multiples of so many.
    pub fn vector(all: &[&Self]) -> usize {
        Self::vector_of(all, |rows, size| rows.cols.is_multiple_of(size))
    }

    /// As [`Self::vector`], for a kernel that may touch what is between the end of a row and the start of the
    /// next, which is read for nothing. A tensor that is written is a new one, so that nothing is there.
    pub fn vector_over_gaps(all: &[&Self]) -> usize {
        Self::vector_of(all, |rows, size| {
            let width = rows.cols.next_multiple_of(size);
            let end = rows.rows.saturating_sub(1) * rows.pitch + width;
            let bytes = (end * rows.tensor.dtype.size()) as u64;
            width <= rows.pitch && bytes <= rows.tensor.handle.size_in_used()
        })
    }

    /// The most elements that fit all, of which starts and distances are multiples.
    fn vector_of(all: &[&Self], fits: impl Fn(&Self, usize) -> bool) -> usize {
        let of = |rows: &Self| {
            let bytes = rows.tensor.dtype.size();
            let start = rows.tensor.handle.offset_start.unwrap_or(0) as usize;
            let fits = |size: &usize| {
                start.is_multiple_of(size * bytes)
                    && rows.pitch.is_multiple_of(*size)
                    && fits(rows, *size)
            };
            let client = &rows.tensor.client;
            client.io_optimized_vector_sizes(bytes).find(fits)
        };
        all.iter().filter_map(|rows| of(rows)).min().unwrap_or(1)
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
    of_type(like, shape, DType::F32)
}

/// A new tensor on the device of another.
pub(super) fn of_type<R: CubeRuntime>(
    like: &CubeTensor<R>,
    shape: Shape,
    dtype: DType,
) -> CubeTensor<R> {
    empty_device_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

/// A new tensor of the shape and type of another.
pub(super) fn alike<R: CubeRuntime>(tensor: &CubeTensor<R>) -> CubeTensor<R> {
    of_type(tensor, tensor.meta.shape().clone(), tensor.dtype)
}

/// A new tensor of float32 without gaps.
pub(super) fn packed<R: CubeRuntime>(like: &CubeTensor<R>, shape: Shape) -> CubeTensor<R> {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape, DType::F32)
}

/// Columns of a cube that adds up rows.
pub(super) const COLUMNS: u32 = 128;
/// Parts into which rows are divided to be added up side by side.
const PARTS: usize = 256;

/// Parts of so many rows, and cubes for these and so many columns.
pub(super) fn parts(rows: usize, cols: usize) -> (usize, CubeCount) {
    let parts = rows.clamp(1, PARTS);
    (parts, columns(cols, parts))
}

/// Cubes for so many columns and parts.
pub(super) fn columns(cols: usize, parts: usize) -> CubeCount {
    CubeCount::Static(cols.div_ceil(COLUMNS as usize) as u32, parts as u32, 1)
}

/// Where an element is in a tensor whose rows have this distance.
#[cube]
pub(super) fn place(index: usize, cols: usize, pitch: usize) -> usize {
    let mut place = index;
    if pitch != cols {
        place = index / cols * pitch + index % cols;
    }
    place
}

/// The number of this unit among all. CubeCL's own is no more than 32 bits on CUDA.
#[cube]
pub(super) fn position() -> usize {
    CUBE_POS * CUBE_DIM as usize + UNIT_POS as usize
}
