//! Blobs: large bytes under the BLAKE3 digest of their content.

mod adopt;
mod behind;
mod digest;
mod partial;
mod reader;
mod sweep;
mod writer;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

pub use digest::Digest;
pub use partial::Partial;
pub use reader::BlobReader;
pub use sweep::SweepReport;
pub use writer::{BlobWriter, SealedBlob};

use self::adopt::digests_of;
use crate::error::StoreError;
use crate::json::JsonTable;
use crate::store::Store;

const TABLE: &str = "_blobs";

/// What is known of a blob without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobInfo {
    /// Length in bytes.
    pub size: u64,
    /// SHA-256 of the bytes, 64 hexadecimal digits, once it is known: see [`Blobs::sha256`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was last put, milliseconds since 1970.
    pub put_ms: u64,
}

/// State that all `Blobs` of a store share.
#[derive(Default)]
pub(crate) struct Shared {
    /// Digests that must not be swept, with the number of leases on each.
    leases: Arc<Mutex<HashMap<Digest, usize>>>,
    /// Files whose bytes were compared with their digest since they were last written.
    verified: Mutex<HashMap<Digest, Stamp>>,
    /// Putting holds it shared, removing exclusively: nothing is removed while it is put again.
    removal: RwLock<()>,
}

/// Tells whether a file is still the one that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            size: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }
}

/// Keeps a blob from being swept while it is used but not yet (or no longer) referenced.
#[derive(Debug)]
pub struct Lease {
    digest: Digest,
    leases: Arc<Mutex<HashMap<Digest, usize>>>,
}

impl Lease {
    /// The blob that is kept.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leases = self.leases.lock();
        if let Some(count) = leases.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                leases.remove(&self.digest);
            }
        }
    }
}

/// The blobs of a data folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Store,
}

