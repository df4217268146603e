//! OpenNMT's transformer decoder: blocks that normalise before each residual.

use tenon_sdk::{
    Context, Result, function,
    recipe::{AttentionOptions, Init, LinearOptions, Pass, Scope},
    tensor::{DType, Tensor, stack},
};

use crate::{DEVIATION, Palm, SOURCE, TARGET};

const EPS: f32 = 1e-6;

impl Palm {
    /// The decoder's states, [batch, tokens, width]. `memory`: what the encoder said; nothing where
    /// it is in the cache.
    pub(crate) fn decode(
        &self,
        scope: &Scope,
        pass: &Pass,
        ids: &Tensor,
        memory: Option<&Tensor>,
    ) -> Result<Tensor> {
        let mut x = self.embed_target(scope, pass, ids).context(function!())?;
        let scope = scope.child("decoder");
        for layer in 0..self.config.decoder_layers {
            let block = scope.item("transformer_layers", layer);
            x = self
                .decoder_block(&block, pass, &x, memory, layer)
                .with_context(|| format!("layer {layer} of the decoder"))?;
        }
        scope.layer_norm("layer_norm", &x, EPS)
    }

    fn embed_target(&self, scope: &Scope, pass: &Pass, ids: &Tensor) -> Result<Tensor> {
        let width = self.config.width;
        let (embeddings, name) = self.target_embeddings(scope);
        let words =
            embeddings.embedding(name, ids, self.vocabulary, width, Init::Normal(DEVIATION))?;
        let x = words * f64::from(width).sqrt() + positions(pass, width)?;
        Ok(pass.dropout(&x, self.config.dropout)?)
    }

    fn decoder_block(
        &self,
        scope: &Scope,
        pass: &Pass,
        x: &Tensor,
        memory: Option<&Tensor>,
        layer: u32,
    ) -> Result<Tensor> {
        let dropout = self.config.dropout;
        // Every attention of the model has a number of its own.
        let number = self.config.encoder_layers + 2 * layer;
        let normed = scope.layer_norm("layer_norm_1", x, EPS)?;
        let options = AttentionOptions::causal(number, TARGET).dropout(dropout);
        let mixed = self
            .decoder_attention(
                &scope.child("self_attn"),
                pass,
                &normed,
                Some(&normed),
                &options,
            )
            .context("self_attn")?;
        let x = pass.dropout(&mixed, dropout)? + x;

        let normed = scope.layer_norm("layer_norm_2", &x, EPS)?;
        let options = AttentionOptions::cross(number + 1, TARGET, SOURCE).dropout(dropout);
        let mixed = self
            .decoder_attention(
                &scope.child("context_attn"),
                pass,
                &normed,
                memory,
                &options,
            )
            .context("context_attn")?;
        let x = pass.dropout(&mixed, dropout)? + x;
        self.feed_forward(&scope.child("feed_forward"), pass, &x)
            .context("feed_forward")
    }

    fn decoder_attention(
        &self,
        scope: &Scope,
        pass: &Pass,
        queries: &Tensor,
        keys: Option<&Tensor>,
        options: &AttentionOptions,
    ) -> Result<Tensor> {
        let width = self.config.width;
        let part = |name: &str, x: &Tensor| {
            scope
                .linear(name, x, width, LinearOptions::normal(DEVIATION))?
                .split_heads(self.config.decoder_heads())
        };
        let q = part("linear_query", queries)?;
        let k = keys.map(|keys| part("linear_keys", keys)).transpose()?;
        let v = keys.map(|keys| part("linear_values", keys)).transpose()?;
        let mixed = pass
            .attention(&q, k.as_ref(), v.as_ref(), None, options)?
            .merge_heads()?;
        Ok(scope.linear(
            "final_linear",
            &mixed,
            width,
            LinearOptions::normal(DEVIATION),
        )?)
    }

    fn feed_forward(&self, scope: &Scope, pass: &Pass, x: &Tensor) -> Result<Tensor> {
        let (width, dropout) = (self.config.width, self.config.dropout);
        let normed = scope.layer_norm("layer_norm", x, EPS)?;
        let wide = scope.linear(
            "w_1",
            &normed,
            self.config.feed_forward(),
            LinearOptions::normal(DEVIATION),
        )?;
        let wide = pass.dropout(&wide.gelu(true)?, dropout)?;
        let out = scope.linear("w_2", &wide, width, LinearOptions::normal(DEVIATION))?;
        Ok(pass.dropout(&out, dropout)? + x)
    }
}

/// Sines at even places and cosines at odd ones, of wavelengths from 2π to 10000·2π,
/// [batch, tokens, width].
fn positions(pass: &Pass, width: u32) -> Result<Tensor> {
    let half = width / 2;
    let frequencies: Vec<f32> = (0..half)
        .map(|pair| (-(10_000_f64.ln()) * f64::from(2 * pair) / f64::from(width)).exp() as f32)
        .collect();
    let frequencies = Tensor::from_f32s(&[half], &frequencies)?;
    let at = pass.positions(TARGET)?.cast(DType::Float32)?;
    let shape = at.shape();
    let angles = at.unsqueeze(-1)? * frequencies;
    let pairs = stack(&[&angles.sin()?, &angles.cos()?], -1)?;
    let tokens = shape.iter().map(|&size| i64::from(size));
    Ok(pairs.reshape(&tokens.chain([i64::from(width)]).collect::<Vec<_>>())?)
}
