//! GPT-2: a decoder-only language model. Parameter names and layouts are those of GPT-2's public
//! checkpoints, so those load without a mapping.

mod config;

use tenon_sdk::{
    Context, Recipe, Result, function,
    recipe::{
        AttentionOptions, Generation, Init, Input, LinearOptions, Losses, ParameterGroup, Pass,
        Piece, Scope, Signature, Tensors, accuracy, cross_entropy,
    },
    tensor::Tensor,
};

pub use config::Config;

const EPS: f32 = 1e-5;
/// The standard deviation of new weights.
const DEVIATION: f32 = 0.02;

/// The model.
pub struct Gpt {
    config: Config,
    vocabulary: u32,
}

impl Recipe for Gpt {
    const NAME: &'static str = "tenon/gpt";
    const SUMMARY: &'static str =
        "GPT-2: a decoder-only language model, sized by its configuration.";
    type Config = Config;

    fn open(config: Config, vocabulary: u32) -> Result<Self> {
        config.check(vocabulary)?;
        Ok(Self { config, vocabulary })
    }

    fn signature(&self) -> Signature {
        let pieces: Vec<Piece> = self.config.sequence.iter().map(Piece::from).collect();
        let mut ids = Input::sequence("ids", pieces, Some(self.config.context));
        if self.config.packing {
            ids = ids.packable();
        }
        Signature::new([ids, Input::next_tokens("labels", "ids")]).generates(Generation {
            sequence: "ids".into(),
            logits: "logits".into(),
            stop: self.config.stop(),
            max_length: Some(self.config.context),
        })
    }

    fn parameter_groups(&self) -> Vec<ParameterGroup> {
        vec![ParameterGroup::without_decay(r"(\.bias|ln_\w+\.weight)$")]
    }

    fn forward(&self, scope: &Scope, pass: &Pass, inputs: &Tensors) -> Result<Tensors> {
        let (config, init) = (&self.config, Init::Normal(DEVIATION));
        let ids = inputs.get("ids")?;
        let tokens = scope.embedding("wte", ids, self.vocabulary, config.width, init)?;
        let places = scope.embedding(
            "wpe",
            &pass.positions("ids")?,
            config.context,
            config.width,
            init,
        )?;
        let mut x = pass.dropout(&(tokens + places), config.dropout)?;
        for layer in 0..config.layers {
            x = self
                .block(&scope.item("h", layer), pass, &x, layer)
                .with_context(|| format!("layer {layer} of the model"))?;
        }
        let x = scope.layer_norm("ln_f", &pass.wanted(&x, "ids")?, EPS)?;
        // The head is the embedding itself.
        let logits = scope.linear(
            "wte",
            &x,
            self.vocabulary,
            LinearOptions::normal(DEVIATION).without_bias(),
        )?;
        Ok(Tensors::new().with("logits", logits))
    }

    fn loss(&self, pass: &Pass, outputs: &Tensors, inputs: &Tensors) -> Result<Losses> {
        let (logits, labels) = (outputs.get("logits")?, inputs.get("labels")?);
        if pass.is_training() {
            return cross_entropy(logits, labels, self.config.label_smoothing);
        }
        // Smoothing is a means of training; what is reported is the likelihood.
        let losses = cross_entropy(logits, labels, 0.0)?;
        let accuracy = accuracy(logits, labels, &losses.weight)?;
        Ok(losses.metric("accuracy", accuracy))
    }
}

impl Gpt {
    fn block(&self, scope: &Scope, pass: &Pass, x: &Tensor, layer: u32) -> Result<Tensor> {
        let mixed = self.attention(scope, pass, x, layer).context(function!())?;
        let x = x + pass.dropout(&mixed, self.config.dropout)?;
        let out = self.feed_forward(scope, &x).context(function!())?;
        Ok(x + pass.dropout(&out, self.config.dropout)?)
    }

    fn attention(&self, scope: &Scope, pass: &Pass, x: &Tensor, layer: u32) -> Result<Tensor> {
        let (width, heads) = (self.config.width, self.config.heads);
        let normed = scope.layer_norm("ln_1", x, EPS)?;
        let scope = scope.child("attn");
        let qkv = scope.linear(
            "c_attn",
            &normed,
            3 * width,
            LinearOptions::normal(DEVIATION).in_out(),
        )?;
        let part = |index: u32| qkv.narrow(-1, index * width, width)?.split_heads(heads);
        let options = AttentionOptions::causal(layer, "ids").dropout(self.config.dropout);
        let mixed = pass
            .attention(&part(0)?, Some(&part(1)?), Some(&part(2)?), None, &options)?
            .merge_heads()?;
        Ok(scope.linear("c_proj", &mixed, width, self.residual())?)
    }

    fn feed_forward(&self, scope: &Scope, x: &Tensor) -> Result<Tensor> {
        let width = self.config.width;
        let normed = scope.layer_norm("ln_2", x, EPS)?;
        let scope = scope.child("mlp");
        let wide = scope.linear(
            "c_fc",
            &normed,
            4 * width,
            LinearOptions::normal(DEVIATION).in_out(),
        )?;
        Ok(scope.linear("c_proj", &wide.gelu(true)?, width, self.residual())?)
    }

    /// The projections back into the residual stream start smaller, as in GPT-2: two of them in each
    /// layer add up.
    fn residual(&self) -> LinearOptions {
        LinearOptions::normal(DEVIATION / (2.0 * self.config.layers as f32).sqrt()).in_out()
    }
}

tenon_sdk::export_recipe!(Gpt);
