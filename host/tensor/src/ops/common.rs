//! What operations share.

use tenon_gpu::kernels::ColumnSum;

use crate::{
    DType, Tensor, TensorError, cpu, dims::Dims, gpu, raw, recycled::Buffer, tensor::burn_shape,
};

/// Computes a float32 tensor of `shape` in main memory; `fill` writes every element.
#[inline]
pub(super) fn host(shape: Dims, fill: impl FnOnce(&mut [f32])) -> Tensor {
    let mut out = Buffer::take(shape.numel());
    fill(&mut out);
    raw::from_buffer(&shape, out)
}

/// Runs a kernel over one float32 tensor in main memory.
#[inline]
pub(super) fn host_unary(
    x: &Tensor,
    kernel: impl FnOnce(&[f32], &mut [f32]),
) -> Result<Tensor, TensorError> {
    let values = raw::f32s(x)?;
    Ok(host(x.dims(), |out| kernel(&values, out)))
}

/// Runs a kernel over two float32 tensors of one shape in main memory.
#[inline]
pub(super) fn host_binary(
    a: &Tensor,
    b: &Tensor,
    kernel: impl FnOnce(&[f32], &[f32], &mut [f32]),
) -> Result<Tensor, TensorError> {
    let (x, y) = (raw::f32s(a)?, raw::f32s(b)?);
    Ok(host(a.dims(), |out| kernel(&x, &y, out)))
}

/// Zeros that look like `x`.
pub(super) fn zeros_like(x: &Tensor) -> Result<Tensor, TensorError> {
    Tensor::zeros(x.shape(), x.dtype(), &x.device())
}

/// The shape that both shapes broadcast to.
#[inline]
pub(super) fn broadcast(what: &str, a: &[usize], b: &[usize]) -> Result<Dims, TensorError> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut out = Dims::from_slice(long).unwrap_or(Dims::new());
    let skip = long.len() - short.len();
    for (index, dim) in short.iter().enumerate() {
        let slot = &mut out[skip + index];
        if *slot == 1 {
            *slot = *dim;
        } else if *dim != 1 && *dim != *slot {
            return Err(does_not_broadcast(what, a, b));
        }
    }
    Ok(out)
}

#[cold]
fn does_not_broadcast(what: &str, a: &[usize], b: &[usize]) -> TensorError {
    TensorError::ShapeMismatch(format!(
        "{what}: {a:?} and {b:?} do not broadcast; from the last on, dimensions must be equal or 1"
    ))
}

/// A view of an untracked tensor with ones put before its dimensions.
pub(super) fn with_rank(x: &Tensor, rank: usize) -> Result<Tensor, TensorError> {
    if x.rank() == rank {
        return x.detach();
    }
    let mut shape = Dims::ones(rank - x.rank());
    x.shape().iter().for_each(|dim| shape.push(*dim));
    reshaped(x, shape)
}

/// The same elements, row-major, under another shape. Not recorded.
pub(super) fn reshaped(x: &Tensor, shape: Dims) -> Result<Tensor, TensorError> {
    debug_assert_eq!(x.numel(), shape.numel());
    if *x.shape() == *shape {
        return x.detach();
    }
    if let Some(view) = raw::viewed(x, &shape) {
        return Ok(view);
    }
    Ok(x.like(x.value().reshape(x.kind(), burn_shape(&shape))?, shape))
}

/// A view under a shape that it broadcasts to. Not recorded.
pub(super) fn expanded(x: &Tensor, shape: Dims) -> Result<Tensor, TensorError> {
    if *x.shape() == *shape {
        return x.detach();
    }
    let x = with_rank(x, shape.len())?;
    Ok(x.like(x.value().expand(x.kind(), burn_shape(&shape))?, shape))
}

/// A view with the dimensions in another order. Not recorded.
pub(super) fn permuted(x: &Tensor, axes: &[usize]) -> Result<Tensor, TensorError> {
    if axes.iter().enumerate().all(|(index, axis)| index == *axis) {
        return x.detach();
    }
    let mut shape = Dims::new();
    axes.iter().for_each(|axis| shape.push(x.shape()[*axis]));
    Ok(x.like(x.value().permute(x.kind(), axes)?, shape))
}

