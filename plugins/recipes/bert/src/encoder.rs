//! Embeddings of words, positions and kinds of text, then blocks that normalise after each residual.

use tenon_sdk::{
    Context, Result, function,
    recipe::{AttentionOptions, Init, Pass, Scope},
    tensor::{DType, Tensor, zeros},
};

use crate::{Bert, IDS};

/// The piece of `[CLS] text [SEP] pair [SEP]` that the second kind of text begins with.
const SECOND: f64 = 3.0;

impl Bert {
    /// ids int64 [batch, tokens] of the sequence `input` → [batch, tokens, hidden-size]. `pieces`: which
    /// piece each token comes from; nothing: all are of the first kind of text.
    pub(crate) fn encode(
        &self,
        scope: &Scope,
        pass: &Pass,
        input: &str,
        ids: &Tensor,
        pieces: Option<&Tensor>,
    ) -> Result<Tensor> {
        let mut x = self
            .embed(&scope.child("embeddings"), pass, input, ids, pieces)
            .context(function!())?;
        // Slots are counted through the whole model: a second text has those after the first.
        let first = if input == IDS {
            0
        } else {
            self.config.num_hidden_layers
        };
        for layer in 0..self.config.num_hidden_layers {
            let options = AttentionOptions::bidirectional(first + layer, input)
                .dropout(self.config.attention_probs_dropout_prob);
            x = self
                .block(&scope.item("encoder.layer", layer), pass, &x, &options)
                .with_context(|| format!("layer {layer} of the model"))?;
        }
        Ok(x)
    }

    fn embed(
        &self,
        scope: &Scope,
        pass: &Pass,
        input: &str,
        ids: &Tensor,
        pieces: Option<&Tensor>,
    ) -> Result<Tensor> {
        let config = &self.config;
        let (width, init) = (config.hidden_size, Init::Normal(config.initializer_range));
        let kinds = match pieces {
            Some(pieces) => pieces
                .cast(DType::Float32)?
                .gt_scalar(SECOND - 0.5)?
                .cast(DType::Int64)?,
            None => zeros(&ids.shape(), DType::Int64)?,
        };
        let words = scope.embedding("word_embeddings", ids, self.shape.vocabulary, width, init)?;
        let places = pass.positions(input)?;
        let longest = config.max_position_embeddings;
        let places = scope.embedding("position_embeddings", &places, longest, width, init)?;
        let count = config.type_vocab_size;
        let kinds = scope.embedding("token_type_embeddings", &kinds, count, width, init)?;
        let x = scope.layer_norm(
            "LayerNorm",
            &(words + places + kinds),
            config.layer_norm_eps,
        )?;
        Ok(pass.dropout(&x, config.hidden_dropout_prob)?)
    }

    fn block(
        &self,
        scope: &Scope,
        pass: &Pass,
        x: &Tensor,
        options: &AttentionOptions,
    ) -> Result<Tensor> {
        let (width, heads) = (self.config.hidden_size, self.config.num_attention_heads);
        let own = scope.child("attention.self");
        let part = |name: &str| own.linear(name, x, width, self.dense())?.split_heads(heads);
        let (q, k, v) = (part("query")?, part("key")?, part("value")?);
        let mixed = pass
            .attention(&q, Some(&k), Some(&v), None, options)?
            .merge_heads()?;
        let x = self
            .add(&scope.child("attention.output"), pass, x, &mixed)
            .context(function!())?;
        let wide = self.config.intermediate_size;
        let wide = scope.linear("intermediate.dense", &x, wide, self.dense())?;
        let wide = self.shape.activation.apply(&wide)?;
        self.add(&scope.child("output"), pass, &x, &wide)
            .context(function!())
    }

    /// Back into the model's width, added to where it came from, and normalised.
    fn add(&self, scope: &Scope, pass: &Pass, x: &Tensor, change: &Tensor) -> Result<Tensor> {
        let config = &self.config;
        let change = scope.linear("dense", change, config.hidden_size, self.dense())?;
        let change = pass.dropout(&change, config.hidden_dropout_prob)?;
        scope.layer_norm("LayerNorm", &(x + change), config.layer_norm_eps)
    }
}
