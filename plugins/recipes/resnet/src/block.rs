//! Residual blocks: convolutions whose result is added to the way around them.

use tenon_sdk::{
    Result,
    recipe::{ConvLayerOptions, Scope},
    tensor::{ConvOptions, Tensor},
};

use crate::{ResNet, config::LayerType};

/// How fast running statistics follow, and what is added to the variance: PyTorch's.
const MOMENTUM: f32 = 0.1;
const EPSILON: f32 = 1e-5;
/// How many times narrower a bottleneck is.
const REDUCTION: u32 = 4;

impl ResNet {
    /// x [batch, channels, height, width] → [batch, width, height / stride, width / stride].
    pub(crate) fn block(
        &self,
        scope: &Scope,
        x: &Tensor,
        width: u32,
        stride: u32,
    ) -> Result<Tensor> {
        let inside = scope.child("layer");
        let convolution = |at: u32, x: &Tensor, width: u32, size: u32, stride: u32| {
            normed(&inside.child(&at.to_string()), x, width, size, stride)
        };
        let y = match self.config.layer_type {
            LayerType::Basic => {
                let y = convolution(0, x, width, 3, stride)?.relu()?;
                convolution(1, &y, width, 3, 1)?
            }
            LayerType::Bottleneck => {
                let narrow = width / REDUCTION;
                let strides = if self.config.downsample_in_bottleneck {
                    [stride, 1]
                } else {
                    [1, stride]
                };
                let y = convolution(0, x, narrow, 1, strides[0])?.relu()?;
                let y = convolution(1, &y, narrow, 3, strides[1])?.relu()?;
                convolution(2, &y, width, 1, 1)?
            }
        };
        // Where the shape changes, the way around needs a convolution too.
        let around = if stride == 1 && x.size(1) == width {
            x.clone()
        } else {
            normed(&scope.child("shortcut"), x, width, 1, stride)?
        };
        self.shape.activation.apply(&(y + around))
    }
}

/// A convolution that keeps the size (but for the stride), and batch normalisation.
pub(crate) fn normed(
    scope: &Scope,
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
    let x = scope.conv("convolution", x, width, &[size, size], &layer)?;
    Ok(scope.batch_norm("normalization", &x, MOMENTUM, EPSILON)?)
}
