//! Llama: rotary positions, grouped key heads, RMS norms and SwiGLU. Names are those of the public
//! checkpoints of `LlamaForCausalLM`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{
    Context, Error, Recipe, Result, function,
    recipe::{
        AttentionOptions, Generation, Init, Input, LinearOptions, Losses, ParameterGroup, Pass,
        Piece, PieceConfig, Scope, Signature, Tensors, accuracy, cross_entropy,
    },
    tensor::{RotaryStyle, Tensor},
};

/// The standard deviation of new weights.
const DEVIATION: f32 = 0.02;

/// Sizes of the model, and what its sequences are made of.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Transformer blocks.
    #[schemars(range(min = 1, max = 1000))]
    pub layers: u32,
    /// Width of the residual stream.
    #[schemars(range(min = 1, max = 65536))]
    pub width: u32,
    /// Width inside the feed-forward blocks.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub hidden: u32,
    /// Query heads.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: u32,
    /// Key and value heads; they divide the query heads.
    #[schemars(range(min = 1, max = 1024))]
    pub kv_heads: u32,
    /// The longest sequence in tokens.
    #[schemars(range(min = 2, max = 16_777_216))]
    pub context: u32,
    /// The base of the rotary frequencies.
    pub rope_base: f64,
    /// How a longer context was reached, as Llama 3.1 does.
    pub rope_scaling: Option<RopeScaling>,
    /// Added to the mean square.
    pub norm_epsilon: f32,
    /// Whether the output layer is the embedding.
    pub tied: bool,
    /// What a sequence is made of; the learnt pieces count in the loss and are generated.
    #[schemars(length(min = 1))]
    pub sequence: Vec<PieceConfig>,
    /// Whether several short documents may share a row in training.
    pub packing: bool,
}

/// Llama 3.1's stretching of slow frequencies.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RopeScaling {
    /// How many times slower the slow ones turn.
    pub factor: f64,
    /// Waves longer than the old context by this divisor are slow.
    pub low_frequency_factor: f64,
    /// Waves shorter than the old context by this divisor stay as they are.
    pub high_frequency_factor: f64,
    /// The old context.
    pub original_context: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            layers: 4,
            width: 256,
            hidden: 688,
            heads: 8,
            kv_heads: 4,
            context: 1024,
            rope_base: 10_000.0,
            rope_scaling: None,
            norm_epsilon: 1e-5,
            tied: false,
            sequence: vec![
                PieceConfig::Special {
                    special: "<bos>".into(),
                    learnt: false,
                },
                PieceConfig::Column {
                    column: "text".into(),
                    learnt: true,
                },
                PieceConfig::Special {
                    special: "<eos>".into(),
                    learnt: true,
                },
            ],
            packing: true,
        }
    }
}

/// The model.
pub struct Llama {
    config: Config,
    vocabulary: u32,
}

impl Recipe for Llama {
    const NAME: &'static str = "sketch/llama";
    const SUMMARY: &'static str =
        "Llama: a decoder-only language model with rotary positions and grouped key heads.";
    type Config = Config;

    fn open(config: Config, vocabulary: u32) -> Result<Self> {
        let Config {
            width,
            heads,
            kv_heads,
            ..
        } = config;
        if vocabulary == 0 {
            return Err(Error::invalid(
                "a language model needs a tokenizer: give the job one",
            ));
        }
        if !width.is_multiple_of(heads) || !(width / heads).is_multiple_of(2) {
            return Err(Error::invalid(format!(
                "`width` ({width}) must be an even multiple of `heads` ({heads}): rotary positions turn pairs"
            )));
        }
        if !heads.is_multiple_of(kv_heads) {
            return Err(Error::invalid(format!(
                "`kv_heads` ({kv_heads}) must divide `heads` ({heads})"
            )));
        }
        Ok(Self { config, vocabulary })
    }

    fn signature(&self) -> Signature {
        let pieces: Vec<Piece> = self.config.sequence.iter().map(Piece::from).collect();
        let mut ids = Input::sequence("ids", pieces, Some(self.config.context));
        if self.config.packing {
            ids = ids.packable();
        }
        let stop = self.config.sequence.iter().filter_map(|piece| match piece {
            PieceConfig::Special {
                special,
                learnt: true,
            } => Some(special.clone()),
            _ => None,
        });
        Signature::new([ids, Input::next_tokens("labels", "ids")]).generates(Generation {
            sequence: "ids".into(),
            logits: "logits".into(),
            stop: stop.collect(),
            max_length: Some(self.config.context),
        })
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        vec![ParameterGroup::without_decay(r"norm\.weight$")]
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let config = &self.config;
        let model = scope.child("model");
        let ids = inputs.get("ids")?;
        let mut x = model.embedding(
            "embed_tokens",
            ids,
            self.vocabulary,
            config.width,
            Init::Normal(DEVIATION),
        )?;
        let places = Places {
            positions: pass.positions("ids")?,
            frequencies: self.frequencies()?,
        };
        for layer in 0..config.layers {
            x = self
                .block(&model.item("layers", layer), pass, &x, layer, &places)
                .with_context(|| format!("layer {layer} of the model"))?;
        }
        let x = model.rms_norm("norm", &pass.wanted(&x, "ids")?, config.norm_epsilon)?;
        let (head, name) = if config.tied {
            (&model, "embed_tokens")
        } else {
            (scope, "lm_head")
        };
        Ok(Tensors::new().with("logits", head.linear(name, &x, self.vocabulary, plain())?))
    }

