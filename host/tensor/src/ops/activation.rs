//! Activations, with fused kernels for both directions.

use burn_backend::ops::{ActivationOps, FloatTensorOps};
use tenon_gpu::kernels::{Pointwise, PointwiseBackward, SiluMulBackward};

use super::common::{host, host_binary, host_unary};
use crate::{
    DType, Tensor, TensorError, cpu, gpu, raw,
    tape::{again, autocast, record_again},
    value::on,
};

/// √(2/π) and the cubic factor of GELU's tanh form.
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
const CUBIC: f64 = 0.044_715;

impl Tensor {
    /// The hyperbolic tangent.
    ///
    /// # Errors
    /// `InvalidArgument` unless the tensor is floating-point.
    pub fn tanh(&self) -> Result<Tensor, TensorError> {
        self.need_float("tanh")?;
        let out = if raw::is_host_f32(self) {
            host_unary(self, cpu::tanh)?
        } else {
            let x = self.value();
            self.like(on!("tanh", |x| B => B::float_tanh(x))?, self.dims())
        };
        record_again(
            "tanh",
            out,
            &[self],
            |out| vec![out.clone()],
            |context| {
                let (y, g) = (&context.saved[0], &context.grad);
                if raw::is_host_f32(y) {
                    return Ok(vec![Some(host_binary(y, g, cpu::tanh_backward)?)]);
                }
                let slope = y.mul(y)?.neg()?.add_scalar(1.0)?;
                Ok(vec![Some(g.mul(&slope)?)])
            },
            || again(&[], |x, _| x[0].tanh()),
        )
    }

    /// 1/(1 + e⁻ˣ).
    ///
    /// # Errors
    /// `InvalidArgument` unless the tensor is floating-point.
    pub fn sigmoid(&self) -> Result<Tensor, TensorError> {
        self.need_float("sigmoid")?;
        let out = if raw::is_host_f32(self) {
            host_unary(self, cpu::sigmoid)?
        } else {
            let x = self.value();
            self.like(on!("sigmoid", |x| B => B::sigmoid(x))?, self.dims())
        };
        record_again(
            "sigmoid",
            out,
            &[self],
            |out| vec![out.clone()],
            |context| {
                let (y, g) = (&context.saved[0], &context.grad);
                if raw::is_host_f32(y) {
                    return Ok(vec![Some(host_binary(y, g, cpu::sigmoid_backward)?)]);
                }
                let slope = y.sub(&y.mul(y)?)?;
                Ok(vec![Some(g.mul(&slope)?)])
            },
            || again(&[], |x, _| x[0].sigmoid()),
        )
    }

    /// max(x, 0).
    ///
    /// # Errors
    /// `InvalidArgument` unless the tensor is floating-point.
    pub fn relu(&self) -> Result<Tensor, TensorError> {
        self.need_float("relu")?;
        let out = if raw::is_host_f32(self) {
            host_unary(self, cpu::relu)?
        } else {
            let x = self.value();
            self.like(on!("relu", |x| B => B::relu(x))?, self.dims())
        };
        record_again(
            "relu",
            out,
            &[self],
            |out| vec![out.clone()],
            |context| {
                let (y, g) = (&context.saved[0], &context.grad);
                if raw::is_host_f32(y) {
                    return Ok(vec![Some(host_binary(y, g, cpu::relu_backward)?)]);
                }
                Ok(vec![Some(g.mul(&y.gt_scalar(0.0)?.cast(y.dtype())?)?)])
            },
            || again(&[], |x, _| x[0].relu()),
        )
    }

