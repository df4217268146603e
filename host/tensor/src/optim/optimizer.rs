//! Optimisers and what they remember.

use std::collections::BTreeMap;

use super::{
    config::OptimizerConfig,
    device,
    groups::{Groups, ParameterGroup},
    host,
};
use crate::{DType, Device, Tensor, TensorError, params::Params};

/// An optimiser and what it remembers of each parameter.
pub struct Optimizer {
    config: OptimizerConfig,
    groups: Groups,
    slots: BTreeMap<String, Slot>,
    steps: u64,
}

/// What is kept for one parameter.
struct Slot {
    /// Updates of this parameter, which the bias correction counts: one that was frozen at first
    /// starts late.
    steps: u64,
    shape: Vec<usize>,
    /// The moments in the order of [`kept`].
    moments: Moments,
}

enum Moments {
    /// For updates in one walk over host memory.
    Host(Vec<Vec<f32>>),
    /// For updates by kernels or chains of operations.
    Tensors(Vec<Tensor>),
}

/// An optimiser's memory, to be saved beside the parameters: loading it and going on equals never
/// having stopped, bit for bit.
#[derive(Clone, Debug)]
pub struct OptimizerState {
    /// Calls of [`Optimizer::step`].
    pub steps: u64,
    /// `NAME.step` (int64 scalar) and what the optimiser keeps (`NAME.exp_avg`, `NAME.exp_avg_sq`, …)
    /// for each parameter, sorted.
    pub tensors: Vec<(String, Tensor)>,
}

/// What one parameter is updated with.
pub(super) struct Update {
    pub lr: f64,
    pub decay: f64,
    /// 1 for the first update.
    pub step: u64,
    /// What the gradient is multiplied by.
    pub gradient_scale: f64,
}

impl Optimizer {
    /// An optimiser that has seen nothing.
    ///
    /// # Errors
    /// `InvalidArgument` naming a setting that is out of its range.
    pub fn new(config: OptimizerConfig) -> Result<Self, TensorError> {
        config.check()?;
        Ok(Self {
            config,
            groups: Groups::default(),
            slots: BTreeMap::new(),
            steps: 0,
        })
    }

    /// The settings.
    pub fn config(&self) -> &OptimizerConfig {
        &self.config
    }

