//! From the encoder's states [batch, tokens, hidden-size] to what the model says.

use tenon_sdk::{
    Result,
    recipe::{Init, Pass, Scope},
    tensor::{DType, Tensor},
};

use crate::Bert;

impl Bert {
    /// Which word is hidden, [batch, tokens, vocabulary]: the output layer is the embedding.
    pub(crate) fn words(&self, scope: &Scope, x: &Tensor) -> Result<Tensor> {
        let (config, vocabulary) = (&self.config, self.shape.vocabulary);
        let head = scope.child("cls.predictions");
        let x = head.linear("transform.dense", x, config.hidden_size, self.dense())?;
        let x = self.shape.activation.apply(&x)?;
        let x = head.layer_norm("transform.LayerNorm", &x, config.layer_norm_eps)?;
        let embeddings = scope.child("bert.embeddings");
        let options = self.dense().without_bias();
        let logits = embeddings.linear("word_embeddings", &x, vocabulary, options)?;
        Ok(logits + head.param("bias", &[vocabulary], Init::Zeros)?)
    }

    /// What the pooled first token says of the text, [batch, count].
    pub(crate) fn texts(
        &self,
        scope: &Scope,
        pass: &Pass,
        x: &Tensor,
        count: u32,
    ) -> Result<Tensor> {
        let first = x.narrow(1, 0, 1)?.squeeze(1)?;
        let width = self.config.hidden_size;
        let pooled = scope
            .linear("bert.pooler.dense", &first, width, self.dense())?
            .tanh()?;
        self.classifier(scope, pass, &pooled, count)
    }

    /// What each token is, [batch, tokens, count].
    pub(crate) fn tokens(
        &self,
        scope: &Scope,
        pass: &Pass,
        x: &Tensor,
        count: u32,
    ) -> Result<Tensor> {
        self.classifier(scope, pass, x, count)
    }

    fn classifier(&self, scope: &Scope, pass: &Pass, x: &Tensor, count: u32) -> Result<Tensor> {
        let config = &self.config;
        let dropout = config
            .classifier_dropout
            .unwrap_or(config.hidden_dropout_prob);
        let x = pass.dropout(x, dropout)?;
        Ok(scope.linear("classifier", &x, count, self.dense())?)
    }
}

/// The mean over the real tokens of the sequence `input`, [batch, hidden-size].
pub(crate) fn mean(pass: &Pass, input: &str, x: &Tensor) -> Result<Tensor> {
    let real = pass.mask(input)?.cast(DType::Float32)?.unsqueeze(-1)?;
    let sum = (x * &real).sum(&[1], false)?;
    let count = real.sum(&[1], false)?.clamp(Some(1.0), None)?;
    Ok(sum / count)
}
