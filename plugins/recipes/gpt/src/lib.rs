//! GPT-2: a decoder-only language model. Configuration, parameter names and layouts are those of
//! GPT-2's public checkpoints, so those load without a mapping.

mod config;

use tenon_sdk::{
    Context, Recipe, Result, function,
    recipe::{
        AttentionOptions, Generation, Init, Input, LinearOptions, Losses, ParameterGroup, Pass,
        Scope, Signature, Tensors, classification, pieces, stop_tokens,
    },
    tensor::Tensor,
};

pub use config::Config;
use config::Sizes;

/// The model.
pub struct Gpt {
    config: Config,
    sizes: Sizes,
}

impl Recipe for Gpt {
    const NAME: &'static str = "tenon/gpt";
    const SUMMARY: &'static str =
        "GPT-2: a decoder-only language model, sized by its configuration.";
    type Config = Config;

    fn open(config: Config, vocabulary: u32) -> Result<Self> {
        let sizes = config.sizes(vocabulary)?;
        Ok(Self { config, sizes })
    }

    fn signature(&self) -> Signature {
        let longest = Some(self.config.n_positions);
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
        vec![ParameterGroup::without_decay(r"(\.bias|ln_\w+\.weight)$")]
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let (config, vocabulary) = (&self.config, self.sizes.vocabulary);
        let init = Init::Normal(config.initializer_range);
        let ids = inputs.get("ids")?;
        let tokens = scope.embedding("wte", ids, vocabulary, config.n_embd, init)?;
        let places = pass.positions("ids")?;
        let places = scope.embedding("wpe", &places, config.n_positions, config.n_embd, init)?;
        let mut x = pass.dropout(&(tokens + places), config.embd_pdrop)?;
        for layer in 0..config.n_layer {
            x = self
                .block(&scope.item("h", layer), pass, &x, layer)
                .with_context(|| format!("layer {layer} of the model"))?;
        }
        let x = scope.layer_norm("ln_f", &pass.wanted(&x, "ids")?, config.layer_norm_epsilon)?;
        let head = if config.tie_word_embeddings {
            "wte"
        } else {
            "lm_head"
        };
        let options = LinearOptions::normal(config.initializer_range).without_bias();
        Ok(Tensors::new().with("logits", scope.linear(head, &x, vocabulary, options)?))
    }

    fn loss(&self, pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        let (logits, labels) = (outputs.get("logits")?, inputs.get("labels")?);
        classification(pass, logits, labels, self.config.label_smoothing)
    }
}

impl Gpt {
    fn block(&self, scope: &Scope, pass: &Pass, x: &Tensor, layer: u32) -> Result<Tensor> {
        let mixed = self.attention(scope, pass, x, layer).context(function!())?;
        let x = x + pass.dropout(&mixed, self.config.resid_pdrop)?;
        let out = self.feed_forward(scope, &x).context(function!())?;
        Ok(x + pass.dropout(&out, self.config.resid_pdrop)?)
    }

    fn attention(&self, scope: &Scope, pass: &Pass, x: &Tensor, layer: u32) -> Result<Tensor> {
        let (config, width) = (&self.config, self.config.n_embd);
        let normed = scope.layer_norm("ln_1", x, config.layer_norm_epsilon)?;
        let scope = scope.child("attn");
        let qkv = scope.linear("c_attn", &normed, 3 * width, self.inner())?;
        let part = |index: u32| {
            qkv.narrow(-1, index * width, width)?
                .split_heads(config.n_head)
        };
        let options = AttentionOptions::causal(layer, "ids")
            .scale(config.scale(self.sizes.head_width, layer))
            .dropout(config.attn_pdrop);
        let mixed = pass
            .attention(&part(0)?, Some(&part(1)?), Some(&part(2)?), None, &options)?
            .merge_heads()?;
        Ok(scope.linear("c_proj", &mixed, width, self.residual())?)
    }

    fn feed_forward(&self, scope: &Scope, x: &Tensor) -> Result<Tensor> {
        let normed = scope.layer_norm("ln_2", x, self.config.layer_norm_epsilon)?;
        let scope = scope.child("mlp");
        let wide = scope.linear("c_fc", &normed, self.sizes.inner, self.inner())?;
        let wide = self.sizes.activation.apply(&wide)?;
        Ok(scope.linear("c_proj", &wide, self.config.n_embd, self.residual())?)
    }

    /// GPT-2's Conv1D: stored `[in, out]`.
    fn inner(&self) -> LinearOptions {
        LinearOptions::normal(self.config.initializer_range).in_out()
    }

    /// The projections back into the residual stream start smaller, as in GPT-2: two of them in each
    /// layer add up.
    fn residual(&self) -> LinearOptions {
        let additions = 2.0 * self.config.n_layer as f32;
        LinearOptions::normal(self.config.initializer_range / additions.sqrt()).in_out()
    }
}

tenon_sdk::export_recipe!(Gpt);
