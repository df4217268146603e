//! Reductions over some or all dimensions.

use burn_backend::ops::{FloatTensorOps, IntTensorOps};

use super::common::{dim_last, expanded, host, permuted, reshaped, rows_cols};
use crate::{
    DType, Tensor, TensorError, cpu,
    dims::Dims,
    raw,
    tape::record,
    tensor::burn_shape,
    value::{Kind, Value, on},
};

impl Tensor {
    /// The sum over `dims` (none: over all). Integers and booleans give int64.
    ///
    /// # Errors
    /// `InvalidArgument` for a dimension that is not there or named twice.
    pub fn sum(&self, dims: &[i32], keepdim: bool) -> Result<Tensor, TensorError> {
        let axes = self.reduced("sum", dims)?;
        let out = match self.kind() {
            Kind::Float => sum_over(self, &axes)?,
            _ => sum_over(&self.cast(DType::I64)?, &axes)?,
        };
        let out = dropped(out, &axes, keepdim)?;
        let (full, kept) = (self.dims(), kept_shape(self.shape(), &axes));
        record(
            "sum",
            out,
            &[self],
            |_| Vec::new(),
            move |context| Ok(vec![Some(expanded(&reshaped(&context.grad, kept)?, full)?)]),
        )
    }

    /// The mean over `dims` (none: over all).
    ///
    /// # Errors
    /// As [`Self::sum`], and `InvalidArgument` unless the tensor is floating-point.
    pub fn mean(&self, dims: &[i32], keepdim: bool) -> Result<Tensor, TensorError> {
        self.need_float("mean")?;
        let axes = self.reduced("mean", dims)?;
        let count: usize = axes.iter().map(|axis| self.shape()[*axis]).product();
        let scale = 1.0 / count as f64;
        let out = sum_over(self, &axes)?.mul_scalar(scale)?;
        let out = dropped(out, &axes, keepdim)?;
        let (full, kept) = (self.dims(), kept_shape(self.shape(), &axes));
        record(
            "mean",
            out,
            &[self],
            |_| Vec::new(),
            move |context| {
                let grad = reshaped(&context.grad.mul_scalar(scale)?, kept)?;
                Ok(vec![Some(expanded(&grad, full)?)])
            },
        )
    }

    /// The variance over `dims` (none: over all). `correction` is taken from the count: 1 for the
    /// unbiased estimate.
    ///
    /// # Errors
    /// As [`Self::mean`].
    pub fn variance(
        &self,
        dims: &[i32],
        correction: u32,
        keepdim: bool,
    ) -> Result<Tensor, TensorError> {
        self.need_float("variance")?;
        let axes = self.reduced("variance", dims)?;
        let count: usize = axes.iter().map(|axis| self.shape()[*axis]).product();
        let x = self.detach()?;
        let mean = sum_over(&x, &axes)?.mul_scalar(1.0 / count as f64)?;
        let centred = x.sub(&mean)?;
        // As in PyTorch: infinite when there are too few elements.
        let scale = 1.0 / (count as f64 - f64::from(correction)).max(0.0);
        let out = sum_over(&centred.mul(&centred)?, &axes)?.mul_scalar(scale)?;
        let out = dropped(out, &axes, keepdim)?;
        let kept = kept_shape(self.shape(), &axes);
        record(
            "variance",
            out,
            &[self],
            |_| vec![centred],
            move |context| {
                let grad = reshaped(&context.grad.mul_scalar(2.0 * scale)?, kept)?;
                Ok(vec![Some(context.saved[0].mul(&grad)?)])
            },
        )
    }

    /// The largest along `dim`. The gradient goes to the first of several that are equal.
    ///
    /// # Errors
    /// `InvalidArgument` for a dimension that is not there or empty, and for booleans.
    pub fn max(&self, dim: i32, keepdim: bool) -> Result<Tensor, TensorError> {
        self.extreme("max", dim, keepdim, true)
    }

    /// The smallest along `dim`. The gradient goes to the first of several that are equal.
    ///
    /// # Errors
    /// As [`Self::max`].
    pub fn min(&self, dim: i32, keepdim: bool) -> Result<Tensor, TensorError> {
        self.extreme("min", dim, keepdim, false)
    }

