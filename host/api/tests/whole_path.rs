//! From raw text to a served model, over a socket: what a client in any language does.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Read;
use std::path::Path;

use common::server::{Server, sse};
use common::{Document, Multipart, alphabet, component, tiny_training};
use serde_json::{Value, json};
use tenon_api::{Access, App, Options, router};

/// The document, from the same router.
fn document(app: &App) -> Document {
    let options = Options {
        access: Access::InProcess,
        ..Options::default()
    };
    let router = router(app.clone(), options);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(Document::fetch(&router))
}

fn install(server: &Server, name: &str) {
    let (status, plugin) =
        server.put_bytes("/api/v1/plugins", "application/wasm", &component(name));
    assert_eq!(status, 201, "{plugin}");
}

/// Follows a run to its end and returns everything that was told.
fn follow(server: &Server, document: &Document, run: &Value) -> Vec<(String, Value)> {
    let id = run["id"].as_str().unwrap();
    let events: Vec<_> = server
        .events(&format!("/api/v1/runs/{id}/events"))
        .collect();
    for (name, data) in &events {
        let schema = match name.as_str() {
            "progress" => "ProgressEvent",
            "metric" => "MetricEvent",
            "log" => "LogEvent",
            "end" => "EndEvent",
            other => panic!("an event `{other}`: {data}"),
        };
        document.validate_as(schema, data);
    }
    let (name, end) = events.last().unwrap();
    assert_eq!(name, "end");
    assert_eq!(end["run"]["status"], "finished", "{end}");
    events
}

fn end(events: &[(String, Value)]) -> &Value {
    &events.last().unwrap().1
}

fn prepare(server: &Server, document: &Document) {
    install(server, "recipe-gpt");
    let upload = Multipart::new()
        .file("train", "rows.jsonl", alphabet(64, 16).as_bytes())
        .file("dev", "rows.jsonl", alphabet(8, 16).as_bytes());
    let kind = upload.content_type();
    let (status, run) =
        server.put_bytes("/api/v1/datasets/letters/import", &kind, &upload.finish());
    assert_eq!(status, 202, "{run}");
    let events = follow(server, document, &run);
    assert_eq!(end(&events)["report"]["version"]["name"], "letters");

    let wanted = json!({"dataset": "letters#train", "columns": ["text"]});
    let (status, run) = server.post("/api/v1/tokenizers/letters/train", &wanted);
    assert_eq!(status, 202, "{run}");
    let events = follow(server, document, &run);
    let record = &end(&events)["report"];
    document.validate_as("TokenizerRecord", record);
    assert_eq!(
        record["vocabulary"], 13,
        "five special tokens and eight letters"
    );
    assert_eq!(end(&events)["run"]["inputs"][0]["name"], "letters@1#train");
}

/// Trains, registers and deploys under the name `letters`.
fn deploy(server: &Server, document: &Document) {
    let (status, run) = server.post("/api/v1/train", &tiny_training());
    assert_eq!(status, 202, "{run}");
    let events = follow(server, document, &run);
    let steps: Vec<i64> = events
        .iter()
        .filter(|(name, data)| name == "metric" && data["metric"] == "train/loss")
        .flat_map(|(_, data)| data["points"].as_array().unwrap().clone())
        .map(|point| point["step"].as_i64().unwrap())
        .collect();
    assert_eq!(steps, [5, 10, 15, 20, 25, 30], "every point once, in order");
    let run = end(&events)["run"].clone();
    let id = run["id"].as_str().unwrap();

    let (status, curve) = server.get(&format!("/api/v1/runs/{id}/metrics/train/loss"));
    assert_eq!(status, 200, "{curve}");
    document.validate_as("MetricHistory", &curve);
    assert_eq!(curve["points"].as_array().unwrap().len(), 6);
    let (_, buckets) = server.get(&format!("/api/v1/runs/{id}/metrics/train/loss?max=2"));
    assert_eq!(buckets["buckets"].as_array().unwrap().len(), 2, "{buckets}");
    assert_eq!(buckets["buckets"][1]["last_step"], 30, "{buckets}");

    let wanted = json!({"run": id, "description": "the first", "aliases": ["best"]});
    let (status, version) = server.post("/api/v1/models/letters/versions", &wanted);
    assert_eq!(status, 201, "{version}");
    assert_eq!(version["version"], 1);
    let (_, model) = server.get("/api/v1/models/letters@best");
    assert_eq!(model["version"]["digest"], version["digest"], "{model}");

    let wanted = json!({"name": "letters", "model": "letters@best"});
    let (status, deployment) = server.post("/api/v1/deployments", &wanted);
    assert_eq!(status, 201, "{deployment}");
    document.validate_as("Deployment", &deployment);
    assert_eq!(deployment["model"], "letters@1");
    assert_eq!(deployment["state"], "ready");
}

