//! What to import and how.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::csv::CsvOptions;
use crate::error::{DataError, Result};
use crate::schema::Schema;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line. Blank lines are skipped. May be gzipped.
    Jsonl,
    /// Comma-separated values. May be gzipped.
    Csv,
    /// One row a line, in one column of text. Blank lines are skipped. May be gzipped.
    Text,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// The format that a file's name says: `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, `.txt`,
    /// each also with `.gz`, and `.parquet`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let stem = name.strip_suffix(".gz").unwrap_or(&name);
        match Path::new(stem).extension()?.to_str()? {
            "jsonl" | "ndjson" | "json" => Some(Self::Jsonl),
            "csv" | "tsv" => Some(Self::Csv),
            "txt" | "text" => Some(Self::Text),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// What becomes of rows that do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnBadRow {
    /// The import fails, listing the first 20 with their line numbers; nothing is stored.
    #[default]
    Reject,
    /// They go to the split `quarantine` with line, reason and text; the others are stored.
    Quarantine,
}

enum Content {
    File(PathBuf),
    Stream(Box<dyn Read + Send>),
}

/// A file or a stream that becomes rows of one split.
pub struct ImportInput {
    pub(crate) name: String,
    pub(crate) split: String,
    pub(crate) format: Option<Format>,
    content: Content,
}

impl ImportInput {
    /// A file, into the split `train`.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            name: path.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            ),
            split: super::DEFAULT_SPLIT.into(),
            format: None,
            content: Content::File(path),
        }
    }

    /// A stream (an upload), into the split `train`. `name` appears in messages, and its ending
    /// says the format unless that is given.
    pub fn stream(name: impl Into<String>, reader: impl Read + Send + 'static) -> Self {
        Self {
            name: name.into(),
            split: super::DEFAULT_SPLIT.into(),
            format: None,
            content: Content::Stream(Box::new(reader)),
        }
    }

    /// Puts the rows into this split.
    pub fn split(mut self, split: impl Into<String>) -> Self {
        self.split = split.into();
        self
    }

    /// Says the format instead of guessing it by the name.
    pub fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    pub(crate) fn resolved_format(&self) -> Result<Format> {
        self.format.or_else(|| Format::from_name(&self.name)).ok_or_else(|| {
            DataError::Invalid(format!(
                "the format of `{}` cannot be told from its name; say jsonl, csv, text or parquet",
                self.name
            ))
        })
    }

    /// Its bytes.
    pub(crate) fn open(self) -> Result<Box<dyn Read + Send>> {
        match self.content {
            Content::File(path) => {
                let context = format!("opening {}", path.display());
                let file = File::open(&path).map_err(DataError::io(context))?;
                Ok(Box::new(BufReader::with_capacity(1 << 17, file)))
            }
            Content::Stream(reader) => Ok(reader),
        }
    }

    /// A file that can be read anywhere: a stream is first copied to `folder`, into a file without
    /// a name, so that nothing stays behind however this process ends.
    pub(crate) fn seekable(self, folder: &Path) -> Result<File> {
        match self.content {
            Content::File(path) => {
                let context = format!("opening {}", path.display());
                File::open(&path).map_err(DataError::io(context))
            }
            Content::Stream(mut reader) => {
                let context = format!("copying {} to {}", self.name, folder.display());
                (|| {
                    let mut file = tempfile::tempfile_in(folder)?;
                    std::io::copy(&mut reader, &mut file)?;
                    file.rewind()?;
                    Ok(file)
                })()
                .map_err(DataError::io(context))
            }
        }
    }
}

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// What becomes of rows that do not fit.
    pub on_bad_row: OnBadRow,
    /// The columns; other columns of the files are left out. Nothing: inferred from the first
    /// file's first rows.
    pub schema: Option<Schema>,
    /// Rows that the inference looks at, at least.
    pub infer_rows: usize,
    /// How CSV files are written. A name that ends in `.tsv` means tabs.
    pub csv: CsvOptions,
    /// The column of plain text.
    pub text_column: String,
    /// Where the data comes from, for people; kept with the version. Nothing: the files' names.
    pub source: Option<String>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            on_bad_row: OnBadRow::Reject,
            schema: None,
            infer_rows: 10_000,
            csv: CsvOptions::default(),
            text_column: "text".into(),
            source: None,
        }
    }
}
