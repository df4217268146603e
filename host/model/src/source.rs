//! The model as an evaluator sees it.

use std::collections::BTreeMap;

use tenon_data::collate::{Given, Prompt};
use tenon_plugin::{
    GenerationOptions, ModelSource, Scored,
    batch::{Batch, ColumnType},
    recipe::{Layout, Segment},
};

use crate::{Model, ModelError, Result, Settings, generate::Engine};

/// Sequences that are generated side by side.
const SIDE_BY_SIDE: usize = 64;

impl Model {
    /// One continuation for each row. What the recipe marks as learnt is generated, also where the row
    /// has it.
    ///
    /// # Errors
    /// As [`Engine::step`].
    pub fn generate_rows(
        &mut self,
        rows: &Batch,
        options: &GenerationOptions,
    ) -> Result<Vec<String>> {
        let prompts = self.prompts(rows)?;
        let settings = Settings::from_options(options);
        let mut texts = vec![String::new(); prompts.len()];
        for (chunk, first) in prompts
            .chunks(SIDE_BY_SIDE)
            .zip((0..).step_by(SIDE_BY_SIDE))
        {
            let mut engine = Engine::new(self)?;
            for (at, prompt) in chunk.iter().enumerate() {
                let row = first + at;
                let settings = Settings {
                    seed: settings.seed.wrapping_add(row as u64),
                    ..settings.clone()
                };
                engine.admit(row as u64, prompt.clone(), settings, Vec::new())?;
            }
            for (row, candidates) in engine.run(None)? {
                if let Some(best) = candidates.into_iter().next() {
                    texts[row as usize] = best.text;
                }
            }
        }
        Ok(texts)
    }

    /// The prompts of rows: the columns that stand before what is learnt.
    fn prompts(&self, rows: &Batch) -> Result<Vec<Prompt>> {
        let mut wanted: Vec<&str> = Vec::new();
        for input in &self.signature.inputs {
            match &input.layout {
                Layout::Sequence(layout) => wanted.extend(layout.pieces.iter().filter_map(
                    |piece| match &piece.segment {
                        Segment::Column(column) if !piece.learnt => Some(column.as_str()),
                        _ => None,
                    },
                )),
                Layout::Fixed { column, .. } => wanted.push(column),
                Layout::NextTokens { .. } | Layout::Masked { .. } => {}
            }
        }
        (0..rows.rows as usize)
            .map(|row| {
                let mut given = BTreeMap::new();
                for name in &wanted {
                    if let Some(value) = value(rows, name, row)? {
                        given.insert((*name).to_owned(), value);
                    }
                }
                Ok(Prompt::new(
                    &self.signature,
                    self.tokenizer.as_deref(),
                    &given,
                )?)
            })
            .collect()
    }
}

/// A cell as a recipe's column takes it.
fn value(rows: &Batch, name: &str, row: usize) -> Result<Option<Given>> {
    let Some(column) = rows.column(name) else {
        return Ok(None);
    };
    let wrong = |error: String| ModelError::Invalid(format!("column `{name}`, row {row}: {error}"));
    Ok(Some(match column.kind {
        ColumnType::Utf8 => Given::Text(column.utf8(row).map_err(wrong)?.to_owned()),
        ColumnType::Uint32List => Given::Tokens(column.u32_list(row).map_err(wrong)?),
        ColumnType::Float32List => Given::Numbers(column.f32_list(row).map_err(wrong)?),
        other => return Err(wrong(format!("a recipe takes no column of type {other:?}"))),
    }))
}

impl ModelSource for Model {
    fn score(&mut self, rows: &Batch) -> std::result::Result<Vec<Scored>, String> {
        Model::score(self, rows).map_err(|error| error.to_string())
    }

    fn generate(
        &mut self,
        rows: &Batch,
        options: &GenerationOptions,
    ) -> std::result::Result<Vec<String>, String> {
        self.generate_rows(rows, options)
            .map_err(|error| error.to_string())
    }

    fn predict(&mut self, rows: &Batch) -> std::result::Result<Batch, String> {
        Model::predict(self, rows).map_err(|error| error.to_string())
    }
}
