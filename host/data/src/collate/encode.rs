//! Every row's tokens, encoded once.

use arrow_array::{Array as _, ListArray, RecordBatch, StringArray, UInt32Array};
use rayon::prelude::*;
use tenon_plugin::batch::Batch;
use tenon_plugin::recipe::{Layout, Piece, Segment, SequenceLayout, Signature};
use tenon_tensor::DType;

use super::fixed;
use super::token::{ID, Token};
use crate::control::Control;
use crate::convert::{self, cast};
use crate::dataset::{DatasetVersion, Datasets};
use crate::error::{DataError, Result};
use crate::schema::ColumnKind;
use crate::tokenizer::Tokenizer;

/// Rows that are read at a time.
const BATCH_ROWS: usize = 8192;
/// Rows that one task encodes.
const TASK: usize = 512;
/// How to encode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// Cuts sequences on the right, also where the recipe would take longer ones.
    pub max_length: Option<usize>,
}

pub(super) struct EncodedSequence {
    pub(super) name: String,
    pub(super) layout: SequenceLayout,
    tokens: Vec<Token>,
    /// Where each row's tokens end.
    ends: Vec<u64>,
    /// Where each piece ends within its row, row by row; empty where no input asks for pieces.
    piece_ends: Vec<u32>,
    has_pieces: bool,
}

impl EncodedSequence {
    /// Where each piece of a row ends.
    pub(super) fn pieces(&self, row: usize) -> &[u32] {
        let count = self.layout.pieces.len();
        &self.piece_ends[row * count..(row + 1) * count]
    }

    pub(super) fn row(&self, row: usize) -> &[Token] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.tokens[start as usize..self.ends[row] as usize]
    }
}

pub(super) struct EncodedFixed {
    pub(super) name: String,
    pub(super) column: String,
    pub(super) shape: Vec<usize>,
    pub(super) dtype: DType,
    bytes: Vec<u8>,
}

impl EncodedFixed {
    pub(super) fn numbers(&self) -> usize {
        self.shape.iter().product()
    }

    pub(super) fn row(&self, row: usize) -> &[u8] {
        let size = self.numbers() * self.dtype.size();
        &self.bytes[row * size..(row + 1) * size]
    }
}

/// How a masked input hides tokens.
pub(super) struct Mask {
    /// The sequence's place.
    pub(super) place: usize,
    pub(super) token: u32,
    pub(super) vocabulary: u32,
    pub(super) probability: f32,
    pub(super) replaced: f32,
    pub(super) kept: f32,
}

/// The rows of a dataset in the form that a recipe takes, in memory: four bytes a token.
pub struct EncodedRows {
    signature: Signature,
    pub(super) sequences: Vec<EncodedSequence>,
    pub(super) fixed: Vec<EncodedFixed>,
    /// For each masked input of the signature.
    pub(super) masks: Vec<Mask>,
    pub(super) pad: u32,
    rows: usize,
    cut: u64,
    paired: bool,
}

impl std::fmt::Debug for EncodedRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncodedRows")
            .field("rows", &self.rows)
            .field("tokens", &self.tokens())
            .finish_non_exhaustive()
    }
}

impl EncodedRows {
    /// Encodes all rows of `batches`, which hold at least the signature's columns.
    ///
    /// # Errors
    /// A column that is missing or of a type that the recipe cannot take; a row without a value,
    /// by its number; a recipe with sequences and no tokenizer.
    pub fn encode(
        signature: &Signature,
        tokenizer: Option<&Tokenizer>,
        batches: impl Iterator<Item = Result<RecordBatch>>,
        options: EncodeOptions,
        control: &Control,
    ) -> Result<Self> {
        let mut rows = Self::empty(signature, tokenizer)?;
        let meter = control.meter("encode", None);
        for batch in batches {
            let batch = batch?;
            rows.add(tokenizer, &batch, options)?;
            meter.add(batch.num_rows() as u64)?;
        }
        meter.finish();
        Ok(rows)
    }

