//! What training minimises.

use tenon_sdk::{
    Error, Result,
    recipe::{IGNORED, Losses, Pass, Tensors, classification},
    tensor::{DType, Reduction, Tensor, arange, full},
};

use crate::{Bert, LABELS, POSITIVE, config::Task};

impl Bert {
    pub(crate) fn objective(
        &self,
        pass: &Pass,
        outputs: &Tensors,
        inputs: &Tensors,
    ) -> Result<Losses> {
        let smoothing = self.config.label_smoothing;
        if self.shape.task == Task::Embedding {
            return self.closeness(pass, outputs);
        }
        let (logits, labels) = (outputs.get("logits")?, inputs.get(LABELS)?);
        match self.shape.task {
            Task::Tags(_) => self.tags(pass, logits, labels),
            Task::Classes(count) => {
                let loss = logits.binary_cross_entropy_with_logits(labels, Reduction::Mean)?;
                Ok(Losses::new(loss, rows(logits, count)?))
            }
            Task::Numbers(count) => {
                let loss = logits.mse_loss(labels, Reduction::Mean)?;
                Ok(Losses::new(loss, rows(logits, count)?))
            }
            Task::Words | Task::Class(_) | Task::Embedding => {
                classification(pass, logits, labels, smoothing)
            }
        }
    }

    /// The classes of tokens: label t is that of token t + 1, behind `[CLS]`.
    fn tags(&self, pass: &Pass, logits: &Tensor, labels: &Tensor) -> Result<Losses> {
        let (tokens, tags) = (logits.size(1), labels.size(1));
        if tags + 1 > tokens {
            return Err(Error::invalid(format!(
                "column `{}` has {tags} classes for a text of {} tokens: it takes one for each token of `{}`; give \
                 the text as a list of token ids to be sure of how it is cut",
                self.config.label,
                tokens.saturating_sub(2),
                self.config.text
            )));
        }
        let mut labels = labels.masked_fill(&pass.mask(LABELS)?.logical_not()?, IGNORED as f64)?;
        if let Some(ignored) = self.config.ignored_label {
            labels = labels.masked_fill(&labels.eq_scalar(f64::from(ignored))?, IGNORED as f64)?;
        }
        let logits = logits.narrow(1, 1, tags)?;
        classification(pass, &logits, &labels, self.config.label_smoothing)
    }

    /// Each text's own positive should be closer to it than those of the other texts in the batch
    /// (van den Oord et al. 2018; cosine similarities, as sentence-transformers takes them).
    fn closeness(&self, pass: &Pass, outputs: &Tensors) -> Result<Losses> {
        let Some(positives) = outputs.find(POSITIVE) else {
            return Err(Error::invalid(
                "sentence embeddings learn from pairs of texts: name the column of the second one in `positive`",
            ));
        };
        let texts = unit(outputs.get("embedding")?)?;
        let similarity = texts.matmul(&unit(positives)?.transpose(0, 1)?)?;
        let logits = similarity * f64::from(self.config.similarity_scale);
        let own = arange(0.0, f64::from(logits.size(0)), 1.0, DType::Int64)?;
        classification(pass, &logits, &own, self.config.label_smoothing)
    }
}

/// Vectors [batch, dim] of length 1.
fn unit(x: &Tensor) -> Result<Tensor> {
    let length = x.mul(x)?.sum(&[1], true)?.sqrt()?;
    Ok(x / length.clamp(Some(1e-12), None)?)
}

/// How many numbers `logits` [batch, count] has: what a mean is over.
fn rows(logits: &Tensor, count: u32) -> Result<Tensor> {
    let numbers = f64::from(logits.size(0) * count);
    Ok(full(&[], numbers, DType::Float32)?)
}
