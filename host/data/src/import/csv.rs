//! Comma-separated values (RFC 4180): quoted fields may hold line ends.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::csv::ByteRecord;

use super::bad::BadRow;
use super::cell::Cell;
use super::infer::{Inference, PlannedColumn};
use super::json;
use super::lines::LONGEST_LINE;
use crate::error::{DataError, Result};
use crate::schema::ColumnKind;

/// Records that are gathered at a time.
pub(crate) const RECORDS: usize = 8192;

/// How a CSV file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CsvOptions {
    /// Between fields.
    pub delimiter: u8,
    /// Whether the first record names the columns; if not they are called `column_1`, `column_2`, ….
    pub header: bool,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: b',',
            header: true,
        }
    }
}

/// A quotation mark that is never closed swallows the rest of the file: this reader refuses to hand
/// out more than [`LONGEST_LINE`] bytes for one record.
struct Bounded<'a> {
    inner: Box<dyn Read + Send + 'a>,
    given: u64,
    finished: Arc<AtomicU64>,
}

impl Read for Bounded<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self
            .given
            .saturating_sub(self.finished.load(Ordering::Relaxed))
            > LONGEST_LINE as u64
        {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidData,
                format!(
                    "a record is longer than {LONGEST_LINE} bytes; is a quotation mark not closed?"
                ),
            ));
        }
        let got = self.inner.read(out)?;
        self.given += got as u64;
        Ok(got)
    }
}

/// Reads records, having looked at the first of them.
pub(crate) struct CsvReader<'a> {
    reader: csv::Reader<Bounded<'a>>,
    finished: Arc<AtomicU64>,
    /// The names of the columns in the file.
    pub(crate) names: Vec<String>,
    sample: std::collections::VecDeque<ByteRecord>,
    source: String,
    options: CsvOptions,
}

impl<'a> CsvReader<'a> {
    /// Opens a file and reads up to `sample` records ahead.
    pub(crate) fn open(
        source: &str,
        stream: Box<dyn Read + Send + 'a>,
        options: CsvOptions,
        sample: usize,
    ) -> Result<Self> {
        let finished = Arc::new(AtomicU64::new(0));
        let reader = csv::ReaderBuilder::new()
            .delimiter(options.delimiter)
            .has_headers(options.header)
            .flexible(true)
            .buffer_capacity(1 << 17)
            .from_reader(Bounded {
                inner: stream,
                given: 0,
                finished: Arc::clone(&finished),
            });
        let mut this = Self {
            reader,
            finished,
            names: Vec::new(),
            sample: std::collections::VecDeque::new(),
            source: source.to_owned(),
            options,
        };
        if options.header {
            let header = this
                .reader
                .byte_headers()
                .map_err(DataError::table(format!("reading {source}")))?;
            for (index, name) in header.iter().enumerate() {
                let name = if index == 0 {
                    name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name)
                } else {
                    name
                };
                let name = std::str::from_utf8(name).map_err(|_| {
                    DataError::Invalid(format!("{source}: the header is not UTF-8"))
                })?;
                this.names.push(name.trim().to_owned());
            }
        }
        while this.sample.len() < sample.max(1) {
            let mut record = ByteRecord::new();
            if !this.read(&mut record)? {
                break;
            }
            this.sample.push_back(record);
        }
        if !options.header {
            let fields = this.sample.front().map_or(0, ByteRecord::len);
            this.names = (1..=fields).map(|n| format!("column_{n}")).collect();
        }
        Ok(this)
    }

    pub(crate) fn options(&self) -> CsvOptions {
        self.options
    }

    /// Shows the sample to an inference.
    pub(crate) fn infer(&self, inference: &mut Inference) {
        for name in &self.names {
            inference.declare(name);
        }
        for record in &self.sample {
            if record.len() != self.names.len() {
                continue;
            }
            for (name, field) in self.names.iter().zip(record.iter()) {
                if let Ok(field) = std::str::from_utf8(field) {
                    inference.field(name, field);
                }
            }
        }
    }

    fn read(&mut self, record: &mut ByteRecord) -> Result<bool> {
        let more = self
            .reader
            .read_byte_record(record)
            .map_err(DataError::table(format!("reading {}", self.source)))?;
        self.finished
            .store(self.reader.position().byte(), Ordering::Relaxed);
        Ok(more)
    }

    /// Up to [`RECORDS`] more records; none at the end.
    pub(crate) fn next(&mut self) -> Result<Vec<ByteRecord>> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while records.len() < RECORDS && bytes < LONGEST_LINE {
            let mut record = ByteRecord::new();
            if let Some(sampled) = self.sample.pop_front() {
                record = sampled;
            } else if !self.read(&mut record)? {
                break;
            }
            bytes += record.as_slice().len();
            records.push(record);
        }
        Ok(records)
    }
}

