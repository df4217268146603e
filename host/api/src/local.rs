//! Files that an upload names instead of holding them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Files on this machine whose parts of an upload are empty: they are taken from where they are. An
/// extension of a request, which nothing that comes over a network can have.
#[derive(Clone, Debug, Default)]
pub struct LocalFiles {
    /// By the names in the upload.
    pub paths: BTreeMap<String, PathBuf>,
    /// Whether a file may become a second name of the original where its bytes cannot be shared.
    pub link: bool,
    /// Bytes that were read, as it goes.
    pub read: Arc<AtomicU64>,
}
