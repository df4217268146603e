//! Import: files and streams become columns.
//!
//! Reading, parsing and writing run side by side on a thread each, with a few blocks between them,
//! so that memory stays bounded whatever the size of the file.

mod bad;
mod cell;
mod csv;
mod infer;
mod json;
mod lines;
mod options;
mod parquet;
mod source;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use arrow_array::{Int64Array, RecordBatch, StringArray};
use tenon_store::Blobs;

pub use bad::{BadRow, BadRows};
pub use csv::CsvOptions;
pub use options::{Format, ImportInput, ImportOptions, OnBadRow};

use crate::control::{Control, Meter};
use crate::error::{DataError, Result};
use crate::parts::PartWriter;
use crate::schema::{ColumnKind, Schema};
use infer::PlannedColumn;
use source::{Raw, Source};

/// The split that rows belong to unless something else is said.
pub const DEFAULT_SPLIT: &str = "train";
/// The split that holds the rows that did not fit.
pub const QUARANTINE: &str = "quarantine";

/// Blocks between two threads.
const AHEAD: usize = 3;

/// The rows of an import, written but not yet stored.
pub(crate) struct Imported {
    pub(crate) schema: Schema,
    pub(crate) splits: Vec<(String, PartWriter)>,
    pub(crate) quarantine: Option<PartWriter>,
    pub(crate) bad: BadRows,
}

/// The columns of the quarantine: `source`, `line`, `reason`, `raw`.
pub(crate) fn quarantine_schema() -> Result<Schema> {
    Schema::of(&[
        ("source", ColumnKind::Utf8),
        ("line", ColumnKind::Int64),
        ("reason", ColumnKind::Utf8),
        ("raw", ColumnKind::Utf8),
    ])
}

/// Reads every input and writes its rows; stores nothing.
pub(crate) fn read(
    blobs: &Blobs,
    folder: &Path,
    inputs: Vec<ImportInput>,
    options: &ImportOptions,
    control: &Control,
) -> Result<Imported> {
    if inputs.is_empty() {
        return Err(DataError::Invalid(
            "there is nothing to import: give at least one file".into(),
        ));
    }
    for input in &inputs {
        check_split(&input.split)?;
        input.resolved_format()?;
    }
    let mut planned: Option<(Vec<PlannedColumn>, Schema)> = None;
    if let Some(schema) = &options.schema {
        let schema = Schema::new(schema.columns.clone())?;
        let columns = schema
            .columns
            .iter()
            .map(|spec| PlannedColumn {
                spec: spec.clone(),
                json: false,
            })
            .collect();
        planned = Some((columns, schema));
    }
    let mut splits: Vec<(String, PartWriter)> = Vec::new();
    let mut quarantine = None;
    let mut bad = BadRows::default();
    let meter = control.meter("import", None);
    for input in inputs {
        let split = input.split.clone();
        let mut source = Source::open(input, options, folder)?;
        let (columns, schema) = match &planned {
            Some(planned) => planned.clone(),
            None => {
                let columns = source.infer(options)?;
                let schema =
                    Schema::new(columns.iter().map(|column| column.spec.clone()).collect())?;
                planned.insert((columns, schema)).clone()
            }
        };
        let writer = match splits.iter().position(|(name, _)| *name == split) {
            Some(index) => splits.remove(index).1,
            None => PartWriter::new(blobs, schema.arrow()),
        };
        let mut sink = BadSink {
            on_bad_row: options.on_bad_row,
            rows: &mut bad,
            quarantine: &mut quarantine,
            blobs,
        };
        let writer = read_one(
            source, &columns, &schema, options, writer, &mut sink, &meter,
        )?;
        splits.push((split, writer));
    }
    if options.on_bad_row == OnBadRow::Reject && bad.count > 0 {
        return Err(DataError::BadRows(Box::new(bad)));
    }
    let schema = planned.map(|(_, schema)| schema).unwrap_or_default();
    if schema.columns.is_empty() {
        return Err(DataError::Invalid(
            "no columns were found: the files hold no rows that can be read".into(),
        ));
    }
    for (_, writer) in &mut splits {
        writer.seal()?;
    }
    if let Some(writer) = &mut quarantine {
        writer.seal()?;
    }
    meter.finish();
    Ok(Imported {
        schema,
        splits,
        quarantine,
        bad,
    })
}

