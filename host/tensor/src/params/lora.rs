//! Low-rank adapters on linear layers: y = W x + (α / r) · B A x, where only A [r, in] and B [out, r]
//! are trained (Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models"). A recipe knows
//! nothing of them: [`Scope::linear`](crate::nn::Scope::linear) adds them to the layers that were
//! chosen. Names and initial values are PEFT's.

use std::{collections::BTreeMap, sync::Arc};

use regex::Regex;

use super::{
    ParamKind, Params, list,
    stored::{Merged, Stored},
};
use crate::{Tensor, TensorError, nn::WeightLayout};

pub(crate) const LORA_A: &str = "lora_A.weight";
pub(crate) const LORA_B: &str = "lora_B.weight";

/// What [`Params::adapt`] adds.
#[derive(Clone, Debug, PartialEq)]
pub struct Lora {
    /// r: columns of A and rows of B.
    pub rank: usize,
    /// The product counts α / r times.
    pub alpha: f64,
    /// Of the adapters' inputs, in training.
    pub dropout: f32,
    /// Regular expressions; a linear layer whose name one of them finds is adapted. None: all linear
    /// layers. A layer that shares its weight with an embedding never is: merging would change the
    /// embedding too.
    pub targets: Vec<String>,
    /// Regular expressions of parameters that are trained in full beside the adapters: a new head.
    pub trained: Vec<String>,
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            targets: Vec::new(),
            trained: Vec::new(),
        }
    }
}

/// Adapters of a model.
#[derive(Clone)]
pub(super) struct Adapted {
    lora: Lora,
    targets: Vec<Regex>,
    trained: Vec<Regex>,
    /// The layers that have one, and how their weights are stored.
    layers: BTreeMap<String, WeightLayout>,
}

/// What a layer's adapter is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LayerLora {
    pub rank: usize,
    pub scale: f64,
    pub dropout: f32,
}

impl Lora {
    /// Refuses what cannot be meant.
    ///
    /// # Errors
    /// `InvalidArgument` with the setting.
    pub fn check(&self) -> Result<(), TensorError> {
        self.compiled().map(drop)
    }

