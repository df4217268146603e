//! Pre-trained models: imported from files and from a hub, exported again. The files are made here; what
//! `torch` and `transformers` write and read is tested in `host/cli`.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tenon_tests::{
    Room, component,
    models::{
        Folder, TOKENS, Tensor, bytes_of, config, gpt2, header, prefixed, pytorch, safetensors,
    },
};

/// A room in which the recipe for GPT-2 is installed.
fn room() -> Room {
    let room = Room::new();
    room.ok(&["plugin", "install", &component("recipe-gpt")]);
    room
}

/// Imports a folder that must fit; the report.
fn import(room: &Room, folder: &Folder, name: &str, more: &[&str]) -> Value {
    let mut args = vec!["model", "import", folder.text(), "--name", name];
    args.extend(more);
    room.json(&args)["report"].clone()
}

/// Imports a folder that must be refused before anything is begun; what was said.
fn refused(room: &Room, folder: &Folder, more: &[&str]) -> String {
    let mut args = vec!["model", "import", folder.text(), "--name", "bad"];
    args.extend(more);
    let said = room.fails(2, &args);
    assert!(said.contains("hint: "), "the remedy: {said}");
    nothing_is_left(room);
    said
}

/// Neither a model nor a file of a failed import.
fn nothing_is_left(room: &Room) {
    let models = room.json(&["model", "list"]);
    assert!(!models.to_string().contains("\"bad\""), "{models}");
    let tmp: Vec<_> = fs::read_dir(room.data().join("tmp")).unwrap().collect();
    assert!(tmp.is_empty(), "{tmp:?}");
}

/// The stored weights of a model.
fn stored(room: &Room, model: &str) -> Vec<u8> {
    let path = room.path("stored.safetensors");
    room.ok(&["model", "export", model, "--output", &path, "--force"]);
    fs::read(path).unwrap()
}

fn predicted(room: &Room, model: &str) -> Value {
    room.ok(&[
        "deploy",
        "it",
        model,
        "--max-tokens",
        "6",
        "--device",
        "cpu",
    ]);
    let request = r#"{"inputs": {"text": "abc"}}"#;
    let answer = room.json(&["predict", "it", request, "--device", "cpu"]);
    room.ok(&["deployments", "remove", "it"]);
    answer
}

#[test]
fn a_folder_becomes_a_model_and_a_folder_again() {
    let room = room();
    let folder = Folder::gpt2(room.path("gpt2"));
    let file = safetensors(&gpt2(), pytorch());
    folder.put("model.safetensors", &file);
    let report = import(&room, &folder, "gpt2", &["--description", "tiny"]);
    assert_eq!(report["stored_as_is"], true, "{report}");
    assert_eq!(report["version"]["description"], "tiny");
    let manifest = &report["version"]["manifest"];
    assert_eq!(manifest["vocabulary"], TOKENS);
    assert_eq!(manifest["recipe_config"]["n_embd"], 8);
    assert_eq!(manifest["origin"]["source"], folder.text());
    // The file as it is: its digest is the stored blob's.
    let origin = &manifest["origin"]["weights"]["model.safetensors"];
    assert_eq!(origin, &manifest["weights"]);
    assert_eq!(stored(&room, "gpt2"), file, "as it is, byte for byte");
    // The recipe's sequence speaks the tokenizer's language.
    assert_eq!(report["special_tokens"]["<eos>"], "<|endoftext|>");
    let answer = predicted(&room, "gpt2");
    assert!(!answer.is_null());

    // It can be trained on, and what comes of it is exported with everything that it was imported with.
    let rows = room.file("rows.jsonl", "{\"text\": \"abcab\"}\n".repeat(32));
    room.ok(&["data", "import", "rows", &rows]);
    room.ok(&[
        "train",
        "--from",
        "gpt2",
        "--dataset",
        "rows",
        "--steps",
        "3",
        "--register",
        "tuned",
        "--device",
        "cpu",
    ]);
    let out = room.path("tuned");
    room.ok(&["model", "export", "tuned", &out]);
    let read = |name: &str| fs::read(Path::new(&out).join(name)).unwrap();
    let exported: Value = serde_json::from_slice(&read("config.json")).unwrap();
    for (field, value) in config().as_object().unwrap() {
        assert_eq!(&exported[field], value, "{field}");
    }
    assert_eq!(
        read("generation_config.json"),
        br#"{"eos_token_id": 0}"#.to_vec()
    );
    assert!(Path::new(&out).join("tokenizer.json").is_file());
    assert!(Path::new(&out).join("tokenizer_config.json").is_file());
    let weights = read("model.safetensors");
    assert_eq!(header(&weights)["__metadata__"]["format"], "pt");
    assert_ne!(
        bytes_of(&weights, "wte.weight"),
        bytes_of(&file, "wte.weight")
    );
    // Existing folders stay; --force replaces them.
    assert!(
        room.fails(2, &["model", "export", "gpt2", &out])
            .contains("--force")
    );
    room.ok(&["model", "export", "gpt2", &out, "--force"]);
    assert_eq!(read("model.safetensors"), file);

    // What was exported is imported again, and is the same model.
    let again = Folder { path: out.into() };
    let report = import(&room, &again, "again", &[]);
    assert_eq!(report["stored_as_is"], true, "{report}");
    assert_eq!(predicted(&room, "again"), answer);
    assert_eq!(room.json(&["store", "verify"])["damage"], json!([]));
    // A sweep keeps what an imported model needs.
    room.ok(&["store", "gc", "--grace-minutes", "0"]);
    assert_eq!(predicted(&room, "gpt2"), answer);
    room.ok(&["model", "export", "gpt2", &room.path("after")]);
}

