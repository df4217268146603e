//! T5: an encoder-decoder whose attention knows distances, not places. Names are those of the public
//! checkpoints of `T5ForConditionalGeneration`, 1.0 and 1.1.

mod distance;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tenon_sdk::{
    Context, Error, Recipe, Result,
    recipe::{
        AttentionOptions, Generation, Init, Input, LinearOptions, Losses, ParameterGroup, Pass,
        Piece, Scope, Signature, Tensors, accuracy, cross_entropy,
    },
    tensor::Tensor,
};

const EPSILON: f32 = 1e-6;

/// Sizes of the model, and what it reads and writes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// Blocks of the encoder, and of the decoder.
    #[schemars(range(min = 1, max = 1000))]
    pub layers: u32,
    /// Width of the residual stream.
    #[schemars(range(min = 1, max = 65536))]
    pub width: u32,
    /// Width inside the feed-forward blocks.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub hidden: u32,
    /// Attention heads.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: u32,
    /// Width of a head.
    #[schemars(range(min = 1, max = 1024))]
    pub head_width: u32,
    /// Kinds of distance that are told apart; a multiple of 4.
    #[schemars(range(min = 4, max = 1024))]
    pub buckets: u32,
    /// Everything farther away is one kind.
    #[schemars(range(min = 2, max = 65536))]
    pub farthest: u32,
    /// T5 1.1: gated feed-forward blocks, and an output layer of its own.
    pub gated: bool,
    /// Dropout in training.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub dropout: f32,
    /// The column that is read.
    pub source: String,
    /// The column that is written.
    pub target: String,
    /// The longest source and target, in tokens.
    #[schemars(range(min = 2, max = 65536))]
    pub context: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            layers: 4,
            width: 256,
            hidden: 512,
            heads: 4,
            head_width: 64,
            buckets: 32,
            farthest: 128,
            gated: false,
            dropout: 0.1,
            source: "source".into(),
            target: "target".into(),
            context: 512,
        }
    }
}

/// The model.
pub struct T5 {
    config: Config,
    vocabulary: u32,
}

/// One of the two stacks of blocks.
struct Stack {
    scope: Scope,
    /// The sequence input that it runs over.
    input: &'static str,
    /// The first of its slots in the cache.
    slot: u32,
    causal: bool,
    /// What it takes from the encoder; nothing in the encoder itself.
    memory: Option<Memory>,
}

/// What the decoder takes from the encoder.
enum Memory {
    /// The encoder has just run.
    Fresh(Tensor),
    /// Its keys are in the cache since the first pass.
    Cached,
}

impl Recipe for T5 {
    const NAME: &'static str = "sketch/t5";
    const SUMMARY: &'static str =
        "T5: an encoder-decoder whose attention knows distances, not places.";
    type Config = Config;

    fn open(config: Config, vocabulary: u32) -> Result<Self> {
        if vocabulary == 0 {
            return Err(Error::invalid(
                "a language model needs a tokenizer: give the job one",
            ));
        }
        if !config.buckets.is_multiple_of(4) || config.farthest <= config.buckets / 2 {
            return Err(Error::invalid(format!(
                "`buckets` ({}) must be a multiple of 4, and `farthest` ({}) more than half of it",
                config.buckets, config.farthest
            )));
        }
        Ok(Self { config, vocabulary })
    }

