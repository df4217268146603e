//! A full disk: clear errors, nothing lost, deletes still work, and writing goes on afterwards.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use tenon_store::{
    Backend, Faults, ScanRange, State, Store, StoreError, StoreOptions, Transaction,
};

fn options(backend: Backend, faults: &Arc<Faults>) -> StoreOptions {
    StoreOptions {
        reserve_bytes: 1 << 20,
        min_free_bytes: 1 << 20,
        faults: faults.clone(),
        ..StoreOptions::with_backend(backend)
    }
}

#[test]
fn little_space_refuses_writes_but_not_deletes() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let store = Store::open(folder.path(), options(Backend::Redb, &faults)).unwrap();
    store.commit(Transaction::new().put("t", "k", "v")).unwrap();
    let reserve = folder.path().join("RESERVE");
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 1 << 20);

    faults.pretend_free(Some(500_000));
    let error = store
        .commit(Transaction::new().put("t", "l", "v"))
        .unwrap_err();
    let StoreError::DiskFull { free, needed, .. } = &error else {
        panic!("{error}");
    };
    assert!(*free == 500_000 && *needed > 1 << 20);
    assert!(error.to_string().contains("disk full") && error.is_disk_full());
    assert!(matches!(store.state(), State::DiskFull { .. }));
    assert!(store.blobs().put(&[1; 100]).unwrap_err().is_disk_full());
    assert!(store.check_space(100).unwrap_err().is_disk_full());
    assert_eq!(store.get("t", "k").unwrap().unwrap(), b"v");

    store.commit(Transaction::new().delete("t", "k")).unwrap();
    assert!(!reserve.exists(), "the reserve makes room for deletes");
    faults.pretend_free(Some(1 << 30));
    store.commit(Transaction::new().put("t", "m", "v")).unwrap();
    assert_eq!(store.state(), State::Writable);
    assert!(reserve.exists(), "and is taken back afterwards");
}

#[test]
fn a_write_that_fails_half_way_loses_nothing_that_was_acknowledged() {
    for backend in [Backend::Redb, Backend::Sled] {
        let folder = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faults::default());
        let store = Store::open(folder.path(), options(backend, &faults)).unwrap();
        let mut done = Vec::new();
        for round in 0..20_u64 {
            // The disk takes a different number of bytes each round.
            faults.limit_writes(Some(round * 9_000));
            for number in 0..5_u64 {
                let key = (round * 5 + number).to_be_bytes();
                match store.commit(Transaction::new().put("t", key, vec![9; 5_000])) {
                    Ok(()) => done.push(key.to_vec()),
                    Err(error) => assert!(error.is_disk_full(), "{backend:?}: {error}"),
                }
            }
            faults.limit_writes(None);
        }
        assert!(!done.is_empty() && done.len() < 100, "{}", done.len());
        let found = |store: &Store| -> Vec<Vec<u8>> {
            let all = store.scan("t", ScanRange::all()).unwrap();
            all.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(found(&store), done, "{backend:?}");
        drop(store);
        let store = Store::open(folder.path(), options(backend, &faults)).unwrap();
        assert_eq!(found(&store), done, "{backend:?} after opening again");
    }
}

#[test]
fn an_io_error_makes_the_store_read_only_and_says_why() {
    for backend in [Backend::Redb, Backend::Sled] {
        let folder = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faults::default());
        let store = Store::open(folder.path(), options(backend, &faults)).unwrap();
        store.commit(Transaction::new().put("t", "k", "v")).unwrap();
        faults.break_sync(true);
        let put = || store.commit(Transaction::new().put("t", "l", "v"));
        let error = put().unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
        faults.break_sync(false);
        let error = put().unwrap_err().to_string();
        assert!(error.contains("injected"), "still refused: {error}");
        assert!(matches!(store.state(), State::ReadOnly { .. }));
        let read = store.get("t", "k");
        assert_eq!(read.unwrap().unwrap(), b"v", "{backend:?} reads go on");
        drop(store);
        let store = Store::open(folder.path(), options(backend, &faults)).unwrap();
        store.commit(Transaction::new().put("t", "l", "v")).unwrap();
    }
}

/// A small file system of its own, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None` where this process may not mount.
    fn new(path: &Path, megabytes: u32) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={megabytes}m");
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(path);
        let mounted = command.output().is_ok_and(|out| out.status.success());
        mounted.then(|| Self(path.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_really_full_file_system_loses_nothing_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(&folder.path().join("small"), 24) else {
        eprintln!("may not mount a tmpfs here: the injected failures above cover this");
        return;
    };
    let root = mount.0.join("data");
    let options = || StoreOptions {
        reserve_bytes: 2 << 20,
        min_free_bytes: 0,
        ..StoreOptions::default()
    };
    let store = Store::open(&root, options()).unwrap();
    let mut done = 0_u32;
    let error = loop {
        let tx = Transaction::new().put("t", done.to_be_bytes(), vec![done as u8; 100_000]);
        match store.commit(tx) {
            Ok(()) => done += 1,
            Err(error) => break error,
        }
        // Somebody else fills the disk as well, to the last byte.
        if done == 30 {
            let mut file = fs::File::create(mount.0.join("other")).unwrap();
            while file.write_all(&[0; 4096]).is_ok() {}
        }
        assert!(done < 1000, "24 MB cannot hold this");
    };
    assert!(error.is_disk_full(), "{error}");
    assert!(done >= 30);
    let intact = |store: &Store, done: u32| {
        let all = store.scan("t", ScanRange::all()).unwrap();
        assert_eq!(all.len() as u32, done);
    };
    intact(&store, done);
    // Still full: opening works, and so does deleting.
    drop(store);
    let store = Store::open(&root, options()).unwrap();
    intact(&store, done);
    store
        .commit(Transaction::new().delete("t", (done - 1).to_be_bytes()))
        .unwrap();
    done -= 1;
    intact(&store, done);
    fs::remove_file(mount.0.join("other")).unwrap();
    store
        .commit(Transaction::new().put("t", done.to_be_bytes(), "x"))
        .unwrap();
    done += 1;
    intact(&store, done);
    assert!(store.verify().unwrap().damage.is_empty());
}
