//! The data folder: records (small, transactional) and blobs (large, content-addressed).
//!
//! ```text
//! root/FORMAT        format version and backend, JSON
//! root/LOCK          flock'ed by the one process that has the folder open; holds its pid
//! root/SERVER        where a running server can be reached, JSON; readable without the lock
//! root/RESERVE       preallocated bytes that are given up so that deletes work on a full disk
//! root/records.redb  the records (records.sled/ with the sled backend)
//! root/blobs/ab/…    blobs by the BLAKE3 digest of their bytes
//! root/runs/ …       folders that other crates ask for with `Store::dir`
//! root/tmp/          unfinished files; emptied when the folder is opened
//! ```
//!
//! A commit that returned `Ok` has been fsynced. Every value carries a checksum over table, key
//! and bytes, verified on each read. After an I/O error the store serves reads and refuses writes.
//! All calls block: from async code use a blocking thread.

mod blobs;
mod error;
mod faults;
mod folder;
mod json;
mod options;
mod records;
mod space;
mod store;
mod transaction;
mod writer;

pub use blobs::{
    BlobInfo, BlobReader, BlobWriter, Blobs, Digest, Lease, Partial, SealedBlob, SweepReport,
};
pub use error::StoreError;
#[doc(hidden)]
pub use faults::Faults;
pub use folder::{FORMAT_VERSION, ServerGuard, ServerHint};
pub use json::JsonTable;
pub use options::{CommitStats, Record, State, StoreOptions, VerifyReport};
pub use records::{Backend, Conflict, Records, RecordsError};
pub use store::Store;
pub use transaction::{MAX_KEY, MAX_VALUE, ScanRange, Transaction};
pub use writer::PendingCommit;
