//! Normalisation, with fused kernels for both directions.

use tenon_gpu::kernels::{Norm, NormBackward};

use super::common::{host, need_shape, rows_cols, sum_leading};
use crate::{
    DType, Tensor, TensorError, cpu,
    dims::Dims,
    gpu, raw,
    raw::F32s,
    tape::{Backward, InputGradients, again, record_again},
};

/// A tensor and the optional arguments of its operation, in single precision.
type Widened<const N: usize> = (Tensor, [Option<Tensor>; N]);

impl Tensor {
    /// (x − mean) / √(variance + eps) · weight + bias over the last dimension.
    ///
    /// # Errors
    /// `ShapeMismatch` unless weight and bias have the size of the last dimension;
    /// `InvalidArgument` unless all are floating-point, of one type and device.
    pub fn layer_norm(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Result<Tensor, TensorError> {
        let cols = self.normalised("layer_norm", &[weight, bias])?;
        if let Some((x, [weight, bias])) = self.widened([weight, bias])? {
            let y = x.layer_norm(weight.as_ref(), bias.as_ref(), eps)?;
            return y.cast(self.dtype());
        }
        let (out, statistics) = if raw::is_host_f32(self) {
            let rows = self.numel() / cols.max(1);
            let (x, w, b) = (raw::f32s(self)?, optional(weight)?, optional(bias)?);
            let (mut mean, mut rstd) = (vec![0.0; rows], vec![0.0; rows]);
            let out = host(self.dims(), |out| {
                let (w, b) = (w.as_deref(), b.as_deref());
                cpu::layer_norm(&x, cols, w, b, eps, out, &mut mean, &mut rstd);
            });
            (out, vec![vector(mean), vector(rstd)])
        } else if self.numel() == 0 {
            return Ok(self.clone());
        } else {
            on_gpu("layer_norm", self, weight, bias, eps, true)?
        };
        let kept = Kept::new(weight, bias);
        let saved = |_: &Tensor| kept.saved(self, weight, statistics);
        let parents = kept.parents(self, weight, bias);
        record_again(
            "layer_norm",
            out,
            &parents,
            saved,
            move |context| {
                if raw::is_host_f32(&context.grad) {
                    return kept.host_gradients(&context, cols);
                }
                kept.gradients("layer_norm", &context, true)
            },
            || {
                again(&[], move |x, _| {
                    x[0].layer_norm(kept.weight_in(x), kept.bias_in(x), eps)
                })
            },
        )
    }

    /// x / √(mean(x²) + eps) · weight over the last dimension.
    ///
    /// # Errors
    /// As [`Self::layer_norm`].
    pub fn rms_norm(&self, weight: Option<&Tensor>, eps: f32) -> Result<Tensor, TensorError> {
        let cols = self.normalised("rms_norm", &[weight])?;
        if let Some((x, [weight])) = self.widened([weight])? {
            return x.rms_norm(weight.as_ref(), eps)?.cast(self.dtype());
        }
        let (out, statistics) = if raw::is_host_f32(self) {
            let (x, w) = (raw::f32s(self)?, optional(weight)?);
            let mut rstd = vec![0.0; self.numel() / cols.max(1)];
            let out = host(self.dims(), |out| {
                cpu::rms_norm(&x, cols, w.as_deref(), eps, out, &mut rstd);
            });
            (out, vec![vector(rstd)])
        } else if self.numel() == 0 {
            return Ok(self.clone());
        } else {
            on_gpu("rms_norm", self, weight, None, eps, false)?
        };
        let kept = Kept::new(weight, None);
        let saved = |_: &Tensor| kept.saved(self, weight, statistics);
        let parents = kept.parents(self, weight, None);
        record_again(
            "rms_norm",
            out,
            &parents,
            saved,
            move |context| {
                if !raw::is_host_f32(&context.grad) {
                    return kept.gradients("rms_norm", &context, false);
                }
                let (x, dy) = (raw::f32s(&context.saved[0])?, raw::f32s(&context.grad)?);
                let rstd = raw::f32s(&context.saved[1])?;
                let weight = optional(context.saved.get(2))?;
                let mut for_weight = context.wants(1).then(|| vec![0.0; cols]);
                let for_x = host(context.grad.dims(), |dx| {
                    let (w, dw) = (weight.as_deref(), for_weight.as_deref_mut());
                    cpu::rms_norm_backward(&x, &dy, cols, w, &rstd, dx, dw);
                });
                Ok(vec![Some(for_x), for_weight.map(vector)])
            },
            || again(&[], move |x, _| x[0].rms_norm(kept.weight_in(x), eps)),
        )
    }

    /// The arguments of a normalisation in single precision, where they are of less: a mean square of
    /// small numbers is none in half precision.
    pub(super) fn widened<const N: usize>(
        &self,
        extras: [Option<&Tensor>; N],
    ) -> Result<Option<Widened<N>>, TensorError> {
        if !self.is_half() {
            return Ok(None);
        }
        let mut wide = [const { None }; N];
        for (wide, extra) in wide.iter_mut().zip(extras) {
            *wide = extra.map(|extra| extra.cast(DType::F32)).transpose()?;
        }
        Ok(Some((self.cast(DType::F32)?, wide)))
    }

    /// Checks the arguments of a normalisation over the last dimension; gives its size.
    fn normalised(
        &self,
        what: &'static str,
        extras: &[Option<&Tensor>],
    ) -> Result<usize, TensorError> {
        self.need_float(what)?;
        let Some(cols) = self.shape().last().copied() else {
            return Err(TensorError::ShapeMismatch(format!(
                "{what}: a scalar has no last dimension to normalise"
            )));
        };
        for (extra, role) in extras.iter().zip(["the weight", "the bias"]) {
            if let Some(extra) = extra {
                self.need_same(what, extra)?;
                need_shape(what, role, extra, &[cols])?;
            }
        }
        Ok(cols)
    }

    /// Layer norm over groups of channels: self [n, channels, …]; weight and bias [channels].
    ///
    /// # Errors
    /// As [`Self::layer_norm`], and `InvalidArgument` unless the groups divide the channels.
    pub fn group_norm(
        &self,
        groups: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Result<Tensor, TensorError> {
        const WHAT: &str = "group_norm";
        self.need_float(WHAT)?;
        let &[n, channels, ..] = self.shape() else {
            return Err(TensorError::ShapeMismatch(format!(
                "{WHAT}: {:?} has no channels; [n, channels, ...] is needed",
                self.shape()
            )));
        };
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(TensorError::InvalidArgument(format!(
                "{WHAT}: {groups} groups do not divide the {channels} channels of {:?}",
                self.shape()
            )));
        }
        for (extra, role) in [(weight, "the weight"), (bias, "the bias")] {
            if let Some(extra) = extra {
                self.need_same(WHAT, extra)?;
                need_shape(WHAT, role, extra, &[channels])?;
            }
        }
        if self.numel() == 0 {
            return Ok(self.clone());
        }
        if let Some((x, [weight, bias])) = self.widened([weight, bias])? {
            let y = x.group_norm(groups, weight.as_ref(), bias.as_ref(), eps)?;
            return y.cast(self.dtype());
        }
        let (_, places) = rows_cols(self.shape(), self.rank() - 2);
        if !raw::is_host_f32(self) {
            return self.group_norm_composed(n, groups, weight, bias, eps);
        }
        let (x, w, b) = (raw::f32s(self)?, optional(weight)?, optional(bias)?);
        let (mut mean, mut rstd) = (vec![0.0; n * groups], vec![0.0; n * groups]);
        let out = host(self.dims(), |out| {
            let (w, b) = (w.as_deref(), b.as_deref());
            cpu::group_norm(
                &x, channels, places, groups, w, b, eps, out, &mut mean, &mut rstd,
            );
        });
        let kept = Kept::new(weight, bias);
        let saved = |_: &Tensor| kept.saved(self, weight, vec![vector(mean), vector(rstd)]);
        let parents = kept.parents(self, weight, bias);
        record_again(
            WHAT,
            out,
            &parents,
            saved,
            move |context| {
                kept.with_parts(
                    &context,
                    channels,
                    |x, dy, weight, mean, rstd, dx, dw, db| {
                        cpu::group_norm_backward(
                            x, dy, channels, places, groups, weight, mean, rstd, dx, dw, db,
                        );
                    },
                )
            },
            || {
                again(&[], move |x, _| {
                    x[0].group_norm(groups, kept.weight_in(x), kept.bias_in(x), eps)
                })
            },
        )
    }

    /// By recorded operations.
    fn group_norm_composed(
        &self,
        n: usize,
        groups: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f32,
    ) -> Result<Tensor, TensorError> {
        let whole: Vec<i64> = self.shape().iter().map(|dim| *dim as i64).collect();
        let mut channel = vec![1_i64; self.rank() - 1];
        channel[0] = -1;
        let mut out = self
            .reshape(&[n as i64, groups as i64, -1])?
            .layer_norm(None, None, eps)?
            .reshape(&whole)?;
        if let Some(weight) = weight {
            out = out.mul(&weight.reshape(&channel)?)?;
        }
        if let Some(bias) = bias {
            out = out.add(&bias.reshape(&channel)?)?;
        }
        Ok(out)
    }
}

/// Which optional arguments a normalisation had.
#[derive(Clone, Copy)]
pub(super) struct Kept {
    weight: bool,
    bias: bool,
}

impl Kept {
    pub(super) fn new(weight: Option<&Tensor>, bias: Option<&Tensor>) -> Self {
        Self {
            weight: weight.is_some(),
            bias: bias.is_some(),
        }
    }