#[test]
fn from_raw_text_to_a_served_model() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let app = App::open(&root, common::options()).unwrap();
    let document = document(&app);
    let server = Server::of(app, Options::default());
    prepare(&server, &document);
    deploy(&server, &document);
    ask(&server);
    weights(&server);
    provenance(&server, &document);
    in_use(&server);
    complete(&server, &document);
    stream(&server, &document);
    refuse(&server);
    counted(&server);
    server.stop().unwrap();
    opened_again(&root);
}

fn ask(server: &Server) {
    let question = json!({"inputs": {"text": "abc"}, "parameters": {"max_tokens": 4}});
    let (status, answer) = server.post("/api/v1/deployments/letters/predict", &question);
    assert_eq!(status, 200, "{answer}");
    assert!(
        !answer["outputs"].as_array().unwrap().is_empty(),
        "{answer}"
    );
    let question = json!({"inputs": {"words": "abc"}});
    let (status, answer) = server.post("/api/v1/deployments/letters/predict", &question);
    assert_eq!(status, 400, "{answer}");
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("words"),
        "{answer}"
    );
}

fn weights(server: &Server) {
    let response = server
        .agent
        .get(server.url("/api/v1/models/letters@1/weights"))
        .call()
        .unwrap();
    let length = response.headers()["content-length"]
        .to_str()
        .unwrap()
        .to_owned();
    let name = response.headers()["content-disposition"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(name.contains("letters-1.safetensors"), "{name}");
    let mut bytes = Vec::new();
    response
        .into_body()
        .into_reader()
        .read_to_end(&mut bytes)
        .unwrap();
    assert_eq!(bytes.len().to_string(), length);
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    assert_eq!(header["wte.weight"]["shape"], json!([13, 32]), "{header}");
}

fn provenance(server: &Server, document: &Document) {
    let (_, graph) = server.get("/api/v1/models/letters@1/lineage");
    document.validate_as("LineageGraph", &graph);
    let labels: Vec<&str> = graph["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["label"].as_str().unwrap())
        .collect();
    for wanted in ["letters@1", "tenon/gpt@"] {
        assert!(
            labels.iter().any(|label| label.starts_with(wanted)),
            "{labels:?}"
        );
    }
    let (_, version) = server.get("/api/v1/datasets/letters");
    let digest = version["digest"].as_str().unwrap();
    let (status, lineage) = server.get(&format!("/api/v1/lineage/{digest}"));
    assert_eq!(status, 200, "{lineage}");
    document.validate_as("Lineage", &lineage);
    assert_eq!(lineage["made_by"][0]["kind"], "import", "{lineage}");
    let users = lineage["used_by"].as_array().unwrap();
    assert!(
        users.iter().any(|user| user["kind"] == "train"),
        "{lineage}"
    );
    let (status, runs) = server.get("/api/v1/runs?sort=created&ascending=true");
    assert_eq!(status, 200, "{runs}");
    let kinds: Vec<&str> = runs["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["import", "tokenize", "train"]);
    let ids: Vec<&str> = runs["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["id"].as_str().unwrap())
        .collect();
    let (_, comparison) = server.get(&format!("/api/v1/runs/compare?ids={}", ids.join(",")));
    document.validate_as("Comparison", &comparison);
    assert_eq!(comparison["runs"].as_array().unwrap().len(), 3);
}

fn in_use(server: &Server) {
    let delete = |path: &str| {
        let response = server.agent.delete(server.url(path)).call().unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().read_to_string().unwrap())
    };
    for path in [
        "/api/v1/models/letters",
        "/api/v1/models/letters@1",
        "/api/v1/plugins/tenon/gpt",
    ] {
        let (status, text) = delete(path);
        assert_eq!(status, 409, "{path}: {text}");
        assert!(text.contains("deployment `letters`"), "{path}: {text}");
    }
}

fn complete(server: &Server, document: &Document) {
    let wanted = json!({
        "model": "letters", "prompt": ["abc", "def"], "max_tokens": 4, "temperature": 0,
        "logprobs": 2, "n": 2, "echo": true,
    });
    let (status, answer) = server.post("/v1/completions", &wanted);
    assert_eq!(status, 200, "{answer}");
    document.validate_as("CompletionAnswer", &answer);
    let choices = answer["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 4, "{answer}");
    for (index, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], index);
        let text = choice["text"].as_str().unwrap();
        let prompt = if index < 2 { "abc" } else { "def" };
        assert!(text.starts_with(prompt), "{choice}");
        let logprobs = &choice["logprobs"];
        let tokens: Vec<&str> = logprobs["tokens"]
            .as_array()
            .unwrap()
            .iter()
            .map(|token| token.as_str().unwrap())
            .collect();
        let count = tokens.len();
        for list in ["token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(
                logprobs[list].as_array().unwrap().len(),
                count,
                "{list}: {choice}"
            );
        }
        let offsets: Vec<u64> = logprobs["text_offset"]
            .as_array()
            .unwrap()
            .iter()
            .map(|offset| offset.as_u64().unwrap())
            .collect();
        assert_eq!(offsets[..3], [0, 1, 2], "{choice}");
        let last = logprobs["top_logprobs"][2].as_object().unwrap();
        assert_eq!(last.len(), 2, "two alternatives: {choice}");
        assert!(
            last.values().all(|log| log.as_f64().unwrap() <= 0.0),
            "{choice}"
        );
    }
    let usage = &answer["usage"];
    let sum =
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);

    // The same prompt as token ids.
    let texts = json!({"texts": ["abc"]});
    let (_, encoded) = server.post("/api/v1/tokenizers/letters/encode", &texts);
    let ids = encoded["ids"][0].clone();
    let (_, decoded) = server.post("/api/v1/tokenizers/letters/decode", &json!({"ids": [ids]}));
    assert_eq!(decoded["texts"], json!(["abc"]));
    let greedy = |prompt: Value| {
        let wanted =
            json!({"model": "letters", "prompt": prompt, "max_tokens": 4, "temperature": 0});
        let (status, answer) = server.post("/v1/completions", &wanted);
        assert_eq!(status, 200, "{answer}");
        answer["choices"].clone()
    };
    let by_text = greedy(json!("abc"));
    assert_eq!(by_text, greedy(encoded["ids"][0].clone()));
    assert_eq!(by_text, greedy(json!([encoded["ids"][0]])));
    assert_eq!(by_text[0]["finish_reason"], "length", "{by_text}");
    let text = by_text[0]["text"].as_str().unwrap();
    assert_eq!(text.chars().count(), 4, "{by_text}");
    let stop = text.chars().nth(1).unwrap().to_string();
    let wanted = json!({"model": "letters", "prompt": "abc", "max_tokens": 4, "temperature": 0, "stop": [stop]});
    let (_, stopped) = server.post("/v1/completions", &wanted);
    let choice = &stopped["choices"][0];
    assert_eq!(choice["finish_reason"], "stop", "{stopped}");
    let before = text.split(&stop).next().unwrap();
    assert_eq!(choice["text"], before, "{stopped}");
}

