//! `Store`: one data folder, opened exclusively.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::blobs::Blobs;
use crate::error::StoreError;
use crate::folder::{self, Lock, ServerGuard, ServerHint};
use crate::json::JsonTable;
use crate::options::{CommitStats, Record, State, StoreOptions, VerifyReport};
use crate::records::{self, Backend, Records, RecordsError, envelope};
use crate::space::Space;
use crate::transaction::{ScanRange, Transaction, check_table};
use crate::writer::{Context, PendingCommit, Stats, Writer};

/// An open data folder. Cheap to clone; closed (and unlocked) when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("root", &self.inner.root)
            .field("backend", &self.inner.backend)
            .finish_non_exhaustive()
    }
}

// Fields drop in this order: the writer finishes, the records close, the lock goes last.
struct Inner {
    writer: Writer,
    records: Arc<dyn Records>,
    state: Arc<Mutex<State>>,
    space: Arc<Space>,
    stats: Arc<Stats>,
    blobs: crate::blobs::Shared,
    backend: Backend,
    root: PathBuf,
    _lock: Lock,
}

impl Store {
    /// Opens the data folder `root`, creating it when it does not exist, and locks it.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::NewerFormat`], [`StoreError::NotADataFolder`],
    /// [`StoreError::BackendMismatch`], or what the disk says.
    pub fn open(root: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let (lock, backend) = folder::open(root, options.backend)?;
        // From here on paths do not depend on the working directory.
        let root = fs::canonicalize(root).map_err(|e| StoreError::io("find", root, e))?;
        folder::empty(&root.join("tmp"))?;
        let space = Arc::new(Space::open(
            root.clone(),
            options.reserve_bytes,
            options.min_free_bytes,
            options.faults.clone(),
        ));
        let open = || records::open(backend, &root, options.cache_bytes, options.faults.clone());
        let records: Arc<dyn Records> = match open() {
            // Opening may have to write: that is what the reserve is for.
            Err(RecordsError::Full) => {
                space.release();
                open()
            }
            other => other,
        }
        .map_err(|error| match error {
            RecordsError::Full => StoreError::DiskFull {
                root: root.clone(),
                free: space.free(),
                needed: options.reserve_bytes.max(1 << 20),
            },
            other => records_error(&root, &other),
        })?
        .into();
        let state = Arc::new(Mutex::new(State::Writable));
        let stats = Arc::<Stats>::default();
        let writer = Writer::start(Context {
            root: root.clone(),
            records: records.clone(),
            space: space.clone(),
            state: state.clone(),
            stats: stats.clone(),
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                writer,
                records,
                state,
                space,
                stats,
                blobs: crate::blobs::Shared::default(),
                backend,
                root,
                _lock: lock,
            }),
        })
    }

    /// Where a server that holds `root` can be reached. Needs no lock. `None` when no server
    /// published an address or its process is gone; ask its `/health` before relying on it.
    #[must_use]
    pub fn server_hint(root: &Path) -> Option<ServerHint> {
        folder::server_hint(root)
    }

    /// Publishes the address of this process for [`Store::server_hint`] until the guard is dropped.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn publish_server(&self, url: &str) -> Result<ServerGuard, StoreError> {
        folder::publish_server(&self.inner.root, url)
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// [`StoreError::CorruptRecord`] when its checksum is wrong.
    pub fn get(&self, table: &str, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, StoreError> {
        let key = key.as_ref();
        check_table(table).map_err(StoreError::InvalidArgument)?;
        let stored = self
            .inner
            .records
            .get(table, key)
            .map_err(|e| self.records_error(&e))?;
        match stored {
            None => Ok(None),
            Some(mut stored) => {
                let payload = envelope::open(table, key, &stored)?.len();
                stored.drain(..stored.len() - payload);
                Ok(Some(stored))
            }
        }
    }

    /// The records of `range` in key order, from one consistent state.
    ///
    /// # Errors
    /// [`StoreError::CorruptRecord`] at the first wrong checksum.
    pub fn scan(&self, table: &str, range: ScanRange) -> Result<Vec<Record>, StoreError> {
        let mut out = Vec::new();
        self.for_each(table, &range, |key, value| {
            out.push((key.to_vec(), value.to_vec()));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(out)
    }

    /// Calls `visit` with each record of `range` (key, value) without copying. `visit` must not
    /// write to the store and wait for it.
    ///
    /// # Errors
    /// As [`Store::scan`], or what `visit` returns, which ends the scan.
    pub fn for_each(
        &self,
        table: &str,
        range: &ScanRange,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError>,
    ) -> Result<(), StoreError> {
        check_table(table).map_err(StoreError::InvalidArgument)?;
        let mut failed = None;
        let scanned =
            self.inner
                .records
                .scan(
                    table,
                    range,
                    &mut |key, stored| match envelope::open(table, key, stored)
                        .and_then(|value| visit(key, value))
                    {
                        Ok(flow) => flow,
                        Err(error) => {
                            failed = Some(error);
                            ControlFlow::Break(())
                        }
                    },
                );
        scanned.map_err(|e| self.records_error(&e))?;
        failed.map_or(Ok(()), Err)
    }

    /// Applies a transaction and returns when it is on disk.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a precondition does not hold, [`StoreError::DiskFull`],
    /// [`StoreError::ReadOnly`], [`StoreError::InvalidArgument`]. On any of them nothing was applied.
    pub fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        if transaction.is_empty() {
            return Ok(());
        }
        self.submit(transaction)?.wait()
    }

    /// Hands a transaction to the writer without waiting. Transactions of one thread are applied in
    /// the order in which they were submitted.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`]; the rest is told by [`PendingCommit::wait`].
    pub fn submit(&self, transaction: Transaction) -> Result<PendingCommit, StoreError> {
        transaction.validate()?;
        self.inner.writer.submit(transaction)
    }

    /// A table of JSON values with text keys.
    #[must_use]
    pub fn json<T>(&self, table: &str) -> JsonTable<T> {
        JsonTable::new(self.clone(), table)
    }

    /// The blobs of this folder.
    #[must_use]
    pub fn blobs(&self) -> Blobs {
        Blobs::new(self.clone())
    }

    /// The data folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// The folder `root/name` (for example `runs/01j…`), created when missing. Not swept.
    ///
    /// # Errors
    /// [`StoreError::InvalidArgument`] when the name leaves the data folder or is one of the
    /// store's own; what the disk says.
    pub fn dir(&self, name: &str) -> Result<PathBuf, StoreError> {
        let parts: Vec<&str> = name.split('/').collect();
        let own = [
            "FORMAT", "LOCK", "SERVER", "RESERVE", "blobs", "tmp", "partial",
        ];
        let fine = parts
            .iter()
            .all(|part| !part.is_empty() && !part.starts_with('.') && !part.contains('\0'))
            && !own.contains(&parts[0])
            && !parts[0].starts_with("records");
        if !fine {
            return Err(StoreError::InvalidArgument(format!(
                "`{name}` cannot be a folder in the data folder: use relative names without `..` \
                 that the store does not use itself"
            )));
        }
        let path = self.inner.root.join(name);
        fs::create_dir_all(&path).map_err(|e| StoreError::io("create", &path, e))?;
        Ok(path)
    }

    /// A scratch folder that is removed when dropped, or at the latest when the folder is opened
    /// the next time.
    ///
    /// # Errors
    /// What the disk says.
    pub fn scratch(&self) -> Result<tempfile::TempDir, StoreError> {
        let tmp = self.inner.root.join("tmp");
        tempfile::TempDir::new_in(&tmp).map_err(|e| StoreError::io("create a folder in", tmp, e))
    }

    /// Whether writes are accepted.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.state.lock().clone()
    }

    /// Transactions handled since the folder was opened.
    #[must_use]
    pub fn commit_stats(&self) -> CommitStats {
        let stats = &self.inner.stats;
        CommitStats {
            transactions: stats.transactions.load(Ordering::Relaxed),
            groups: stats.groups.load(Ordering::Relaxed),
        }
    }

    /// The records backend of this folder.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.inner.backend
    }

    /// Bytes available on the folder's file system.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.inner.space.free()
    }

    /// Whether `bytes` more may be written into the folder: for files that the store does not write
    /// itself, in [`Store::scratch`] and [`Store::dir`].
    ///
    /// # Errors
    /// [`StoreError::DiskFull`].
    pub fn check_space(&self, bytes: u64) -> Result<(), StoreError> {
        self.inner.space.admit(bytes)
    }

    /// The names of the tables that hold records.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn tables(&self) -> Result<Vec<String>, StoreError> {
        self.inner
            .records
            .tables()
            .map_err(|e| self.records_error(&e))
    }

    /// Reads every record and checks the database's own structure. Slow. Finds what single reads
    /// cannot: a record whose key was damaged.
    ///
    /// # Errors
    /// Only when the check itself cannot run; damage is in the report.
    pub fn verify(&self) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport::default();
        for table in self.tables()? {
            let scanned = self
                .inner
                .records
                .scan(&table, &ScanRange::all(), &mut |key, stored| {
                    match envelope::open(&table, key, stored) {
                        Ok(_) => report.records += 1,
                        Err(error) => report.damage.push(error.to_string()),
                    }
                    ControlFlow::Continue(())
                });
            if let Err(error) = scanned {
                report.damage.push(format!("table `{table}`: {error}"));
            }
        }
        if let Err(error) = self.inner.records.verify() {
            report.damage.push(error.to_string());
        }
        Ok(report)
    }

    pub(crate) fn space(&self) -> &Space {
        &self.inner.space
    }

    pub(crate) fn shared_blobs(&self) -> &crate::blobs::Shared {
        &self.inner.blobs
    }

    fn records_error(&self, error: &RecordsError) -> StoreError {
        records_error(&self.inner.root, error)
    }
}

fn records_error(root: &Path, error: &RecordsError) -> StoreError {
    StoreError::Records {
        root: root.to_path_buf(),
        message: error.to_string(),
    }
}