#[test]
fn the_same_model_in_other_files() {
    let room = room();
    let plain = Folder::gpt2(room.path("plain"));
    plain.put("model.safetensors", safetensors(&gpt2(), pytorch()));
    import(&room, &plain, "plain", &[]);
    let answer = predicted(&room, "plain");

    // With the prefix of the model with a head, the head beside the embedding, and computed buffers.
    let mut tensors = prefixed("transformer.", &gpt2());
    tensors.push(gpt2()[0].named("lm_head.weight"));
    tensors.push(Tensor::f32("transformer.h.0.attn.bias", &[1, 1, 16, 16]));
    tensors.push(Tensor::f32("score.weight", &[2, 8]));
    let folder = Folder::gpt2(room.path("prefixed"));
    folder.put("model.safetensors", safetensors(&tensors, pytorch()));
    let report = import(&room, &folder, "prefixed", &[]);
    assert_eq!(report["stored_as_is"], false);
    assert_eq!(report["renamed"]["transformer.wte.weight"], "wte.weight");
    assert_eq!(report["dropped"], json!(["score.weight"]));
    assert_eq!(
        report["redundant"],
        json!(["lm_head.weight", "transformer.h.0.attn.bias"])
    );
    assert_eq!(predicted(&room, "prefixed"), answer);

    // In shards, one of them in bfloat16; each keeps its type.
    let half: Vec<Tensor> = gpt2()[..8].iter().map(Tensor::bf16).collect();
    let rest = gpt2()[8..].to_vec();
    let folder = Folder::gpt2(room.path("shards"));
    let names = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let mut map = serde_json::Map::new();
    for (name, tensors) in names.iter().zip([&half, &rest]) {
        folder.put(name, safetensors(tensors, pytorch()));
        for tensor in tensors {
            map.insert(tensor.name.clone(), json!(name));
        }
    }
    folder.put(
        "model.safetensors.index.json",
        json!({"metadata": {}, "weight_map": map}).to_string(),
    );
    let report = import(&room, &folder, "shards", &[]);
    assert_eq!(report["dtypes"], json!({"BF16": 8, "F32": 8}), "{report}");
    let file = stored(&room, "shards");
    assert_eq!(header(&file)["wte.weight"]["dtype"], "BF16");
    for tensor in half.iter().chain(&rest) {
        assert_eq!(
            bytes_of(&file, &tensor.name),
            tensor.bytes,
            "{}",
            tensor.name
        );
    }
    room.ok(&["deploy", "it", "shards", "--device", "cpu"]);
    room.ok(&["deployments", "remove", "it"]);

    // Without the metadata that readers ask for: it is added.
    let folder = Folder::gpt2(room.path("bare"));
    folder.put("model.safetensors", safetensors(&gpt2(), None));
    import(&room, &folder, "bare", &[]);
    assert_eq!(
        header(&stored(&room, "bare"))["__metadata__"]["format"],
        "pt"
    );
    assert_eq!(predicted(&room, "bare"), answer);

    // ModelScope's layout: the configuration one level deeper.
    let folder = Folder::gpt2(room.path("modelscope"));
    fs::remove_file(folder.path.join("config.json")).unwrap();
    let scope = json!({"framework": "pytorch", "task": "text-generation", "model": config()});
    folder.put("configuration.json", scope.to_string());
    folder.put("model.safetensors", safetensors(&gpt2(), pytorch()));
    import(&room, &folder, "modelscope", &[]);
    assert_eq!(predicted(&room, "modelscope"), answer);

    // Over HTTP the same, a single file of weights with everything else named.
    let server = room.up(&["--device", "cpu"]);
    import(&room, &plain, "server", &[]);
    let out = room.path("out");
    room.ok(&["model", "export", "server", &out]);
    let json = Path::new(&out).join("tokenizer.json");
    room.ok(&["tokenizer", "import", "pairs", json.to_str().unwrap()]);
    let file = plain.path.join("model.safetensors");
    let config = config().to_string();
    let alone = ["model", "import", file.to_str().unwrap(), "--name", "alone"];
    let said = room.fails(2, &alone);
    assert!(
        said.contains("config.json") && said.contains("--recipe"),
        "{said}"
    );
    let mut args = alone.to_vec();
    args.extend([
        "--recipe",
        "tenon/gpt",
        "--recipe-config",
        &config,
        "--tokenizer",
        "pairs",
    ]);
    let report = room.json(&args)["report"].clone();
    assert_eq!(report["stored_as_is"], true, "{report}");
    assert_eq!(report["version"]["manifest"]["vocabulary"], TOKENS);
    drop(server);
}

