//! The folder: format, lock, server note; records through the public API.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::thread;

use serde::{Deserialize, Serialize};
use tenon_store::{
    Backend, FORMAT_VERSION, ScanRange, State, Store, StoreError, StoreOptions, Transaction,
};

fn open(root: &std::path::Path) -> Result<Store, StoreError> {
    Store::open(root, StoreOptions::default())
}

#[test]
fn a_second_opener_is_told_who_has_the_folder_and_the_first_is_not_disturbed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let store = open(&root).unwrap();
    let error = open(&root).unwrap_err();
    let StoreError::Locked { pid, url, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*pid, Some(std::process::id()));
    assert_eq!(*url, None);
    let server = store.publish_server("http://127.0.0.1:8421").unwrap();
    let error = open(&root).unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:8421"), "{error}");
    let hint = Store::server_hint(&root).unwrap();
    assert_eq!(hint.pid, std::process::id());
    drop(server);
    assert_eq!(Store::server_hint(&root), None);
    store.commit(Transaction::new().put("t", "k", "v")).unwrap();
    drop(store);
    assert_eq!(open(&root).unwrap().get("t", "k").unwrap().unwrap(), b"v");
}

#[test]
fn a_note_of_a_dead_server_is_not_believed_and_goes_at_the_next_open() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    // No process has the largest possible number.
    let note = format!(r#"{{"pid":{},"url":"http://x","started":"now"}}"#, i32::MAX);
    fs::write(folder.path().join("SERVER"), note).unwrap();
    assert_eq!(Store::server_hint(folder.path()), None);
    let _store = open(folder.path()).unwrap();
    assert!(!folder.path().join("SERVER").exists());
}

#[test]
fn a_newer_folder_is_left_alone_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let format = folder.path().join("FORMAT");
    // A later version may say anything else in the file, and need not know our backends.
    let newer = format!(
        r#"{{"format":{},"created_by":"tenon 9.1.0","backend":"stone"}}"#,
        FORMAT_VERSION + 1
    );
    fs::write(&format, &newer).unwrap();
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("tenon 9.1.0") && error.contains("newer"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&format).unwrap(), newer);

    fs::write(&format, "{").unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::DamagedFormat { .. }), "{error}");
}

#[test]
fn somebody_elses_folder_and_another_backend_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "precious").unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(
        matches!(error, StoreError::NotADataFolder { .. }),
        "{error}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    let sled = tempfile::tempdir().unwrap();
    let options = StoreOptions::with_backend(Backend::Sled);
    drop(Store::open(sled.path(), options).unwrap());
    let error = Store::open(sled.path(), StoreOptions::with_backend(Backend::Redb)).unwrap_err();
    assert!(
        matches!(error, StoreError::BackendMismatch { .. }),
        "{error}"
    );
    // Without a wish the folder's own backend is used.
    assert_eq!(open(sled.path()).unwrap().backend(), Backend::Sled);
}

#[test]
fn tmp_is_swept_when_opened_and_dirs_stay_inside() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let runs = store.dir("runs/one").unwrap();
    fs::write(runs.join("keep"), "x").unwrap();
    for bad in [
        "../out",
        "/abs",
        "",
        "blobs",
        "tmp/x",
        "records.redb",
        "a//b",
        ".x",
    ] {
        assert!(store.dir(bad).is_err(), "{bad}");
    }
    let left = store.scratch().unwrap().keep();
    fs::write(left.join("junk"), "x").unwrap();
    drop(store);
    let _store = open(folder.path()).unwrap();
    assert!(!left.exists());
    assert!(runs.join("keep").exists());
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counter {
    count: u64,
}

#[test]
fn updates_from_many_threads_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let table = store.json::<Counter>("counters");
    table.insert("c", &Counter { count: 0 }).unwrap();
    assert!(
        table
            .insert("c", &Counter { count: 5 })
            .unwrap_err()
            .is_conflict()
    );
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    table
                        .update("c", |old: Option<Counter>| {
                            let count = old.map_or(0, |c| c.count) + 1;
                            Ok::<_, StoreError>(Some(Counter { count }))
                        })
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(table.get("c").unwrap(), Some(Counter { count: 80 }));
    table.put("d", &Counter { count: 1 }).unwrap();
    let names: Vec<String> = table.list().unwrap().into_iter().map(|(k, _)| k).collect();
    assert_eq!(names, ["c", "d"]);
    // Returning nothing deletes.
    let gone = table.update("d", |_| Ok::<_, StoreError>(None)).unwrap();
    assert_eq!((gone, table.get("d").unwrap()), (None, None));
    // A record that is not a counter names its table and key.
    store
        .commit(Transaction::new().put("counters", "e", "[]"))
        .unwrap();
    let error = table.get("e").unwrap_err().to_string();
    assert!(error.contains("counters") && error.contains('e'), "{error}");
}

#[test]
fn submitted_transactions_are_applied_in_order_and_dropped_stores_finish_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let pending: Vec<_> = (0..500_u32)
        .map(|i| {
            let tx = Transaction::new().put("t", "last", i.to_le_bytes());
            store.submit(tx.put("t", i.to_be_bytes(), "x")).unwrap()
        })
        .collect();
    let last = pending.into_iter().next_back().unwrap();
    last.wait().unwrap();
    assert_eq!(
        store.get("t", "last").unwrap().unwrap(),
        499_u32.to_le_bytes()
    );
    let waiting = store
        .submit(Transaction::new().put("t", "end", "1"))
        .unwrap();
    drop(store);
    waiting.wait().unwrap();
    let store = open(folder.path()).unwrap();
    assert_eq!(store.scan("t", ScanRange::all()).unwrap().len(), 502);
    assert_eq!(store.state(), State::Writable);
    assert!(store.submit(Transaction::new().put("T", "k", "v")).is_err());
}

#[test]
fn transactions_that_wait_together_share_an_fsync() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let before = store.commit_stats();
    let pending: Vec<_> = (0..1000_u32)
        .map(|i| store.submit(Transaction::new().put("t", i.to_be_bytes(), "v")))
        .collect();
    for commit in pending {
        commit.unwrap().wait().unwrap();
    }
    let after = store.commit_stats();
    assert_eq!(after.transactions - before.transactions, 1000);
    let groups = after.groups - before.groups;
    assert!(
        groups < 250,
        "1000 waiting transactions took {groups} groups"
    );
}
