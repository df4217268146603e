//! From raw text to a served model, over a socket: what a client in any language does.

use std::io::Read;
use std::path::Path;

use crate::common::Document;
use crate::common::path::{deploy, document, prepare};
use crate::common::server::Server;
use serde_json::{Value, json};
use tenon_api::{App, Options};

#[test]
fn from_raw_text_to_a_served_model() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let app = App::open(&root, crate::common::options()).unwrap();
    let document = document(&app);
    let server = Server::of(app, Options::default());
    prepare(&server, &document);
    deploy(&server, &document);
    ask(&server);
    weights(&server);
    provenance(&server, &document);
    in_use(&server);
    complete(&server);
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

fn complete(server: &Server) {
    let wanted = json!({"model": "letters", "prompt": "abc", "max_tokens": 6, "min_tokens": 6});
    let (status, answer) = server.post("/v1/completions", &wanted);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["usage"]["completion_tokens"], 6, "{answer}");
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
    assert!(generated >= 6.0, "{generated}");
    let route = "method=\"POST\",route=\"/v1/completions\"";
    let good = value(&format!(
        "tenon_http_requests_total{{{route},status=\"200\"}}"
    ));
    assert_eq!(good, 1.0);
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
