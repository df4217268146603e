//! Files that become blobs where they are, or are copied.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use sha2::Digest as _;
use tempfile::NamedTempFile;

use super::{Blobs, Digest, SealedBlob, Stamp};
use crate::error::StoreError;

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;
/// Pieces that are read before they are needed.
const AHEAD: usize = 4;

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
        let mut source = open(path)?;
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
            // Not as `reopen` does, which wants to write.
            let (digest, size) = digest_of(&mut open(file.path())?, path, read)?;
            let mut sealed = SealedBlob::of(self.clone(), file, digest, size);
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

/// Digest and length of a file. `read` is told the bytes of each piece.
fn digest_of(
    file: &mut (impl Read + Send),
    path: &Path,
    read: &mut dyn FnMut(u64),
) -> Result<(Digest, u64), StoreError> {
    let (mut hasher, mut size) = (blake3::Hasher::new(), 0);
    pieces(file, path, |piece| {
        hasher.update(piece);
        size += piece.len() as u64;
        read(piece.len() as u64);
        Ok(())
    })?;
    Ok((Digest::from(hasher.finalize()), size))
}

/// Digest, SHA-256 (64 hexadecimal digits) and length of a file, from its beginning. Each digest is computed
/// by a thread that reads for itself: that is faster than handing over the bytes.
pub(super) fn digests_of(file: &File, path: &Path) -> Result<(Digest, String, u64), StoreError> {
    thread::scope(|scope| {
        let work = move || {
            let mut hasher = sha2::Sha256::new();
            pieces(&mut FromStart { file, at: 0 }, path, |piece| {
                hasher.update(piece);
                Ok(())
            })?;
            let bytes = hasher.finalize();
            Ok::<String, StoreError>(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
        };
        let sha256 = begin(scope, work).map_err(|e| StoreError::io("read", path, e))?;
        let found = digest_of(&mut FromStart { file, at: 0 }, path, &mut |_| ());
        let gone = |_| StoreError::io("read", path, io::Error::other("a thread is gone"));
        let sha256 = sha256.join().map_err(gone)??;
        let (digest, size) = found?;
        Ok((digest, sha256, size))
    })
}

fn open(path: &Path) -> Result<File, StoreError> {
    File::open(path).map_err(|e| StoreError::io("open", path, e))
}

/// Reads a file that others read too, each from its own place.
struct FromStart<'a> {
    file: &'a File,
    at: u64,
}

impl Read for FromStart<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Starts a thread of a scope; an error where the system has none left.
fn begin<'scope, T: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<thread::ScopedJoinHandle<'scope, T>> {
    let builder = thread::Builder::new().name("tenon-read".to_owned());
    builder.spawn_scoped(scope, work)
}

/// Runs `each` over the pieces of a file, while a thread reads the next ones.
fn pieces(
    file: &mut (impl Read + Send),
    path: &Path,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), StoreError> {
    thread::scope(|scope| {
        let (give, read) = sync_channel::<Piece>(AHEAD);
        let (give_back, free) = channel::<Piece>();
        for _ in 0..AHEAD {
            // The receiver is there: this cannot fail.
            let _ = give_back.send((vec![0; PIECE], 0));
        }
        let work = move || -> io::Result<()> {
            for (mut buffer, _) in free {
                let count = read_once(file, &mut buffer)?;
                // Nobody takes it: what was done with a piece before has failed.
                if count == 0 || give.send((buffer, count)).is_err() {
                    break;
                }
            }
            Ok(())
        };
        let reader = begin(scope, work).map_err(|e| StoreError::io("read", path, e))?;
        for (buffer, count) in read {
            each(&buffer[..count]).map_err(|e| StoreError::io("take", path, e))?;
            // The reader is at the end of the file, or gone for a reason of which it tells.
            let _ = give_back.send((buffer, 0));
        }
        drop(give_back);
        let done = reader
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that reads is gone")));
        done.map_err(|e| StoreError::io("read", path, e))
    })
}

/// A buffer and how much of it is filled.
type Piece = (Vec<u8>, usize);

fn read_once(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
