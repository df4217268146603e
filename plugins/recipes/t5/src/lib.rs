//! T5: an encoder-decoder whose attention knows distances, not places. Configuration and names are
//! those of the public checkpoints of `T5ForConditionalGeneration`, 1.0 and 1.1.

mod block;
mod config;
mod distance;

use tenon_sdk::{
    Context, Recipe, Result,
    recipe::{
        Generation, Init, Input, LinearOptions, Losses, ParameterGroup, Pass, PieceConfig, Scope,
        Signature, Tensors, classification, pieces, stop_tokens,
    },
    tensor::Tensor,
};

pub use config::Config;
use config::Shape;

/// The sequences that are read and written.
const SOURCE: &str = "source";
const TARGET: &str = "target";

/// The model.
pub struct T5 {
    config: Config,
    shape: Shape,
}

/// One of the two stacks of blocks.
struct Stack {
    scope: Scope,
    /// The sequence input that it runs over.
    input: &'static str,
    layers: u32,
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
    const NAME: &'static str = "tenon/t5";
    const SUMMARY: &'static str = "T5: an encoder-decoder that answers one text with another and knows distances, not places.";
    type Config = Config;

    fn open(config: Config, vocabulary: u32) -> Result<Self> {
        let shape = config.shape(vocabulary)?;
        Ok(Self { config, shape })
    }

    fn signature(&self) -> Signature {
        let config = &self.config;
        let sequence = |name: &str, list: &[PieceConfig], longest: u32| {
            let input = Input::sequence(name, pieces(list), Some(longest));
            if config.packing {
                input.packable()
            } else {
                input
            }
        };
        Signature::new([
            sequence(SOURCE, &config.source, config.source_length),
            sequence(TARGET, &config.target, config.target_length),
            Input::next_tokens("labels", TARGET),
        ])
        .generates(Generation {
            sequence: TARGET.into(),
            logits: "logits".into(),
            stop: stop_tokens(&config.target),
            max_length: Some(config.target_length),
        })
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        vec![ParameterGroup::without_decay(r"layer_norm\.weight$")]
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let memory = match inputs.find(SOURCE) {
            Some(ids) => {
                let encoder = Stack {
                    scope: scope.child("encoder"),
                    input: SOURCE,
                    layers: self.config.num_layers,
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
            input: TARGET,
            layers: self.shape.decoder_layers,
            slot: self.config.num_layers,
            causal: true,
            memory: Some(memory),
        };
        let x = self.run(scope, pass, inputs.get(TARGET)?, &decoder)?;
        let mut x = pass.wanted(&x, TARGET)?;
        if self.shape.scaled {
            // The embedding's values are that much larger than an output layer's.
            x = x * f64::from(self.config.d_model).powf(-0.5);
        }
        let head = if self.config.tie_word_embeddings {
            "shared"
        } else {
            "lm_head"
        };
        let logits = scope.linear(head, &x, self.shape.vocabulary, self.linear(1.0))?;
        Ok(Tensors::new().with("logits", logits))
    }

    fn loss(&self, pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        let (logits, labels) = (outputs.get("logits")?, inputs.get("labels")?);
        classification(pass, logits, labels, self.config.label_smoothing)
    }
}

impl T5 {
    /// ids int64 [batch, tokens] → states [batch, tokens, d-model].
    fn run(&self, root: &Scope, pass: &Pass, ids: &Tensor, stack: &Stack) -> Result<Tensor> {
        let config = &self.config;
        let init = Init::Normal(config.initializer_factor);
        let words = root.embedding("shared", ids, self.shape.vocabulary, config.d_model, init)?;
        let mut x = pass.dropout(&words, config.dropout_rate)?;
        let distances = self.distances(pass, stack)?;
        for layer in 0..stack.layers {
            x = self
                .block(pass, &x, stack, layer, &distances)
                .with_context(|| format!("block {layer} over {:?}", stack.input))?;
        }
        let x = stack
            .scope
            .rms_norm("final_layer_norm", &x, config.layer_norm_epsilon)?;
        Ok(pass.dropout(&x, config.dropout_rate)?)
    }

    /// What every distance between a query and a key adds to their score, [batch, heads, queries, keys]:
    /// learnt in the first block and used in all.
    fn distances(&self, pass: &Pass, stack: &Stack) -> Result<Tensor> {
        let config = &self.config;
        let buckets = config.relative_attention_num_buckets;
        let rule = distance::Rule {
            buckets,
            farthest: config.relative_attention_max_distance,
            causal: stack.causal,
        };
        let queries = pass.positions(stack.input)?;
        let kinds = distance::buckets(&queries, &pass.key_positions(stack.input)?, rule)?;
        let first = stack.scope.child("block.0.layer.0.SelfAttention");
        let deviation = config.initializer_factor * (config.d_model as f32).powf(-0.5);
        let init = Init::Normal(deviation);
        Ok(first
            .embedding(
                "relative_attention_bias",
                &kinds,
                buckets,
                config.num_heads,
                init,
            )?
            .permute(&[0, 3, 1, 2])?)
    }

    /// A layer without a bias, whose weights begin that large (times `initializer_factor`).
    fn linear(&self, deviation: f32) -> LinearOptions {
        LinearOptions::normal(self.config.initializer_factor * deviation).without_bias()
    }
}

tenon_sdk::export_recipe!(T5);