#[test]
fn what_is_missing_is_told_and_may_be_initialised() {
    let room = room();
    let folder = Folder::gpt2(room.path("partial"));
    let tensors: Vec<Tensor> = gpt2()
        .into_iter()
        .filter(|tensor| !tensor.name.starts_with("ln_f"))
        .collect();
    folder.put("model.safetensors", safetensors(&tensors, pytorch()));
    let said = refused(&room, &folder, &[]);
    assert!(
        said.contains("`ln_f.weight`") && said.contains("`ln_f.bias`"),
        "{said}"
    );
    assert!(said.contains("--allow-missing"), "{said}");
    let report = import(&room, &folder, "partial", &["--allow-missing"]);
    assert_eq!(report["initialised"], json!(["ln_f.bias", "ln_f.weight"]));
    let ones: Vec<u8> = [1.0_f32; 8]
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect();
    assert_eq!(bytes_of(&stored(&room, "partial"), "ln_f.weight"), ones);
    predicted(&room, "partial");
}

#[test]
fn what_does_not_fit_is_named_with_its_remedy() {
    let room = room();
    let good = safetensors(&gpt2(), pytorch());

    let folder = Folder::gpt2(room.path("architecture"));
    let mut other = config();
    other["architectures"] = json!(["MambaForCausalLM"]);
    folder.put("config.json", other.to_string());
    folder.put("model.safetensors", &good);
    let said = refused(&room, &folder, &[]);
    assert!(
        said.contains("`MambaForCausalLM`") && said.contains("--recipe"),
        "{said}"
    );
    assert!(said.contains("tenon/gpt"), "what is installed: {said}");
    let error = room.error(2, &["model", "import", folder.text(), "--name", "bad"]);
    assert_eq!(error["kind"], "does-not-fit");

    let folder = Folder::gpt2(room.path("shape"));
    let mut tensors = gpt2();
    tensors[1] = Tensor::f32("wpe.weight", &[16, 9]);
    folder.put("model.safetensors", safetensors(&tensors, pytorch()));
    let said = refused(&room, &folder, &[]);
    for needle in ["`wpe.weight`", "[16, 8]", "[16, 9]"] {
        assert!(said.contains(needle), "{needle}: {said}");
    }

    let folder = Folder::gpt2(room.path("truncated"));
    folder.put("model.safetensors", &good[..good.len() - 5]);
    let said = refused(&room, &folder, &[]);
    assert!(
        said.contains("model.safetensors") && said.contains("cut short"),
        "{said}"
    );

    let folder = Folder::gpt2(room.path("tokenizer"));
    folder.vocabulary(TOKENS + 3);
    folder.put("model.safetensors", &good);
    let said = refused(&room, &folder, &[]);
    assert!(said.contains("15 tokens") && said.contains("12"), "{said}");

    let folder = Folder::gpt2(room.path("sentencepiece"));
    for name in ["vocab.json", "merges.txt"] {
        fs::remove_file(folder.path.join(name)).unwrap();
    }
    folder.put("tokenizer.model", b"\n\x07");
    folder.put("model.safetensors", &good);
    let said = refused(&room, &folder, &[]);
    assert!(said.contains("tokenizer.model"), "{said}");

    let folder = Folder::gpt2(room.path("quantised"));
    let mut other = config();
    other["quantization_config"] = json!({"quant_method": "gptq"});
    folder.put("config.json", other.to_string());
    folder.put("model.safetensors", &good);
    assert!(refused(&room, &folder, &[]).contains("gptq"));

    let folder = Folder::new(room.path("nothing"));
    folder.put("README.md", "# Nothing");
    let said = refused(&room, &folder, &[]);
    assert!(said.contains("is no model"), "{said}");
    let said = room.fails(
        2,
        &["model", "import", "openai-community/gpt2", "--name", "bad"],
    );
    assert!(said.contains("hub:openai-community/gpt2"), "{said}");
}

