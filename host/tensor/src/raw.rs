//! The memory of tensors on the processor, for kernels.

use std::{borrow::Cow, ops::Deref};

use burn_backend::{Bytes, DType as BurnType, Element, Shape};
use burn_flex::{FlexTensor, Layout};

use crate::{
    DType, Device, Tensor, TensorError,
    dims::Dims,
    recycled::Buffer,
    value::{OnDevice, Value},
};

/// Row-major float32 numbers of a tensor. Borrows the tensor's memory where that is contiguous and
/// holds a copy otherwise.
pub(crate) struct F32s(FlexTensor);

impl Deref for F32s {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        let (start, end) = self.0.layout().contiguous_offsets().unwrap_or((0, 0));
        &bytemuck::cast_slice(self.0.bytes())[start..end]
    }
}

/// Whether kernels over float32 slices can work on it.
#[inline]
pub(crate) fn is_host_f32(tensor: &Tensor) -> bool {
    tensor.dtype() == DType::F32 && tensor.device().is_cpu()
}

/// The numbers of a float32 tensor on the processor.
///
/// # Errors
/// `InvalidArgument` for other types and devices: check [`is_host_f32`] first.
#[inline]
pub(crate) fn f32s(tensor: &Tensor) -> Result<F32s, TensorError> {
    match tensor.value() {
        Value::Cpu(flex) if tensor.dtype() == DType::F32 => Ok(F32s(packed(flex))),
        _ => Err(not_host(tensor)),
    }
}

#[cold]
fn not_host(tensor: &Tensor) -> TensorError {
    TensorError::InvalidArgument(format!(
        "a kernel of the processor got a tensor of {} on {}",
        tensor.dtype(),
        tensor.device()
    ))
}

/// The tensor with contiguous memory, possibly a part of a larger piece.
#[inline]
fn packed(flex: &FlexTensor) -> FlexTensor {
    let layout = flex.layout();
    if layout.is_contiguous() {
        return flex.clone();
    }
    // The strides of dimensions of size 1 mean nothing.
    let mut expected = 1;
    let dense = layout
        .strides()
        .iter()
        .zip(layout.shape().iter())
        .rev()
        .all(|(stride, dim)| {
            let fits = *dim == 1 || *stride == expected;
            expected *= *dim as isize;
            fits
        });
    if !dense {
        return flex.to_contiguous();
    }
    let strides = Layout::contiguous(layout.shape().clone())
        .strides()
        .to_vec();
    let dense = Layout::new(layout.shape().clone(), strides, layout.start_offset());
    flex.clone().with_layout(dense)
}

/// A float32 tensor on the processor from its row-major numbers, which are not copied.
#[inline]
pub(crate) fn from_vec(shape: &Dims, values: Vec<f32>) -> Tensor {
    debug_assert_eq!(shape.numel(), values.len());
    let layout = Layout::contiguous(Shape::from(shape.to_vec()));
    let flex = FlexTensor::new(Bytes::from_elems(values), layout, BurnType::F32);
    Tensor::new(Value::Cpu(flex), *shape, DType::F32, Device::cpu())
}

/// As [`from_vec`], from a buffer that goes back where it came from.
#[inline]
pub(crate) fn from_buffer(shape: &Dims, values: Buffer) -> Tensor {
    debug_assert_eq!(shape.numel(), values.len());
    let layout = Layout::contiguous(Shape::from(shape.to_vec()));
    let flex = FlexTensor::new(values.into_bytes(), layout, BurnType::F32);
    Tensor::new(Value::Cpu(flex), *shape, DType::F32, Device::cpu())
}

/// A tensor on the processor from its row-major elements, which are not copied and must be those of
/// `dtype`.
pub(crate) fn from_elements<E: Element>(shape: &Dims, values: Vec<E>, dtype: DType) -> Tensor {
    debug_assert_eq!(shape.numel(), values.len());
    let layout = Layout::contiguous(Shape::from(shape.to_vec()));
    let flex = FlexTensor::new(Bytes::from_elems(values), layout, E::dtype());
    Tensor::new(Value::Cpu(flex), *shape, dtype, Device::cpu())
}

/// The numbers of a float32 tensor on the processor to be changed in place, if nothing else holds
/// them and they are contiguous.
pub(crate) fn f32s_mut(tensor: &mut Tensor) -> Option<&mut [f32]> {
    if tensor.dtype() != DType::F32 || tensor.is_tracked() {
        return None;
    }
    let Value::Cpu(flex) = tensor.value_mut() else {
        return None;
    };
    let (start, end) = flex.layout().contiguous_offsets()?;
    flex.try_storage_mut::<f32>()?.get_mut(start..end)
}

