//! Functions of single elements.

use burn_backend::ops::{FloatTensorOps, IntTensorOps};

use super::common::{host_unary, zeros_like};
use crate::{
    DType, Tensor, TensorError, cpu, raw,
    tape::record,
    value::{Kind, Value, on},
};

/// Two over the square root of π.
const TWO_OVER_SQRT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;

/// Defines functions of floating-point elements: the name, our kernel, the backend's primitive, what
/// the backward saves (input or output) and the gradient from it and the output's gradient.
macro_rules! float_unary {
    ($( $(#[$doc:meta])* $name:ident = $kernel:path, $primitive:ident, saves $saved:ident,
        |$s:ident, $g:ident| $gradient:expr; )*) => {
        impl Tensor {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// `InvalidArgument` unless the tensor is floating-point.
            pub fn $name(&self) -> Result<Tensor, TensorError> {
                self.need_float(stringify!($name))?;
                let out = if raw::is_host_f32(self) {
                    host_unary(self, $kernel)?
                } else {
                    let x = self.value();
                    let out = on!(stringify!($name), |x| B => B::$primitive(x))?;
                    self.like(out, self.dims())
                };
                let saved = |out: &Tensor| vec![float_unary!(@ $saved self out)];
                record(stringify!($name), out, &[self], saved, |context| {
                    let ($s, $g) = (&context.saved[0], &context.grad);
                    Ok(vec![Some($gradient)])
                })
            }
        )*}
    };
    (@ input $self:ident $out:ident) => {{
        let _ = $out;
        $self.clone()
    }};
    (@ output $self:ident $out:ident) => { $out.clone() };
}

float_unary! {
    /// eˣ.
    exp = cpu::exp, float_exp, saves output, |y, g| g.mul(y)?;
    /// The natural logarithm.
    log = cpu::log, float_log, saves input, |x, g| g.div(x)?;
    /// √x.
    sqrt = cpu::sqrt, float_sqrt, saves output, |y, g| g.mul_scalar(0.5)?.div(y)?;
    /// sin x.
    sin = cpu::sin, float_sin, saves input, |x, g| g.mul(&x.cos()?)?;
    /// cos x.
    cos = cpu::cos, float_cos, saves input, |x, g| g.mul(&x.sin()?)?.neg()?;
    /// The error function.
    erf = cpu::erf, float_erf, saves input, |x, g| {
        let slope = x.mul(x)?.neg()?.exp()?.mul_scalar(TWO_OVER_SQRT_PI)?;
        g.mul(&slope)?
    };
}

impl Tensor {
    /// −x, of integers too.
    ///
    /// # Errors
    /// `InvalidArgument` for booleans.
    pub fn neg(&self) -> Result<Tensor, TensorError> {
        self.need_number("neg")?;
        let x = self.value();
        let out = match self.kind() {
            _ if raw::is_host_f32(self) => host_unary(self, cpu::neg)?,
            Kind::Float => self.like(on!("neg", |x| B => B::float_neg(x))?, self.dims()),
            _ => self.mul_scalar_int("neg", -1)?,
        };
        record(
            "neg",
            out,
            &[self],
            |_| Vec::new(),
            |context| Ok(vec![Some(context.grad.neg()?)]),
        )
    }

    /// |x|, of integers too.
    ///
    /// # Errors
    /// `InvalidArgument` for booleans.
    pub fn abs(&self) -> Result<Tensor, TensorError> {
        self.need_number("abs")?;
        let x = self.value();
        let out = match self.kind() {
            _ if raw::is_host_f32(self) => host_unary(self, cpu::abs)?,
            _ if self.dtype() == DType::U8 => self.detach()?,
            Kind::Float => self.like(on!("abs", |x| B => B::float_abs(x))?, self.dims()),
            _ => self.like(on!("abs", |x| B => B::int_abs(x))?, self.dims()),
        };
        record(
            "abs",
            out,
            &[self],
            |_| vec![self.clone()],
            |context| Ok(vec![Some(context.grad.mul(&context.saved[0].sign()?)?)]),
        )
    }

    /// −1, 0 or 1, of integers too.
    ///
    /// # Errors
    /// `InvalidArgument` for booleans.
    pub fn sign(&self) -> Result<Tensor, TensorError> {
        self.need_number("sign")?;
        let x = self.value();
        let out = match self.kind() {
            _ if raw::is_host_f32(self) => host_unary(self, |x, out| {
                for (out, x) in out.iter_mut().zip(x) {
                    // Not `signum`, which has no 0.
                    *out = f32::from(*x > 0.0) - f32::from(*x < 0.0)
                        + if x.is_nan() { *x } else { 0.0 };
                }
            })?,
            _ if self.dtype() == DType::U8 => self.gt_scalar(0.0)?.cast(DType::U8)?,
            Kind::Float => self.like(on!("sign", |x| B => B::float_sign(x))?, self.dims()),
            _ => self.like(on!("sign", |x| B => B::int_sign(x))?, self.dims()),
        };
        flat("sign", self, out)
    }

