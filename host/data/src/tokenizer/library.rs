//! Named, versioned tokenizers in the store.

use std::collections::BTreeSet;

use arrow_array::{Array, StringArray};
use serde::{Deserialize, Serialize};
use tenon_store::{Digest, ScanRange, Store, Transaction};
use utoipa::ToSchema;

use super::{Tokenizer, TokenizerKind, TrainOptions};
use crate::control::Control;
use crate::convert::cast;
use crate::dataset::{Datasets, Reference, Which, check_name, decode, encode};
use crate::error::{DataError, Result};
use crate::schema::ColumnKind;

/// Key: name, 0, version as 4 bytes big-endian. Value: [`TokenizerRecord`] as JSON.
const RECORDS: &str = "tokenizers";
/// Rows that are read at a time.
const BATCH_ROWS: usize = 8192;
const TRIES: usize = 50;

/// What a tokenizer was trained on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrainingSource {
    /// The dataset, `name@version`, and `#split` where one was chosen.
    pub dataset: String,
    /// That version's digest.
    pub digest: String,
    /// Columns of text.
    pub columns: Vec<String>,
    /// How it was trained.
    pub options: TrainOptions,
}

/// One version of a stored tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenizerRecord {
    /// Its name.
    pub name: String,
    /// Counts up from 1.
    pub version: u32,
    /// The blob that holds its `tokenizer.json`, `blake3:…`.
    pub digest: String,
    /// Number of ids.
    pub vocabulary: u32,
    /// The special tokens, by id.
    pub special_tokens: Vec<String>,
    /// Nothing: it was loaded, not trained.
    pub kind: Option<TokenizerKind>,
    /// What it was trained on.
    pub trained_on: Option<TrainingSource>,
    /// RFC 3339.
    pub created_at: String,
}

/// The tokenizers of a store. Clones share it.
#[derive(Clone, Debug)]
pub struct Tokenizers {
    store: Store,
}

impl Tokenizers {
    /// The tokenizers of this store.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }

    /// Trains a tokenizer on columns of a dataset (`name[@version][#split]`; without a split, on all
    /// of them) and stores it as a new version of `name`.
    ///
    /// # Errors
    /// A column that is not there or not text; options that cannot be.
    pub fn train(
        &self,
        name: &str,
        dataset: &str,
        columns: &[String],
        options: &TrainOptions,
        control: &Control,
    ) -> Result<(Tokenizer, TokenizerRecord)> {
        check_name("tokenizer", name)?;
        options.check()?;
        let datasets = Datasets::new(&self.store);
        let (version, split) = datasets.resolve(dataset)?;
        if columns.is_empty() {
            return Err(DataError::Invalid(
                "name at least one column of text to train on".into(),
            ));
        }
        for column in columns {
            match version.schema.kind_of(column) {
                Some(ColumnKind::Utf8) => {}
                Some(kind) => {
                    return Err(DataError::Invalid(format!(
                        "column `{column}` of {} is {kind}; a tokenizer is trained on utf8",
                        version.reference()
                    )));
                }
                None => {
                    return Err(DataError::NotFound(format!(
                        "{} has no column `{column}`; it has {}",
                        version.reference(),
                        version.schema.listed()
                    )));
                }
            }
        }
        let splits = match &split {
            Some(split) => vec![split.clone()],
            None => version
                .splits
                .iter()
                .map(|split| split.name.clone())
                .collect(),
        };
        let rows = splits
            .iter()
            .filter_map(|name| version.split(name))
            .map(|split| split.rows)
            .sum();
        let meter = control.meter("train tokenizer", Some(rows));
        let mut batches = Vec::new();
        for split in &splits {
            batches.push(datasets.read(&version, split, Some(columns), BATCH_ROWS)?);
        }
        let texts = batches.into_iter().flatten().flat_map(|batch| {
            let texts = batch.and_then(|batch| {
                meter.add(batch.num_rows() as u64)?;
                let mut texts = Vec::with_capacity(batch.num_rows() * batch.num_columns());
                for column in batch.columns() {
                    let column: &StringArray = cast(column)?;
                    texts.extend(
                        (0..column.len())
                            .filter(|row| column.is_valid(*row))
                            .map(|row| Ok(column.value(row).to_owned())),
                    );
                }
                Ok(texts)
            });
            texts.unwrap_or_else(|error| vec![Err(error)])
        });
        let tokenizer = Tokenizer::train(texts, options)?;
        meter.finish();
        let source = TrainingSource {
            dataset: match &split {
                Some(split) => format!("{}#{split}", version.reference()),
                None => version.reference(),
            },
            digest: version.digest.clone(),
            columns: columns.to_vec(),
            options: options.clone(),
        };
        let record = self.put(name, &tokenizer, Some(source))?;
        Ok((tokenizer, record))
    }