/// Memory of a float32 tensor on the processor as it lies: the element at `[i, j, …]` is at
/// `offset + i · strides[0] + j · strides[1] + …`.
pub(crate) struct Strided<'a> {
    pub data: &'a [f32],
    pub strides: &'a [isize],
    pub offset: usize,
}

/// The memory of a float32 tensor on the processor without any copy.
pub(crate) fn strided(tensor: &Tensor) -> Option<Strided<'_>> {
    let Value::Cpu(flex) = tensor.value() else {
        return None;
    };
    (tensor.dtype() == DType::F32).then(|| Strided {
        data: bytemuck::cast_slice(flex.bytes()),
        strides: flex.layout().strides(),
        offset: flex.layout().start_offset(),
    })
}

/// The numbers of an integer tensor on the processor, row-major.
///
/// # Errors
/// `InvalidArgument` for other types and devices.
pub(crate) fn integers(tensor: &Tensor) -> Result<Cow<'_, [i64]>, TensorError> {
    let Value::Cpu(flex) = tensor.value() else {
        return Err(not_host(tensor));
    };
    if tensor.dtype() == DType::I64
        && let Some((start, end)) = flex.layout().contiguous_offsets()
    {
        let data: &[i64] = bytemuck::cast_slice(flex.bytes());
        return Ok(Cow::Borrowed(&data[start..end]));
    }
    let flex = packed(flex);
    let (start, end) = flex.layout().contiguous_offsets().unwrap_or((0, 0));
    let bytes = flex.bytes();
    Ok(Cow::Owned(match tensor.dtype() {
        DType::I64 => bytemuck::cast_slice::<_, i64>(bytes)[start..end].to_vec(),
        DType::I32 => {
            let data: &[i32] = bytemuck::cast_slice(bytes);
            data[start..end]
                .iter()
                .map(|value| i64::from(*value))
                .collect()
        }
        DType::U8 | DType::Bool => bytes[start..end]
            .iter()
            .map(|value| i64::from(*value))
            .collect(),
        _ => return Err(not_host(tensor)),
    }))
}

/// The bits of an int32 tensor on the processor.
///
/// # Errors
/// `InvalidArgument` for other types and devices.
pub(crate) fn words(tensor: &Tensor) -> Result<Vec<u32>, TensorError> {
    match tensor.value() {
        Value::Cpu(flex) if tensor.dtype() == DType::I32 => {
            Ok(bytemuck::pod_collect_to_vec(flex.to_contiguous().bytes()))
        }
        _ => Err(not_host(tensor)),
    }
}

/// The tensor with row-major memory of its own size.
pub(crate) fn contiguous(tensor: &Tensor) -> Tensor {
    match tensor.value() {
        Value::Cpu(flex) => tensor.like(Value::Cpu(flex.to_contiguous()), tensor.dims()),
        Value::Gpu(_) => tensor.with_node(None),
    }
}

/// The strides under which memory of `shape` and `strides` is a tensor of `target`, if there are
/// any: dimensions can be split, and those that lie one after the other joined.
pub(crate) fn view_strides(
    shape: &[usize],
    strides: &[isize],
    target: &[usize],
) -> Option<Vec<isize>> {
    let mut out = vec![0; target.len()];
    let mut open = target.len();
    let mut axis = shape.len();
    while axis > 0 {
        // Join dimensions from the right as long as they lie one after the other.
        axis -= 1;
        let (mut size, step) = (shape[axis], strides[axis]);
        let mut extent = step * size as isize;
        while axis > 0 && (shape[axis - 1] == 1 || strides[axis - 1] == extent || size == 1) {
            if size == 1 {
                break;
            }
            axis -= 1;
            size *= shape[axis];
            extent = step * size as isize;
        }
        // Split what was joined into dimensions of the target.
        let (mut left, mut step) = (size, step);
        while left > 1 {
            open = open.checked_sub(1)?;
            let dim = target[open];
            if dim == 0 || !left.is_multiple_of(dim) {
                return None;
            }
            out[open] = step;
            step *= dim as isize;
            left /= dim;
        }
    }
    // What is left of the target are ones, whose strides mean nothing.
    let mut step = 1;
    for index in (0..target.len()).rev() {
        if target[index] == 1 {
            out[index] = step;
        }
        step = out[index] * target[index] as isize;
    }
    target[..open].iter().all(|dim| *dim == 1).then_some(out)
}

