//! The file under redb. Its own locks are not used: the folder's LOCK guards it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::faults::Faults;

/// The real file.
#[derive(Debug)]
pub struct RecordsFile {
    file: File,
    faults: Arc<Faults>,
}

impl RecordsFile {
    pub fn new(file: File, faults: Arc<Faults>) -> Self {
        Self { file, faults }
    }
}

impl StorageBackend for RecordsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.faults.before_write(0)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.faults.before_sync()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.faults.before_write(data.len())?;
        self.file.write_all_at(data, offset)
    }
}

const BLOCK: usize = 4096;

/// The file with changes in memory on top of it, for a disk that takes no writes.
#[derive(Debug)]
pub struct Overlay {
    file: File,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    len: u64,
    blocks: HashMap<u64, Vec<u8>>,
}

impl Overlay {
    pub fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self {
            file,
            changes: Mutex::new(Changes {
                len,
                blocks: HashMap::new(),
            }),
        })
    }

    /// A block as it is on disk, zeros beyond the end.
    fn block(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let offset = number * BLOCK as u64 + filled as u64;
            match self.file.read_at(&mut block[filled..], offset)? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(block)
    }
}

/// The pieces of `length` bytes at `offset`: block, place in the block, place in the bytes, length.
fn pieces(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let inside = (at % BLOCK as u64) as usize;
        let count = (BLOCK - inside).min(length - done);
        let piece = (at / BLOCK as u64, inside, done, count);
        done += count;
        Some(piece)
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let changes = self.changes.lock();
        if offset.saturating_add(out.len() as u64) > changes.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, inside, place, count) in pieces(offset, out.len()) {
            let target = &mut out[place..place + count];
            match changes.blocks.get(&number) {
                Some(block) => target.copy_from_slice(&block[inside..inside + count]),
                None => target.copy_from_slice(&self.block(number)?[inside..inside + count]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changes = self.changes.lock();
        if len < changes.len {
            // What is cut off must read as zeros if the file grows again.
            for number in len / BLOCK as u64..changes.len.div_ceil(BLOCK as u64) {
                let mut block = match changes.blocks.remove(&number) {
                    Some(block) => block,
                    None => self.block(number)?,
                };
                let keep = len.saturating_sub(number * BLOCK as u64).min(BLOCK as u64);
                block[keep as usize..].fill(0);
                changes.blocks.insert(number, block);
            }
        }
        changes.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changes = self.changes.lock();
        for (number, inside, place, count) in pieces(offset, data.len()) {
            let mut block = match changes.blocks.remove(&number) {
                Some(block) => block,
                None => self.block(number)?,
            };
            block[inside..inside + count].copy_from_slice(&data[place..place + count]);
            changes.blocks.insert(number, block);
        }
        changes.len = changes.len.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_overlay_reads_like_a_file_and_leaves_the_file_alone() {
        let real = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8).collect();
        real.write_all_at(&content, 0).unwrap();
        let overlay = Overlay::new(real.try_clone().unwrap()).unwrap();
        let mut model = content.clone();
        for (offset, length, byte) in [
            (0, 10, 1),
            (4090, 20, 2),
            (9_990, 5_000, 3),
            (8192, 4096, 4),
        ] {
            overlay.write(offset as u64, &vec![byte; length]).unwrap();
            model.resize(model.len().max(offset + length), 0);
            model[offset..offset + length].fill(byte);
        }
        for len in [12_000, 5_000, 9_000] {
            overlay.set_len(len).unwrap();
            model.resize(len as usize, 0);
            assert_eq!(overlay.len().unwrap(), len);
            let mut found = vec![0; model.len()];
            overlay.read(0, &mut found).unwrap();
            assert!(found == model, "{len}");
            assert!(overlay.read(len - 1, &mut [0; 2]).is_err());
        }
        let mut on_disk = vec![0; content.len()];
        real.read_exact_at(&mut on_disk, 0).unwrap();
        assert!(on_disk == content);
        assert_eq!(real.metadata().unwrap().len(), 10_000);
    }
}
