//! How to open a folder, and what is known of an open one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::faults::Faults;
use crate::records::Backend;

/// How to open a data folder. `StoreOptions::default()` is right for everything but tests.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Records backend; none: the one that the folder has, redb for a new folder.
    pub backend: Option<Backend>,
    /// Bytes of the records' page cache in memory.
    pub cache_bytes: usize,
    /// Bytes preallocated and given up when the disk is full, so that deletes still work.
    pub reserve_bytes: u64,
    /// Bytes that must stay free on the disk after any write; below that writes are refused.
    pub min_free_bytes: u64,
    /// Injected failures, for tests.
    #[doc(hidden)]
    pub faults: Arc<Faults>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            backend: None,
            cache_bytes: 32 << 20,
            reserve_bytes: 16 << 20,
            min_free_bytes: 32 << 20,
            faults: Arc::default(),
        }
    }
}

impl StoreOptions {
    /// The defaults with a named backend.
    #[must_use]
    pub fn with_backend(backend: Backend) -> Self {
        Self {
            backend: Some(backend),
            ..Self::default()
        }
    }
}

/// A record: key and value.
pub type Record = (Vec<u8>, Vec<u8>);

/// Whether the store accepts writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum State {
    /// Reads and writes.
    Writable,
    /// Reads and deletes; the last write was refused for lack of space.
    DiskFull {
        /// Bytes available at that moment.
        free: u64,
        /// Bytes that must be available.
        needed: u64,
    },
    /// Reads only, since an I/O error.
    ReadOnly {
        /// The error.
        reason: String,
    },
}

/// How many transactions the writer handled, and in how many groups (one fsync each).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitStats {
    /// Transactions, refused preconditions included.
    pub transactions: u64,
    /// Groups.
    pub groups: u64,
}

/// What a full check of the records found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Records whose checksum is right.
    pub records: u64,
    /// One sentence for each damaged record or structure.
    pub damage: Vec<String>,
}
