//! Walking over the rows, batch by batch, in an order that can be resumed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tenon_tensor::rng;
use utoipa::ToSchema;

use super::CollatedBatch;
use super::encode::EncodedRows;
use super::plan::EpochPlan;
use crate::error::{DataError, Result};

/// How batches are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchOptions {
    /// Rows of a batch, or pairs of rows where pairs are learnt from.
    pub rows: usize,
    /// Whether every epoch has another order.
    pub shuffle: bool,
    /// Of the order and of hidden tokens.
    pub seed: u64,
    /// Widths are rounded up to a multiple of this. Nothing: as wide as needed, or what the device is
    /// best at, where the one who trains knows it.
    pub pad_multiple: Option<usize>,
    /// Several documents share a row of at most this many tokens, where the recipe's inputs are
    /// packable; where they are not, this has no effect.
    pub pack_tokens: Option<usize>,
    /// More than 1: rows of similar length share a batch, among the rows of this many batches.
    pub bucket_batches: usize,
    /// Leaves out the last batch of an epoch where it is not full.
    pub drop_last: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            rows: 32,
            shuffle: true,
            seed: 0,
            pad_multiple: None,
            pack_tokens: None,
            bucket_batches: 0,
            drop_last: false,
        }
    }
}

/// The batch that comes next. With the same rows and options it always means the same batch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
pub struct Position {
    /// Epochs that are complete.
    pub epoch: u64,
    /// Batches of the current epoch that are done.
    pub batch: u64,
}

/// Hands out batches for ever, epoch after epoch.
#[derive(Clone, Debug)]
pub struct Loader {
    rows: Arc<EncodedRows>,
    options: BatchOptions,
    plan: EpochPlan,
    position: Position,
}

impl Loader {
    /// Begins with the first batch of epoch 0.
    ///
    /// # Errors
    /// [`DataError::Invalid`] if there are no rows, or for options that cannot be.
    pub fn new(rows: Arc<EncodedRows>, options: BatchOptions) -> Result<Self> {
        if rows.is_empty() {
            return Err(DataError::Invalid(
                "there are no rows to make batches from".into(),
            ));
        }
        if options.rows == 0 || options.pad_multiple == Some(0) || options.pack_tokens == Some(0) {
            return Err(DataError::Invalid(
                "`rows`, `pad_multiple` and `pack_tokens` of a batch must be at least 1".into(),
            ));
        }
        let plan = EpochPlan::new(&rows, &options, 0);
        Ok(Self {
            rows,
            options,
            plan,
            position: Position::default(),
        })
    }

    /// The rows that it walks over.
    pub fn rows(&self) -> &Arc<EncodedRows> {
        &self.rows
    }

    /// How batches are made.
    pub fn options(&self) -> &BatchOptions {
        &self.options
    }

    /// Batches of the current epoch. With packing, epochs may differ by a few.
    pub fn batches(&self) -> usize {
        self.plan.len()
    }

    /// The batch that [`Loader::next_batch`] gives next.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Goes to a position that [`Loader::position`] once gave.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for a batch that the epoch does not have: the rows or the options are
    /// not those of then.
    pub fn seek(&mut self, position: Position) -> Result<()> {
        let plan = EpochPlan::new(&self.rows, &self.options, position.epoch);
        if position.batch > plan.len() as u64 {
            return Err(DataError::Invalid(format!(
                "epoch {} has {} batches, there is no position {}; was the job started with other data or options?",
                position.epoch,
                plan.len(),
                position.batch
            )));
        }
        self.plan = plan;
        self.position = position;
        Ok(())
    }

    /// The next batch; after the last of an epoch comes the first of the next.
    ///
    /// # Errors
    /// None that are not a mistake of this crate.
    pub fn next_batch(&mut self) -> Result<CollatedBatch> {
        if self.position.batch >= self.plan.len() as u64 {
            self.seek(Position {
                epoch: self.position.epoch + 1,
                batch: 0,
            })?;
        }
        let batch = self.collate(&self.plan, self.position)?;
        self.position.batch += 1;
        Ok(batch)
    }

    /// The batches of one epoch, wherever the loader stands: for evaluation.
    pub fn epoch(&self, epoch: u64) -> impl Iterator<Item = Result<CollatedBatch>> + '_ {
        let plan = EpochPlan::new(&self.rows, &self.options, epoch);
        (0..plan.len() as u64).map(move |batch| self.collate(&plan, Position { epoch, batch }))
    }

    fn collate(&self, plan: &EpochPlan, position: Position) -> Result<CollatedBatch> {
        let mask_key = rng::derive(rng::derive_str(self.options.seed, "mask"), position.epoch);
        let mut rows = plan.batch(position.batch as usize);
        let partners: Vec<u32>;
        if self.rows.is_paired() {
            let half = self.rows.units() as u32;
            partners = rows
                .iter()
                .flat_map(|row| row.iter())
                .map(|row| half + row)
                .collect();
            rows.extend(partners.chunks(1));
        }
        self.rows
            .collate(&rows, self.options.pad_multiple.unwrap_or(1), mask_key)
    }
}
