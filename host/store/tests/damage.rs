//! Flipped bits and truncated files: wrong bytes are never returned as right ones.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use tenon_store::{Backend, ScanRange, Store, StoreError, StoreOptions, Transaction};

const RECORDS: u32 = 200;

fn value(number: u32) -> Vec<u8> {
    (0..300).map(|i| (number * 31 + i) as u8).collect()
}

/// A folder with records, and the file in which they are.
fn filled(root: &Path, backend: Backend) -> PathBuf {
    let store = Store::open(root, StoreOptions::with_backend(backend)).unwrap();
    let mut tx = Transaction::new();
    for number in 0..RECORDS {
        tx.add_put("t", format!("key-{number:04}"), value(number));
    }
    store.commit(tx).unwrap();
    match backend {
        Backend::Redb => root.join("records.redb"),
        Backend::Sled => root.join("records.sled/db"),
    }
}

/// Opens a damaged folder and reads everything. Returns how many errors there were; panics when a
/// value is wrong.
fn read_all(root: &Path, at: &str) -> usize {
    let store = match Store::open(root, StoreOptions::default()) {
        Ok(store) => store,
        Err(StoreError::Records { .. }) => return 1,
        Err(other) => panic!("{at}: {other}"),
    };
    let mut errors = 0;
    for number in 0..RECORDS {
        match store.get("t", format!("key-{number:04}")) {
            Ok(Some(found)) => assert!(found == value(number), "{at}: wrong value"),
            // A damaged key: plain reads cannot know, `verify` does.
            Ok(None) => errors += 1,
            Err(StoreError::CorruptRecord { table, key, .. }) => {
                assert_eq!(table, "t");
                assert!(key.contains(&format!("{number:04}")), "{at}: {key}");
                errors += 1;
            }
            Err(StoreError::Records { .. }) => errors += 1,
            Err(other) => panic!("{at}: {other}"),
        }
    }
    match store.scan("t", ScanRange::all()) {
        Ok(all) => {
            for (key, found) in all {
                let key = String::from_utf8(key).unwrap();
                let number: u32 = key.strip_prefix("key-").unwrap().parse().unwrap();
                assert!(found == value(number), "{at}: wrong value in a scan");
            }
        }
        Err(StoreError::CorruptRecord { .. } | StoreError::Records { .. }) => errors += 1,
        Err(other) => panic!("{at}: {other}"),
    }
    errors
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "RESERVE" {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn flip_bits(backend: Backend, flips: usize) {
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original");
    let file = filled(&original, backend);
    let inside = file.strip_prefix(&original).unwrap().to_path_buf();
    let bytes = fs::read(&file).unwrap();
    // Bytes that mean something: the rest of the file is preallocated zeros.
    let used: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] != 0).collect();
    assert!(used.len() > 50_000, "the records are in this file");
    let mut noticed = 0;
    for flip in 0..flips {
        let offset = used[(flip * 2_654_435_761) % used.len()];
        let root = folder.path().join(format!("flip-{flip}"));
        copy(&original, &root);
        let mut damaged = bytes.clone();
        damaged[offset] ^= 1 << (flip % 8);
        fs::write(root.join(&inside), &damaged).unwrap();
        let at = format!("{backend:?}, byte {offset}, bit {}", flip % 8);
        if read_all(&root, &at) > 0 {
            noticed += 1;
        }
        fs::remove_dir_all(&root).unwrap();
    }
    // Some hit bytes that no longer matter; most of this file is live values.
    assert!(
        noticed * 2 > flips,
        "{backend:?}: {noticed} of {flips} flips were noticed"
    );
}

#[test]
fn flipped_bits_never_become_values_redb() {
    flip_bits(Backend::Redb, 40);
}

#[test]
fn flipped_bits_never_become_values_sled() {
    flip_bits(Backend::Sled, 40);
}

#[test]
fn the_error_names_table_and_key_and_verify_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = filled(folder.path(), Backend::Redb);
    let mut bytes = fs::read(&file).unwrap();
    let needle = value(77);
    let place = bytes.windows(300).position(|w| w == needle).unwrap();
    bytes[place + 100] ^= 4;
    fs::write(&file, &bytes).unwrap();
    let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
    let error = store.get("t", "key-0077").unwrap_err().to_string();
    assert!(
        error.contains("`t`") && error.contains("key-0077"),
        "{error}"
    );
    assert_eq!(store.get("t", "key-0078").unwrap().unwrap(), value(78));
    let report = store.verify().unwrap();
    assert_eq!(report.records, u64::from(RECORDS) - 1);
    assert!(report.damage[0].contains("key-0077"), "{report:?}");
}

#[test]
fn truncated_files_are_errors() {
    for backend in [Backend::Redb, Backend::Sled] {
        for keep in [0.0, 0.3, 0.9] {
            let folder = tempfile::tempdir().unwrap();
            let file = filled(folder.path(), backend);
            let length = fs::metadata(&file).unwrap().len();
            let cut = (length as f64 * keep) as u64;
            let open = fs::OpenOptions::new().write(true).open(&file).unwrap();
            open.set_len(cut).unwrap();
            drop(open);
            // Not every cut is noticed when opening, but no wrong value is ever returned.
            let errors = read_all(folder.path(), &format!("{backend:?} cut to {cut}"));
            if backend == Backend::Redb || keep < 0.5 {
                assert!(
                    errors > 0,
                    "{backend:?} cut to {cut} of {length} went unnoticed"
                );
            }
        }
    }
}