fn stream(server: &Server, document: &Document) {
    let pieces = |wanted: Value| {
        let response = server
            .agent
            .post(server.url("/v1/completions"))
            .send_json(wanted)
            .unwrap();
        assert_eq!(response.status(), 200);
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        let mut events: Vec<_> = sse(response.into_body().into_reader()).collect();
        let (name, last) = events.pop().unwrap();
        assert_eq!((name.as_str(), last.as_str()), ("", "[DONE]"));
        let pieces: Vec<Value> = events
            .iter()
            .map(|(_, data)| serde_json::from_str(data).unwrap())
            .collect();
        for piece in &pieces {
            document.validate_as("CompletionAnswer", piece);
            assert_eq!(piece["id"], pieces[0]["id"]);
        }
        pieces
    };
    let wanted = json!({
        "model": "letters", "prompt": ["abc", "def"], "max_tokens": 6, "temperature": 0,
        "stream": true, "stream_options": {"include_usage": true},
    });
    let with_usage = pieces(wanted.clone());
    let (last, others) = with_usage.split_last().unwrap();
    assert_eq!(last["choices"], json!([]), "{last}");
    assert_eq!(last["usage"]["completion_tokens"], 12, "{last}");
    assert!(
        others
            .iter()
            .all(|piece| piece.get("usage") == Some(&Value::Null)),
        "{others:?}"
    );
    for (index, prompt) in ["abc", "def"].into_iter().enumerate() {
        let of = others
            .iter()
            .flat_map(|piece| piece["choices"].as_array().unwrap())
            .filter(|choice| choice["index"] == index);
        let text: String = of
            .clone()
            .map(|choice| choice["text"].as_str().unwrap())
            .collect();
        let reasons: Vec<&Value> = of.map(|choice| &choice["finish_reason"]).collect();
        let (last, before) = reasons.split_last().unwrap();
        assert_eq!(*last, "length");
        assert!(before.len() > 1, "more than one piece: {others:?}");
        assert!(before.iter().all(|reason| reason.is_null()), "{reasons:?}");
        let whole =
            json!({"model": "letters", "prompt": prompt, "max_tokens": 6, "temperature": 0});
        let (_, whole) = server.post("/v1/completions", &whole);
        assert_eq!(whole["choices"][0]["text"], text);
    }
    let mut without = wanted;
    without.as_object_mut().unwrap().remove("stream_options");
    let without = pieces(without);
    assert!(
        without.iter().all(|piece| piece.get("usage").is_none()),
        "{without:?}"
    );

    let (_, models) = server.get("/v1/models");
    document.validate_as("ModelsAnswer", &models);
    assert_eq!(models["data"][0]["id"], "letters");
    let (status, model) = server.get("/v1/models/letters");
    assert_eq!((status, &model["object"]), (200, &json!("model")));
}