fn check_split(split: &str) -> Result<()> {
    if split == QUARANTINE {
        return Err(DataError::Invalid(format!(
            "the split `{QUARANTINE}` is kept for rows that do not fit; choose another name"
        )));
    }
    crate::dataset::check_name("split", split)
}

/// Where bad rows go.
struct BadSink<'a> {
    on_bad_row: OnBadRow,
    rows: &'a mut BadRows,
    quarantine: &'a mut Option<PartWriter>,
    blobs: &'a Blobs,
}

impl BadSink<'_> {
    fn take(&mut self, rows: Vec<BadRow>) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        if self.on_bad_row == OnBadRow::Quarantine {
            let schema = quarantine_schema()?.arrow();
            let batch = RecordBatch::try_new(
                Arc::clone(&schema),
                vec![
                    Arc::new(StringArray::from_iter_values(
                        rows.iter().map(|row| &row.source),
                    )),
                    Arc::new(Int64Array::from_iter_values(
                        rows.iter().map(|row| row.line as i64),
                    )),
                    Arc::new(StringArray::from_iter_values(
                        rows.iter().map(|row| &row.reason),
                    )),
                    Arc::new(StringArray::from_iter_values(
                        rows.iter().map(|row| &row.raw),
                    )),
                ],
            )
            .map_err(DataError::table("gathering bad rows"))?;
            self.quarantine
                .get_or_insert_with(|| PartWriter::new(self.blobs, schema))
                .write(&batch)?;
        }
        for row in rows {
            self.rows.add(row);
        }
        Ok(())
    }

    /// Whether it is already clear that nothing will be stored.
    fn refused(&self) -> bool {
        self.on_bad_row == OnBadRow::Reject && self.rows.count > 0
    }
}

fn read_one(
    mut source: Source,
    columns: &[PlannedColumn],
    schema: &Schema,
    options: &ImportOptions,
    mut writer: PartWriter,
    bad: &mut BadSink<'_>,
    meter: &Meter,
) -> Result<PartWriter> {
    let mut parser = source.parser(columns, schema, options)?;
    let text = source.is_text();
    let (raw_out, raw_in): (SyncSender<Raw>, Receiver<Raw>) = sync_channel(AHEAD);
    let (batch_out, batch_in): (SyncSender<RecordBatch>, Receiver<RecordBatch>) =
        sync_channel(AHEAD);
    thread::scope(|scope| {
        let reading = scope.spawn(move || -> Result<()> {
            while let Some(raw) = source.next()? {
                if raw_out.send(raw).is_err() {
                    break;
                }
            }
            Ok(())
        });
        let writing = scope.spawn(move || -> Result<PartWriter> {
            for batch in batch_in {
                writer.write(&batch)?;
            }
            Ok(writer)
        });
        let mut parse = || -> Result<()> {
            for raw in &raw_in {
                let (batch, rows) = parser.parse(&raw, text)?;
                meter.add((batch.num_rows() + rows.len()) as u64)?;
                bad.take(rows)?;
                // A closed channel means that the writer failed; its error is the one to report.
                if batch.num_rows() > 0 && !bad.refused() && batch_out.send(batch).is_err() {
                    break;
                }
            }
            Ok(())
        };
        let parsed = parse();
        // The other threads end when their channels close.
        drop(raw_in);
        drop(batch_out);
        let read = reading.join().unwrap_or_else(|_| Err(died("reading")));
        let written = writing.join().unwrap_or_else(|_| Err(died("writing")));
        parsed?;
        let written = written?;
        read?;
        Ok(written)
    })
}

fn died(what: &str) -> DataError {
    DataError::Internal(format!("the thread that was {what} panicked"))
}
