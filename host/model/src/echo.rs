//! How likely the tokens of a prompt are.

use tenon_data::collate::{Prompt, collate_prompts};
use tenon_tensor::DType;

use crate::{Model, Result};

/// A token of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// The token.
    pub token: u32,
    /// Its natural-log probability, given those before it; nothing for the first.
    pub log_probability: Option<f32>,
    /// The likeliest tokens at its place with their natural-log probabilities, best first.
    pub alternatives: Vec<(u32, f32)>,
}

impl Model {
    /// How likely each token of the sequence that grows is, with that many alternatives.
    ///
    /// # Errors
    /// [`ModelError::Invalid`](crate::ModelError::Invalid) for a recipe that gives no next-token logits.
    pub fn score_prompt(
        &mut self,
        prompt: &Prompt,
        alternatives: usize,
    ) -> Result<Vec<TokenScore>> {
        let generation = self.generation("scored")?.clone();
        let tokens: &[u32] = match prompt.grows {
            Some(grows) => &prompt.sequences[grows].tokens,
            None => &[],
        };
        let pad = self
            .tokenizer
            .as_ref()
            .map_or(0, |tokenizer| tokenizer.pad_id());
        let batch = collate_prompts(std::slice::from_ref(prompt), pad, 1)?;
        let outputs = self.evaluate(&batch)?;
        let logits = self.output(outputs, &generation.logits)?;
        let &[1, width, vocabulary] = logits.shape() else {
            return Err(self.contract(format!(
                "`{}` must be [1, tokens, vocabulary] for one row, it is {:?}",
                generation.logits,
                logits.shape()
            )));
        };
        if width < tokens.len() {
            return Err(self.contract(format!(
                "`{}` has {width} places for {} tokens",
                generation.logits,
                tokens.len()
            )));
        }
        let log_probabilities = logits.cast(DType::F32)?.log_softmax(-1)?.to_f32_vec()?;
        let rows = log_probabilities.chunks_exact(vocabulary.max(1));
        let first = tokens.first().map(|&token| TokenScore {
            token,
            log_probability: None,
            alternatives: Vec::new(),
        });
        let others = tokens.iter().skip(1).zip(rows).map(|(&token, row)| {
            let mut likeliest: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
            let by = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            if alternatives < likeliest.len() {
                likeliest.select_nth_unstable_by(alternatives, by);
                likeliest.truncate(alternatives);
            }
            likeliest.sort_unstable_by(by);
            TokenScore {
                token,
                log_probability: row.get(token as usize).copied(),
                alternatives: likeliest,
            }
        });
        Ok(first.into_iter().chain(others).collect())
    }
}