impl Blobs {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Stores bytes and returns their address; durable when it returns. Bytes that are there
    /// already (and undamaged) are not written again.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::ReadOnly`], what the disk says.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let known = self.info_of(&digest)?.is_some()
            && fs::read(self.path(&digest)).is_ok_and(|found| found == bytes);
        if known {
            let guard = self.shared().removal.read();
            // Looked at again under the guard: it may just have been swept.
            if self.path(&digest).exists() && self.touch(&digest)? {
                return Ok(digest);
            }
            drop(guard);
        }
        let mut writer = self.writer_for(bytes.len() as u64)?;
        writer
            .write_all(bytes)
            .map_err(|e| StoreError::io("write", self.tmp(), e))?;
        writer.finish()
    }

    /// A writer for bytes whose digest is known only at the end. Dropping it without
    /// [`BlobWriter::finish`] leaves nothing behind.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], what the disk says.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        self.writer_for(0)
    }

    fn writer_for(&self, bytes: u64) -> Result<BlobWriter, StoreError> {
        self.store.space().admit(bytes)?;
        BlobWriter::new(self.clone())
    }

    /// Stores a copy of a file; see [`Blobs::take_file`].
    ///
    /// # Errors
    /// As [`Blobs::put`]; what reading the file says.
    pub fn import_file(&self, path: &Path) -> Result<Digest, StoreError> {
        self.take_file(path, false, &mut |_| ())?.finish()
    }

    /// Opens a blob for reading from start to end; damage is an error at the end of the stream at
    /// the latest ([`std::io::ErrorKind::InvalidData`]).
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`], [`StoreError::CorruptBlob`] when its length is wrong.
    pub fn open(&self, digest: &Digest) -> Result<BlobReader, StoreError> {
        let info = self.info(digest)?;
        let path = self.path(digest);
        let file = self.open_file(digest, &path)?;
        BlobReader::new(file, path, *digest, info.size)
    }

    /// The whole blob, verified.
    ///
    /// # Errors
    /// As [`Blobs::open`]; [`StoreError::CorruptBlob`].
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.path(digest);
        let info = self.info(digest)?;
        let mut bytes = Vec::with_capacity(usize::try_from(info.size).unwrap_or(0));
        self.open_file(digest, &path)?
            .read_to_end(&mut bytes)
            .map_err(|e| StoreError::io("read", &path, e))?;
        if Digest::of(&bytes) == *digest {
            Ok(bytes)
        } else {
            Err(corrupt(digest, &path, "its bytes have another digest"))
        }
    }

    /// The blob's file for random access or memory mapping, verified as a whole the first time in
    /// this process (about 2 GB/s) and again whenever the file has changed. Open it read-only.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`], [`StoreError::CorruptBlob`].
    pub fn verified_path(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        self.info(digest)?;
        let path = self.path(digest);
        let file = self.open_file(digest, &path)?;
        let stamp = Stamp::of(&file).map_err(|e| StoreError::io("read", &path, e))?;
        if self.shared().verified.lock().get(digest) == Some(&stamp) {
            return Ok(path);
        }
        let mut hasher = blake3::Hasher::new();
        hasher
            .update_reader(file)
            .map_err(|e| StoreError::io("read", &path, e))?;
        if Digest::from(hasher.finalize()) != *digest {
            return Err(corrupt(digest, &path, "its bytes have another digest"));
        }
        self.shared().verified.lock().insert(*digest, stamp);
        Ok(path)
    }

    /// Where the blob's file is (or would be). Not verified: prefer [`Blobs::verified_path`].
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.folder().join(&hex[..2]).join(hex)
    }

    /// Size and time of a blob.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`].
    pub fn info(&self, digest: &Digest) -> Result<BlobInfo, StoreError> {
        self.info_of(digest)?.ok_or_else(|| not_found(digest))
    }

    /// Length in bytes.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`].
    pub fn size(&self, digest: &Digest) -> Result<u64, StoreError> {
        Ok(self.info(digest)?.size)
    }

    /// SHA-256 of the bytes, 64 hexadecimal digits (for OCI, the hub and plugin digests). The first time it
    /// is asked for, the blob is read; it is known from then on.
    ///
    /// # Errors
    /// [`StoreError::BlobNotFound`], [`StoreError::CorruptBlob`].
    pub fn sha256(&self, digest: &Digest) -> Result<String, StoreError> {
        if let Some(known) = self.info(digest)?.sha256 {
            return Ok(known);
        }
        let path = self.path(digest);
        let changed = io::Error::new(io::ErrorKind::InvalidData, "it is being changed");
        let sha256 = (0..3)
            .find_map(|_| self.sha256_of(digest, &path).transpose())
            .unwrap_or_else(|| Err(StoreError::io("read", &path, changed)))?;
        let kept = self.table().update(&digest.hex(), |info| {
            Ok::<_, StoreError>(info.map(|info| BlobInfo {
                sha256: Some(sha256.clone()),
                ..info
            }))
        });
        if let Err(error) = kept {
            // It is only read once more the next time.
            tracing::debug!(%error, blob = %digest, "its SHA-256 could not be kept");
        }
        Ok(sha256)
    }

    /// The SHA-256 of a file that has this digest; nothing when it was changed while it was read.
    fn sha256_of(&self, digest: &Digest, path: &Path) -> Result<Option<String>, StoreError> {
        let file = self.open_file(digest, path)?;
        let stamp = || Stamp::of(&file).map_err(|e| StoreError::io("read", path, e));
        let before = stamp()?;
        let (found, sha256, _) = digests_of(&file, path)?;
        if found != *digest {
            return Err(corrupt(digest, path, "its bytes have another digest"));
        }
        if stamp()? != before {
            return Ok(None);
        }
        self.shared().verified.lock().insert(*digest, before);
        Ok(Some(sha256))
    }

    /// Whether the blob is there.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn contains(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.info_of(digest)?.is_some() && self.path(digest).exists())
    }

    /// All blobs, ordered by digest.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn list(&self) -> Result<Vec<(Digest, BlobInfo)>, StoreError> {
        self.table()
            .list()?
            .into_iter()
            .map(|(hex, info)| Ok((hex.parse()?, info)))
            .collect()
    }

    /// Keeps a blob from being swept while the lease lives. The blob need not exist yet.
    #[must_use]
    pub fn lease(&self, digest: &Digest) -> Lease {
        let leases = self.shared().leases.clone();
        *leases.lock().entry(*digest).or_default() += 1;
        Lease {
            digest: *digest,
            leases,
        }
    }

    fn shared(&self) -> &Shared {
        self.store.shared_blobs()
    }

    fn table(&self) -> JsonTable<BlobInfo> {
        self.store.json(TABLE)
    }

    fn folder(&self) -> PathBuf {
        self.store.root().join("blobs")
    }

    fn tmp(&self) -> PathBuf {
        self.store.root().join("tmp")
    }

    fn info_of(&self, digest: &Digest) -> Result<Option<BlobInfo>, StoreError> {
        self.table().get(&digest.hex())
    }

    /// Renews the time of a blob that is put again. False when it is gone.
    fn touch(&self, digest: &Digest) -> Result<bool, StoreError> {
        let updated = self.table().update(&digest.hex(), |info| {
            Ok::<_, StoreError>(info.map(|info| BlobInfo {
                put_ms: now_ms(),
                ..info
            }))
        })?;
        Ok(updated.is_some())
    }

    fn open_file(&self, digest: &Digest, path: &Path) -> Result<File, StoreError> {
        File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => not_found(digest),
            _ => StoreError::io("open", path, error),
        })
    }
}

fn not_found(digest: &Digest) -> StoreError {
    StoreError::BlobNotFound {
        digest: digest.to_string(),
    }
}

fn corrupt(digest: &Digest, path: &Path, reason: &str) -> StoreError {
    StoreError::CorruptBlob {
        digest: digest.to_string(),
        path: path.to_path_buf(),
        reason: reason.to_owned(),
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |age| age.as_millis() as u64)
}
