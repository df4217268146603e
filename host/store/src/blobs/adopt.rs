//! Files that become blobs where they are, or are copied.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::thread;

use sha2::Digest as _;
use tempfile::NamedTempFile;

use super::behind::Sums;
use super::{Blobs, SealedBlob, Stamp};
use crate::error::StoreError;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

impl Blobs {
    /// Takes a file as a blob: sharing its bytes until one of the two changes, where the file system can do
    /// that (btrfs, XFS, bcachefs); else, with `link`, as a second name of the same file; else as a copy.
    /// `read` is told the bytes of each piece.
    ///
    /// A file that has two names must not be changed any more: that would damage the blob, which is found
    /// out when it is next read.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] with `link` for a file on another file system; as
    /// [`Blobs::put`]; what reading the file says.
    pub fn take_file(
        &self,
        path: &Path,
        link: bool,
        read: &mut dyn FnMut(u64),
    ) -> Result<SealedBlob, StoreError> {
        let mut source = File::open(path).map_err(|e| StoreError::io("open", path, e))?;
        let shared = match self.shared_copy(&source)? {
            Some(shared) => Some(shared),
            None if link => Some(self.second_name(path)?),
            None => None,
        };
        if let Some(file) = shared {
            let look = |file: &NamedTempFile| {
                Stamp::of(file.as_file()).map_err(|e| StoreError::io("look at", path, e))
            };
            let stamp = look(&file)?;
            let (sums, size) = sums_of(file.path(), read)?;
            let mut sealed = SealedBlob::of(self.clone(), file, sums, size)?;
            sealed.stamp = Some(stamp);
            return Ok(sealed);
        }
        let size = source.metadata().map_or(0, |metadata| metadata.len());
        let mut writer = self.writer_for(size)?;
        pieces(&mut source, path, |piece| {
            read(piece.len() as u64);
            writer.write_all(piece)
        })?;
        writer.seal()
    }

    /// A file that shares all bytes of another; nothing where the file systems cannot do that.
    #[cfg(target_os = "linux")]
    fn shared_copy(&self, source: &File) -> Result<Option<NamedTempFile>, StoreError> {
        let tmp = self.tmp();
        let file =
            NamedTempFile::new_in(&tmp).map_err(|e| StoreError::io("create a file in", &tmp, e))?;
        Ok(rustix::fs::ioctl_ficlone(file.as_file(), source)
            .is_ok()
            .then_some(file))
    }

    #[cfg(not(target_os = "linux"))]
    fn shared_copy(&self, _source: &File) -> Result<Option<NamedTempFile>, StoreError> {
        Ok(None)
    }

    /// Another name for a file.
    fn second_name(&self, path: &Path) -> Result<NamedTempFile, StoreError> {
        // The name of a link would be linked, not the file.
        let real = fs::canonicalize(path).map_err(|e| StoreError::io("find", path, e))?;
        let tmp = self.tmp();
        let made = tempfile::Builder::new().make_in(&tmp, |name| {
            fs::hard_link(&real, name)?;
            File::open(name)
        });
        made.map_err(|error| match error.kind() {
            io::ErrorKind::CrossesDevices => StoreError::InvalidArgument(format!(
                "{} is on another file system than the data folder {} and cannot be linked there; \
                 leave out --link to copy it",
                path.display(),
                self.store.root().display()
            )),
            _ => StoreError::io("link", path, error),
        })
    }
}

/// Both digests of a file, each by a thread that reads it for itself: that is faster than handing over the
/// bytes.
pub(super) fn sums_of(path: &Path, read: &mut dyn FnMut(u64)) -> Result<(Sums, u64), StoreError> {
    // Not as `reopen` does, which wants to write.
    let open = || File::open(path).map_err(|e| StoreError::io("open", path, e));
    let (mut first, mut second) = (open()?, open()?);
    thread::scope(|scope| {
        let sha256 = scope.spawn(move || {
            let mut sum = sha2::Sha256::new();
            pieces(&mut second, path, |piece| {
                sum.update(piece);
                Ok(())
            })?;
            Ok::<_, StoreError>(sum)
        });
        let (mut blake3, mut size) = (blake3::Hasher::new(), 0);
        let done = pieces(&mut first, path, |piece| {
            blake3.update(piece);
            size += piece.len() as u64;
            read(piece.len() as u64);
            Ok(())
        });
        let gone = |_| StoreError::io("read", path, io::Error::other("a thread is gone"));
        let sha256 = sha256.join().map_err(gone)??;
        done?;
        Ok((Sums::of(blake3, sha256), size))
    })
}

/// Runs `each` over the pieces of a file.
fn pieces(
    file: &mut File,
    path: &Path,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), StoreError> {
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                each(&buffer[..count]).map_err(|e| StoreError::io("take", path, e))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StoreError::io("read", path, error)),
        }
    }
}
