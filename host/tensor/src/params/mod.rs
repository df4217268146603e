//! The parameters and buffers of a model, by name.

mod file;
mod init;
mod io;
mod lora;
mod quantized;
mod report;
mod stored;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use parking_lot::RwLock;
use regex::Regex;

pub use file::{SafetensorsFile, save_safetensors, write_safetensors};
pub(crate) use init::Fans;
pub use init::Init;
pub(crate) use lora::{LORA_A, LORA_B};
pub use lora::{Lora, patterns};
pub use quantized::Quantization;
pub(crate) use quantized::Quantized;
use report::list;
pub use report::{LoadReport, Mismatch};
use stored::{Stored, value_of};

use crate::{DType, Device, Tensor, TensorError, tensor};

/// What a named value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// Trained.
    Param,
    /// Kept with the weights, but not trained (running statistics).
    Buffer,
}

/// What happens when a recipe asks for a parameter that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMissing {
    /// It is initialised from the seed and its name.
    #[default]
    Init,
    /// The recipe's call fails: for serving, where random weights would be served as if trained.
    Error,
    /// It is zeros, the same for all of them, so that they fit into a processor's caches rather than
    /// memory, and what was asked for is noted: to find out what a recipe needs ([`Params::needs`]).
    Note,
}

/// A parameter or buffer that a recipe has asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Need {
    /// Whether it is trained.
    pub kind: ParamKind,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// How it is filled where there are no values for it.
    pub init: Init,
    fans: Option<Fans>,
}

impl Need {
    /// The initial values of parameter `name`, as [`OnMissing::Init`] makes them from this seed.
    ///
    /// # Errors
    /// `InvalidArgument` when `init` needs two dimensions and there are fewer.
    pub fn values(&self, seed: u64, name: &str) -> Result<Vec<f32>, TensorError> {
        self.init.values(seed, name, &self.shape, self.fans)
    }
}

struct Entry {
    value: Stored,
    kind: ParamKind,
    /// Whether a recipe has asked for it. Values from a file wait until one does.
    claimed: bool,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, Entry>,
    frozen: Vec<Regex>,
    adapted: Option<lora::Adapted>,
    /// Weights that are looked up by ids.
    embeddings: BTreeSet<String>,
    on_missing: OnMissing,
    /// Values in a file are not kept when they are asked for.
    stay_in_file: bool,
    /// As many as the largest of the needs has.
    zeros: Option<Tensor>,
    needs: BTreeMap<String, Need>,
}

struct Inner {
    device: Device,
    seed: u64,
    state: RwLock<State>,
}

/// The parameters and buffers of one model: float32 on one device, under the names of the
/// architecture's public checkpoints. A clone is another handle to the same values.
#[derive(Clone)]
pub struct Params(Arc<Inner>);

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Params")
            .field("device", &self.0.device)
            .field("names", &self.count())
            .finish()
    }
}

impl Params {
    /// No parameters yet; those that recipes ask for are initialised from `seed` and their names.
    pub fn new(device: &Device, seed: u64) -> Self {
        Self(Arc::new(Inner {
            device: *device,
            seed,
            state: RwLock::default(),
        }))
    }

    /// Where the values live.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// What new parameters are initialised from, besides their names.
    pub fn seed(&self) -> u64 {
        self.0.seed
    }

    /// Sets what happens when a recipe asks for a parameter that does not exist.
    pub fn set_on_missing(&self, policy: OnMissing) {
        self.0.state.write().on_missing = policy;
    }

