#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::{Array as _, Int64Array, RecordBatch, StringArray};
use serde_json::{Value, json};
use tenon_plugin::PluginError;
use tenon_plugin::batch::Batch;
use tenon_plugin::transform::{Columns, Output, Rows};
use tenon_store::{Store, StoreOptions};

use super::Opened;
use super::session::Session;
use crate::convert::{from_batch, to_batch};
use crate::dataset::to_json;
use crate::{
    Control, DataError, DatasetVersion, Datasets, Format, ImportInput, ImportOptions, StepStats,
};

type Process<'a> = Box<dyn FnMut(RecordBatch) -> Vec<Output> + Send + 'a>;

/// A transform written as a function.
struct Fake<'a> {
    columns: Columns,
    process: Process<'a>,
    finish: Vec<Output>,
}

impl Session for Fake<'_> {
    fn columns(&self) -> Columns {
        self.columns.clone()
    }
    fn process(&mut self, input: &Batch) -> Result<Vec<Output>, PluginError> {
        Ok((self.process)(from_batch(input.clone()).unwrap()))
    }
    fn finish(&mut self) -> Result<Vec<Output>, PluginError> {
        Ok(std::mem::take(&mut self.finish))
    }
}

fn fake<'a>(
    reads: &[&str],
    writes: &[&str],
    process: impl FnMut(RecordBatch) -> Vec<Output> + Send + 'a,
) -> Fake<'a> {
    Fake {
        columns: Columns {
            reads: Some(reads.iter().map(|name| (*name).to_owned()).collect()),
            writes: writes.iter().map(|name| (*name).to_owned()).collect(),
        },
        process: Box::new(process),
        finish: Vec::new(),
    }
}

fn opened<'a>(plugin: &str, session: Fake<'a>) -> Opened<'a> {
    Opened {
        plugin: plugin.into(),
        session: Box::new(session),
    }
}

fn ints(batch: &RecordBatch, name: &str) -> Vec<i64> {
    let column = batch.column_by_name(name).unwrap();
    column
        .as_any()
        .downcast_ref::<Int64Array>()
        .unwrap()
        .values()
        .to_vec()
}

fn int_batch(name: &str, values: Vec<i64>) -> Batch {
    let array: arrow_array::ArrayRef = Arc::new(Int64Array::from(values));
    to_batch(&RecordBatch::try_from_iter([(name, array)]).unwrap()).unwrap()
}

fn nothing(rows: usize) -> Batch {
    Batch {
        rows: rows as u32,
        columns: Vec::new(),
    }
}

fn output(batch: Batch, rows: Rows, split: Option<&str>) -> Output {
    Output {
        batch,
        rows,
        split: split.map(str::to_owned),
    }
}

struct Place {
    datasets: Datasets,
    input: DatasetVersion,
    _folder: tempfile::TempDir,
}

/// A dataset with a text `t` and a number `n` that counts from 0.
fn place(train: usize, dev: usize) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data"), StoreOptions::default()).unwrap();
    let datasets = Datasets::new(&store);
    let rows = |from: usize, to: usize| {
        let text: String = (from..to)
            .map(|n| format!("{{\"t\": \"row {n}\", \"n\": {n}}}\n"))
            .collect();
        ImportInput::stream("rows", std::io::Cursor::new(text.into_bytes())).format(Format::Jsonl)
    };
    let mut inputs = vec![rows(0, train)];
    if dev > 0 {
        inputs.push(rows(train, train + dev).split("dev"));
    }
    let report = datasets
        .import("in", inputs, &ImportOptions::default(), &Control::new())
        .unwrap();
    Place {
        datasets,
        input: report.version,
        _folder: folder,
    }
}

impl Place {
    fn run(&self, steps: Vec<Opened<'_>>) -> Result<(DatasetVersion, Vec<StepStats>), DataError> {
        self.datasets
            .run(&self.input, "out", steps, &Control::new())
    }

