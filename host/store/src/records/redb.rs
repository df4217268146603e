//! redb: the default backend.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::RwLock;
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError,
    TableHandle,
};

use super::redb_file::{Overlay, RecordsFile};
use super::{Conflict, Records, RecordsError, Visit, guarded};
use crate::faults::Faults;
use crate::transaction::{Op, ScanRange, Transaction};

type Bytes = &'static [u8];
type BytesTable<'txn> = Table<'txn, Bytes, Bytes>;

fn definition(name: &str) -> TableDefinition<'_, Bytes, Bytes> {
    TableDefinition::new(name)
}

pub struct RedbRecords {
    path: PathBuf,
    cache_bytes: usize,
    faults: Arc<Faults>,
    database: RwLock<Option<Open>>,
}

struct Open {
    database: Database,
    /// Changes (redb's own repair) go to memory: the disk refuses them. Reads are right.
    in_memory: bool,
}

impl RedbRecords {
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
        };
        *records.database.write() = Some(records.open_database(false)?);
        Ok(records)
    }

    fn open_database(&self, in_memory: bool) -> Result<Open, RecordsError> {
        guarded("opening", || {
            let fresh = !self.path.exists();
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&self.path)?;
            let mut builder = Builder::new();
            builder.set_cache_size(self.cache_bytes);
            let database = if in_memory {
                builder.create_with_backend(Overlay::new(file)?)
            } else {
                builder.create_with_backend(RecordsFile::new(file, self.faults.clone()))
            }
            .map_err(map)?;
            if fresh && let Some(folder) = self.path.parent() {
                File::open(folder)?.sync_all()?;
            }
            Ok(Open {
                database,
                in_memory,
            })
        })
    }

    fn with<T>(
        &self,
        body: impl FnOnce(&Database) -> Result<T, RecordsError>,
    ) -> Result<T, RecordsError> {
        let database = self.database.read();
        let open = database.as_ref().ok_or_else(closed)?;
        guarded("reading", || body(&open.database))
    }
}

fn closed() -> RecordsError {
    RecordsError::Io("the records could not be opened again after an error".to_owned())
}

fn map<E: Into<redb::Error>>(error: E) -> RecordsError {
    match error.into() {
        redb::Error::Io(error) => error.into(),
        redb::Error::Corrupted(message) => RecordsError::Corrupt(message),
        other => RecordsError::Io(other.to_string()),
    }
}

impl Records for RedbRecords {
    fn get(&self, table: &str, key: &[u8]) -> Result<Option<Vec<u8>>, RecordsError> {
        self.with(|database| {
            let read = database.begin_read().map_err(map)?;
            let table = match read.open_table(definition(table)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(map(error)),
            };
            let value = table.get(key).map_err(map)?;
            Ok(value.map(|guard| guard.value().to_vec()))
        })
    }

    fn scan(
        &self,
        table: &str,
        range: &ScanRange,
        visit: &mut Visit<'_>,
    ) -> Result<(), RecordsError> {
        let Some(bounds) = range.bounds() else {
            return Ok(());
        };
        self.with(|database| {
            let read = database.begin_read().map_err(map)?;
            let table = match read.open_table(definition(table)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => return Ok(()),
                Err(error) => return Err(map(error)),
            };
            let mut records = table.range::<&[u8]>(bounds).map_err(map)?;
            let mut left = range.limit.unwrap_or(usize::MAX);
            while left > 0 {
                let next = if range.reverse {
                    records.next_back()
                } else {
                    records.next()
                };
                let Some(record) = next else { break };
                let (key, value) = record.map_err(map)?;
                if visit(key.value(), value.value()).is_break() {
                    break;
                }
                left -= 1;
            }
            Ok(())
        })
    }

    fn tables(&self) -> Result<Vec<String>, RecordsError> {
        self.with(|database| {
            let read = database.begin_read().map_err(map)?;
            let mut names = Vec::new();
            for table in read.list_tables().map_err(map)? {
                names.push(table.name().to_owned());
            }
            names.sort();
            Ok(names)
        })
    }

    fn apply(&self, group: &[&Transaction]) -> Result<Vec<Result<(), Conflict>>, RecordsError> {
        if self
            .database
            .read()
            .as_ref()
            .is_none_or(|open| open.in_memory)
        {
            // The disk may take writes again.
            self.reopen()?;
        }
        let open = self.database.read();
        let database = &open.as_ref().ok_or_else(closed)?.database;
        guarded("writing", || {
            let write = database.begin_write().map_err(map)?;
            let mut outcomes = Vec::with_capacity(group.len());
            let mut changed = false;
            {
                // redb allows one open handle of a table in a transaction.
                let mut tables = BTreeMap::new();
                for transaction in group {
                    let mut outcome = Ok(());
                    for expect in transaction.expects() {
                        let Op::Expect { table, key, value } = expect else {
                            continue;
                        };
                        let handle = table_of(&write, &mut tables, table)?;
                        let found = handle.get(key.as_slice()).map_err(map)?;
                        let found = found.as_ref().map(|guard| guard.value());
                        if let Some(conflict) = super::check(table, key, value.as_deref(), found) {
                            outcome = Err(conflict);
                            break;
                        }
                    }
                    if outcome.is_ok() {
                        for op in transaction.changes() {
                            changed = true;
                            match op {
                                Op::Put { table, key, value } => {
                                    table_of(&write, &mut tables, table)?
                                        .insert(key.as_slice(), value.as_slice())
                                        .map_err(map)?;
                                }
                                Op::Delete { table, key } => {
                                    table_of(&write, &mut tables, table)?
                                        .remove(key.as_slice())
                                        .map_err(map)?;
                                }
                                Op::Expect { .. } => {}
                            }
                        }
                    }
                    outcomes.push(outcome);
                }
            }
            if changed {
                write.commit().map_err(map)?;
            } else {
                write.abort().map_err(map)?;
            }
            Ok(outcomes)
        })
    }

    fn reopen(&self) -> Result<(), RecordsError> {
        let mut database = self.database.write();
        // Close first: dropping flushes nothing after an I/O error.
        if let Some(old) = database.take() {
            let _ = guarded("closing", move || {
                drop(old);
                Ok(())
            });
        }
        match self.open_database(false) {
            Ok(open) => {
                *database = Some(open);
                Ok(())
            }
            // redb repairs after an error, and the disk takes no writes: repair in memory, so that
            // everything can still be read.
            Err(error) => {
                *database = Some(self.open_database(true)?);
                Err(error)
            }
        }
    }

    fn verify(&self) -> Result<(), RecordsError> {
        let mut database = self.database.write();
        let open = database.as_mut().ok_or_else(closed)?;
        guarded("verifying", || match open.database.check_integrity() {
            Ok(true) => Ok(()),
            Ok(false) => Err(RecordsError::Corrupt(
                "pages did not match their checksums and were repaired".to_owned(),
            )),
            Err(error) => Err(map(error)),
        })
    }
}

fn table_of<'t, 'txn, 'g>(
    write: &'txn redb::WriteTransaction,
    tables: &'t mut BTreeMap<&'g str, BytesTable<'txn>>,
    name: &'g str,
) -> Result<&'t mut BytesTable<'txn>, RecordsError> {
    Ok(match tables.entry(name) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(write.open_table(definition(name)).map_err(map)?),
    })
}
