//! The folder itself: its format, its lock, and the note of a running server.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::records::Backend;

/// The newest folder format that this version reads, and the one that it writes.
pub const FORMAT_VERSION: u32 = 1;

const FORMAT: &str = "FORMAT";
const LOCK: &str = "LOCK";
const SERVER: &str = "SERVER";

/// `FORMAT`. Readers of every version must be able to parse `format` and `created_by`.
#[derive(Debug, Serialize, Deserialize)]
struct Format {
    format: u32,
    created_by: String,
    created: String,
    backend: Backend,
}

/// The part of `FORMAT` that never changes.
#[derive(Debug, Deserialize)]
struct AnyFormat {
    format: u32,
    #[serde(default)]
    created_by: String,
}

/// Where a running server that holds the folder can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHint {
    /// Process of the server.
    pub pid: u32,
    /// Its address, for example `http://127.0.0.1:8421`.
    pub url: String,
    /// When it started, RFC 3339.
    pub started: String,
}

/// Removes the note of the server when dropped.
#[derive(Debug)]
pub struct ServerGuard {
    path: PathBuf,
}

impl Drop for ServerGuard {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the server's note");
        }
    }
}

/// Reads the note of a running server without the lock. `None` when there is none or when the
/// process that wrote it is gone. Ask its `/health` before relying on it.
pub fn server_hint(root: &Path) -> Option<ServerHint> {
    let text = fs::read(root.join(SERVER)).ok()?;
    let hint: ServerHint = serde_json::from_slice(&text).ok()?;
    let pid = rustix::process::Pid::from_raw(i32::try_from(hint.pid).ok()?)?;
    match rustix::process::test_kill_process(pid) {
        // Not ours to signal, but alive.
        Ok(()) | Err(rustix::io::Errno::PERM) => Some(hint),
        Err(_) => None,
    }
}

/// Writes the note of this process as the folder's server.
pub fn publish_server(root: &Path, url: &str) -> Result<ServerGuard, StoreError> {
    let path = root.join(SERVER);
    let hint = ServerHint {
        pid: std::process::id(),
        url: url.to_owned(),
        started: jiff::Timestamp::now().to_string(),
    };
    write_json(root, SERVER, &hint)?;
    Ok(ServerGuard { path })
}

/// The held lock; released when dropped (or when the process ends in whatever way).
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that is just being started has a copy of the file until it runs its
        // program, and would hold the lock as long.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "cannot unlock the data folder");
        }
    }
}

/// Creates or checks the folder and locks it. Returns the backend that keeps its records.
pub fn open(root: &Path, asked: Option<Backend>) -> Result<(Lock, Backend), StoreError> {
    let fresh = !root.join(FORMAT).exists();
    if fresh {
        refuse_foreign(root)?;
        fs::create_dir_all(root).map_err(|e| StoreError::io("create", root, e))?;
    }
    // The format first: a newer tenon may have another idea of locking.
    if !fresh {
        read_format(root)?;
    }
    let lock = lock(root)?;
    let backend = if root.join(FORMAT).exists() {
        let found = read_format(root)?;
        if let Some(asked) = asked
            && asked != found
        {
            return Err(StoreError::BackendMismatch {
                root: root.to_path_buf(),
                found: found.name().to_owned(),
                asked: asked.name().to_owned(),
            });
        }
        found
    } else {
        let backend = asked.unwrap_or_default();
        let format = Format {
            format: FORMAT_VERSION,
            created_by: format!("tenon {}", env!("CARGO_PKG_VERSION")),
            created: jiff::Timestamp::now().to_string(),
            backend,
        };
        write_json(root, FORMAT, &format)?;
        backend
    };
    // Whoever published it is gone: we hold the lock.
    let _ = fs::remove_file(root.join(SERVER));
    Ok((lock, backend))
}

fn refuse_foreign(root: &Path) -> Result<(), StoreError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io("read", root, error)),
    };
    for entry in entries {
        let name = entry
            .map_err(|e| StoreError::io("read", root, e))?
            .file_name();
        // A crash may have left the lock or an unfinished FORMAT; mount points have lost+found.
        let ours = name == LOCK || name == "lost+found" || name == ".FORMAT.new";
        if !ours {
            return Err(StoreError::NotADataFolder {
                root: root.to_path_buf(),
            });
        }
    }
    Ok(())
}

fn read_format(root: &Path) -> Result<Backend, StoreError> {
    let path = root.join(FORMAT);
    let text = fs::read(&path).map_err(|e| StoreError::io("read", &path, e))?;
    let damaged = |error: serde_json::Error| StoreError::DamagedFormat {
        path: path.clone(),
        reason: error.to_string(),
    };
    let any: AnyFormat = serde_json::from_slice(&text).map_err(damaged)?;
    if any.format > FORMAT_VERSION {
        return Err(StoreError::NewerFormat {
            root: root.to_path_buf(),
            found: any.format,
            created_by: if any.created_by.is_empty() {
                "a newer tenon".to_owned()
            } else {
                any.created_by
            },
        });
    }
    let format: Format = serde_json::from_slice(&text).map_err(damaged)?;
    Ok(format.backend)
}

fn lock(root: &Path) -> Result<Lock, StoreError> {
    let path = root.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| StoreError::io("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(StoreError::Locked {
                root: root.to_path_buf(),
                pid: pid.trim().parse().ok(),
                url: server_hint(root).map(|hint| hint.url),
            });
        }
        Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path, error)),
    }
    // A full disk must not keep the folder closed: the number is for messages only.
    let written = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "cannot write the lock holder's number");
    }
    Ok(Lock { file })
}

/// Writes a small JSON file so that readers see the old or the new one, never a part.
fn write_json(root: &Path, name: &str, value: &impl Serialize) -> Result<(), StoreError> {
    let path = root.join(name);
    let new = root.join(format!(".{name}.new"));
    let fail = |action, error| StoreError::io(action, &path, error);
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|e| fail("write", io::Error::other(e.to_string())))?;
    bytes.push(b'\n');
    let mut file = File::create(&new).map_err(|e| fail("write", e))?;
    file.write_all(&bytes).map_err(|e| fail("write", e))?;
    file.sync_all().map_err(|e| fail("sync", e))?;
    fs::rename(&new, &path).map_err(|e| fail("replace", e))?;
    sync_folder(root)
}

/// Makes the entries of a folder durable.
pub fn sync_folder(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| StoreError::io("sync", path, e))
}

/// Removes everything inside a folder, creating it when it is missing.
pub fn empty(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(|e| StoreError::io("create", path, e))?;
    for entry in fs::read_dir(path).map_err(|e| StoreError::io("read", path, e))? {
        let entry = entry.map_err(|e| StoreError::io("read", path, e))?;
        let old = entry.path();
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&old),
            _ => fs::remove_file(&old),
        };
        removed.map_err(|e| StoreError::io("remove", &old, e))?;
    }
    Ok(())
}
