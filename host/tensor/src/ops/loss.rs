//! Losses.

use tenon_gpu::kernels;

use super::{
    Reduction,
    common::{host, host_binary, need_shape, reshaped, zeros_like},
    index::checked,
};
use crate::{
    DType, Tensor, TensorError,
    cpu::{self, CrossEntropy},
    dims::Dims,
    gpu, raw,
    tape::record,
};

impl Tensor {
    /// The cross entropy of logits [..., classes] and targets (int) [...]. Targets equal to
    /// `ignore_index` do not count, also not in the mean (which is NaN when none counts).
    /// `label_smoothing` is the share of each target that is spread over all classes.
    ///
    /// # Errors
    /// `ShapeMismatch` unless the shapes fit; `InvalidArgument` for wrong types or devices, a
    /// smoothing outside 0 to 1, and targets that are no class (on the processor).
    pub fn cross_entropy(
        &self,
        targets: &Tensor,
        ignore_index: i64,
        label_smoothing: f32,
        reduction: Reduction,
    ) -> Result<Tensor, TensorError> {
        const WHAT: &str = "cross_entropy";
        self.need_float(WHAT)?;
        targets.need_int(WHAT, "the targets")?;
        self.need_device(WHAT, targets)?;
        if !(0.0..=1.0).contains(&label_smoothing) {
            return Err(TensorError::InvalidArgument(format!(
                "{WHAT}: the label smoothing is {label_smoothing}, but must be between 0 and 1"
            )));
        }
        let (lead, classes) = match self.shape() {
            [lead @ .., classes] if *classes > 0 => (lead, *classes),
            shape => {
                return Err(TensorError::ShapeMismatch(format!(
                    "{WHAT}: the logits are {shape:?}, but [..., classes] is needed"
                )));
            }
        };
        need_shape(WHAT, "targets", targets, lead)?;
        let rows: usize = lead.iter().product();
        let options = CrossEntropy {
            classes,
            ignore_index,
            label_smoothing,
        };
        if self.is_half() {
            let wide = self.cast(DType::F32)?;
            return wide
                .cross_entropy(targets, ignore_index, label_smoothing, reduction)?
                .cast(self.dtype());
        }
        if raw::is_host_f32(self) {
            return host_cross_entropy(self, targets, options, reduction);
        }
        let flat = dims(&[rows, classes]);
        let targets = reshaped(targets, dims(&[rows]))?.cast(DType::I64)?;
        let logits = reshaped(self, flat)?;
        let ignored = targets.eq_scalar(ignore_index as f64)?;
        // What is ignored is no class.
        let index = targets.masked_fill(&ignored, 0.0)?;
        let index = checked(WHAT, self, &index, classes)?;
        let vector = dims(&[rows]);
        let (losses, sums) = if rows == 0 {
            let none = Tensor::zeros(&vector, self.dtype(), &self.device())?;
            (none.clone(), none)
        } else {
            let kernel = kernels::CrossEntropy { label_smoothing };
            let [losses, sums] = gpu::run(WHAT, &[&logits, &index], kernel)?;
            (self.like(losses, vector), self.like(sums, vector))
        };
        let losses = losses.masked_fill(&ignored, 0.0)?;
        let counts = ignored.logical_not()?.cast(self.dtype())?;
        // The share of each row in the result; the gradient of the logits is this times
        // (softmax − (1 − ε)[target] − ε/classes).
        let share = match reduction {
            // Where none counts, all shares are 0 divided by 0.
            Reduction::Mean => counts
                .div(&counts.sum(&[], true)?)?
                .masked_fill(&ignored, 0.0)?,
            _ => counts,
        };
        let out = match reduction {
            Reduction::None => reshaped(&losses, targets_shape(self))?,
            Reduction::Sum => losses.sum(&[], false)?,
            Reduction::Mean => losses
                .sum(&[], false)?
                .div(&count_of(&ignored, self.dtype())?)?,
        };
        let full = self.dims();
        record(
            WHAT,
            out,
            &[self],
            |_| vec![logits, index, sums, share],
            move |context| {
                let [logits, index, sums, share] = &context.saved[..] else {
                    return Ok(vec![None]);
                };
                if rows == 0 {
                    return Ok(vec![Some(zeros_like(logits)?)]);
                }
                let scale = match reduction {
                    Reduction::None => share.mul(&reshaped(&context.grad, vector)?)?,
                    _ => share.mul(&context.grad)?,
                };
                let kernel = |dtype| kernels::CrossEntropyBackward {
                    label_smoothing,
                    dtype,
                };
                let inputs = [logits, index, sums, &scale];
                let grad = gpu::in_type(context.taken(0), WHAT, &inputs, kernel)?;
                Ok(vec![Some(reshaped(&grad, full)?)])
            },
        )
    }