    /// Calls of [`Self::step`].
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Updates the parameters that have a gradient. `lr` is the learning rate of this step (the
    /// job's times the schedule's factor); `groups` change it for some parameters. Frozen
    /// parameters are left alone. Parameters in host memory are updated in place if nothing else
    /// holds their values (see [`crate::nn::Scope::release`]).
    ///
    /// # Errors
    /// `InvalidArgument` for a gradient without a parameter or a bad group, `ShapeMismatch` for one
    /// of another shape; nothing is changed then.
    pub fn step(
        &mut self,
        params: &Params,
        gradients: &[(String, Tensor)],
        lr: f64,
        groups: &[ParameterGroup],
    ) -> Result<(), TensorError> {
        self.step_scaled(params, gradients, 1.0, lr, groups)
    }

    /// [`Self::step`] with all gradients times `scale` (see [`super::clip_factor`]).
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn step_scaled(
        &mut self,
        params: &Params,
        gradients: &[(String, Tensor)],
        scale: f64,
        lr: f64,
        groups: &[ParameterGroup],
    ) -> Result<(), TensorError> {
        if !(lr.is_finite() && lr >= 0.0) {
            return Err(TensorError::InvalidArgument(format!(
                "optimizer: the learning rate is {lr}, but must be a finite number of at least 0"
            )));
        }
        self.groups.update(groups)?;
        for (name, gradient) in gradients {
            let value = params.get(name).ok_or_else(|| {
                TensorError::InvalidArgument(format!(
                    "optimizer: there is a gradient for `{name}`, but no such parameter"
                ))
            })?;
            value.need_same("optimizer", gradient)?;
            let slot = self.slots.get(name);
            let kept = slot.map_or(value.shape(), |slot| slot.shape.as_slice());
            if value.shape() != gradient.shape() || value.shape() != kept {
                return Err(TensorError::ShapeMismatch(format!(
                    "optimizer: parameter `{name}` is {:?}, its gradient {:?} and the optimiser's \
                     state {kept:?}",
                    value.shape(),
                    gradient.shape()
                )));
            }
        }
        self.steps += 1;
        let mut jobs = Vec::new();
        for (name, gradient) in gradients {
            if params.trainable(name) {
                jobs.extend(self.update(params, name, gradient, scale, lr)?);
            }
        }
        let slots = &mut self.slots;
        device::step(&self.config, jobs, |stepped| {
            if let Some(slot) = slots.get_mut(stepped.name) {
                slot.moments = Moments::Tensors(stepped.moments);
            }
            params.modify(stepped.name, |value| {
                *value = stepped.value;
                Ok(())
            })
        })
    }

    /// Updates a parameter, or gives what is to be done by a kernel.
    fn update<'a>(
        &mut self,
        params: &Params,
        name: &'a str,
        gradient: &'a Tensor,
        scale: f64,
        lr: f64,
    ) -> Result<Option<device::Job<'a>>, TensorError> {
        let settings = self.groups.settings(name);
        let (config, slots) = (self.config, &mut self.slots);
        let mut job = None;
        params.modify(name, |value| {
            if !slots.contains_key(name) {
                slots.insert(name.to_owned(), Slot::new(&config, value)?);
            }
            let Some(slot) = slots.get_mut(name) else {
                return Ok(());
            };
            slot.steps += 1;
            let update = Update {
                lr: lr * settings.learning_rate,
                decay: config.decay(value.shape().len(), settings.weight_decay),
                step: slot.steps,
                gradient_scale: scale,
            };
            match (&mut slot.moments, &config) {
                (Moments::Host(moments), _) => {
                    host::step(&config, &update, value, gradient, moments)?;
                }
                (Moments::Tensors(moments), OptimizerConfig::Adafactor(config)) => {
                    let gradient = gradient.mul_scalar(update.gradient_scale)?;
                    *value = device::adafactor(config, &update, value, &gradient, moments)?;
                }
                (Moments::Tensors(moments), _) => {
                    job = Some(device::Job {
                        name,
                        value: value.clone(),
                        gradient,
                        moments: moments.clone(),
                        update,
                    });
                }
            }
            Ok(())
        })?;
        Ok(job)
    }

    /// All that the optimiser remembers.
    ///
    /// # Errors
    /// As making tensors.
    pub fn state(&self) -> Result<OptimizerState, TensorError> {
        let mut tensors = Vec::new();
        for (name, slot) in &self.slots {
            let steps = slot.steps as i64;
            let cpu = Device::cpu();
            tensors.push((
                format!("{name}.step"),
                Tensor::from_i64(&[], &[steps], &cpu)?,
            ));
            for (index, (kind, shape)) in kept(&self.config, &slot.shape).iter().enumerate() {
                let tensor = match &slot.moments {
                    Moments::Host(moments) => Tensor::from_f32(shape, &moments[index], &cpu)?,
                    Moments::Tensors(moments) => moments[index].clone(),
                };
                tensors.push((format!("{name}.{kind}"), tensor));
            }
        }
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(OptimizerState {
            steps: self.steps,
            tensors,
        })
    }

    /// Goes on from a saved state, for the parameters of `params`.
    ///
    /// # Errors
    /// `InvalidArgument` naming a tensor that is missing or belongs to no parameter; `ShapeMismatch`
    /// for one of another shape than its parameter. Nothing is changed then.
    pub fn load_state(
        &mut self,
        params: &Params,
        state: &OptimizerState,
    ) -> Result<(), TensorError> {
        let mut rest: BTreeMap<&str, &Tensor> = state
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
            .collect();
        let mut slots = BTreeMap::new();
        let names: Vec<String> = rest
            .keys()
            .filter_map(|key| key.strip_suffix(".step").map(str::to_owned))
            .collect();
        for name in names {
            let value = params.get(&name).ok_or_else(|| {
                TensorError::InvalidArgument(format!(
                    "optimizer state: it has `{name}`, but the model does not; the state is another \
                     model's"
                ))
            })?;
            let steps = rest.remove(format!("{name}.step").as_str());
            let steps = steps.map_or(Ok(0.0), Tensor::item)?;
            let mut moments = Vec::new();
            for (kind, shape) in kept(&self.config, value.shape()) {
                let key = format!("{name}.{kind}");
                let tensor = rest.remove(key.as_str()).ok_or_else(|| {
                    TensorError::InvalidArgument(format!(
                        "optimizer state: `{key}` is missing; it was saved by another kind of \
                         optimiser or is cut short"
                    ))
                })?;
                if tensor.shape() != shape || tensor.dtype() != DType::F32 {
                    return Err(TensorError::ShapeMismatch(format!(
                        "optimizer state: `{key}` is {} {:?}, but for this parameter it is float32 \
                         {shape:?}",
                        tensor.dtype(),
                        tensor.shape(),
                    )));
                }
                moments.push(tensor.clone());
            }
            let moments = if in_host_memory(&self.config, &value) {
                let values = moments.iter().map(Tensor::to_f32_vec);
                Moments::Host(values.collect::<Result<_, _>>()?)
            } else {
                let moved = moments.iter().map(|moment| {
                    Tensor::from_f32(moment.shape(), &moment.to_f32_vec()?, &value.device())
                });
                Moments::Tensors(moved.collect::<Result<_, _>>()?)
            };
            let slot = Slot {
                steps: steps as u64,
                shape: value.shape().to_vec(),
                moments,
            };
            slots.insert(name, slot);
        }
        if let Some(name) = rest.keys().next() {
            return Err(TensorError::InvalidArgument(format!(
                "optimizer state: `{name}` is nothing that this optimiser keeps; it was saved by \
                 another kind"
            )));
        }
        self.slots = slots;
        self.steps = state.steps;
        Ok(())
    }
}

