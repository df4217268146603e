//! Operations that move elements and leave them as they are. Reshape, permute, expand and narrow
//! share the memory where they can.

use burn_backend::Slice;

use super::common::{expanded, permuted, reshaped, sum_to};
use crate::{
    Tensor, TensorError,
    dims::{Dims, MAX_RANK},
    tape::{again, record, record_again},
    tensor::{check_scalar, resolve_dim},
    value::Value,
};

impl Tensor {
    /// The same elements, row-major, under another shape. One dimension may be −1: what is left.
    ///
    /// # Errors
    /// `ShapeMismatch` when the numbers of elements differ.
    pub fn reshape(&self, shape: &[i64]) -> Result<Tensor, TensorError> {
        let target = self.inferred(shape)?;
        let out = reshaped(self, target)?;
        let original = self.dims();
        let out = record_again(
            "reshape",
            out,
            &[self],
            |_| Vec::new(),
            move |context| Ok(vec![Some(reshaped(&context.grad, original)?)]),
            || again(&[], move |x, _| x[0].recorded_reshape("reshape", target)),
        )?;
        Ok(out.takes_gradient_as(self))
    }

    /// The shape that `reshape` is asked for.
    fn inferred(&self, shape: &[i64]) -> Result<Dims, TensorError> {
        let mismatch = |why: &str| {
            TensorError::ShapeMismatch(format!("reshape: {:?} to {shape:?}: {why}", self.shape()))
        };
        if shape.len() > MAX_RANK {
            return Err(mismatch(&format!(
                "at most {MAX_RANK} dimensions are possible"
            )));
        }
        let mut target = Dims::new();
        let mut free = None;
        let mut known = 1_usize;
        for (index, dim) in shape.iter().enumerate() {
            match *dim {
                -1 if free.is_some() => return Err(mismatch("only one dimension may be -1")),
                -1 => {
                    free = Some(index);
                    target.push(1);
                }
                dim => {
                    let dim = usize::try_from(dim).map_err(|_| mismatch("negative dimension"))?;
                    known = known
                        .checked_mul(dim)
                        .ok_or_else(|| mismatch("too large"))?;
                    target.push(dim);
                }
            }
        }
        let total = self.numel();
        if let Some(index) = free {
            if known == 0 || !total.is_multiple_of(known) {
                return Err(mismatch(&format!(
                    "the {total} elements are not a multiple of {known}, so -1 has no size"
                )));
            }
            target[index] = total / known;
        } else if known != total {
            return Err(mismatch(&format!("{total} elements do not become {known}")));
        }
        Ok(target)
    }

    /// The dimensions in another order.
    ///
    /// # Errors
    /// `InvalidArgument` unless each dimension is named once.
    pub fn permute(&self, dims: &[i32]) -> Result<Tensor, TensorError> {
        let mut axes = Dims::new();
        let mut seen = [false; MAX_RANK];
        for dim in dims {
            let axis = self.dim("permute", *dim)?;
            if std::mem::replace(&mut seen[axis], true) {
                axes = Dims::new();
                break;
            }
            axes.push(axis);
        }
        if axes.len() != self.rank() || dims.len() != self.rank() {
            return Err(TensorError::InvalidArgument(format!(
                "permute: {dims:?} does not name each of the {} dimensions of {:?} once",
                self.rank(),
                self.shape()
            )));
        }
        let out = permuted(self, &axes)?;
        let out = record_again(
            "permute",
            out,
            &[self],
            |_| Vec::new(),
            move |context| {
                let mut back = axes;
                for (index, axis) in axes.iter().enumerate() {
                    back[*axis] = index;
                }
                Ok(vec![Some(permuted(&context.grad, &back)?)])
            },
            || {
                let order = dims.to_vec();
                again(&[], move |x, _| x[0].permute(&order))
            },
        )?;
        Ok(out.takes_gradient_as(self))
    }

    /// Two dimensions exchanged.
    ///
    /// # Errors
    /// `InvalidArgument` for a dimension that is not there.
    pub fn transpose(&self, a: i32, b: i32) -> Result<Tensor, TensorError> {
        let (a, b) = (self.dim("transpose", a)?, self.dim("transpose", b)?);
        let mut axes = Dims::new();
        (0..self.rank()).for_each(|axis| axes.push(axis));
        axes.swap(a, b);
        let out = permuted(self, &axes)?;
        let out = record_again(
            "transpose",
            out,
            &[self],
            |_| Vec::new(),
            move |context| Ok(vec![Some(permuted(&context.grad, &axes)?)]),
            || again(&[], move |x, _| x[0].transpose(a as i32, b as i32)),
        )?;
        Ok(out.takes_gradient_as(self))
    }

