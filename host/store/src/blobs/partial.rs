//! Downloads that were cut off, kept for the next try.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::sweep::{SweepReport, read_dir};
use super::{Blobs, SealedBlob};
use crate::error::StoreError;

/// How long they are kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The beginning of a file whose SHA-256 is known, or all of it. It stays when it is dropped; it goes
/// when its blob is there, with [`Partial::discard`], and a week after the last byte came with a sweep.
#[derive(Debug)]
pub struct Partial {
    blobs: Blobs,
    /// Locked: nobody else writes to it.
    file: File,
    path: PathBuf,
    there: u64,
}

impl Blobs {
    /// What is there of a file with this SHA-256 (64 hexadecimal digits); nothing while another download
    /// of it goes on.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] for what is no such sum; what the disk says.
    pub fn partial(&self, sha256: &str) -> Result<Option<Partial>, StoreError> {
        if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(StoreError::InvalidArgument(format!(
                "`{sha256}` is no SHA-256: expected 64 hexadecimal digits"
            )));
        }
        let folder = self.partials();
        let fail = |action, path: &Path, error| StoreError::io(action, path, error);
        fs::create_dir_all(&folder).map_err(|e| fail("create", &folder, e))?;
        let path = folder.join(sha256.to_ascii_lowercase());
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| fail("open", &path, e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(fail("lock", &path, error.into())),
        }
        let there = file
            .seek(SeekFrom::End(0))
            .map_err(|e| fail("read", &path, e))?;
        Ok(Some(Partial {
            blobs: self.clone(),
            file,
            path,
            there,
        }))
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
                fs::remove_file(&path).map_err(|e| StoreError::io("remove", &path, e))?;
                report.removed += 1;
                report.bytes += metadata.len();
            }
        }
        Ok(())
    }
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

    /// All bytes are there: they can be looked at before it is decided whether they are kept. They stay
    /// for the next try until then.
    ///
    /// # Errors
    /// As [`Blobs::take_file`].
    pub fn seal(self) -> Result<SealedBlob, StoreError> {
        let mut sealed = self.blobs.take_file(&self.path, true, &mut |_| ())?;
        sealed.partial = Some(self.path);
        Ok(sealed)
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.there += count as u64;
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
