//! A GPT-2 written natively against the tensor crate: what the `gpt` recipe computes through Wasm.
//! Parameter names and layouts are those of GPT-2's public checkpoints.

use tenon_tensor::{
    Reduction, Tensor, TensorError,
    nn::{AttentionOptions, Init, LinearOptions, NormKind, Pass, Scope, WeightLayout},
};

/// The sizes of the model.
#[derive(Clone, Copy, Debug)]
pub struct Gpt {
    pub vocabulary: usize,
    pub positions: usize,
    pub layers: usize,
    pub heads: usize,
    pub dim: usize,
    pub dropout: f32,
}

const EPS: f32 = 1e-5;

impl Gpt {
    /// Logits [batch, tokens, vocabulary] of ids [batch, tokens] (`[batch, 1, vocabulary]` in
    /// serving).
    pub fn forward(&self, scope: &Scope, pass: &Pass, ids: &Tensor) -> Result<Tensor, TensorError> {
        let init = Init::Normal(0.02);
        let (vocabulary, dim) = (self.vocabulary, self.dim);
        let tokens = scope.embedding("wte", ids, vocabulary, dim, init)?;
        let positions = pass.positions("ids")?;
        let places = scope.embedding("wpe", &positions, self.positions, dim, init)?;
        let mut x = pass.dropout(&tokens.add(&places)?, self.dropout)?;
        for layer in 0..self.layers {
            x = self.block(&scope.child("h").child(&layer.to_string()), pass, &x, layer)?;
        }
        let x = pass.wanted(&x, "ids")?;
        let x = scope.norm("ln_f", &x, NormKind::Layer, EPS, true)?;
        let head = LinearOptions {
            bias: false,
            layout: WeightLayout::OutIn,
            weight_init: init,
            bias_init: Init::Zeros,
        };
        scope.linear("wte", &x, vocabulary, &head)
    }

    fn block(
        &self,
        scope: &Scope,
        pass: &Pass,
        x: &Tensor,
        layer: usize,
    ) -> Result<Tensor, TensorError> {
        let conv1d = |deviation: f32| LinearOptions {
            bias: true,
            layout: WeightLayout::InOut,
            weight_init: Init::Normal(deviation),
            bias_init: Init::Zeros,
        };
        // The projections back into the residual stream start smaller, as in GPT-2.
        let residual = conv1d(0.02 / (2.0 * self.layers as f32).sqrt());
        let (batch, tokens) = (x.shape()[0] as i64, x.shape()[1] as i64);
        let (heads, head_dim) = (self.heads as i64, (self.dim / self.heads) as i64);

        let attention = scope.child("attn");
        let normed = scope.norm("ln_1", x, NormKind::Layer, EPS, true)?;
        let qkv = attention.linear("c_attn", &normed, 3 * self.dim, &conv1d(0.02))?;
        let part = |index: usize| {
            qkv.narrow(-1, index * self.dim, self.dim)?
                .reshape(&[batch, tokens, heads, head_dim])
        };
        let options = AttentionOptions {
            dropout: self.dropout,
            ..AttentionOptions::causal(layer as u32, "ids")
        };
        let mixed = pass
            .attention(&part(0)?, Some(&part(1)?), Some(&part(2)?), None, &options)?
            .reshape(&[batch, tokens, self.dim as i64])?;
        let mixed = attention.linear("c_proj", &mixed, self.dim, &residual)?;
        let x = x.add(&pass.dropout(&mixed, self.dropout)?)?;

        let mlp = scope.child("mlp");
        let normed = scope.norm("ln_2", &x, NormKind::Layer, EPS, true)?;
        let wide = mlp.linear("c_fc", &normed, 4 * self.dim, &conv1d(0.02))?;
        let out = mlp.linear("c_proj", &wide.gelu(true)?, self.dim, &residual)?;
        x.add(&pass.dropout(&out, self.dropout)?)
    }

    /// The mean loss over the targets that are not -100.
    pub fn loss(&self, logits: &Tensor, targets: &Tensor) -> Result<Tensor, TensorError> {
        logits.cross_entropy(targets, -100, 0.0, Reduction::Mean)
    }
}
