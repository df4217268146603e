//! Arithmetic of two tensors, which broadcast, and of a tensor and a number.

use burn_backend::ops::{FloatTensorOps, IntTensorOps};

use super::common::{broadcast, expanded, host, host_unary, sum_to, with_rank};
use crate::{
    DType, Tensor, TensorError,
    cpu::{self, BinaryOp},
    dims::Dims,
    raw,
    tape::{again, record, record_again},
    tensor::check_scalar,
    value::{Kind, on},
};

impl Tensor {
    /// a + b; they broadcast.
    ///
    /// # Errors
    /// `ShapeMismatch` when the shapes do not broadcast; `InvalidArgument` for booleans and for
    /// tensors of different types or devices.
    pub fn add(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        let out = binary("add", BinaryOp::Add, self, other)?;
        let shapes = (self.dims(), other.dims());
        record_again(
            "add",
            out,
            &[self, other],
            |_| Vec::new(),
            move |context| {
                let g = &context.grad;
                Ok(vec![
                    context.when(0, || sum_to(g, &shapes.0))?,
                    context.when(1, || sum_to(g, &shapes.1))?,
                ])
            },
            || again(&[], |x, _| x[0].add(&x[1])),
        )
    }

    /// a − b; they broadcast.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn sub(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        let out = binary("sub", BinaryOp::Sub, self, other)?;
        let shapes = (self.dims(), other.dims());
        record_again(
            "sub",
            out,
            &[self, other],
            |_| Vec::new(),
            move |context| {
                let g = &context.grad;
                Ok(vec![
                    context.when(0, || sum_to(g, &shapes.0))?,
                    context.when(1, || sum_to(g, &shapes.1)?.neg())?,
                ])
            },
            || again(&[], |x, _| x[0].sub(&x[1])),
        )
    }

    /// a · b; they broadcast.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn mul(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        let out = binary("mul", BinaryOp::Mul, self, other)?;
        // Each is needed only for the gradient of the other.
        let keep = (other.is_tracked(), self.is_tracked());
        let shapes = (self.dims(), other.dims());
        let saved = |_: &Tensor| {
            let kept = [(keep.0, self), (keep.1, other)];
            kept.into_iter()
                .filter(|(keep, _)| *keep)
                .map(|(_, x)| x.clone())
                .collect()
        };
        record_again(
            "mul",
            out,
            &[self, other],
            saved,
            move |context| {
                let g = &context.grad;
                let (first, last) = (context.saved.first(), context.saved.last());
                let times = |x: Option<&Tensor>, shape: &Dims| {
                    x.map(|x| sum_to(&g.mul(x)?, shape)).transpose()
                };
                Ok(vec![
                    if context.wants(0) {
                        times(last, &shapes.0)?
                    } else {
                        None
                    },
                    if context.wants(1) {
                        times(first, &shapes.1)?
                    } else {
                        None
                    },
                ])
            },
            || again(&[], |x, _| x[0].mul(&x[1])),
        )
    }

    /// a / b; they broadcast. Floating-point only: cast integers first.
    ///
    /// # Errors
    /// As [`Self::add`], and `InvalidArgument` for integers.
    pub fn div(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        self.need_float("div")?;
        let out = binary("div", BinaryOp::Div, self, other)?;
        let shapes = (self.dims(), other.dims());
        let saved = |out: &Tensor| vec![other.clone(), out.clone()];
        record_again(
            "div",
            out,
            &[self, other],
            saved,
            move |context| {
                let (b, y) = (&context.saved[0], &context.saved[1]);
                let share = context.grad.div(b)?;
                Ok(vec![
                    context.when(0, || sum_to(&share, &shapes.0))?,
                    context.when(1, || sum_to(&share.mul(y)?, &shapes.1)?.neg())?,
                ])
            },
            || again(&[], |x, _| x[0].div(&x[1])),
        )
    }

    /// The larger of a and b; they broadcast. Where they are equal the gradient is shared.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn maximum(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        let out = binary("maximum", BinaryOp::Max, self, other)?;
        extreme("maximum", out, self, other, false)
    }

    /// The smaller of a and b; they broadcast. Where they are equal the gradient is shared.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn minimum(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        let out = binary("minimum", BinaryOp::Min, self, other)?;
        extreme("minimum", out, self, other, true)
    }

    /// x + value.
    ///
    /// # Errors
    /// `InvalidArgument` for booleans, and for a value that an integer type does not have.
    pub fn add_scalar(&self, value: f64) -> Result<Tensor, TensorError> {
        self.need_number("add_scalar")?;
        let out = if raw::is_host_f32(self) {
            let add = value as f32;
            host_unary(self, |x, out| {
                cpu::binary_scalar(BinaryOp::Add, x, add, out)
            })?
        } else if self.kind() == Kind::Float {
            let x = self.value();
            let out = on!("add_scalar", |x| B => B::float_add_scalar(x, value.into()))?;
            self.like(out, self.dims())
        } else {
            check_scalar("add_scalar", value, widest(self.dtype()))?;
            let (x, value) = (self.value(), self.fitting(value as i64));
            let out = on!("add_scalar", |x| B => B::int_add_scalar(x, value.into()))?;
            wrapped(self.like(out, self.dims()))?
        };
        record_again(
            "add_scalar",
            out,
            &[self],
            |_| Vec::new(),
            |context| Ok(vec![Some(context.grad)]),
            || again(&[], move |x, _| x[0].add_scalar(value)),
        )
    }

    /// x · value.
    ///
    /// # Errors
    /// `InvalidArgument` for booleans, and for a value that an integer type does not have.
    pub fn mul_scalar(&self, value: f64) -> Result<Tensor, TensorError> {
        self.need_number("mul_scalar")?;
        let out = if raw::is_host_f32(self) {
            let factor = value as f32;
            host_unary(self, |x, out| {
                cpu::binary_scalar(BinaryOp::Mul, x, factor, out)
            })?
        } else if self.kind() == Kind::Float {
            let x = self.value();
            let out = on!("mul_scalar", |x| B => B::float_mul_scalar(x, value.into()))?;
            self.like(out, self.dims())
        } else {
            check_scalar("mul_scalar", value, widest(self.dtype()))?;
            self.mul_scalar_int("mul_scalar", value as i64)?
        };
        record_again(
            "mul_scalar",
            out,
            &[self],
            |_| Vec::new(),
            move |context| Ok(vec![Some(context.grad.mul_scalar(value)?)]),
            || again(&[], move |x, _| x[0].mul_scalar(value)),
        )
    }

    /// The number that does to elements of this type what `value` does, which wrap around: a device takes
    /// none that the type does not have.
    fn fitting(&self, value: i64) -> i64 {
        match self.dtype() {
            DType::U8 => i64::from(value as u8),
            DType::I32 => i64::from(value as i32),
            _ => value,
        }
    }

    /// x · value of integers. Not recorded.
    pub(super) fn mul_scalar_int(&self, what: &str, value: i64) -> Result<Tensor, TensorError> {
        let (x, value) = (self.value(), self.fitting(value));
        let out = on!(what, |x| B => B::int_mul_scalar(x, value.into()))?;
        wrapped(self.like(out, self.dims()))
    }

    /// x to the power of `exponent`. Floating-point only.
    ///
    /// # Errors
    /// `InvalidArgument` unless the tensor is floating-point.
    pub fn pow_scalar(&self, exponent: f64) -> Result<Tensor, TensorError> {
        self.need_float("pow_scalar")?;
        let out = if raw::is_host_f32(self) {
            host_unary(self, |x, out| power(x, exponent, out))?
        } else if exponent == 2.0 {
            let x = self.detach()?;
            x.mul(&x)?
        } else {
            let x = self.value();
            let out = on!("pow_scalar", |x| B => B::float_powf_scalar(x, exponent.into()))?;
            self.like(out, self.dims())
        };
        record_again(
            "pow_scalar",
            out,
            &[self],
            |_| vec![self.clone()],
            move |context| {
                let g = &context.grad;
                if exponent == 0.0 {
                    return Ok(vec![Some(super::common::zeros_like(g)?)]);
                }
                let slope = context.saved[0]
                    .pow_scalar(exponent - 1.0)?
                    .mul_scalar(exponent)?;
                Ok(vec![Some(g.mul(&slope)?)])
            },
            || again(&[], move |x, _| x[0].pow_scalar(exponent)),
        )
    }
}

