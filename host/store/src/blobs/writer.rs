//! Writing a blob: temporary file, fsync, rename, fsync of the folder, then its record.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::behind::{Flusher, Sum};
use super::{BlobInfo, Blobs, Digest, Stamp, now_ms, partial};
use crate::error::StoreError;
use crate::folder::sync_folder;

/// The free space is looked at again after this many bytes.
const CHECK_EVERY: u64 = 8 << 20;
/// From this size on, the disk is kept busy while bytes still come.
const LARGE: u64 = 64 << 20;

/// Collects the bytes of one blob. Nothing is visible before [`BlobWriter::finish`].
pub struct BlobWriter {
    blobs: Blobs,
    out: BufWriter<Hashing>,
}

struct Hashing {
    file: NamedTempFile,
    room: Room,
    sum: Sum,
    flusher: Option<Flusher>,
    size: u64,
}

/// Sees to it that the disk does not get full while bytes come whose number nobody knows.
#[derive(Debug)]
pub(super) struct Room {
    blobs: Blobs,
    unchecked: u64,
}

impl Room {
    /// For bytes of which none was asked room for yet.
    pub(super) fn new(blobs: Blobs) -> Self {
        Self {
            blobs,
            unchecked: CHECK_EVERY,
        }
    }

    /// Before more is written.
    pub(super) fn check(&mut self) -> io::Result<()> {
        if self.unchecked < CHECK_EVERY {
            return Ok(());
        }
        self.unchecked = 0;
        let room = self.blobs.store.space().admit(CHECK_EVERY);
        room.map_err(|full| io::Error::new(io::ErrorKind::StorageFull, full))
    }

    /// After that.
    pub(super) fn written(&mut self, bytes: usize) {
        self.unchecked += bytes as u64;
    }
}

impl BlobWriter {
    pub(super) fn new(blobs: Blobs) -> Result<Self, StoreError> {
        let tmp = blobs.tmp();
        let file =
            NamedTempFile::new_in(&tmp).map_err(|e| StoreError::io("create a file in", &tmp, e))?;
        let hashing = Hashing {
            file,
            room: Room {
                blobs: blobs.clone(),
                unchecked: 0,
            },
            sum: Sum::default(),
            flusher: None,
            size: 0,
        };
        Ok(Self {
            blobs,
            out: BufWriter::with_capacity(256 << 10, hashing),
        })
    }

    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.out.get_ref().size + self.out.buffer().len() as u64
    }

    /// Makes the blob durable and returns its address. A damaged file of the same address is
    /// replaced.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`], [`StoreError::ReadOnly`], what the disk says; nothing is left
    /// behind.
    pub fn finish(self) -> Result<Digest, StoreError> {
        self.seal()?.finish()
    }

    /// Ends writing without making the blob durable or visible: to look at it before it is decided
    /// whether it is kept.
    ///
    /// # Errors
    /// As [`BlobWriter::finish`].
    pub fn seal(self) -> Result<SealedBlob, StoreError> {
        let Self { blobs, out } = self;
        let hashing = out
            .into_inner()
            .map_err(|e| StoreError::io("write", blobs.tmp(), e.into_error()))?;
        let digest = hashing.sum.finish();
        let digest = digest.map_err(|error| StoreError::io("write", blobs.tmp(), error))?;
        Ok(SealedBlob {
            flusher: hashing.flusher,
            ..SealedBlob::of(blobs, hashing.file, digest, hashing.size)
        })
    }
}

/// A blob whose bytes are complete, but that is not there yet. Dropping it leaves nothing behind but what
/// was left of a download before.
pub struct SealedBlob {
    blobs: Blobs,
    file: NamedTempFile,
    flusher: Option<Flusher>,
    digest: Digest,
    /// Where it had to be computed.
    pub(super) sha256: Option<String>,
    size: u64,
    /// Of a file that others can write to, from before it was read.
    pub(super) stamp: Option<Stamp>,
}

impl std::fmt::Debug for SealedBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedBlob")
            .field("digest", &self.digest)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl SealedBlob {
    pub(super) fn of(blobs: Blobs, file: NamedTempFile, digest: Digest, size: u64) -> Self {
        Self {
            digest,
            sha256: None,
            size,
            file,
            flusher: None,
            stamp: None,
            blobs,
        }
    }

    /// The address that it will have.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// SHA-256 of its bytes, 64 hexadecimal digits, where the bytes had to have a known one.
    #[must_use]
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// Length in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where its bytes are for now. Read only.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Makes the blob durable and returns its address.
    ///
    /// # Errors
    /// As [`BlobWriter::finish`].
    pub fn finish(self) -> Result<Digest, StoreError> {
        let Self {
            blobs,
            file,
            flusher,
            digest,
            sha256,
            size,
            stamp,
        } = self;
        let path = blobs.path(&digest);
        let fail = |action, error| StoreError::io(action, &path, error);

        if let Some(flusher) = flusher {
            flusher.finish().map_err(|e| fail("sync", e))?;
        }
        file.as_file().sync_all().map_err(|e| fail("sync", e))?;
        let taken = stamp.is_some();
        if let Some(before) = stamp
            && Stamp::of(file.as_file()).map_err(|e| fail("look at", e))? != before
        {
            return Err(fail(
                "keep",
                io::Error::new(io::ErrorKind::InvalidData, "the file was changed meanwhile"),
            ));
        }
        let folder = blobs.folder();
        let shard = folder.join(&digest.hex()[..2]);
        if !shard.is_dir() {
            fs::create_dir_all(&shard).map_err(|e| fail("create the folder of", e))?;
            sync_folder(&folder)?;
            sync_folder(blobs.store.root())?;
        }
        let _guard = blobs.shared().removal.read();
        let name = file.path().to_owned();
        let file = file.persist(&path).map_err(|e| fail("replace", e.error))?;
        if taken {
            // Renaming does nothing when both names are the same file's already.
            partial::remove(&name)?;
        }
        sync_folder(&shard)?;
        blobs.table().update(&digest.hex(), |known| {
            Ok::<_, StoreError>(Some(BlobInfo {
                size,
                sha256: sha256
                    .clone()
                    .or_else(|| known.and_then(|known| known.sha256)),
                put_ms: now_ms(),
            }))
        })?;
        blobs.remember(digest, &file);
        Ok(digest)
    }

    /// The bytes are of no more use: nothing is left, not even for the next try of a download.
    ///
    /// # Errors
    /// What the disk says.
    pub fn discard(self) -> Result<(), StoreError> {
        partial::remove(self.file.path())
    }
}

impl Blobs {
    /// We hashed these very bytes: no need to read them back.
    fn remember(&self, digest: Digest, file: &File) {
        if let Ok(stamp) = Stamp::of(file) {
            self.shared().verified.lock().insert(digest, stamp);
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.room.check()?;
        let count = self.file.write(bytes)?;
        self.sum.update(&bytes[..count])?;
        self.size += count as u64;
        if self.flusher.is_none() && self.size >= LARGE {
            self.flusher = Some(Flusher::start(self.file.as_file())?);
        }
        if let Some(flusher) = &mut self.flusher {
            flusher.written(count as u64);
        }
        self.room.written(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
