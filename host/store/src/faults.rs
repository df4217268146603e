//! Makes the records' files fail like a bad or full disk does, for tests.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Switches for failures of the files under the records. All off by default.
#[derive(Debug)]
pub struct Faults {
    /// Bytes that may still be written before writes fail as on a full disk; negative: no limit.
    room: AtomicI64,
    /// Syncs fail with an I/O error.
    broken_sync: AtomicBool,
    /// Free bytes that the file system pretends to have; negative: ask it.
    free: AtomicI64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            room: AtomicI64::new(-1),
            broken_sync: AtomicBool::new(false),
            free: AtomicI64::new(-1),
        }
    }
}

impl Faults {
    /// After `bytes` more bytes, writes fail with "no space left". `None`: never.
    pub fn limit_writes(&self, bytes: Option<u64>) {
        let room = bytes.map_or(-1, |bytes| bytes.min(i64::MAX as u64) as i64);
        self.room.store(room, Ordering::SeqCst);
    }

    /// Syncs fail (or work again).
    pub fn break_sync(&self, broken: bool) {
        self.broken_sync.store(broken, Ordering::SeqCst);
    }

    /// The file system claims to have this many bytes left. `None`: the truth.
    pub fn pretend_free(&self, bytes: Option<u64>) {
        let free = bytes.map_or(-1, |bytes| bytes.min(i64::MAX as u64) as i64);
        self.free.store(free, Ordering::SeqCst);
    }

    pub(crate) fn free(&self) -> Option<u64> {
        u64::try_from(self.free.load(Ordering::SeqCst)).ok()
    }

    pub(crate) fn before_write(&self, bytes: usize) -> io::Result<()> {
        let room = self.room.load(Ordering::SeqCst);
        if room < 0 {
            return Ok(());
        }
        let left = room.saturating_sub_unsigned(bytes as u64);
        if left <= 0 {
            self.room.store(0, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room.store(left, Ordering::SeqCst);
        Ok(())
    }

    pub(crate) fn before_sync(&self) -> io::Result<()> {
        if self.broken_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk does not answer (injected)"));
        }
        Ok(())
    }
}
