//! Reading and adding at indices.
//!
//! On the processor every index is checked. A GPU would have to be waited for, so there indices that
//! are out of range are moved to the nearest one that is there: they can neither read nor write
//! anything else.

use burn_backend::{Slice, ops::FloatTensorOps, ops::IntTensorOps};
use tenon_gpu::kernels::EmbeddingBackward;

use super::common::{as_index, host, reshaped, zeros_like};
use super::shape::{narrowed, padded};
use crate::{
    DType, Tensor, TensorError, cpu,
    dims::{Dims, MAX_RANK},
    gpu, raw,
    tape::record,
    value::{Kind, Value, on},
};

impl Tensor {
    /// The parts of the tensor at `index` [n] (int) along `dim`, which becomes n.
    ///
    /// # Errors
    /// `ShapeMismatch` unless the index has one dimension; `InvalidArgument` unless it is an integer
    /// tensor of this device, and for indices that are out of range (on the processor).
    pub fn index_select(&self, dim: i32, index: &Tensor) -> Result<Tensor, TensorError> {
        const WHAT: &str = "index_select";
        let axis = self.dim(WHAT, dim)?;
        if index.rank() != 1 {
            return Err(TensorError::ShapeMismatch(format!(
                "{WHAT}: the index is {:?}, but one dimension is needed; use gather for one index \
                 for each element",
                index.shape()
            )));
        }
        let index = checked(WHAT, self, index, self.shape()[axis])?;
        let shape = self.dims().replaced(axis, index.numel());
        let out = if shape.numel() == 0 {
            Tensor::zeros(&shape, self.dtype(), &self.device())?
        } else if raw::is_host_f32(self) {
            let (outer, inner) = around(self.shape(), axis);
            let (values, ids) = (raw::f32s(self)?, raw::integers(&index)?);
            let count = self.shape()[axis];
            host(shape, |out| {
                cpu::index_select(&values, outer, count, inner, &ids, out)
            })
        } else {
            let ids = as_index(&index)?;
            self.like(self.value().select(self.kind(), axis, ids.value())?, shape)
        };
        let original = self.dims();
        record(
            WHAT,
            out,
            &[self],
            |_| vec![index],
            move |context| {
                let zeros = Tensor::zeros(&original, context.grad.dtype(), &context.grad.device())?;
                Ok(vec![Some(select_add(
                    zeros,
                    axis,
                    &context.saved[0],
                    &context.grad,
                )?)])
            },
        )
    }

    /// The element at `index[i, j, …]` (int) along `dim`, for each `i, j, …`: the result has the
    /// index's shape. Other dimensions of the index may be smaller than the tensor's.
    ///
    /// # Errors
    /// As [`Self::index_select`], and `ShapeMismatch` unless the shapes fit.
    pub fn gather(&self, dim: i32, index: &Tensor) -> Result<Tensor, TensorError> {
        const WHAT: &str = "gather";
        let axis = self.dim(WHAT, dim)?;
        within(WHAT, "the index", index, self, Some(axis))?;
        let index = checked(WHAT, self, index, self.shape()[axis])?;
        let shape = index.dims();
        let out = if shape.numel() == 0 {
            Tensor::zeros(&shape, self.dtype(), &self.device())?
        } else if raw::is_host_f32(self) {
            let part = corner(self, &shape, Some(axis))?;
            let (outer, inner) = around(&shape, axis);
            let (values, ids) = (raw::f32s(&part)?, raw::integers(&index)?);
            let count = part.shape()[axis];
            host(shape, |out| {
                cpu::gather(&values, outer, count, inner, &ids, out)
            })
        } else {
            let part = corner(self, &shape, Some(axis))?;
            let ids = as_index(&index)?;
            self.like(part.value().gather(self.kind(), axis, ids.value())?, shape)
        };
        let original = self.dims();
        record(
            WHAT,
            out,
            &[self],
            |_| vec![index],
            move |context| {
                let zeros = Tensor::zeros(&original, context.grad.dtype(), &context.grad.device())?;
                Ok(vec![Some(zeros.scatter_add(
                    axis as i32,
                    &context.saved[0],
                    &context.grad,
                )?)])
            },
        )
    }

