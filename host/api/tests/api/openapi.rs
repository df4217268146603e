//! The OpenAPI document: complete, consistent, and made from the routes themselves.

use std::collections::BTreeSet;

use crate::common::place;
use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

/// Every `$ref` below a value.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                found.push(reference);
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_reference_resolves_and_every_operation_is_described() {
    let place = place().await;
    let document = &place.document.0;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(found.len() > 100, "{} references", found.len());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(
            document.pointer(pointer).is_some(),
            "{reference} leads nowhere"
        );
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(!path.contains('*'), "{path}");
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{what} has no summary");
            assert!(!operation["tags"].as_array().unwrap().is_empty(), "{what}");
            // What stands in the path is described, and nothing else.
            let in_path: BTreeSet<&str> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            let parameters = operation["parameters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let described: BTreeSet<&str> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(in_path, described, "{what}");
            let success = operation["responses"].as_object().unwrap();
            assert!(
                success.keys().any(|status| status.starts_with('2')),
                "{what}"
            );
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{what}: `{id}` is used twice");
        }
    }
}

#[tokio::test]
async fn every_schema_is_one() {
    let place = place().await;
    for (name, schema) in place.document.0["components"]["schemas"]
        .as_object()
        .unwrap()
    {
        let mut schema = schema.clone();
        schema["components"] = place.document.0["components"].clone();
        jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn every_described_route_is_there_and_nothing_else() {
    let place = place().await;
    let paths = place.document.0["paths"].as_object().unwrap();
    for wanted in [
        "/health",
        "/metrics",
        "/api/v1/status",
        "/api/v1/devices",
        "/api/v1/store/verify",
        "/api/v1/store/sweep",
        "/api/v1/plugins",
        "/api/v1/plugins/check",
        "/api/v1/plugins/{digest}",
        "/api/v1/plugins/{owner}/{plugin}",
        "/api/v1/datasets",
        "/api/v1/datasets/{dataset}",
        "/api/v1/datasets/{dataset}/versions",
        "/api/v1/datasets/{dataset}/preview",
        "/api/v1/datasets/{dataset}/import",
        "/api/v1/datasets/{dataset}/transform",
        "/api/v1/tokenizers",
        "/api/v1/tokenizers/{tokenizer}",
        "/api/v1/tokenizers/{tokenizer}/tokenizer.json",
        "/api/v1/tokenizers/{tokenizer}/train",
        "/api/v1/tokenizers/{tokenizer}/encode",
        "/api/v1/tokenizers/{tokenizer}/decode",
        "/api/v1/train",
        "/api/v1/evaluate",
        "/api/v1/runs",
        "/api/v1/runs/compare",
        "/api/v1/runs/{run}",
        "/api/v1/runs/{run}/metrics/{metric}",
        "/api/v1/runs/{run}/events",
        "/api/v1/runs/{run}/stop",
        "/api/v1/runs/{run}/resume",
        "/api/v1/runs/{run}/artifacts/{path}",
        "/api/v1/runs/{run}/lineage",
        "/api/v1/experiments",
        "/api/v1/experiments/{experiment}",
        "/api/v1/models",
        "/api/v1/models/{model}",
        "/api/v1/models/{model}/versions",
        "/api/v1/models/{model}/aliases/{alias}",
        "/api/v1/models/{model}/weights",
        "/api/v1/models/{model}/lineage",
        "/api/v1/lineage/{digest}",
        "/api/v1/deployments",
        "/api/v1/deployments/{deployment}",
        "/api/v1/deployments/{deployment}/predict",
        "/v1/completions",
        "/v1/models",
        "/v1/models/{model}",
    ] {
        assert!(paths.contains_key(wanted), "{wanted} is not described");
    }
    // Each is answered by its handler, and no other method is.
    let methods = ["get", "post", "put", "patch", "delete"];
    for (path, item) in paths {
        let concrete: String = path
            .split('/')
            .map(|part| {
                if part.starts_with('{') {
                    "nothing"
                } else {
                    part
                }
            })
            .collect::<Vec<_>>()
            .join("/");
        for method in methods {
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(&concrete)
                .body(Body::empty())
                .unwrap();
            let answer = place.ask(request).await;
            let described = item.get(method).is_some();
            let other = place.document.path_of(&concrete).unwrap() != *path;
            if described {
                assert_ne!(answer.status, 405, "{method} {path}");
            } else if !other {
                assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text());
            }
        }
    }
}
