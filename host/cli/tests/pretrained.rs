//! Models that `torch` and `transformers` wrote compute here what they compute there, and what is
//! exported loads there again.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tenon_tests::models::{Folder, bytes_of, header};
use tenon_tests::{Room, component};

/// Largest difference of log-probabilities: float32 in another order of additions.
const TOLERANCE: f64 = 2e-4;

/// `cargo xtask test` makes a Python with the libraries in it and says where it is.
fn python(args: &[&str]) -> String {
    let interpreter = std::env::var_os("TENON_TORCH").unwrap_or_else(|| {
        panic!("TENON_TORCH is not set: `cargo xtask test` sets it to a Python with torch and transformers")
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pretrained/models.py");
    let out = Command::new(interpreter)
        .arg(script)
        .args(args)
        .env("HF_HUB_OFFLINE", "1")
        .env("OMP_NUM_THREADS", "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

fn answer(args: &[&str]) -> Value {
    let out = python(args);
    serde_json::from_str(out.lines().last().unwrap()).unwrap()
}

fn room(recipes: &[&str]) -> Room {
    let room = Room::new();
    for recipe in recipes {
        room.ok(&["plugin", "install", &component(recipe)]);
    }
    room
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|value| value.as_f64().unwrap()).collect()
}

fn assert_close(ours: &[f64], theirs: &[f64], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (a, b) in ours.iter().zip(theirs) {
        assert!(
            (a - b).abs() < TOLERANCE,
            "{what}: {a} and {b}\n{ours:?}\n{theirs:?}"
        );
    }
}

/// What the imported model says of a prompt's tokens, over HTTP.
fn log_probabilities(room: &Room, model: &str, ids: &Value) -> Vec<f64> {
    let server = room.up(&["--device", "cpu"]);
    room.ok(&["deploy", model, model]);
    let request = json!({
        "model": model, "prompt": ids, "max_tokens": 0, "echo": true, "logprobs": 1,
    });
    let body = ureq::post(format!("{}/v1/completions", server.url))
        .send_json(request)
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    let answer: Value = serde_json::from_str(&body).unwrap();
    room.ok(&["deployments", "remove", model]);
    numbers(&answer["choices"][0]["logprobs"]["token_logprobs"])
}

fn import(room: &Room, folder: &str, name: &str) -> Value {
    room.json(&["model", "import", folder, "--name", name])["report"].clone()
}

#[test]
fn every_form_of_a_gpt2_computes_the_same() {
    let room = room(&["recipe-gpt"]);
    for form in [
        "safetensors",
        "shards",
        "bin",
        "old-bin",
        "bin-shards",
        "checkpoint",
        "views",
    ] {
        let folder = room.path(form);
        let theirs = answer(&["make", "gpt2", form, &folder]);
        let report = import(&room, &folder, form);
        assert_eq!(report["initialised"], json!([]), "{form}: {report}");
        assert_eq!(report["dropped"], json!([]), "{form}: {report}");
        let ours = log_probabilities(&room, form, &theirs["ids"]);
        assert_close(&ours, &numbers(&theirs["logs"]), form);
    }
}

#[test]
fn other_architectures_find_their_recipes() {
    let room = room(&["recipe-gpt", "recipe-llama", "recipe-bert"]);
    let folder = room.path("llama");
    let theirs = answer(&["make", "llama", "safetensors", &folder]);
    let report = import(&room, &folder, "llama");
    assert_eq!(
        report["version"]["manifest"]["recipe"]["name"],
        "tenon/llama"
    );
    assert_eq!(report["special_tokens"]["<bos>"], "<s>", "{report}");
    let ours = log_probabilities(&room, "llama", &theirs["ids"]);
    assert_close(&ours, &numbers(&theirs["logs"]), "llama");

    let folder = room.path("bert");
    let theirs = answer(&["make", "bert", "bin", &folder]);
    let report = import(&room, &folder, "bert");
    assert_eq!(
        report["version"]["manifest"]["recipe"]["name"],
        "tenon/bert"
    );
    assert_eq!(report["initialised"], json!([]), "{report}");
    let out = room.path("bert-out");
    room.ok(&["model", "export", "bert", &out]);
    let loaded = answer(&["load", "bert", &out]);
    assert_eq!(loaded["missing"], json!([]), "{loaded}");
    assert_close(&numbers(&loaded["logs"]), &numbers(&theirs["logs"]), "bert");
}

#[test]
fn what_is_exported_loads_there_again() {
    let room = room(&["recipe-gpt"]);
    let folder = room.path("half");
    let theirs = answer(&["make", "gpt2", "half", &folder]);
    let report = import(&room, &folder, "half");
    assert_eq!(
        report["dtypes"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["BF16"]
    );
    let out = room.path("half-out");
    room.ok(&["model", "export", "half", &out]);
    let loaded = answer(&["load", "gpt2", &out, &folder]);
    assert_eq!(loaded["largest"], 0.0, "{loaded}");
    assert_eq!(loaded["dtype"], "torch.bfloat16");
    assert_eq!(loaded["ids"], theirs["ids"], "the tokenizer");
    assert_eq!(
        (&loaded["missing"], &loaded["unexpected"]),
        (&json!([]), &json!([]))
    );
    assert_close(
        &numbers(&loaded["logs"]),
        &numbers(&theirs["logs"]),
        "export",
    );

    // Trained on, and exported: float32 now, and it computes there what it computes here.
    let rows = room.file(
        "rows.jsonl",
        "{\"text\": \"the sun is over the sea\"}\n".repeat(32),
    );
    room.ok(&["data", "import", "rows", &rows]);
    room.ok(&[
        "train",
        "--from",
        "half",
        "--dataset",
        "rows",
        "--steps",
        "4",
        "--learning-rate",
        "0.01",
        "--register",
        "tuned",
        "--device",
        "cpu",
    ]);
    let out = room.path("tuned-out");
    room.ok(&["model", "export", "tuned", &out]);
    let loaded = answer(&["load", "gpt2", &out, &folder]);
    assert!(
        loaded["largest"].as_f64().unwrap() > 0.0,
        "it has learnt: {loaded}"
    );
    assert_eq!(loaded["dtype"], "torch.float32");
    let ours = log_probabilities(&room, "tuned", &loaded["ids"]);
    assert_close(&ours, &numbers(&loaded["logs"]), "tuned");
    let file = std::fs::read(Path::new(&out).join("model.safetensors")).unwrap();
    assert_eq!(header(&file)["__metadata__"]["format"], "pt");
    assert!(!bytes_of(&file, "wte.weight").is_empty());
}

#[test]
fn a_pickle_is_never_executed() {
    let room = room(&["recipe-gpt"]);
    let folder = Folder::gpt2(room.path("evil"));
    let target = room.path("created");
    let file = folder.path.join("pytorch_model.bin");
    python(&["evil", file.to_str().unwrap(), &target]);
    let said = room.fails(2, &["model", "import", folder.text(), "--name", "bad"]);
    assert!(!Path::new(&target).exists(), "it was executed");
    for needle in [
        "pytorch_model.bin",
        "posix.system",
        "not executed",
        "hint: ",
    ] {
        assert!(said.contains(needle), "{needle}: {said}");
    }
    assert!(
        !room
            .json(&["model", "list"])
            .to_string()
            .contains("\"bad\"")
    );
}
