//! `cargo bench -p tenon-data`: rows a second of import, encoding and collation.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::Cursor;
use std::sync::Arc;
use std::time::Instant;

use tenon_data::collate::{BatchOptions, EncodeOptions, EncodedRows, Loader};
use tenon_data::{Control, Datasets, ImportInput, ImportOptions, Tokenizers, TrainOptions};
use tenon_plugin::recipe::{Input, Layout, Piece, Segment, SequenceLayout, Signature};
use tenon_store::{Store, StoreOptions};

const ROWS: usize = 1_000_000;

fn report(what: &str, rows: usize, started: Instant) {
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{what}: {:.2}M rows/s ({seconds:.2} s)",
        rows as f64 / seconds / 1e6
    );
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data"), StoreOptions::default()).unwrap();
    let datasets = Datasets::new(&store);
    let control = Control::new();
    // Seven characters each way, as a couplet; few repeat.
    let line = |n: usize| -> String {
        let start = 0x4e00 + n as u32 * 7919 % 4000;
        (0..7)
            .filter_map(|at| char::from_u32(start + (n as u32 >> at) % 997))
            .collect()
    };
    let jsonl: String = (0..ROWS)
        .map(|n| {
            format!(
                "{{\"src_txt\": \"{}\", \"tgt_txt\": \"{}\"}}\n",
                line(n),
                line(n + 1)
            )
        })
        .collect();

    let started = Instant::now();
    let input = ImportInput::stream("rows.jsonl", Cursor::new(jsonl.into_bytes()));
    let imported = datasets
        .import("rows", vec![input], &ImportOptions::default(), &control)
        .unwrap();
    report("import JSONL", ROWS, started);

    let started = Instant::now();
    let reader = datasets
        .read(&imported.version, "train", None, 8192)
        .unwrap();
    let bytes: usize = reader
        .plugin_batches()
        .map(|batch| batch.unwrap().columns.len())
        .sum();
    assert!(bytes > 0);
    report("read as plugin batches", ROWS, started);

    let started = Instant::now();
    let columns = ["src_txt".to_owned(), "tgt_txt".to_owned()];
    let (tokenizer, _) = Tokenizers::new(&store)
        .train(
            "chars",
            "rows",
            &columns,
            &TrainOptions::default(),
            &control,
        )
        .unwrap();
    report("train a character tokenizer", ROWS, started);

    let piece = |segment, learnt| Piece { segment, learnt };
    let signature = Signature {
        inputs: vec![
            Input {
                name: "tokens".into(),
                layout: Layout::Sequence(SequenceLayout {
                    pieces: vec![
                        piece(Segment::Special("<bos>".into()), false),
                        piece(Segment::Column("src_txt".into()), false),
                        piece(Segment::Special("<sep>".into()), false),
                        piece(Segment::Column("tgt_txt".into()), true),
                        piece(Segment::Special("<eos>".into()), true),
                    ],
                    max_length: Some(64),
                    packable: true,
                }),
            },
            Input {
                name: "labels".into(),
                layout: Layout::NextTokens {
                    sequence: "tokens".into(),
                },
            },
        ],
        generation: None,
    };
    let started = Instant::now();
    let rows = EncodedRows::from_dataset(
        &signature,
        Some(&tokenizer),
        &datasets,
        &imported.version,
        "train",
        EncodeOptions::default(),
        &control,
    )
    .unwrap();
    report("encode", ROWS, started);
    let rows = Arc::new(rows);

    for (what, pack_tokens) in [("collate, padded", None), ("collate, packed", Some(128))] {
        let options = BatchOptions {
            rows: 32,
            pack_tokens,
            ..BatchOptions::default()
        };
        let started = Instant::now();
        let loader = Loader::new(Arc::clone(&rows), options).unwrap();
        let documents: usize = loader
            .epoch(0)
            .map(|batch| batch.unwrap().placements.len())
            .sum();
        assert_eq!(documents, ROWS);
        report(what, ROWS, started);
    }
}
