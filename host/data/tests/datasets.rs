//! Datasets: versions, previews, reading, grants and deletion.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::{Place, place};
use serde_json::json;
use tenon_data::{Control, GrantedDatasets, ImportInput, ImportOptions};

fn numbers(place: &Place, name: &str, rows: std::ops::Range<u64>) -> tenon_data::ImportReport {
    let text: String = rows
        .map(|n| format!("{{\"n\": {n}, \"t\": \"row {n}\"}}\n"))
        .collect();
    place.import(name, "n.jsonl", text)
}

#[test]
fn versions_are_counted_and_numbers_are_not_given_twice() {
    let place = place();
    let one = numbers(&place, "d", 0..10).version;
    let two = numbers(&place, "d", 0..20).version;
    numbers(&place, "other", 0..5);
    assert_eq!((one.version, two.version), (1, 2));
    assert_eq!(place.datasets.get("d").unwrap(), two);
    assert_eq!(place.datasets.get("d@1").unwrap(), one);
    assert_eq!(
        place.datasets.get(&format!("d@{}", one.digest)).unwrap(),
        one
    );
    assert_eq!(
        place
            .datasets
            .get(&format!("d@{}", &two.digest[7..15]))
            .unwrap(),
        two
    );
    let list = place.datasets.list().unwrap();
    let listed: Vec<_> = list
        .iter()
        .map(|d| (d.name.as_str(), d.version, d.versions, d.splits[0].rows))
        .collect();
    assert_eq!(listed, [("d", 2, 2, 20), ("other", 1, 1, 5)]);
    place.datasets.delete("d@2").unwrap();
    assert_eq!(place.datasets.get("d").unwrap(), one);
    assert_eq!(numbers(&place, "d", 0..30).version.version, 3);
    assert_eq!(place.datasets.delete_all("d").unwrap(), 2);
    for (reference, message) in [
        ("d", "there is no dataset `d`; there are `other`"),
        (
            "other@7",
            "dataset `other` has no such version; the latest is 1",
        ),
        ("other#dev", "other@1 has no split `dev`; it has `train`"),
    ] {
        let error = place.datasets.resolve(reference).unwrap_err();
        assert!(
            error.is_not_found() && error.to_string().contains(message),
            "{error}"
        );
    }
}

#[test]
fn writers_at_the_same_time_get_different_numbers() {
    let place = place();
    let versions: HashSet<u32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..9_u64)
            .map(|n| {
                let place = &place;
                scope.spawn(move || numbers(place, "d", 0..n).version.version)
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(versions, (1..9).collect());
}

#[test]
fn previews_begin_anywhere() {
    let place = place();
    // More than one part and many row groups.
    let rows = 1_200_000;
    let version = numbers(&place, "d", 0..rows).version;
    assert_eq!(version.splits[0].parts.len(), 2);
    for offset in [0, 5, 131_071, 1_048_570, 1_048_576, rows - 3] {
        let preview = place.datasets.preview("d", None, offset, 10).unwrap();
        assert_eq!((preview.total, preview.split.as_str()), (rows, "train"));
        let expected: Vec<_> = (offset..(offset + 10).min(rows))
            .map(|n| json!({"n": n, "t": format!("row {n}")}))
            .collect();
        assert_eq!(preview.rows, expected);
    }
    assert!(
        place
            .datasets
            .preview("d", None, rows, 10)
            .unwrap()
            .rows
            .is_empty()
    );
    assert!(
        place
            .datasets
            .preview("d", None, 0, 0)
            .unwrap()
            .rows
            .is_empty()
    );
}

#[test]
fn columns_are_read_in_the_order_that_is_asked_for() {
    let place = place();
    let version = numbers(&place, "d", 0..10_000).version;
    let columns = ["t".to_owned(), "n".to_owned()];
    let batches: Vec<_> = place
        .datasets
        .read(&version, "train", Some(&columns), 3000)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 10_000);
    assert!(
        batches
            .iter()
            .all(|b| b.num_rows() <= 3000 && b.schema().field(0).name() == "t")
    );
    let none = place
        .datasets
        .read(&version, "train", Some(&["z".to_owned()]), 10)
        .unwrap_err();
    assert!(
        none.to_string()
            .contains("d@1 has no column `z`; it has `n`, `t`"),
        "{none}"
    );
    // No columns at all still counts the rows.
    let empty = place
        .datasets
        .read(&version, "train", Some(&[]), 4096)
        .unwrap();
    assert_eq!(empty.map(|b| b.unwrap().num_rows()).sum::<usize>(), 10_000);
}

#[test]
fn a_sweep_keeps_what_datasets_need() {
    let place = place();
    numbers(&place, "d", 0..10);
    let kept = numbers(&place, "e", 0..20).version;
    place.datasets.delete("d").unwrap();
    let live: HashSet<_> = place
        .datasets
        .live_blobs()
        .unwrap()
        .iter()
        .map(|digest| digest.parse().unwrap())
        .collect();
    std::thread::sleep(Duration::from_millis(5));
    let report = place
        .store
        .blobs()
        .sweep(Duration::ZERO, || Ok(live))
        .unwrap();
    assert_eq!((report.kept, report.removed), (1, 1));
    assert_eq!(place.rows("e", "train").len() as u64, kept.rows());
}

#[test]
fn a_damaged_part_is_an_error_and_not_other_rows() {
    let place = place();
    let version = numbers(&place, "d", 0..1000).version;
    let path = place
        .store
        .blobs()
        .path(&version.splits[0].parts[0].digest.parse().unwrap());
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false)]
    permissions.set_readonly(false);
    std::fs::set_permissions(&path, permissions).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let mut reader = place.datasets.read(&version, "train", None, 100).unwrap();
    assert!(reader.next().unwrap().is_err());
    assert!(reader.next().is_none());
}

#[test]
fn plugins_read_what_they_were_granted_and_nothing_else() {
    let place = place();
    numbers(&place, "secret", 0..3);
    let inputs = vec![
        ImportInput::stream("a.jsonl", &b"{\"a\": 1}\n{\"a\": 2}\n"[..]),
        ImportInput::stream("b.jsonl", &b"{\"a\": 3}\n"[..]).split("dev"),
    ];
    place
        .datasets
        .import("d", inputs, &ImportOptions::default(), &Control::new())
        .unwrap();
    let granted =
        GrantedDatasets::new(&place.datasets, [("all", "d"), ("dev", "d@1#dev")]).unwrap();
    let digests = granted.digests();
    // A later version does not change what was granted.
    place.import("d", "c.jsonl", "{\"a\": 9}\n");
    let source = granted.shared();
    let rows = |name: &str| -> u32 {
        source
            .open(name)
            .unwrap()
            .map(|batch| batch.unwrap().rows)
            .sum()
    };
    assert_eq!((rows("all"), rows("dev")), (3, 1));
    let Err(error) = source.open("secret") else {
        panic!("not granted")
    };
    assert!(error.contains("grant `dataset:secret`"), "{error}");
    assert_eq!(
        digests["dev"],
        format!("{}#dev", place.datasets.get("d@1").unwrap().digest)
    );
    assert!(GrantedDatasets::new(&place.datasets, [("x", "nowhere")]).is_err());
}
