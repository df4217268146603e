//! Import of every format, and what happens to rows that do not fit.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{gzip, place, poetry, python, run};
use serde_json::{Value, json};
use tenon_data::import::CsvOptions;
use tenon_data::{
    ColumnKind, Control, DataError, Format, ImportInput, ImportOptions, OnBadRow, Schema,
};

const JSONL: &str = concat!(
    "{\"text\": \"春眠不觉晓\", \"n\": 1, \"score\": 0.5, \"ok\": true, \"ids\": [1, 2], \"v\": [0.5]}\n",
    "{\"n\": -2, \"text\": \"a\\n\\\"b\\\" \\u4e00\", \"ok\": null, \"score\": 3, \"ids\": [], \"v\": [-1, 2]}\n",
    "\n",
    "{\"text\": null}\n",
);

#[test]
fn jsonl_becomes_typed_columns_and_comes_back_unchanged() {
    let place = place();
    let report = place.import("d", "rows.jsonl", JSONL);
    assert!(report.created);
    let kinds: Vec<_> = report
        .version
        .schema
        .columns
        .iter()
        .map(|c| (c.name.as_str(), c.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            ("text", ColumnKind::Utf8),
            ("n", ColumnKind::Int64),
            ("score", ColumnKind::Float64),
            ("ok", ColumnKind::Boolean),
            ("ids", ColumnKind::Uint32List),
            ("v", ColumnKind::Float32List),
        ]
    );
    assert_eq!(
        place.rows("d", "train"),
        [
            json!({"text": "春眠不觉晓", "n": 1, "score": 0.5, "ok": true, "ids": [1, 2], "v": [0.5]}),
            json!({"text": "a\n\"b\" 一", "n": -2, "score": 3.0, "ok": null, "ids": [], "v": [-1.0, 2.0]}),
            json!({"text": null, "n": null, "score": null, "ok": null, "ids": null, "v": null}),
        ]
    );
}

#[test]
fn the_same_content_is_the_same_version_however_it_arrives() {
    let place = place();
    let first = place.import("d", "rows.jsonl", JSONL);
    let again = place.import("d", "rows.jsonl.gz", gzip(JSONL.as_bytes()));
    assert!(first.created && !again.created);
    assert_eq!(first.version, again.version);
    let csv = "text,n\na,1\n";
    let a = place.import("e", "x.csv", csv);
    let b = place.import("e", "x.jsonl", "{\"text\":\"a\",\"n\":1}\n");
    assert_eq!(a.version.digest, b.version.digest);
    assert_eq!(place.datasets.versions("d").unwrap().len(), 1);
    let second = place.import("d", "rows.jsonl", "{\"text\": \"other\"}");
    assert_eq!((second.created, second.version.version), (true, 2));
}

#[test]
fn objects_are_kept_as_json_text() {
    let place = place();
    place.import(
        "d",
        "x.jsonl",
        "{\"turns\": [{\"b\": 1, \"a\": \"x\"}], \"meta\": {\"k\": [1]}}\n{\"meta\": null}\n",
    );
    let rows = place.rows("d", "train");
    let turns: Value = serde_json::from_str(rows[0]["turns"].as_str().unwrap()).unwrap();
    assert_eq!(turns, json!([{"a": "x", "b": 1}]));
    assert_eq!(rows[1], json!({"turns": null, "meta": null}));
}

/// Every kind of malformed line, with its number and the reason that is reported.
const BAD: [(u64, &str, &str); 10] = [
    (2, "{\"text\": \"a\"", "EOF while parsing an object"),
    (4, "not json", "expected"),
    (
        5,
        "[1, 2]",
        "invalid type: sequence, expected a JSON object",
    ),
    (
        6,
        "{\"text\": 5, \"n\": 1}",
        "invalid type: integer `5`, expected text in column `text`",
    ),
    (
        7,
        "{\"text\": \"a\", \"n\": 1.5}",
        "expected an integer in column `n`",
    ),
    (8, "{\"text\": \"a\", \"m\": 1}", "unknown column `m`"),
    (
        9,
        "{\"text\": \"a\", \"text\": \"b\"}",
        "column `text` appears twice",
    ),
    (10, "{\"text\": \"a\"} x", "trailing characters"),
    (
        11,
        "{\"text\": \"a\", \"n\": 9223372036854775808}",
        "9223372036854775808 does not fit int64 in column `n`",
    ),
    (
        12,
        "{\"text\": \"\\ud800\"}",
        "unexpected end of hex escape",
    ),
];

