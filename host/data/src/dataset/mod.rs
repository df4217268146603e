//! Datasets: named, versioned, immutable tables.

mod import;
mod name;
mod read;
mod record;
mod source;

use std::collections::BTreeSet;
use std::fs::File;

use serde::Serialize;
use tenon_store::{Digest, ScanRange, Store, Transaction};

pub use import::ImportReport;
pub(crate) use name::check_name;
pub use name::{Reference, Which};
pub use read::{BatchReader, Preview, to_json};
pub(crate) use record::content_digest;
pub use record::{DatasetSummary, DatasetVersion, Lineage, LineageStep, Split, SplitSummary};
pub use source::GrantedDatasets;

use crate::error::{DataError, Result};
use crate::import::{DEFAULT_SPLIT, QUARANTINE, quarantine_schema};
use crate::parts::Part;
use crate::schema::{ColumnSpec, Schema};

/// Key: name, 0, version as 4 bytes big-endian. Value: [`DatasetVersion`] as JSON.
const VERSIONS: &str = "datasets";
/// Key: name. Value: the last version number given, 4 bytes big-endian. It outlives the versions.
const COUNTERS: &str = "dataset-counters";
/// How digests begin.
const DIGEST_PREFIX: &str = "blake3:";
/// Tries to take a version number before giving up on a conflict.
const TRIES: usize = 50;

/// The datasets of a store. Clones share it.
#[derive(Clone)]
pub struct Datasets {
    store: Store,
}

impl std::fmt::Debug for Datasets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datasets").finish_non_exhaustive()
    }
}