    fn compiled(&self) -> Result<Adapted, TensorError> {
        let invalid = |text: String| Err(TensorError::InvalidArgument(text));
        if self.rank == 0 {
            return invalid("lora: the rank is 0, but must be at least 1".into());
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return invalid(format!(
                "lora: alpha is {}, but must be above 0",
                self.alpha
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return invalid(format!(
                "lora: the dropout is {}, but must be at least 0 and below 1",
                self.dropout
            ));
        }
        Ok(Adapted {
            targets: patterns("`lora.targets`", &self.targets)?,
            trained: patterns("`lora.trained`", &self.trained)?,
            lora: self.clone(),
            layers: BTreeMap::new(),
        })
    }

    fn scale(&self) -> f64 {
        self.alpha / self.rank as f64
    }
}

/// Reads regular expressions of names.
///
/// # Errors
/// `InvalidArgument` with `what` and the first that is none.
pub fn patterns(what: &str, patterns: &[String]) -> Result<Vec<Regex>, TensorError> {
    let compiled = patterns.iter().map(|pattern| {
        Regex::new(pattern).map_err(|error| {
            TensorError::InvalidArgument(format!(
                "`{pattern}` in {what} is not a regular expression: {error}"
            ))
        })
    });
    compiled.collect()
}

impl Adapted {
    /// Whether a parameter is trained: the adapters, and what was named.
    pub(super) fn trains(&self, name: &str) -> bool {
        is_adapter(name) || self.trained.iter().any(|pattern| pattern.is_match(name))
    }
}

fn is_adapter(name: &str) -> bool {
    [LORA_A, LORA_B].iter().any(|suffix| {
        name.strip_suffix(suffix)
            .is_some_and(|layer| layer.ends_with('.'))
    })
}

impl Params {
    /// From now on the chosen linear layers have adapters, made when a recipe first asks for the layer,
    /// and nothing else is trained. Before the model is built.
    ///
    /// # Errors
    /// `InvalidArgument` for a rank, scale, probability or pattern that is none.
    pub fn adapt(&self, lora: &Lora) -> Result<(), TensorError> {
        self.0.state.write().adapted = Some(lora.compiled()?);
        Ok(())
    }

    /// The layers that have an adapter, and how their weights are stored.
    pub fn adapted(&self) -> BTreeMap<String, WeightLayout> {
        let state = self.0.state.read();
        let layers = state.adapted.as_ref().map(|all| all.layers.clone());
        layers.unwrap_or_default()
    }

    /// The adapter of a linear layer, where it has one.
    pub(crate) fn layer_lora(&self, layer: &str, layout: WeightLayout) -> Option<LayerLora> {
        // Asked for in every layer of every pass: most models have none, and known layers do not change.
        {
            let state = self.0.state.read();
            let adapted = state.adapted.as_ref()?;
            if adapted.layers.contains_key(layer) {
                return Some(adapted.of_layer());
            }
            let chosen = adapted.targets.is_empty()
                || adapted.targets.iter().any(|target| target.is_match(layer));
            let shared = state.embeddings.contains(&format!("{layer}.weight"));
            if !chosen || shared {
                return None;
            }
        }
        let mut state = self.0.state.write();
        let adapted = state.adapted.as_mut()?;
        adapted.layers.insert(layer.to_owned(), layout);
        Some(adapted.of_layer())
    }

    /// Remembers that a weight is looked up by ids.
    pub(crate) fn mark_embedding(&self, weight: &str) {
        if !self.0.state.read().embeddings.contains(weight) {
            self.0.state.write().embeddings.insert(weight.to_owned());
        }
    }

    /// The values that are trained, sorted by name: the adapters' and those that are trained in full
    /// beside them.
    pub fn adapter_entries(&self) -> Vec<(String, Tensor)> {
        let entries = self.entries();
        let state = self.0.state.read();
        let Some(adapted) = &state.adapted else {
            return Vec::new();
        };
        entries
            .into_iter()
            .filter(|(name, _)| adapted.trains(name))
            .collect()
    }

    /// Adds every adapter to its layer's weight and forgets the adapters: W + (α / r) · B A. The model
    /// computes what it did, but for rounding. To be written rather than computed with: each weight is added
    /// up whenever it is asked for, so that there never are two of all of them.
    ///
    /// # Errors
    /// `InvalidArgument` when a layer's weight or adapter is gone; nothing is changed then. What fails on
    /// the device is an error of whoever asks for a weight.
    pub fn merge_adapters(&self) -> Result<Vec<String>, TensorError> {
        let Some(adapted) = self.0.state.read().adapted.clone() else {
            return Ok(Vec::new());
        };
        let scale = adapted.lora.scale();
        let mut all = Vec::with_capacity(adapted.layers.len());
        for (layer, layout) in &adapted.layers {
            let gone = |name: &str| {
                TensorError::InvalidArgument(format!(
                    "the adapter of `{layer}` cannot be merged: `{name}` is gone"
                ))
            };
            let part = |part: &str| {
                let name = format!("{layer}.{part}");
                self.value(&name)?.ok_or_else(|| gone(&name))
            };
            let (a, b) = (part(LORA_A)?, part(LORA_B)?);
            let name = format!("{layer}.weight");
            let value = Merged {
                weight: self.stored(&name).ok_or_else(|| gone(&name))?,
                a,
                b,
                scale,
                layout: *layout,
            };
            all.push((name, Stored::Merged(Arc::new(value))));
        }
        for (name, value) in all {
            self.keep(&name, value);
        }
        let mut state = self.0.state.write();
        state.adapted = None;
        for layer in adapted.layers.keys() {
            state.entries.remove(&format!("{layer}.{LORA_A}"));
            state.entries.remove(&format!("{layer}.{LORA_B}"));
        }
        Ok(adapted.layers.into_keys().collect())
    }

    /// Numbers in the parameters that are trained.
    pub fn trained_elements(&self) -> usize {
        let names = self.names().into_iter();
        names
            .filter(|name| self.trainable(name))
            .filter_map(|name| Some(self.stored(&name)?.dims().numel()))
            .sum()
    }

    /// Refuses patterns that meet no parameter of the model: most often a name that was mistyped.
    ///
    /// # Errors
    /// `InvalidArgument` with the pattern and some names that there are.
    pub fn require_matches(&self, what: &str, patterns: &[String]) -> Result<(), TensorError> {
        let state = self.0.state.read();
        let names = || {
            state
                .entries
                .iter()
                .filter(|(_, entry)| entry.kind == ParamKind::Param)
                .map(|(name, _)| name)
        };
        for pattern in patterns {
            let matches =
                Regex::new(pattern).is_ok_and(|pattern| names().any(|name| pattern.is_match(name)));
            if !matches {
                let known: Vec<String> = names().cloned().collect();
                return Err(TensorError::InvalidArgument(format!(
                    "`{pattern}` in {what} meets no parameter of the model; it has {}",
                    list(&known)
                )));
            }
        }
        Ok(())
    }
}

/// W + scale · B A, with W as the layer stores it.
pub(super) fn merged(
    weight: &Tensor,
    a: &Tensor,
    b: &Tensor,
    scale: f64,
    layout: WeightLayout,
) -> Result<Tensor, TensorError> {
    let product = b.matmul(a)?.mul_scalar(scale)?;
    weight.add(&match layout {
        WeightLayout::OutIn => product,
        WeightLayout::InOut => product.transpose(0, 1)?,
    })
}

impl Adapted {
    fn of_layer(&self) -> LayerLora {
        LayerLora {
            rank: self.lora.rank,
            scale: self.lora.scale(),
            dropout: self.lora.dropout,
        }
    }
}
