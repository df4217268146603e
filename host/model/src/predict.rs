//! A recipe's outputs as columns.

use tenon_data::collate::{EncodeOptions, EncodedRows, Prompt, collate_prompts};
use tenon_plugin::{
    batch::{Batch, Column, ColumnType},
    processor::Array,
};
use tenon_tensor::{DType, Tensor};

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
            // Without targets, which nobody knows here, and with nothing hidden.
            &self.signature.without_targets(),
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
                let numbers = self.numbers(&name, &value, chunk.len())?;
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

    /// The outputs of forward for requests: for each its part of every output.
    ///
    /// # Errors
    /// Requests that differ in their inputs; outputs that do not have one entry a row.
    pub fn predict_prompts(&mut self, prompts: &[Prompt]) -> Result<Vec<Vec<Array>>> {
        let pad = self
            .tokenizer
            .as_ref()
            .map_or(0, |tokenizer| tokenizer.pad_id());
        let mut answers = Vec::with_capacity(prompts.len());
        for chunk in prompts.chunks(ROWS) {
            let outputs = self.evaluate(&collate_prompts(chunk, pad, 1)?)?;
            let first = answers.len();
            answers.resize_with(first + chunk.len(), || Vec::with_capacity(outputs.len()));
            for (name, value) in outputs {
                let numbers = self.numbers(&name, &value, chunk.len())?;
                let shape: Vec<u32> = value.shape()[1..].iter().map(|&dim| dim as u32).collect();
                let width = numbers.len() / chunk.len();
                for (row, answer) in answers[first..].iter_mut().enumerate() {
                    answer.push(Array {
                        name: name.clone(),
                        shape: shape.clone(),
                        values: numbers[row * width..][..width].to_vec(),
                    });
                }
            }
        }
        Ok(answers)
    }

    /// The numbers of an output that has one entry for each of `rows`.
    fn numbers(&self, name: &str, value: &Tensor, rows: usize) -> Result<Vec<f32>> {
        if value.shape().first() != Some(&rows) {
            return Err(self.contract(format!(
                "output `{name}` has shape {:?} for a batch of {rows} rows",
                value.shape(),
            )));
        }
        Ok(value.cast(DType::F32)?.to_f32_vec()?)
    }
}
