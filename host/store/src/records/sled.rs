//! sled 0.34: selectable. Acknowledged means fsynced here too, which sled alone does not promise:
//! on Linux its `flush` calls `sync_file_range`, so its files are fsynced after every group.
//!
//! All tables live in one tree, because one batch on one tree is what sled recovers atomically.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::{Conflict, Records, RecordsError, Visit, guarded};
use crate::faults::Faults;
use crate::transaction::{Op, ScanRange, Transaction};

/// Ends the table name in a key: no table name contains it.
const END: u8 = 0;

pub struct SledRecords {
    path: PathBuf,
    cache_bytes: usize,
    faults: Arc<Faults>,
    database: RwLock<Option<sled::Db>>,
    /// sled keeps large values in files of their own; they are immutable, so each is synced once.
    synced: Mutex<Vec<PathBuf>>,
}

impl SledRecords {
    pub fn open(
        path: PathBuf,
        cache_bytes: usize,
        faults: Arc<Faults>,
    ) -> Result<Self, RecordsError> {
        let records = Self {
            path,
            cache_bytes,
            faults,
            database: RwLock::new(None),
            synced: Mutex::new(Vec::new()),
        };
        records.reopen()?;
        Ok(records)
    }

    fn open_database(&self) -> Result<sled::Db, RecordsError> {
        let started = Instant::now();
        loop {
            let opened = guarded("opening", || {
                sled::Config::new()
                    .path(&self.path)
                    .cache_capacity(self.cache_bytes as u64)
                    // Groups are flushed by the writer: no background flushing.
                    .flush_every_ms(None)
                    .open()
                    .map_err(map)
            });
            match opened {
                // A database that was just dropped gives its lock back a little later.
                Err(RecordsError::Io(message))
                    if message.contains("lock") && started.elapsed() < Duration::from_secs(5) =>
                {
                    sleep(Duration::from_millis(20));
                }
                Ok(database) => {
                    if let Some(folder) = self.path.parent() {
                        File::open(folder)?.sync_all()?;
                    }
                    return Ok(database);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn with<T>(
        &self,
        body: impl FnOnce(&sled::Db) -> Result<T, RecordsError>,
    ) -> Result<T, RecordsError> {
        let database = self.database.read();
        let database = database.as_ref().ok_or_else(|| {
            RecordsError::Io("the records could not be opened again after an error".to_owned())
        })?;
        guarded("using sled", || body(database))
    }

    /// Fsyncs sled's log and the value files that it wrote since the last time.
    fn sync(&self) -> Result<(), RecordsError> {
        self.faults.before_sync()?;
        File::open(self.path.join("db"))?.sync_all()?;
        let mut present = Vec::new();
        let values = self.path.join("blobs");
        if values.is_dir() {
            let mut synced = self.synced.lock();
            let mut new = false;
            for entry in std::fs::read_dir(&values)? {
                let path = entry?.path();
                if !synced.contains(&path) {
                    sync_file(&path)?;
                    new = true;
                }
                present.push(path);
            }
            if new {
                sync_file(&values)?;
            }
            *synced = present;
        }
        Ok(())
    }
}

fn sync_file(path: &Path) -> Result<(), RecordsError> {
    match File::open(path) {
        Ok(file) => Ok(file.sync_all()?),
        // sled removed it meanwhile.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn map(error: sled::Error) -> RecordsError {
    match error {
        sled::Error::Io(error) => error.into(),
        sled::Error::Corruption { .. } => RecordsError::Corrupt(error.to_string()),
        other => RecordsError::Io(other.to_string()),
    }
}

fn full_key(table: &str, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(table.len() + 1 + key.len());
    out.extend_from_slice(table.as_bytes());
    out.push(END);
    out.extend_from_slice(key);
    out
}

impl Records for SledRecords {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, RecordsError> {
        self.with(|database| {
            let value = database.get(full_key(table, key)).map_err(map)?;
            Ok(value.map(|value| value.to_vec()))
        })
    }

    fn scan(
        &self,
        table: &str,
        range: &ScanRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), RecordsError> {
        if range.bounds().is_none() {
            return Ok(());
        }
        let from = full_key(table, range.from.as_deref().unwrap_or_default());
        let to = match &range.to {
            Some(to) => full_key(table, to),
            None => {
                let mut end = table.as_bytes().to_vec();
                end.push(END + 1);
                end
            }
        };
        self.with(|database| {
            let mut records =
                database.range::<Vec<u8>, _>((Bound::Included(from), Bound::Excluded(to)));
            let mut left = range.limit.unwrap_or(usize::MAX);
            while left > 0 {
                let next = if range.reverse {
                    records.next_back()
                } else {
                    records.next()
                };
                let Some(record) = next else { break };
                let (key, value) = record.map_err(map)?;
                if visit(&key[table.len() + 1..], &value).is_break() {
                    break;
                }
                left -= 1;
            }
            Ok(())
        })
    }

    fn tables(&self) -> Result<Vec<String>, RecordsError> {
        self.with(|database| {
            let mut names = Vec::new();
            let mut from = Vec::new();
            while let Some(record) = database.range(from..).next() {
                let (key, _) = record.map_err(map)?;
                let end = key.iter().position(|byte| *byte == END);
                let Some(name) = end.and_then(|end| std::str::from_utf8(&key[..end]).ok()) else {
                    return Err(RecordsError::Corrupt("a key without a table".to_owned()));
                };
                // Skip over this table.
                from = name.as_bytes().to_vec();
                from.push(END + 1);
                names.push(name.to_owned());
            }
            Ok(names)
        })
    }

    fn apply(&self, group: &[&Transaction]) -> Result<Vec<Result<(), Conflict>>, RecordsError> {
        self.with(|database| {
            // What the transactions before in this group change, on top of the database.
            let mut pending: HashMap<Vec<u8>, Option<&[u8]>> = HashMap::new();
            let mut outcomes = Vec::with_capacity(group.len());
            for transaction in group {
                let mut outcome = Ok(());
                for expect in transaction.expects() {
                    let Op::Expect { table, key, value } = expect else {
                        continue;
                    };
                    let full = full_key(table, key);
                    let stored;
                    let found = match pending.get(&full) {
                        Some(found) => *found,
                        None => {
                            stored = database.get(&full).map_err(map)?;
                            stored.as_deref()
                        }
                    };
                    if let Some(conflict) = super::check(table, key, value.as_deref(), found) {
                        outcome = Err(conflict);
                        break;
                    }
                }
                if outcome.is_ok() {
                    for op in transaction.changes() {
                        match op {
                            Op::Put { table, key, value } => {
                                pending.insert(full_key(table, key), Some(value));
                            }
                            Op::Delete { table, key } => {
                                pending.insert(full_key(table, key), None);
                            }
                            Op::Expect { .. } => {}
                        }
                    }
                }
                outcomes.push(outcome);
            }
            if !pending.is_empty() {
                let mut batch = sled::Batch::default();
                let mut bytes = 0;
                for (key, value) in pending {
                    match value {
                        Some(value) => {
                            bytes += key.len() + value.len();
                            batch.insert(key, value);
                        }
                        None => batch.remove(key),
                    }
                }
                self.faults.before_write(bytes)?;
                database.apply_batch(batch).map_err(map)?;
                database.flush().map_err(map)?;
                self.sync()?;
            }
            Ok(outcomes)
        })
    }

    fn reopen(&self) -> Result<(), RecordsError> {
        let mut database = self.database.write();
        if let Some(old) = database.take() {
            let _ = guarded("closing", move || {
                drop(old);
                Ok(())
            });
        }
        *database = Some(self.open_database()?);
        Ok(())
    }

    fn verify(&self) -> Result<(), RecordsError> {
        self.with(|database| {
            for record in database.iter() {
                record.map_err(map)?;
            }
            Ok(())
        })
    }
}
