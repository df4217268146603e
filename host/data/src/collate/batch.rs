//! Filling the arrays of one batch.

use tenon_plugin::recipe::Layout;
use tenon_tensor::nn::SequenceInfo;
use tenon_tensor::rng;

use super::encode::{EncodedRows, EncodedSequence, Mask};
use super::{Array, CollatedBatch, IGNORED, Placement};
use crate::error::{DataError, Result};

/// A sequence input, laid out.
struct Laid {
    ids: Vec<i64>,
    width: usize,
    /// Each document: its number, its row, its first token in the row.
    documents: Vec<(u32, usize, usize)>,
    info: SequenceInfo,
    tokens: usize,
}

impl EncodedRows {
    /// Collates the documents that are given for each row. Widths are rounded up to a multiple of
    /// `pad_multiple`. `mask_key` decides which tokens of masked inputs are hidden: derive it from
    /// seed and epoch.
    ///
    /// # Errors
    /// [`DataError::Invalid`] for a document that is not there, or several in a row where the
    /// recipe cannot pack.
    pub fn collate(
        &self,
        rows: &[&[u32]],
        pad_multiple: usize,
        mask_key: u64,
    ) -> Result<CollatedBatch> {
        for documents in rows {
            if documents.len() != 1 && !self.is_packable() {
                return Err(DataError::Invalid(
                    "the recipe's inputs take exactly one row of the dataset in each row of a batch".into(),
                ));
            }
            if let Some(outside) = documents
                .iter()
                .find(|document| **document as usize >= self.len())
            {
                return Err(DataError::Invalid(format!(
                    "there is no row {outside} of {}",
                    self.len()
                )));
            }
        }
        let mut laid: Vec<Laid> = self
            .sequences
            .iter()
            .map(|sequence| lay(sequence, rows, pad_multiple, self.pad))
            .collect();
        let mut arrays = Vec::with_capacity(self.signature().inputs.len());
        let mut learnt_tokens = 0;
        let mut masks = self.masks.iter();
        // Hidden tokens are drawn first: they change the sequences, but never the labels.
        let mut hidden = Vec::new();
        for (number, input) in self.signature().inputs.iter().enumerate() {
            if matches!(input.layout, Layout::Masked { .. })
                && let Some(mask) = masks.next()
            {
                let key = rng::derive(mask_key, number as u64);
                let drawn = self.hide(&mut laid[mask.place], mask, key);
                hidden.push((number, mask.place, drawn));
            }
        }
        for (number, input) in self.signature().inputs.iter().enumerate() {
            match &input.layout {
                Layout::Sequence(_) => {
                    let sequence = &laid[self.sequence(&input.name)?];
                    arrays.push(Array::int64(
                        &input.name,
                        [rows.len(), sequence.width],
                        &sequence.ids,
                    ));
                }
                Layout::NextTokens { sequence } => {
                    let place = self.sequence(sequence)?;
                    let labels = self.labels(&laid[place], &self.sequences[place]);
                    learnt_tokens += labels.iter().filter(|label| **label != IGNORED).count();
                    arrays.push(Array::int64(
                        &input.name,
                        [rows.len(), laid[place].width],
                        &labels,
                    ));
                }
                Layout::Masked { .. } => {
                    for (_, place, (targets, mask)) in
                        hidden.iter().filter(|(hidden, ..)| *hidden == number)
                    {
                        let shape = [rows.len(), laid[*place].width];
                        learnt_tokens +=
                            targets.iter().filter(|target| **target != IGNORED).count();
                        arrays.push(Array::int64(&input.name, shape, targets));
                        arrays.push(Array::float32(&format!("{}.mask", input.name), shape, mask));
                    }
                }
                Layout::Pieces { sequence } => {
                    let place = self.sequence(sequence)?;
                    let pieces = pieces(&laid[place], &self.sequences[place]);
                    let shape = [rows.len(), laid[place].width];
                    arrays.push(Array::int64(&input.name, shape, &pieces));
                }
                Layout::Fixed { .. } => arrays.extend(self.fixed_array(&input.name, rows)),
            }
        }
        Ok(CollatedBatch {
            placements: placements(rows, &laid),
            rows: rows.len(),
            tokens: laid.iter().map(|sequence| sequence.tokens).sum(),
            infos: laid.into_iter().map(|sequence| sequence.info).collect(),
            arrays,
            learnt_tokens,
        })
    }

