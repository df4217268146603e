//! The model as an evaluator sees it.

use std::collections::BTreeMap;

use tenon_data::collate::{Given, Prompt};
use tenon_plugin::{
    GenerationOptions, ModelSource, Scored,
    batch::{Batch, ColumnType},
    recipe::{Layout, Segment},
};

use crate::{Event, Model, ModelError, Result, Settings, generate::Engine};

/// Sequences that are generated side by side.
const SIDE_BY_SIDE: usize = 64;

impl Model {
    /// One continuation for each row. What the recipe marks as learnt is generated, also where the row
    /// has it.
    ///
    /// # Errors
    /// Rows that do not fit the recipe; the first failure of the recipe.
    pub fn generate_rows(
        &mut self,
        rows: &Batch,
        options: &GenerationOptions,
    ) -> Result<Vec<String>> {
        let prompts = self.prompts(rows)?;
        let settings = Settings::from_options(options);
        let mut texts = vec![String::new(); prompts.len()];
        let mut waiting = (0..).zip(prompts).peekable();
        let mut engine = Engine::new(self)?;
        while waiting.peek().is_some() || !engine.is_empty() {
            // A row that is done makes room for the next at once.
            while engine.is_empty() || engine.width() + settings.width() <= SIDE_BY_SIDE {
                let Some((row, prompt)) = waiting.next() else {
                    break;
                };
                let settings = Settings {
                    seed: settings.seed.wrapping_add(row),
                    ..settings.clone()
                };
                engine.admit(row, prompt, settings, Vec::new())?;
            }
            for event in engine.step(None) {
                match event {
                    Event::Done { id, candidates } => {
                        if let Some(best) = candidates.into_iter().next() {
                            texts[id as usize] = best.text;
                        }
                    }
                    Event::Failed { error, .. } => return Err(error),
                    Event::Token { .. } | Event::Ended { .. } => {}
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
                Layout::Fixed {
                    column,
                    learnt: false,
                    ..
                } => wanted.push(column),
                Layout::Fixed { learnt: true, .. }
                | Layout::NextTokens { .. }
                | Layout::Masked { .. }
                | Layout::Pieces { .. } => {}
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
    let wrong =
        |reason: String| ModelError::Invalid(format!("column `{name}`, row {row}: {reason}"));
    let found = match column.kind {
        ColumnType::Utf8 => column.utf8(row).map(|text| Given::Text(text.to_owned())),
        ColumnType::Uint32List => column
            .u32_list(row)
            .map(|ids| Given::Tokens(ids.into_owned())),
        ColumnType::Float32List => column
            .f32_list(row)
            .map(|numbers| Given::Numbers(numbers.into_owned())),
        other => {
            let name = other.name();
            return Err(wrong(format!("a recipe takes no column of type {name}")));
        }
    };
    found
        .map(Some)
        .ok_or_else(|| wrong("there is no value".to_owned()))
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