#[test]
fn an_index_is_not_believed() {
    let room = room();
    let secret = room.file("secret.safetensors", safetensors(&gpt2(), pytorch()));
    for (what, file, needle) in [
        (
            "missing",
            "model-2.safetensors",
            "model-2.safetensors, which is not there",
        ),
        ("up", "../secret.safetensors", "../secret.safetensors"),
        ("absolute", secret.as_str(), "secret.safetensors"),
    ] {
        let folder = Folder::gpt2(room.path(what));
        folder.put("model-1.safetensors", safetensors(&gpt2()[..4], pytorch()));
        let map = json!({"weight_map": {"wte.weight": "model-1.safetensors", "ln_f.bias": file}});
        folder.put("model.safetensors.index.json", map.to_string());
        let said = refused(&room, &folder, &[]);
        assert!(said.contains(needle), "{said}");
        assert!(said.contains("model.safetensors.index.json"), "{said}");
    }
    // A client that sends such names itself is refused by the server.
    let server = room.up(&["--device", "cpu"]);
    for name in ["../../evil.safetensors", "/etc/evil.bin", ".hidden.pt"] {
        let body = format!(
            "--x\r\ncontent-disposition: form-data; name=\"options\"\r\n\r\n{{\"name\": \"bad\"}}\r\n\
             --x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n\
             abc\r\n--x--\r\n"
        );
        let answer = ureq::post(format!("{}/api/v1/models/import", server.url))
            .config()
            .http_status_as_error(false)
            .build()
            .content_type("multipart/form-data; boundary=x")
            .send(body)
            .unwrap();
        assert_eq!(answer.status(), 422, "{name}");
    }
    // Nor does it read files of its machine for a request.
    let answer = ureq::post(format!("{}/api/v1/models/import", server.url))
        .config()
        .http_status_as_error(false)
        .build()
        .content_type("application/json")
        .send(r#"{"name": "bad", "source": "/etc"}"#)
        .unwrap();
    assert_eq!(answer.status(), 400);
    drop(server);
    nothing_is_left(&room);
}

/// A hub on this machine; it ends with the test.
struct Hub {
    child: Child,
    url: String,
    folder: String,
}

impl Hub {
    fn start(room: &Room, more: &[&str]) -> Self {
        let folder = room.path("hub");
        let model = Folder::gpt2(Path::new(&folder).join("org/tiny"));
        model.put("model.safetensors", safetensors(&gpt2(), pytorch()));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("hub/server.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(&folder)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut url).unwrap();
        Self {
            child,
            url: url.trim().to_owned(),
            folder,
        }
    }

    /// Imports from it; the exit status and what was said.
    fn import(&self, room: &Room, token: Option<&str>, source: &str) -> (i32, Value, String) {
        let args = ["model", "import", source, "--name", "tiny", "--json"];
        let mut command = room.command(&args);
        command.env("HF_ENDPOINT", &self.url).env_remove("HF_TOKEN");
        if let Some(token) = token {
            command.env("HF_TOKEN", token);
        }
        let output = command.output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let document = serde_json::from_str(&stdout).unwrap_or_default();
        (output.status.code().unwrap(), document, stderr)
    }

    /// What it was asked for.
    fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(Path::new(&self.folder).join("log")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

const SOURCE: &str = "hub:org/tiny";

#[test]
fn a_hub_that_works() {
    let room = room();
    let hub = Hub::start(&room, &["--token", "secret", "--fault", "redirect"]);
    let (code, run, said) = hub.import(&room, Some("secret"), SOURCE);
    assert_eq!(code, 0, "{said}");
    let origin = &run["report"]["version"]["manifest"]["origin"];
    assert_eq!(origin["source"], SOURCE);
    assert_eq!(origin["hub"], json!(hub.url));
    assert_eq!(
        origin["revision"],
        "0123456789abcdef0123456789abcdef01234567"
    );
    assert!(
        origin["weights"]["model.safetensors"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(stored(&room, "tiny"), safetensors(&gpt2(), pytorch()));
    predicted(&room, "tiny");
    // Only what makes the model was asked for, and the token stayed with the hub.
    let log = hub.log();
    assert!(
        log.iter()
            .all(|entry| !entry["path"].as_str().unwrap().contains("onnx"))
    );
    let port: u64 = hub.url.rsplit(':').next().unwrap().parse().unwrap();
    for entry in &log {
        assert_eq!(entry["token"], json!(entry["port"] == port), "{entry}");
    }
    assert!(
        log.iter().any(|entry| entry["port"] != port),
        "the mirror was asked"
    );
    // A branch that is not there, a model that is not there, a name that is none.
    let args = ["model", "import", SOURCE, "--name", "x", "--revision", "v9"];
    let mut command = room.command(&args);
    let output = command
        .env("HF_ENDPOINT", &hub.url)
        .env("HF_TOKEN", "secret")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("v9") && said.contains("hint: "), "{said}");
    let (code, _, said) = hub.import(&room, Some("secret"), "hub:org/none");
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("org/none") && said.contains("not-found"),
        "{said}"
    );
    let (code, _, said) = hub.import(&room, Some("secret"), "hub:../../etc");
    assert_eq!(code, 2, "{said}");
}

#[test]
fn a_hub_that_refuses() {
    let room = room();
    let hub = Hub::start(&room, &["--token", "secret"]);
    let (code, _, said) = hub.import(&room, None, SOURCE);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("401") && said.contains("HF_TOKEN"), "{said}");
    let (code, _, said) = hub.import(&room, Some("wrong"), SOURCE);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("403") && !said.contains("wrong"), "{said}");
    assert!(!room.json(&["model", "list"]).to_string().contains("tiny"));
}

#[test]
fn a_connection_that_is_cut_goes_on_where_it_was() {
    for fault in ["cut", "no-range", "busy"] {
        let room = room();
        let hub = Hub::start(&room, &["--fault", fault]);
        let (code, _, said) = hub.import(&room, None, SOURCE);
        assert_eq!(code, 0, "{fault}: {said}");
        assert_eq!(
            stored(&room, "tiny"),
            safetensors(&gpt2(), pytorch()),
            "{fault}"
        );
        let log = hub.log();
        let ranges: Vec<&Value> = log
            .iter()
            .filter(|entry| entry["path"].as_str().unwrap().ends_with(".safetensors"))
            .map(|entry| &entry["range"])
            .collect();
        let size = safetensors(&gpt2(), pytorch()).len();
        match fault {
            "cut" => {
                let half = size / 2;
                let rest = half + (size - half) / 2;
                let second = json!(format!("bytes={half}-"));
                let third = json!(format!("bytes={rest}-"));
                assert_eq!(ranges, [&Value::Null, &second, &third]);
            }
            "no-range" => assert_eq!(ranges.len(), 2),
            _ => assert_eq!(ranges, [&Value::Null, &Value::Null]),
        }
    }
}

#[test]
fn a_download_that_was_killed_goes_on_with_the_next_command() {
    let room = room();
    let hub = Hub::start(&room, &["--fault", "stall"]);
    let weights = safetensors(&gpt2(), pytorch());
    let half = weights.len() / 2;
    let mut child = room
        .command(&["model", "import", SOURCE, "--name", "tiny"])
        .env("HF_ENDPOINT", &hub.url)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let partial = room.data().join("partial");
    let left = || -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&partial) else {
            return Vec::new();
        };
        let lengths = entries.map(|entry| entry.unwrap().metadata().unwrap().len());
        lengths.collect()
    };
    let begun = std::time::Instant::now();
    while left() != [half as u64] {
        assert!(begun.elapsed().as_secs() < 60, "{:?}", left());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    let (code, _, said) = hub.import(&room, None, SOURCE);
    assert_eq!(code, 0, "{said}");
    assert_eq!(stored(&room, "tiny"), weights);
    let log = hub.log();
    let ranges = log
        .iter()
        .filter(|entry| entry["path"].as_str().unwrap().ends_with(".safetensors"))
        .map(|entry| &entry["range"]);
    let rest = json!(format!("bytes={half}-"));
    assert!(ranges.eq([&Value::Null, &rest]), "{log:?}");
    assert!(left().is_empty());
    // What is left under that name, but is not of this file, is found out, and all of it is asked for.
    let version = room.json(&["model", "show", "tiny"]).to_string();
    let sum = version.split("sha256:").nth(1).unwrap()[..64].to_owned();
    let other = self::room();
    fs::create_dir_all(other.data().join("partial")).unwrap();
    fs::write(other.data().join("partial").join(sum), b"damaged").unwrap();
    let (code, _, said) = hub.import(&other, None, SOURCE);
    assert_eq!(code, 0, "{said}");
    assert_eq!(stored(&other, "tiny"), weights);
}

#[test]
fn a_file_is_linked_or_copied() {
    let room = room();
    let folder = Folder::gpt2(room.path("model"));
    folder.put("model.safetensors", safetensors(&gpt2(), pytorch()));
    let path = Path::new(folder.text()).join("model.safetensors");
    let names = || fs::metadata(&path).unwrap().nlink();
    import(&room, &folder, "copied", &[]);
    assert_eq!(names(), 1);
    import(&room, &folder, "linked", &["--link"]);
    // Where the file system shares bytes, a second name is not needed.
    assert!(names() <= 2);
    import(&room, &folder, "linked", &["--link"]);
    assert!(names() <= 2);
    nothing_is_left(&room);
    assert_eq!(stored(&room, "linked"), stored(&room, "copied"));
    predicted(&room, "linked");
    let said = room.fails(2, &["model", "import", SOURCE, "--name", "x", "--link"]);
    assert!(said.contains("--link"), "{said}");
    // A server is given bytes, not paths.
    let _server = room.up(&[]);
    import(&room, &folder, "sent", &[]);
    let said = room.fails(
        2,
        &["model", "import", folder.text(), "--name", "x", "--link"],
    );
    assert!(said.contains("--link") && said.contains("server"), "{said}");
}

#[test]
fn bytes_that_are_not_what_was_announced() {
    let room = room();
    let hub = Hub::start(&room, &["--fault", "checksum"]);
    let (code, _, said) = hub.import(&room, None, SOURCE);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("sha256") && said.contains(&"f".repeat(64)),
        "{said}"
    );
    assert!(said.contains("model.safetensors"), "{said}");
    assert!(!room.json(&["model", "list"]).to_string().contains("tiny"));
    let tmp: Vec<_> = fs::read_dir(room.data().join("tmp")).unwrap().collect();
    assert!(tmp.is_empty(), "{tmp:?}");
}
