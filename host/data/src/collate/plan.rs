//! The order of an epoch: which documents stand in which row of which batch.

use tenon_tensor::rng;

use super::encode::EncodedRows;
use super::loader::BatchOptions;

/// Rows that packing keeps open at a time.
const OPEN_ROWS: usize = 64;

/// An epoch's batches. A function of the rows, the options and the epoch's number alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochPlan {
    documents: Vec<u32>,
    /// Where each row's documents end.
    row_ends: Vec<u32>,
    /// Where each batch's rows end.
    batch_ends: Vec<u32>,
}

impl EpochPlan {
    /// Plans an epoch.
    pub fn new(rows: &EncodedRows, options: &BatchOptions, epoch: u64) -> Self {
        let key = rng::derive(rng::derive_str(options.seed, "order"), epoch);
        let mut order: Vec<u32> = (0..rows.units() as u32).collect();
        if options.shuffle {
            shuffle(&mut order, key);
        }
        let batch_rows = options.rows.max(1);
        let mut plan = Self::default();
        match options.pack_tokens.filter(|_| rows.is_packable()) {
            Some(capacity) => {
                let packed = pack(rows, &order, capacity);
                for batch in packed.chunks(batch_rows) {
                    plan.push(batch.iter().map(Vec::as_slice));
                }
            }
            None if options.bucket_batches > 1 => {
                for (index, window) in order
                    .chunks_mut(batch_rows * options.bucket_batches)
                    .enumerate()
                {
                    // Stable: equally long rows keep their shuffled order.
                    window.sort_by_key(|row| rows.length(*row as usize));
                    let mut batches: Vec<&[u32]> = window.chunks(batch_rows).collect();
                    if options.shuffle {
                        shuffle(&mut batches, rng::derive(key, index as u64));
                    }
                    for batch in batches {
                        plan.push(batch.chunks(1));
                    }
                }
            }
            None => {
                for batch in order.chunks(batch_rows) {
                    plan.push(batch.chunks(1));
                }
            }
        }
        if options.drop_last {
            plan.keep_full(batch_rows);
        }
        plan
    }

    fn push<'a>(&mut self, rows: impl Iterator<Item = &'a [u32]>) {
        for documents in rows {
            self.documents.extend_from_slice(documents);
            self.row_ends.push(self.documents.len() as u32);
        }
        self.batch_ends.push(self.row_ends.len() as u32);
    }

    /// Leaves out batches of fewer rows, unless there is no other.
    fn keep_full(&mut self, rows: usize) {
        if self.len() < 2 {
            return;
        }
        let mut full = Self::default();
        for index in 0..self.len() {
            let batch = self.batch(index);
            if batch.len() == rows {
                full.push(batch.into_iter());
            }
        }
        if !full.batch_ends.is_empty() {
            *self = full;
        }
    }

    /// Batches.
    pub fn len(&self) -> usize {
        self.batch_ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.batch_ends.is_empty()
    }

    /// The documents of each row of a batch.
    pub fn batch(&self, index: usize) -> Vec<&[u32]> {
        let start = if index == 0 {
            0
        } else {
            self.batch_ends[index - 1] as usize
        };
        (start..self.batch_ends[index] as usize)
            .map(|row| {
                let first = if row == 0 {
                    0
                } else {
                    self.row_ends[row - 1] as usize
                };
                &self.documents[first..self.row_ends[row] as usize]
            })
            .collect()
    }
}

/// Fisher–Yates with counter-based numbers.
fn shuffle<T>(items: &mut [T], key: u64) {
    for last in (1..items.len()).rev() {
        // The bias of the multiplication is below 2⁻³² for any number of rows that fits.
        let random = rng::bits_at(key, last as u64);
        let other = ((u128::from(random) * (last as u128 + 1)) >> 64) as usize;
        items.swap(last, other);
    }
}

/// First fit in order: a document goes to the first open row that has room for it in every sequence.
/// The oldest row is closed when too many are open. A document that is longer than a row gets one of
/// its own.
fn pack(rows: &EncodedRows, order: &[u32], capacity: usize) -> Vec<Vec<u32>> {
    struct Open {
        documents: Vec<u32>,
        used: Vec<usize>,
    }
    let mut open: std::collections::VecDeque<Open> = std::collections::VecDeque::new();
    let mut packed = Vec::new();
    for document in order {
        let lengths = rows
            .sequences
            .iter()
            .map(|sequence| sequence.row(*document as usize).len());
        let lengths: Vec<usize> = lengths.collect();
        let fitting = open.iter_mut().find(|row| {
            row.used
                .iter()
                .zip(&lengths)
                .all(|(used, length)| used + length <= capacity)
        });
        match fitting {
            Some(row) => {
                row.documents.push(*document);
                row.used
                    .iter_mut()
                    .zip(&lengths)
                    .for_each(|(used, length)| *used += length);
            }
            None => {
                if open.len() == OPEN_ROWS {
                    packed.extend(open.pop_front().map(|row| row.documents));
                }
                open.push_back(Open {
                    documents: vec![*document],
                    used: lengths,
                });
            }
        }
    }
    packed.extend(open.into_iter().map(|row| row.documents));
    packed
}