    fn signature(&self) -> Signature {
        let config = &self.config;
        let source = vec![Piece::column(&config.source), Piece::special("</s>")];
        let target = vec![
            Piece::special("<pad>"),
            Piece::column(&config.target).learnt(),
            Piece::special("</s>").learnt(),
        ];
        Signature::new([
            Input::sequence("source", source, Some(config.context)).packable(),
            Input::sequence("target", target, Some(config.context)).packable(),
            Input::next_tokens("labels", "target"),
        ])
        .generates(Generation {
            sequence: "target".into(),
            logits: "logits".into(),
            stop: vec!["</s>".into()],
            max_length: Some(config.context),
        })
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        vec![ParameterGroup::without_decay(r"layer_norm\.weight$")]
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let memory = match inputs.find("source") {
            Some(ids) => {
                let encoder = Stack {
                    scope: scope.child("encoder"),
                    input: "source",
                    slot: 0,
                    causal: false,
                    memory: None,
                };
                Memory::Fresh(self.run(scope, pass, ids, &encoder)?)
            }
            None => Memory::Cached,
        };
        let decoder = Stack {
            scope: scope.child("decoder"),
            input: "target",
            slot: self.config.layers,
            causal: true,
            memory: Some(memory),
        };
        let x = self.run(scope, pass, inputs.get("target")?, &decoder)?;
        let x = pass.wanted(&x, "target")?;
        let width = f64::from(self.config.width);
        let logits = if self.config.gated {
            scope.linear("lm_head", &x, self.vocabulary, plain(1.0))?
        } else {
            // The embedding, whose values are that much larger than an output layer's.
            scope.linear(
                "shared",
                &x.mul_scalar(width.powf(-0.5))?,
                self.vocabulary,
                plain(1.0),
            )?
        };
        Ok(Tensors::new().with("logits", logits))
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

impl T5 {
    fn run(&self, root: &Scope, pass: &Pass, ids: &Tensor, stack: &Stack) -> Result<Tensor> {
        let Config {
            layers,
            width,
            dropout,
            ..
        } = self.config;
        let words = root.embedding("shared", ids, self.vocabulary, width, Init::Normal(1.0))?;
        let mut x = pass.dropout(&words, dropout)?;
        let distances = self.distances(pass, stack)?;
        for layer in 0..layers {
            x = self
                .block(
                    &stack.scope.item("block", layer),
                    pass,
                    &x,
                    stack,
                    layer,
                    &distances,
                )
                .with_context(|| format!("block {layer} over {:?}", stack.input))?;
        }
        let x = stack.scope.rms_norm("final_layer_norm", &x, EPSILON)?;
        Ok(pass.dropout(&x, dropout)?)
    }

    /// What every distance between a query and a key adds to their score, [batch, heads, queries, keys]:
    /// learnt in the first block and used in all.
    fn distances(&self, pass: &Pass, stack: &Stack) -> Result<Tensor> {
        let Config {
            buckets,
            farthest,
            heads,
            width,
            ..
        } = self.config;
        let kinds = distance::buckets(
            &pass.positions(stack.input)?,
            &pass.key_positions(stack.input)?,
            distance::Rule {
                buckets,
                farthest,
                causal: stack.causal,
            },
        )?;
        let first = stack.scope.child("block.0.layer.0.SelfAttention");
        let init = Init::Normal((width as f32).powf(-0.5));
        Ok(first
            .embedding("relative_attention_bias", &kinds, buckets, heads, init)?
            .permute(&[0, 3, 1, 2])?)
    }

    fn block(
        &self,
        scope: &Scope,
        pass: &Pass,
        x: &Tensor,
        stack: &Stack,
        layer: u32,
        distances: &Tensor,
    ) -> Result<Tensor> {
        // Slots of the cache: one for each attention of the model.
        let slot = stack.slot
            + if stack.memory.is_some() {
                2 * layer
            } else {
                layer
            };
        let mut options = match stack.causal {
            true => AttentionOptions::causal(slot, stack.input),
            false => AttentionOptions::bidirectional(slot, stack.input),
        };
        let mut part = 0;
        let own = scope.item("layer", part);
        let normed = own.rms_norm("layer_norm", x, EPSILON)?;
        let mixed = self.attention(
            &own.child("SelfAttention"),
            pass,
            &normed,
            Some(&normed),
            Some(distances),
            options,
        )?;
        let mut x = x + mixed;
        if let Some(memory) = &stack.memory {
            part += 1;
            let cross = scope.item("layer", part);
            let normed = cross.rms_norm("layer_norm", &x, EPSILON)?;
            let memory = match memory {
                Memory::Fresh(states) => Some(states),
                Memory::Cached => None,
            };
            options = AttentionOptions::cross(slot + 1, stack.input, "source");
            x = x + self.attention(
                &cross.child("EncDecAttention"),
                pass,
                &normed,
                memory,
                None,
                options,
            )?;
        }
        let last = scope.item("layer", part + 1);
        let normed = last.rms_norm("layer_norm", &x, EPSILON)?;
        Ok(&x + self.feed_forward(&last.child("DenseReluDense"), pass, &normed)?)
    }

    /// From `x` to `keys`; nothing: to those in the cache.
    fn attention(
        &self,
        scope: &Scope,
        pass: &Pass,
        x: &Tensor,
        keys: Option<&Tensor>,
        distances: Option<&Tensor>,
        options: AttentionOptions,
    ) -> Result<Tensor> {
        let Config {
            width,
            heads,
            head_width,
            dropout,
            ..
        } = self.config;
        let inner = heads * head_width;
        let project = |name: &str, x: &Tensor, init: f32| {
            scope
                .linear(name, x, inner, plain(init.powf(-0.5)))?
                .split_heads(heads)
        };
        let q = project("q", x, (width * head_width) as f32)?;
        let k = keys.map(|x| project("k", x, width as f32)).transpose()?;
        let v = keys.map(|x| project("v", x, width as f32)).transpose()?;
        // Scores are not scaled: the weights begin that much smaller.
        let options = options.scale(1.0).dropout(dropout);
        let mixed = pass
            .attention(&q, k.as_ref(), v.as_ref(), distances, &options)?
            .merge_heads()?;
        let out = scope.linear("o", &mixed, width, plain((inner as f32).powf(-0.5)))?;
        Ok(pass.dropout(&out, dropout)?)
    }

    fn feed_forward(&self, scope: &Scope, pass: &Pass, x: &Tensor) -> Result<Tensor> {
        let Config {
            width,
            hidden,
            dropout,
            gated,
            ..
        } = self.config;
        let wide = |name: &str| scope.linear(name, x, hidden, plain((width as f32).powf(-0.5)));
        let inner = if gated {
            wide("wi_0")?.gelu(true)? * wide("wi_1")?
        } else {
            wide("wi")?.relu()?
        };
        let inner = pass.dropout(&inner, dropout)?;
        let out = scope.linear("wo", &inner, width, plain((hidden as f32).powf(-0.5)))?;
        Ok(pass.dropout(&out, dropout)?)
    }
}

fn plain(deviation: f32) -> LinearOptions {
    LinearOptions::normal(deviation).without_bias()
}

tenon_sdk::export_recipe!(T5);
