//! One suite for every backend: what `Records` promises.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use super::{Backend, Records, RecordsError, open};
use crate::faults::Faults;
use crate::transaction::{ScanRange, Transaction};

const BACKENDS: [Backend; 2] = [Backend::Redb, Backend::Sled];

fn each(test: impl Fn(Backend, &Path)) {
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        test(backend, folder.path());
    }
}

fn opened(backend: Backend, root: &Path) -> Box<dyn Records> {
    open(backend, root, 8 << 20, Arc::default()).unwrap()
}

fn apply(records: &dyn Records, transaction: Transaction) -> bool {
    records.apply(&[&transaction]).unwrap().remove(0).is_ok()
}

/// Values as they are stored: the suite compares them as such.
fn keys(records: &dyn Records, table: &str, range: &ScanRange) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    records
        .scan(table, range, &mut |key, _| {
            out.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    out
}

#[test]
fn reads_what_was_written_also_after_opening_again() {
    each(|backend, root| {
        let records = opened(backend, root);
        assert_eq!(records.get("none", b"k").unwrap(), None);
        assert!(keys(&*records, "none", &ScanRange::all()).is_empty());
        assert!(apply(
            &*records,
            Transaction::new()
                .put("a", "k", "1")
                .put("b", "k", vec![7; 100_000])
                .put("a", "gone", "x")
                .delete("a", "gone")
                .delete("a", "never there")
        ));
        let big = records.get("b", b"k").unwrap().unwrap();
        assert!(big.ends_with(&[7; 100_000]));
        drop(records);
        let records = opened(backend, root);
        assert_eq!(records.get("b", b"k").unwrap(), Some(big));
        assert!(records.get("a", b"k").unwrap().unwrap().ends_with(b"1"));
        assert_eq!(records.get("a", b"gone").unwrap(), None);
        assert_eq!(records.tables().unwrap(), ["a", "b"]);
        records.verify().unwrap();
    });
}

#[test]
fn scans_are_ordered_bounded_and_stay_in_their_table() {
    each(|backend, root| {
        let records = opened(backend, root);
        let mut transaction = Transaction::new();
        // Neighbouring table names must not leak into each other.
        for table in ["t", "t.a", "s", "t-", "t0"] {
            for key in [&[0][..], &[0, 1], &[1], &[1, 0xff], &[0xff], &[0xff, 0xff]] {
                transaction.add_put(table, key, table);
            }
        }
        assert!(apply(&*records, transaction));
        let all = keys(&*records, "t", &ScanRange::all());
        let want: Vec<Vec<u8>> = vec![
            vec![0],
            vec![0, 1],
            vec![1],
            vec![1, 0xff],
            vec![0xff],
            vec![0xff, 0xff],
        ];
        assert_eq!(all, want, "{backend:?}");
        let mut reversed = want.clone();
        reversed.reverse();
        assert_eq!(keys(&*records, "t", &ScanRange::all().reversed()), reversed);
        assert_eq!(
            keys(&*records, "t", &ScanRange::all().from([0, 1]).to([0xff])),
            &want[1..4]
        );
        assert_eq!(keys(&*records, "t", &ScanRange::prefix([1])), &want[2..4]);
        assert_eq!(keys(&*records, "t", &ScanRange::prefix([0xff])), &want[4..]);
        assert_eq!(
            keys(&*records, "t", &ScanRange::all().reversed().limit(2)),
            &reversed[..2]
        );
        assert!(keys(&*records, "t", &ScanRange::all().from([9]).to([9])).is_empty());
        assert!(keys(&*records, "t", &ScanRange::all().from([9]).to([1])).is_empty());
        assert!(keys(&*records, "t", &ScanRange::all().limit(0)).is_empty());
    });
}

#[test]
fn preconditions_see_earlier_transactions_of_the_group_and_refuse_whole_ones() {
    each(|backend, root| {
        let records = opened(backend, root);
        let group = [
            Transaction::new()
                .expect_absent("t", "k")
                .put("t", "k", "1"),
            Transaction::new()
                .expect_absent("t", "k")
                .put("t", "k", "2")
                .put("t", "other", "2"),
            Transaction::new()
                .expect_equals("t", "k", "1")
                .put("t", "k", "3"),
            Transaction::new()
                .expect_equals("t", "k", "1")
                .delete("t", "k"),
            Transaction::new().delete("t", "k"),
            Transaction::new()
                .expect_absent("t", "k")
                .put("u", "made", "4"),
            Transaction::new()
                .expect_equals("t", "k", "3")
                .put("u", "not", "5"),
        ];
        let outcomes = records.apply(&group.iter().collect::<Vec<_>>()).unwrap();
        let accepted: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
        assert_eq!(accepted, [true, false, true, false, true, true, false]);
        let reasons: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
        assert!(reasons[0].reason.contains("exists already"));
        assert!(reasons[1].reason.contains("changed"));
        assert!(reasons[2].reason.contains("not exist"));
        assert!(keys(&*records, "t", &ScanRange::all()).is_empty());
        assert_eq!(keys(&*records, "u", &ScanRange::all()), [b"made"]);
    });
}

/// A small generator: the same sequence on every machine.
struct Sequence(u64);

impl Sequence {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

#[test]
fn a_long_random_history_equals_an_ordered_map() {
    each(|backend, root| {
        let mut records = opened(backend, root);
        let mut model: BTreeMap<(String, Vec<u8>), Vec<u8>> = BTreeMap::new();
        let mut sequence = Sequence(42);
        for round in 0..120 {
            let mut transaction = Transaction::new();
            let mut next = model.clone();
            for _ in 0..=sequence.next(20) {
                let table = ["a", "b"][sequence.next(2) as usize];
                let key = vec![sequence.next(5) as u8; 1 + sequence.next(4) as usize];
                if sequence.next(3) == 0 {
                    transaction.add_delete(table, &key);
                    next.remove(&(table.to_owned(), key));
                } else {
                    let value = vec![sequence.next(256) as u8; sequence.next(3000) as usize];
                    transaction.add_put(table, &key, &value);
                    next.insert((table.to_owned(), key), value);
                }
            }
            if apply(&*records, transaction) {
                model = next;
            }
            if round % 40 == 39 {
                drop(records);
                records = opened(backend, root);
            }
        }
        for table in ["a", "b"] {
            let mut found = Vec::new();
            records
                .scan(table, &ScanRange::all(), &mut |key, stored| {
                    let value = super::envelope::open(table, key, stored).unwrap();
                    found.push((key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                })
                .unwrap();
            let want: Vec<_> = model
                .iter()
                .filter(|((name, _), _)| name == table)
                .map(|((_, key), value)| (key.clone(), value.clone()))
                .collect();
            assert!(!want.is_empty());
            assert_eq!(found, want, "{backend:?} {table}");
        }
    });
}

#[test]
fn a_failed_group_leaves_the_last_durable_state() {
    each(|backend, root| {
        let faults = Arc::new(Faults::default());
        let records = open(backend, root, 8 << 20, faults.clone()).unwrap();
        assert!(apply(&*records, Transaction::new().put("t", "before", "1")));

        faults.limit_writes(Some(100));
        let big = Transaction::new().put("t", "big", vec![1; 1 << 20]);
        let error = records.apply(&[&big]).unwrap_err();
        assert!(matches!(error, RecordsError::Full), "{backend:?}: {error}");
        faults.limit_writes(None);
        records.reopen().unwrap();
        assert_eq!(keys(&*records, "t", &ScanRange::all()), [b"before"]);
        assert!(apply(&*records, Transaction::new().put("t", "after", "2")));
        assert_eq!(keys(&*records, "t", &ScanRange::all()).len(), 2);
        records.verify().unwrap();
    });
}

#[test]
fn a_sync_that_fails_is_not_acknowledged() {
    each(|backend, root| {
        let faults = Arc::new(Faults::default());
        let records = open(backend, root, 8 << 20, faults.clone()).unwrap();
        faults.break_sync(true);
        let transaction = Transaction::new().put("t", "k", "v");
        let error = records.apply(&[&transaction]).unwrap_err();
        assert!(error.to_string().contains("injected"), "{backend:?}");
    });
}
