//! Choosing between values by a mask.

use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};

use super::common::{broadcast, expanded, sum_to, zeros_like};
use crate::{
    Tensor, TensorError,
    tape::{again, record_again},
    tensor::check_scalar,
    value::{Kind, on},
};

impl Tensor {
    /// `value` where `mask` holds, else self. The mask broadcasts to the tensor, or both to one
    /// shape.
    ///
    /// # Errors
    /// `ShapeMismatch` when the shapes do not broadcast; `InvalidArgument` unless the mask is
    /// boolean and the type has the value.
    pub fn masked_fill(&self, mask: &Tensor, value: f64) -> Result<Tensor, TensorError> {
        mask.need_bool("masked_fill", "the mask")?;
        self.need_device("masked_fill", mask)?;
        check_scalar("masked_fill", value, self.dtype())?;
        let shape = broadcast("masked_fill", self.shape(), mask.shape())?;
        let (x, full_mask) = (expanded(self, shape)?, expanded(mask, shape)?);
        let (v, m) = (x.value(), full_mask.value());
        let whole = value as i64;
        let out = match self.kind() {
            Kind::Float => on!("masked_fill", |v, m| B => B::float_mask_fill(v, m, value.into())),
            Kind::Int => on!("masked_fill", |v, m| B => B::int_mask_fill(v, m, whole.into())),
            Kind::Bool => {
                on!("masked_fill", |v, m| B => B::bool_mask_fill(v, m, (value != 0.0).into()))
            }
        }?;
        let original = self.dims();
        record_again(
            "masked_fill",
            self.like(out, shape),
            &[self],
            |_| vec![mask.clone()],
            move |context| {
                let grad = context.grad.masked_fill(&context.saved[0], 0.0)?;
                Ok(vec![Some(sum_to(&grad, &original)?)])
            },
            || again(&[mask], move |x, mask| x[0].masked_fill(&mask[0], value)),
        )
    }

    /// `a` where `condition` holds, else `b`; all three broadcast.
    ///
    /// # Errors
    /// `ShapeMismatch` when the shapes do not broadcast; `InvalidArgument` unless the condition is
    /// boolean and `a` and `b` have one type and device.
    pub fn where_(condition: &Tensor, a: &Tensor, b: &Tensor) -> Result<Tensor, TensorError> {
        condition.need_bool("where", "the condition")?;
        a.need_same("where", b)?;
        a.need_device("where", condition)?;
        let shape = broadcast("where", a.shape(), b.shape())?;
        let shape = broadcast("where", condition.shape(), &shape)?;
        let mask = expanded(condition, shape)?;
        let (x, y) = (expanded(a, shape)?, expanded(b, shape)?);
        let out = y.value().mask_where(a.kind(), mask.value(), x.value())?;
        let shapes = (a.dims(), b.dims());
        record_again(
            "where",
            a.like(out, shape),
            &[a, b],
            |_| vec![condition.clone()],
            move |context| {
                let (mask, g) = (&context.saved[0], &context.grad);
                let zero = zeros_like(g)?;
                Ok(vec![
                    context.when(0, || sum_to(&Tensor::where_(mask, g, &zero)?, &shapes.0))?,
                    context.when(1, || sum_to(&Tensor::where_(mask, &zero, g)?, &shapes.1))?,
                ])
            },
            || {
                again(&[condition], |x, condition| {
                    Tensor::where_(&condition[0], &x[0], &x[1])
                })
            },
        )
    }
}
