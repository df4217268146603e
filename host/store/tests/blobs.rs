//! Blobs: addresses, verification, leases, sweeping, crash leftovers.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::time::Duration;

use tenon_store::{Blobs, Digest, Store, StoreError, StoreOptions, Transaction};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
    (folder, store)
}

fn files(blobs: &Blobs) -> usize {
    let path = blobs.path(&Digest::of(b""));
    let folder = path.ancestors().nth(2).unwrap();
    let shards = fs::read_dir(folder).map(|d| d.collect()).unwrap_or(vec![]);
    shards
        .into_iter()
        .map(|shard: io::Result<fs::DirEntry>| fs::read_dir(shard.unwrap().path()).unwrap().count())
        .sum()
}

#[test]
fn bytes_have_their_published_addresses() {
    let (_folder, store) = store();
    let blobs = store.blobs();
    let digest = blobs.put(b"abc").unwrap();
    // The digests of "abc" from the BLAKE3 and SHA-256 specifications' test vectors.
    assert_eq!(
        digest.to_string(),
        "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
    );
    assert_eq!(
        blobs.sha256(&digest).unwrap(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!(blobs.size(&digest).unwrap(), 3);
    assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    assert_eq!(digest.hex().parse::<Digest>().unwrap(), digest);
    for bad in ["blake3:abc", "sha256:00", "", &digest.hex().to_uppercase()] {
        assert!(bad.parse::<Digest>().is_err(), "{bad}");
    }
    let json = serde_json::to_string(&digest).unwrap();
    assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
}

#[test]
fn the_same_bytes_are_one_blob_however_they_arrive() {
    let (folder, store) = store();
    let blobs = store.blobs();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i * 7 / 3) as u8).collect();
    let put = blobs.put(&bytes).unwrap();
    let mut writer = blobs.writer().unwrap();
    for part in bytes.chunks(977) {
        writer.write_all(part).unwrap();
    }
    assert_eq!(writer.size(), bytes.len() as u64);
    assert_eq!(writer.finish().unwrap(), put);
    let file = folder.path().join("tmp/source");
    fs::write(&file, &bytes).unwrap();
    assert_eq!(blobs.import_file(&file).unwrap(), put);
    assert_eq!(blobs.put(&bytes).unwrap(), put);
    assert_eq!(files(&blobs), 1);
    assert_eq!(blobs.list().unwrap().len(), 1);
    let mut back = Vec::new();
    blobs.open(&put).unwrap().read_to_end(&mut back).unwrap();
    assert!(back == bytes && blobs.read(&put).unwrap() == bytes);
    assert_eq!(fs::read(blobs.verified_path(&put).unwrap()).unwrap(), bytes);
    let empty = blobs.put(b"").unwrap();
    assert_eq!(blobs.read(&empty).unwrap(), b"");
    let mut none = Vec::new();
    blobs.open(&empty).unwrap().read_to_end(&mut none).unwrap();
    assert!(none.is_empty());
}

#[test]
fn damage_is_an_error_and_putting_again_heals() {
    let (_folder, store) = store();
    let blobs = store.blobs();
    let bytes = vec![5; 200_000];
    let digest = blobs.put(&bytes).unwrap();
    blobs.verified_path(&digest).unwrap();
    let path = blobs.path(&digest);
    for (offset, bit) in [(0, 0), (100_000, 3), (199_999, 7)] {
        let mut damaged = bytes.clone();
        damaged[offset] ^= 1 << bit;
        // A moment later than the last write, so that the file's time differs.
        std::thread::sleep(Duration::from_millis(20));
        fs::write(&path, &damaged).unwrap();
        let error = blobs.read(&digest).unwrap_err();
        assert!(matches!(error, StoreError::CorruptBlob { .. }), "{error}");
        assert!(error.to_string().contains(&digest.hex()));
        assert!(blobs.verified_path(&digest).is_err());
        let mut back = Vec::new();
        let read = blobs.open(&digest).unwrap().read_to_end(&mut back);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(back.len() < bytes.len(), "the last part is not handed out");
        assert_eq!(blobs.put(&bytes).unwrap(), digest);
        assert_eq!(blobs.read(&digest).unwrap(), bytes);
        blobs.verified_path(&digest).unwrap();
    }
    fs::write(&path, &bytes[..100]).unwrap();
    assert!(matches!(
        blobs.open(&digest).unwrap_err(),
        StoreError::CorruptBlob { .. }
    ));
    fs::remove_file(&path).unwrap();
    assert!(!blobs.contains(&digest).unwrap());
    let error = blobs.read(&digest).unwrap_err();
    assert!(matches!(error, StoreError::BlobNotFound { .. }), "{error}");
}

