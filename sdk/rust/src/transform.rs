//! Transforms: rows to rows.

use std::cell::RefCell;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub use crate::bindings::transform::face::{Columns, Output, Rows};
use crate::{
    Batch, Column, Error, Result,
    bindings::{transform::face::GuestSession, types},
    plugin,
};

/// Turns the rows of one dataset into those of another. Export it with
/// [`export_transform!`](crate::export_transform).
pub trait Transform: Sized + 'static {
    /// `owner/name`, lower case.
    const NAME: &'static str;
    /// One sentence.
    const SUMMARY: &'static str;
    /// Capabilities asked for: `model`, `tokenizer`, `dataset:NAME`.
    const CAPABILITIES: &'static [&'static str] = &[];
    /// The configuration; its doc comments become the schema's descriptions.
    type Config: DeserializeOwned + JsonSchema;

    /// Begins a run over one dataset. The configuration has passed the schema.
    ///
    /// # Errors
    /// What the schema cannot express: options that contradict each other, a missing capability.
    fn open(config: Self::Config) -> Result<Self>;

    /// The columns that it touches.
    fn columns(&self) -> Columns;

    /// Called for every batch, in order.
    ///
    /// # Errors
    /// Rows that it cannot work on.
    fn process(&mut self, input: Batch) -> Result<Vec<Output>>;

    /// Called once at the end: rows that were held back, as [`Output::fresh`].
    ///
    /// # Errors
    /// As [`process`](Self::process).
    fn finish(&mut self) -> Result<Vec<Output>> {
        Ok(Vec::new())
    }
}

impl Columns {
    /// Reads these columns and writes them back changed.
    pub fn rewrite(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        Self {
            reads: Some(names.clone()),
            writes: names,
        }
    }

    /// Reads these columns.
    pub fn read(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            reads: Some(names.into_iter().map(Into::into).collect()),
            writes: Vec::new(),
        }
    }

    /// Reads all columns.
    pub fn all() -> Self {
        Self {
            reads: None,
            writes: Vec::new(),
        }
    }

    /// And writes these.
    #[must_use]
    pub fn write(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.writes.extend(names.into_iter().map(Into::into));
        self
    }
}

impl Output {
    /// As many rows as came, in the same order; `columns` are the written ones.
    ///
    /// # Panics
    /// If the columns are of different lengths.
    #[track_caller]
    pub fn same(columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            batch: written(columns, None),
            rows: Rows::Same,
            split: None,
        }
    }

    /// These input rows survive, ascending; `columns` are the written ones, one row for each survivor.
    ///
    /// # Panics
    /// If the columns are of different lengths.
    #[track_caller]
    pub fn keep(rows: Vec<u32>, columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            batch: written(columns, Some(rows.len())),
            rows: Rows::Keep(rows),
            split: None,
        }
    }

    /// Every output row with the input row that it came from.
    ///
    /// # Panics
    /// If the columns are of different lengths.
    #[track_caller]
    pub fn origin(rows: Vec<u32>, columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            batch: written(columns, Some(rows.len())),
            rows: Rows::Origin(rows),
            split: None,
        }
    }

    /// Rows without an origin.
    pub fn fresh(batch: Batch) -> Self {
        Self {
            batch,
            rows: Rows::Fresh,
            split: None,
        }
    }

    /// Puts the rows into a named part of the result: `train`, `dev`, …
    #[must_use]
    pub fn into_split(mut self, name: impl Into<String>) -> Self {
        self.split = Some(name.into());
        self
    }
}

/// The written columns as a batch of `rows` rows, or of as many as they have.
#[track_caller]
fn written(columns: impl IntoIterator<Item = Column>, rows: Option<usize>) -> Batch {
    let columns: Vec<Column> = columns.into_iter().collect();
    match rows {
        Some(rows) => Batch::new(rows as u32, columns),
        None => match Batch::from_columns(columns) {
            Ok(batch) => batch,
            Err(error) => panic!("{error}"),
        },
    }
}

/// What [`export_transform!`](crate::export_transform) exports.
#[doc(hidden)]
pub struct TransformSession<T>(RefCell<T>);

impl<T: Transform> GuestSession for TransformSession<T> {
    fn open(config: String) -> Result<crate::bindings::transform::face::Session, types::Error> {
        plugin::start();
        let config = plugin::config(&config)?;
        let transform = T::open(config).map_err(Error::into_host)?;
        Ok(crate::bindings::transform::face::Session::new(Self(
            RefCell::new(transform),
        )))
    }

    fn columns(&self) -> Columns {
        self.0.borrow().columns()
    }

    fn process(&self, input: Batch) -> Result<Vec<Output>, types::Error> {
        self.0.borrow_mut().process(input).map_err(Error::into_host)
    }

    fn finish(&self) -> Result<Vec<Output>, types::Error> {
        self.0.borrow_mut().finish().map_err(Error::into_host)
    }
}

/// Makes the crate a transform: `export_transform!(MyType);`, once, where `MyType` is a
/// [`Transform`](crate::Transform).
#[macro_export]
macro_rules! export_transform {
    ($type:ty) => {
        $crate::__export_description!($type, $crate::Transform, Transform);
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Export;
            impl $crate::bindings::transform::face::Guest for Export {
                type Session = $crate::__private::TransformSession<$type>;
            }
            $crate::bindings::transform::__export_transform!(Export with_types_in $crate::bindings::transform);
        };
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn outputs_know_their_rows() {
        let keep = Output::keep(vec![0, 2], []).into_split("dev");
        assert_eq!(keep.batch.rows, 2);
        assert_eq!(keep.split.as_deref(), Some("dev"));
        let same = Output::same([Column::from_utf8("a", ["x", "y", "z"])]);
        assert_eq!(same.batch.rows, 3);
        let columns = Columns::read(["a"]).write(["b"]);
        assert_eq!(
            (columns.reads, columns.writes),
            (Some(vec!["a".into()]), vec!["b".into()])
        );
    }
}
