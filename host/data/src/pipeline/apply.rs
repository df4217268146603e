//! Joining what a transform returns with the columns that it did not touch.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow_select::take::take;

use tenon_plugin::transform::{Columns, Rows};

use crate::error::{DataError, Result};
use crate::schema::{ColumnSpec, Schema};

/// The columns of a step's output, fixed by its first output so that all batches agree.
#[derive(Default)]
pub(super) struct StepSchema {
    fixed: Option<Schema>,
}

impl StepSchema {
    pub(super) fn get(&self) -> Option<&Schema> {
        self.fixed.as_ref()
    }

    /// Brings one output to the step's columns. `input`: the batch that it was made from; nothing in
    /// `finish`. `carried`: the columns of the step's input.
    pub(super) fn join(
        &mut self,
        input: Option<&RecordBatch>,
        carried: &Schema,
        columns: &Columns,
        written: &RecordBatch,
        rows: &Rows,
    ) -> Result<RecordBatch, String> {
        for name in &columns.writes {
            if written.column_by_name(name).is_none() {
                return Err(format!(
                    "column `{name}` is declared as written but did not come back"
                ));
            }
        }
        for field in written.schema().fields() {
            if !columns.writes.contains(field.name()) {
                return Err(format!(
                    "column `{}` came back but is not declared as written",
                    field.name()
                ));
            }
        }
        let written_schema =
            Schema::from_arrow(&written.schema()).map_err(|error| error.to_string())?;
        let place = origin(input, written.num_rows(), rows)?;
        let schema = match &self.fixed {
            Some(schema) => schema.clone(),
            None => {
                let schema = match rows {
                    // Nothing but written columns exists for such rows.
                    Rows::Fresh => written_schema.clone(),
                    _ => merged(carried, &written_schema),
                };
                self.fixed.insert(schema).clone()
            }
        };
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(schema.columns.len());
        for column in &schema.columns {
            let array = match written.column_by_name(&column.name) {
                Some(array) => Arc::clone(array),
                None => carry(input, column, &place, written.num_rows())?,
            };
            if *array.data_type() != column.kind.arrow() {
                let kind = crate::schema::ColumnKind::from_arrow(array.data_type());
                return Err(format!(
                    "column `{}` is {} here and was {} before",
                    column.name,
                    kind.map_or("of another type", |kind| kind.name()),
                    column.kind
                ));
            }
            arrays.push(array);
        }
        if !matches!(rows, Rows::Fresh) {
            let lost = carried
                .columns
                .iter()
                .find(|column| schema.index_of(&column.name).is_none());
            if let Some(lost) = lost {
                return Err(format!(
                    "it first returned fresh rows without column `{}` and now rows that have it; a transform does one or the other",
                    lost.name
                ));
            }
        }
        RecordBatch::try_new_with_options(
            schema.arrow(),
            arrays,
            &RecordBatchOptions::new().with_row_count(Some(written.num_rows())),
        )
        .map_err(|error| error.to_string())
    }
}

/// The input's columns with the written ones in their places or at the end.
fn merged(carried: &Schema, written: &Schema) -> Schema {
    let mut columns = carried.columns.clone();
    for column in &written.columns {
        match columns.iter_mut().find(|known| known.name == column.name) {
            Some(known) => known.kind = column.kind,
            None => columns.push(column.clone()),
        }
    }
    Schema { columns }
}

/// Which input row each output row follows.
enum Place {
    Same,
    From(UInt32Array),
    Nowhere,
}

fn origin(input: Option<&RecordBatch>, rows: usize, map: &Rows) -> Result<Place, String> {
    let given = match (input, map) {
        (_, Rows::Fresh) => return Ok(Place::Nowhere),
        (None, _) => return Err("`finish` may only return fresh rows".into()),
        (Some(input), _) => input.num_rows(),
    };
    let (indices, what) = match map {
        Rows::Same => {
            if rows != given {
                return Err(format!(
                    "it says `same` rows, but {given} came and {rows} went"
                ));
            }
            return Ok(Place::Same);
        }
        Rows::Keep(indices) => (indices, "keep"),
        Rows::Origin(indices) => (indices, "origin"),
        Rows::Fresh => return Ok(Place::Nowhere),
    };
    if indices.len() != rows {
        return Err(format!(
            "`{what}` names {} rows, the batch has {rows}",
            indices.len()
        ));
    }
    if let Some(outside) = indices.iter().find(|index| **index as usize >= given) {
        return Err(format!("`{what}` names row {outside} of {given}"));
    }
    if what == "keep" && indices.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err("`keep` names rows out of order or twice".into());
    }
    if what == "keep" && indices.len() == given {
        return Ok(Place::Same);
    }
    Ok(Place::From(UInt32Array::from(indices.clone())))
}

fn carry(
    input: Option<&RecordBatch>,
    column: &ColumnSpec,
    place: &Place,
    rows: usize,
) -> Result<ArrayRef, String> {
    let nothing = || new_null_array(&column.kind.arrow(), rows);
    let Some(array) = input.and_then(|input| input.column_by_name(&column.name)) else {
        return match place {
            Place::Nowhere => Ok(nothing()),
            _ => Err(format!(
                "column `{}` was written before and is missing now",
                column.name
            )),
        };
    };
    match place {
        Place::Nowhere => Ok(nothing()),
        Place::Same => Ok(Arc::clone(array)),
        Place::From(indices) => take(array, indices, None).map_err(|error| error.to_string()),
    }
}

/// The columns that a transform reads, out of a batch.
///
/// # Errors
/// A column that the batch does not have.
pub(super) fn read_columns(batch: &RecordBatch, columns: &Columns) -> Result<RecordBatch> {
    let Some(reads) = &columns.reads else {
        return Ok(batch.clone());
    };
    let indices = reads
        .iter()
        .map(|name| {
            batch.schema().index_of(name).map_err(|_| {
                let names: Vec<_> = batch
                    .schema()
                    .fields()
                    .iter()
                    .map(|f| format!("`{}`", f.name()))
                    .collect();
                DataError::Invalid(format!(
                    "it reads column `{name}`, which is not there; there are {}",
                    names.join(", ")
                ))
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let names: Vec<_> = indices
        .iter()
        .map(|index| batch.column(*index))
        .cloned()
        .collect();
    let fields: Vec<_> = indices
        .iter()
        .map(|index| Arc::clone(&batch.schema().fields()[*index]))
        .collect();
    RecordBatch::try_new_with_options(
        Arc::new(arrow_schema::Schema::new(fields)),
        names,
        &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
    .map_err(DataError::table("choosing columns"))
}