    /// A new dimension of size 1, which will be dimension `dim`.
    ///
    /// # Errors
    /// `InvalidArgument` for a dimension that is out of range, or one too many.
    pub fn unsqueeze(&self, dim: i32) -> Result<Tensor, TensorError> {
        if self.rank() == MAX_RANK {
            return Err(TensorError::InvalidArgument(format!(
                "unsqueeze: {:?} has the most dimensions possible",
                self.shape()
            )));
        }
        let at = resolve_dim("unsqueeze", dim, self.rank() + 1, self.shape())?;
        self.recorded_reshape("unsqueeze", self.dims().with(at, 1))
    }

    /// Without dimension `dim` if its size is 1; else unchanged.
    ///
    /// # Errors
    /// `InvalidArgument` for a dimension that is not there.
    pub fn squeeze(&self, dim: i32) -> Result<Tensor, TensorError> {
        let at = self.dim("squeeze", dim)?;
        if self.shape()[at] != 1 {
            return Ok(self.clone());
        }
        self.recorded_reshape("squeeze", self.dims().without(at))
    }

    fn recorded_reshape(&self, name: &'static str, shape: Dims) -> Result<Tensor, TensorError> {
        let original = self.dims();
        let out = record_again(
            name,
            reshaped(self, shape)?,
            &[self],
            |_| Vec::new(),
            move |context| Ok(vec![Some(reshaped(&context.grad, original)?)]),
            || again(&[], move |x, _| x[0].recorded_reshape(name, shape)),
        )?;
        Ok(out.takes_gradient_as(self))
    }

    /// Broadcasts dimensions of size 1; −1 keeps a dimension. New dimensions may be put in front.
    ///
    /// # Errors
    /// `ShapeMismatch` when a dimension is neither 1 nor what is asked for.
    pub fn expand(&self, shape: &[i64]) -> Result<Tensor, TensorError> {
        let fails = || {
            TensorError::ShapeMismatch(format!(
                "expand: {:?} to {shape:?}: from the last on, dimensions must be equal, 1, or -1 \
                 to keep them; at most {MAX_RANK}",
                self.shape()
            ))
        };
        if shape.len() < self.rank() || shape.len() > MAX_RANK {
            return Err(fails());
        }
        let lead = shape.len() - self.rank();
        let mut target = Dims::new();
        for (index, dim) in shape.iter().enumerate() {
            let has = index.checked_sub(lead).map(|index| self.shape()[index]);
            target.push(match (has, usize::try_from(*dim)) {
                (Some(has), Err(_)) if *dim == -1 => has,
                (Some(has), Ok(dim)) if has == dim || has == 1 => dim,
                (None, Ok(dim)) => dim,
                _ => return Err(fails()),
            });
        }
        crate::tensor::check_shape("expand", &target, self.dtype().size())?;
        let original = self.dims();
        record_again(
            "expand",
            expanded(self, target)?,
            &[self],
            |_| Vec::new(),
            move |context| Ok(vec![Some(sum_to(&context.grad, &original)?)]),
            || {
                let wanted = shape.to_vec();
                again(&[], move |x, _| x[0].expand(&wanted))
            },
        )
    }

    /// `len` elements along `dim`, from `start` on.
    ///
    /// # Errors
    /// `InvalidArgument` when these are not there.
    pub fn narrow(&self, dim: i32, start: usize, len: usize) -> Result<Tensor, TensorError> {
        let axis = self.dim("narrow", dim)?;
        let size = self.shape()[axis];
        if start.checked_add(len).is_none_or(|end| end > size) {
            return Err(TensorError::InvalidArgument(format!(
                "narrow: {len} elements from {start} on along dimension {dim} of {:?}, which has \
                 {size}",
                self.shape()
            )));
        }
        let out = narrowed(self, axis, start, len)?;
        let out = record_again(
            "narrow",
            out,
            &[self],
            |_| Vec::new(),
            move |context| {
                if len != size {
                    context.is_part(axis, start);
                }
                Ok(vec![Some(context.grad)])
            },
            || again(&[], move |x, _| x[0].narrow(axis as i32, start, len)),
        )?;
        Ok(out.takes_gradient_as(self))
    }

