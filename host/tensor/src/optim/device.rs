//! Updates of parameters on a GPU, and by chains of operations what is too rarely used to have a kernel.

use tenon_gpu::kernels::Step;

use super::{
    config::{Adafactor, OptimizerConfig},
    optimizer::Update,
};
use crate::{Tensor, TensorError, gpu};

/// Numbers of parameters that are stepped together with others. The results of a launch are all in memory
/// beside what they replace, so that it should not be much.
const SMALL: usize = 1 << 16;
/// Parameters that are stepped together at most.
const TOGETHER: usize = 64;

/// A parameter that is to be stepped.
pub(super) struct Job<'a> {
    pub name: &'a str,
    pub value: Tensor,
    pub gradient: &'a Tensor,
    pub moments: Vec<Tensor>,
    pub update: Update,
}

/// A parameter that was stepped.
pub(super) struct Stepped<'a> {
    pub name: &'a str,
    pub value: Tensor,
    pub moments: Vec<Tensor>,
}

/// Steps parameters by the kernels, small ones with the same numbers together; `done` gets them as they come.
pub(super) fn step<'a>(
    config: &OptimizerConfig,
    jobs: Vec<Job<'a>>,
    mut done: impl FnMut(Stepped<'a>) -> Result<(), TensorError>,
) -> Result<(), TensorError> {
    let mut waiting: Vec<(Step, Vec<Job<'a>>)> = Vec::new();
    for job in jobs {
        let step = numbers(config, &job.update)?;
        if job.value.numel() > SMALL {
            together(step, vec![job], &mut done)?;
            continue;
        }
        let place = match waiting.iter().position(|(other, _)| *other == step) {
            Some(place) => place,
            None => {
                waiting.push((step, Vec::new()));
                waiting.len() - 1
            }
        };
        let others = &mut waiting[place].1;
        others.push(job);
        if others.len() == TOGETHER {
            let jobs = std::mem::take(others);
            together(step, jobs, &mut done)?;
        }
    }
    for (step, jobs) in waiting {
        together(step, jobs, &mut done)?;
    }
    Ok(())
}

/// The numbers of a step.
fn numbers(config: &OptimizerConfig, update: &Update) -> Result<Step, TensorError> {
    Ok(match config {
        OptimizerConfig::Adamw(config) => Step::AdamW(config.step(update)),
        OptimizerConfig::Sgd(config) => Step::Sgd(config.step(update)),
        OptimizerConfig::Lion(config) => Step::Lion(config.step(update)),
        OptimizerConfig::Adafactor(_) => {
            let text = "optimizer: adafactor has no kernel".to_owned();
            return Err(TensorError::Failed(text));
        }
    })
}

/// Steps parameters by one call of the kernel.
fn together<'a>(
    step: Step,
    mut jobs: Vec<Job<'a>>,
    done: &mut impl FnMut(Stepped<'a>) -> Result<(), TensorError>,
) -> Result<(), TensorError> {
    // There is nothing to step, and kernels are not launched for nothing.
    jobs.retain(|job| job.value.numel() > 0);
    let inputs: Vec<&Tensor> = jobs
        .iter()
        .flat_map(|job| [&job.value, job.gradient].into_iter().chain(&job.moments))
        .collect();
    if inputs.is_empty() {
        return Ok(());
    }
    let mut results = gpu::run_all("optimizer", &inputs, step)?.into_iter();
    for job in jobs {
        let mut next = || {
            let result = results
                .next()
                .map(|new| job.value.like(new, job.value.dims()));
            result
                .ok_or_else(|| TensorError::Failed("optimizer: the kernel gave too little".into()))
        };
        let value = next()?;
        let moments = job
            .moments
            .iter()
            .map(|_| next())
            .collect::<Result<_, _>>()?;
        let name = job.name;
        done(Stepped {
            name,
            value,
            moments,
        })?;
    }
    Ok(())
}

/// The new value of a parameter; its second moments are replaced.
pub(super) fn adafactor(
    config: &Adafactor,
    update: &Update,
    value: &Tensor,
    gradient: &Tensor,
    moments: &mut [Tensor],
) -> Result<Tensor, TensorError> {
    // Σ x² / n, as a scalar that stays on the device.
    let mean_square = |x: &Tensor| x.mul(x)?.mean(&[], false);
    let steps = update.step as f64;
    let rest = steps.powf(config.beta2_decay);
    let rate = update.lr.min(1.0 / steps.sqrt());
    let size = mean_square(value)?.sqrt()?.clamp(Some(config.eps2), None)?;
    let square = gradient.mul(gradient)?;
    let moved =
        |old: &Tensor, new: &Tensor| old.mul_scalar(1.0 - rest)?.add(&new.mul_scalar(rest)?);
    let variance = match moments {
        [rows, columns] => {
            *rows = moved(rows, &square.mean(&[-1], true)?)?;
            *columns = moved(columns, &square.mean(&[-2], true)?)?;
            let all = rows.mean(&[-2], true)?.clamp(Some(config.eps1), None)?;
            rows.mul(columns)?.div(&all)?
        }
        [variance] => {
            *variance = moved(variance, &square)?;
            variance.clone()
        }
        _ => return Ok(value.clone()),
    };
    let least = config.eps1 * config.eps1;
    let direction = gradient.mul(&variance.clamp(Some(least), None)?.rsqrt()?)?;
    let longer = mean_square(&direction)?
        .sqrt()?
        .mul_scalar(1.0 / config.clip)?
        .clamp(Some(1.0), None)?;
    value
        .mul_scalar(1.0 - update.lr * update.decay)?
        .sub(&direction.mul(&size.mul_scalar(rate)?.div(&longer)?)?)
}