    fn labels(&self, laid: &Laid, sequence: &EncodedSequence) -> Vec<i64> {
        let mut labels = vec![IGNORED; laid.ids.len()];
        for (document, row, start) in &laid.documents {
            let tokens = sequence.row(*document as usize);
            let first = row * laid.width + start;
            for (at, next) in tokens.iter().skip(1).enumerate() {
                if next.is_learnt() {
                    labels[first + at] = i64::from(next.id());
                }
            }
        }
        labels
    }

    /// Chooses learnt tokens and hides them in place; returns what they were and where.
    fn hide(&self, laid: &mut Laid, mask: &Mask, key: u64) -> (Vec<i64>, Vec<f32>) {
        let mut targets = vec![IGNORED; laid.ids.len()];
        let mut masked = vec![0.0; laid.ids.len()];
        for (document, row, start) in &laid.documents {
            let key = rng::derive(key, u64::from(*document));
            let (manner, other) = (rng::derive(key, 1), rng::derive(key, 2));
            let first = row * laid.width + start;
            for (at, token) in self.sequences[mask.place]
                .row(*document as usize)
                .iter()
                .enumerate()
            {
                let place = at as u64;
                if !token.is_learnt() || rng::uniform_at(key, place) >= mask.probability {
                    continue;
                }
                targets[first + at] = i64::from(token.id());
                masked[first + at] = 1.0;
                let manner = rng::uniform_at(manner, place);
                if manner < mask.replaced {
                    let random = u128::from(rng::bits_at(other, place));
                    laid.ids[first + at] = ((random * u128::from(mask.vocabulary)) >> 64) as i64;
                } else if manner >= mask.replaced + mask.kept {
                    laid.ids[first + at] = i64::from(mask.token);
                }
            }
        }
        (targets, masked)
    }

    fn fixed_array(&self, name: &str, rows: &[&[u32]]) -> Option<Array> {
        let fixed = self.fixed.iter().find(|fixed| fixed.name == name)?;
        let mut shape = vec![rows.len()];
        shape.extend_from_slice(&fixed.shape);
        let documents = rows.iter().flat_map(|documents| documents.iter());
        Some(Array {
            name: name.to_owned(),
            dtype: fixed.dtype,
            shape,
            bytes: documents
                .flat_map(|document| fixed.row(*document as usize))
                .copied()
                .collect(),
        })
    }
}

/// The number of the piece that each token comes from.
fn pieces(laid: &Laid, sequence: &EncodedSequence) -> Vec<i64> {
    let mut out = vec![0; laid.ids.len()];
    for (document, row, start) in &laid.documents {
        let first = row * laid.width + start;
        let mut from = 0;
        for (piece, end) in sequence.pieces(*document as usize).iter().enumerate() {
            out[first + from..first + *end as usize].fill(piece as i64);
            from = *end as usize;
        }
    }
    out
}

fn lay(sequence: &EncodedSequence, rows: &[&[u32]], pad_multiple: usize, pad: u32) -> Laid {
    let lengths: Vec<Vec<usize>> = rows
        .iter()
        .map(|documents| {
            documents
                .iter()
                .map(|document| sequence.row(*document as usize).len())
                .collect()
        })
        .collect();
    let longest = lengths
        .iter()
        .map(|row| row.iter().sum())
        .max()
        .unwrap_or(0);
    // At least one column: devices do not like empty tensors.
    let width = longest.max(1).next_multiple_of(pad_multiple.max(1));
    let mut ids = vec![i64::from(pad); rows.len() * width];
    let mut documents = Vec::new();
    let mut tokens = 0;
    for (row, list) in rows.iter().enumerate() {
        let mut start = 0;
        for document in *list {
            let source = sequence.row(*document as usize);
            let first = row * width + start;
            for (id, token) in ids[first..first + source.len()].iter_mut().zip(source) {
                *id = i64::from(token.id());
            }
            documents.push((*document, row, start));
            start += source.len();
        }
        tokens += start;
    }
    Laid {
        ids,
        width,
        documents,
        info: SequenceInfo {
            name: sequence.name.clone(),
            tokens: width,
            rows: lengths,
        },
        tokens,
    }
}

fn placements(rows: &[&[u32]], laid: &[Laid]) -> Vec<Placement> {
    let documents = rows
        .iter()
        .enumerate()
        .flat_map(|(row, documents)| documents.iter().map(move |document| (row, *document)));
    documents
        .enumerate()
        .map(|(index, (row, document))| Placement {
            document,
            row,
            starts: laid
                .iter()
                .map(|sequence| sequence.documents[index].2)
                .collect(),
        })
        .collect()
}
