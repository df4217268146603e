//! A recipe with its weights and tokenizer.

use std::sync::Arc;

use serde_json::Value;
use tenon_data::{Tokenizer, collate::CollatedBatch};
use tenon_plugin::{
    Component, Grants, Recipe,
    recipe::{Layout, Signature},
};
use tenon_tensor::{
    DType, Device, Tensor,
    nn::{Pass, Scope, SequenceInfo, Stage},
    params::Params,
};

use crate::{ModelError, Result};

/// A model on a device. One model serves one thread: its recipe is one instance of a component.
pub struct Model {
    pub(crate) recipe: Recipe,
    pub(crate) params: Params,
    pub(crate) signature: Signature,
    pub(crate) tokenizer: Option<Arc<Tokenizer>>,
    plugin: String,
    source: Source,
}

/// What the recipe is opened from, should its instance be lost.
struct Source {
    component: Component,
    config: Value,
    grants: Grants,
}

impl Model {
    /// Opens a recipe over parameters that are loaded already, or are made as the recipe asks for them
    /// (see [`Params::set_on_missing`]).
    ///
    /// # Errors
    /// Those of [`Recipe::open`].
    pub fn open(
        component: &Component,
        config: &Value,
        params: Params,
        tokenizer: Option<Arc<Tokenizer>>,
        grants: Grants,
    ) -> Result<Self> {
        let vocabulary = tokenizer
            .as_ref()
            .map_or(0, |tokenizer| tokenizer.vocabulary());
        let source = Source {
            component: component.clone(),
            config: config.clone(),
            grants: grants.again(),
        };
        let mut recipe = Recipe::open(component, config, vocabulary, grants)?;
        let signature = recipe.signature()?;
        let plugin = recipe.plugin().to_owned();
        Ok(Self {
            recipe,
            params,
            signature,
            tokenizer,
            plugin,
            source,
        })
    }

    /// After a failure: opens the recipe again if its instance was lost. The parameters are not in it.
    ///
    /// # Errors
    /// Those of [`Recipe::open`].
    pub fn recover(&mut self) -> Result<()> {
        if self.recipe.is_poisoned() {
            let vocabulary = self
                .tokenizer
                .as_ref()
                .map_or(0, |tokenizer| tokenizer.vocabulary());
            let Source {
                component,
                config,
                grants,
            } = &self.source;
            self.recipe = Recipe::open(component, config, vocabulary, grants.again())?;
        }
        Ok(())
    }

    /// What the recipe wants to be fed, and how it generates.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The parameters; shared with whoever trains them.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The recipe, for those who drive it themselves.
    pub fn recipe_mut(&mut self) -> &mut Recipe {
        &mut self.recipe
    }

    /// The tokenizer, where the recipe works on tokens.
    pub fn tokenizer(&self) -> Option<&Arc<Tokenizer>> {
        self.tokenizer.as_ref()
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        self.params.device()
    }

    /// Runs the recipe once over the smallest batch there is, so that every parameter is made or its
    /// absence and shape are found out before any work begins.
    ///
    /// # Errors
    /// What the recipe answers; parameters that are missing or of another shape.
    pub fn build(&mut self) -> Result<()> {
        let mut inputs = Vec::new();
        let mut infos = Vec::new();
        for input in self.signature.inputs.clone() {
            let device = *self.device();
            match input.layout {
                Layout::Sequence(_) => {
                    inputs.push((
                        input.name.clone(),
                        Tensor::zeros(&[1, 2], DType::I64, &device)?,
                    ));
                    infos.push(SequenceInfo::full(input.name, 1, 2));
                }
                Layout::NextTokens { .. } | Layout::Pieces { .. } => {
                    inputs.push((input.name, Tensor::zeros(&[1, 2], DType::I64, &device)?));
                }
                Layout::Masked { .. } => {
                    let mask = format!("{}.mask", input.name);
                    inputs.push((input.name, Tensor::zeros(&[1, 2], DType::I64, &device)?));
                    inputs.push((mask, Tensor::zeros(&[1, 2], DType::F32, &device)?));
                }
                Layout::Fixed { shape, dtype, .. } => {
                    let shape: Vec<usize> = std::iter::once(1).chain(shape).collect();
                    inputs.push((input.name, Tensor::zeros(&shape, dtype, &device)?));
                }
            }
        }
        let pass = Pass::new(Stage::Evaluate, infos, 0, self.device())?;
        let scope = Scope::root(&self.params, None);
        self.recipe.forward(&scope, &pass, inputs)?;
        Ok(())
    }

    /// Scores a batch without gradients.
    ///
    /// # Errors
    /// What the recipe answers.
    pub fn evaluate(&mut self, batch: &CollatedBatch) -> Result<Vec<(String, Tensor)>> {
        let pass = Pass::new(Stage::Evaluate, batch.infos.clone(), 0, self.device())?;
        self.forward(&pass, tensors(batch, self.device())?)
    }

    /// One forward in a pass of the caller's, without gradients.
    pub(crate) fn forward(
        &mut self,
        pass: &Pass,
        inputs: Vec<(String, Tensor)>,
    ) -> Result<Vec<(String, Tensor)>> {
        let scope = Scope::root(&self.params, None);
        Ok(self.recipe.forward(&scope, pass, inputs)?)
    }

    /// The output of that name.
    pub(crate) fn output(&self, outputs: Vec<(String, Tensor)>, name: &str) -> Result<Tensor> {
        let names: Vec<String> = outputs
            .iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        outputs
            .into_iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
            .ok_or_else(|| {
                self.contract(format!(
                    "its signature promises `{name}`, but forward returned {}",
                    names.join(", ")
                ))
            })
    }

    pub(crate) fn contract(&self, message: String) -> ModelError {
        ModelError::Contract {
            plugin: self.plugin.clone(),
            message,
        }
    }
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model")
            .field("recipe", &self.plugin)
            .field("device", self.device())
            .finish_non_exhaustive()
    }
}

/// A collated batch on a device.
///
/// # Errors
/// When the device refuses.
pub fn tensors(batch: &CollatedBatch, device: &Device) -> Result<Vec<(String, Tensor)>> {
    batch
        .arrays
        .iter()
        .map(|array| {
            let value = Tensor::from_bytes(&array.shape, array.dtype, &array.bytes, device)?;
            Ok((array.name.clone(), value))
        })
        .collect()
}