    fn extreme(
        &self,
        name: &'static str,
        dim: i32,
        keepdim: bool,
        largest: bool,
    ) -> Result<Tensor, TensorError> {
        self.need_number(name)?;
        let axis = self.not_empty(name, dim)?;
        let kept = self.dims().replaced(axis, 1);
        let out = if raw::is_host_f32(self) {
            let last = dim_last(self, axis)?;
            let (values, cols) = (raw::f32s(&last)?, self.shape()[axis]);
            host(kept, |out| match largest {
                true => cpu::max_last(&values, cols, out),
                false => cpu::min_last(&values, cols, out),
            })
        } else {
            let x = self.value();
            let out = match (self.kind(), largest) {
                (Kind::Float, true) => on!(name, |x| B => B::float_max_dim(x, axis)),
                (Kind::Float, false) => on!(name, |x| B => B::float_min_dim(x, axis)),
                (_, true) => on!(name, |x| B => B::int_max_dim(x, axis)),
                (_, false) => on!(name, |x| B => B::int_min_dim(x, axis)),
            }?;
            self.like(out, kept)
        };
        let shape = if keepdim { kept } else { kept.without(axis) };
        let out = reshaped(&out, shape)?;
        record(
            name,
            out,
            &[self],
            |_| vec![self.clone()],
            move |context| {
                let x = &context.saved[0];
                let index = match largest {
                    true => x.argmax(axis as i32, true)?,
                    false => x.neg()?.argmax(axis as i32, true)?,
                };
                let grad = reshaped(&context.grad, kept)?;
                let zeros = super::common::zeros_like(x)?;
                Ok(vec![Some(zeros.scatter_add(axis as i32, &index, &grad)?)])
            },
        )
    }

    /// The index (int64) of the largest along `dim`, the first of several that are equal.
    ///
    /// # Errors
    /// As [`Self::max`].
    pub fn argmax(&self, dim: i32, keepdim: bool) -> Result<Tensor, TensorError> {
        self.need_number("argmax")?;
        let axis = self.not_empty("argmax", dim)?;
        let kept = self.dims().replaced(axis, 1);
        let out = if raw::is_host_f32(self) {
            let last = dim_last(self, axis)?;
            let values = raw::f32s(&last)?;
            let mut out = vec![0; kept.numel()];
            cpu::argmax_last(&values, self.shape()[axis], &mut out);
            raw::from_elements(&kept, out, DType::I64)
        } else if self.dtype() == DType::U8 {
            // Flex has no such comparison of bytes.
            return self.cast(DType::I64)?.argmax(dim, keepdim);
        } else {
            let stored = self.device().stored(DType::I64)?;
            let x = self.value();
            let out = match self.kind() {
                Kind::Float => on!("argmax", |x| B => B::float_argmax(x, axis, stored.into())),
                _ => on!("argmax", |x| B => B::int_cast(B::int_argmax(x, axis), stored.into())),
            }?;
            Tensor::new(out, kept, DType::I64, self.device())
        };
        let shape = if keepdim { kept } else { kept.without(axis) };
        reshaped(&out, shape)
    }

    /// log Σ eˣ along `dim`, without overflow.
    ///
    /// # Errors
    /// `InvalidArgument` for a dimension that is not there or empty, or unless the tensor is
    /// floating-point.
    pub fn logsumexp(&self, dim: i32, keepdim: bool) -> Result<Tensor, TensorError> {
        self.need_float("logsumexp")?;
        let axis = self.not_empty("logsumexp", dim)?;
        let kept = self.dims().replaced(axis, 1);
        let out = if raw::is_host_f32(self) {
            let last = dim_last(self, axis)?;
            let values = raw::f32s(&last)?;
            host(kept, |out| cpu::logsumexp(&values, self.shape()[axis], out))
        } else {
            let x = self.detach()?;
            let top = x.max(axis as i32, true)?;
            sum_over(&x.sub(&top)?.exp()?, &one(axis))?
                .log()?
                .add(&top)?
        };
        let shape = if keepdim { kept } else { kept.without(axis) };
        let out = reshaped(&out, shape)?;
        let saved = |out: &Tensor| vec![self.clone(), out.clone()];
        record("logsumexp", out, &[self], saved, move |context| {
            let (x, y) = (&context.saved[0], reshaped(&context.saved[1], kept)?);
            let grad = reshaped(&context.grad, kept)?;
            Ok(vec![Some(x.sub(&y)?.exp()?.mul(&grad)?)])
        })
    }

    /// Sums of the elements up to each along `dim`. Integers and booleans give int64.
    ///
    /// # Errors
    /// `InvalidArgument` for a dimension that is not there.
    pub fn cumsum(&self, dim: i32) -> Result<Tensor, TensorError> {
        let axis = self.dim("cumsum", dim)?;
        let x = match self.kind() {
            Kind::Float => self.detach()?,
            _ => self.cast(DType::I64)?,
        };
        let out = cumulated(&x, axis)?;
        record(
            "cumsum",
            out,
            &[self],
            |_| Vec::new(),
            move |context| {
                let dims = [axis as i32];
                Ok(vec![Some(
                    cumulated(&context.grad.flip(&dims)?, axis)?.flip(&dims)?,
                )])
            },
        )
    }

    /// The dimensions of a reduction, ascending.
    fn reduced(&self, what: &str, dims: &[i32]) -> Result<Dims, TensorError> {
        if !dims.is_empty() {
            return self.axes(what, dims);
        }
        let mut axes = Dims::new();
        (0..self.rank()).for_each(|axis| axes.push(axis));
        Ok(axes)
    }

