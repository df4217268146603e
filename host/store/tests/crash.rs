//! kill -9: what was acknowledged is there afterwards.
//!
//! The test starts itself as a child that writes and tells each acknowledged number on stdout.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tenon_store::{Backend, ScanRange, Store, StoreOptions, Transaction};

const ROOT: &str = "TENON_TEST_CRASH_ROOT";
const BACKEND: &str = "TENON_TEST_CRASH_BACKEND";

fn open(root: &Path, backend: Backend) -> Store {
    Store::open(root, StoreOptions::with_backend(backend)).unwrap()
}

/// The child: does nothing when run as an ordinary test.
#[test]
fn child_writes_until_killed() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let backend = match std::env::var(BACKEND).as_deref() {
        Ok("sled") => Backend::Sled,
        _ => Backend::Redb,
    };
    let store = open(Path::new(&root), backend);
    let next = store
        .scan("log", ScanRange::all().reversed().limit(1))
        .unwrap();
    let first = next.first().map_or(0, |(key, _)| {
        u64::from_be_bytes(key[..].try_into().unwrap()) + 1
    });
    let (tell, told) = std::sync::mpsc::channel::<(u64, tenon_store::PendingCommit)>();
    // Several in flight, so that groups form and are torn.
    std::thread::spawn(move || {
        let mut out = std::io::stdout().lock();
        for (number, pending) in told {
            pending.wait().unwrap();
            writeln!(out, "ack {number}").unwrap();
            out.flush().unwrap();
        }
    });
    let blobs = store.blobs();
    for number in first.. {
        // Two records that belong together: after a crash both are there or none.
        let body = vec![number as u8; (number % 5000) as usize];
        let mut tx = Transaction::new()
            .put("log", number.to_be_bytes(), &body)
            .put("twin", number.to_be_bytes(), &body);
        if number % 10 == 0 {
            let digest = blobs.put(format!("blob {number}").as_bytes()).unwrap();
            tx.add_put("blob", number.to_be_bytes(), digest.to_string());
        }
        tell.send((number, store.submit(tx).unwrap())).unwrap();
        if number % 8 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn kill_and_check(backend: Backend, rounds: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_writes_until_killed", "--nocapture"])
            .env(ROOT, folder.path())
            .env(BACKEND, backend.name())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut last = None;
        let number = |line: &str| {
            let (_, number) = line.split_once("ack ")?;
            number.parse::<u64>().ok()
        };
        // Kill at a different moment each round, after at least one acknowledgement.
        for line in lines.by_ref() {
            last = number(&line.unwrap()).or(last);
            if last.is_some_and(|last| last >= acknowledged + 3 * round) {
                break;
            }
        }
        child.kill().unwrap();
        for line in lines {
            last = line.ok().as_deref().and_then(number).or(last);
        }
        child.wait().unwrap();
        let last = last.expect("the child acknowledged something");
        acknowledged = last + 1;

        let store = open(folder.path(), backend);
        let log = store.scan("log", ScanRange::all()).unwrap();
        assert!(
            log.len() as u64 > last,
            "{backend:?} lost acknowledged commits"
        );
        for (number, (key, body)) in log.iter().enumerate() {
            assert_eq!(key[..], (number as u64).to_be_bytes());
            assert!(body.len() == number % 5000 && body.iter().all(|b| *b == number as u8));
        }
        assert_eq!(log, store.scan("twin", ScanRange::all()).unwrap());
        for (key, digest) in store.scan("blob", ScanRange::all()).unwrap() {
            let number = u64::from_be_bytes(key[..].try_into().unwrap());
            let digest = String::from_utf8(digest).unwrap().parse().unwrap();
            let bytes = store.blobs().read(&digest).unwrap();
            assert_eq!(bytes, format!("blob {number}").into_bytes());
        }
    }
    assert!(
        acknowledged > rounds,
        "{acknowledged} commits in {rounds} rounds"
    );
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_redb() {
    kill_and_check(Backend::Redb, 20);
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_sled() {
    kill_and_check(Backend::Sled, 20);
}