impl Datasets {
    /// The datasets of this store.
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Records a version, unless one with the same content is there. `with` may add to the
    /// transaction what must be written together with it.
    pub(crate) fn commit(
        &self,
        mut draft: DatasetVersion,
        with: impl Fn(Transaction, &DatasetVersion) -> Result<Transaction>,
    ) -> Result<(DatasetVersion, bool)> {
        for _ in 0..TRIES {
            let counter = self.store.get(COUNTERS, draft.name.as_bytes())?;
            if let Some(same) = self
                .versions(&draft.name)?
                .into_iter()
                .rev()
                .find(|version| version.digest == draft.digest)
            {
                let transaction = with(Transaction::new(), &same)?;
                if !transaction.is_empty() {
                    self.store.commit(transaction)?;
                }
                return Ok((same, false));
            }
            let last = counter
                .as_deref()
                .and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)))
                .unwrap_or(0);
            draft.version = last + 1;
            draft.created_at = jiff::Timestamp::now().to_string();
            let key = key(&draft.name, draft.version);
            let number = draft.version.to_be_bytes();
            let value = encode(&draft)?;
            let transaction = match &counter {
                Some(counter) => Transaction::new().expect_equals(COUNTERS, &draft.name, counter),
                None => Transaction::new().expect_absent(COUNTERS, &draft.name),
            };
            let transaction = transaction
                .expect_absent(VERSIONS, &key)
                .put(COUNTERS, &draft.name, number)
                .put(VERSIONS, &key, value);
            match self.store.commit(with(transaction, &draft)?) {
                Ok(()) => return Ok((draft, true)),
                // Somebody else took the number.
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(DataError::Internal(format!(
            "dataset `{}` is being written by too many at once; try again",
            draft.name
        )))
    }

    /// Every dataset's latest version, by name.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn list(&self) -> Result<Vec<DatasetSummary>> {
        let mut summaries: Vec<DatasetSummary> = Vec::new();
        for (_, value) in self.store.scan(VERSIONS, ScanRange::all())? {
            let version: DatasetVersion = decode(&value)?;
            match summaries.last_mut() {
                Some(last) if last.name == version.name => {
                    *last = DatasetSummary::of(&version, last.versions + 1);
                }
                _ => summaries.push(DatasetSummary::of(&version, 1)),
            }
        }
        Ok(summaries)
    }

    /// All versions of a dataset, oldest first; none if there is no such dataset.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn versions(&self, name: &str) -> Result<Vec<DatasetVersion>> {
        self.store
            .scan(VERSIONS, ScanRange::prefix(prefix(name)))?
            .iter()
            .map(|(_, value)| decode(value))
            .collect()
    }

    /// The version that a reference (`name`, `name@2`, `name@0a1b2c3d`) means.
    ///
    /// # Errors
    /// [`DataError::NotFound`] saying what there is instead.
    pub fn get(&self, reference: &str) -> Result<DatasetVersion> {
        Ok(self.resolve(reference)?.0)
    }

    /// As [`Datasets::get`], for a reference that may also name a split (`name@2#dev`).
    ///
    /// # Errors
    /// [`DataError::NotFound`] saying what there is instead.
    pub fn resolve(&self, reference: &str) -> Result<(DatasetVersion, Option<String>)> {
        let parsed = Reference::parse("dataset", reference)?;
        let mut versions = self.versions(&parsed.name)?;
        let Some(latest) = versions.last() else {
            let names: Vec<_> = self
                .list()?
                .into_iter()
                .map(|dataset| dataset.name)
                .collect();
            let hint = if names.is_empty() {
                "none has been imported yet".to_owned()
            } else {
                format!("there are `{}`", names.join("`, `"))
            };
            return Err(DataError::NotFound(format!(
                "there is no dataset `{}`; {hint}",
                parsed.name
            )));
        };
        let latest = latest.version;
        let found = match &parsed.which {
            Which::Latest => versions.pop(),
            Which::Number(number) => versions
                .into_iter()
                .find(|version| version.version == *number),
            Which::Digest(digest) => {
                let digest = format!("{DIGEST_PREFIX}{digest}");
                versions
                    .into_iter()
                    .rev()
                    .find(|version| version.digest.starts_with(&digest))
            }
        };
        let version = found.ok_or_else(|| {
            DataError::NotFound(format!(
                "`{reference}`: dataset `{}` has no such version; the latest is {latest}",
                parsed.name
            ))
        })?;
        if let Some(split) = &parsed.split {
            self.split(&version, split)?;
        }
        Ok((version, parsed.split))
    }

    fn split<'v>(&self, version: &'v DatasetVersion, split: &str) -> Result<&'v Split> {
        version.split(split).ok_or_else(|| {
            let names: Vec<_> = version
                .splits
                .iter()
                .map(|split| split.name.as_str())
                .collect();
            DataError::NotFound(format!(
                "{} has no split `{split}`; it has `{}`",
                version.reference(),
                names.join("`, `")
            ))
        })
    }

    /// Reads a split: `columns` in this order (nothing: all of them), up to `batch_rows` rows at a
    /// time.
    ///
    /// # Errors
    /// [`DataError::NotFound`] for a split or column that is not there.
    pub fn read(
        &self,
        version: &DatasetVersion,
        split: &str,
        columns: Option<&[String]>,
        batch_rows: usize,
    ) -> Result<BatchReader> {
        let found = self.split(version, split)?;
        let whole = if split == QUARANTINE && version.quarantine.is_some() {
            quarantine_schema()?
        } else {
            version.schema.clone()
        };
        let schema = match columns {
            None => whole,
            Some(columns) => {
                let columns = columns
                    .iter()
                    .map(|name| {
                        let kind = whole.kind_of(name).ok_or_else(|| {
                            DataError::NotFound(format!(
                                "{} has no column `{name}`; it has {}",
                                version.reference(),
                                whole.listed()
                            ))
                        })?;
                        Ok(ColumnSpec {
                            name: name.clone(),
                            kind,
                        })
                    })
                    .collect::<Result<_>>()?;
                Schema::new(columns)?
            }
        };
        Ok(BatchReader::new(
            self,
            found.parts.clone(),
            schema.arrow(),
            batch_rows,
        ))
    }

    /// `rows` rows of a split from `offset` on, as JSON. `split`: nothing means the first one.
    ///
    /// # Errors
    /// As [`Datasets::read`].
    pub fn preview(
        &self,
        reference: &str,
        split: Option<&str>,
        offset: u64,
        rows: u64,
    ) -> Result<Preview> {
        let (version, named) = self.resolve(reference)?;
        let split = split
            .map(str::to_owned)
            .or(named)
            .or_else(|| version.splits.first().map(|split| split.name.clone()))
            .unwrap_or_else(|| DEFAULT_SPLIT.into());
        let total = self.split(&version, &split)?.rows;
        let reader = self
            .read(
                &version,
                &split,
                None,
                usize::try_from(rows.clamp(1, 8192)).unwrap_or(8192),
            )?
            .window(offset, rows);
        let schema = Schema::from_arrow(&reader.schema())?;
        let mut values = Vec::new();
        for batch in reader {
            values.extend(to_json(&batch?)?);
        }
        Ok(Preview {
            schema,
            split,
            offset,
            total,
            rows: values,
        })
    }

    /// Deletes the version that a reference means; its parts go with the next sweep unless another
    /// version has them.
    ///
    /// # Errors
    /// [`DataError::NotFound`] if there is none.
    pub fn delete(&self, reference: &str) -> Result<DatasetVersion> {
        let version = self.get(reference)?;
        self.store
            .commit(Transaction::new().delete(VERSIONS, key(&version.name, version.version)))?;
        Ok(version)
    }

    /// Deletes every version of a dataset and says how many there were.
    ///
    /// # Errors
    /// [`DataError::NotFound`] if there is none.
    pub fn delete_all(&self, name: &str) -> Result<usize> {
        self.get(name)?;
        let versions = self.versions(name)?;
        let mut transaction = Transaction::new();
        for version in &versions {
            transaction.add_delete(VERSIONS, key(name, version.version));
        }
        self.store.commit(transaction)?;
        Ok(versions.len())
    }

    /// The blobs that datasets need: what a sweep must keep.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn live_blobs(&self) -> Result<BTreeSet<String>> {
        let mut live = BTreeSet::new();
        for (_, value) in self.store.scan(VERSIONS, ScanRange::all())? {
            let version: DatasetVersion = decode(&value)?;
            for split in version.all_splits() {
                live.extend(split.parts.iter().map(|part| part.digest.clone()));
            }
        }
        Ok(live)
    }

    /// The file of a part, verified.
    fn part_file(&self, part: &Part) -> Result<File> {
        let digest: Digest = part.digest.parse()?;
        let path = self.store.blobs().verified_path(&digest)?;
        File::open(&path).map_err(DataError::io(format!("opening {}", path.display())))
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

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| DataError::Internal(format!("a record cannot be written: {error}")))
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| DataError::Internal(format!("a record cannot be read: {error}")))
}
