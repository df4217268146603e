//! One step: batches, their gradients, the update.

use std::collections::BTreeMap;

use tenon_data::collate::{CollatedBatch, Loader, Position};
use tenon_model::{Model, model::tensors};
use tenon_plugin::{Losses, recipe::Layout};
use tenon_tensor::{
    DType, Tape, Tensor,
    nn::{Pass, Scope, Stage},
    optim::{Accumulator, Ema, Optimizer, ParameterGroup, clip_factor, grad_norm},
    rng,
};

use super::{preference::Preference, scalars, scaler::Scaler, statistics};
use crate::{Precision, Result, TrainError, TrainSpec};

/// The model with all that changes it.
pub(super) struct Learner {
    model: Model,
    optimizer: Optimizer,
    groups: Vec<ParameterGroup>,
    loader: Loader,
    accumulator: Accumulator,
    /// What is learnt instead of the recipe's own loss.
    preference: Option<Preference>,
    /// What products are computed in, where that is not float32.
    reduced: Option<DType>,
    /// In float16.
    scaler: Option<Scaler>,
    /// Whether layers are computed again in the backward pass.
    recompute: bool,
    /// The most that a tape has kept for its backward pass, in bytes.
    saved: usize,
    /// Averages of the weights, where the job keeps them.
    ema: Option<Ema>,
    batches: usize,
    clip: Option<f64>,
    seed: u64,
    /// Whether numbers can be read without waiting: in host memory.
    host: bool,
    /// Whether the signature says what is learnt, so that a batch without any is known beforehand.
    labelled: bool,
}

/// The losses of one batch, still on the device.
pub(super) struct Loss {
    pub loss: Tensor,
    pub weight: Weight,
    /// What the recipe wants logged.
    pub metrics: Vec<(String, Tensor)>,
}

/// Over how many items a loss is a mean.
pub(super) enum Weight {
    Known(f64),
    OnDevice(Box<Tensor>),
}

/// What is wanted of a step besides the step.
#[derive(Clone, Copy)]
pub(super) struct Looks {
    /// The recipe's metrics and the gradient's norm.
    pub metrics: bool,
    /// The sizes of gradients, weights and what layers give.
    pub statistics: bool,
}

/// What a step has done.
pub(super) struct Done {
    pub losses: Vec<Loss>,
    /// Where they were wanted.
    pub statistics: BTreeMap<String, f64>,
    /// Of the gradient before clipping, where it was needed.
    pub norm: Option<f64>,
    pub tokens: u64,
    pub rows: u64,
}

/// What a batch's forward and backward give.
struct Learnt {
    losses: Losses,
    gradients: Vec<(String, Tensor)>,
    scope: Scope,
}

impl Learner {
    pub fn new(
        mut model: Model,
        optimizer: Optimizer,
        loader: Loader,
        preference: Option<Preference>,
        spec: &TrainSpec,
        seed: u64,
    ) -> Result<Self> {
        let groups = model.recipe_mut().parameter_groups()?;
        let inputs = &model.signature().inputs;
        let labelled = inputs.iter().any(|input| {
            matches!(
                input.layout,
                Layout::NextTokens { .. } | Layout::Masked { .. }
            )
        });
        // Other targets are always there.
        let labelled = labelled
            && !inputs
                .iter()
                .any(|input| matches!(input.layout, Layout::Fixed { learnt: true, .. }));
        Ok(Self {
            host: model.device().is_cpu(),
            model,
            optimizer,
            groups,
            loader,
            accumulator: Accumulator::new(),
            preference,
            reduced: spec.precision.reduced(),
            scaler: (spec.precision == Precision::Float16).then(Scaler::default),
            recompute: spec.gradient_checkpointing,
            saved: 0,
            ema: spec.ema.map(Ema::new).transpose()?,
            batches: spec.accumulate,
            clip: spec.clip_norm,
            seed,
            labelled,
        })
    }

    pub fn model(&mut self) -> &mut Model {
        &mut self.model
    }

    pub fn params(&self) -> &tenon_tensor::params::Params {
        self.model.params()
    }

    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    pub fn ema(&mut self) -> Option<&mut Ema> {
        self.ema.as_mut()
    }