    /// The elements along `dims` in reverse order.
    ///
    /// # Errors
    /// `InvalidArgument` for a dimension that is not there or named twice.
    pub fn flip(&self, dims: &[i32]) -> Result<Tensor, TensorError> {
        let axes = self.axes("flip", dims)?;
        let flip = move |x: &Tensor| -> Result<Tensor, TensorError> {
            Ok(x.like(x.value().flip(x.kind(), &axes)?, x.dims()))
        };
        record(
            "flip",
            flip(self)?,
            &[self],
            |_| Vec::new(),
            move |context| Ok(vec![Some(flip(&context.grad)?)]),
        )
    }

    /// Dimensions, each named at most once, in ascending order.
    pub(super) fn axes(&self, what: &str, dims: &[i32]) -> Result<Dims, TensorError> {
        let mut wanted = [false; MAX_RANK];
        for dim in dims {
            if std::mem::replace(&mut wanted[self.dim(what, *dim)?], true) {
                return Err(TensorError::InvalidArgument(format!(
                    "{what}: dimension {dim} is named twice in {dims:?}"
                )));
            }
        }
        let mut axes = Dims::new();
        (0..self.rank())
            .filter(|axis| wanted[*axis])
            .for_each(|axis| axes.push(axis));
        Ok(axes)
    }

    /// Puts `value` around the tensor: (before, after) for each dimension, the first one first.
    ///
    /// # Errors
    /// `InvalidArgument` unless there is one pair for each dimension and the type has the value.
    pub fn pad(&self, amounts: &[(usize, usize)], value: f64) -> Result<Tensor, TensorError> {
        if amounts.len() != self.rank() {
            return Err(TensorError::InvalidArgument(format!(
                "pad: {} pairs of amounts for the {} dimensions of {:?}; give one pair for each, \
                 the first dimension first",
                amounts.len(),
                self.rank(),
                self.shape()
            )));
        }
        let out = padded(self, amounts, value)?;
        let mut kept = [(0, 0); MAX_RANK];
        for (axis, (before, _)) in amounts.iter().enumerate() {
            kept[axis] = (*before, self.shape()[axis]);
        }
        record(
            "pad",
            out,
            &[self],
            |_| Vec::new(),
            move |context| {
                let mut grad = context.grad;
                for (axis, &(start, len)) in kept.iter().enumerate().take(grad.rank()) {
                    grad = narrowed(&grad, axis, start, len)?;
                }
                Ok(vec![Some(grad)])
            },
        )
    }

    /// The tensors one after the other along `dim`.
    ///
    /// # Errors
    /// `InvalidArgument` for no tensors, or of different types or devices; `ShapeMismatch` when
    /// other dimensions differ.
    pub fn cat(tensors: &[&Tensor], dim: i32) -> Result<Tensor, TensorError> {
        let Some(first) = tensors.first() else {
            return Err(TensorError::InvalidArgument(
                "cat: there are no tensors; give at least one".into(),
            ));
        };
        let axis = first.dim("cat", dim)?;
        let mut total = 0_usize;
        for tensor in tensors {
            first.need_same("cat", tensor)?;
            let fits = tensor.rank() == first.rank()
                && (0..first.rank())
                    .all(|other| other == axis || tensor.shape()[other] == first.shape()[other]);
            if !fits {
                return Err(TensorError::ShapeMismatch(format!(
                    "cat: {:?} and {:?} along dimension {dim}: the other dimensions must be equal",
                    first.shape(),
                    tensor.shape()
                )));
            }
            total = total.saturating_add(tensor.shape()[axis]);
        }
        let shape = first.dims().replaced(axis, total);
        crate::tensor::check_shape("cat", &shape, first.dtype().size())?;
        // Empty parts say nothing, and not every backend takes them.
        let parts: Vec<Value> = tensors
            .iter()
            .filter(|tensor| tensor.numel() > 0)
            .map(|tensor| tensor.value().clone())
            .collect();
        let out = match parts.len() {
            0 => Tensor::zeros(&shape, first.dtype(), &first.device())?,
            _ => first.like(Value::cat(first.kind(), parts, axis)?, shape),
        };
        let sizes: Vec<usize> = tensors.iter().map(|tensor| tensor.shape()[axis]).collect();
        record_again(
            "cat",
            out,
            tensors,
            |_| Vec::new(),
            move |context| {
                let mut start = 0;
                let mut gradients = Vec::with_capacity(sizes.len());
                for (index, size) in sizes.iter().enumerate() {
                    gradients
                        .push(context.when(index, || narrowed(&context.grad, axis, start, *size))?);
                    start += size;
                }
                Ok(gradients)
            },
            || {
                again(&[], move |x, _| {
                    Tensor::cat(&x.iter().collect::<Vec<_>>(), axis as i32)
                })
            },
        )
    }