#[test]
fn a_sweep_keeps_what_is_live_leased_or_young() {
    let (_folder, store) = store();
    let blobs = store.blobs();
    let live = blobs.put(b"live").unwrap();
    let leased = blobs.put(b"leased").unwrap();
    let dead = blobs.put(b"dead").unwrap();
    let lease = blobs.lease(&leased);
    let second = blobs.lease(&leased);
    let set = || Ok(HashSet::from([live]));
    // Everything is young: nothing goes.
    let report = blobs.sweep(Duration::from_secs(3600), set).unwrap();
    assert_eq!((report.kept, report.removed), (3, 0));
    std::thread::sleep(Duration::from_millis(5));
    // Put while the live set is collected: stays although nothing names it.
    let mut late = None;
    let report = blobs
        .sweep(Duration::ZERO, || {
            late = Some(blobs.put(b"late").unwrap());
            Ok(HashSet::from([live]))
        })
        .unwrap();
    assert_eq!((report.removed, report.bytes), (1, 4));
    assert!(!blobs.contains(&dead).unwrap());
    for kept in [live, leased, late.unwrap()] {
        assert!(blobs.contains(&kept).unwrap());
    }
    drop(lease);
    std::thread::sleep(Duration::from_millis(5));
    blobs.sweep(Duration::ZERO, set).unwrap();
    assert!(blobs.contains(&leased).unwrap(), "the second lease holds");
    drop(second);
    blobs.sweep(Duration::ZERO, set).unwrap();
    assert!(!blobs.contains(&leased).unwrap());
    // A live set that cannot be computed removes nothing.
    let failed = blobs.sweep(Duration::ZERO, || {
        Err(StoreError::InvalidArgument("no".to_owned()))
    });
    assert!(failed.is_err() && blobs.contains(&live).unwrap());
}

#[test]
fn leftovers_of_crashes_are_swept() {
    let (_folder, store) = store();
    let blobs = store.blobs();
    let digest = blobs.put(b"whole").unwrap();
    // Crash after the rename: a file without a record.
    store
        .commit(Transaction::new().delete("_blobs", digest.hex()))
        .unwrap();
    assert!(!blobs.contains(&digest).unwrap());
    // Crash while writing: a file in tmp.
    let mut writer = blobs.writer().unwrap();
    writer.write_all(b"half").unwrap();
    writer.flush().unwrap();
    std::mem::forget(writer);
    let tmp = store.root().join("tmp");
    assert_eq!(fs::read_dir(&tmp).unwrap().count(), 1);
    std::thread::sleep(Duration::from_millis(5));
    let report = blobs.sweep(Duration::ZERO, || Ok(HashSet::new())).unwrap();
    assert_eq!((report.removed, files(&blobs)), (1, 0));
    let root = store.root().to_path_buf();
    // The forgotten writer keeps the store alive in this process, so empty `tmp` as a new process
    // would: by opening a copy of the folder.
    let copy = tempfile::tempdir().unwrap();
    fs::copy(root.join("FORMAT"), copy.path().join("FORMAT")).unwrap();
    fs::create_dir(copy.path().join("tmp")).unwrap();
    fs::write(copy.path().join("tmp/half"), "x").unwrap();
    let _copy = Store::open(copy.path(), StoreOptions::default()).unwrap();
    assert_eq!(fs::read_dir(copy.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn an_unfinished_blob_leaves_nothing() {
    let (_folder, store) = store();
    let mut writer = store.blobs().writer().unwrap();
    writer.write_all(&[1; 1_000_000]).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0);
    assert!(store.blobs().list().unwrap().is_empty());
}

#[test]
fn a_large_blob_has_the_digests_of_all_its_bytes() {
    let (folder, store) = store();
    let blobs = store.blobs();
    // More than what is hashed here and than what is flushed at a time, and no round number.
    let bytes: Vec<u8> = (0..70_000_003_u32).map(|i| (i >> 3) as u8).collect();
    let mut writer = blobs.writer().unwrap();
    for part in bytes.chunks(1_000_001) {
        writer.write_all(part).unwrap();
    }
    assert_eq!(writer.size(), bytes.len() as u64);
    let sealed = writer.seal().unwrap();
    assert_eq!(sealed.digest(), Digest::of(&bytes));
    assert_eq!(sealed.size(), bytes.len() as u64);
    assert_eq!(fs::read(sealed.path()).unwrap(), bytes);
    let digest = sealed.digest();
    // Not there before it is finished, and nowhere when it never is.
    assert!(!blobs.contains(&digest).unwrap());
    drop(sealed);
    assert_eq!(files(&blobs), 0);
    assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0);
    assert_eq!(blobs.put(&bytes).unwrap(), digest);
    assert_eq!(blobs.read(&digest).unwrap(), bytes);
}

#[test]
fn the_sha256_is_computed_once_and_of_undamaged_bytes_only() {
    let (folder, store) = store();
    let digest = store.blobs().put(b"abc").unwrap();
    let path = store.blobs().path(&digest);
    fs::write(&path, b"abd").unwrap();
    let error = store.blobs().sha256(&digest).unwrap_err();
    assert!(matches!(error, StoreError::CorruptBlob { .. }), "{error}");
    fs::write(&path, b"abc").unwrap();
    let of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(store.blobs().sha256(&digest).unwrap(), of_abc);
    // From then on it is known: not even the file is needed, nor this process.
    drop(store);
    fs::remove_file(&path).unwrap();
    let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
    assert_eq!(store.blobs().sha256(&digest).unwrap(), of_abc);
    // Putting the same bytes again does not forget it.
    assert_eq!(store.blobs().put(b"abc").unwrap(), digest);
    let info = store.blobs().info(&digest).unwrap();
    assert_eq!(info.sha256.as_deref(), Some(of_abc));
}