    /// A dimension that has elements to choose from.
    pub(super) fn not_empty(&self, what: &str, dim: i32) -> Result<usize, TensorError> {
        let axis = self.dim(what, dim)?;
        if self.shape()[axis] > 0 {
            return Ok(axis);
        }
        Err(TensorError::InvalidArgument(format!(
            "{what}: dimension {dim} of {:?} is empty",
            self.shape()
        )))
    }
}

fn one(axis: usize) -> Dims {
    let mut axes = Dims::new();
    axes.push(axis);
    axes
}

fn kept_shape(shape: &[usize], axes: &Dims) -> Dims {
    let mut kept = Dims::from_slice(shape).unwrap_or(Dims::new());
    axes.iter().for_each(|axis| kept[*axis] = 1);
    kept
}

/// Drops reduced dimensions, which have size 1, unless they are to be kept.
fn dropped(x: Tensor, axes: &Dims, keepdim: bool) -> Result<Tensor, TensorError> {
    if keepdim || axes.is_empty() {
        return Ok(x);
    }
    let mut shape = Dims::new();
    for (axis, dim) in x.shape().iter().enumerate() {
        if !axes.contains(&axis) {
            shape.push(*dim);
        }
    }
    reshaped(&x, shape)
}

/// The sum over `axes` (ascending), which keep the size 1; of numbers. Not recorded.
pub(super) fn sum_over(x: &Tensor, axes: &Dims) -> Result<Tensor, TensorError> {
    let kept = kept_shape(x.shape(), axes);
    if kept == x.dims() {
        return x.detach();
    }
    if x.numel() == 0 {
        return Tensor::zeros(&kept, x.dtype(), &x.device());
    }
    if raw::is_host_f32(x) {
        return host_sum(x, axes, kept);
    }
    if axes.len() == x.rank() {
        let value = x.value();
        let out = match x.kind() {
            Kind::Float => on!("sum", |value| B => B::float_sum(value)),
            _ => on!("sum", |value| B => B::int_sum(value)),
        }?;
        let out = out.reshape(x.kind(), burn_shape(&kept))?;
        return Ok(x.like(out, kept));
    }
    let mut value: Value = x.value().clone();
    for axis in axes.iter().copied() {
        let v = &value;
        value = match x.kind() {
            Kind::Float => on!("sum", |v| B => B::float_sum_dim(v, axis)),
            _ => on!("sum", |v| B => B::int_sum_dim(v, axis)),
        }?;
    }
    Ok(x.like(value, kept))
}

fn host_sum(x: &Tensor, axes: &Dims, kept: Dims) -> Result<Tensor, TensorError> {
    let rank = x.rank();
    if axes.len() == rank {
        let values = raw::f32s(x)?;
        return Ok(host(kept, |out| out[0] = cpu::sum(&values) as f32));
    }
    if axes.iter().enumerate().all(|(index, axis)| index == *axis) {
        let (_, cols) = rows_cols(x.shape(), rank - axes.len());
        let values = raw::f32s(x)?;
        return Ok(host(kept, |out| cpu::sum_rows(&values, cols, out)));
    }
    // The last dimensions first, then the leading ones: no element is moved.
    let inside = (0..rank)
        .rev()
        .take_while(|axis| axes.contains(axis))
        .count();
    let outside = axes
        .iter()
        .enumerate()
        .take_while(|(i, axis)| i == *axis)
        .count();
    if inside + outside == axes.len() {
        let (rows, cols) = rows_cols(x.shape(), inside);
        let values = raw::f32s(x)?;
        let mut sums = vec![0.0; rows];
        cpu::sum_last(&values, cols, &mut sums);
        return Ok(host(kept, |out| cpu::sum_rows(&sums, out.len(), out)));
    }
    // The reduced dimensions last.
    let mut order = Dims::new();
    (0..rank)
        .filter(|axis| !axes.contains(axis))
        .for_each(|axis| order.push(axis));
    axes.iter().for_each(|axis| order.push(*axis));
    let last = permuted(x, &order)?;
    let (_, cols) = rows_cols(last.shape(), axes.len());
    let values = raw::f32s(&last)?;
    Ok(host(kept, |out| cpu::sum_last(&values, cols, out)))
}

/// Not recorded.
fn cumulated(x: &Tensor, axis: usize) -> Result<Tensor, TensorError> {
    if x.numel() == 0 {
        return x.detach();
    }
    let value = x.value();
    let out = match x.kind() {
        Kind::Float => on!("cumsum", |value| B => B::float_cumsum(value, axis)),
        _ => on!("cumsum", |value| B => B::int_cumsum(value, axis)),
    }?;
    Ok(x.like(out, x.dims()))
}