    /// What the loss is multiplied by, where it is.
    pub fn scaler(&self) -> Option<Scaler> {
        self.scaler
    }

    /// Goes on with the scaling of a checkpoint.
    pub fn set_scaler(&mut self, scaler: Option<Scaler>) {
        if self.scaler.is_some() && scaler.is_some() {
            self.scaler = scaler;
        }
    }

    /// The averages and the steps in them.
    pub fn averages(&self) -> Option<(u64, Vec<(String, Tensor)>)> {
        let ema = self.ema.as_ref()?;
        Some((ema.steps(), ema.entries()))
    }

    /// Exchanges the weights and their averages, where there are any.
    pub fn exchange(&mut self) -> Result<()> {
        match &mut self.ema {
            Some(ema) => Ok(ema.exchange(self.model.params())?),
            None => Ok(()),
        }
    }

    pub fn position(&self) -> Position {
        self.loader.position()
    }

    /// The most that a tape has kept for its backward pass, in bytes. Parameters that are needed again
    /// are among it.
    pub fn saved_bytes(&self) -> usize {
        self.saved
    }

    /// Step `number` (from 1) with this learning rate.
    pub fn step(&mut self, number: u64, rate: f64, looks: Looks) -> Result<Done> {
        let mut done = Done {
            statistics: BTreeMap::new(),
            losses: Vec::with_capacity(self.batches),
            norm: None,
            tokens: 0,
            rows: 0,
        };
        let mut computed = Vec::with_capacity(self.batches);
        for at in 0..self.batches {
            let batch = self.loader.next_batch()?;
            done.tokens += batch.tokens as u64;
            done.rows += batch.rows as u64;
            // Nothing to learn, and a mean over nothing is no number.
            if self.labelled && batch.learnt_tokens == 0 {
                continue;
            }
            let key = self.key(number, at);
            let (loss, statistics) = self.learn(&batch, key, looks)?;
            done.losses.push(loss);
            done.statistics.extend(statistics);
            computed.push((batch, key));
        }
        let (gradients, weight) = self.accumulator.finish();
        if weight == 0.0 || gradients.is_empty() {
            return Ok(done);
        }
        if looks.statistics {
            let scaled = self.scaler.map_or(1.0, |scaler| scaler.factor());
            let sizes = statistics::of_parameters(&gradients, scaled, self.model.params())?;
            done.statistics.extend(sizes);
        }
        // Gradients of a scaled loss are scaled; the optimiser takes that back.
        let unscaled = self.scaler.map_or(1.0, |scaler| 1.0 / scaler.factor());
        let mut scale = unscaled;
        if self.clip.is_some() || looks.metrics || self.scaler.is_some() {
            let norm = grad_norm(&gradients)? * unscaled;
            if let Some(scaler) = &mut self.scaler {
                if norm.is_finite() {
                    scaler.went_well();
                } else if scaler.overflowed() {
                    return Ok(done);
                }
            }
            if !norm.is_finite() {
                drop(gradients);
                return Err(self.not_finite("the gradient's norm", norm, &computed));
            }
            scale = unscaled * self.clip.map_or(1.0, |most| clip_factor(norm, most));
            done.norm = Some(norm);
        }
        self.optimizer
            .step_scaled(self.model.params(), &gradients, scale, rate, &self.groups)?;
        if let Some(ema) = &mut self.ema {
            ema.update(self.model.params())?;
        }
        Ok(done)
    }

    /// The key of a pass's random numbers.
    fn key(&self, step: u64, at: usize) -> u64 {
        rng::derive(self.seed, (step - 1) * self.batches as u64 + at as u64)
    }

