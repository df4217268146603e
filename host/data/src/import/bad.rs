//! Rows that could not be read.

use serde::Serialize;
use utoipa::ToSchema;

/// Bad rows that an error lists.
const LISTED: usize = 20;
/// Characters of a bad row that are shown or kept.
const RAW_CHARS: usize = 2000;

/// A row that does not fit the schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BadRow {
    /// The file or stream, as the caller named it.
    pub source: String,
    /// Line number from 1 (row number in a Parquet file).
    pub line: u64,
    /// Why it was refused.
    pub reason: String,
    /// The row as it came, at most 2,000 characters of it.
    pub raw: String,
}

/// The bad rows of a refused import: how many, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct BadRows {
    /// How many rows are bad.
    pub count: u64,
    /// The first 20.
    pub first: Vec<BadRow>,
}

impl BadRow {
    pub(crate) fn new(source: &str, line: u64, reason: impl Into<String>, raw: &[u8]) -> Self {
        let raw = String::from_utf8_lossy(&raw[..raw.len().min(RAW_CHARS * 4)]);
        Self {
            source: source.to_owned(),
            line,
            reason: reason.into(),
            raw: raw
                .trim_end_matches(['\r', '\n'])
                .chars()
                .take(RAW_CHARS)
                .collect(),
        }
    }
}

impl BadRows {
    pub(crate) fn add(&mut self, row: BadRow) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push(row);
        }
    }
}

impl std::fmt::Display for BadRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (noun, verb) = if self.count == 1 {
            ("row", "does")
        } else {
            ("rows", "do")
        };
        write!(
            f,
            "{} {noun} {verb} not fit; nothing was stored.",
            self.count
        )?;
        for row in &self.first {
            write!(f, "\n  {}:{}: {}", row.source, row.line, row.reason)?;
        }
        let rest = self.count - self.first.len() as u64;
        if rest > 0 {
            write!(f, "\n  … and {rest} more")?;
        }
        f.write_str(
            "\nCorrect the rows, give the schema explicitly, or import with bad rows quarantined",
        )
    }
}
