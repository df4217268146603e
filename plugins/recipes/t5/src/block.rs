//! One block: attention to its own sequence, in the decoder to the encoder's, and a feed-forward layer,
//! each normalised before and added to what was there.

use tenon_sdk::{
    Result,
    recipe::{AttentionOptions, Pass, Scope},
    tensor::Tensor,
};

use crate::{Memory, SOURCE, Stack, T5};

impl T5 {
    /// x [batch, tokens, d-model] → the same.
    pub(crate) fn block(
        &self,
        pass: &Pass,
        x: &Tensor,
        stack: &Stack,
        layer: u32,
        distances: &Tensor,
    ) -> Result<Tensor> {
        let scope = stack.scope.item("block", layer);
        let epsilon = self.config.layer_norm_epsilon;
        // Slots of the cache: one for each attention of the model.
        let attentions = if stack.memory.is_some() { 2 } else { 1 };
        let slot = stack.slot + attentions * layer;
        let options = match stack.causal {
            true => AttentionOptions::causal(slot, stack.input),
            false => AttentionOptions::bidirectional(slot, stack.input),
        };
        let own = scope.child("layer.0");
        let normed = own.rms_norm("layer_norm", x, epsilon)?;
        let attention = own.child("SelfAttention");
        let keys = Some(&normed);
        let mut x =
            x + self.attention(&attention, pass, &normed, keys, Some(distances), options)?;
        if let Some(memory) = &stack.memory {
            let cross = scope.child("layer.1");
            let normed = cross.rms_norm("layer_norm", &x, epsilon)?;
            let attention = cross.child("EncDecAttention");
            let keys = match memory {
                Memory::Fresh(states) => Some(states),
                Memory::Cached => None,
            };
            let options = AttentionOptions::cross(slot + 1, stack.input, SOURCE);
            x = x + self.attention(&attention, pass, &normed, keys, None, options)?;
        }
        let last = scope.item("layer", attentions);
        let normed = last.rms_norm("layer_norm", &x, epsilon)?;
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
        let config = &self.config;
        let (width, heads) = (config.d_model, config.num_heads);
        let inner = heads * config.d_kv;
        let project = |name: &str, x: &Tensor, fan: u32| {
            scope
                .linear(name, x, inner, self.linear((fan as f32).powf(-0.5)))?
                .split_heads(heads)
        };
        let q = project("q", x, width * config.d_kv)?;
        let k = keys.map(|x| project("k", x, width)).transpose()?;
        let v = keys.map(|x| project("v", x, width)).transpose()?;
        // Scores are not scaled: the weights begin that much smaller.
        let options = options.scale(1.0).dropout(config.dropout_rate);
        let mixed = pass
            .attention(&q, k.as_ref(), v.as_ref(), distances, &options)?
            .merge_heads()?;
        let out = scope.linear("o", &mixed, width, self.linear((inner as f32).powf(-0.5)))?;
        Ok(pass.dropout(&out, config.dropout_rate)?)
    }

    fn feed_forward(&self, scope: &Scope, pass: &Pass, x: &Tensor) -> Result<Tensor> {
        let config = &self.config;
        let narrow = (config.d_model as f32).powf(-0.5);
        let wide = |name: &str| scope.linear(name, x, config.d_ff, self.linear(narrow));
        let inner = if self.shape.gated {
            self.shape.activation.gate(&wide("wi_0")?, &wide("wi_1")?)?
        } else {
            self.shape.activation.apply(&wide("wi")?)?
        };
        let inner = pass.dropout(&inner, config.dropout_rate)?;
        let deviation = (config.d_ff as f32).powf(-0.5);
        let out = scope.linear("wo", &inner, config.d_model, self.linear(deviation))?;
        Ok(pass.dropout(&out, config.dropout_rate)?)
    }
}