    /// The value of a parameter or buffer, unless it is kept in fewer bits or in a file.
    pub fn get(&self, name: &str) -> Option<Tensor> {
        match self.stored(name)? {
            Stored::Dense(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a parameter or buffer, made dense if it is not.
    ///
    /// # Errors
    /// Those of the device, and of the file that it is kept in.
    pub fn value(&self, name: &str) -> Result<Option<Tensor>, TensorError> {
        let stored = self.stored(name);
        stored.map(|value| value.dense(&self.0.device)).transpose()
    }

    fn stored(&self, name: &str) -> Option<Stored> {
        let state = self.0.state.read();
        state.entries.get(name).map(|entry| entry.value.clone())
    }

    /// A weight that is kept in fewer bits.
    pub(crate) fn quantized(&self, name: &str) -> Option<Arc<Quantized>> {
        match &self.0.state.read().entries.get(name)?.value {
            Stored::Quantized(value) => Some(value.clone()),
            _ => None,
        }
    }

    /// What a name is for.
    pub fn kind(&self, name: &str) -> Option<ParamKind> {
        self.0
            .state
            .read()
            .entries
            .get(name)
            .map(|entry| entry.kind)
    }

    /// Replaces a value, or adds a new parameter.
    ///
    /// # Errors
    /// `ShapeMismatch` when the parameter has another shape; `InvalidArgument` when the value is not
    /// float32 or lives on another device.
    pub fn set(&self, name: &str, value: Tensor) -> Result<(), TensorError> {
        if value.dtype() != DType::F32 || value.device() != self.0.device {
            return Err(TensorError::InvalidArgument(format!(
                "parameter `{name}`: the value is {} on {}, but parameters are float32 on {}",
                value.dtype().name(),
                value.device(),
                self.0.device
            )));
        }
        let value = value.detach()?;
        let mut state = self.0.state.write();
        match state.entries.get_mut(name) {
            Some(entry) => {
                check_shape(name, value.shape(), &entry.value.dims())?;
                entry.value = Stored::Dense(value);
            }
            None => {
                state.entries.insert(
                    name.to_owned(),
                    Entry {
                        value: Stored::Dense(value),
                        kind: ParamKind::Param,
                        claimed: false,
                    },
                );
            }
        }
        Ok(())
    }

    /// Changes a value where it is, so that an optimiser may reuse its memory. Nobody sees the
    /// values while it works.
    pub(crate) fn modify(
        &self,
        name: &str,
        change: impl FnOnce(&mut Tensor) -> Result<(), TensorError>,
    ) -> Result<(), TensorError> {
        match self.0.state.write().entries.get_mut(name) {
            Some(Entry {
                value: Stored::Dense(value),
                ..
            }) => change(value),
            // What is kept in fewer bits or in a file is not trained.
            _ => Ok(()),
        }
    }

    /// Keeps the value of a name otherwise from now on.
    fn keep(&self, name: &str, value: Stored) {
        if let Some(entry) = self.0.state.write().entries.get_mut(name) {
            entry.value = value;
        }
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.0.state.read().entries.keys().cloned().collect()
    }

    /// How many parameters and buffers there are.
    pub fn count(&self) -> usize {
        self.0.state.read().entries.len()
    }

    /// Numbers in all parameters (not buffers).
    pub fn total_elements(&self) -> usize {
        self.0
            .state
            .read()
            .entries
            .values()
            .filter(|entry| entry.kind == ParamKind::Param)
            .map(|entry| entry.value.dims().numel())
            .sum()
    }

    /// What recipes have asked for and was not there, by name, since [`OnMissing::Note`] was set.
    pub fn needs(&self) -> BTreeMap<String, Need> {
        self.0.state.read().needs.clone()
    }

    /// Names that no recipe has asked for: what a loaded file had too much.
    pub fn unclaimed(&self) -> Vec<String> {
        self.0
            .state
            .read()
            .entries
            .iter()
            .filter(|(_, entry)| !entry.claimed)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Forgets the values that no recipe has asked for; gives their names.
    pub fn drop_unclaimed(&self) -> Vec<String> {
        let names = self.unclaimed();
        let mut state = self.0.state.write();
        for name in &names {
            state.entries.remove(name);
        }
        names
    }

    /// From now on, parameters whose names match are not trained.
    ///
    /// # Errors
    /// `InvalidArgument` when `pattern` is not a regular expression.
    pub fn freeze(&self, pattern: &str) -> Result<(), TensorError> {
        let pattern = Regex::new(pattern).map_err(|error| {
            TensorError::InvalidArgument(format!(
                "freeze: `{pattern}` is not a regular expression: {error}"
            ))
        })?;
        self.0.state.write().frozen.push(pattern);
        Ok(())
    }

    /// All parameters are trained again.
    pub fn unfreeze(&self) {
        self.0.state.write().frozen.clear();
    }

    /// Whether this is a parameter that is trained.
    pub fn trainable(&self, name: &str) -> bool {
        let state = self.0.state.read();
        state
            .entries
            .get(name)
            .is_some_and(|entry| entry.kind == ParamKind::Param)
            && !state.frozen.iter().any(|pattern| pattern.is_match(name))
            && state
                .adapted
                .as_ref()
                .is_none_or(|adapted| adapted.trains(name))
    }

    /// The value that a recipe asks for; made if it does not exist yet.
    pub(crate) fn obtain(
        &self,
        name: &str,
        kind: ParamKind,
        shape: &[usize],
        init: Init,
        fans: Option<Fans>,
    ) -> Result<Tensor, TensorError> {
        let mut state = self.0.state.write();
        if let Some(entry) = state.entries.get_mut(name) {
            check_shape(name, shape, &entry.value.dims())?;
            if !entry.claimed {
                (entry.kind, entry.claimed) = (kind, true);
            } else if entry.kind != kind {
                return Err(TensorError::InvalidArgument(format!(
                    "`{name}` is used both as a parameter and as a buffer; give them different names"
                )));
            }
            let value = entry.value.clone();
            let keep = matches!(value, Stored::File(_)) && !state.stay_in_file;
            drop(state);
            let dense = value.dense(&self.0.device)?;
            if keep {
                self.keep(name, Stored::Dense(dense.clone()));
            }
            return Ok(dense);
        }
        if state.on_missing == OnMissing::Error {
            let others: Vec<String> = state
                .entries
                .iter()
                .filter(|(_, entry)| !entry.claimed)
                .map(|(name, _)| name.clone())
                .collect();
            let hint = if others.is_empty() {
                "all its other weights are in use".to_owned()
            } else {
                format!("weights that nobody has asked for: {}", list(&others))
            };
            return Err(TensorError::InvalidArgument(format!(
                "the model's weights have no `{name}` of shape {shape:?}; {hint}. \
                 Check that recipe and configuration are those of the training run"
            )));
        }
        let value = if state.on_missing == OnMissing::Note {
            let need = Need {
                kind,
                shape: shape.to_vec(),
                init,
                fans,
            };
            state.needs.insert(name.to_owned(), need);
            self.zeros(&mut state, shape)?
        } else {
            value_of(
                &self.0.device,
                shape,
                init.values(self.0.seed, name, shape, fans)?,
            )?
        };
        state.entries.insert(
            name.to_owned(),
            Entry {
                value: Stored::Dense(value.clone()),
                kind,
                claimed: true,
            },
        );
        Ok(value)
    }

    /// A part of the zeros that all needs share.
    fn zeros(&self, state: &mut State, shape: &[usize]) -> Result<Tensor, TensorError> {
        let count = tensor::check_shape("parameter", shape, 4)?.numel();
        let shape: Vec<i64> = shape.iter().map(|dim| *dim as i64).collect();
        let zeros = match state.zeros.take() {
            Some(zeros) if zeros.numel() >= count => zeros,
            _ => value_of(&self.0.device, &[count], vec![0.0; count])?,
        };
        let part = zeros.narrow(0, 0, count)?.reshape(&shape);
        state.zeros = Some(zeros);
        part
    }

    /// The names and values that a training changes, sorted by name: parameters that are trained, and
    /// buffers.
    pub fn changing_entries(&self) -> Vec<(String, Tensor)> {
        let changes =
            |name: &str| self.trainable(name) || self.kind(name) == Some(ParamKind::Buffer);
        let entries = self.entries().into_iter();
        entries.filter(|(name, _)| changes(name)).collect()
    }

    /// The names and values, sorted by name, but for those that are kept in fewer bits or in a file.
    pub fn entries(&self) -> Vec<(String, Tensor)> {
        let state = self.0.state.read();
        let dense = state
            .entries
            .iter()
            .filter_map(|(name, entry)| match &entry.value {
                Stored::Dense(value) => Some((name.clone(), value.clone())),
                _ => None,
            });
        dense.collect()
    }
}

fn check_shape(name: &str, asked: &[usize], has: &[usize]) -> Result<(), TensorError> {
    if asked == has {
        return Ok(());
    }
    Err(TensorError::ShapeMismatch(format!(
        "parameter `{name}` has the shape {has:?}, but {asked:?} is asked for; \
         check the configuration, or give the second parameter a name of its own"
    )))
}

#[cfg(test)]
mod tests;
