//! The way from raw text to a served model, step by step.

use serde_json::{Value, json};
use tenon_api::{Access, App, Options, router};

use super::server::Server;
use super::{Document, Multipart, alphabet, component, tiny_training};

/// The document, from the same router.
pub fn document(app: &App) -> Document {
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

pub fn install(server: &Server, name: &str) {
    let (status, plugin) =
        server.put_bytes("/api/v1/plugins", "application/wasm", &component(name));
    assert_eq!(status, 201, "{plugin}");
}

/// Follows a run to its end and returns everything that was told.
pub fn follow(server: &Server, document: &Document, run: &Value) -> Vec<(String, Value)> {
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

pub fn end(events: &[(String, Value)]) -> &Value {
    &events.last().unwrap().1
}

pub fn prepare(server: &Server, document: &Document) {
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
pub fn deploy(server: &Server, document: &Document) -> Value {
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
    deployment
}