    /// Encodes a split of a dataset, reading only the columns that the signature names.
    ///
    /// # Errors
    /// As [`EncodedRows::encode`].
    pub fn from_dataset(
        signature: &Signature,
        tokenizer: Option<&Tokenizer>,
        datasets: &Datasets,
        version: &DatasetVersion,
        split: &str,
        options: EncodeOptions,
        control: &Control,
    ) -> Result<Self> {
        let columns: Vec<String> = signature.columns().into_iter().map(str::to_owned).collect();
        let batches = datasets.read(version, split, Some(&columns), BATCH_ROWS)?;
        Self::encode(signature, tokenizer, batches, options, control)
    }

    /// Encodes the rows of a plugin's batch.
    ///
    /// # Errors
    /// As [`EncodedRows::encode`]; a batch that is not well formed.
    pub fn from_batch(
        signature: &Signature,
        tokenizer: Option<&Tokenizer>,
        batch: Batch,
        options: EncodeOptions,
    ) -> Result<Self> {
        let batch = std::iter::once(convert::from_batch(batch));
        Self::encode(signature, tokenizer, batch, options, &Control::new())
    }

    fn empty(signature: &Signature, tokenizer: Option<&Tokenizer>) -> Result<Self> {
        let mut rows = Self {
            signature: signature.clone(),
            sequences: Vec::new(),
            fixed: Vec::new(),
            masks: Vec::new(),
            pad: tokenizer.map_or(0, Tokenizer::pad_id),
            rows: 0,
            cut: 0,
            paired: false,
        };
        for input in &signature.inputs {
            match &input.layout {
                Layout::Sequence(layout) => rows.sequences.push(EncodedSequence {
                    name: input.name.clone(),
                    layout: layout.clone(),
                    tokens: Vec::new(),
                    ends: Vec::new(),
                    piece_ends: Vec::new(),
                    has_pieces: signature.inputs.iter().any(|other| {
                        matches!(&other.layout, Layout::Pieces { sequence } if *sequence == input.name)
                    }),
                }),
                Layout::Fixed {
                    column,
                    shape,
                    dtype,
                    ..
                } => rows.fixed.push(EncodedFixed {
                    name: input.name.clone(),
                    column: column.clone(),
                    shape: shape.clone(),
                    dtype: *dtype,
                    bytes: Vec::new(),
                }),
                Layout::NextTokens { .. } | Layout::Masked { .. } | Layout::Pieces { .. } => {}
            }
        }
        for input in &signature.inputs {
            if let Layout::Masked {
                sequence,
                mask_token,
                probability,
                replaced,
                kept,
            } = &input.layout
            {
                let tokenizer = tokenizer.ok_or_else(|| no_tokenizer(&input.name))?;
                rows.masks.push(Mask {
                    place: rows.sequence(sequence)?,
                    token: tokenizer.special_id(mask_token)?,
                    vocabulary: tokenizer.vocabulary(),
                    probability: *probability,
                    replaced: *replaced,
                    kept: *kept,
                });
            }
        }
        Ok(rows)
    }

    pub(super) fn sequence(&self, name: &str) -> Result<usize> {
        self.sequences
            .iter()
            .position(|sequence| sequence.name == name)
            .ok_or_else(|| DataError::Invalid(format!("the recipe has no sequence input `{name}`")))
    }

    fn add(
        &mut self,
        tokenizer: Option<&Tokenizer>,
        batch: &RecordBatch,
        options: EncodeOptions,
    ) -> Result<()> {
        let first = self.rows as u64;
        for sequence in &mut self.sequences {
            let sources = sources(&sequence.name, &sequence.layout.pieces, tokenizer, batch)?;
            let longest = longest(&sequence.layout, options);
            let starts: Vec<usize> = (0..batch.num_rows()).step_by(TASK).collect();
            let tasks = starts
                .into_par_iter()
                .map(|start| {
                    let end = (start + TASK).min(batch.num_rows());
                    encode_rows(&sources, tokenizer, start..end, first, longest)
                })
                .collect::<Result<Vec<_>>>()?;
            for task in tasks {
                let mut end = sequence.tokens.len() as u64;
                sequence.tokens.extend_from_slice(&task.tokens);
                sequence.ends.extend(task.lengths.iter().map(|length| {
                    end += *length as u64;
                    end
                }));
                if sequence.has_pieces {
                    sequence.piece_ends.extend_from_slice(&task.piece_ends);
                }
                self.cut += task.cut;
            }
        }
        for fixed in &mut self.fixed {
            let column = column(batch, &fixed.column, &fixed.name)?;
            let numbers = fixed.numbers();
            fixed::append(
                &fixed.column,
                column,
                numbers,
                fixed.dtype,
                first,
                &mut fixed.bytes,
            )?;
        }
        self.rows += batch.num_rows();
        if self.rows > u32::MAX as usize {
            return Err(DataError::Values(
                "more than 2³² rows cannot be trained on at once; take a part of them".into(),
            ));
        }
        Ok(())
    }

