//! The hub's `config.json` of a ResNet, and the images that it reads.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{
    Error, Result,
    recipe::hub::{self, Activation, Others},
};

/// The classes of `transformers` that this recipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Architecture {
    ResNetForImageClassification,
}

/// The kind of residual block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LayerType {
    Basic,
    Bottleneck,
}

/// How the network begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Stem {
    Photograph,
    Small,
}

/// A ResNet's `config.json`, and the images that it reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The class of `transformers`.
    pub architectures: Vec<Architecture>,
    /// `resnet`.
    pub model_type: Option<String>,
    /// Channels of an image.
    #[schemars(range(min = 1, max = 1024))]
    pub num_channels: u32,
    /// Channels after the first convolution.
    #[schemars(range(min = 1, max = 65536))]
    pub embedding_size: u32,
    /// Channels of each stage; every stage but the first halves height and width.
    #[schemars(length(min = 1, max = 8))]
    pub hidden_sizes: Vec<u32>,
    /// Residual blocks of each stage.
    #[schemars(length(min = 1, max = 8))]
    pub depths: Vec<u32>,
    /// Two 3×3 convolutions (`basic`), or one between two of 1×1 that make it narrower (`bottleneck`).
    pub layer_type: LayerType,
    /// Of the first convolution and of each block as a whole; within a block it is `relu`.
    pub hidden_act: String,
    /// Whether the first stage halves height and width too.
    pub downsample_in_first_stage: bool,
    /// Whether it is the first convolution of a bottleneck that halves, not the second.
    pub downsample_in_bottleneck: bool,
    /// The names of the classes.
    pub id2label: Option<BTreeMap<String, String>>,
    /// How many classes there are, where `id2label` does not name them; nothing: 2.
    pub num_labels: Option<u32>,
    /// `photograph`: a 7×7 convolution and a pooling, each of which halves height and width, as
    /// transformers has it. `small`: one 3×3 convolution that keeps them, for images of few pixels.
    pub stem: Stem,
    /// The column of images: bytes, or lists of numbers from 0 to 255, channels first.
    pub image: String,
    /// Height and width of an image.
    #[schemars(range(min = 1, max = 65536))]
    pub image_size: [u32; 2],
    /// The mean of each channel, where 1 is white.
    pub image_mean: Vec<f32>,
    /// The standard deviation of each channel.
    pub image_std: Vec<f32>,
    /// The column with the class's number, from 0.
    pub label: String,
    /// How far the target distribution is pulled towards uniform in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub label_smoothing: f32,
    /// Fields of `config.json` that say nothing about what is computed here.
    #[serde(flatten)]
    pub others: Others,
}

impl Default for Config {
    /// Small sizes for small images.
    fn default() -> Self {
        Self {
            architectures: vec![],
            model_type: None,
            num_channels: 3,
            embedding_size: 16,
            hidden_sizes: vec![16, 32, 64],
            depths: vec![2, 2, 2],
            layer_type: LayerType::Basic,
            hidden_act: "relu".into(),
            downsample_in_first_stage: false,
            downsample_in_bottleneck: false,
            id2label: None,
            num_labels: None,
            stem: Stem::Photograph,
            image: "image".into(),
            image_size: [224, 224],
            image_mean: vec![0.5],
            image_std: vec![0.5],
            label: "label".into(),
            label_smoothing: 0.0,
            others: Others::default(),
        }
    }
}

/// What follows from a configuration, once it is known to fit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub(crate) activation: Activation,
    pub(crate) classes: u32,
    /// Of each channel: a pixel times the first plus the second is normalised.
    pub(crate) normalise: Vec<[f32; 2]>,
}

impl Config {
    /// What the schema cannot say.
    pub(crate) fn shape(&self) -> Result<Shape> {
        hub::architecture(
            &self.architectures,
            self.model_type.as_deref(),
            &[(Architecture::ResNetForImageClassification, "resnet")],
            Architecture::ResNetForImageClassification,
        )?;
        self.others
            .refuse(&[("quantization_config", "quantised weights")])?;
        if self.hidden_sizes.len() != self.depths.len() {
            return Err(Error::invalid(format!(
                "`hidden_sizes` names {} stages and `depths` {}: give one entry for each stage",
                self.hidden_sizes.len(),
                self.depths.len()
            )));
        }
        for (name, sizes) in [
            ("hidden_sizes", &self.hidden_sizes[..]),
            ("depths", &self.depths),
            ("image_size", &self.image_size),
        ] {
            if sizes.contains(&0) {
                return Err(Error::invalid(format!("`{name}` is at least 1 everywhere")));
            }
        }
        if self.layer_type == LayerType::Bottleneck {
            for width in &self.hidden_sizes {
                hub::divided(("hidden_sizes", *width), ("the bottleneck's reduction", 4))?;
            }
        }
        let shape = Shape {
            activation: Activation::named("hidden_act", &self.hidden_act)?,
            classes: hub::labels(self.id2label.as_ref(), self.num_labels)?,
            normalise: self.normalise()?,
        };
        self.others.report();
        Ok(shape)
    }

    /// (pixel / 255 − mean) / deviation, as one multiplication and one addition.
    fn normalise(&self) -> Result<Vec<[f32; 2]>> {
        let of = |name: &str, values: &[f32], channel: usize| {
            match values {
            [only] => Ok(*only),
            all => all.get(channel).copied().ok_or_else(|| {
                Error::invalid(format!(
                    "`{name}` has {} values for {} channels (`num_channels`): give one, or one for each",
                    all.len(),
                    self.num_channels
                ))
            }),
        }
        };
        (0..self.num_channels as usize)
            .map(|channel| {
                let mean = of("image_mean", &self.image_mean, channel)?;
                let deviation = of("image_std", &self.image_std, channel)?;
                if deviation <= 0.0 {
                    return Err(Error::invalid(format!(
                        "`image_std` is {deviation}, but must be more than 0"
                    )));
                }
                Ok([1.0 / (255.0 * deviation), -mean / deviation])
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shape(config: &str) -> Result<Shape> {
        serde_json::from_str::<Config>(config).unwrap().shape()
    }

    #[test]
    fn pixels_are_normalised_channel_by_channel() {
        let shape = shape(r#"{"image_mean": [0.5, 0.25, 0.0], "image_std": [0.5]}"#).unwrap();
        let at = |channel: usize, pixel: f32| {
            let [scale, shift] = shape.normalise[channel];
            pixel * scale + shift
        };
        assert!((at(0, 255.0) - 1.0).abs() < 1e-6 && (at(1, 0.0) + 0.5).abs() < 1e-6);
        assert!((at(2, 127.5) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_the_schema_cannot_say_is_checked() {
        let refused = |config: &str| shape(config).unwrap_err().to_string();
        assert!(refused(r#"{"depths": [1]}"#).contains("`depths` 1"));
        assert!(refused(r#"{"depths": [1, 0, 1]}"#).contains("`depths`"));
        assert!(refused(r#"{"image_std": [0.0]}"#).contains("`image_std`"));
        assert!(refused(r#"{"image_mean": [0.1, 0.2]}"#).contains("`image_mean` has 2 values"));
        assert!(refused(r#"{"hidden_act": "x"}"#).contains("`hidden_act`"));
        let narrow = r#"{"layer_type": "bottleneck", "hidden_sizes": [16, 30, 64]}"#;
        assert!(refused(narrow).contains("30"));
    }
}
