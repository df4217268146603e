//! The formats behind one face: planned columns, then raw blocks, then record batches.

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;

use ::csv::ByteRecord;
use arrow_array::RecordBatch;

use super::bad::BadRow;
use super::cell::{Cell, RowBuilder};
use super::csv::{CsvOptions, CsvReader};
use super::infer::{Inference, PlannedColumn};
use super::json::Unknown;
use super::lines::{Block, Blocks, LONGEST_LINE, decompressed};
use super::options::{Format, ImportInput, ImportOptions};
use super::parquet::ParquetSource;
use super::{csv, json};
use crate::error::{DataError, Result};
use crate::schema::{ColumnKind, ColumnSpec, Schema};

/// Unparsed rows.
pub(crate) enum Raw {
    Lines(Block),
    Records(Vec<ByteRecord>),
    /// Columns as they are in the file, and the number of the first row from 1.
    Table(RecordBatch, u64),
}

enum Rows {
    Json(Blocks<Box<dyn Read + Send>>, VecDeque<Block>),
    Text(Blocks<Box<dyn Read + Send>>),
    Csv(CsvReader<'static>),
    Parquet(ParquetSource),
}

/// An input that was opened.
pub(crate) struct Source {
    name: String,
    rows: Rows,
}

/// How to turn this input's raw rows into the dataset's columns.
pub(crate) struct Parser {
    name: String,
    columns: Vec<PlannedColumn>,
    unknown: Unknown,
    csv: CsvOptions,
    fields: usize,
    places: Vec<Option<usize>>,
    builder: RowBuilder,
}

impl Source {
    /// Opens an input. `sample`: how many rows to look at if the columns are not known yet.
    pub(crate) fn open(input: ImportInput, options: &ImportOptions, folder: &Path) -> Result<Self> {
        let format = input.resolved_format()?;
        let name = input.name.clone();
        let tabs = name
            .to_ascii_lowercase()
            .trim_end_matches(".gz")
            .ends_with(".tsv");
        let reading = format!("reading {name}");
        let rows = match format {
            Format::Parquet => Rows::Parquet(ParquetSource::open(&name, input.seekable(folder)?)?),
            format => {
                let stream = decompressed(input.open()?).map_err(DataError::io(reading))?;
                match format {
                    Format::Csv => {
                        let mut csv = options.csv;
                        if tabs && csv.delimiter == b',' {
                            csv.delimiter = b'\t';
                        }
                        let sample = if options.schema.is_some() {
                            1
                        } else {
                            options.infer_rows
                        };
                        Rows::Csv(CsvReader::open(&name, stream, csv, sample)?)
                    }
                    Format::Text => Rows::Text(Blocks::new(stream)),
                    _ => Rows::Json(Blocks::new(stream), VecDeque::new()),
                }
            }
        };
        Ok(Self { name, rows })
    }

    /// The columns that this input's first rows have.
    pub(crate) fn infer(&mut self, options: &ImportOptions) -> Result<Vec<PlannedColumn>> {
        let mut inference = Inference::default();
        match &mut self.rows {
            Rows::Text(_) => Ok(vec![PlannedColumn {
                spec: ColumnSpec {
                    name: options.text_column.clone(),
                    kind: ColumnKind::Utf8,
                },
                json: false,
            }]),
            Rows::Parquet(source) => source.plan(None),
            Rows::Csv(reader) => {
                reader.infer(&mut inference);
                Ok(inference.finish())
            }
            Rows::Json(blocks, ahead) => {
                let mut rows = 0;
                while rows < options.infer_rows {
                    let Some(block) = blocks
                        .next()
                        .map_err(DataError::io(format!("reading {}", self.name)))?
                    else {
                        break;
                    };
                    for (_, line) in block.lines() {
                        for (name, value) in json::entries(line).unwrap_or_default() {
                            inference.json(&name, &value);
                        }
                        rows += 1;
                    }
                    ahead.push_back(block);
                }
                Ok(inference.finish())
            }
        }
    }