fn bad_jsonl() -> String {
    let mut lines = vec![
        "{\"text\": \"good\", \"n\": 1}".to_owned(),
        BAD[0].1.to_owned(),
        String::new(),
    ];
    lines.extend(BAD[1..].iter().map(|(_, line, _)| (*line).to_owned()));
    lines.push("{\"n\": 2, \"text\": \"last\"}".to_owned());
    lines.join("\n")
}

fn sampled(rows: usize, on_bad_row: OnBadRow) -> ImportOptions {
    // The sample must not see line 8's unknown column: give the schema's columns by the first rows.
    ImportOptions {
        infer_rows: rows,
        on_bad_row,
        schema: Some(Schema::of(&[("text", ColumnKind::Utf8), ("n", ColumnKind::Int64)]).unwrap()),
        ..ImportOptions::default()
    }
}

#[test]
fn bad_rows_are_rejected_by_line_and_nothing_is_stored() {
    let place = place();
    let error = place
        .try_import("d", "bad.jsonl", bad_jsonl(), &sampled(1, OnBadRow::Reject))
        .unwrap_err();
    let DataError::BadRows(bad) = &error else {
        panic!("{error}")
    };
    // With a schema given, an unknown column is left out instead of refused.
    let expected: Vec<_> = BAD.iter().filter(|(line, ..)| *line != 8).collect();
    assert_eq!(bad.count, expected.len() as u64);
    for (row, (line, raw, reason)) in bad.first.iter().zip(expected) {
        assert_eq!(
            (row.source.as_str(), row.line, row.raw.as_str()),
            ("bad.jsonl", *line, *raw)
        );
        assert!(row.reason.contains(reason), "{line}: {}", row.reason);
    }
    assert!(error.to_string().contains("bad.jsonl:7:"), "{error}");
    assert!(place.datasets.list().unwrap().is_empty());
    assert_eq!(place.blobs(), 0);
}

#[test]
fn an_error_lists_twenty_rows_and_counts_the_rest() {
    let place = place();
    let text = "{\"a\": 1}\n".to_owned() + &"oops\n".repeat(50);
    let error = place
        .try_import("d", "x.jsonl", text, &ImportOptions::default())
        .unwrap_err();
    let DataError::BadRows(bad) = &error else {
        panic!("{error}")
    };
    assert_eq!((bad.count, bad.first.len()), (50, 20));
    assert!(error.to_string().contains("50 rows do not fit"), "{error}");
    assert!(error.to_string().contains("… and 30 more"), "{error}");
}

#[test]
fn bad_rows_go_to_quarantine_when_asked() {
    let place = place();
    let report = place
        .try_import(
            "d",
            "bad.jsonl",
            bad_jsonl(),
            &sampled(1, OnBadRow::Quarantine),
        )
        .unwrap();
    assert_eq!(report.quarantined.count, 9);
    assert_eq!(report.version.rows(), 3);
    let kept: Vec<_> = place
        .rows("d", "train")
        .iter()
        .map(|row| row["text"].clone())
        .collect();
    assert_eq!(kept, ["good", "a", "last"]);
    let bad = place.rows("d", "quarantine");
    assert_eq!(bad.len(), 9);
    assert_eq!(bad[0]["line"], 2);
    assert_eq!(bad[0]["raw"], BAD[0].1);
    assert_eq!(bad[0]["source"], "bad.jsonl");
    assert!(bad[0]["reason"].as_str().unwrap().contains("EOF"));
    assert_eq!(place.datasets.list().unwrap()[0].quarantined, 9);
}

#[test]
fn what_the_sample_did_not_show_is_bad() {
    let place = place();
    let text = format!("{}{{\"a\": 1, \"b\": 2}}\n", "{\"a\": 1}\n".repeat(400_000));
    let options = ImportOptions {
        infer_rows: 10,
        ..ImportOptions::default()
    };
    let error = place
        .try_import("d", "x.jsonl", text, &options)
        .unwrap_err();
    let DataError::BadRows(bad) = &error else {
        panic!("{error}")
    };
    assert_eq!((bad.count, bad.first[0].line), (1, 400_001));
    assert!(bad.first[0].reason.contains("unknown column `b`"));
}

