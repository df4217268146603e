//! A command says the same whether a server answers it or the data folder itself.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::process::Stdio;

use serde_json::Value;
use tenon_tests::{Done, component, one_document, ready_to_train, train};

/// Everything that reads, and what must fail.
const QUESTIONS: &[&[&str]] = &[
    &["devices", "--device", "cpu"],
    &["plugin", "list"],
    &["plugin", "show", "tenon/gpt"],
    &["plugin", "show", "tenon/nothing"],
    &["plugin", "show", "nothing"],
    &["data", "list"],
    &["data", "show", "verses"],
    &["data", "show", "verses@1"],
    &["data", "show", "verses", "--versions"],
    &["data", "show", "nothing"],
    &["data", "show", "../verses"],
    &["data", "preview", "verses#dev", "--rows", "3"],
    &["data", "preview", "verses#nothing"],
    &[
        "data",
        "transform",
        "verses",
        "out",
        "--step",
        "tenon/nothing",
    ],
    &["tokenizer", "list"],
    &["tokenizer", "show", "verses"],
    &["tokenizer", "show", "nothing"],
    &["runs", "list"],
    &[
        "runs",
        "list",
        "--kind",
        "train",
        "--sort",
        "metric:train/loss",
        "--ascending",
    ],
    &["runs", "list", "--sort", "beauty"],
    &["runs", "list", "--text", "verses tokenize"],
    &["runs", "show", "first"],
    &["runs", "show", "first", "--metric", "train/loss"],
    &[
        "runs",
        "show",
        "first",
        "--metric",
        "train/loss",
        "--points",
        "2",
    ],
    &["runs", "show", "first", "--metric", "nothing"],
    &["runs", "show", "nothing"],
    &["runs", "compare", "first", "second"],
    &["runs", "compare", "first", "nothing"],
    &["runs", "artifact", "first", "model.json"],
    &["runs", "artifact", "first", "nothing"],
    &["runs", "stop", "first"],
    &["model", "list"],
    &["model", "show", "poet"],
    &["model", "show", "poet@1"],
    &["model", "show", "poet@nothing"],
    &["model", "register", "poet", "nothing"],
    &["deployments", "list"],
    &["deployments", "show", "nothing"],
    &["predict", "nothing", "{}"],
    &[
        "train",
        "--dataset",
        "nothing",
        "--recipe",
        "tenon/gpt",
        "--steps",
        "1",
    ],
    &[
        "evaluate",
        "poet",
        "--dataset",
        "verses",
        "--evaluator",
        "tenon/gpt",
    ],
    &["store", "verify"],
];

/// A running server has chosen its device.
fn without_device<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let others = args.iter().copied();
    others
        .filter(|arg| !["--device", "cpu"].contains(arg))
        .collect()
}

#[test]
fn with_and_without_a_server() {
    let room = ready_to_train();
    room.ok(&train(&[
        "--steps",
        "3",
        "--name",
        "first",
        "--register",
        "poet",
    ]));
    room.ok(&train(&["--steps", "2", "--name", "second"]));
    let ask = |json: bool| -> Vec<Done> {
        let more: &[&str] = if json { &["--json"] } else { &[] };
        QUESTIONS
            .iter()
            .map(|question| room.run(&[*question, more].concat()))
            .collect()
    };
    let mut alone = ask(true);
    alone.extend(ask(false));
    let server = room.up(&["--device", "cpu"]);
    let mut served = Vec::new();
    for more in [&["--json"][..], &[]] {
        for question in QUESTIONS {
            served.push(room.run(&[&without_device(question)[..], more].concat()));
        }
    }
    drop(server);
    for (index, (alone, served)) in alone.iter().zip(&served).enumerate() {
        let question = QUESTIONS[index % QUESTIONS.len()];
        assert_eq!(
            alone.status.code(),
            served.status.code(),
            "{question:?}: {} {}",
            alone.stderr,
            served.stderr
        );
        assert_eq!(alone.stdout, served.stdout, "{question:?}");
        assert_eq!(alone.stderr, served.stderr, "{question:?}");
        if index >= QUESTIONS.len() {
            continue;
        }
        // With --json: one document on one of the two, whatever happened.
        if alone.status.success() {
            one_document(&alone.stdout);
            assert_eq!(alone.stderr, "", "{question:?}");
        } else {
            assert_eq!(alone.stdout, "", "{question:?}");
            let error = one_document(&alone.stderr)["error"].clone();
            for field in ["kind", "message"] {
                assert!(
                    error[field].as_str().is_some_and(|text| !text.is_empty()),
                    "{question:?}: {error}"
                );
            }
        }
    }
}

#[test]
fn what_changes_something_prints_one_document_too() {
    let room = ready_to_train();
    let dev = room.file("more.jsonl", tenon_tests::verses(4));
    let tokenizer = room.path("tokenizer.json");
    let args = train(&["--steps", "2", "--name", "first"]);
    for served in [false, true] {
        let server = served.then(|| room.up(&["--device", "cpu"]));
        let json = |args: &[&str]| -> Value {
            match served {
                true => room.json(&without_device(args)),
                false => room.json(args),
            }
        };
        json(&["plugin", "install", &component("transform-dedup")]);
        json(&["data", "import", "more", &dev]);
        json(&[
            "data",
            "transform",
            "more",
            "less",
            "--step",
            "tenon/dedup={\"columns\": [\"text\"]}",
        ]);
        json(&[
            "tokenizer",
            "train",
            "bpe",
            "--dataset",
            "more",
            "--columns",
            "text",
            "--kind",
            "bpe",
            "--vocabulary",
            "300",
        ]);
        json(&args);
        json(&[
            "evaluate",
            "run:first",
            "--dataset",
            "verses",
            "--evaluator",
            "tenon/perplexity",
            "--rows",
            "4",
            "--device",
            "cpu",
        ]);
        json(&["model", "register", "poet", "first"]);
        json(&["model", "alias", "poet", "best", "1"]);
        json(&["model", "alias", "poet", "best", "--remove"]);
        json(&["model", "export", "poet", "--output", &tokenizer, "--force"]);
        json(&["deploy", "poet", "poet", "--device", "cpu"]);
        json(&[
            "predict",
            "poet",
            "{\"inputs\": {\"text\": \"the\"}}",
            "--device",
            "cpu",
        ]);
        json(&["deployments", "remove", "poet"]);
        json(&["runs", "delete", "first"]);
        json(&["data", "delete", "less"]);
        json(&["plugin", "remove", "tenon/dedup"]);
        json(&["store", "gc"]);
        json(&["status"]);
        drop(server);
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let room = ready_to_train();
    let preview = ["data", "preview", "verses", "--rows", "200"];
    let mut child = room
        .command(&preview)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // As `head` does: closed before anything was written.
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    assert_eq!(said, "");
    for args in [&["--help"][..], &["reference"]] {
        let mut child = room.command(args).stdout(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
    }
}