/// Where each column's field stands in the file.
pub(crate) fn places(names: &[String], columns: &[PlannedColumn]) -> Vec<Option<usize>> {
    columns
        .iter()
        .map(|column| names.iter().position(|name| *name == column.spec.name))
        .collect()
}

/// Reads a record into `cells`.
pub(crate) fn row<'a>(
    record: &'a ByteRecord,
    fields: usize,
    columns: &[PlannedColumn],
    places: &[Option<usize>],
    cells: &mut [Cell<'a>],
) -> Result<(), String> {
    cells.fill(Cell::Null);
    if record.len() != fields {
        return Err(format!(
            "{} fields, the file has {fields} columns",
            record.len()
        ));
    }
    for ((column, place), cell) in columns.iter().zip(places).zip(cells) {
        let Some(field) = place.and_then(|place| record.get(place)) else {
            continue;
        };
        let text = std::str::from_utf8(field)
            .map_err(|_| format!("column `{}` is not UTF-8", column.spec.name))?;
        *cell = parse(text, column.spec.kind).map_err(|wanted| {
            format!(
                "column `{}`: expected {wanted}, found `{}`",
                column.spec.name,
                clipped(text)
            )
        })?;
    }
    Ok(())
}

fn clipped(text: &str) -> String {
    text.chars().take(60).collect()
}

/// A field as a value; empty fields of anything but text are null. The error says what was expected.
fn parse(text: &str, kind: ColumnKind) -> Result<Cell<'_>, String> {
    if matches!(kind, ColumnKind::Utf8 | ColumnKind::Binary) {
        return Ok(Cell::Text(Cow::Borrowed(text)));
    }
    let text = text.trim();
    if text.is_empty() {
        return Ok(Cell::Null);
    }
    match kind {
        ColumnKind::Utf8 | ColumnKind::Binary => Ok(Cell::Text(Cow::Borrowed(text))),
        ColumnKind::Boolean if text.eq_ignore_ascii_case("true") => Ok(Cell::Bool(true)),
        ColumnKind::Boolean if text.eq_ignore_ascii_case("false") => Ok(Cell::Bool(false)),
        ColumnKind::Boolean => Err("true or false".into()),
        ColumnKind::Int64 => text.parse().map(Cell::Int).map_err(|_| "an integer".into()),
        ColumnKind::Float32 | ColumnKind::Float64 => {
            text.parse().map(Cell::Float).map_err(|_| "a number".into())
        }
        ColumnKind::Uint32List => {
            json::list(text, kind).map_err(|_| "a JSON list of integers from 0 to 2³² - 1".into())
        }
        ColumnKind::Float32List => {
            json::list(text, kind).map_err(|_| "a JSON list of numbers".into())
        }
    }
}

/// The bad row of a record.
pub(crate) fn bad(source: &str, record: &ByteRecord, reason: String, delimiter: u8) -> BadRow {
    let line = record.position().map_or(0, csv::Position::line);
    let mut raw = csv::WriterBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .from_writer(Vec::new());
    // Writing to memory cannot fail; without the text the report is still useful.
    let raw = match raw.write_byte_record(record) {
        Ok(()) => raw.into_inner().unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    BadRow::new(source, line, reason, &raw)
}