    /// Adds a batch's gradients; its loss, and where they are wanted the sizes of what layers gave.
    fn learn(
        &mut self,
        batch: &CollatedBatch,
        key: u64,
        looks: Looks,
    ) -> Result<(Loss, BTreeMap<String, f64>)> {
        let tape = Tape::new();
        let Learnt {
            losses,
            gradients,
            scope,
        } = self.compute(&tape, batch, key, looks.statistics)?;
        tape.close();
        let sizes = statistics::of_layers(&scope.activations())?;
        // One batch needs no weight, and on a device reading it would mean to wait.
        let weight = match self.host || self.batches > 1 {
            true => Weight::Known(losses.weight.item()?),
            false => Weight::OnDevice(Box::new(losses.weight)),
        };
        if self.host {
            let value = losses.loss.item()?;
            let counts = !matches!(weight, Weight::Known(0.0));
            if counts && !value.is_finite() {
                drop(gradients);
                return Err(self.not_finite("the loss", value, &[(batch.clone(), key)]));
            }
        }
        scope.commit_buffers()?;
        let share = match weight {
            Weight::Known(weight) => weight,
            Weight::OnDevice(_) => 1.0,
        };
        self.accumulator.add(gradients, share)?;
        let loss = Loss {
            loss: losses.loss.detach()?,
            weight,
            metrics: if looks.metrics {
                losses.metrics
            } else {
                Vec::new()
            },
        };
        Ok((loss, sizes))
    }

    /// Forward, loss and backward. When a plugin fails in here, the tape and all tensors on it go with
    /// this frame.
    fn compute(
        &mut self,
        tape: &Tape,
        batch: &CollatedBatch,
        key: u64,
        watch: bool,
    ) -> Result<Learnt> {
        let device = *self.model.device();
        tape.autocast(self.reduced);
        tape.recompute(self.recompute);
        let scope = Scope::keyed(
            self.model.params(),
            Some(tape),
            rng::derive_str(key, "layers"),
        );
        // Likelihoods are compared with those of the reference, in which nothing is dropped.
        let (scope, stage) = match self.preference {
            Some(_) => (scope.evaluating(), Stage::Evaluate),
            None => (scope, Stage::Train),
        };
        if watch {
            scope.watch();
        }
        let pass = Pass::new(stage, batch.infos.clone(), key, &device)?;
        let inputs = tensors(batch, &device)?;
        let recipe = self.model.recipe_mut();
        let outputs = recipe.forward(&scope, &pass, inputs.clone())?;
        // The loss is of no layer.
        tape.end_segment();
        let losses = match &self.preference {
            Some(preference) => preference.losses(&outputs, &inputs, batch)?,
            None => recipe.loss(&pass, outputs, inputs)?,
        };
        let scaled = match self.scaler {
            Some(scaler) => losses.loss.mul_scalar(scaler.factor())?,
            None => losses.loss.clone(),
        };
        let mut gradients = tape.backward(&scaled)?;
        self.saved = self.saved.max(tape.peak_bytes());
        let gradients = scope.gradients(&mut gradients);
        // So that the optimiser may work where the parameters are.
        scope.release();
        Ok(Learnt {
            losses,
            gradients,
            scope,
        })
    }

    /// The error of a number that is none. The batches are computed once more, looking at every
    /// operation: parameters and random numbers are those of then.
    fn not_finite(
        &mut self,
        what: &'static str,
        value: f64,
        batches: &[(CollatedBatch, u64)],
    ) -> TrainError {
        self.accumulator = Accumulator::new();
        let operation = batches.iter().find_map(|(batch, key)| {
            let tape = Tape::new();
            tape.trace_non_finite(true);
            // What it computes is of no interest, nor is why it may fail.
            drop(self.compute(&tape, batch, *key, false));
            tape.non_finite().map(|found| found.to_string())
        });
        TrainError::NonFinite {
            what,
            value,
            operation,
        }
    }
}

/// The numbers of some losses: loss and weight each, read at once.
pub(super) fn numbers(losses: &[Loss]) -> Result<Vec<(f64, f64)>> {
    let mut wanted: Vec<&Tensor> = losses.iter().map(|loss| &loss.loss).collect();
    wanted.extend(losses.iter().filter_map(|loss| match &loss.weight {
        Weight::OnDevice(weight) => Some(weight.as_ref()),
        Weight::Known(_) => None,
    }));
    let read = scalars::read(&wanted)?;
    let mut weights = read[losses.len()..].iter();
    Ok(losses
        .iter()
        .zip(&read)
        .map(|(loss, value)| {
            let weight = match loss.weight {
                Weight::Known(weight) => weight,
                Weight::OnDevice(_) => weights.next().copied().unwrap_or(0.0),
            };
            (*value, weight)
        })
        .collect())
}