/// The type whose numbers a scalar operand may have: bytes wrap around, so −1 is as good as 255.
fn widest(dtype: DType) -> DType {
    if dtype == DType::U8 {
        DType::I32
    } else {
        dtype
    }
}

fn power(x: &[f32], exponent: f64, out: &mut [f32]) {
    let each = |out: &mut [f32], f: &dyn Fn(f32) -> f32| {
        out.iter_mut().zip(x).for_each(|(out, x)| *out = f(*x));
    };
    if exponent == 2.0 {
        cpu::binary(BinaryOp::Mul, x, x, out);
    } else if exponent == 0.5 {
        cpu::sqrt(x, out);
    } else if exponent == -0.5 {
        cpu::rsqrt(x, out);
    } else if exponent.fract() == 0.0 && exponent.abs() <= 32.0 {
        let exponent = exponent as i32;
        each(out, &|x| x.powi(exponent));
    } else {
        let exponent = exponent as f32;
        each(out, &|x| x.powf(exponent));
    }
}

/// Bytes that are kept in wider integers wrap around at 256, as bytes do.
fn wrapped(x: Tensor) -> Result<Tensor, TensorError> {
    if x.dtype() != DType::U8 || x.device().stored(DType::U8)?.size() == 1 {
        return Ok(x);
    }
    let value = x.value();
    let out = on!("uint8", |value| B => B::bitwise_and_scalar(value, 255_i64.into()))?;
    Ok(x.like(out, x.dims()))
}

