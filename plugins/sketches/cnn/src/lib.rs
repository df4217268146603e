//! A residual network over images (He et al. 2015), for classes. Names are those of torchvision's
//! checkpoints (`layer1.0.conv1.weight`, …).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{
    Context, Error, Recipe, Result,
    recipe::{
        ConvLayerOptions, Input, LinearOptions, Losses, ParameterGroup, Pass, Scope, Signature,
        Tensors, accuracy, cross_entropy,
    },
    tensor::{ConvOptions, DType, PoolOptions, Tensor},
};

const MOMENTUM: f32 = 0.1;
const EPSILON: f32 = 1e-5;

/// Sizes of the network, and what it reads.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The column of images: bytes, or lists of numbers from 0 to 255, channels first.
    pub image: String,
    /// Channels, height and width of an image.
    pub shape: [u32; 3],
    /// The column with the class's number, from 0.
    pub class: String,
    /// How many classes there are.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub classes: u32,
    /// The channels of each stage; every stage but the first halves height and width.
    #[schemars(length(min = 1, max = 8))]
    pub widths: Vec<u32>,
    /// Residual blocks in each stage.
    #[schemars(range(min = 1, max = 100))]
    pub blocks: u32,
    /// Begins as for large photographs: a wide convolution and a pooling, each halving the image.
    pub wide_stem: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            image: "image".into(),
            shape: [3, 32, 32],
            class: "class".into(),
            classes: 10,
            widths: vec![16, 32, 64],
            blocks: 2,
            wide_stem: false,
        }
    }
}

/// The network.
pub struct Cnn(Config);

impl Recipe for Cnn {
    const NAME: &'static str = "sketch/cnn";
    const SUMMARY: &'static str = "A residual network that tells classes of images apart.";
    type Config = Config;

    fn open(config: Config, _vocabulary: u32) -> Result<Self> {
        if config.shape.contains(&0) || config.widths.contains(&0) {
            return Err(Error::invalid(
                "`shape` and `widths` are at least 1 everywhere",
            ));
        }
        Ok(Self(config))
    }

    fn signature(&self) -> Signature {
        let config = &self.0;
        Signature::new([
            Input::fixed("image", &config.image, config.shape.to_vec(), DType::Uint8),
            Input::fixed("class", &config.class, vec![], DType::Int64).learnt(),
        ])
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        vec![ParameterGroup::without_decay(
            r"(\.bias|bn\d?\.weight|downsample\.1\.weight)$",
        )]
    }

    fn forward(&self, scope: &Scope, _pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let config = &self.0;
        let image = inputs.get("image")?.cast(DType::Float32)? / 127.5 - 1.0;
        let mut x = self.stem(scope, &image)?;
        for (stage, width) in config.widths.iter().enumerate() {
            for block in 0..config.blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                x = residual(&scope.child(&name), &x, *width, stride).with_context(|| name)?;
            }
        }
        let pooled = x.mean(&[2, 3], false)?;
        let logits = scope.linear("fc", &pooled, config.classes, LinearOptions::normal(0.01))?;
        Ok(Tensors::new().with("logits", logits))
    }

    fn loss(&self, _pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        let (logits, class) = (outputs.get("logits")?, inputs.get("class")?);
        let losses = cross_entropy(logits, class, 0.0)?;
        let accuracy = accuracy(logits, class, &losses.weight)?;
        Ok(losses.metric("accuracy", accuracy))
    }
}

impl Cnn {
    fn stem(&self, scope: &Scope, image: &Tensor) -> Result<Tensor> {
        let width = self.0.widths[0];
        if !self.0.wide_stem {
            return Ok(normed(scope, ["conv1", "bn1"], image, width, 3, 1)?.relu()?);
        }
        let x = normed(scope, ["conv1", "bn1"], image, width, 7, 2)?.relu()?;
        Ok(x.max_pool2d(&PoolOptions {
            kernel: vec![3, 3],
            stride: vec![2, 2],
            padding: vec![1, 1],
        })?)
    }
}

/// Two convolutions whose result is added to the way around them.
fn residual(scope: &Scope, x: &Tensor, width: u32, stride: u32) -> Result<Tensor> {
    let y = normed(scope, ["conv1", "bn1"], x, width, 3, stride)?.relu()?;
    let y = normed(scope, ["conv2", "bn2"], &y, width, 3, 1)?;
    // Where the shape changes, the way around needs a convolution too.
    let around = if stride == 1 && x.size(1) == width {
        x.clone()
    } else {
        normed(scope, ["downsample.0", "downsample.1"], x, width, 1, stride)?
    };
    Ok((y + around).relu()?)
}

/// A convolution that keeps the size (but for the stride), and batch normalisation.
fn normed(
    scope: &Scope,
    [conv, norm]: [&str; 2],
    x: &Tensor,
    width: u32,
    size: u32,
    stride: u32,
) -> Result<Tensor> {
    let options = ConvOptions::padded(2, size / 2).stride(stride);
    // He's initialisation, so that the signal is as strong behind a rectifier as before.
    let deviation = (2.0 / (width * size * size) as f32).sqrt();
    let layer = ConvLayerOptions::from(options)
        .without_bias()
        .normal(deviation);
    let x = scope.conv(conv, x, width, &[size, size], &layer)?;
    Ok(scope.batch_norm(norm, &x, MOMENTUM, EPSILON)?)
}

tenon_sdk::export_recipe!(Cnn);