    /// The largest whole number that is not larger.
    ///
    /// # Errors
    /// `InvalidArgument` for booleans.
    pub fn floor(&self) -> Result<Tensor, TensorError> {
        self.need_number("floor")?;
        let x = self.value();
        let out = match self.kind() {
            _ if raw::is_host_f32(self) => host_unary(self, |x, out| {
                out.iter_mut().zip(x).for_each(|(out, x)| *out = x.floor());
            })?,
            Kind::Float => self.like(on!("floor", |x| B => B::float_floor(x))?, self.dims()),
            _ => self.detach()?,
        };
        flat("floor", self, out)
    }

    /// 1/√x.
    ///
    /// # Errors
    /// `InvalidArgument` unless the tensor is floating-point.
    pub fn rsqrt(&self) -> Result<Tensor, TensorError> {
        self.need_float("rsqrt")?;
        let out = if raw::is_host_f32(self) {
            host_unary(self, cpu::rsqrt)?
        } else {
            let x = self.value();
            let out = on!("rsqrt", |x| B => B::float_recip(B::float_sqrt(x)))?;
            self.like(out, self.dims())
        };
        record(
            "rsqrt",
            out,
            &[self],
            |out| vec![out.clone()],
            |context| {
                let y = &context.saved[0];
                let slope = y.mul(y)?.mul(y)?.mul_scalar(-0.5)?;
                Ok(vec![Some(context.grad.mul(&slope)?)])
            },
        )
    }

    /// Elements below `min` become `min`, those above `max` become `max`; of integers too.
    ///
    /// # Errors
    /// `InvalidArgument` for booleans and for bounds that the type does not have.
    pub fn clamp(&self, min: Option<f64>, max: Option<f64>) -> Result<Tensor, TensorError> {
        self.need_number("clamp")?;
        for bound in min.into_iter().chain(max) {
            crate::tensor::check_scalar("clamp", bound, self.dtype())?;
        }
        let out = if raw::is_host_f32(self) {
            let low = min.map_or(f32::NEG_INFINITY, |min| min as f32);
            let high = max.map_or(f32::INFINITY, |max| max as f32);
            host_unary(self, |x, out| {
                // Comparisons that are false for NaN, so that it stays; `max` wins, as in PyTorch.
                for (out, x) in out.iter_mut().zip(x) {
                    let raised = if *x < low { low } else { *x };
                    *out = if raised > high { high } else { raised };
                }
            })?
        } else {
            let mut value = self.value().clone();
            if let Some(min) = min {
                value = clamp_one(&value, self.kind(), min, true)?;
            }
            if let Some(max) = max {
                value = clamp_one(&value, self.kind(), max, false)?;
            }
            self.like(value, self.dims())
        };
        record(
            "clamp",
            out,
            &[self],
            |_| vec![self.clone()],
            move |context| {
                let x = &context.saved[0];
                let mut grad = context.grad.clone();
                if let Some(min) = min {
                    grad = grad.masked_fill(&x.lt_scalar(min)?, 0.0)?;
                }
                if let Some(max) = max {
                    grad = grad.masked_fill(&x.gt_scalar(max)?, 0.0)?;
                }
                Ok(vec![Some(grad)])
            },
        )
    }
}

fn clamp_one(x: &Value, kind: Kind, bound: f64, lower: bool) -> Result<Value, TensorError> {
    let whole = bound as i64;
    match (kind, lower) {
        (Kind::Float, true) => on!("clamp", |x| B => B::float_clamp_min(x, bound.into())),
        (Kind::Float, false) => on!("clamp", |x| B => B::float_clamp_max(x, bound.into())),
        (_, true) => on!("clamp", |x| B => B::int_clamp_min(x, whole.into())),
        (_, false) => on!("clamp", |x| B => B::int_clamp_max(x, whole.into())),
    }
}

/// Records a function whose slope is 0 wherever it has one.
fn flat(name: &'static str, x: &Tensor, out: Tensor) -> Result<Tensor, TensorError> {
    record(
        name,
        out,
        &[x],
        |_| Vec::new(),
        |context| Ok(vec![Some(zeros_like(&context.grad)?)]),
    )
}
