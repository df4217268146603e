//! Rotary position embeddings.

use tenon_gpu::kernels::Rotary;

use super::{RotaryStyle, common::need_shape, shape::narrowed};
use crate::{
    DType, Tensor, TensorError, gpu,
    tape::{again, record_again},
};

impl Tensor {
    /// Rotates self [batch, tokens, heads, head-dim] by `positions` [batch, tokens] (int) times the
    /// inverse frequencies [rotated/2] (float32). Dimensions past `rotated` pass through.
    ///
    /// # Errors
    /// `ShapeMismatch` unless the shapes fit; `InvalidArgument` for wrong types or devices.
    pub fn rotary(
        &self,
        positions: &Tensor,
        inverse_frequencies: &Tensor,
        style: RotaryStyle,
    ) -> Result<Tensor, TensorError> {
        const WHAT: &str = "rotary";
        self.need_float(WHAT)?;
        positions.need_int(WHAT, "the positions")?;
        self.need_device(WHAT, positions)?;
        self.need_device(WHAT, inverse_frequencies)?;
        let &[batch, tokens, _, head_dim] = self.shape() else {
            return Err(TensorError::ShapeMismatch(format!(
                "{WHAT}: x is {:?}, but [batch, tokens, heads, head-dim] is needed",
                self.shape()
            )));
        };
        need_shape(WHAT, "positions", positions, &[batch, tokens])?;
        if inverse_frequencies.dtype() != DType::F32 {
            return Err(TensorError::InvalidArgument(format!(
                "{WHAT}: the inverse frequencies are {}; give them as float32",
                inverse_frequencies.dtype()
            )));
        }
        let &[half] = inverse_frequencies.shape() else {
            return Err(TensorError::ShapeMismatch(format!(
                "{WHAT}: the inverse frequencies are {:?}, but one dimension is needed",
                inverse_frequencies.shape()
            )));
        };
        if half * 2 > head_dim {
            return Err(TensorError::ShapeMismatch(format!(
                "{WHAT}: {half} inverse frequencies rotate {} elements, but heads have {head_dim}",
                half * 2
            )));
        }
        if self.is_half() {
            let wide = self.cast(DType::F32)?;
            return wide
                .rotary(positions, inverse_frequencies, style)?
                .cast(self.dtype());
        }
        if inverse_frequencies.is_tracked() {
            // Their gradient goes through the recorded operations.
            let (cos, sin) = table(positions, inverse_frequencies, self.dtype())?;
            return turn(self, &cos, &sin, style);
        }
        if half == 0 || self.numel() == 0 {
            return Ok(self.clone());
        }
        if let Some(out) = super::host_rotary::rotary(self, positions, inverse_frequencies, style)?
        {
            return Ok(out);
        }
        let (cos, sin) = table(positions, inverse_frequencies, self.dtype())?;
        let turned = move |x: &Tensor, cos: &Tensor, sin: &Tensor, back: bool| {
            let interleaved = style == RotaryStyle::Interleaved;
            gpu::like(WHAT, &[x, cos, sin], Rotary { interleaved, back })
        };
        let out = turned(self, &cos, &sin, false)?;
        record_again(
            WHAT,
            out,
            &[self],
            |_| vec![cos, sin],
            move |context| {
                let (cos, sin) = (&context.saved[0], &context.saved[1]);
                Ok(vec![Some(turned(&context.grad, cos, sin, true)?)])
            },
            || {
                again(&[positions, inverse_frequencies], move |x, others| {
                    x[0].rotary(&others[0], &others[1], style)
                })
            },
        )
    }
}

/// Cosines and sines [batch, tokens, 1, rotated/2].
fn table(
    positions: &Tensor,
    frequencies: &Tensor,
    dtype: DType,
) -> Result<(Tensor, Tensor), TensorError> {
    let angles = positions
        .cast(DType::F32)?
        .unsqueeze(-1)?
        .unsqueeze(-1)?
        .mul(frequencies)?;
    Ok((angles.cos()?.cast(dtype)?, angles.sin()?.cast(dtype)?))
}

fn turn(x: &Tensor, cos: &Tensor, sin: &Tensor, style: RotaryStyle) -> Result<Tensor, TensorError> {
    let half = cos.shape()[3];
    let head_dim = x.shape()[3];
    let shape: Vec<i64> = x.shape().iter().map(|dim| *dim as i64).collect();
    let rotated = x.narrow(-1, 0, 2 * half)?;
    let (a, b) = match style {
        RotaryStyle::Half => (
            rotated.narrow(-1, 0, half)?,
            rotated.narrow(-1, half, half)?,
        ),
        RotaryStyle::Interleaved => {
            let pairs = rotated.reshape(&[shape[0], shape[1], shape[2], half as i64, 2])?;
            (
                pairs.narrow(-1, 0, 1)?.squeeze(-1)?,
                pairs.narrow(-1, 1, 1)?.squeeze(-1)?,
            )
        }
    };
    let first = a.mul(cos)?.sub(&b.mul(sin)?)?;
    let second = b.mul(cos)?.add(&a.mul(sin)?)?;
    let turned = match style {
        RotaryStyle::Half => Tensor::cat(&[&first, &second], -1)?,
        RotaryStyle::Interleaved => Tensor::stack(&[&first, &second], -1)?.reshape(&[
            shape[0],
            shape[1],
            shape[2],
            2 * half as i64,
        ])?,
    };
    if 2 * half == head_dim {
        return Ok(turned);
    }
    let rest = match x.is_tracked() {
        true => x.narrow(-1, 2 * half, head_dim - 2 * half)?,
        false => narrowed(x, 3, 2 * half, head_dim - 2 * half)?,
    };
    Tensor::cat(&[&turned, &rest], -1)
}
