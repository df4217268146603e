//! Plugins that are broken, or that misbehave while a model trains: each ends its own command with a
//! sentence that says what happened, and nothing half-made stays.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::json;
use tenon_tests::{Room, component, verses};

/// A folder in which the misbehaving recipe can train.
fn room() -> Room {
    let room = Room::new();
    let rows = room.file("rows.jsonl", verses(40));
    room.ok(&["plugin", "install", &component("testing-hostile-recipe")]);
    room.ok(&["data", "import", "verses", &rows]);
    room.ok(&[
        "tokenizer",
        "train",
        "verses",
        "--dataset",
        "verses",
        "--columns",
        "text",
    ]);
    room
}

/// Trains with the recipe misbehaving from its third forward on.
fn train<'a>(config: &'a str, steps: &'a str) -> Vec<&'a str> {
    vec![
        "train",
        "--recipe",
        "testing/hostile-recipe",
        "--recipe-config",
        config,
        "--dataset",
        "verses",
        "--tokenizer",
        "verses",
        "--batch-rows",
        "4",
        "--steps",
        steps,
        "--register",
        "bad",
        "--device",
        "cpu",
    ]
}

/// The misbehaviour ends the run with this in its message; the folder is as good as before.
fn ends(does: &str, expected: &[&str]) {
    let room = room();
    let config = json!({"does": does, "from": 3}).to_string();
    let begin = Instant::now();
    let text = room.fails(1, &train(&config, "20"));
    let took = begin.elapsed();
    for part in expected {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    assert!(took < Duration::from_secs(90), "{does} took {took:?}");
    let runs = room.json(&["runs", "list"]);
    let run = runs
        .as_array()
        .or_else(|| runs["runs"].as_array())
        .unwrap()
        .iter()
        .find(|run| run["kind"] == "train")
        .unwrap()
        .clone();
    assert_eq!(run["status"], "failed");
    assert!(
        run["error"].as_str().is_some_and(|error| !error.is_empty()),
        "{run}"
    );
    let models = room.json(&["model", "list"]).to_string();
    assert!(
        !models.contains("\"bad\""),
        "nothing is registered: {models}"
    );
    // The same folder goes on to train with the same recipe when it behaves.
    room.ok(&train(r#"{"does": "nothing"}"#, "5"));
}

/// As [`ends`], for a recipe that never returns: the operator's limit of a call ends it.
fn ends_in_time(does: &str) {
    let room = room();
    let config = json!({"does": does, "from": 3}).to_string();
    let mut args = vec!["--limit", "call_time=2"];
    args.extend(train(&config, "20"));
    let begin = Instant::now();
    let text = room.fails(1, &args);
    let took = begin.elapsed();
    for part in ["testing/hostile-recipe", "forward", "2 s", "call_time"] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    assert!(took < Duration::from_secs(60), "{does} took {took:?}");
    room.ok(&train(r#"{"does": "nothing"}"#, "5"));
}

#[test]
fn computing_for_ever() {
    ends_in_time("loop");
}

#[test]
fn calling_the_host_for_ever() {
    ends_in_time("host-calls");
}

#[test]
fn limits_that_mean_nothing() {
    let room = Room::new();
    let said = room.fails(2, &["--limit", "memory=1GiB", "data", "list"]);
    assert!(said.contains("memory_bytes"), "{said}");
    let said = room.fails(2, &["--limit", "call_time=soon", "data", "list"]);
    assert!(said.contains("seconds"), "{said}");
    let server = room.up(&[]);
    let said = room.fails(2, &["--limit", "call_time=60", "data", "list"]);
    assert!(said.contains("tenon up --limit"), "{said}");
    server.stop();
}

#[test]
fn memory_without_end() {
    ends("allocate", &["memory"]);
}

#[test]
fn leaked_handles() {
    ends("leak", &["handles"]);
}

#[test]
fn a_giant_list() {
    ends(
        "giant-list",
        &["testing/hostile-recipe", "256 MiB in one call"],
    );
}

#[test]
fn a_panic_in_the_middle_of_a_step() {
    ends("panic", &["the recipe gave up on purpose"]);
}

#[test]
fn shapes_that_do_not_fit() {
    // The operation, both shapes and the guest's function.
    ends(
        "shape",
        &[
            "testing/hostile-recipe",
            "matmul",
            "[3, 5]",
            "Recipe>::forward",
        ],
    );
}

#[test]
fn a_loss_that_is_no_number() {
    ends("nan", &["step 3", "mul_scalar"]);
}

#[test]
fn files_that_are_no_plugins() {
    let room = Room::new();
    let text = room.file("text.wasm", "hello");
    assert!(
        room.fails(2, &["plugin", "install", &text])
            .contains("text.wasm")
    );
    let bytes = fs::read(component("recipe-gpt")).unwrap();
    let cut = room.file("cut.wasm", &bytes[..bytes.len() / 2]);
    assert!(
        room.fails(2, &["plugin", "install", &cut])
            .contains("cut.wasm")
    );
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let flipped = room.file("flipped.wasm", &flipped);
    // A flipped bit may still be valid code: then it is another plugin, but never a crash.
    let done = room.run(&["plugin", "install", &flipped]);
    assert!(done.status.code().is_some(), "{}", done.stderr);
    let module = room.file("module.wasm", b"\0asm\x01\0\0\0");
    let said = room.fails(2, &["plugin", "install", &module]);
    assert!(said.contains("component"), "{said}");
}

#[test]
fn a_plugin_of_another_kind() {
    let room = room();
    room.ok(&["plugin", "install", &component("transform-dedup")]);
    let args: Vec<&str> = train("{}", "5")
        .into_iter()
        .map(|arg| {
            if arg == "testing/hostile-recipe" {
                "tenon/dedup"
            } else {
                arg
            }
        })
        .collect();
    let error = room.error(2, &args).to_string();
    assert!(
        error.contains("transform") && error.contains("recipe"),
        "{error}"
    );
}

#[test]
fn a_configuration_that_violates_its_schema() {
    let room = room();
    let error = room
        .error(2, &train(r#"{"does": "dance"}"#, "5"))
        .to_string();
    assert!(error.contains("does") && error.contains("dance"), "{error}");
    assert_eq!(
        room.json(&["runs", "list", "--kind", "train"])
            .as_array()
            .map(Vec::len)
            .unwrap_or(0),
        0
    );
}
