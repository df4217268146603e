//! Recipes: models.
//!
//! A recipe names its parameters and layers through a [`Scope`] and computes within a [`Pass`]; the
//! host owns devices, gradients, the training loop, the cache and the sampling.

pub mod hub;
mod layers;
mod signature;
mod tensors;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub use signature::{PieceConfig, check_learnt, pieces, stop_tokens, text};
pub use tensors::Tensors;

pub use crate::bindings::{
    model_host::{
        AttentionKind, AttentionOptions, ConvLayerOptions, Init, LinearOptions, NormKind, Pass,
        Scope, Stage, WeightLayout,
    },
    recipe::face::{
        FixedLayout, Generation, Input, LabelLayout, Layout, Losses, MaskedLayout, Named,
        ParameterGroup, Piece, PiecesLayout, Segment, SequenceLayout, Signature,
    },
};
use crate::{
    Error, Result,
    bindings::{
        recipe::face::{GuestModel, Model},
        types,
    },
    plugin,
    tensor::{DType, Reduction, Tensor},
};

/// The target of a token that does not count.
pub const IGNORED: i64 = -100;

/// A model. Export it with [`export_recipe!`](crate::export_recipe).
pub trait Recipe: Sized + 'static {
    /// `owner/name`, lower case.
    const NAME: &'static str;
    /// One sentence.
    const SUMMARY: &'static str;
    /// Capabilities asked for.
    const CAPABILITIES: &'static [&'static str] = &[];
    /// The configuration; its doc comments become the schema's descriptions.
    type Config: DeserializeOwned + JsonSchema;

    /// Sizes the model. The configuration has passed the schema; `vocabulary` is the tokenizer's
    /// size, 0 where there is none.
    ///
    /// # Errors
    /// What the schema cannot express: sizes that do not divide each other, a missing tokenizer.
    fn open(config: Self::Config, vocabulary: u32) -> Result<Self>;

    /// What it reads and whether it generates.
    fn signature(&self) -> Signature;

    /// Parameters that are trained with their own settings. First match wins.
    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        Vec::new()
    }

    /// Named tensors in, named tensors out. Inputs that a stage does not have (targets when serving,
    /// sources when decoding) are absent.
    ///
    /// # Errors
    /// Inputs that the model cannot work on.
    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors>;

    /// What training minimises.
    ///
    /// # Errors
    /// Outputs and targets that do not fit.
    fn loss(&self, pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses>;
}

/// The mean cross-entropy of `logits` [..., classes] over the `targets` [...] that count, weighed by
/// their number.
///
/// # Errors
/// Shapes that do not fit.
#[track_caller]
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, label_smoothing: f32) -> Result<Losses> {
    let loss = logits.cross_entropy(targets, IGNORED, label_smoothing, Reduction::Mean)?;
    let weight = targets
        .eq_scalar(IGNORED as f64)?
        .logical_not()?
        .cast(DType::Float32)?
        .sum(&[], false)?;
    Ok(Losses::new(loss, weight))
}

/// What a model of classes (tokens, labels) minimises: [`cross_entropy`]. Smoothing is a means of
/// training; what is reported otherwise is the likelihood, and the `accuracy` beside it.
///
/// # Errors
/// Shapes that do not fit.
#[track_caller]
pub fn classification(
    pass: &Pass,
    logits: &Tensor,
    targets: &Tensor,
    label_smoothing: f32,
) -> Result<Losses> {
    if pass.is_training() {
        return cross_entropy(logits, targets, label_smoothing);
    }
    let losses = cross_entropy(logits, targets, 0.0)?;
    let accuracy = accuracy(logits, targets, &losses.weight)?;
    Ok(losses.metric("accuracy", accuracy))
}

/// The share of the targets that count and that the logits get right.
///
/// # Errors
/// Shapes that do not fit.
#[track_caller]
pub fn accuracy(logits: &Tensor, targets: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let right = logits
        .detach()?
        .argmax(-1, false)?
        .eq(targets)?
        .cast(DType::Float32)?
        .sum(&[], false)?;
    // A batch in which nothing counts is 0 % right, not no number at all.
    Ok(right.div(&weight.clamp(Some(1.0), None)?)?)
}

impl Losses {
    /// A mean loss, and what it was taken over.
    pub fn new(loss: Tensor, weight: Tensor) -> Self {
        Self {
            loss,
            weight,
            metrics: Vec::new(),
        }
    }

    /// Adds a scalar to log.
    #[must_use]
    pub fn metric(mut self, name: impl Into<String>, value: Tensor) -> Self {
        self.metrics.push(Named {
            name: name.into(),
            value,
        });
        self
    }
}

impl ParameterGroup {
    /// Parameters whose names match are not decayed.
    pub fn without_decay(pattern: impl Into<String>) -> Self {
        Self {
            pattern: pattern.into(),
            learning_rate: 1.0,
            weight_decay: Some(0.0),
        }
    }
}

/// What [`export_recipe!`](crate::export_recipe) exports.
#[doc(hidden)]
pub struct RecipeModel<T>(T);

impl<T: Recipe> GuestModel for RecipeModel<T> {
    fn open(config: String, vocabulary: u32) -> Result<Model, types::Error> {
        plugin::start();
        let recipe = T::open(plugin::config(&config)?, vocabulary).map_err(Error::into_host)?;
        Ok(Model::new(Self(recipe)))
    }

    fn signature(&self) -> Signature {
        self.0.signature()
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        self.0.parameter_groups()
    }

    fn forward(
        &self,
        scope: &Scope,
        pass: &Pass,
        inputs: Vec<Named>,
    ) -> Result<Vec<Named>, types::Error> {
        let outputs = self
            .0
            .forward(scope, pass, &Tensors::from(inputs))
            .map_err(Error::into_host)?;
        Ok(outputs.into())
    }

    fn loss(
        &self,
        pass: &Pass,
        outputs: Vec<Named>,
        inputs: Vec<Named>,
    ) -> Result<Losses, types::Error> {
        self.0
            .loss(pass, &Tensors::from(outputs), &Tensors::from(inputs))
            .map_err(Error::into_host)
    }
}

/// Makes the crate a recipe: `export_recipe!(MyType);`, once, where `MyType` is a
/// [`Recipe`](crate::Recipe).
#[macro_export]
macro_rules! export_recipe {
    ($type:ty) => {
        $crate::__export_description!($type, $crate::Recipe, Recipe);
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Export;
            impl $crate::bindings::recipe::face::Guest for Export {
                type Model = $crate::__private::RecipeModel<$type>;
            }
            $crate::bindings::recipe::__export_recipe!(Export with_types_in $crate::bindings::recipe);
        };
    };
}