    /// The tensor with `source[i, j, …]` added at `index[i, j, …]` (int) along `dim`. The index may
    /// be smaller than the source, and in other dimensions than `dim` than the tensor.
    ///
    /// # Errors
    /// As [`Self::gather`], and `InvalidArgument` when the tensors differ in type or device.
    pub fn scatter_add(
        &self,
        dim: i32,
        index: &Tensor,
        source: &Tensor,
    ) -> Result<Tensor, TensorError> {
        const WHAT: &str = "scatter_add";
        let axis = self.dim(WHAT, dim)?;
        self.need_number(WHAT)?;
        self.need_same(WHAT, source)?;
        within(WHAT, "the index", index, self, Some(axis))?;
        within(WHAT, "the index", index, source, None)?;
        let index = checked(WHAT, self, index, self.shape()[axis])?;
        let out = if index.numel() == 0 {
            self.detach()?
        } else {
            scattered(self, axis, &index, source)?
        };
        let full = source.dims();
        record(
            WHAT,
            out,
            &[self, source],
            |_| vec![index],
            move |context| {
                let (index, g) = (&context.saved[0], &context.grad);
                let mut amounts = [(0, 0); MAX_RANK];
                for (axis, amount) in amounts.iter_mut().enumerate().take(full.len()) {
                    amount.1 = full[axis] - index.shape()[axis];
                }
                Ok(vec![
                    context.wants(0).then(|| g.clone()),
                    context.when(1, || {
                        padded(&g.gather(axis as i32, index)?, &amounts[..full.len()], 0.0)
                    })?,
                ])
            },
        )
    }

    /// self: weight [count, dim]; ids int [...] → [..., dim].
    ///
    /// # Errors
    /// `ShapeMismatch` unless the weight has two dimensions; `InvalidArgument` for ids that are not
    /// integers or out of range (on the processor).
    pub fn embedding(&self, ids: &Tensor) -> Result<Tensor, TensorError> {
        const WHAT: &str = "embedding";
        let &[count, width] = self.shape() else {
            return Err(TensorError::ShapeMismatch(format!(
                "{WHAT}: the weight is {:?}, but [count, dim] is needed",
                self.shape()
            )));
        };
        self.need_float(WHAT)?;
        if ids.rank() == MAX_RANK {
            return Err(TensorError::ShapeMismatch(format!(
                "{WHAT}: the ids {:?} have too many dimensions",
                ids.shape()
            )));
        }
        let ids = checked(WHAT, self, ids, count)?;
        let shape = ids.dims().with(ids.rank(), width);
        let flat = Dims::from_slice(&[ids.numel()]).unwrap_or(Dims::new());
        let out = if shape.numel() == 0 {
            Tensor::zeros(&shape, self.dtype(), &self.device())?
        } else if raw::is_host_f32(self) {
            let (weight, ids) = (raw::f32s(self)?, raw::integers(&ids)?);
            host(shape, |out| cpu::embedding(&weight, width, &ids, out))
        } else {
            let index = as_index(&reshaped(&ids, flat)?)?;
            let rows = self.value().select(self.kind(), 0, index.value())?;
            let rows = self.like(rows, flat.with(1, width));
            reshaped(&rows, shape)?
        };
        let original = self.dims();
        record(
            WHAT,
            out,
            &[self],
            |_| vec![ids],
            move |context| {
                let (ids, g) = (&context.saved[0], &context.grad);
                if raw::is_host_f32(g) {
                    let (ids, dy) = (raw::integers(ids)?, raw::f32s(g)?);
                    let grad = host(original, |out| {
                        cpu::embedding_backward(&ids, &dy, width, out)
                    });
                    return Ok(vec![Some(grad)]);
                }
                let index = reshaped(ids, flat)?;
                let rows = reshaped(g, flat.with(1, width))?;
                if gpu::serves(g) {
                    let kernel = EmbeddingBackward { count };
                    let [sums] = gpu::run(WHAT, &[&rows, &as_index(&index)?], kernel)?;
                    return Ok(vec![Some(g.like(sums, original))]);
                }
                let zeros = Tensor::zeros(&original, g.dtype(), &g.device())?;
                Ok(vec![Some(select_add(zeros, 0, &index, &rows)?)])
            },
        )
    }
}

/// The index, of which every element is at least 0 and below `bound`.
pub(super) fn checked(
    what: &str,
    tensor: &Tensor,
    index: &Tensor,
    bound: usize,
) -> Result<Tensor, TensorError> {
    index.need_int(what, "the index")?;
    tensor.need_device(what, index)?;
    if index.device().is_cpu() {
        let values = raw::integers(index)?;
        if let Some(wrong) = values
            .iter()
            .find(|value| !(0..bound as i64).contains(*value))
        {
            return Err(TensorError::InvalidArgument(format!(
                "{what}: the index {wrong} is out of range; there are {bound}, counted from 0"
            )));
        }
        return index.detach();
    }
    if bound == 0 && index.numel() > 0 {
        return Err(TensorError::InvalidArgument(format!(
            "{what}: there is nothing to index in {:?}",
            tensor.shape()
        )));
    }
    let last = (bound.max(1) - 1).min(i32::MAX as usize) as f64;
    let high = (index.dtype() != DType::U8 || last < 255.0).then_some(last);
    index.clamp(Some(0.0), high)
}

