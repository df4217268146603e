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

#[test]
fn preferences_are_learnt_as_the_paper_says() {
    let room = room(&["recipe-gpt"]);
    let folder = room.path("base");
    answer(&["make", "gpt2", "safetensors", &folder]);
    import(&room, &folder, "base");
    let rows: String = (0..8)
        .map(|row| {
            let (sun, sea) = (
                ["the sun is", "is the sea"][row % 2],
                ["over", "the sea"][row / 2 % 2],
            );
            let row = json!({
                "prompt": format!("{sun} "),
                "chosen": sea,
                "rejected": format!("{sea} {row}"),
            });
            format!("{row}\n")
        })
        .collect();
    let file = room.file("pairs.jsonl", &rows);
    let theirs = answer(&["dpo", &folder, &file, "6"]);
    room.ok(&["data", "import", "pairs", &file]);
    let config = room.file(
        "job.json",
        json!({
            "from": "base",
            "dataset": "pairs",
            "eval_dataset": "pairs#train",
            "recipe_config": {"sequence": [
                {"column": "prompt"},
                {"column": "answer", "learnt": true},
                {"special": "<|endoftext|>", "learnt": true},
            ]},
            "preference": {"beta": 0.2},
            "batch": {"rows": 4, "shuffle": false},
            "optimizer": {"kind": "adamw", "weight_decay": 0.0},
            "learning_rate": 1e-3,
            "schedule": {"kind": "constant"},
            "clip_norm": null,
            "steps": 6,
            "log_every": 1,
            "register": "aligned",
        })
        .to_string(),
    );
    let run = room.json(&["train", "--config", &config, "--device", "cpu"]);
    let run = run["id"].as_str().unwrap();
    for (metric, expected) in [
        ("train/loss", "losses"),
        ("train/rewards/margins", "margins"),
    ] {
        let points = room.json(&["runs", "show", run, "--metric", metric]);
        let ours: Vec<f64> = points["points"]
            .as_array()
            .unwrap_or_else(|| panic!("{points}"))
            .iter()
            .map(|point| point["value"].as_f64().unwrap())
            .collect();
        let expected = numbers(&theirs[expected]);
        assert!(expected[5] != expected[0], "{expected:?}");
        assert_close(&ours, &expected, metric);
    }
    let shown = room.json(&["runs", "show", run]);
    let metric = |name: &str| shown["metrics"][name]["last"].as_f64().unwrap();
    // Before the first step the two are alike, and nothing is preferred: ln 2.
    assert!(metric("eval/loss") < 2f64.ln());
    assert!(metric("eval/rewards/accuracies") > 0.5, "{shown}");
    assert!(shown["metrics"]["eval/perplexity"].is_null(), "{shown}");

    let error = room.fails(
        2,
        &[
            "train",
            "--config",
            &config,
            "--from",
            "base",
            "--pack-tokens",
            "64",
        ],
    );
    assert!(
        error.contains("`batch.pack_tokens` cannot be set with `preference`"),
        "{error}"
    );
}

#[test]
fn adapters_compute_in_peft_what_the_merged_model_computes() {
    let room = room(&["recipe-gpt", "recipe-llama"]);
    for (kind, target) in [("gpt2", r"attn\.c_attn$|mlp\."), ("llama", "(q|v)_proj$")] {
        let folder = room.path(kind);
        answer(&["make", kind, "safetensors", &folder]);
        import(&room, &folder, kind);
        let rows = room.file(
            "rows.jsonl",
            "{\"text\": \"the sun is over the sea\"}\n".repeat(16),
        );
        let dataset = format!("rows-{kind}");
        room.ok(&["data", "import", &dataset, &rows]);
        let tuned = format!("{kind}-tuned");
        let run = room.json(&[
            "train",
            "--from",
            kind,
            "--dataset",
            &dataset,
            "--steps",
            "4",
            "--learning-rate",
            "0.02",
            "--lora-rank",
            "2",
            "--lora-target",
            target,
            "--register",
            &tuned,
            "--device",
            "cpu",
        ]);
        let adapter = room.path(&format!("{kind}-adapter"));
        std::fs::create_dir(&adapter).unwrap();
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            let (artifact, path) = (format!("adapter/{file}"), format!("{adapter}/{file}"));
            room.ok(&[
                "runs",
                "artifact",
                run["id"].as_str().unwrap(),
                &artifact,
                "--output",
                &path,
            ]);
        }
        let theirs = answer(&["peft", kind, &folder, &adapter]);
        assert_ne!(theirs["before"], theirs["logs"], "it has learnt");
        let ours = log_probabilities(&room, &tuned, &theirs["ids"]);
        assert_close(&ours, &numbers(&theirs["logs"]), kind);
    }
}

#[test]
fn conversations_are_learnt_with_the_tokenizer_of_the_imported_model() {
    let room = room(&["recipe-gpt", "transform-chat"]);
    let folder = room.path("base");
    answer(&["make", "gpt2", "safetensors", &folder]);
    let report = import(&room, &folder, "base");
    assert_eq!(report["tokenizer"], "base@1", "{report}");
    let again = import(&room, &folder, "again");
    assert_eq!(again["tokenizer"], "again@1", "{again}");
    let talks: String = (0..16)
        .map(|row| {
            let (question, reply) = [("the sun", "is over"), ("the sea", "is under")][row % 2];
            let talk = json!({"messages": [
                {"role": "user", "content": question},
                {"role": "assistant", "content": reply},
            ]});
            format!("{talk}\n")
        })
        .collect();
    let talks = room.file("talks.jsonl", talks);
    room.ok(&["data", "import", "talks", &talks]);
    let template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}.{% endfor %}";
    let steps =
        json!([{"plugin": "tenon/chat", "tokenizer": "base", "config": {"template": template}}]);
    let steps = room.file("steps.json", steps.to_string());
    room.ok(&["data", "transform", "talks", "turns", "--steps", &steps]);
    let run = room.json(&[
        "train",
        "--from",
        "base",
        "--dataset",
        "turns",
        "--recipe-config",
        r#"{"sequence": [{"column": "prompt"}, {"column": "answer", "learnt": true}]}"#,
        "--steps",
        "250",
        "--learning-rate",
        "0.01",
        "--log-every",
        "1",
        "--register",
        "talker",
        "--device",
        "cpu",
    ]);
    let loss = &room.json(&["runs", "show", run["id"].as_str().unwrap()])["metrics"]["train/loss"];
    let (worst, last) = (
        loss["max"].as_f64().unwrap(),
        loss["last"].as_f64().unwrap(),
    );
    assert!(worst > 3.0 && last < 0.1, "{loss}");
    // Asked as it was taught, it answers as it was taught.
    room.ok(&["deploy", "talker", "talker", "--max-tokens", "9"]);
    let server = room.up(&["--device", "cpu"]);
    for (question, reply) in [("the sun", "is over."), ("the sea", "is under.")] {
        let request = json!({
            "model": "talker",
            "prompt": format!("[user]{question}.[assistant]"),
            "max_tokens": reply.len(),
            "temperature": 0,
        });
        let mut said = ureq::post(format!("{}/v1/completions", server.url))
            .send_json(request)
            .unwrap();
        let said: Value = said.body_mut().read_json().unwrap();
        assert_eq!(said["choices"][0]["text"], reply, "{said}");
    }
}
