//! Downloads that were cut off, kept for the next try.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock, fstat, stat};
use tempfile::{NamedTempFile, TempPath};

use super::adopt::digests_of;
use super::sweep::{SweepReport, read_dir};
use super::writer::Room;
use super::{Blobs, SealedBlob};
use crate::error::StoreError;

/// How long they are kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The beginning of a file whose SHA-256 is known, or all of it. It stays when it is dropped; it goes
/// when it becomes a blob, with [`Partial::discard`], and with a sweep a week after its last byte came.
#[derive(Debug)]
pub struct Partial {
    blobs: Blobs,
    /// Locked as long as it is open: nobody else writes to it.
    file: File,
    path: PathBuf,
    sha256: String,
    there: u64,
    room: Room,
}

impl Blobs {
    /// What is there of a file with this SHA-256 (64 hexadecimal digits); nothing while another download
    /// of it goes on.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] for what is no such sum; what the disk says.
    pub fn partial(&self, sha256: &str) -> Result<Option<Partial>, StoreError> {
        let (path, sha256) = self.partial_path(sha256)?;
        let fail = |action, error| StoreError::io(action, &path, error);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|e| fail("create the folder of", e))?;
        }
        loop {
            let mut file = open(&path).map_err(|e| fail("open", e))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(fail("lock", error.into())),
            }
            // Between opening and locking it may have become a blob, which must not be written to.
            let own = fstat(&file).map_err(|e| fail("read", e.into()))?;
            let named = stat(&path).ok();
            if named.is_none_or(|named| (named.st_dev, named.st_ino) != (own.st_dev, own.st_ino)) {
                continue;
            }
            let there = file.seek(SeekFrom::End(0)).map_err(|e| fail("read", e))?;
            return Ok(Some(Partial {
                blobs: self.clone(),
                file,
                path,
                sha256,
                there,
                room: Room::new(self.clone()),
            }));
        }
    }

    /// Bytes that are there of a file with this SHA-256.
    #[must_use]
    pub fn partial_bytes(&self, sha256: &str) -> u64 {
        let path = self.partial_path(sha256).map(|(path, _)| path);
        path.ok()
            .and_then(|path| fs::metadata(path).ok())
            .map_or(0, |metadata| metadata.len())
    }

    fn partial_path(&self, sha256: &str) -> Result<(PathBuf, String), StoreError> {
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(StoreError::InvalidArgument(format!(
                "`{sha256}` is no SHA-256: expected 64 hexadecimal digits"
            )));
        }
        let sha256 = sha256.to_ascii_lowercase();
        Ok((self.partials().join(&sha256), sha256))
    }

    fn partials(&self) -> PathBuf {
        self.store.root().join("partial")
    }

    pub(super) fn sweep_partials(&self, report: &mut SweepReport) -> Result<(), StoreError> {
        for path in read_dir(&self.partials())? {
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            let age = metadata
                .modified()
                .ok()
                .and_then(|time| time.elapsed().ok());
            if age.is_some_and(|age| age > KEPT) {
                remove(&path)?;
                report.removed += 1;
                report.bytes += metadata.len();
            }
        }
        Ok(())
    }
}

/// Opens or creates it, for this user alone as the blobs are.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

impl Partial {
    /// Bytes that are there.
    #[must_use]
    pub fn there(&self) -> u64 {
        self.there
    }

    /// Reads them from the beginning.
    ///
    /// # Errors
    /// What the disk says.
    pub fn reader(&self) -> Result<File, StoreError> {
        File::open(&self.path).map_err(|e| StoreError::io("open", &self.path, e))
    }

    /// Forgets what is there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn clear(&mut self) -> Result<(), StoreError> {
        let cleared = self.file.set_len(0).and_then(|()| self.file.rewind());
        cleared.map_err(|e| StoreError::io("write", &self.path, e))?;
        self.there = 0;
        Ok(())
    }

    /// Removes it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn discard(self) -> Result<(), StoreError> {
        remove(&self.path)
    }

    /// All bytes are there: they can be looked at before it is decided whether they are kept. Until then
    /// they stay for the next try.
    ///
    /// # Errors
    /// When the bytes on the disk have another SHA-256; what the disk says.
    pub fn seal(self) -> Result<SealedBlob, StoreError> {
        let Self {
            blobs,
            file,
            path,
            sha256,
            ..
        } = self;
        let fail = |error| StoreError::io("read", &path, error);
        let (digest, found, size) = digests_of(&file, &path)?;
        let mut name = TempPath::try_from_path(&path).map_err(fail)?;
        name.disable_cleanup(true);
        let file = NamedTempFile::from_parts(file, name);
        let mut sealed = SealedBlob::of(blobs, file, digest, size);
        if found != sha256 {
            remove(&path)?;
            return Err(fail(io::Error::new(
                io::ErrorKind::InvalidData,
                "the disk gave other bytes than were written",
            )));
        }
        sealed.sha256 = Some(found);
        Ok(sealed)
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.room.check()?;
        let count = self.file.write(bytes)?;
        self.there += count as u64;
        self.room.written(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}
