//! Mark and sweep: removes blobs that nothing refers to.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Blobs, Digest, TABLE, now_ms};
use crate::error::StoreError;
use crate::folder::sync_folder;
use crate::transaction::Transaction;

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepReport {
    /// Blobs that stayed.
    pub kept: u64,
    /// Blobs that were removed, and downloads that nobody went on with.
    pub removed: u64,
    /// Bytes that this freed.
    pub bytes: u64,
}

impl Blobs {
    /// Removes every blob that `live` does not name, unless it is leased or was put within the last
    /// `grace` (bytes are put before the record that refers to them: an hour is a good value).
    /// `live` is called after the sweep has taken note of the time, so nothing that is put
    /// meanwhile is lost. Downloads that were cut off a week ago go too.
    ///
    /// # Errors
    /// What `live` returns, and then nothing is removed; what the disk says.
    pub fn sweep(
        &self,
        grace: Duration,
        live: impl FnOnce() -> Result<HashSet<Digest>, StoreError>,
    ) -> Result<SweepReport, StoreError> {
        let before = now_ms().saturating_sub(grace.as_millis() as u64);
        let live = live()?;
        self.store.space().make_room();
        let mut report = SweepReport::default();
        for (digest, _) in self.list()? {
            if live.contains(&digest) {
                report.kept += 1;
                continue;
            }
            let _guard = self.shared().removal.write();
            // Asked again under the guard: it may have been put or leased meanwhile.
            let Some(info) = self.info_of(&digest)? else {
                continue;
            };
            if info.put_ms >= before || self.shared().leases.lock().contains_key(&digest) {
                report.kept += 1;
                continue;
            }
            // Record first: a crash in between leaves a file without a record, which the next sweep
            // removes, and never a record without its file.
            self.store
                .commit(Transaction::new().delete(TABLE, digest.hex()))?;
            self.remove_file(&digest)?;
            report.removed += 1;
            report.bytes += info.size;
        }
        self.sweep_orphans(&live, before, &mut report)?;
        self.sweep_partials(&mut report)?;
        Ok(report)
    }

    /// Files without a record: left by a crash between rename and commit.
    fn sweep_orphans(
        &self,
        live: &HashSet<Digest>,
        before: u64,
        report: &mut SweepReport,
    ) -> Result<(), StoreError> {
        let folder = self.folder();
        for shard in read_dir(&folder)? {
            for path in read_dir(&shard)? {
                let name = path.file_name().and_then(|name| name.to_str());
                let Some(digest) = name.and_then(|name| name.parse::<Digest>().ok()) else {
                    continue;
                };
                let _guard = self.shared().removal.write();
                if live.contains(&digest)
                    || self.shared().leases.lock().contains_key(&digest)
                    || self.info_of(&digest)?.is_some()
                {
                    continue;
                }
                let Ok(metadata) = fs::metadata(&path) else {
                    continue;
                };
                let put_ms = metadata
                    .modified()
                    .ok()
                    .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
                    .map_or(0, |age| age.as_millis() as u64);
                if put_ms < before {
                    self.remove_file(&digest)?;
                    report.removed += 1;
                    report.bytes += metadata.len();
                }
            }
        }
        Ok(())
    }

    fn remove_file(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        self.shared().verified.lock().remove(digest);
        match fs::remove_file(&path) {
            Ok(()) => path.parent().map_or(Ok(()), sync_folder),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(StoreError::io("remove", &path, error)),
        }
    }
}

pub(super) fn read_dir(path: &std::path::Path) -> Result<Vec<std::path::PathBuf>, StoreError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    entries
        .map(|entry| {
            entry
                .map(|entry| entry.path())
                .map_err(|e| StoreError::io("read", path, e))
        })
        .collect()
}