/// Refuses an index that is larger than a tensor in any dimension but `free`.
fn within(
    what: &str,
    role: &str,
    index: &Tensor,
    tensor: &Tensor,
    free: Option<usize>,
) -> Result<(), TensorError> {
    let fits = index.rank() == tensor.rank()
        && (0..index.rank())
            .all(|axis| free == Some(axis) || index.shape()[axis] <= tensor.shape()[axis]);
    if fits {
        return Ok(());
    }
    Err(TensorError::ShapeMismatch(format!(
        "{what}: {role} is {:?} and the tensor {:?}; they need as many dimensions, and the index \
         may not be larger{}",
        index.shape(),
        tensor.shape(),
        free.map_or(String::new(), |axis| format!(
            " except along dimension {axis}"
        ))
    )))
}

/// The first elements along each dimension but `free`, as many as `shape` has.
fn corner(x: &Tensor, shape: &Dims, free: Option<usize>) -> Result<Tensor, TensorError> {
    let mut out = x.detach()?;
    for axis in 0..shape.len() {
        if free != Some(axis) {
            out = narrowed(&out, axis, 0, shape[axis])?;
        }
    }
    Ok(out)
}

/// Not recorded; the index has elements.
fn scattered(
    x: &Tensor,
    axis: usize,
    index: &Tensor,
    source: &Tensor,
) -> Result<Tensor, TensorError> {
    let shape = index.dims();
    let source = corner(source, &shape, None)?;
    let part = corner(x, &shape, Some(axis))?;
    if raw::is_host_f32(x) && part.dims() == x.dims() {
        let (outer, inner) = around(&shape, axis);
        let (base, ids, values) = (raw::f32s(x)?, raw::integers(index)?, raw::f32s(&source)?);
        let mut sum = base.to_vec();
        cpu::scatter_add(&mut sum, outer, x.shape()[axis], inner, &ids, &values);
        return Ok(raw::from_vec(&x.dims(), sum));
    }
    let ids = as_index(index)?;
    let (base, ids, values) = (part.value(), ids.value(), source.value());
    let sum = match x.kind() {
        Kind::Float => {
            on!("scatter_add", |base, ids, values| B => B::float_scatter_add(axis, base, ids, values))
        }
        _ => {
            on!("scatter_add", |base, ids, values| B => B::int_scatter_add(axis, base, ids, values))
        }
    }?;
    if part.dims() == x.dims() {
        return Ok(x.like(sum, x.dims()));
    }
    let slices: Vec<Slice> = part
        .shape()
        .iter()
        .map(|dim| Slice::new(0, Some(*dim as isize), 1))
        .collect();
    let whole: Value = x.value().clone();
    Ok(x.like(whole.assign(x.kind(), &slices, &sum)?, x.dims()))
}

/// `x` with the parts of `values` added at `index` [n] along `axis`. Not recorded.
fn select_add(
    x: Tensor,
    axis: usize,
    index: &Tensor,
    values: &Tensor,
) -> Result<Tensor, TensorError> {
    if index.numel() == 0 || values.numel() == 0 {
        return zeros_like(&x);
    }
    if raw::is_host_f32(&x) {
        let (outer, inner) = around(x.shape(), axis);
        let (ids, parts) = (raw::integers(index)?, raw::f32s(values)?);
        let mut sum = raw::f32s(&x)?.to_vec();
        cpu::index_add(&mut sum, outer, x.shape()[axis], inner, &ids, &parts);
        return Ok(raw::from_vec(&x.dims(), sum));
    }
    let ids = as_index(index)?;
    let (base, ids, parts) = (x.value(), ids.value(), values.value());
    let out =
        on!("index_select", |base, ids, parts| B => B::float_select_add(base, axis, ids, parts))?;
    Ok(x.like(out, x.dims()))
}

/// How many elements lie before and after a dimension.
fn around(shape: &[usize], axis: usize) -> (usize, usize) {
    (
        shape[..axis].iter().product(),
        shape[axis + 1..].iter().product(),
    )
}
