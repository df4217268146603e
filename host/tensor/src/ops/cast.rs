//! Conversion between element types.

use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};

use half::{bf16, f16};
use tenon_gpu::kernels::Convert;

use super::common::host;
use crate::{
    DType, Tensor, TensorError, cpu, gpu, raw,
    tape::{again, record_again},
    value::{Kind, Value, on},
};

impl Tensor {
    /// The values as another type, as PyTorch converts: floats lose their fraction, everything but 0
    /// is true, larger integers wrap around. Gradients pass between floating-point types.
    ///
    /// # Errors
    /// `Unsupported` when the device cannot compute in the type.
    pub fn cast(&self, dtype: DType) -> Result<Tensor, TensorError> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        let stored = self.device().stored(dtype)?;
        let out = match host_cast(self, dtype)? {
            Some(out) => out,
            None if stored == self.value().stored() && dtype != DType::U8 => {
                // int32 and an int64 that is kept in 32 bits.
                Tensor::new(self.value().clone(), self.dims(), dtype, self.device())
            }
            None => {
                let mut value = convert(self, dtype)?;
                if dtype == DType::U8 && stored.size() != 1 && self.dtype() != DType::Bool {
                    let wide = &value;
                    value = on!("cast", |wide| B => B::bitwise_and_scalar(wide, 255_i64.into()))?;
                }
                Tensor::new(value, self.dims(), dtype, self.device())
            }
        };
        let out = record_again(
            "cast",
            out,
            &[self],
            |_| Vec::new(),
            |context| Ok(vec![Some(context.grad.cast(context.taken(0))?)]),
            || again(&[], move |x, _| x[0].cast(dtype)),
        )?;
        // The gradient becomes what self is.
        let widened = self.is_half() && dtype == DType::F32;
        Ok(out.takes_gradient_in(widened.then(|| self.dtype())))
    }
}

fn convert(tensor: &Tensor, dtype: DType) -> Result<Value, TensorError> {
    let stored = tensor.device().stored(dtype)?;
    let x = tensor.value();
    if odd_rows(tensor.shape()) && gpu::has_floats(tensor) && dtype.is_float() {
        let [out] = gpu::run("cast", &[tensor], Convert { dtype: stored })?;
        return Ok(out);
    }
    match (tensor.kind(), Kind::from(dtype)) {
        (Kind::Float, Kind::Float) => on!("cast", |x| B => B::float_cast(x, stored.into())),
        (Kind::Float, Kind::Int) => on!("cast", |x| B => B::float_into_int(x, stored.into())),
        (Kind::Int, Kind::Float) => on!("cast", |x| B => B::int_into_float(x, stored.into())),
        (Kind::Int, Kind::Int) => on!("cast", |x| B => B::int_cast(x, stored.into())),
        (Kind::Bool, Kind::Int) => on!("cast", |x| B => B::bool_into_int(x, stored.into())),
        (Kind::Bool, Kind::Float) => on!("cast", |x| B => B::bool_into_float(x, stored.into())),
        (_, Kind::Bool) => {
            let zero = tensor.detach()?.eq_scalar(0.0)?.logical_not()?;
            Ok(zero.into_parts().0)
        }
    }
}

/// Whether a tensor has many long rows that Burn cannot read several elements at a time.
fn odd_rows(shape: &[usize]) -> bool {
    let Some((cols, lead)) = shape.split_last() else {
        return false;
    };
    !cols.is_multiple_of(4) && *cols >= 256 && lead.iter().product::<usize>() >= 64
}

/// The conversions that have a kernel.
fn host_cast(x: &Tensor, dtype: DType) -> Result<Option<Tensor>, TensorError> {
    let Value::Cpu(flex) = x.value() else {
        return Ok(None);
    };
    let shape = x.dims();
    if x.dtype() == DType::F32 {
        let values = raw::f32s(x)?;
        return Ok(match dtype {
            DType::F16 => {
                let mut out = vec![f16::ZERO; values.len()];
                cpu::f32_to_f16(&values, &mut out);
                Some(raw::from_elements(&shape, out, dtype))
            }
            DType::BF16 => {
                let mut out = vec![bf16::ZERO; values.len()];
                cpu::f32_to_bf16(&values, &mut out);
                Some(raw::from_elements(&shape, out, dtype))
            }
            _ => None,
        });
    }
    if dtype != DType::F32 {
        return Ok(None);
    }
    let flex = flex.to_contiguous();
    let bytes = flex.bytes();
    Ok(Some(match x.dtype() {
        DType::F16 => host(shape, |out| {
            cpu::f16_to_f32(bytemuck::cast_slice(bytes), out)
        }),
        DType::BF16 => host(shape, |out| {
            cpu::bf16_to_f32(bytemuck::cast_slice(bytes), out)
        }),
        DType::I64 => host(shape, |out| {
            cpu::i64_to_f32(bytemuck::cast_slice(bytes), out)
        }),
        DType::U8 | DType::Bool => host(shape, |out| cpu::u8_to_f32(bytes, out)),
        _ => return Ok(None),
    }))
}
