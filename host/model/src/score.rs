//! Likelihoods of rows: of the tokens that the recipe's signature marks as learnt.

use tenon_data::collate::{EncodeOptions, EncodedRows, Placement};
use tenon_plugin::{Scored, batch::Batch, recipe::Generation};
use tenon_tensor::{DType, Reduction, Tensor};

use crate::{Model, ModelError, Result};

/// Logits that one batch may have (elements): 256 MiB in f32.
const MOST_LOGITS: usize = 64 << 20;
/// Rows that one batch may have.
const MOST_ROWS: usize = 256;
/// The target that does not count.
const IGNORED: i64 = -100;

impl Model {
    /// The likelihood of every row's learnt tokens, given what stands before them.
    ///
    /// # Errors
    /// [`ModelError::Invalid`] for a recipe that gives no next-token logits; rows that lack columns.
    pub fn score(&mut self, rows: &Batch) -> Result<Vec<Scored>> {
        let generation = self.generation("scored")?.clone();
        let encoded = EncodedRows::from_batch(
            &self.signature,
            self.tokenizer.as_deref(),
            rows.clone(),
            EncodeOptions::default(),
        )?;
        self.score_rows(&encoded, &generation)
    }

    /// As [`Model::score`], for rows that are encoded already.
    ///
    /// # Errors
    /// As [`Model::score`].
    pub fn score_encoded(&mut self, rows: &EncodedRows) -> Result<Vec<Scored>> {
        let generation = self.generation("scored")?.clone();
        self.score_rows(rows, &generation)
    }

    /// How the recipe generates.
    pub(crate) fn generation(&self, verb: &str) -> Result<&Generation> {
        self.signature.generation.as_ref().ok_or_else(|| {
            ModelError::Invalid(format!(
                "texts cannot be {verb} with recipe `{}`: its signature has no generation, so it gives no \
                 next-token logits",
                self.recipe.plugin()
            ))
        })
    }

    fn score_rows(&mut self, rows: &EncodedRows, generation: &Generation) -> Result<Vec<Scored>> {
        let mut order = Vec::with_capacity(rows.len());
        for row in 0..rows.len() {
            order.push((rows.row(&generation.sequence, row)?.len(), row as u32));
        }
        // Rows of one length share a batch: no padding is computed.
        order.sort_unstable();
        let vocabulary = self
            .tokenizer
            .as_ref()
            .map_or(1, |tokenizer| tokenizer.vocabulary() as usize)
            .max(1);
        let mut scores = vec![Scored::default(); rows.len()];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            // Sorted by length: the last row of a batch is its widest.
            let mut count = 1;
            while count < rest.len().min(MOST_ROWS)
                && (count + 1) * rest[count].0.max(1) * vocabulary <= MOST_LOGITS
            {
                count += 1;
            }
            let (batch, later) = rest.split_at(count);
            rest = later;
            self.score_batch(rows, generation, batch, &mut scores)?;
        }
        Ok(scores)
    }

    fn score_batch(
        &mut self,
        rows: &EncodedRows,
        generation: &Generation,
        batch: &[(usize, u32)],
        scores: &mut [Scored],
    ) -> Result<()> {
        let documents: Vec<[u32; 1]> = batch.iter().map(|(_, row)| [*row]).collect();
        let documents: Vec<&[u32]> = documents.iter().map(<[u32; 1]>::as_slice).collect();
        let collated = rows.collate(&documents, 1, 0)?;
        let outputs = self.evaluate(&collated)?;
        let logits = self.output(outputs, &generation.logits)?;
        let &[height, width, vocabulary] = logits.shape() else {
            return Err(self.contract(format!(
                "`{}` must be [batch, tokens, vocabulary], it is {:?}",
                generation.logits,
                logits.shape()
            )));
        };
        let place = self
            .signature
            .sequences()
            .position(|(name, _)| name == generation.sequence)
            .ok_or_else(|| {
                self.contract(format!(
                    "there is no sequence input `{}`",
                    generation.sequence
                ))
            })?;
        let mut labels = vec![IGNORED; height * width];
        self.each_label(
            rows,
            generation,
            &collated.placements,
            place,
            width,
            |at, token, _| {
                labels[at] = i64::from(token);
            },
        )?;
        let labels = Tensor::from_i64(&[height * width], &labels, self.device())?;
        let losses = logits
            .cast(DType::F32)?
            .reshape(&[(height * width) as i64, vocabulary as i64])?
            .cross_entropy(&labels, IGNORED, 0.0, Reduction::None)?
            .to_f32_vec()?;
        let mut found: Vec<(u32, f64, bool)> = Vec::new();
        for placement in &collated.placements {
            let one = std::slice::from_ref(placement);
            self.each_label(rows, generation, one, place, width, |at, _, special| {
                found.push((placement.document, -f64::from(losses[at]), special));
            })?;
        }
        for (document, log_likelihood, special) in found {
            let score = &mut scores[document as usize];
            if special {
                score.special_log_likelihood += log_likelihood;
                score.special_tokens += 1;
            } else {
                score.log_likelihood += log_likelihood;
                score.tokens += 1;
            }
        }
        Ok(())
    }

    /// Every learnt token with the place of the logits that predict it.
    fn each_label(
        &self,
        rows: &EncodedRows,
        generation: &Generation,
        placements: &[Placement],
        sequence: usize,
        width: usize,
        mut label: impl FnMut(usize, u32, bool),
    ) -> Result<()> {
        for placement in placements {
            let tokens = rows.row(&generation.sequence, placement.document as usize)?;
            let start = placement.row * width + placement.starts[sequence];
            for (at, token) in tokens.iter().enumerate().skip(1) {
                if token.is_learnt() {
                    label(start + at - 1, token.id(), token.is_special());
                }
            }
        }
        Ok(())
    }
}