    /// x · Φ(x), exact (BERT), or in its tanh form when `approximate` (GPT-2).
    ///
    /// # Errors
    /// `InvalidArgument` unless the tensor is floating-point.
    pub fn gelu(&self, approximate: bool) -> Result<Tensor, TensorError> {
        self.need_float("gelu")?;
        let out = match (raw::is_host_f32(self), approximate) {
            (true, true) => host_unary(self, cpu::gelu_tanh)?,
            (true, false) => host_unary(self, cpu::gelu_erf)?,
            (false, true) if gpu::serves(self) => gpu::like("gelu", &[self], Pointwise::GeluTanh)?,
            (false, false) if gpu::serves(self) => gpu::like("gelu", &[self], Pointwise::Gelu)?,
            (false, true) => self.detach()?.mul(&gelu_tanh_inner(self)?.tanh_share()?)?,
            (false, false) => self.detach()?.mul(&normal_cdf(self)?)?,
        };
        let used_in = used_in(self);
        let out = record_again(
            "gelu",
            out,
            &[self],
            |_| vec![self.clone()],
            move |context| {
                let (x, g) = (&context.saved[0], &context.grad);
                if gpu::serves(x) {
                    let function = if approximate {
                        Pointwise::GeluTanh
                    } else {
                        Pointwise::Gelu
                    };
                    let kernel = |dtype| PointwiseBackward { function, dtype };
                    let grad = gpu::in_type(context.taken(0), "gelu", &[x, g], kernel)?;
                    return Ok(vec![Some(grad)]);
                }
                Ok(vec![Some(match (raw::is_host_f32(x), approximate) {
                    (true, true) => host_binary(x, g, cpu::gelu_tanh_backward)?,
                    (true, false) => host_binary(x, g, cpu::gelu_erf_backward)?,
                    (false, true) => {
                        // With u the inner function and s = ½(1 + tanh u): s + x · 2s(1 − s) · u'.
                        let share = gelu_tanh_inner(x)?.tanh_share()?;
                        let bend = share.sub(&share.mul(&share)?)?.mul_scalar(2.0)?;
                        let inner = x
                            .mul(x)?
                            .mul_scalar(3.0 * CUBIC * SQRT_2_OVER_PI)?
                            .add_scalar(SQRT_2_OVER_PI)?;
                        g.mul(&share.add(&bend.mul(&inner)?.mul(x)?)?)?
                    }
                    (false, false) => {
                        // Φ(x) + x · φ(x).
                        let density = x
                            .mul(x)?
                            .mul_scalar(-0.5)?
                            .exp()?
                            .mul_scalar(SQRT_2_OVER_PI / 2.0)?;
                        g.mul(&normal_cdf(x)?.add(&density.mul(x)?)?)?
                    }
                })])
            },
            || again(&[], move |x, _| x[0].gelu(approximate)),
        )?;
        Ok(out.takes_gradient_in(used_in))
    }

    /// ½(1 + tanh x).
    fn tanh_share(&self) -> Result<Tensor, TensorError> {
        self.tanh()?.add_scalar(1.0)?.mul_scalar(0.5)
    }

    /// x · sigmoid(x).
    ///
    /// # Errors
    /// `InvalidArgument` unless the tensor is floating-point.
    pub fn silu(&self) -> Result<Tensor, TensorError> {
        self.need_float("silu")?;
        let out = if raw::is_host_f32(self) {
            host_unary(self, cpu::silu)?
        } else if gpu::serves(self) {
            gpu::like("silu", &[self], Pointwise::Silu)?
        } else {
            let x = self.value();
            let out = on!("silu", |x| B => B::float_mul(x.clone(), B::sigmoid(x)))?;
            self.like(out, self.dims())
        };
        let used_in = used_in(self);
        let out = record_again(
            "silu",
            out,
            &[self],
            |_| vec![self.clone()],
            |context| {
                let (x, g) = (&context.saved[0], &context.grad);
                Ok(vec![Some(if raw::is_host_f32(x) {
                    host_binary(x, g, cpu::silu_backward)?
                } else if gpu::serves(x) {
                    let function = Pointwise::Silu;
                    let kernel = |dtype| PointwiseBackward { function, dtype };
                    gpu::in_type(context.taken(0), "silu", &[x, g], kernel)?
                } else {
                    g.mul(&silu_slope(x, &x.sigmoid()?)?)?
                })])
            },
            || again(&[], |x, _| x[0].silu()),
        )?;
        Ok(out.takes_gradient_in(used_in))
    }