#[test]
fn csv_with_quotes_types_and_bad_records() {
    let place = place();
    let csv = "\u{feff}name,n,x,ok,ids,code\r\n\"a, \"\"b\"\"\nc\",1,0.5,true,\"[1, 2]\",007\r\n,,,,,\r\n";
    place.import("d", "x.csv", csv);
    assert_eq!(
        place.rows("d", "train"),
        [
            json!({"name": "a, \"b\"\nc", "n": 1, "x": 0.5, "ok": true, "ids": [1, 2], "code": "007"}),
            json!({"name": "", "n": null, "x": null, "ok": null, "ids": null, "code": ""}),
        ]
    );
    let options = ImportOptions {
        infer_rows: 2,
        ..ImportOptions::default()
    };
    let bad = b"a,b\n1,x\n2,y\nthree,z\n4\n5,\xff\n6,fine\n";
    let error = place.try_import("e", "x.csv", bad, &options).unwrap_err();
    let DataError::BadRows(rows) = &error else {
        panic!("{error}")
    };
    let found: Vec<_> = rows
        .first
        .iter()
        .map(|row| (row.line, row.reason.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (4, "column `a`: expected an integer, found `three`"),
            (5, "1 fields, the file has 2 columns"),
            (6, "column `b` is not UTF-8"),
        ]
    );
    assert_eq!(rows.first[0].raw, "three,z");
    let options = ImportOptions {
        csv: CsvOptions {
            delimiter: b';',
            header: false,
        },
        ..ImportOptions::default()
    };
    place
        .try_import("f", "x.csv", "1;a\n2;b\n", &options)
        .unwrap();
    assert_eq!(
        place.rows("f", "train")[1],
        json!({"column_1": 2, "column_2": "b"})
    );
    place.import("g", "x.tsv", "a\tb\n1\t2\n");
    assert_eq!(place.rows("g", "train"), [json!({"a": 1, "b": 2})]);
}

#[test]
fn a_quotation_mark_that_is_never_closed_is_refused_in_bounded_memory() {
    let place = place();
    let mut csv = b"a,b\n1,\"open\n".to_vec();
    csv.resize(80 << 20, b'x');
    let error = place
        .try_import("d", "x.csv", csv, &ImportOptions::default())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is a quotation mark not closed?"),
        "{error}"
    );
}

#[test]
fn text_is_one_row_a_line() {
    let place = place();
    let options = ImportOptions {
        text_column: "line".into(),
        on_bad_row: OnBadRow::Quarantine,
        ..ImportOptions::default()
    };
    let report = place
        .try_import("d", "x.txt", b"one\r\n\n  \ntwo\n\xff\xfe\nthree", &options)
        .unwrap();
    assert_eq!(report.quarantined.first[0].line, 5);
    let lines: Vec<_> = place
        .rows("d", "train")
        .iter()
        .map(|row| row["line"].clone())
        .collect();
    assert_eq!(lines, ["one", "two", "three"]);
}

#[test]
fn several_files_make_splits_of_one_version() {
    let place = place();
    let input = |text: &str, split: &str| {
        ImportInput::stream("upload", std::io::Cursor::new(text.to_owned().into_bytes()))
            .format(Format::Jsonl)
            .split(split)
    };
    let inputs = vec![
        input("{\"a\": 1}\n", "train"),
        input("{\"a\": 2}\n", "dev"),
        input("{\"a\": 3}\n", "train"),
    ];
    let report = place
        .datasets
        .import("d", inputs, &ImportOptions::default(), &Control::new())
        .unwrap();
    let rows: Vec<_> = report
        .version
        .splits
        .iter()
        .map(|s| (s.name.as_str(), s.rows))
        .collect();
    assert_eq!(rows, [("dev", 1), ("train", 2)]);
    assert_eq!(place.rows("d", "train"), [json!({"a": 1}), json!({"a": 3})]);
    let error = place
        .datasets
        .import(
            "d",
            vec![input("{\"a\": 1}", "quarantine")],
            &ImportOptions::default(),
            &Control::new(),
        )
        .unwrap_err();
    assert!(error.to_string().contains("kept for rows that do not fit"));
}

#[test]
fn errors_teach() {
    let place = place();
    let cases = [
        ("d", "x.bin", "", "cannot be told from its name"),
        (
            "bad name",
            "x.csv",
            "a\n1\n",
            "cannot be the name of a dataset",
        ),
        ("d", "x.jsonl", "", "no columns were found"),
        ("d", "x.parquet", "not parquet", "is not a Parquet file"),
    ];
    for (name, file, content, message) in cases {
        let error = place
            .try_import(name, file, content, &ImportOptions::default())
            .unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    let missing = place
        .datasets
        .import(
            "d",
            vec![ImportInput::file("/nowhere/x.jsonl")],
            &ImportOptions::default(),
            &Control::new(),
        )
        .unwrap_err();
    assert!(
        missing.to_string().contains("/nowhere/x.jsonl"),
        "{missing}"
    );
    let options = ImportOptions {
        schema: Some(Schema::of(&[("z", ColumnKind::Int64)]).unwrap()),
        ..ImportOptions::default()
    };
    let error = place
        .try_import("d", "x.csv", "a,b\n1,2\n", &options)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("x.csv has no column `z`; it has `a`, `b`"),
        "{error}"
    );
    assert_eq!(place.blobs(), 0);
}