    /// Pairs of rows that are compared: row i of `self` with row i of `other`, which becomes row
    /// n + i. A loader walks over the pairs; a batch has the first rows of its pairs and then, in the
    /// same order, the second ones.
    ///
    /// # Errors
    /// [`DataError::Invalid`] if they differ in their number of rows or in their inputs.
    pub fn paired(mut self, other: Self) -> Result<Self> {
        let names = |rows: &Self| -> Vec<String> {
            let inputs = rows.signature.inputs.iter();
            inputs.map(|input| input.name.clone()).collect()
        };
        if self.rows != other.rows || names(&self) != names(&other) || self.paired || other.paired {
            return Err(DataError::Invalid(format!(
                "{} and {} rows, of the inputs {} and {}, are no pairs",
                self.rows,
                other.rows,
                names(&self).join(", "),
                names(&other).join(", ")
            )));
        }
        if self.rows > u32::MAX as usize / 2 {
            return Err(DataError::Values(
                "more than 2³¹ pairs cannot be trained on at once; take a part of them".into(),
            ));
        }
        for (sequence, more) in self.sequences.iter_mut().zip(other.sequences) {
            let before = sequence.tokens.len() as u64;
            sequence.tokens.extend(more.tokens);
            sequence
                .ends
                .extend(more.ends.into_iter().map(|end| before + end));
            sequence.piece_ends.extend(more.piece_ends);
        }
        for (fixed, more) in self.fixed.iter_mut().zip(other.fixed) {
            fixed.bytes.extend(more.bytes);
        }
        self.rows += other.rows;
        self.cut += other.cut;
        self.paired = true;
        Ok(self)
    }

    /// Whether the rows are pairs; see [`EncodedRows::paired`].
    pub fn is_paired(&self) -> bool {
        self.paired
    }

    /// What a loader walks over: rows, or pairs of them.
    pub fn units(&self) -> usize {
        match self.paired {
            true => self.rows / 2,
            false => self.rows,
        }
    }

    /// The signature that the rows were encoded for.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Tokens of all sequence inputs.
    pub fn tokens(&self) -> u64 {
        self.sequences
            .iter()
            .map(|sequence| sequence.tokens.len() as u64)
            .sum()
    }

    /// Sequences that were too long and were cut.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// The tokens of a row in a sequence input.
    ///
    /// # Errors
    /// There is no such input.
    pub fn row(&self, input: &str, row: usize) -> Result<&[Token]> {
        if row >= self.rows {
            return Err(DataError::Invalid(format!(
                "there is no row {row} of {}",
                self.rows
            )));
        }
        Ok(self.sequences[self.sequence(input)?].row(row))
    }

    /// The length of the longest sequence of a row, or of a pair.
    pub(super) fn length(&self, row: usize) -> usize {
        let partner = self.paired.then_some(self.rows / 2 + row);
        self.sequences
            .iter()
            .flat_map(|sequence| {
                let length = |row: usize| sequence.row(row).len();
                [Some(length(row)), partner.map(length)]
            })
            .flatten()
            .max()
            .unwrap_or(0)
    }

    /// Whether several rows may share a row of a batch.
    pub fn is_packable(&self) -> bool {
        !self.paired
            && !self.sequences.is_empty()
            && self.fixed.is_empty()
            && self
                .sequences
                .iter()
                .all(|sequence| sequence.layout.packable)
    }
}

fn longest(layout: &SequenceLayout, options: EncodeOptions) -> usize {
    let own = layout
        .max_length
        .map_or(usize::MAX, |length| length as usize);
    own.min(options.max_length.unwrap_or(usize::MAX))
}

fn no_tokenizer(input: &str) -> DataError {
    DataError::Invalid(format!(
        "input `{input}` of the recipe needs a tokenizer; name one"
    ))
}

