//! Errors of the data folder: each names the thing, the reason and what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::folder::FORMAT_VERSION;

/// Why the data folder could not do what was asked. Cheap to clone: one failed group commit is
/// reported to every transaction in it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process (or another `Store` of this process) has the folder open.
    #[error("{}", locked(root, *pid, url.as_deref()))]
    Locked {
        /// The data folder.
        root: PathBuf,
        /// The process that holds it, when it left its number.
        pid: Option<u32>,
        /// Where that process can be reached, when it is a server that published its address.
        url: Option<String>,
    },
    /// The folder was written by a newer Tenon.
    #[error(
        "the data folder {root} has format {found}, but this tenon reads up to {FORMAT_VERSION}: \
         it was written by {created_by}; run that version or newer, or choose another folder"
    )]
    NewerFormat {
        /// The data folder.
        root: PathBuf,
        /// Format version on disk.
        found: u32,
        /// Who wrote it, for example `tenon 0.9.0`.
        created_by: String,
    },
    /// The folder exists, holds files, and none of them says that it is ours.
    #[error(
        "{root} is not a tenon data folder: it has no FORMAT file but holds other files; choose an \
         empty or new folder"
    )]
    NotADataFolder {
        /// The folder that was asked for.
        root: PathBuf,
    },
    /// The FORMAT file cannot be understood.
    #[error("{path} is damaged: {reason}; restore it from a backup")]
    DamagedFormat {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The folder was created with another records backend than the one asked for.
    #[error(
        "the data folder {root} keeps its records in {found}, not {asked}; open it without naming a \
         backend, or choose another folder"
    )]
    BackendMismatch {
        /// The data folder.
        root: PathBuf,
        /// Backend on disk.
        found: String,
        /// Backend asked for.
        asked: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: Arc<io::Error>,
    },
    /// Too little free space to accept a write. Deletes are still accepted.
    #[error(
        "disk full: {root} has {free} bytes free, this write needs {needed} (with the safety \
         margin); delete runs, datasets or models and sweep, or free space on that disk"
    )]
    DiskFull {
        /// The data folder.
        root: PathBuf,
        /// Bytes available to us on its file system.
        free: u64,
        /// Bytes that must be available before this write is accepted.
        needed: u64,
    },
    /// An earlier I/O error stopped all writing; reads still work.
    #[error(
        "the store is read-only since an I/O error: {reason}; check the disk, then restart tenon"
    )]
    ReadOnly {
        /// The error that caused it.
        reason: String,
    },
    /// A record's bytes do not match their checksum.
    #[error(
        "record {key} of table `{table}` is damaged ({reason}); restore the data folder from a \
         backup, or delete that record"
    )]
    CorruptRecord {
        /// Table of the record.
        table: String,
        /// Its key, printable.
        key: String,
        /// What did not match.
        reason: String,
    },
    /// A blob's bytes do not match its digest.
    #[error(
        "blob {digest} is damaged ({path}: {reason}); import its source again, which replaces the \
         file, or restore it from a backup"
    )]
    CorruptBlob {
        /// The address that the bytes should have.
        digest: String,
        /// The file.
        path: PathBuf,
        /// What did not match.
        reason: String,
    },
    /// There is no such blob.
    #[error("there is no blob {digest} in this data folder")]
    BlobNotFound {
        /// The address that was asked for.
        digest: String,
    },
    /// A precondition of a transaction did not hold; nothing of it was applied.
    #[error("record {key} of table `{table}` {reason}")]
    Conflict {
        /// Table of the precondition.
        table: String,
        /// Its key, printable.
        key: String,
        /// What was found instead.
        reason: String,
    },
    /// The records database failed or is damaged beyond single records.
    #[error("the records of {root} failed: {message}")]
    Records {
        /// The data folder.
        root: PathBuf,
        /// The database's message.
        message: String,
    },
    /// A record is not the JSON that its table holds.
    #[error("record `{key}` of table `{table}` is not what this version expects: {message}")]
    Json {
        /// Table of the record.
        table: String,
        /// Its key.
        key: String,
        /// The parser's message.
        message: String,
    },
    /// A name, key, value or digest that the store does not accept.
    #[error("{0}")]
    InvalidArgument(String),
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.as_ref().to_path_buf(),
            source: Arc::new(source),
        }
    }

    /// True when a precondition did not hold: read again and retry.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// True when the write was refused because the disk is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::DiskFull { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

fn locked(root: &Path, pid: Option<u32>, url: Option<&str>) -> String {
    let holder = match pid {
        Some(pid) if pid == std::process::id() => "this process".to_owned(),
        Some(pid) => format!("process {pid}"),
        None => "another process".to_owned(),
    };
    let root = root.display();
    match url {
        Some(url) => format!(
            "the data folder {root} is open in {holder}, a server at {url}; talk to that server, or \
             stop it first"
        ),
        None => format!(
            "the data folder {root} is open in {holder}; is `tenon up` running? the CLI talks to \
             it; otherwise wait until that process ends, or stop it"
        ),
    }
}

/// A key for messages: text where it is text, hexadecimal otherwise.
pub(crate) fn printable(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if text.chars().all(|c| !c.is_control() || c == '\0') => {
            format!("`{}`", text.replace('\0', "/"))
        }
        _ => {
            let mut out = String::from("0x");
            for byte in key.iter().take(64) {
                out.push_str(&format!("{byte:02x}"));
            }
            if key.len() > 64 {
                out.push('…');
            }
            out
        }
    }
}