#[test]
fn an_import_can_be_cancelled_and_leaves_nothing() {
    let place = place();
    let control = Control::new();
    let text = "{\"a\": 1}\n".repeat(500_000);
    control.cancel();
    let input = ImportInput::stream("x.jsonl", std::io::Cursor::new(text.into_bytes()));
    let result = place
        .datasets
        .import("d", vec![input], &ImportOptions::default(), &control);
    assert!(matches!(result, Err(DataError::Cancelled)));
    assert_eq!(
        (place.blobs(), place.datasets.list().unwrap().len()),
        (0, 0)
    );
}

#[test]
fn a_broken_stream_is_an_error_and_leaves_nothing() {
    struct Breaks(usize);
    impl std::io::Read for Breaks {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            if self.0 == 0 {
                return Err(std::io::Error::other("the line went dead"));
            }
            self.0 -= 1;
            let line = b"{\"a\": 1}\n";
            out[0] = line[line.len() - 1 - self.0 % line.len()];
            Ok(1)
        }
    }
    let place = place();
    let input = ImportInput::stream("x.jsonl", Breaks(9 * 300_000));
    let error = place
        .datasets
        .import("d", vec![input], &ImportOptions::default(), &Control::new())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("reading x.jsonl: the line went dead"),
        "{error}"
    );
    assert_eq!(
        (place.blobs(), place.datasets.list().unwrap().len()),
        (0, 0)
    );
}

/// pyarrow writes a file with foreign types, we import it, and pyarrow reads what we stored.
#[test]
fn parquet_to_and_from_pyarrow() {
    let Some(python) = python("pyarrow") else {
        return;
    };
    let place = place();
    let file = place.folder.path().join("x.parquet");
    let script = r#"
import pyarrow as pa, pyarrow.parquet as pq, sys, datetime
pq.write_table(pa.table({
    "s": pa.array(["a", None, "春"], pa.large_string()),
    "d": pa.array(["x", "y", "x"]).dictionary_encode(),
    "i": pa.array([1, -2, None], pa.int16()),
    "u": pa.array([1, 2, 3], pa.uint64()),
    "f": pa.array([0.5, None, -1.5], pa.float32()),
    "b": pa.array([True, False, None]),
    "ids": pa.array([[1, 2], [], None], pa.list_(pa.int64())),
    "v": pa.array([[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]], pa.list_(pa.float64(), 2)),
    "raw": pa.array([b"\x00\xff", b"", None]),
    "day": pa.array([datetime.date(2026, 1, 2), None, datetime.date(1999, 12, 31)]),
}), sys.argv[1])
"#;
    run(&python, script, &[file.to_str().unwrap()]);
    let report = place
        .datasets
        .import(
            "d",
            vec![ImportInput::file(&file)],
            &ImportOptions::default(),
            &Control::new(),
        )
        .unwrap();
    let expected = [
        json!({"s": "a", "d": "x", "i": 1, "u": 1, "f": 0.5, "b": true, "ids": [1, 2], "v": [0.5, 1.0], "raw": "00ff", "day": "2026-01-02"}),
        json!({"s": null, "d": "y", "i": -2, "u": 2, "f": null, "b": false, "ids": [], "v": [2.0, 3.0], "raw": "", "day": null}),
        json!({"s": "春", "d": "x", "i": null, "u": 3, "f": -1.5, "b": null, "ids": null, "v": [4.0, 5.0], "raw": null, "day": "1999-12-31"}),
    ];
    assert_eq!(place.rows("d", "train"), expected);
    let digest = report.version.splits[0].parts[0].digest.parse().unwrap();
    let path = place.store.blobs().path(&digest);
    let script = r#"
import pyarrow.parquet as pq, sys, json
f = pq.ParquetFile(sys.argv[1])
assert f.metadata.row_group(0).column(0).compression == "ZSTD"
rows = f.read().to_pylist()
for row in rows:
    row["raw"] = None if row["raw"] is None else row["raw"].hex()
print(json.dumps(rows))
"#;
    let rows: Value =
        serde_json::from_str(&run(&python, script, &[path.to_str().unwrap()])).unwrap();
    assert_eq!(rows, Value::from(expected.to_vec()));

    // Values that do not fit are bad rows.
    let script = r#"
import pyarrow as pa, pyarrow.parquet as pq, sys
pq.write_table(pa.table({"ids": pa.array([[1], [-1], [2]], pa.list_(pa.int64())), "n": pa.array([1, 2, 2**63], pa.uint64())}), sys.argv[1])
"#;
    run(&python, script, &[file.to_str().unwrap()]);
    let error = place
        .datasets
        .import(
            "e",
            vec![ImportInput::file(&file)],
            &ImportOptions::default(),
            &Control::new(),
        )
        .unwrap_err();
    let DataError::BadRows(bad) = &error else {
        panic!("{error}")
    };
    let found: Vec<_> = bad
        .first
        .iter()
        .map(|row| (row.line, row.reason.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (
                2,
                "column `ids`: an item is null or does not fit uint32-list"
            ),
            (3, "column `n`: the value does not fit int64"),
        ]
    );
}

