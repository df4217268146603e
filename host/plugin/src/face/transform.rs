//! Transforms: rows to rows.

use std::collections::HashSet;

use serde_json::Value;
use wasmtime::component::ResourceAny;

use crate::{
    Batch, Component, Grants, PluginError,
    batch::BatchError,
    bindings::transform::{TransformPlugin, face},
    instance::Instance,
};

/// Names that `columns` may list on each side.
const MOST_NAMES: usize = 4096;
/// Pieces that one call may return.
const MOST_OUTPUTS: usize = 4096;
/// Rows that one call may return, all pieces together. Columns that the transform has not read follow
/// its rows, so without a bound a few numbers could ask for any amount of memory.
const MOST_ROWS: u64 = 1 << 22;
/// Bytes of a split's name.
const LONGEST_SPLIT: usize = 128;

/// The columns that an opened transform touches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// Those that it is sent; nothing: all of them.
    pub reads: Option<Vec<String>>,
    /// Those that come back, changed or new.
    pub writes: Vec<String>,
}

/// What became of the rows of one input batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// As many as came, in the same order.
    Same,
    /// These input rows survive, ascending; one output row for each.
    Keep(Vec<u32>),
    /// The input row that each output row came from.
    Origin(Vec<u32>),
    /// Rows from nowhere: only the written columns exist.
    Fresh,
}

/// Rows that a transform returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exactly the written columns.
    pub batch: Batch,
    /// How they belong to the input's rows; every index lies within them.
    pub rows: Rows,
    /// The named part of the result that they belong to; nothing: the default part.
    pub split: Option<String>,
}

/// A transform that runs over one dataset.
///
/// After a failure that is not the guest's own answer ([`PluginError::Guest`]) the instance is lost.
pub struct Transform {
    instance: Instance<TransformPlugin>,
    session: ResourceAny,
    columns: Columns,
    finished: bool,
}

impl Transform {
    /// Opens a transform with a configuration, which its schema checks and completes.
    ///
    /// # Errors
    /// [`PluginError::WrongWorld`] if the component is no transform, [`PluginError::Config`] if the
    /// configuration violates the schema, [`PluginError::Guest`] if the transform refuses it.
    pub fn open(
        component: &Component,
        config: &Value,
        grants: Grants,
    ) -> Result<Self, PluginError> {
        component.loaded().linked::<TransformPlugin>()?;
        let config = component.complete_config(config)?.to_string();
        let mut instance = Instance::<TransformPlugin>::open(component, grants)?;
        let session = instance.call_result("open", |store, world| {
            world
                .tenon_transform_transform()
                .session()
                .call_open(store, &config)
        })?;
        let columns = instance.call("columns", |store, world| {
            world
                .tenon_transform_transform()
                .session()
                .call_columns(store, session)
        })?;
        let columns = Columns {
            reads: columns.reads,
            writes: columns.writes,
        };
        columns
            .check()
            .map_err(|reason| PluginError::contract(instance.plugin(), "columns", reason))?;
        Ok(Self {
            instance,
            session,
            columns,
            finished: false,
        })
    }

    /// The columns that it reads and writes.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Sends one batch, in order, and returns what became of it. Of `input` only the columns that the
    /// transform reads are sent; a batch of exactly these is sent without a copy.
    ///
    /// # Errors
    /// [`PluginError::Config`] if the input lacks a column that is read; [`PluginError::Contract`] if
    /// what comes back is not what was declared; [`PluginError::Guest`], limits and traps.
    pub fn process(&mut self, input: &Batch) -> Result<Vec<Output>, PluginError> {
        self.still_open("process")?;
        let session = self.session;
        let projected = self.project(input)?;
        let sent = projected.as_ref().unwrap_or(input);
        let outputs = self.instance.call_result("process", |store, world| {
            world
                .tenon_transform_transform()
                .session()
                .call_process(store, session, sent)
        })?;
        self.checked("process", outputs, Some(input.rows))
    }

    /// Ends the run: rows that were held back, always [`Rows::Fresh`].
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn finish(&mut self) -> Result<Vec<Output>, PluginError> {
        self.still_open("finish")?;
        self.finished = true;
        let session = self.session;
        let outputs = self.instance.call_result("finish", |store, world| {
            world
                .tenon_transform_transform()
                .session()
                .call_finish(store, session)
        })?;
        self.checked("finish", outputs, None)
    }

    /// The plugin's name.
    pub fn plugin(&self) -> &str {
        self.instance.plugin()
    }

    fn still_open(&self, phase: &str) -> Result<(), PluginError> {
        if self.finished {
            return Err(
                PluginError::host(self.plugin(), phase, "this run has been finished")
                    .with_hint("open the transform again for another run"),
            );
        }
        Ok(())
    }