/// A view with dimension `dim` last. Not recorded.
pub(super) fn dim_last(x: &Tensor, dim: usize) -> Result<Tensor, TensorError> {
    let mut axes = Dims::new();
    (0..x.rank())
        .filter(|axis| *axis != dim)
        .for_each(|axis| axes.push(axis));
    axes.push(dim);
    permuted(x, &axes)
}

/// The reverse of [`dim_last`].
pub(super) fn dim_back(x: &Tensor, dim: usize) -> Result<Tensor, TensorError> {
    let last = x.rank() - 1;
    let mut axes = Dims::new();
    for axis in 0..=last {
        axes.push(match axis {
            _ if axis == dim => last,
            _ if axis < dim => axis,
            _ => axis - 1,
        });
    }
    permuted(x, &axes)
}

/// Sums a gradient over the dimensions along which a tensor of `shape` was broadcast. Untracked.
pub(super) fn sum_to(grad: &Tensor, shape: &Dims) -> Result<Tensor, TensorError> {
    if *grad.shape() == **shape {
        return grad.detach();
    }
    let lead = grad.rank() - shape.len();
    let dims: Dims = {
        let mut dims = Dims::new();
        for (index, dim) in grad.shape().iter().enumerate() {
            if index < lead || (shape[index - lead] == 1 && *dim != 1) {
                dims.push(index);
            }
        }
        dims
    };
    let sum = super::reduce::sum_over(grad, &dims)?;
    reshaped(&sum, *shape)
}

/// Rows and columns of an array whose last `dims` dimensions are taken together.
pub(super) fn rows_cols(shape: &[usize], dims: usize) -> (usize, usize) {
    let (rows, cols) = shape.split_at(shape.len() - dims);
    (rows.iter().product(), cols.iter().product())
}

/// Refuses a tensor whose shape is not `shape`.
pub(super) fn need_shape(
    what: &str,
    role: &str,
    tensor: &Tensor,
    shape: &[usize],
) -> Result<(), TensorError> {
    if tensor.shape() == shape {
        return Ok(());
    }
    Err(TensorError::ShapeMismatch(format!(
        "{what}: {role} is {:?}, but {shape:?} is needed",
        tensor.shape()
    )))
}

/// The sum of a tensor over its leading dimensions: what the gradient of a
/// bias is. x [..., cols] → [cols], in `dtype`.
pub(super) fn sum_leading(x: &Tensor, cols: usize, dtype: DType) -> Result<Tensor, TensorError> {
    let mut shape = Dims::new();
    shape.push(cols);
    if raw::is_host_f32(x) {
        let values = raw::f32s(x)?;
        return Ok(host(shape, |out| cpu::sum_rows(&values, cols, out)));
    }
    if gpu::has_floats(x) {
        let [sums] = gpu::run("sum", &[x], ColumnSum)?;
        return Tensor::new(sums, shape, DType::F32, x.device()).cast(dtype);
    }
    sum_to(x, &shape)?.cast(dtype)
}

/// An integer tensor as it indexes: int64 or int32 as the device likes it.
pub(super) fn as_index(index: &Tensor) -> Result<Tensor, TensorError> {
    match index.dtype() {
        DType::I64 | DType::I32 => index.detach(),
        _ => index.cast(DType::I64),
    }
}

/// The sum of x [n, channels, ...] over all but the channels.
pub(super) fn sum_over_places(x: &Tensor) -> Result<Tensor, TensorError> {
    let mut axes = Dims::new();
    (0..x.rank())
        .filter(|axis| *axis != 1)
        .for_each(|axis| axes.push(axis));
    let mut shape = Dims::new();
    shape.push(x.shape()[1]);
    reshaped(&super::reduce::sum_over(x, &axes)?, shape)
}