    /// Stores a `tokenizer.json` as a new version of `name`; the same bytes again give the version
    /// that is already there.
    ///
    /// # Errors
    /// If it is not a tokenizer.
    pub fn import(&self, name: &str, json: &[u8]) -> Result<(Tokenizer, TokenizerRecord)> {
        check_name("tokenizer", name)?;
        let tokenizer = Tokenizer::from_json(json)?;
        let record = self.put(name, &tokenizer, None)?;
        Ok((tokenizer, record))
    }

    fn put(
        &self,
        name: &str,
        tokenizer: &Tokenizer,
        source: Option<TrainingSource>,
    ) -> Result<TokenizerRecord> {
        let digest = self.store.blobs().put(tokenizer.json())?.to_string();
        for _ in 0..TRIES {
            let versions = self.versions(name)?;
            if let Some(same) = versions.iter().rev().find(|record| record.digest == digest) {
                return Ok(same.clone());
            }
            let record = TokenizerRecord {
                name: name.to_owned(),
                version: versions.last().map_or(1, |record| record.version + 1),
                digest: digest.clone(),
                vocabulary: tokenizer.vocabulary(),
                special_tokens: tokenizer.special_tokens(),
                kind: source.as_ref().map(|source| source.options.kind),
                trained_on: source.clone(),
                created_at: jiff::Timestamp::now().to_string(),
            };
            let key = key(name, record.version);
            let transaction = Transaction::new().expect_absent(RECORDS, &key).put(
                RECORDS,
                &key,
                encode(&record)?,
            );
            match self.store.commit(transaction) {
                Ok(()) => return Ok(record),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(DataError::Internal(format!(
            "tokenizer `{name}` is being written by too many at once; try again"
        )))
    }

    /// Every version of every tokenizer, by name, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<TokenizerRecord>> {
        self.scan(ScanRange::all())
    }

    /// The versions of one, oldest first.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn versions(&self, name: &str) -> Result<Vec<TokenizerRecord>> {
        self.scan(ScanRange::prefix(prefix(name)))
    }

    fn scan(&self, range: ScanRange) -> Result<Vec<TokenizerRecord>> {
        self.store
            .scan(RECORDS, range)?
            .iter()
            .map(|(_, value)| decode(value))
            .collect()
    }

    /// The record that a reference (`name`, `name@2`, `name@0a1b2c3d`) means.
    ///
    /// # Errors
    /// [`DataError::NotFound`] saying what there is instead.
    pub fn get(&self, reference: &str) -> Result<TokenizerRecord> {
        let parsed = Reference::parse("tokenizer", reference)?;
        let mut versions = self.versions(&parsed.name)?;
        if versions.is_empty() {
            let mut names: Vec<_> = self.list()?.into_iter().map(|record| record.name).collect();
            names.dedup();
            return Err(DataError::NotFound(format!(
                "there is no tokenizer `{}`; there are `{}`",
                parsed.name,
                names.join("`, `")
            )));
        }
        match &parsed.which {
            Which::Latest => versions.pop(),
            Which::Number(number) => versions
                .into_iter()
                .find(|record| record.version == *number),
            Which::Digest(digest) => {
                let digest = format!("blake3:{digest}");
                versions
                    .into_iter()
                    .rev()
                    .find(|record| record.digest.starts_with(&digest))
            }
        }
        .ok_or_else(|| {
            DataError::NotFound(format!(
                "`{reference}`: there is no such version of the tokenizer"
            ))
        })
    }

    /// Loads the tokenizer that a reference means.
    ///
    /// # Errors
    /// As [`Tokenizers::get`].
    pub fn load(&self, reference: &str) -> Result<Tokenizer> {
        self.load_blob(&self.get(reference)?.digest)
    }

    /// Loads a tokenizer by the digest of its blob, as a model's manifest names it.
    ///
    /// # Errors
    /// If the blob is not there or is no tokenizer.
    pub fn load_blob(&self, digest: &str) -> Result<Tokenizer> {
        let digest: Digest = digest.parse()?;
        Tokenizer::from_json(&self.store.blobs().read(&digest)?)
    }

    /// Deletes one version.
    ///
    /// # Errors
    /// [`DataError::NotFound`] if there is none.
    pub fn delete(&self, reference: &str) -> Result<TokenizerRecord> {
        let record = self.get(reference)?;
        self.store
            .commit(Transaction::new().delete(RECORDS, key(&record.name, record.version)))?;
        Ok(record)
    }

    /// The blobs that tokenizers need: what a sweep must keep.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn live_blobs(&self) -> Result<BTreeSet<String>> {
        Ok(self
            .list()?
            .into_iter()
            .map(|record| record.digest)
            .collect())
    }
}

fn prefix(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.push(0);
    key
}

fn key(name: &str, version: u32) -> Vec<u8> {
    let mut key = prefix(name);
    key.extend_from_slice(&version.to_be_bytes());
    key
}
