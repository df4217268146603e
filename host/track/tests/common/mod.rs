//! A tracker on a folder of its own.

#![allow(clippy::unwrap_used, dead_code)]

use std::path::Path;

use tempfile::TempDir;
use tenon_store::{Store, StoreOptions};
use tenon_track::{NewRun, Reference, ReferenceKind, Run, RunKind, Tracker};

pub fn open(root: &Path) -> Tracker {
    let store = Store::open(root, StoreOptions::default()).unwrap();
    Tracker::open(&store).unwrap()
}

pub fn tracker() -> (TempDir, Tracker) {
    let folder = tempfile::tempdir().unwrap();
    let tracker = open(folder.path());
    (folder, tracker)
}

pub fn running(tracker: &Tracker, name: &str) -> Run {
    let run = tracker
        .create_run(NewRun {
            name: Some(name.to_owned()),
            ..NewRun::new(RunKind::Train)
        })
        .unwrap();
    tracker.start_run(&run.id).unwrap()
}

pub fn reference(kind: ReferenceKind, role: &str, name: &str, digest: &str) -> Reference {
    Reference {
        kind,
        role: role.to_owned(),
        name: name.to_owned(),
        digest: digest.to_owned(),
    }
}