/// Our own Parquet, exported and imported again, is the same version.
#[test]
fn our_parquet_round_trips_by_digest() {
    let place = place();
    let first = place.import("d", "rows.jsonl", JSONL);
    let digest = first.version.splits[0].parts[0].digest.parse().unwrap();
    let bytes = place.store.blobs().read(&digest).unwrap();
    let again = place.import("d", "x.parquet", bytes);
    assert!(!again.created);
}

/// A process that is killed in the middle of an import leaves no version and, once the folder is
/// opened again, no file.
#[test]
fn kill_9_leaves_nothing_half_written() {
    const CHILD: &str = "TENON_TEST_IMPORT_INTO";
    if let Some(root) = std::env::var_os(CHILD) {
        // The child: imports a stream that never ends.
        let store =
            tenon_store::Store::open(root.as_ref(), tenon_store::StoreOptions::default()).unwrap();
        let lines = (0..300_000_u64).map(|n| {
            format!(
                "{{\"text\": \"{:x}\"}}\n",
                n.wrapping_mul(0x9E37_79B9_7F4A_7C15)
            )
        });
        let block = lines.collect::<String>().into_bytes();
        struct Endless(Vec<u8>, usize);
        impl std::io::Read for Endless {
            fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
                let n = out.len().min(self.0.len() - self.1);
                out[..n].copy_from_slice(&self.0[self.1..self.1 + n]);
                self.1 = (self.1 + n) % self.0.len();
                Ok(n)
            }
        }
        let input = ImportInput::stream("x.jsonl", Endless(block, 0));
        let _ = tenon_data::Datasets::new(&store).import(
            "d",
            vec![input],
            &ImportOptions::default(),
            &Control::new(),
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill_9_leaves_nothing_half_written"])
        .env(CHILD, &root)
        .spawn()
        .unwrap();
    // Until it has written something.
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_secs(60) {
        let written = std::fs::read_dir(root.join("tmp")).map_or(0, |files| {
            files
                .flatten()
                .filter_map(|file| file.metadata().ok())
                .map(|m| m.len())
                .sum()
        });
        if written > 100_000 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        std::fs::read_dir(root.join("tmp")).unwrap().count() > 0,
        "the child had not begun"
    );
    let store = tenon_store::Store::open(&root, tenon_store::StoreOptions::default()).unwrap();
    assert!(tenon_data::Datasets::new(&store).list().unwrap().is_empty());
    assert!(store.blobs().list().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(root.join("tmp")).unwrap().count(), 0);
}

#[test]
fn the_real_corpus_imports_fast() {
    let Some(poetry) = poetry() else { return };
    let place = place();
    let inputs = vec![
        ImportInput::file(poetry.join("couplets-train.jsonl.gz")),
        ImportInput::file(poetry.join("couplets-dev.jsonl.gz")).split("dev"),
    ];
    let started = std::time::Instant::now();
    let report = place
        .datasets
        .import(
            "couplets",
            inputs,
            &ImportOptions::default(),
            &Control::new(),
        )
        .unwrap();
    let seconds = started.elapsed().as_secs_f64();
    let rows = report.version.rows();
    println!(
        "imported {rows} rows in {seconds:.2} s: {:.0} rows/s",
        rows as f64 / seconds
    );
    assert_eq!(report.version.split("train").unwrap().rows, 245_953);
    assert_eq!(report.version.split("dev").unwrap().rows, 5_680);
    let preview = place
        .datasets
        .preview("couplets", Some("dev"), 1, 2)
        .unwrap();
    assert_eq!(
        preview.rows[0],
        json!({"src_txt": "晓日净涵金碧影", "tgt_txt": "秋风暗动佩环声"})
    );
}