fn refuse(server: &Server) {
    let (status, answer) = server.get("/v1/models/gpt-4");
    assert_eq!(
        (status, &answer["error"]["code"]),
        (404, &json!("model_not_found")),
        "{answer}"
    );
    let prompt = json!("abc");
    for (wanted, expected, param, word) in [
        (
            json!({"model": "gpt-4", "prompt": prompt}),
            404,
            json!("model"),
            "gpt-4",
        ),
        (
            json!({"model": "gpt-4", "prompt": prompt, "stream": true}),
            404,
            json!("model"),
            "gpt-4",
        ),
        (
            json!({"model": "letters", "prompt": prompt, "max_tokens": 4, "presence_penalty": 1}),
            400,
            json!("presence_penalty"),
            "penalty",
        ),
        (
            json!({"model": "letters", "prompt": prompt, "logit_bias": {"5": 100}}),
            400,
            json!("logit_bias"),
            "logit_bias",
        ),
        (
            json!({"model": "letters", "prompt": prompt, "n": 0}),
            400,
            Value::Null,
            "n is 0",
        ),
        (
            json!({"model": "letters", "prompt": prompt, "n": 0, "stream": true}),
            400,
            Value::Null,
            "n is 0",
        ),
        (
            json!({"model": "letters", "prompt": []}),
            400,
            Value::Null,
            "token",
        ),
        (
            json!({"model": "letters", "prompt": {}}),
            422,
            Value::Null,
            "`prompt` must be",
        ),
        (
            json!({"model": "letters", "prompt": prompt, "tempratur": 1}),
            422,
            Value::Null,
            "tempratur",
        ),
        (
            json!({"model": "letters", "prompt": prompt, "temperature": -1}),
            400,
            Value::Null,
            "temperature",
        ),
        (
            json!({"model": "letters", "prompt": [999_999]}),
            400,
            Value::Null,
            "999999",
        ),
    ] {
        let (status, answer) = server.post("/v1/completions", &wanted);
        let error = &answer["error"];
        assert_eq!(status, expected, "{wanted}: {answer}");
        assert_eq!(error["type"], "invalid_request_error", "{wanted}: {answer}");
        assert_eq!(error["param"], param, "{wanted}: {answer}");
        assert!(error["code"].is_string(), "{answer}");
        assert!(
            error["message"].as_str().unwrap().contains(word),
            "{wanted}: {answer}"
        );
    }
}

fn counted(server: &Server) {
    let (status, text) = server.get("/metrics");
    let text = text.as_str().unwrap();
    assert_eq!(status, 200);
    let value = |sample: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(sample));
        let line = line.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
        line.trim().parse().unwrap()
    };
    assert_eq!(value("tenon_runs{status=\"finished\"}"), 3.0);
    assert_eq!(value("tenon_deployment_ready{deployment=\"letters\"}"), 1.0);
    let generated =
        value("tenon_deployment_tokens_total{deployment=\"letters\",kind=\"generated\"}");
    assert!(generated >= 24.0, "{generated}");
    let route = "method=\"POST\",route=\"/v1/completions\"";
    let good = value(&format!(
        "tenon_http_requests_total{{{route},status=\"200\"}}"
    ));
    assert!(good >= 8.0, "{good}");
    assert!(value("process_resident_memory_bytes") > 1e6);
    let (_, status) = server.get("/api/v1/status");
    assert_eq!(status["counts"]["models"], 1, "{status}");
    assert_eq!(
        status["counts"]["deployments"],
        json!({"ready": 1}),
        "{status}"
    );
}

/// What was deployed answers again when the folder is opened again, also while it is still loading.
fn opened_again(root: &Path) {
    let server = Server::start(root, Options::default());
    let wanted = json!({"model": "letters", "prompt": "abc", "max_tokens": 2, "temperature": 0});
    let (status, answer) = server.post("/v1/completions", &wanted);
    assert_eq!(status, 200, "{answer}");
    let delete = server
        .agent
        .delete(server.url("/api/v1/deployments/letters"))
        .call()
        .unwrap();
    assert_eq!(delete.status(), 200);
    let (_, list) = server.get("/api/v1/deployments");
    assert_eq!(list["deployments"], json!([]));
    let (status, answer) = server.post("/v1/completions", &wanted);
    assert_eq!(status, 404, "{answer}");
    server.stop().unwrap();
}
