//! Free space: writes are refused before the disk is full, and a reserve keeps deletes possible.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::StoreError;
use crate::faults::Faults;

/// Watches the free space of the data folder's file system.
pub struct Space {
    root: PathBuf,
    /// Size of the preallocated file; zero: none.
    reserve: u64,
    /// Bytes that must stay free after any write.
    min_free: u64,
    /// The reserve was given up and not taken back yet.
    released: AtomicBool,
    faults: Arc<Faults>,
}

impl Space {
    pub fn open(root: PathBuf, reserve: u64, min_free: u64, faults: Arc<Faults>) -> Self {
        let space = Self {
            root,
            reserve,
            min_free,
            released: AtomicBool::new(true),
            faults,
        };
        let present = fs::metadata(space.path()).is_ok_and(|file| file.len() == reserve);
        if present {
            space.released.store(false, Ordering::SeqCst);
        } else {
            space.restore();
        }
        space
    }

    fn path(&self) -> PathBuf {
        self.root.join("RESERVE")
    }

    /// Bytes that we can still write on the folder's file system, without the reserve.
    pub fn free(&self) -> u64 {
        if let Some(free) = self.faults.free() {
            return free;
        }
        match rustix::fs::statvfs(&self.root) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize),
            // Not knowing must not stop writing: the write itself will say.
            Err(_) => u64::MAX,
        }
    }

    /// Whether `bytes` more may be written.
    pub fn admit(&self, bytes: u64) -> Result<(), StoreError> {
        let free = self.free();
        let needed = self.min_free.saturating_add(bytes);
        if free < needed {
            return Err(StoreError::DiskFull {
                root: self.root.clone(),
                free,
                needed,
            });
        }
        if self.released.load(Ordering::SeqCst)
            && free > needed.saturating_add(self.reserve.saturating_mul(2))
        {
            self.restore();
        }
        Ok(())
    }

    /// Before a change that frees space: gives up the reserve when the disk is full.
    pub fn make_room(&self) {
        if self.free() < self.min_free {
            self.release();
        }
    }

    /// Gives up the reserve.
    pub fn release(&self) {
        if self.reserve == 0 || self.released.swap(true, Ordering::SeqCst) {
            return;
        }
        match fs::remove_file(self.path()) {
            Ok(()) => tracing::warn!(bytes = self.reserve, "disk full: the reserve is given up"),
            Err(error) => tracing::warn!(%error, "cannot give up the reserve"),
        }
    }

    fn restore(&self) {
        if self.reserve == 0 {
            return;
        }
        match self.preallocate() {
            Ok(()) => self.released.store(false, Ordering::SeqCst),
            Err(error) => {
                let _ = fs::remove_file(self.path());
                tracing::warn!(%error, bytes = self.reserve, "no room for the reserve");
            }
        }
    }

    fn preallocate(&self) -> io::Result<()> {
        let mut file = File::create(self.path())?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.reserve) {
            Ok(()) => {}
            // A file system that cannot preallocate: write the bytes.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                let zeros = vec![0; 64 << 10];
                let mut left = self.reserve;
                while left > 0 {
                    let now = left.min(zeros.len() as u64) as usize;
                    file.write_all(&zeros[..now])?;
                    left -= now as u64;
                }
            }
            Err(error) => return Err(error.into()),
        }
        file.sync_all()
    }
}