/// Records `maximum` or `minimum`.
fn extreme(
    name: &'static str,
    out: Tensor,
    a: &Tensor,
    b: &Tensor,
    smaller: bool,
) -> Result<Tensor, TensorError> {
    let shapes = (a.dims(), b.dims());
    record(
        name,
        out,
        &[a, b],
        |_| vec![a.clone(), b.clone()],
        move |context| {
            let (a, b, g) = (&context.saved[0], &context.saved[1], &context.grad);
            let (a, b) = if smaller { (b, a) } else { (a, b) };
            // Of the first: 1 where it is chosen, ½ where both are.
            let less = a.lt(b)?.cast(g.dtype())?;
            let less_or_equal = a.le(b)?.cast(g.dtype())?;
            let loses = less.add(&less_or_equal)?.mul_scalar(0.5)?;
            let wins = loses.neg()?.add_scalar(1.0)?;
            Ok(vec![
                context.when(0, || sum_to(&g.mul(&wins)?, &shapes.0))?,
                context.when(1, || sum_to(&g.mul(&loses)?, &shapes.1))?,
            ])
        },
    )
}

fn binary(what: &'static str, op: BinaryOp, a: &Tensor, b: &Tensor) -> Result<Tensor, TensorError> {
    a.need_same(what, b)?;
    a.need_number(what)?;
    let shape = broadcast(what, a.shape(), b.shape())?;
    if raw::is_host_f32(a) {
        return host_broadcast(op, a, b, shape);
    }
    let (x, y) = (with_rank(a, shape.len())?, with_rank(b, shape.len())?);
    let (x, y) = (x.value(), y.value());
    let out = match (op, a.kind()) {
        (BinaryOp::Add, Kind::Float) => on!(what, |x, y| B => B::float_add(x, y)),
        (BinaryOp::Sub, Kind::Float) => on!(what, |x, y| B => B::float_sub(x, y)),
        (BinaryOp::Mul, Kind::Float) => on!(what, |x, y| B => B::float_mul(x, y)),
        (BinaryOp::Div, Kind::Float) => on!(what, |x, y| B => B::float_div(x, y)),
        (BinaryOp::Add, _) => on!(what, |x, y| B => B::int_add(x, y)),
        (BinaryOp::Sub, _) => on!(what, |x, y| B => B::int_sub(x, y)),
        (BinaryOp::Mul, _) => on!(what, |x, y| B => B::int_mul(x, y)),
        (BinaryOp::Max | BinaryOp::Min | BinaryOp::Div, _) => {
            return picked(op, a, b, shape);
        }
    }?;
    wrapped(a.like(out, shape))
}

/// The larger or smaller of two, by a comparison; NaN if either is.
fn picked(op: BinaryOp, a: &Tensor, b: &Tensor, shape: Dims) -> Result<Tensor, TensorError> {
    let (a, b) = (expanded(a, shape)?, expanded(b, shape)?);
    let mut take_b = match op {
        BinaryOp::Min => b.lt(&a)?,
        _ => a.lt(&b)?,
    };
    if a.kind() == Kind::Float {
        // NaN is not equal to itself.
        take_b = Tensor::where_(&b.eq(&b)?, &take_b, &b.eq(&b)?.logical_not()?)?;
    }
    Tensor::where_(&take_b, &b, &a)
}

/// Float32 in main memory: the common ways to broadcast have kernels, the others make copies.
fn host_broadcast(
    op: BinaryOp,
    a: &Tensor,
    b: &Tensor,
    shape: Dims,
) -> Result<Tensor, TensorError> {
    if a.shape() == b.shape() {
        let (x, y) = (raw::f32s(a)?, raw::f32s(b)?);
        return Ok(host(shape, |out| cpu::binary(op, &x, &y, out)));
    }
    let commutes = !matches!(op, BinaryOp::Sub | BinaryOp::Div);
    if commutes && *a.shape() != *shape && *b.shape() == *shape {
        return host_broadcast(op, b, a, shape);
    }
    if *a.shape() != *shape || shape.numel() == 0 {
        let (a, b) = (expanded(a, shape)?, expanded(b, shape)?);
        return host_broadcast(op, &a, &b, shape);
    }
    let (x, y) = (raw::f32s(a)?, raw::f32s(b)?);
    if b.numel() == 1 {
        return Ok(host(shape, |out| cpu::binary_scalar(op, &x, y[0], out)));
    }
    // b's dimensions from the right: as in a, then all 1 (rows), or all 1, then as in a (columns).
    let dims = b.shape();
    let tail = shape.iter().rev().zip(dims.iter().rev());
    let same = tail.clone().take_while(|(all, dim)| all == dim).count();
    let ones = tail
        .take_while(|(all, dim)| **dim == 1 && **all != 1)
        .count();
    if dims.iter().rev().skip(same).all(|dim| *dim == 1) {
        return Ok(host(shape, |out| cpu::binary_rows(op, &x, &y, out)));
    }
    let lead = shape.len() - dims.len();
    if ones > 0 && lead == 0 && dims[..dims.len() - ones] == shape[..shape.len() - ones] {
        return Ok(host(shape, |out| cpu::binary_columns(op, &x, &y, out)));
    }
    let y = raw::f32s(&expanded(b, shape)?)?;
    Ok(host(shape, |out| cpu::binary(op, &x, &y, out)))
}
