//! The OpenAPI document, and answers compared with it.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Answer, answer};

pub struct Document(pub Value);

impl Document {
    pub async fn fetch(router: &Router) -> Self {
        let request = Request::get("/api/v1/openapi.json")
            .header("host", "localhost")
            .body(Body::empty())
            .unwrap();
        let answer = answer(router.clone().oneshot(request).await.unwrap()).await;
        Self(answer.expect(200))
    }

    /// The path of the document that a request's path means.
    pub fn path_of(&self, path: &str) -> Option<String> {
        let parts: Vec<&str> = path.split('/').collect();
        let paths = self.0["paths"].as_object().unwrap().keys();
        let fits = |pattern: &&String| {
            let pattern: Vec<&str> = pattern.split('/').collect();
            // What takes slashes stands last.
            let longer = parts.len() > pattern.len()
                && ["{metric}", "{path}"].contains(pattern.last().unwrap());
            (parts.len() == pattern.len() || longer)
                && pattern
                    .iter()
                    .zip(&parts)
                    .all(|(pattern, part)| pattern.starts_with('{') || pattern == part)
        };
        // Like the router: words before patterns.
        paths
            .filter(fits)
            .min_by_key(|pattern| pattern.matches('{').count())
            .cloned()
    }

    /// Compares an answer with what the document says about it.
    #[track_caller]
    pub fn check(&self, method: &Method, path: &str, answer: &Answer) {
        let Some(pattern) = self.path_of(path) else {
            return;
        };
        let method = method.as_str().to_ascii_lowercase();
        let Some(operation) = self.0["paths"][&pattern].get(&method) else {
            return;
        };
        let responses = &operation["responses"];
        let status = answer.status.as_u16().to_string();
        let said = responses
            .get(&status)
            .or_else(|| (!answer.status.is_success()).then(|| responses.get("default"))?)
            .unwrap_or_else(|| panic!("{method} {pattern} does not announce {status}"));
        let kind = answer.headers["content-type"].to_str().unwrap();
        let kind = kind.split(';').next().unwrap();
        let content = said["content"].get(kind);
        let content = content
            .or_else(|| said["content"].get("application/octet-stream"))
            .unwrap_or_else(|| panic!("{method} {pattern} {status} does not announce {kind}"));
        if kind == "application/json" && said["content"].get(kind).is_some() {
            self.validate(
                &content["schema"],
                &answer.json(),
                &format!("{method} {pattern}"),
            );
        }
    }

    /// Compares a value with a schema of the document.
    #[track_caller]
    pub fn validate(&self, schema: &Value, value: &Value, what: &str) {
        let mut schema = schema.clone();
        schema["components"] = self.0["components"].clone();
        let validator = jsonschema::draft202012::new(&schema)
            .unwrap_or_else(|error| panic!("{what}: the schema: {error}"));
        let faults: Vec<String> = validator
            .iter_errors(value)
            .map(|fault| format!("{}: {fault}", fault.instance_path()))
            .collect();
        assert!(faults.is_empty(), "{what}: {faults:#?}\n{value:#}");
    }

    /// Compares a value with a named schema of the document.
    #[track_caller]
    pub fn validate_as(&self, name: &str, value: &Value) {
        let reference = json!({"$ref": format!("#/components/schemas/{name}")});
        self.validate(&reference, value, name);
    }
}