    /// The columns that are read, if the batch has others too.
    fn project(&self, input: &Batch) -> Result<Option<Batch>, PluginError> {
        let Some(reads) = &self.columns.reads else {
            return Ok(None);
        };
        let mut columns = Vec::with_capacity(reads.len());
        for name in reads {
            let column = input.column(name).ok_or_else(|| {
                let found: Vec<&str> = input.names().collect();
                PluginError::config(
                    self.plugin(),
                    "process",
                    format!("it reads the column `{name}`, which the rows do not have; they have {found:?}"),
                )
                .with_hint("configure the plugin for these columns, or rename them")
            })?;
            columns.push(column);
        }
        if columns.len() == input.columns.len() {
            return Ok(None);
        }
        Ok(Some(Batch {
            rows: input.rows,
            columns: columns.into_iter().cloned().collect(),
        }))
    }

    fn checked(
        &self,
        phase: &str,
        outputs: Vec<face::Output>,
        input_rows: Option<u32>,
    ) -> Result<Vec<Output>, PluginError> {
        let broken = |reason: String| PluginError::contract(self.plugin(), phase, reason);
        if outputs.len() > MOST_OUTPUTS {
            return Err(broken(format!(
                "it returned {} pieces; at most {MOST_OUTPUTS} are accepted",
                outputs.len()
            )));
        }
        let rows: u64 = outputs
            .iter()
            .map(|output| u64::from(output.batch.rows))
            .sum();
        if rows > MOST_ROWS {
            return Err(broken(format!(
                "it returned {rows} rows at once; at most {MOST_ROWS} are accepted"
            ))
            .with_hint("return them over several calls"));
        }
        outputs
            .into_iter()
            .enumerate()
            .map(|(index, output)| {
                let output = Output {
                    batch: output.batch,
                    rows: output.rows.into(),
                    split: output.split,
                };
                output
                    .check(&self.columns.writes, input_rows)
                    .map_err(|error| {
                        broken(format!("piece {index} of what it returned: {error}"))
                    })?;
                Ok(output)
            })
            .collect()
    }
}

impl From<face::Rows> for Rows {
    fn from(rows: face::Rows) -> Self {
        match rows {
            face::Rows::Same => Self::Same,
            face::Rows::Keep(rows) => Self::Keep(rows),
            face::Rows::Origin(rows) => Self::Origin(rows),
            face::Rows::Fresh => Self::Fresh,
        }
    }
}

impl Columns {
    fn check(&self) -> Result<(), String> {
        for (what, names) in [
            ("reads", self.reads.as_deref().unwrap_or_default()),
            ("writes", &self.writes),
        ] {
            if names.len() > MOST_NAMES {
                return Err(format!(
                    "it {what} {} columns; at most {MOST_NAMES} are accepted",
                    names.len()
                ));
            }
            let mut seen = HashSet::new();
            for name in names {
                if name.is_empty() {
                    return Err(format!("it {what} a column without a name"));
                }
                if !seen.insert(name) {
                    return Err(format!("it {what} the column {name:?} twice"));
                }
            }
        }
        Ok(())
    }
}

impl Output {
    /// Whether it is what the transform has declared, for an input of so many rows (nothing: in
    /// `finish`, where there is none).
    fn check(&self, writes: &[String], input_rows: Option<u32>) -> Result<(), BatchError> {
        self.batch.check()?;
        if let Some(missing) = writes.iter().find(|name| self.batch.column(name).is_none()) {
            return Err(BatchError {
                column: Some(missing.clone()),
                reason: "it is declared as written but did not come back".into(),
            });
        }
        if let Some(extra) = self
            .batch
            .names()
            .find(|name| !writes.iter().any(|written| written == name))
        {
            return Err(BatchError {
                column: Some(extra.to_owned()),
                reason: "it came back but is not declared as written".into(),
            });
        }
        if let Some(split) = &self.split
            && (split.is_empty()
                || split.len() > LONGEST_SPLIT
                || split.chars().any(char::is_control))
        {
            return Err(BatchError::whole(format!(
                "its split is named {:?}; a name has 1 to {LONGEST_SPLIT} bytes and no control characters",
                split.chars().take(80).collect::<String>()
            )));
        }
        self.check_rows(input_rows).map_err(BatchError::whole)
    }

    fn check_rows(&self, input_rows: Option<u32>) -> Result<(), String> {
        let rows = self.batch.rows as usize;
        let Some(input) = input_rows else {
            return match self.rows {
                Rows::Fresh => self.batch.check_alone().map_err(|e| e.to_string()),
                _ => Err("`finish` has no input rows to refer to; its rows are `fresh`".into()),
            };
        };
        let counted = |name: &str, listed: usize| {
            (listed == rows)
                .then_some(())
                .ok_or_else(|| format!("`{name}` lists {listed} rows, but the batch has {rows}"))
        };
        let inside = |name: &str, list: &[u32]| match list.iter().max() {
            Some(&last) if last >= input => Err(format!(
                "`{name}` names row {last}; the input has {input} rows, counted from 0"
            )),
            _ => Ok(()),
        };
        match &self.rows {
            Rows::Same if self.batch.rows != input => Err(format!(
                "`same` means {input} rows as in the input, but the batch has {rows}"
            )),
            Rows::Same => Ok(()),
            Rows::Keep(kept) => {
                counted("keep", kept.len())?;
                inside("keep", kept)?;
                match kept.windows(2).find(|pair| pair[0] >= pair[1]) {
                    Some(pair) => Err(format!(
                        "`keep` is not ascending: row {} after row {}",
                        pair[1], pair[0]
                    )),
                    None => Ok(()),
                }
            }
            Rows::Origin(origins) => {
                counted("origin", origins.len())?;
                inside("origin", origins)
            }
            Rows::Fresh => self.batch.check_alone().map_err(|e| e.to_string()),
        }
    }
}