    /// The tensors along a new dimension, which will be dimension `dim`.
    ///
    /// # Errors
    /// As [`Self::cat`], and `ShapeMismatch` unless all have one shape.
    pub fn stack(tensors: &[&Tensor], dim: i32) -> Result<Tensor, TensorError> {
        if let Some(first) = tensors.first()
            && let Some(other) = tensors
                .iter()
                .find(|tensor| tensor.shape() != first.shape())
        {
            return Err(TensorError::ShapeMismatch(format!(
                "stack: {:?} and {:?} differ; all tensors must have one shape",
                first.shape(),
                other.shape()
            )));
        }
        let parts: Vec<Tensor> = tensors
            .iter()
            .map(|tensor| tensor.unsqueeze(dim))
            .collect::<Result<_, _>>()?;
        Tensor::cat(&parts.iter().collect::<Vec<_>>(), dim)
    }
}

/// A view of `len` elements along `axis`. Not recorded.
pub(super) fn narrowed(
    x: &Tensor,
    axis: usize,
    start: usize,
    len: usize,
) -> Result<Tensor, TensorError> {
    if len == x.shape()[axis] {
        return x.detach();
    }
    let shape = x.dims().replaced(axis, len);
    if let Value::Cpu(flex) = x.value() {
        return Ok(x.like(Value::Cpu(flex.narrow(axis, start, len)), shape));
    }
    if len == 0 {
        return Tensor::zeros(&shape, x.dtype(), &x.device());
    }
    let slices: Vec<Slice> = (0..x.rank())
        .map(|other| match other == axis {
            true => Slice::new(start as isize, Some((start + len) as isize), 1),
            false => Slice::full(),
        })
        .collect();
    Ok(x.like(x.value().slice(x.kind(), &slices)?, shape))
}

/// Zeros of `shape` with `x` in them, from `start` on along `axis`. Not recorded.
pub(crate) fn among_zeros(
    x: &Tensor,
    axis: usize,
    start: usize,
    shape: &Dims,
) -> Result<Tensor, TensorError> {
    let mut amounts = [(0, 0); MAX_RANK];
    amounts[axis] = (start, shape[axis] - start - x.shape()[axis]);
    padded(x, &amounts[..shape.len()], 0.0)
}

/// The tensor with `value` around it. Not recorded.
pub(super) fn padded(
    x: &Tensor,
    amounts: &[(usize, usize)],
    value: f64,
) -> Result<Tensor, TensorError> {
    if amounts.iter().all(|amount| *amount == (0, 0)) {
        return x.detach();
    }
    let mut shape = Dims::new();
    for (dim, (before, after)) in x.shape().iter().zip(amounts) {
        shape.push(dim.saturating_add(*before).saturating_add(*after));
    }
    check_scalar("pad", value, x.dtype())?;
    let base = Tensor::full(&shape, value, x.dtype(), &x.device())?;
    if x.numel() == 0 {
        return Ok(base);
    }
    let slices: Vec<Slice> = x
        .shape()
        .iter()
        .zip(amounts)
        .map(|(dim, (before, _))| Slice::new(*before as isize, Some((before + dim) as isize), 1))
        .collect();
    let kind = x.kind();
    let (value, _) = base.into_parts();
    Ok(x.like(value.assign(kind, &slices, x.value())?, shape))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Device;

    #[test]
    fn views_share_memory() {
        let x = Tensor::from_f32(&[2, 3], &[0.0; 6], &Device::cpu()).unwrap();
        let (memory, _) = x.storage();
        let views = [
            x.reshape(&[3, -1]).unwrap(),
            x.permute(&[1, 0]).unwrap(),
            x.unsqueeze(-1).unwrap().expand(&[5, 2, 3, 4]).unwrap(),
            x.narrow(1, 1, 2).unwrap(),
            x.detach().unwrap(),
        ];
        for view in views {
            assert_eq!(view.storage().0, memory, "{view:?}");
            assert!(view.value().has_shape(view.shape()));
        }
    }
}
