//! Deployments for tests.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

#[path = "../../../model/tests/support/mod.rs"]
pub mod models;

use std::time::{Duration, Instant};

#[allow(unused_imports)] // Each test and bench uses some of them.
pub use models::{Place, characters, gpt, place};
use serde_json::{Value, json};
use tenon_serve::{
    Deployment, DeploymentSpec, DeploymentState, Deployments, GenerationSpec, ProcessorSpec,
    ServeError,
};

pub const TEXT: &str = "床前明月光疑是地上霜举头望低思故乡";
pub const PROMPTS: [&str; 5] = ["床", "举头望明月", "霜上地", "明月光疑是地上霜举头", "思"];

/// A small GPT, deployed as `poems`.
pub fn poems(place: &Place, change: impl FnOnce(&mut DeploymentSpec)) -> Deployments {
    let model = place.register("poems", "recipe-gpt", &gpt(24), Some(characters(TEXT)), 8.0);
    deploy(place, &model, change)
}

/// A model without a longest sequence, deployed as `poems`: it can be kept busy for any time.
pub fn endless(place: &Place, change: impl FnOnce(&mut DeploymentSpec)) -> Deployments {
    let config = json!({"context": 0});
    let tokenizer = characters("abcdefgh");
    let model = place.register(
        "endless",
        "testing-probe-recipe",
        &config,
        Some(tokenizer),
        1.0,
    );
    deploy(place, &model, change)
}

pub fn deploy(place: &Place, model: &str, change: impl FnOnce(&mut DeploymentSpec)) -> Deployments {
    let deployments = Deployments::open(place.platform.clone()).unwrap();
    let mut spec = DeploymentSpec::new("poems", model);
    change(&mut spec);
    deployments.deploy(spec).unwrap();
    deployments
}

/// The probe as the deployment's processor.
pub fn probe(place: &Place, config: Value) -> ProcessorSpec {
    place.install("testing-probe-processor");
    ProcessorSpec {
        config,
        call_seconds: 0.5,
        ..ProcessorSpec::new("testing/probe-processor")
    }
}

pub fn most(max_tokens: u32) -> GenerationSpec {
    GenerationSpec {
        max_tokens: Some(max_tokens),
        ..GenerationSpec::default()
    }
}

/// A body without a processor.
pub fn body(text: &str, parameters: &GenerationSpec) -> Value {
    json!({"inputs": {"text": text}, "parameters": parameters})
}

/// Waits until it holds; a minute at most.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub fn state(deployments: &Deployments) -> DeploymentState {
    deployments.get("poems").unwrap().state
}

pub fn poems_of(deployments: &Deployments) -> Deployment {
    deployments.get("poems").unwrap()
}

pub fn is_busy(error: &ServeError) -> bool {
    matches!(error, ServeError::Busy { .. })
}
