//! A residual network over images (He et al. 2015), for classes. Configuration and names are those of
//! the public checkpoints of `ResNetForImageClassification`.

mod block;
mod config;

use tenon_sdk::{
    Context, Recipe, Result,
    recipe::{
        Input, LinearOptions, Losses, ParameterGroup, Pass, Scope, Signature, Tensors,
        classification,
    },
    tensor::{DType, PoolOptions, Tensor},
};

pub use config::Config;
use config::{Shape, Stem};

/// The network.
pub struct ResNet {
    config: Config,
    shape: Shape,
}

impl Recipe for ResNet {
    const NAME: &'static str = "tenon/resnet";
    const SUMMARY: &'static str = "ResNet: a residual network that tells classes of images apart, from digits to photographs.";
    type Config = Config;

    fn open(config: Config, _vocabulary: u32) -> Result<Self> {
        let shape = config.shape()?;
        Ok(Self { config, shape })
    }

    fn signature(&self) -> Signature {
        let config = &self.config;
        let [height, width] = config.image_size;
        let shape = vec![config.num_channels, height, width];
        Signature::new([
            Input::fixed("image", &config.image, shape, DType::Uint8),
            Input::fixed("labels", &config.label, vec![], DType::Int64).learnt(),
        ])
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        vec![ParameterGroup::without_decay(
            r"(\.bias|normalization\.weight)$",
        )]
    }

    fn forward(&self, scope: &Scope, _pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let config = &self.config;
        let resnet = scope.child("resnet");
        let image = self.normalised(inputs.get("image")?)?;
        let mut x = self.stem(&resnet.child("embedder"), &image)?;
        let stages = config.hidden_sizes.iter().zip(&config.depths);
        for (stage, (width, depth)) in stages.enumerate() {
            for layer in 0..*depth {
                let halves = layer == 0 && (stage > 0 || config.downsample_in_first_stage);
                let name = format!("encoder.stages.{stage}.layers.{layer}");
                let stride = if halves { 2 } else { 1 };
                x = self
                    .block(&resnet.child(&name), &x, *width, stride)
                    .with_context(|| name)?;
            }
        }
        let pooled = x.mean(&[2, 3], false)?;
        // The layer before it in the checkpoints flattens, and has no weights.
        let classifier = scope.child("classifier");
        let logits =
            classifier.linear("1", &pooled, self.shape.classes, LinearOptions::default())?;
        Ok(Tensors::new().with("logits", logits))
    }

    fn loss(&self, pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        let (logits, labels) = (outputs.get("logits")?, inputs.get("labels")?);
        classification(pass, logits, labels, self.config.label_smoothing)
    }
}

impl ResNet {
    /// Pixels uint8 [batch, channels, height, width] → numbers around 0.
    fn normalised(&self, image: &Tensor) -> Result<Tensor> {
        let channels = self.config.num_channels;
        let of = |part: usize| {
            let values: Vec<f32> = self.shape.normalise.iter().map(|pair| pair[part]).collect();
            Tensor::from_f32s(&[channels, 1, 1], &values)
        };
        Ok(image.cast(DType::Float32)? * of(0)? + of(1)?)
    }

    /// The first convolution.
    fn stem(&self, scope: &Scope, image: &Tensor) -> Result<Tensor> {
        let width = self.config.embedding_size;
        let scope = scope.child("embedder");
        let (size, stride) = match self.config.stem {
            Stem::Photograph => (7, 2),
            Stem::Small => (3, 1),
        };
        let x = block::normed(&scope, image, width, size, stride)?;
        let x = self.shape.activation.apply(&x)?;
        if self.config.stem == Stem::Small {
            return Ok(x);
        }
        Ok(x.max_pool2d(&PoolOptions {
            kernel: vec![3, 3],
            stride: vec![2, 2],
            padding: vec![1, 1],
        })?)
    }
}

tenon_sdk::export_recipe!(ResNet);
