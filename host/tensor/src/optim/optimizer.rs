//! AdamW and SGD.

use std::collections::BTreeMap;

use super::{
    config::OptimizerConfig,
    device,
    groups::{Groups, ParameterGroup},
    host,
};
use crate::{DType, Device, Tensor, TensorError, params::Params, raw};

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
    /// The moments in the order of [`names`]; in host memory where the parameter is.
    moments: Moments,
}

enum Moments {
    Host(Vec<Vec<f32>>),
    Device(Vec<Tensor>),
}

/// An optimiser's memory, to be saved beside the parameters: loading it and going on equals never
/// having stopped, bit for bit.
#[derive(Clone, Debug)]
pub struct OptimizerState {
    /// Calls of [`Optimizer::step`].
    pub steps: u64,
    /// `NAME.step` (int64 scalar) and `NAME.exp_avg`, `NAME.exp_avg_sq` or `NAME.momentum_buffer`
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
        for (name, gradient) in gradients {
            if params.trainable(name) {
                self.update(params, name, gradient, scale, lr)?;
            }
        }
        Ok(())
    }

    fn update(
        &mut self,
        params: &Params,
        name: &str,
        gradient: &Tensor,
        scale: f64,
        lr: f64,
    ) -> Result<(), TensorError> {
        let settings = self.groups.settings(name);
        let (config, slots) = (self.config, &mut self.slots);
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
            slot.apply(&config, &update, value, gradient)
        })
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
            for (index, kind) in moment_names(&self.config).iter().enumerate() {
                let tensor = match &slot.moments {
                    Moments::Host(moments) => Tensor::from_f32(&slot.shape, &moments[index], &cpu)?,
                    Moments::Device(moments) => moments[index].clone(),
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
        let kinds = moment_names(&self.config);
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
            let mut moments = Vec::with_capacity(kinds.len());
            for kind in kinds {
                let key = format!("{name}.{kind}");
                let tensor = rest.remove(key.as_str()).ok_or_else(|| {
                    TensorError::InvalidArgument(format!(
                        "optimizer state: `{key}` is missing; it was saved by another kind of \
                         optimiser or is cut short"
                    ))
                })?;
                if tensor.shape() != value.shape() || tensor.dtype() != DType::F32 {
                    return Err(TensorError::ShapeMismatch(format!(
                        "optimizer state: `{key}` is {} {:?}, but the parameter is float32 {:?}",
                        tensor.dtype(),
                        tensor.shape(),
                        value.shape()
                    )));
                }
                moments.push(tensor.clone());
            }
            let moments = if value.device().is_cpu() {
                let values = moments.iter().map(Tensor::to_f32_vec);
                Moments::Host(values.collect::<Result<_, _>>()?)
            } else {
                let moved = moments.iter().map(|moment| {
                    Tensor::from_f32(moment.shape(), &moment.to_f32_vec()?, &value.device())
                });
                Moments::Device(moved.collect::<Result<_, _>>()?)
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
                "optimizer state: `{name}` is nothing that this optimiser keeps (it keeps {kinds:?}); \
                 it was saved by another kind"
            )));
        }
        self.slots = slots;
        self.steps = state.steps;
        Ok(())
    }
}

impl Slot {
    fn new(config: &OptimizerConfig, value: &Tensor) -> Result<Self, TensorError> {
        let count = moment_names(config).len();
        let moments = if value.device().is_cpu() {
            Moments::Host((0..count).map(|_| vec![0.0; value.numel()]).collect())
        } else {
            let zeros = |_| Tensor::zeros(value.shape(), DType::F32, &value.device());
            Moments::Device((0..count).map(zeros).collect::<Result<_, _>>()?)
        };
        Ok(Self {
            steps: 0,
            shape: value.shape().to_vec(),
            moments,
        })
    }

    fn apply(
        &mut self,
        config: &OptimizerConfig,
        update: &Update,
        value: &mut Tensor,
        gradient: &Tensor,
    ) -> Result<(), TensorError> {
        match (&mut self.moments, config) {
            (Moments::Host(moments), _) => {
                let gradient = raw::f32s(gradient)?;
                host::with_values(value, |values| match config {
                    OptimizerConfig::Adamw(config) => {
                        host::adamw(config, update, values, &gradient, moments);
                    }
                    OptimizerConfig::Sgd(config) => {
                        host::sgd(config, update, values, &gradient, moments);
                    }
                })?;
            }
            (Moments::Device(moments), OptimizerConfig::Adamw(config)) => {
                let gradient = &gradient.mul_scalar(update.gradient_scale)?;
                *value = device::adamw(config, update, value, gradient, moments)?;
            }
            (Moments::Device(moments), OptimizerConfig::Sgd(config)) => {
                let gradient = &gradient.mul_scalar(update.gradient_scale)?;
                *value = device::sgd(config, update, value, gradient, moments)?;
            }
        }
        Ok(())
    }
}

/// What is kept for each parameter, in PyTorch's names.
fn moment_names(config: &OptimizerConfig) -> &'static [&'static str] {
    match config {
        OptimizerConfig::Adamw(_) => &["exp_avg", "exp_avg_sq"],
        OptimizerConfig::Sgd(config) if config.momentum != 0.0 => &["momentum_buffer"],
        OptimizerConfig::Sgd(_) => &[],
    }
}