    /// A parser into these columns.
    pub(crate) fn parser(
        &mut self,
        columns: &[PlannedColumn],
        schema: &Schema,
        options: &ImportOptions,
    ) -> Result<Parser> {
        let mut fields = 0;
        let mut places = Vec::new();
        let mut csv = options.csv;
        let mut lacking = None;
        match &mut self.rows {
            Rows::Csv(reader) => {
                csv = reader.options();
                fields = reader.names.len();
                places = csv::places(&reader.names, columns);
                lacking = columns
                    .iter()
                    .zip(&places)
                    .find(|(_, place)| place.is_none())
                    .map(|(column, _)| (column.spec.name.clone(), reader.names.join("`, `")));
            }
            Rows::Text(_) => {
                if columns.len() != 1 || columns[0].spec.kind != ColumnKind::Utf8 {
                    return Err(DataError::Invalid(format!(
                        "{} is plain text, which fills one utf8 column; the schema has {}",
                        self.name,
                        schema.listed()
                    )));
                }
            }
            Rows::Parquet(source) => {
                source.plan(Some(columns))?;
            }
            Rows::Json(..) => {}
        }
        if let Some((column, names)) = lacking {
            return Err(DataError::Invalid(format!(
                "{} has no column `{column}`; it has `{names}`",
                self.name
            )));
        }
        Ok(Parser {
            name: self.name.clone(),
            columns: columns.to_vec(),
            unknown: if options.schema.is_some() {
                Unknown::Skip
            } else {
                Unknown::Refuse
            },
            csv,
            fields,
            places,
            builder: RowBuilder::new(
                columns.iter().map(|column| column.spec.kind),
                schema.arrow(),
            ),
        })
    }

    /// The next raw rows, or nothing at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Raw>> {
        let reading = || format!("reading {}", self.name);
        match &mut self.rows {
            Rows::Json(blocks, ahead) => match ahead.pop_front() {
                Some(block) => Ok(Some(Raw::Lines(block))),
                None => Ok(blocks
                    .next()
                    .map_err(DataError::io(reading()))?
                    .map(Raw::Lines)),
            },
            Rows::Text(blocks) => Ok(blocks
                .next()
                .map_err(DataError::io(reading()))?
                .map(Raw::Lines)),
            Rows::Csv(reader) => {
                let records = reader.next()?;
                Ok((!records.is_empty()).then_some(Raw::Records(records)))
            }
            Rows::Parquet(source) => Ok(source.next()?.map(|(batch, row)| Raw::Table(batch, row))),
        }
    }

    pub(crate) fn is_text(&self) -> bool {
        matches!(self.rows, Rows::Text(_))
    }
}

impl Parser {
    /// The good rows of a raw block, and the bad ones.
    pub(crate) fn parse(&mut self, raw: &Raw, text: bool) -> Result<(RecordBatch, Vec<BadRow>)> {
        let mut bad = Vec::new();
        match raw {
            Raw::Table(batch, first) => {
                return super::parquet::convert(&self.name, batch, *first, &self.columns);
            }
            Raw::Lines(block) if block.too_long => {
                let start = block.lines().next().map_or(&b""[..], |(_, line)| line);
                let reason = format!("the line is longer than {LONGEST_LINE} bytes");
                bad.push(BadRow::new(&self.name, block.first_line, reason, start));
            }
            Raw::Lines(block) if text => {
                for (number, line) in block.lines() {
                    match std::str::from_utf8(line) {
                        Ok(line) if line.trim().is_empty() => {}
                        Ok(line) => self.builder.push(&mut [Cell::Text(line.into())]),
                        Err(_) => bad.push(BadRow::new(&self.name, number, "not UTF-8", line)),
                    }
                }
            }
            Raw::Lines(block) => {
                let mut cells = vec![Cell::Null; self.columns.len()];
                let mut seen = vec![false; self.columns.len()];
                for (number, line) in block.lines() {
                    if line.trim_ascii().is_empty() {
                        continue;
                    }
                    match json::row(line, &self.columns, self.unknown, &mut cells, &mut seen) {
                        Ok(()) => self.builder.push(&mut cells),
                        Err(reason) => bad.push(BadRow::new(&self.name, number, reason, line)),
                    }
                }
            }
            Raw::Records(records) => {
                let mut cells = vec![Cell::Null; self.columns.len()];
                for record in records {
                    match csv::row(record, self.fields, &self.columns, &self.places, &mut cells) {
                        Ok(()) => self.builder.push(&mut cells),
                        Err(reason) => {
                            bad.push(csv::bad(&self.name, record, reason, self.csv.delimiter));
                        }
                    }
                }
            }
        }
        Ok((self.builder.finish()?, bad))
    }
}
