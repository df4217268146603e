//! BERT: embeddings of words, positions and types, then blocks that normalise after each residual.

use tenon_sdk::{
    Context, Result, function,
    recipe::{AttentionOptions, Init, LinearOptions, Pass, Scope},
    tensor::Tensor,
};

use crate::{DEVIATION, Palm, SOURCE};

const EPS: f32 = 1e-12;
/// BERT tells two kinds of text apart; here there is only the first.
const TYPES: u32 = 2;

impl Palm {
    /// What the decoder attends to, [batch, tokens, width].
    pub(crate) fn encode(&self, scope: &Scope, pass: &Pass, ids: &Tensor) -> Result<Tensor> {
        let scope = scope.child("bert");
        let mut x = self
            .embed_source(&scope.child("embeddings"), pass, ids)
            .context(function!())?;
        for layer in 0..self.config.encoder_layers {
            x = self
                .encoder_block(&scope.item("encoder.layer", layer), pass, &x, layer)
                .with_context(|| format!("layer {layer} of the encoder"))?;
        }
        Ok(x)
    }

    fn embed_source(&self, scope: &Scope, pass: &Pass, ids: &Tensor) -> Result<Tensor> {
        let (config, init) = (&self.config, Init::Normal(DEVIATION));
        let width = config.width;
        let words = scope.embedding("word_embeddings", ids, self.vocabulary, width, init)?;
        let positions = pass.positions(SOURCE)?;
        let places = scope.embedding(
            "position_embeddings",
            &positions,
            config.source_length,
            width,
            init,
        )?;
        let types = scope.child("token_type_embeddings");
        let first = types
            .param("weight", &[TYPES, width], init)?
            .narrow(0, 0, 1)?;
        let x = scope.layer_norm("LayerNorm", &(words + places + first), EPS)?;
        Ok(pass.dropout(&x, config.dropout)?)
    }

    fn encoder_block(&self, scope: &Scope, pass: &Pass, x: &Tensor, layer: u32) -> Result<Tensor> {
        let (width, dropout) = (self.config.width, self.config.dropout);
        let attention = scope.child("attention");
        let mixed = self
            .encoder_attention(&attention.child("self"), pass, x, layer)
            .context(function!())?;
        let output = attention.child("output");
        let mixed = output.linear("dense", &mixed, width, LinearOptions::normal(DEVIATION))?;
        let x = output.layer_norm("LayerNorm", &(pass.dropout(&mixed, dropout)? + x), EPS)?;

        let wide = scope.child("intermediate").linear(
            "dense",
            &x,
            self.config.feed_forward(),
            LinearOptions::normal(DEVIATION),
        )?;
        let output = scope.child("output");
        let narrow = output.linear(
            "dense",
            &wide.gelu(false)?,
            width,
            LinearOptions::normal(DEVIATION),
        )?;
        output.layer_norm("LayerNorm", &(pass.dropout(&narrow, dropout)? + x), EPS)
    }

    fn encoder_attention(
        &self,
        scope: &Scope,
        pass: &Pass,
        x: &Tensor,
        layer: u32,
    ) -> Result<Tensor> {
        let part = |name: &str| {
            scope
                .linear(name, x, self.config.width, LinearOptions::normal(DEVIATION))?
                .split_heads(self.config.heads)
        };
        let (q, k, v) = (part("query")?, part("key")?, part("value")?);
        let options = AttentionOptions::bidirectional(layer, SOURCE).dropout(self.config.dropout);
        pass.attention(&q, Some(&k), Some(&v), None, &options)?
            .merge_heads()
    }
}