/// The same memory under another shape, if that needs no copy.
pub(crate) fn viewed(tensor: &Tensor, target: &Dims) -> Option<Tensor> {
    if tensor.numel() == 0 {
        return None;
    }
    let flex = match tensor.value() {
        Value::Cpu(flex) => flex,
        Value::Gpu(value) => return viewed_on_gpu(tensor, &value.tensor(), target),
    };
    let layout = flex.layout();
    if layout.is_contiguous() {
        return None;
    }
    let strides = view_strides(tensor.shape(), layout.strides(), target)?;
    let layout = Layout::new(Shape::from(target.to_vec()), strides, layout.start_offset());
    Some(tensor.like(Value::Cpu(flex.clone().with_layout(layout)), *target))
}

fn viewed_on_gpu(tensor: &Tensor, value: &tenon_gpu::Tensor, target: &Dims) -> Option<Tensor> {
    if value.is_contiguous() || tensor.rank() == 0 || target.is_empty() {
        return None;
    }
    let strides: Vec<isize> = value
        .strides()
        .iter()
        .map(|stride| *stride as isize)
        .collect();
    let strides = view_strides(tensor.shape(), &strides, target)?;
    let strides: Vec<usize> = strides.iter().map(|stride| *stride as usize).collect();
    let view = value
        .clone()
        .with_layout(Shape::from(target.to_vec()), &strides);
    Some(tensor.like(Value::Gpu(OnDevice::new(view)), *target))
}

/// A float32 tensor [batch, tokens, heads, head-dim] on the processor whose heads lie contiguous,
/// whatever the order of the other dimensions.
pub(crate) struct HeadsView(FlexTensor);

/// The tensor as kernels over heads take it; copied only where heads are not contiguous.
///
/// # Errors
/// As [`f32s`].
pub(crate) fn heads(tensor: &Tensor) -> Result<HeadsView, TensorError> {
    let Value::Cpu(flex) = tensor.value() else {
        return Err(not_host(tensor));
    };
    let layout = flex.layout();
    let fits = matches!(layout.strides(), [b, t, h, 1] if *b >= 0 && *t >= 0 && *h >= 0);
    Ok(HeadsView(if fits {
        flex.clone()
    } else {
        flex.to_contiguous()
    }))
}

impl HeadsView {
    /// The view that kernels take.
    pub fn view(&self) -> crate::cpu::Heads<'_> {
        let layout = self.0.layout();
        let data: &[f32] = bytemuck::cast_slice(self.0.bytes());
        let stride = |axis: usize| layout.strides()[axis].unsigned_abs();
        crate::cpu::Heads::new(
            &data[layout.start_offset()..],
            [stride(0), stride(1), stride(2)],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::view_strides;

    #[test]
    fn views_split_and_join_what_lies_together() {
        // A third of a joint projection, split into heads.
        assert_eq!(
            view_strides(&[2, 5, 8], &[120, 24, 1], &[2, 5, 4, 2]),
            Some(vec![120, 24, 2, 1])
        );
        assert_eq!(
            view_strides(&[2, 5, 8], &[120, 24, 1], &[10, 8]),
            Some(vec![24, 1])
        );
        assert_eq!(view_strides(&[2, 5, 8], &[120, 24, 1], &[2, 40]), None);
        // Transposed: the dimensions can be split but not joined.
        assert_eq!(
            view_strides(&[6, 4], &[1, 6], &[3, 2, 4]),
            Some(vec![2, 1, 6])
        );
        assert_eq!(view_strides(&[6, 4], &[1, 6], &[24]), None);
        assert_eq!(view_strides(&[6, 4], &[1, 6], &[4, 6]), None);
        // Ones come and go.
        assert_eq!(view_strides(&[1, 6, 1], &[99, 2, 7], &[6]), Some(vec![2]));
        assert_eq!(view_strides(&[6], &[2], &[1, 6, 1]), Some(vec![12, 2, 1]));
        assert_eq!(
            view_strides(&[3, 1, 4], &[8, 5, 1], &[3, 4]),
            Some(vec![8, 1])
        );
        assert_eq!(view_strides(&[], &[], &[1, 1]), Some(vec![1, 1]));
        // Broadcast memory.
        assert_eq!(
            view_strides(&[3, 4], &[0, 1], &[3, 2, 2]),
            Some(vec![0, 2, 1])
        );
        assert_eq!(view_strides(&[3, 4], &[0, 1], &[12]), None);
    }
}
