//! Llama and its relatives: rotary positions, grouped key heads, RMS norms and gated feed-forward
//! blocks. Configuration and names are those of the public checkpoints of `LlamaForCausalLM`,
//! `MistralForCausalLM`, `Qwen2ForCausalLM` and `Qwen3ForCausalLM`.

mod block;
mod config;
mod rope;
mod shape;

use tenon_sdk::{
    Context, Recipe, Result,
    recipe::{
        Generation, Init, Input, LinearOptions, Losses, ParameterGroup, Pass, Scope, Signature,
        Tensors, classification, pieces, stop_tokens,
    },
    tensor::Tensor,
};

use block::Places;
pub use config::Config;
use shape::Shape;

/// The model.
pub struct Llama {
    config: Config,
    shape: Shape,
}

impl Recipe for Llama {
    const NAME: &'static str = "tenon/llama";
    const SUMMARY: &'static str = "Llama, Mistral, Qwen 2 and Qwen 3: decoder-only language models with rotary positions and grouped key heads.";
    type Config = Config;

    fn open(config: Config, vocabulary: u32) -> Result<Self> {
        let shape = Shape::new(&config, vocabulary)?;
        Ok(Self { config, shape })
    }

    fn signature(&self) -> Signature {
        let longest = Some(self.config.max_position_embeddings);
        let mut ids = Input::sequence("ids", pieces(&self.config.sequence), longest);
        if self.config.packing {
            ids = ids.packable();
        }
        Signature::new([ids, Input::next_tokens("labels", "ids")]).generates(Generation {
            sequence: "ids".into(),
            logits: "logits".into(),
            stop: stop_tokens(&self.config.sequence),
            max_length: longest,
        })
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        vec![ParameterGroup::without_decay(r"(norm\.weight|\.bias)$")]
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let (config, vocabulary) = (&self.config, self.shape.vocabulary);
        let model = scope.child("model");
        let init = Init::Normal(config.initializer_range);
        let ids = inputs.get("ids")?;
        let mut x = model.embedding("embed_tokens", ids, vocabulary, config.hidden_size, init)?;
        let frequencies = &self.shape.rope.frequencies;
        let places = Places {
            positions: pass.positions("ids")?,
            frequencies: Tensor::from_f32s(&[frequencies.len() as u32], frequencies)?,
        };
        for layer in 0..config.num_hidden_layers {
            x = self
                .block(&model.item("layers", layer), pass, &x, layer, &places)
                .with_context(|| format!("layer {layer} of the model"))?;
        }
        let x = model.rms_norm("norm", &pass.wanted(&x, "ids")?, config.rms_norm_eps)?;
        let (head, name) = if config.tie_word_embeddings {
            (&model, "embed_tokens")
        } else {
            (scope, "lm_head")
        };
        let logits = head.linear(name, &x, vocabulary, self.linear(false))?;
        Ok(Tensors::new().with("logits", logits))
    }

    fn loss(&self, pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        let (logits, labels) = (outputs.get("logits")?, inputs.get("labels")?);
        classification(pass, logits, labels, self.config.label_smoothing)
    }
}

impl Llama {
    fn linear(&self, bias: bool) -> LinearOptions {
        LinearOptions {
            bias,
            ..LinearOptions::normal(self.config.initializer_range)
        }
    }
}

tenon_sdk::export_recipe!(Llama);
