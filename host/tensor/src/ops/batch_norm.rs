//! Normalisation of channels.

use super::{
    common::{host, need_shape, rows_cols},
    norm::{Kept, vector},
};
use crate::{
    Tensor, TensorError, cpu, raw,
    tape::{again, record_again},
};

impl Tensor {
    /// (x − mean) / √(variance + eps) · weight + bias with the mean and the biased variance of each
    /// channel over samples and places, which are given too (not recorded): self [n, channels, …],
    /// the others [channels].
    ///
    /// # Errors
    /// `ShapeMismatch` and `InvalidArgument` as operations on such tensors.
    pub(crate) fn batch_norm(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        eps: f32,
    ) -> Result<(Tensor, [Tensor; 2]), TensorError> {
        let &[_, channels, ..] = self.shape() else {
            return Err(TensorError::ShapeMismatch(format!(
                "batch_norm: {:?} has no channels; [n, channels, ...] is needed",
                self.shape()
            )));
        };
        for (extra, role) in [(weight, "the weight"), (bias, "the bias")] {
            need_shape("batch_norm", role, extra, &[channels])?;
        }
        let all_host = [self, weight, bias].into_iter().all(raw::is_host_f32);
        if !all_host || self.numel() == 0 {
            return self.batch_norm_composed(weight, bias, eps);
        }
        let (_, places) = rows_cols(self.shape(), self.rank() - 2);
        let (x, w, b) = (raw::f32s(self)?, raw::f32s(weight)?, raw::f32s(bias)?);
        let (mut mean, mut variance) = (vec![0.0; channels], vec![0.0; channels]);
        let out = host(self.dims(), |out| {
            cpu::batch_norm(
                &x,
                channels,
                places,
                &w,
                &b,
                eps,
                out,
                &mut mean,
                &mut variance,
            );
        });
        let rstd = variance.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
        let (mean, variance) = (vector(mean), vector(variance));
        let kept = Kept::new(Some(weight), Some(bias));
        let statistics = vec![mean.clone(), vector(rstd)];
        let saved = |_: &Tensor| kept.saved(self, Some(weight), statistics);
        let parents = [self, weight, bias];
        let out = record_again(
            "batch_norm",
            out,
            &parents,
            saved,
            move |context| {
                let part = |at: usize| raw::f32s(&context.saved[at]);
                let (x, mean, rstd, weight) = (part(0)?, part(1)?, part(2)?, part(3)?);
                let dy = raw::f32s(&context.grad)?;
                let (mut dw, mut db) = (vec![0.0; channels], vec![0.0; channels]);
                let dx = host(context.grad.dims(), |dx| {
                    cpu::batch_norm_backward(
                        &x, &dy, channels, places, &weight, &mean, &rstd, dx, &mut dw, &mut db,
                    );
                });
                Ok(vec![Some(dx), Some(vector(dw)), Some(vector(db))])
            },
            || again(&[], move |x, _| Ok(x[0].batch_norm(&x[1], &x[2], eps)?.0)),
        )?;
        Ok((out, [mean, variance]))
    }

    /// By recorded operations.
    fn batch_norm_composed(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        eps: f32,
    ) -> Result<(Tensor, [Tensor; 2]), TensorError> {
        let column = column(self);
        let dims: Vec<i32> = (0..self.rank() as i32).filter(|dim| *dim != 1).collect();
        let mean = self.mean(&dims, true)?;
        let centred = self.sub(&mean)?;
        let variance = centred.mul(&centred)?.mean(&dims, true)?;
        let scale = variance
            .add_scalar(f64::from(eps))?
            .rsqrt()?
            .mul(&weight.reshape(&column)?)?;
        let out = centred.mul(&scale)?.add(&bias.reshape(&column)?)?;
        Ok((
            out,
            [
                mean.detach()?.reshape(&[-1])?,
                variance.detach()?.reshape(&[-1])?,
            ],
        ))
    }

    /// (x − mean) / √(variance + eps) · weight + bias for given statistics: self [n, channels, …],
    /// the others [channels].
    ///
    /// # Errors
    /// As [`Self::batch_norm`].
    pub(crate) fn channels_scaled(
        &self,
        mean: &Tensor,
        variance: &Tensor,
        (weight, bias): (&Tensor, &Tensor),
        eps: f32,
    ) -> Result<Tensor, TensorError> {
        let column = column(self);
        let scale = variance.add_scalar(f64::from(eps))?.rsqrt()?.mul(weight)?;
        let shift = bias.sub(&mean.mul(&scale)?)?;
        self.mul(&scale.reshape(&column)?)?
            .add(&shift.reshape(&column)?)
    }
}

/// The shape under which a vector of channels broadcasts to x.
fn column(x: &Tensor) -> Vec<i64> {
    let mut column = vec![1_i64; x.rank()];
    column[1] = -1;
    column
}