fn column<'b>(
    batch: &'b RecordBatch,
    name: &str,
    input: &str,
) -> Result<&'b arrow_array::ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let names: Vec<_> = batch.schema().fields().iter().map(|f| format!("`{}`", f.name())).collect();
        DataError::Invalid(format!(
            "input `{input}` of the recipe is made from column `{name}`, which is not there; there are {}",
            names.join(", ")
        ))
    })
}

enum Source<'b> {
    Special(u32),
    Text(&'b str, &'b StringArray),
    Ids(&'b str, &'b ListArray, &'b UInt32Array),
}

fn sources<'b>(
    input: &str,
    pieces: &'b [Piece],
    tokenizer: Option<&Tokenizer>,
    batch: &'b RecordBatch,
) -> Result<Vec<(Source<'b>, bool)>> {
    pieces
        .iter()
        .map(|piece| {
            let source = match &piece.segment {
                Segment::Special(token) => {
                    Source::Special(tokenizer.ok_or_else(|| no_tokenizer(input))?.special_id(token)?)
                }
                Segment::Column(name) => {
                    let array = column(batch, name, input)?;
                    match ColumnKind::from_arrow(array.data_type()) {
                        Some(ColumnKind::Utf8) if tokenizer.is_some() => Source::Text(name, cast(array)?),
                        Some(ColumnKind::Utf8) => return Err(no_tokenizer(input)),
                        Some(ColumnKind::Uint32List) => {
                            let list: &ListArray = cast(array)?;
                            Source::Ids(name, list, cast(list.values())?)
                        }
                        _ => {
                            return Err(DataError::Invalid(format!(
                                "input `{input}` of the recipe is a sequence made from column `{name}`, which is {}; it takes utf8 or uint32-list",
                                array.data_type()
                            )));
                        }
                    }
                }
            };
            Ok((source, piece.learnt))
        })
        .collect()
}

/// Some rows, encoded.
struct Encoded {
    /// One row after the other.
    tokens: Vec<Token>,
    lengths: Vec<usize>,
    /// Where each piece ends within its row.
    piece_ends: Vec<u32>,
    /// Rows that were too long.
    cut: u64,
}

fn encode_rows(
    sources: &[(Source<'_>, bool)],
    tokenizer: Option<&Tokenizer>,
    rows: std::ops::Range<usize>,
    first: u64,
    longest: usize,
) -> Result<Encoded> {
    let vocabulary = tokenizer.map_or(ID, Tokenizer::vocabulary);
    let mut tokens = Vec::new();
    let mut lengths = Vec::with_capacity(rows.len());
    let mut piece_ends = Vec::with_capacity(rows.len() * sources.len());
    let mut cut = 0;
    let mut ids = Vec::new();
    for row in rows {
        let bad = |column: &str, reason: String| {
            DataError::Values(format!(
                "row {}: column `{column}` {reason}",
                first + row as u64
            ))
        };
        let missing = |column| {
            bad(
                column,
                "has no value; fill it or filter such rows out".into(),
            )
        };
        let start = tokens.len();
        for (source, learnt) in sources {
            match source {
                Source::Special(id) => tokens.push(Token::new(*id, *learnt, true)),
                Source::Text(name, array) => {
                    if array.is_null(row) {
                        return Err(missing(name));
                    }
                    ids.clear();
                    if let Some(tokenizer) = tokenizer {
                        tokenizer.encode_into(array.value(row), &mut ids)?;
                    }
                    tokens.extend(ids.iter().map(|id| Token::new(*id, *learnt, false)));
                }
                Source::Ids(name, list, values) => {
                    if list.is_null(row) {
                        return Err(missing(name));
                    }
                    let range = list.offsets()[row] as usize..list.offsets()[row + 1] as usize;
                    for id in &values.values()[range] {
                        if *id >= vocabulary {
                            return Err(bad(
                                name,
                                format!("holds token {id}; the vocabulary has {vocabulary}"),
                            ));
                        }
                        tokens.push(Token::new(*id, *learnt, false));
                    }
                }
            }
            piece_ends.push((tokens.len() - start).min(longest) as u32);
        }
        if tokens.len() - start > longest {
            tokens.truncate(start + longest);
            cut += 1;
        }
        lengths.push(tokens.len() - start);
    }
    Ok(Encoded {
        tokens,
        lengths,
        piece_ends,
        cut,
    })
}