    fn loss(&self, pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        let (logits, labels) = (outputs.get("logits")?, inputs.get("labels")?);
        let losses = cross_entropy(logits, labels, 0.0)?;
        if pass.is_training() {
            return Ok(losses);
        }
        let accuracy = accuracy(logits, labels, &losses.weight)?;
        Ok(losses.metric("accuracy", accuracy))
    }
}

/// Where the tokens stand, and how fast each pair of a head turns from one to the next.
struct Places {
    positions: Tensor,
    frequencies: Tensor,
}

impl Llama {
    fn block(
        &self,
        scope: &Scope,
        pass: &Pass,
        x: &Tensor,
        layer: u32,
        places: &Places,
    ) -> Result<Tensor> {
        let epsilon = self.config.norm_epsilon;
        let normed = scope.rms_norm("input_layernorm", x, epsilon)?;
        let attended = self
            .attention(&scope.child("self_attn"), pass, &normed, layer, places)
            .context(function!())?;
        let x = x + attended;
        let normed = scope.rms_norm("post_attention_layernorm", &x, epsilon)?;
        let fed = self
            .feed_forward(&scope.child("mlp"), &normed)
            .context(function!())?;
        Ok(x + fed)
    }

    fn attention(
        &self,
        scope: &Scope,
        pass: &Pass,
        x: &Tensor,
        layer: u32,
        places: &Places,
    ) -> Result<Tensor> {
        let Config {
            width,
            heads,
            kv_heads,
            ..
        } = self.config;
        let dim = width / heads;
        let project = |name: &str, heads: u32| {
            scope
                .linear(name, x, heads * dim, plain())?
                .split_heads(heads)
        };
        let turned =
            |x: Tensor| x.rotary(&places.positions, &places.frequencies, RotaryStyle::Half);
        let q = turned(project("q_proj", heads)?)?;
        let k = turned(project("k_proj", kv_heads)?)?;
        let v = project("v_proj", kv_heads)?;
        let options = AttentionOptions::causal(layer, "ids");
        let mixed = pass
            .attention(&q, Some(&k), Some(&v), None, &options)?
            .merge_heads()?;
        Ok(scope.linear("o_proj", &mixed, width, plain())?)
    }

    fn feed_forward(&self, scope: &Scope, x: &Tensor) -> Result<Tensor> {
        let Config { width, hidden, .. } = self.config;
        let gate = scope.linear("gate_proj", x, hidden, plain())?;
        let up = scope.linear("up_proj", x, hidden, plain())?;
        Ok(scope.linear("down_proj", &gate.silu_mul(&up)?, width, plain())?)
    }

    fn frequencies(&self) -> Result<Tensor> {
        let pairs = self.config.width / self.config.heads / 2;
        let values: Vec<f32> = (0..pairs)
            .map(|pair| {
                let frequency = self
                    .config
                    .rope_base
                    .powf(-f64::from(pair) / f64::from(pairs));
                self.config
                    .rope_scaling
                    .map_or(frequency, |scaling| scaling.stretch(frequency)) as f32
            })
            .collect();
        Tensor::from_f32s(&[pairs], &values)
    }
}

impl RopeScaling {
    /// Fast frequencies stay, slow ones become slower, those between are blended.
    fn stretch(self, frequency: f64) -> f64 {
        let waves = self.original_context * frequency / std::f64::consts::TAU;
        let (low, high) = (self.low_frequency_factor, self.high_frequency_factor);
        let kept = ((waves - low) / (high - low)).clamp(0.0, 1.0);
        frequency * (kept + (1.0 - kept) / self.factor)
    }
}

fn plain() -> LinearOptions {
    LinearOptions::normal(DEVIATION).without_bias()
}

tenon_sdk::export_recipe!(Llama);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_frequencies_are_stretched() {
        let scaling = RopeScaling {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context: 8192.0,
        };
        assert_eq!(scaling.stretch(1.0), 1.0);
        assert_eq!(scaling.stretch(1e-5), 1e-5 / 8.0);
        // Two and a half waves lie in the middle.
        let middle = 2.5 * std::f64::consts::TAU / 8192.0;
        assert!((scaling.stretch(middle) / middle - (0.5 + 0.5 / 8.0)).abs() < 1e-12);
    }
}