impl Slot {
    fn new(config: &OptimizerConfig, value: &Tensor) -> Result<Self, TensorError> {
        let kept = kept(config, value.shape());
        let moments = if in_host_memory(config, value) {
            let zeros = |shape: &[usize]| vec![0.0; shape.iter().product()];
            Moments::Host(kept.iter().map(|(_, shape)| zeros(shape)).collect())
        } else {
            let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &value.device());
            let zeros = kept.iter().map(|(_, shape)| zeros(shape));
            Moments::Tensors(zeros.collect::<Result<_, _>>()?)
        };
        Ok(Self {
            steps: 0,
            shape: value.shape().to_vec(),
            moments,
        })
    }
}

/// Whether a parameter is updated in one walk over host memory.
fn in_host_memory(config: &OptimizerConfig, value: &Tensor) -> bool {
    value.device().is_cpu() && !matches!(config, OptimizerConfig::Adafactor(_))
}

/// What is kept for a parameter of this shape, in PyTorch's names, and of which shapes.
fn kept(config: &OptimizerConfig, shape: &[usize]) -> Vec<(&'static str, Vec<usize>)> {
    let same = |names: &[&'static str]| names.iter().map(|name| (*name, shape.to_vec())).collect();
    match config {
        OptimizerConfig::Adamw(_) => same(&["exp_avg", "exp_avg_sq"]),
        OptimizerConfig::Sgd(config) if config.momentum != 0.0 => same(&["momentum_buffer"]),
        OptimizerConfig::Sgd(_) => Vec::new(),
        OptimizerConfig::Lion(_) => same(&["exp_avg"]),
        OptimizerConfig::Adafactor(_) if shape.len() < 2 => same(&["variance"]),
        OptimizerConfig::Adafactor(_) => {
            let (mut rows, mut columns) = (shape.to_vec(), shape.to_vec());
            rows[shape.len() - 1] = 1;
            columns[shape.len() - 2] = 1;
            vec![("row_var", rows), ("col_var", columns)]
        }
    }
}