    /// silu(self) · up: the gate of SwiGLU.
    ///
    /// # Errors
    /// `ShapeMismatch` unless both have one shape; `InvalidArgument` unless they are floating-point
    /// and of one type and device.
    pub fn silu_mul(&self, up: &Tensor) -> Result<Tensor, TensorError> {
        self.need_float("silu_mul")?;
        self.need_same("silu_mul", up)?;
        super::common::need_shape("silu_mul", "up", up, self.shape())?;
        let out = if raw::is_host_f32(self) {
            host_binary(self, up, cpu::silu_mul)?
        } else if gpu::serves(self) {
            gpu::like("silu_mul", &[self, up], Pointwise::SiluMul)?
        } else {
            self.detach()?.silu()?.mul(&up.detach()?)?
        };
        let used_in = used_in(self);
        let out = record_again(
            "silu_mul",
            out,
            &[self, up],
            |_| vec![self.clone(), up.clone()],
            |context| {
                let (gate, up, g) = (&context.saved[0], &context.saved[1], &context.grad);
                if raw::is_host_f32(gate) {
                    let (x, y, dy) = (raw::f32s(gate)?, raw::f32s(up)?, raw::f32s(g)?);
                    let mut for_up = vec![0.0; y.len()];
                    let for_gate = host(gate.dims(), |out| {
                        cpu::silu_mul_backward(&x, &y, &dy, out, &mut for_up);
                    });
                    let for_up = raw::from_vec(&up.dims(), for_up);
                    return Ok(vec![Some(for_gate), Some(for_up)]);
                }
                if gpu::serves(gate) {
                    let dtype = match context.taken(0) == context.taken(1) {
                        true => context.taken(0),
                        false => gate.dtype(),
                    };
                    let device = gate.device();
                    let kernel = SiluMulBackward {
                        dtype: device.stored(dtype)?,
                    };
                    let both = gpu::run::<2>("silu_mul", &[gate, up, g], kernel)?;
                    let tensor = |value| Tensor::new(value, gate.dims(), dtype, device);
                    return Ok(both.map(|value| Some(tensor(value))).into());
                }
                let share = gate.sigmoid()?;
                Ok(vec![
                    context.when(0, || g.mul(up)?.mul(&silu_slope(gate, &share)?))?,
                    context.when(1, || g.mul(&gate.mul(&share)?))?,
                ])
            },
            || again(&[], |x, _| x[0].silu_mul(&x[1])),
        )?;
        Ok(out.takes_gradient_in(used_in))
    }
}

/// The type in which the gradient of an activation comes as well as in float32: where products are computed in
/// another, most of what activations give goes into one.
fn used_in(x: &Tensor) -> Option<DType> {
    gpu::serves(x).then(|| autocast([x, x])).flatten()
}

/// √(2/π) · (x + 0.044715 x³).
fn gelu_tanh_inner(x: &Tensor) -> Result<Tensor, TensorError> {
    let x = x.detach()?;
    let factor = x
        .mul(&x)?
        .mul_scalar(CUBIC * SQRT_2_OVER_PI)?
        .add_scalar(SQRT_2_OVER_PI)?;
    factor.mul(&x)
}

/// The share of the standard normal distribution below x.
fn normal_cdf(x: &Tensor) -> Result<Tensor, TensorError> {
    x.detach()?
        .mul_scalar(std::f64::consts::FRAC_1_SQRT_2)?
        .erf()?
        .add_scalar(1.0)?
        .mul_scalar(0.5)
}

/// The slope of silu, s(1 + x(1 − s)), from x and s = sigmoid(x).
fn silu_slope(x: &Tensor, share: &Tensor) -> Result<Tensor, TensorError> {
    let rest = share.neg()?.add_scalar(1.0)?;
    share.mul(&x.mul(&rest)?.add_scalar(1.0)?)
}
