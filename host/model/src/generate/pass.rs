//! From sequences to rows of logits.

use tenon_data::collate::{Prompt, collate_prompts};
use tenon_tensor::{
    DType, Tensor,
    nn::{Pass, SequenceCache, SequenceInfo, SharedCache, Stage},
};

use crate::{Model, Result, model::tensors};

/// Tokens that one prefill computes at most, padding included; a longer prompt is computed alone. It
/// bounds the memory of a pass, and how long those who are decoding wait for it.
const MOST_TOKENS: usize = 8192;

/// Logits of a pass, a row for each sequence.
#[derive(Debug, Default)]
pub(super) struct Logits {
    values: Vec<f32>,
    /// log Σ eˣ of each row.
    log_sums: Vec<f32>,
    vocabulary: usize,
}

impl Logits {
    /// A row and its log Σ eˣ.
    pub(super) fn row(&self, at: usize) -> (&[f32], f32) {
        let values = &self.values[at * self.vocabulary..][..self.vocabulary];
        (values, self.log_sums[at])
    }

    /// Rows.
    pub(super) fn len(&self) -> usize {
        self.log_sums.len()
    }

    /// Appends the rows of another pass.
    pub(super) fn append(&mut self, other: Self) {
        if self.log_sums.is_empty() {
            *self = other;
        } else {
            self.values.extend_from_slice(&other.values);
            self.log_sums.extend_from_slice(&other.log_sums);
        }
    }
}

/// What the passes over a model need to know.
pub(super) struct Passes {
    /// The sequence input that grows.
    pub(super) sequence: String,
    /// The output with the next token's logits.
    pub(super) logits: String,
    /// The inputs that tell the pieces of the sequence that grows.
    pub(super) described: Vec<String>,
    pub(super) pad: u32,
}

/// The newest token of every sequence, row by row.
#[derive(Debug, Default)]
pub(super) struct Newest {
    pub(super) ids: Vec<i64>,
    /// The piece that it belongs to.
    pub(super) pieces: Vec<i64>,
    pub(super) caches: Vec<SharedCache>,
}

impl Passes {
    /// The first pass over prompts: their next token's logits, and their caches.
    pub(super) fn prefill(
        &self,
        model: &mut Model,
        prompts: &[Prompt],
    ) -> Result<(Logits, Vec<SharedCache>)> {
        let batch = collate_prompts(prompts, self.pad, 1)?;
        let caches: Vec<SharedCache> = prompts.iter().map(|_| SequenceCache::shared()).collect();
        let inputs = tensors(&batch, model.device())?;
        let pass = Pass::new(Stage::Prefill, batch.infos, 0, model.device())?
            .with_cache(caches.clone())?;
        let logits = self.run(model, &pass, inputs, prompts.len())?;
        Ok((logits, caches))
    }

    /// One token more of each sequence.
    pub(super) fn decode(&self, model: &mut Model, newest: Newest) -> Result<Logits> {
        let rows = newest.ids.len();
        let device = *model.device();
        let column = |values: &[i64]| Tensor::from_i64(&[rows, 1], values, &device);
        let mut inputs = vec![(self.sequence.clone(), column(&newest.ids)?)];
        for name in &self.described {
            inputs.push((name.clone(), column(&newest.pieces)?));
        }
        let info = SequenceInfo::full(self.sequence.clone(), rows, 1);
        let pass = Pass::new(Stage::Decode, vec![info], 0, &device)?.with_cache(newest.caches)?;
        self.run(model, &pass, inputs, rows)
    }

    fn run(
        &self,
        model: &mut Model,
        pass: &Pass,
        inputs: Vec<(String, Tensor)>,
        rows: usize,
    ) -> Result<Logits> {
        let outputs = model.forward(pass, inputs)?;
        let logits = model.output(outputs, &self.logits)?;
        let vocabulary = match *logits.shape() {
            [found, 1, vocabulary] if found == rows && vocabulary > 0 => vocabulary,
            _ => {
                return Err(model.contract(format!(
                    "in serving `{}` must be [{rows}, 1, vocabulary], it is {:?}; call `pass.wanted` before \
                     the output layer",
                    self.logits,
                    logits.shape()
                )));
            }
        };
        // A model may have more rows than the tokenizer has tokens: those are nobody's.
        let known = model
            .tokenizer()
            .map_or(vocabulary, |tokenizer| tokenizer.vocabulary() as usize)
            .min(vocabulary);
        let mut logits = logits.cast(DType::F32)?;
        if known < vocabulary {
            logits = logits.narrow(-1, 0, known)?;
        }
        Ok(Logits {
            log_sums: logits.logsumexp(-1, false)?.to_f32_vec()?,
            values: logits.to_f32_vec()?,
            vocabulary: known,
        })
    }
}

/// Prompts that are prefilled together: neither too many tokens, nor so different in length that most of
/// the work would be padding. `lengths` descend; the sizes of the groups come back.
pub(super) fn groups(lengths: &[usize]) -> Vec<usize> {
    let mut groups = Vec::new();
    let mut rest = lengths;
    while let Some(&longest) = rest.first() {
        let most = (MOST_TOKENS / longest.max(1)).max(1);
        let alike = rest.iter().take_while(|&&length| 2 * length >= longest);
        let size = alike.take(most).count().max(1);
        groups.push(size);
        rest = &rest[size..];
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_grouped_by_length() {
        assert_eq!(groups(&[]), [0; 0]);
        assert_eq!(groups(&[10, 9, 5, 4, 1]), [3, 1, 1]);
        assert_eq!(groups(&[0, 0]), [2]);
        assert_eq!(
            groups(&[3 * MOST_TOKENS, MOST_TOKENS / 2, MOST_TOKENS / 2, 4097]),
            [1, 2, 1]
        );
        assert_eq!(groups(&[1; 10_000]), [MOST_TOKENS, 10_000 - MOST_TOKENS]);
    }
}
