//! Comparisons and logic: boolean results.

use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};

use super::common::{broadcast, expanded};
use crate::{
    DType, Tensor, TensorError,
    value::{Kind, Value, on},
};

#[derive(Clone, Copy)]
enum Relation {
    Equal,
    Less,
    LessOrEqual,
    Greater,
}

impl Tensor {
    /// a = b; they broadcast.
    ///
    /// # Errors
    /// `ShapeMismatch` when the shapes do not broadcast; `InvalidArgument` for tensors of different
    /// types or devices.
    pub fn eq(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        compare("eq", Relation::Equal, self, other)
    }

    /// a < b; they broadcast.
    ///
    /// # Errors
    /// As [`Self::eq`], and `InvalidArgument` for booleans.
    pub fn lt(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        self.need_number("lt")?;
        compare("lt", Relation::Less, self, other)
    }

    /// a ≤ b; they broadcast.
    ///
    /// # Errors
    /// As [`Self::lt`].
    pub fn le(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        self.need_number("le")?;
        compare("le", Relation::LessOrEqual, self, other)
    }

    /// x = value.
    ///
    /// # Errors
    /// As the device fails.
    pub fn eq_scalar(&self, value: f64) -> Result<Tensor, TensorError> {
        compare_scalar("eq_scalar", Relation::Equal, self, value)
    }

    /// x < value.
    ///
    /// # Errors
    /// `InvalidArgument` for booleans.
    pub fn lt_scalar(&self, value: f64) -> Result<Tensor, TensorError> {
        self.need_number("lt_scalar")?;
        compare_scalar("lt_scalar", Relation::Less, self, value)
    }

    /// x > value.
    ///
    /// # Errors
    /// `InvalidArgument` for booleans.
    pub fn gt_scalar(&self, value: f64) -> Result<Tensor, TensorError> {
        self.need_number("gt_scalar")?;
        compare_scalar("gt_scalar", Relation::Greater, self, value)
    }

    /// Whether x does not hold; for numbers, whether it is 0.
    ///
    /// # Errors
    /// As the device fails.
    pub fn logical_not(&self) -> Result<Tensor, TensorError> {
        if self.kind() != Kind::Bool {
            return self.eq_scalar(0.0);
        }
        let x = self.value();
        Ok(self.like(on!("logical_not", |x| B => B::bool_not(x))?, self.dims()))
    }

    /// Whether both hold; they broadcast.
    ///
    /// # Errors
    /// `ShapeMismatch` when the shapes do not broadcast; `InvalidArgument` unless both are boolean.
    pub fn logical_and(&self, other: &Tensor) -> Result<Tensor, TensorError> {
        self.need_bool("logical_and", "the first argument")?;
        other.need_bool("logical_and", "the second argument")?;
        self.need_device("logical_and", other)?;
        let shape = broadcast("logical_and", self.shape(), other.shape())?;
        let (a, b) = (expanded(self, shape)?, expanded(other, shape)?);
        let (a, b) = (a.value(), b.value());
        Ok(self.like(on!("logical_and", |a, b| B => B::bool_and(a, b))?, shape))
    }
}

fn boolean(like: &Tensor, value: Value, shape: crate::dims::Dims) -> Tensor {
    Tensor::new(value, shape, DType::Bool, like.device())
}

fn compare(
    what: &'static str,
    relation: Relation,
    a: &Tensor,
    b: &Tensor,
) -> Result<Tensor, TensorError> {
    a.need_same(what, b)?;
    let shape = broadcast(what, a.shape(), b.shape())?;
    let store = a.device().bool_store()?;
    let (x, y) = (expanded(a, shape)?, expanded(b, shape)?);
    let (x, y) = (x.value(), y.value());
    let out = match (a.kind(), relation) {
        (Kind::Float, Relation::Equal) => on!(what, |x, y| B => B::float_equal(x, y, store)),
        (Kind::Float, Relation::Less) => on!(what, |x, y| B => B::float_lower(x, y, store)),
        (Kind::Float, Relation::LessOrEqual) => {
            on!(what, |x, y| B => B::float_lower_equal(x, y, store))
        }
        (Kind::Float, Relation::Greater) => on!(what, |x, y| B => B::float_greater(x, y, store)),
        (Kind::Int, Relation::Equal) => on!(what, |x, y| B => B::int_equal(x, y, store)),
        (Kind::Int, Relation::Less) => on!(what, |x, y| B => B::int_lower(x, y, store)),
        (Kind::Int, Relation::LessOrEqual) => {
            on!(what, |x, y| B => B::int_lower_equal(x, y, store))
        }
        (Kind::Int, Relation::Greater) => on!(what, |x, y| B => B::int_greater(x, y, store)),
        (Kind::Bool, _) => on!(what, |x, y| B => B::bool_equal(x, y)),
    }?;
    Ok(boolean(a, out, shape))
}

fn compare_scalar(
    what: &'static str,
    relation: Relation,
    x: &Tensor,
    value: f64,
) -> Result<Tensor, TensorError> {
    let store = x.device().bool_store()?;
    let v = x.value();
    let out = match x.kind() {
        Kind::Float => match relation {
            Relation::Equal => on!(what, |v| B => B::float_equal_elem(v, value.into(), store)),
            Relation::Less => on!(what, |v| B => B::float_lower_elem(v, value.into(), store)),
            _ => on!(what, |v| B => B::float_greater_elem(v, value.into(), store)),
        },
        Kind::Int => {
            // The integer that the relation is the same for; none if all or no elements are related.
            let (whole, always) = match relation {
                Relation::Equal => (value, false),
                Relation::Less => (value.ceil(), value > 0.0),
                _ => (value.floor(), value < 0.0),
            };
            if !has(x.dtype(), whole) {
                let all = f64::from(u8::from(always && !value.is_nan()));
                return Tensor::full(x.shape(), all, DType::Bool, &x.device());
            }
            let whole = whole as i64;
            match relation {
                Relation::Equal => on!(what, |v| B => B::int_equal_elem(v, whole.into(), store)),
                Relation::Less => on!(what, |v| B => B::int_lower_elem(v, whole.into(), store)),
                _ => on!(what, |v| B => B::int_greater_elem(v, whole.into(), store)),
            }
        }
        Kind::Bool => {
            return match value {
                1.0 => x.detach(),
                0.0 => x.logical_not(),
                _ => Tensor::zeros(x.shape(), DType::Bool, &x.device()),
            };
        }
    }?;
    Ok(boolean(x, out, x.dims()))
}

/// Whether an integer type has a value.
fn has(dtype: DType, value: f64) -> bool {
    crate::tensor::check_scalar("", value, dtype).is_ok()
}