impl std::fmt::Debug for Transform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transform")
            .field("plugin", &self.plugin())
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::batch::Column;

    fn output(texts: &[&str], rows: Rows) -> Output {
        let batch = Batch::new(
            texts.len() as u32,
            vec![Column::from_utf8("text", texts.iter().copied())],
        )
        .unwrap();
        Output {
            batch,
            rows,
            split: None,
        }
    }

    fn refused(output: &Output, input_rows: Option<u32>) -> String {
        output
            .check(&["text".into()], input_rows)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn rows_that_fit_the_input() {
        let writes = ["text".to_owned()];
        output(&["a", "b"], Rows::Same)
            .check(&writes, Some(2))
            .unwrap();
        output(&["a", "b"], Rows::Keep(vec![0, 4]))
            .check(&writes, Some(5))
            .unwrap();
        output(&["a", "b", "c"], Rows::Origin(vec![1, 1, 0]))
            .check(&writes, Some(2))
            .unwrap();
        output(&["a", "b", "c"], Rows::Fresh)
            .check(&writes, Some(0))
            .unwrap();
        output(&["a"], Rows::Fresh).check(&writes, None).unwrap();
    }

    #[test]
    fn rows_that_do_not() {
        assert!(refused(&output(&["a"], Rows::Same), Some(2)).contains("`same` means 2 rows"));
        assert!(
            refused(&output(&["a"], Rows::Keep(vec![0, 1])), Some(2))
                .contains("lists 2 rows, but the batch has 1")
        );
        assert!(refused(&output(&["a"], Rows::Keep(vec![2])), Some(2)).contains("names row 2"));
        assert!(
            refused(&output(&["a", "b"], Rows::Keep(vec![1, 1])), Some(2))
                .contains("not ascending")
        );
        assert!(
            refused(&output(&["a", "b"], Rows::Keep(vec![1, 0])), Some(2))
                .contains("not ascending")
        );
        assert!(
            refused(&output(&["a"], Rows::Origin(vec![u32::MAX])), Some(2))
                .contains("names row 4294967295")
        );
        assert!(refused(&output(&["a"], Rows::Origin(vec![0])), Some(0)).contains("has 0 rows"));
        assert!(refused(&output(&["a"], Rows::Same), None).contains("`fresh`"));
    }

    #[test]
    fn exactly_the_declared_columns_come_back() {
        let mut extra = output(&["a"], Rows::Same);
        extra.batch.columns.push(Column::from_i64s("score", [1]));
        assert_eq!(
            refused(&extra, Some(1)),
            "column `score`: it came back but is not declared as written"
        );
        let missing = Output {
            batch: Batch {
                rows: 1,
                columns: vec![],
            },
            rows: Rows::Same,
            split: None,
        };
        assert!(
            refused(&missing, Some(1))
                .contains("column `text`: it is declared as written but did not come back")
        );
        // A filter writes nothing: its batch has no columns.
        let filter = Output {
            batch: Batch {
                rows: 1,
                columns: vec![],
            },
            rows: Rows::Keep(vec![3]),
            split: None,
        };
        filter.check(&[], Some(5)).unwrap();
        // But rows from nowhere without a column are none.
        let air = Output {
            batch: Batch {
                rows: 1 << 20,
                columns: vec![],
            },
            rows: Rows::Fresh,
            split: None,
        };
        assert!(
            air.check(&[], Some(5))
                .unwrap_err()
                .to_string()
                .contains("no columns")
        );
    }

    #[test]
    fn splits_have_names() {
        for name in ["", "a\nb", &"x".repeat(1000)] {
            let split = Output {
                split: Some(name.into()),
                ..output(&["a"], Rows::Same)
            };
            assert!(refused(&split, Some(1)).contains("split"), "{name:?}");
        }
    }

    #[test]
    fn columns_are_named_once() {
        let twice = Columns {
            reads: None,
            writes: vec!["a".into(), "a".into()],
        };
        assert!(twice.check().unwrap_err().contains("twice"));
        let nameless = Columns {
            reads: Some(vec![String::new()]),
            writes: vec![],
        };
        assert!(nameless.check().unwrap_err().contains("without a name"));
    }
}