    /// The binary cross entropy of logits and targets between 0 and 1, of one shape.
    ///
    /// # Errors
    /// `ShapeMismatch` unless the shapes are equal; `InvalidArgument` unless both are
    /// floating-point, of one type and device.
    pub fn binary_cross_entropy_with_logits(
        &self,
        targets: &Tensor,
        reduction: Reduction,
    ) -> Result<Tensor, TensorError> {
        const WHAT: &str = "binary_cross_entropy_with_logits";
        self.need_float(WHAT)?;
        self.need_same(WHAT, targets)?;
        need_shape(WHAT, "targets", targets, self.shape())?;
        let (x, t) = (self.detach()?, targets.detach()?);
        let losses = if raw::is_host_f32(&x) {
            host_binary(&x, &t, cpu::bce_with_logits)?
        } else {
            // max(x, 0) − x·t + log(1 + e^−|x|)
            let rest = x.abs()?.neg()?.exp()?.add_scalar(1.0)?.log()?;
            x.relu()?.sub(&x.mul(&t)?)?.add(&rest)?
        };
        let losses = record(
            WHAT,
            losses,
            &[self, targets],
            |_| vec![self.clone(), targets.clone()],
            |context| {
                let (x, t, g) = (&context.saved[0], &context.saved[1], &context.grad);
                Ok(vec![
                    context.when(0, || {
                        if raw::is_host_f32(x) {
                            let (x, t, dy) = (raw::f32s(x)?, raw::f32s(t)?, raw::f32s(g)?);
                            return Ok(host(g.dims(), |dx| {
                                cpu::bce_with_logits_backward(&x, &t, &dy, dx);
                            }));
                        }
                        g.mul(&x.sigmoid()?.sub(t)?)
                    })?,
                    context.when(1, || g.mul(x)?.neg())?,
                ])
            },
        )?;
        reduced(&losses, reduction)
    }

    /// The squared differences; the shapes broadcast.
    ///
    /// # Errors
    /// `ShapeMismatch` when the shapes do not broadcast; `InvalidArgument` unless both are
    /// floating-point, of one type and device.
    pub fn mse_loss(&self, targets: &Tensor, reduction: Reduction) -> Result<Tensor, TensorError> {
        self.need_float("mse_loss")?;
        self.need_same("mse_loss", targets)?;
        super::common::broadcast("mse_loss", self.shape(), targets.shape())?;
        let difference = self.sub(targets)?;
        let plain = difference.detach()?;
        let squares = record(
            "mse_loss",
            plain.mul(&plain)?,
            &[&difference],
            |_| vec![plain],
            |context| {
                Ok(vec![Some(
                    context.grad.mul(&context.saved[0])?.mul_scalar(2.0)?,
                )])
            },
        )?;
        reduced(&squares, reduction)
    }
}

fn reduced(losses: &Tensor, reduction: Reduction) -> Result<Tensor, TensorError> {
    match reduction {
        Reduction::None => Ok(losses.clone()),
        Reduction::Mean => losses.mean(&[], false),
        Reduction::Sum => losses.sum(&[], false),
    }
}

fn dims(shape: &[usize]) -> Dims {
    Dims::from_slice(shape).unwrap_or(Dims::new())
}

/// The shape of the logits without the classes.
fn targets_shape(logits: &Tensor) -> Dims {
    logits.dims().without(logits.rank() - 1)
}

/// How many rows count.
fn count_of(ignored: &Tensor, dtype: DType) -> Result<Tensor, TensorError> {
    ignored.logical_not()?.cast(dtype)?.sum(&[], false)
}

fn host_cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    options: CrossEntropy,
    reduction: Reduction,
) -> Result<Tensor, TensorError> {
    let ids = raw::integers(targets)?;
    let classes = 0..options.classes as i64;
    if let Some(wrong) = ids
        .iter()
        .find(|id| **id != options.ignore_index && !classes.contains(*id))
    {
        return Err(TensorError::InvalidArgument(format!(
            "cross_entropy: the target {wrong} is out of range; there are {} classes, counted from \
             0, and {} is ignored",
            options.classes, options.ignore_index
        )));
    }
    let counted = ids.iter().filter(|id| **id != options.ignore_index).count();
    let values = raw::f32s(logits)?;
    let (mut losses, mut lse) = (vec![0.0; ids.len()], vec![0.0; ids.len()]);
    cpu::cross_entropy(&options, &values, &ids, &mut losses, &mut lse);
    let total = |losses: &[f32]| losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
    let scalar = |value: f64| raw::from_vec(&Dims::new(), vec![value as f32]);
    let out = match reduction {
        Reduction::None => raw::from_vec(&targets_shape(logits), losses),
        Reduction::Sum => scalar(total(&losses)),
        Reduction::Mean => scalar(total(&losses) / counted as f64),
    };
    let lse = raw::from_vec(&dims(&[lse.len()]), lse);
    let saved = |_: &Tensor| vec![logits.clone(), targets.clone(), lse];
    record("cross_entropy", out, &[logits], saved, move |context| {
        let logits = raw::f32s(&context.saved[0])?;
        let (ids, lse) = (
            raw::integers(&context.saved[1])?,
            raw::f32s(&context.saved[2])?,
        );
        let mut dy = raw::f32s(&context.grad)?.to_vec();
        if reduction == Reduction::Mean {
            dy.iter_mut().for_each(|dy| *dy /= counted as f32);
        }
        let shape = context.saved[0].dims();
        if dy.is_empty() {
            return Ok(vec![Some(zeros_like(&context.saved[0])?)]);
        }
        Ok(vec![Some(host(shape, |dx| {
            cpu::cross_entropy_backward(&options, &logits, &ids, &lse, &dy, dx);
        }))])
    })
}
