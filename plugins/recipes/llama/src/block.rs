//! One transformer block.

use tenon_sdk::{
    Context, Result, function,
    recipe::{AttentionOptions, Pass, Scope},
    tensor::{RotaryStyle, Tensor},
};

use crate::Llama;

/// Where the tokens stand, int64 [batch, tokens], and how fast each pair of a head turns from one to
/// the next, [head-dim / 2].
pub(crate) struct Places {
    pub(crate) positions: Tensor,
    pub(crate) frequencies: Tensor,
}

impl Llama {
    /// x [batch, tokens, hidden-size] → the same.
    pub(crate) fn block(
        &self,
        scope: &Scope,
        pass: &Pass,
        x: &Tensor,
        layer: u32,
        places: &Places,
    ) -> Result<Tensor> {
        let epsilon = self.config.rms_norm_eps;
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
        let (config, shape) = (&self.config, &self.shape);
        let [bias, output_bias] = shape.biases;
        let project = |name: &str, heads: u32| {
            scope
                .linear(name, x, heads * shape.head_dim, self.linear(bias))?
                .split_heads(heads)
        };
        let placed = |x: Tensor, norm: &str| {
            let x = if shape.normed_heads {
                scope.rms_norm(norm, &x, config.rms_norm_eps)?
            } else {
                x
            };
            Ok::<_, tenon_sdk::Error>(x.rotary(
                &places.positions,
                &places.frequencies,
                RotaryStyle::Half,
            )?)
        };
        let q = placed(project("q_proj", config.num_attention_heads)?, "q_norm")?;
        let k = placed(project("k_proj", shape.kv_heads)?, "k_norm")?;
        let v = project("v_proj", shape.kv_heads)?;
        let mut options = AttentionOptions::causal(layer, "ids")
            .scale(shape.rope.scale / (shape.head_dim as f32).sqrt())
            .dropout(config.attention_dropout);
        options.window = shape.windows[layer as usize];
        let mixed = pass
            .attention(&q, Some(&k), Some(&v), None, &options)?
            .merge_heads()?;
        Ok(scope.linear(
            "o_proj",
            &mixed,
            config.hidden_size,
            self.linear(output_bias),
        )?)
    }

    fn feed_forward(&self, scope: &Scope, x: &Tensor) -> Result<Tensor> {
        let config = &self.config;
        let options = || self.linear(self.shape.feed_forward_bias);
        let gate = scope.linear("gate_proj", x, config.intermediate_size, options())?;
        let up = scope.linear("up_proj", x, config.intermediate_size, options())?;
        let gated = self.shape.activation.gate(&gate, &up)?;
        Ok(scope.linear("down_proj", &gated, config.hidden_size, options())?)
    }
}
