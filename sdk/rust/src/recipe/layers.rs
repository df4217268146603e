//! Shorthands for the named layers and for attention.

use super::{
    AttentionKind, AttentionOptions, ConvLayerOptions, Init, LinearOptions, NormKind, Pass, Scope,
    Stage, WeightLayout,
};
use crate::{
    Result,
    tensor::{ConvOptions, Tensor},
};

/// PyTorch's Linear: [out, in], with a bias.
impl Default for LinearOptions {
    fn default() -> Self {
        Self {
            bias: true,
            layout: WeightLayout::OutIn,
            weight_init: Init::Kaiming,
            bias_init: Init::Zeros,
        }
    }
}

impl LinearOptions {
    /// Weights from a normal distribution of this standard deviation.
    pub fn normal(deviation: f32) -> Self {
        Self {
            weight_init: Init::Normal(deviation),
            ..Self::default()
        }
    }

    /// Without a bias.
    #[must_use]
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// [in, out], as GPT-2's Conv1D.
    #[must_use]
    pub fn in_out(mut self) -> Self {
        self.layout = WeightLayout::InOut;
        self
    }
}

/// PyTorch's layer around a convolution: with a bias.
impl From<ConvOptions> for ConvLayerOptions {
    fn from(conv: ConvOptions) -> Self {
        Self {
            conv,
            bias: true,
            weight_init: Init::Kaiming,
            bias_init: Init::Kaiming,
        }
    }
}

impl ConvLayerOptions {
    /// Without a bias.
    #[must_use]
    pub fn without_bias(mut self) -> Self {
        self.bias = false;
        self
    }

    /// Weights from a normal distribution of this standard deviation.
    #[must_use]
    pub fn normal(mut self, deviation: f32) -> Self {
        self.weight_init = Init::Normal(deviation);
        self
    }
}

/// Shorthands.
#[allow(clippy::missing_errors_doc, reason = "those of the layers themselves")]
impl Scope {
    /// `NAME.INDEX`: one of a list of layers.
    pub fn item(&self, name: &str, index: u32) -> Self {
        self.child(&format!("{name}.{index}"))
    }

    /// Layer normalisation over the last dimension, with weight and bias.
    #[track_caller]
    pub fn layer_norm(&self, name: &str, x: &Tensor, eps: f32) -> Result<Tensor> {
        Ok(self.norm(name, x, NormKind::Layer, eps, true)?)
    }

    /// Root-mean-square normalisation over the last dimension, with a weight.
    #[track_caller]
    pub fn rms_norm(&self, name: &str, x: &Tensor, eps: f32) -> Result<Tensor> {
        Ok(self.norm(name, x, NormKind::Rms, eps, false)?)
    }
}

impl Pass {
    /// Whether this pass trains.
    pub fn is_training(&self) -> bool {
        self.stage() == Stage::Train
    }
}

impl AttentionOptions {
    /// Every token sees itself and those before it.
    pub fn causal(layer: u32, input: &str) -> Self {
        Self::of(AttentionKind::Causal, layer, input, input)
    }

    /// Every token sees all of its document.
    pub fn bidirectional(layer: u32, input: &str) -> Self {
        Self::of(AttentionKind::Bidirectional, layer, input, input)
    }

    /// The tokens of `queries` see those of `keys`.
    pub fn cross(layer: u32, queries: &str, keys: &str) -> Self {
        Self::of(AttentionKind::Cross, layer, queries, keys)
    }

    /// Dropout of the attention weights in training.
    #[must_use]
    pub fn dropout(mut self, p: f32) -> Self {
        self.dropout = p;
        self
    }

    /// Times the scores; 1/√head-dim where nothing is said.
    #[must_use]
    pub fn scale(mut self, scale: f32) -> Self {
        self.scale = Some(scale);
        self
    }

    fn of(kind: AttentionKind, layer: u32, queries: &str, keys: &str) -> Self {
        Self {
            layer,
            kind,
            queries: queries.to_owned(),
            keys: keys.to_owned(),
            scale: None,
            window: None,
            dropout: 0.0,
        }
    }
}

/// Heads: [batch, tokens, heads · head-dim] to [batch, tokens, heads, head-dim] and back.
#[allow(clippy::missing_errors_doc, reason = "those of reshape")]
impl Tensor {
    /// Parts the last dimension into heads.
    #[track_caller]
    pub fn split_heads(&self, heads: u32) -> Result<Self> {
        let shape = self.shape();
        let [batch, tokens, width] = shape[..] else {
            return Err(crate::Error::invalid(format!(
                "split_heads: [batch, tokens, width] is needed, not {shape:?}"
            )));
        };
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(crate::Error::invalid(format!(
                "split_heads: width {width} has no {heads} equal parts"
            )));
        }
        Ok(self.reshape(&[
            i64::from(batch),
            i64::from(tokens),
            i64::from(heads),
            i64::from(width / heads),
        ])?)
    }

    /// Joins the last two dimensions.
    #[track_caller]
    pub fn merge_heads(&self) -> Result<Self> {
        let shape = self.shape();
        let [batch, tokens, heads, dim] = shape[..] else {
            return Err(crate::Error::invalid(format!(
                "merge_heads: four dimensions are needed, not {shape:?}"
            )));
        };
        Ok(self.reshape(&[i64::from(batch), i64::from(tokens), i64::from(heads * dim)])?)
    }
}
