//! What happens to gradients between the backward pass and the optimiser.

use std::collections::BTreeMap;

use tenon_gpu::kernels::SquareSum;

use super::host;
use crate::{DType, Tensor, TensorError, cpu, gpu, raw};

/// The norm of all gradients together.
///
/// # Errors
/// As reading from the device.
pub fn grad_norm(gradients: &[(String, Tensor)]) -> Result<f64, TensorError> {
    let mut sum = 0.0;
    let mut on_device = Vec::new();
    for (_, gradient) in gradients {
        let gradient = gradient.cast(DType::F32)?;
        if raw::is_host_f32(&gradient) {
            sum += cpu::square_sum(&raw::f32s(&gradient)?);
        } else {
            on_device.push(gradient);
        }
    }
    on_device.retain(|gradient| gradient.numel() > 0);
    if let Some(one) = on_device.first() {
        // One read for all of them.
        let all: Vec<&Tensor> = on_device.iter().collect();
        let [squares] = gpu::run("grad_norm", &all, SquareSum)?;
        sum += gpu::tensor(one, squares).sum(&[], false)?.item()?;
    }
    Ok(sum.sqrt())
}

/// What gradients of this norm are multiplied by so that their norm is at most `max`; 1 when it is
/// already, or is not finite. For [`crate::optim::Optimizer::step_scaled`], which saves the walk over
/// memory that [`clip_grad_norm`] takes.
pub fn clip_factor(norm: f64, max: f64) -> f64 {
    let factor = max / (norm + 1e-6);
    if norm.is_finite() {
        factor.min(1.0)
    } else {
        1.0
    }
}

/// Scales the gradients so that their norm is at most `max`, as `torch.nn.utils.clip_grad_norm_`
/// does. Gives the norm before: when it is not finite, nothing is scaled and the step should be left
/// out.
///
/// # Errors
/// `InvalidArgument` unless `max` is above 0.
pub fn clip_grad_norm(gradients: &mut [(String, Tensor)], max: f64) -> Result<f64, TensorError> {
    if max.is_nan() || max <= 0.0 {
        return Err(TensorError::InvalidArgument(format!(
            "clip_grad_norm: the largest norm is {max}, but must be above 0"
        )));
    }
    let norm = grad_norm(gradients)?;
    let factor = clip_factor(norm, max);
    if factor < 1.0 {
        for (_, gradient) in gradients {
            if raw::is_host_f32(gradient) {
                let factor = factor as f32;
                host::with_values(gradient, |values| cpu::scale_assign(values, factor))?;
            } else {
                *gradient = gradient.mul_scalar(factor)?;
            }
        }
    }
    Ok(norm)
}

/// Adds the gradients of several batches to those of one large batch. A batch's loss is a mean over
/// `weight` items (tokens, rows), so batches count by their weights: the result does not depend on
/// how items were spread over batches.
#[derive(Default)]
pub struct Accumulator {
    sums: BTreeMap<String, Tensor>,
    weight: f64,
    batches: usize,
}

impl Accumulator {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Batches added since the last [`Self::finish`].
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Items in them.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Adds the gradients of a batch whose loss is a mean over `weight` items. A batch of weight 0
    /// (nothing to learn in it) counts for nothing.
    ///
    /// # Errors
    /// `InvalidArgument` for a weight that is negative or not finite.
    pub fn add(
        &mut self,
        gradients: Vec<(String, Tensor)>,
        weight: f64,
    ) -> Result<(), TensorError> {
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(TensorError::InvalidArgument(format!(
                "accumulate: a batch's weight is {weight}, but must be a finite number of at least \
                 0; check the `weight` that the recipe's loss gives"
            )));
        }
        self.batches += 1;
        if weight == 0.0 {
            return Ok(());
        }
        // The first batch is kept as it is (sum of weight 1), so that a step of one batch costs
        // nothing and changes no bit.
        let before = self.weight;
        self.weight += weight;
        if before > 0.0 && !self.sums.is_empty() {
            let keep = before / self.weight;
            for sum in self.sums.values_mut() {
                *sum = sum.mul_scalar(keep)?;
            }
        }
        let share = weight / self.weight;
        for (name, gradient) in gradients {
            let gradient = if share == 1.0 {
                gradient
            } else {
                gradient.mul_scalar(share)?
            };
            let sum = match self.sums.remove(&name) {
                Some(sum) => sum.add(&gradient)?,
                None => gradient,
            };
            self.sums.insert(name, sum);
        }
        Ok(())
    }

    /// The gradients of the whole, sorted by name, and the items that their mean is over; starts
    /// anew.
    pub fn finish(&mut self) -> (Vec<(String, Tensor)>, f64) {
        self.batches = 0;
        let weight = std::mem::take(&mut self.weight);
        (std::mem::take(&mut self.sums).into_iter().collect(), weight)
    }
}