    fn rows(&self, version: &DatasetVersion, split: &str) -> Vec<Value> {
        let reader = self.datasets.read(version, split, None, 5000).unwrap();
        reader
            .flat_map(|batch| to_json(&batch.unwrap()).unwrap())
            .collect()
    }

    fn error(&self, session: Fake<'_>) -> String {
        self.run(vec![opened("x/y", session)])
            .unwrap_err()
            .to_string()
    }
}

#[test]
fn unread_columns_follow_their_rows_through_every_mapping() {
    let place = place(20_000, 3_000);
    // Writes a new column for every row.
    let double = fake(&["n"], &["m"], |batch| {
        assert_eq!(batch.num_columns(), 1);
        let m = ints(&batch, "n").iter().map(|n| n * 2).collect();
        vec![output(int_batch("m", m), Rows::Same, None)]
    });
    // Keeps every third row.
    let thin = fake(&["n"], &[], |batch| {
        let kept: Vec<u32> = (0..batch.num_rows() as u32)
            .filter(|row| ints(&batch, "n")[*row as usize] % 3 == 0)
            .collect();
        vec![output(nothing(kept.len()), Rows::Keep(kept), None)]
    });
    // Every row twice, numbered, backwards.
    let twice = fake(&["n", "m"], &["n"], |batch| {
        let origin: Vec<u32> = (0..batch.num_rows() as u32)
            .rev()
            .flat_map(|row| [row, row])
            .collect();
        let n = ints(&batch, "n");
        let values = origin
            .iter()
            .enumerate()
            .map(|(at, row)| n[*row as usize] * 10 + at as i64 % 2)
            .collect();
        vec![output(int_batch("n", values), Rows::Origin(origin), None)]
    });
    let (version, stats) = place
        .run(vec![
            opened("a/double", double),
            opened("a/thin", thin),
            opened("a/twice", twice),
        ])
        .unwrap();
    assert_eq!(version.schema.names(), ["t", "n", "m"]);
    let counts: Vec<_> = stats
        .iter()
        .map(|step| (step.plugin.as_str(), step.rows_in, step.rows_out))
        .collect();
    assert_eq!(
        counts,
        [
            ("a/double", 23_000, 23_000),
            ("a/thin", 23_000, 7_667),
            ("a/twice", 7_667, 15_334)
        ]
    );
    for (split, range) in [("train", 0..20_000_i64), ("dev", 20_000..23_000)] {
        let mut rows = place.rows(&version, split);
        for row in &rows {
            let source = row["m"].as_i64().unwrap() / 2;
            assert_eq!(row["t"], format!("row {source}"));
            assert_eq!(row["n"].as_i64().unwrap() / 10, source);
        }
        rows.sort_by_key(|row| row["n"].as_i64());
        let expected: Vec<i64> = range
            .filter(|n| n % 3 == 0)
            .flat_map(|n| [n * 10, n * 10 + 1])
            .collect();
        let found: Vec<i64> = rows.iter().map(|row| row["n"].as_i64().unwrap()).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn outputs_go_to_the_splits_that_they_name() {
    let place = place(1000, 0);
    let split = fake(&["n"], &[], |batch| {
        let n = ints(&batch, "n");
        let rows = |odd: i64| -> Vec<u32> {
            (0..n.len() as u32)
                .filter(|row| n[*row as usize] % 2 == odd)
                .collect()
        };
        [(0, Some("even")), (1, None)]
            .map(|(odd, name)| output(nothing(rows(odd).len()), Rows::Keep(rows(odd)), name))
            .to_vec()
    });
    let (version, _) = place.run(vec![opened("a/split", split)]).unwrap();
    let splits: Vec<_> = version
        .splits
        .iter()
        .map(|split| (split.name.as_str(), split.rows))
        .collect();
    assert_eq!(splits, [("even", 500), ("train", 500)]);
    assert_eq!(
        place.rows(&version, "even")[1],
        json!({"t": "row 2", "n": 2})
    );
}

#[test]
fn held_back_rows_are_fresh_and_lack_the_other_columns() {
    let place = place(100, 0);
    let mut seen = 0;
    let mut count = fake(&["n"], &["n"], |batch| {
        seen += batch.num_rows();
        Vec::new()
    });
    count.finish = vec![output(
        int_batch("n", vec![7, 8]),
        Rows::Fresh,
        Some("summary"),
    )];
    let (version, stats) = place.run(vec![opened("a/count", count)]).unwrap();
    assert_eq!(seen, 100);
    assert_eq!((stats[0].rows_in, stats[0].rows_out), (100, 2));
    assert_eq!(version.schema.names(), ["n"]);
    assert_eq!(
        place.rows(&version, "summary"),
        [json!({"n": 7}), json!({"n": 8})]
    );

    // After rows that had all columns, fresh ones get nulls.
    let mut same = fake(&["n"], &["n"], |batch| {
        vec![output(int_batch("n", ints(&batch, "n")), Rows::Same, None)]
    });
    same.finish = vec![output(int_batch("n", vec![-1]), Rows::Fresh, None)];
    let (version, _) = place.run(vec![opened("a/same", same)]).unwrap();
    let rows = place.rows(&version, "train");
    assert_eq!(rows.len(), 101);
    assert_eq!(rows[100], json!({"t": null, "n": -1}));
}

#[test]
fn a_pipeline_that_keeps_nothing_gives_an_empty_version() {
    let place = place(10, 0);
    let none = fake(&["n"], &[], |_| {
        vec![output(nothing(0), Rows::Keep(vec![]), None)]
    });
    let (version, _) = place.run(vec![opened("a/none", none)]).unwrap();
    assert_eq!(
        (version.rows(), version.schema.names()),
        (0, vec!["t".to_owned(), "n".to_owned()])
    );
    assert!(place.rows(&version, "train").is_empty());
}

#[test]
fn broken_promises_name_the_step_the_rows_and_the_reason() {
    let place = place(10_000, 0);
    let n = |rows: usize| int_batch("n", vec![0; rows]);
    let cases: Vec<(Fake<'_>, &str)> = vec![
        (
            fake(&["z"], &[], |_| vec![]),
            "step 1 (x/y): it reads column `z`, which is not there; there are `t`, `n`",
        ),
        (
            fake(&["n"], &["n"], |b| {
                vec![output(nothing(b.num_rows()), Rows::Same, None)]
            }),
            "rows 0 to 8191 of split `train`: the plugin breaks its contract: column `n` is declared as written but did not come back",
        ),
        (
            fake(&["n"], &[], move |b| {
                vec![output(n(b.num_rows()), Rows::Same, None)]
            }),
            "column `n` came back but is not declared as written",
        ),
        (
            fake(&["n"], &["n"], move |_| {
                vec![output(n(3), Rows::Same, None)]
            }),
            "it says `same` rows, but 8192 came and 3 went",
        ),
        (
            fake(&["n"], &["n"], move |_| {
                vec![output(n(1), Rows::Keep(vec![9000]), None)]
            }),
            "`keep` names row 9000 of 8192",
        ),
        (
            fake(&["n"], &["n"], move |_| {
                vec![output(n(2), Rows::Keep(vec![5, 5]), None)]
            }),
            "`keep` names rows out of order or twice",
        ),
        (
            fake(&["n"], &["n"], move |_| {
                vec![output(n(2), Rows::Origin(vec![5]), None)]
            }),
            "`origin` names 1 rows, the batch has 2",
        ),
        (
            fake(&["n"], &["n"], move |b| {
                vec![output(n(b.num_rows()), Rows::Same, Some("../up"))]
            }),
            "`../up` cannot be the name of a split",
        ),
        (
            fake(&["n"], &["n"], |b| {
                let mut batch = int_batch("n", vec![0; b.num_rows()]);
                batch.columns[0].values.pop();
                vec![output(batch, Rows::Same, None)]
            }),
            "column `n`: 65535 bytes of values, 8192 rows need 65536",
        ),
    ];
    for (session, expected) in cases {
        let message = place.error(session);
        assert!(message.contains(expected), "{message}");
    }
    let mut kinds = 0;
    let changing = fake(&["n"], &["n"], move |b| {
        kinds += 1;
        let text: arrow_array::ArrayRef = Arc::new(StringArray::from(vec!["x"; b.num_rows()]));
        let text = to_batch(&RecordBatch::try_from_iter([("n", text)]).unwrap()).unwrap();
        vec![output(
            if kinds == 1 {
                int_batch("n", vec![0; b.num_rows()])
            } else {
                text
            },
            Rows::Same,
            None,
        )]
    });
    let message = place.error(changing);
    assert!(
        message.contains("rows 8192 to 9999 of split `train`"),
        "{message}"
    );
    assert!(
        message.contains("column `n` is utf8 here and was int64 before"),
        "{message}"
    );
    let mut late = fake(&["n"], &["n"], |_| Vec::new());
    late.finish = vec![output(int_batch("n", vec![1]), Rows::Same, None)];
    assert!(place.error(late).contains(
        "step 1 (x/y), its end: the plugin breaks its contract: `finish` may only return fresh rows"
    ));
    assert_eq!(place.datasets.list().unwrap().len(), 1);
}

#[test]
fn an_error_in_the_middle_stops_all_threads_and_is_the_one_reported() {
    let place = place(100_000, 0);
    let same = |calls: &'static AtomicUsize, fail_at: usize| {
        fake(&["n"], &["n"], move |batch| {
            let rows = if calls.fetch_add(1, Ordering::Relaxed) == fail_at {
                1
            } else {
                batch.num_rows()
            };
            vec![output(int_batch("n", vec![0; rows]), Rows::Same, None)]
        })
    };
    static FIRST: AtomicUsize = AtomicUsize::new(0);
    static SECOND: AtomicUsize = AtomicUsize::new(0);
    static THIRD: AtomicUsize = AtomicUsize::new(0);
    let steps = vec![
        opened("a/first", same(&FIRST, usize::MAX)),
        opened("a/second", same(&SECOND, 1)),
        opened("a/third", same(&THIRD, usize::MAX)),
    ];
    let message = place.run(steps).unwrap_err().to_string();
    assert!(
        message.starts_with("step 2 (a/second), rows 8192 to 16383"),
        "{message}"
    );
    assert!(
        FIRST.load(Ordering::Relaxed) < 12,
        "the first step ran on: {FIRST:?}"
    );
}

#[test]
fn cancelling_stops_a_pipeline() {
    let place = place(100_000, 0);
    let control = Control::new();
    let stop = control.clone();
    let session = fake(&["n"], &["n"], move |batch| {
        stop.cancel();
        vec![output(int_batch("n", ints(&batch, "n")), Rows::Same, None)]
    });
    let result = place
        .datasets
        .run(&place.input, "out", vec![opened("a/b", session)], &control);
    assert!(matches!(result, Err(DataError::Cancelled)));
}

#[test]
fn a_trivial_map_runs_at_a_million_rows_a_second() {
    let place = place(1_000_000, 0);
    let map = fake(&["n"], &["n"], |batch| {
        let n = ints(&batch, "n").iter().map(|n| n + 1).collect();
        vec![output(int_batch("n", n), Rows::Same, None)]
    });
    let started = std::time::Instant::now();
    let (version, _) = place.run(vec![opened("a/map", map)]).unwrap();
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "1M rows through a native map, read and written: {:.2}M rows/s",
        1.0 / seconds
    );
    assert_eq!(version.rows(), 1_000_000);
    // Far below what it does on an idle machine, far above what a mistake would leave.
    assert!(seconds < 10.0, "{seconds} s");
}