    pub(super) fn parents<'a>(
        self,
        x: &'a Tensor,
        weight: Option<&'a Tensor>,
        bias: Option<&'a Tensor>,
    ) -> Vec<&'a Tensor> {
        [Some(x), weight, bias].into_iter().flatten().collect()
    }

    /// The input, the statistics, the weight.
    pub(super) fn saved(
        self,
        x: &Tensor,
        weight: Option<&Tensor>,
        statistics: Vec<Tensor>,
    ) -> Vec<Tensor> {
        let mut saved = Vec::with_capacity(4);
        saved.push(x.clone());
        saved.extend(statistics);
        saved.extend(weight.cloned());
        saved
    }

    /// The weight among the parents.
    fn weight_in(self, parents: &[Tensor]) -> Option<&Tensor> {
        parents.get(self.places().0?)
    }

    /// The bias among the parents.
    fn bias_in(self, parents: &[Tensor]) -> Option<&Tensor> {
        parents.get(self.places().1?)
    }

    /// The places of weight and bias among the parents.
    fn places(self) -> (Option<usize>, Option<usize>) {
        (
            self.weight.then_some(1),
            self.bias.then_some(1 + usize::from(self.weight)),
        )
    }

    fn host_gradients(
        self,
        context: &Backward<'_>,
        cols: usize,
    ) -> Result<InputGradients, TensorError> {
        self.with_parts(context, cols, |x, dy, weight, mean, rstd, dx, dw, db| {
            cpu::layer_norm_backward(x, dy, cols, weight, mean, rstd, dx, dw, db);
        })
    }

    /// Runs a kernel (x, dy, weight, mean, rstd, dx, dweight, dbias).
    #[allow(clippy::type_complexity)]
    pub(super) fn with_parts(
        self,
        context: &Backward<'_>,
        size: usize,
        kernel: impl FnOnce(
            &[f32],
            &[f32],
            Option<&[f32]>,
            &[f32],
            &[f32],
            &mut [f32],
            Option<&mut [f32]>,
            Option<&mut [f32]>,
        ),
    ) -> Result<InputGradients, TensorError> {
        let (x, dy) = (raw::f32s(&context.saved[0])?, raw::f32s(&context.grad)?);
        let (mean, rstd) = (raw::f32s(&context.saved[1])?, raw::f32s(&context.saved[2])?);
        let weight = optional(context.saved.get(3))?;
        let (weight_at, bias_at) = self.places();
        let space = |at: Option<usize>| {
            at.filter(|at| context.wants(*at))
                .map(|_| vec![0.0_f32; size])
        };
        let (mut dw, mut db) = (space(weight_at), space(bias_at));
        let for_x = host(context.grad.dims(), |dx| {
            let weight = weight.as_deref();
            kernel(
                &x,
                &dy,
                weight,
                &mean,
                &rstd,
                dx,
                dw.as_deref_mut(),
                db.as_deref_mut(),
            );
        });
        let mut gradients = vec![Some(for_x)];
        if self.weight {
            gradients.push(dw.map(vector));
        }
        if self.bias {
            gradients.push(db.map(vector));
        }
        Ok(gradients)
    }

    /// By the kernels of a GPU.
    fn gradients(
        self,
        what: &str,
        context: &Backward<'_>,
        centred: bool,
    ) -> Result<InputGradients, TensorError> {
        let (x, rest) = (&context.saved[0], &context.saved[1..]);
        let inputs: Vec<&Tensor> = [x, &context.grad].into_iter().chain(rest).collect();
        let (weight_at, bias_at) = self.places();
        let wanted = [weight_at, bias_at].map(|at| at.filter(|at| context.wants(*at)));
        let kernel = NormBackward {
            centred,
            weight: self.weight,
            affine: wanted.iter().any(Option::is_some),
        };
        let mut outputs = gpu::run_all(what, &inputs, kernel)?.into_iter();
        let for_x = outputs.next().map(|value| x.like(value, x.dims()));
        let sums = outputs
            .next()
            .map(|sums| {
                let sums = gpu::tensor(x, sums);
                let columns = 2 * sums.shape()[2];
                sum_leading(&sums.reshape(&[-1, columns as i64])?, columns, x.dtype())?
                    .reshape(&[2, -1])
            })
            .transpose()?;
        let mut gradients = vec![for_x];
        for (index, at) in [weight_at, bias_at].into_iter().enumerate() {
            let Some(at) = at else { continue };
            gradients.push(match &sums {
                Some(sums) if context.wants(at) => Some(sums.narrow(0, index, 1)?.squeeze(0)?),
                _ => None,
            });
        }
        Ok(gradients)
    }
}

/// A normalisation by the kernel of a GPU; its result and its statistics.
fn on_gpu(
    what: &str,
    x: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f32,
    centred: bool,
) -> Result<(Tensor, Vec<Tensor>), TensorError> {
    let inputs: Vec<&Tensor> = [Some(x), weight, bias].into_iter().flatten().collect();
    let kernel = Norm {
        centred,
        weight: weight.is_some(),
        bias: bias.is_some(),
        eps,
    };
    let mut outputs = gpu::run_all(what, &inputs, kernel)?.into_iter();
    let y = outputs.next().map(|value| x.like(value, x.dims()));
    let y = y.ok_or_else(|| TensorError::Failed(format!("{what}: the kernel gave nothing")))?;
    Ok((y, outputs.map(|value| gpu::tensor(x, value)).collect()))
}

pub(super) fn optional(tensor: Option<&Tensor>) -> Result<Option<F32s>, TensorError> {
    tensor.map(raw::f32s).transpose()
}

pub(super) fn vector(values: Vec<f32>) -> Tensor {
    let shape = Dims::from_slice(&[values.len()]).unwrap_or(Dims::new());
    raw::from_vec(&shape, values)
}
