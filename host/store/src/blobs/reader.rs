//! Reading a blob from start to end, verified on the way.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::{Digest, corrupt};
use crate::error::StoreError;

/// Reads a blob. The end of the stream is reported only if the bytes had the right digest;
/// otherwise the last `read` fails with [`io::ErrorKind::InvalidData`].
#[derive(Debug)]
pub struct BlobReader {
    file: File,
    path: PathBuf,
    digest: Digest,
    size: u64,
    read: u64,
    hasher: blake3::Hasher,
}

impl BlobReader {
    pub(super) fn new(
        file: File,
        path: PathBuf,
        digest: Digest,
        size: u64,
    ) -> Result<Self, StoreError> {
        let found = file
            .metadata()
            .map_err(|e| StoreError::io("read", &path, e))?
            .len();
        if found != size {
            let reason = format!("it has {found} bytes instead of {size}");
            return Err(corrupt(&digest, &path, &reason));
        }
        Ok(Self {
            file,
            path,
            digest,
            size,
            read: 0,
            hasher: blake3::Hasher::new(),
        })
    }

    /// Length of the blob in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.read += count as u64;
        let ended = count == 0 && !buffer.is_empty();
        // The last bytes are not handed out before they are known to be right.
        if (ended || self.read >= self.size) && Digest::from(self.hasher.finalize()) != self.digest
        {
            let error = corrupt(&self.digest, &self.path, "its bytes have another digest");
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        Ok(count)
    }
}
