//! A recipe's outputs as columns.

use tenon_data::collate::{EncodeOptions, EncodedRows};
use tenon_plugin::batch::{Batch, Column, ColumnType};
use tenon_tensor::DType;

use crate::{Model, Result};

/// Rows of one forward.
const ROWS: usize = 64;

impl Model {
    /// The outputs of forward, one list of numbers a row and output.
    ///
    /// # Errors
    /// Rows that do not fit the recipe; outputs that do not have one entry a row.
    pub fn predict(&mut self, rows: &Batch) -> Result<Batch> {
        let encoded = EncodedRows::from_batch(
            &self.signature,
            self.tokenizer.as_deref(),
            rows.clone(),
            EncodeOptions::default(),
        )?;
        let mut columns: Vec<(String, Vec<u8>, Vec<u32>)> = Vec::new();
        let all: Vec<u32> = (0..encoded.len() as u32).collect();
        for chunk in all.chunks(ROWS) {
            let documents: Vec<&[u32]> = chunk.chunks(1).collect();
            let collated = encoded.collate(&documents, 1, 0)?;
            for (at, (name, value)) in self.evaluate(&collated)?.into_iter().enumerate() {
                if value.shape().first() != Some(&chunk.len()) {
                    return Err(self.contract(format!(
                        "output `{name}` has shape {:?} for a batch of {} rows",
                        value.shape(),
                        chunk.len()
                    )));
                }
                let numbers = value.cast(DType::F32)?.to_f32_vec()?;
                if columns.len() == at {
                    columns.push((name, Vec::new(), vec![0]));
                }
                let (_, bytes, offsets) = &mut columns[at];
                let width = numbers.len() / chunk.len();
                for row in numbers.chunks(width.max(1)).take(chunk.len()) {
                    bytes.extend(row.iter().flat_map(|number| number.to_le_bytes()));
                    offsets.push((bytes.len() / 4) as u32);
                }
            }
        }
        Ok(Batch {
            rows: encoded.len() as u32,
            columns: columns
                .into_iter()
                .map(|(name, values, offsets)| Column {
                    name,
                    kind: ColumnType::Float32List,
                    values,
                    offsets: offsets
                        .iter()
                        .flat_map(|offset| offset.to_le_bytes())
                        .collect(),
                    validity: Vec::new(),
                })
                .collect(),
        })
    }
}
