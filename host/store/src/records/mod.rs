//! Records: transactions over named, ordered tables. One trait, several databases behind it.

pub(crate) mod envelope;
mod redb;
mod redb_file;
mod sled;

use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{StoreError, printable};
use crate::faults::Faults;
use crate::transaction::{ScanRange, Transaction};

/// Which database keeps the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// redb 4: the default. One file, copy-on-write B-trees.
    #[default]
    Redb,
    /// sled 0.34. Its own `flush` does not fsync, so this backend fsyncs sled's files itself.
    /// Known limits: about 3 GB of memory while loading a million records, seconds to open them;
    /// a folder whose disk ran completely full may not open again (the reserve makes that
    /// unlikely); a truncated log is reported as damage, not repaired.
    Sled,
}

impl Backend {
    /// `redb` or `sled`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Redb => "redb",
            Self::Sled => "sled",
        }
    }
}

/// Why a transaction was not applied: one of its preconditions did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Table of the precondition.
    pub table: String,
    /// Its key.
    pub key: Vec<u8>,
    /// What was found instead, as the end of a sentence.
    pub reason: &'static str,
}

impl From<Conflict> for StoreError {
    fn from(conflict: Conflict) -> Self {
        Self::Conflict {
            table: conflict.table,
            key: printable(&conflict.key),
            reason: conflict.reason.to_owned(),
        }
    }
}

/// A failure of the database itself.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RecordsError {
    /// The disk is full.
    #[error("no space left on the disk")]
    Full,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(String),
    /// What is on disk is not what was written.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
}

impl From<io::Error> for RecordsError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// Is called for each record of a scan: key, stored form.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// A database of named tables with ordered byte keys.
///
/// Readers may call from any thread; [`Records::apply`] is called by one thread only. Values pass
/// through in their stored form: checksums are the caller's business.
pub trait Records: Send + Sync {
    /// The value under `key`.
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, RecordsError>;

    /// Visits the records of `range` in order, from one consistent state.
    fn scan(
        &self,
        table: &str,
        range: &ScanRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), RecordsError>;

    /// The names of the tables that hold records, sorted.
    fn tables(&self) -> Result<Vec<String>, RecordsError>;

    /// Applies the transactions in order, each completely or not at all, each seeing the ones
    /// before it, and returns once all that were accepted are durable. On `Err` none of them is.
    fn apply(&self, group: &[&Transaction]) -> Result<Vec<Result<(), Conflict>>, RecordsError>;

    /// Closes and opens the database again, after an error; its state is then the last durable one.
    /// On `Err` it cannot be written; where possible it can still be read.
    fn reopen(&self) -> Result<(), RecordsError>;

    /// Checks the database's own structure. Slow: reads everything.
    fn verify(&self) -> Result<(), RecordsError>;
}

pub(crate) fn open(
    backend: Backend,
    root: &Path,
    cache_bytes: usize,
    faults: Arc<Faults>,
) -> Result<Box<dyn Records>, RecordsError> {
    Ok(match backend {
        Backend::Redb => Box::new(redb::RedbRecords::open(
            root.join("records.redb"),
            cache_bytes,
            faults,
        )?),
        Backend::Sled => Box::new(sled::SledRecords::open(
            root.join("records.sled"),
            cache_bytes,
            faults,
        )?),
    })
}

/// Compares a precondition with what is stored; the conflict when it does not hold.
pub(crate) fn check(
    table: &str,
    key: &[u8],
    expected: Option<&[u8]>,
    found: Option<&[u8]>,
) -> Option<Conflict> {
    let reason = match (expected, found) {
        (None, None) => return None,
        (Some(expected), Some(found)) if expected == found => return None,
        (None, Some(_)) => "exists already",
        (Some(_), None) => "does not exist any more",
        (Some(_), Some(_)) => "was changed by somebody else meanwhile",
    };
    Some(Conflict {
        table: table.to_owned(),
        key: key.to_vec(),
        reason,
    })
}

/// Both databases panic on some kinds of damage: turn that into an error.
pub(crate) fn guarded<T>(
    what: &str,
    body: impl FnOnce() -> Result<T, RecordsError>,
) -> Result<T, RecordsError> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("it stopped without a message");
        Err(RecordsError::Corrupt(format!("{what}: {message}")))
    })
}

#[cfg(test)]
mod tests;
