//! What serving costs: `cargo bench -p tenon-serve --bench serving`.
//!
//! - requests and tokens a second of a small GPT (4 layers, d 256, 4 heads, vocabulary 4096; 16 tokens in,
//!   32 out, greedy) with 1, 8 and 32 clients that ask again as soon as they are answered;
//! - what a processor's calls (pre- and postprocessing) add to a request.
//!
//! The components must be built: `cargo xtask plugins`. `TENON_BENCH_DEVICE` names another device.
#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{Place, models, probe};
use tenon_plugin::{
    Grants, ProcessorPool,
    processor::{Candidate, Finish, Output},
};
use tenon_serve::{DeploymentSpec, Deployments, GenerationSpec};

/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(4);
const TOKENS: u32 = 32;

fn main() {
    let place =
        models::place_on(&std::env::var("TENON_BENCH_DEVICE").unwrap_or_else(|_| "cpu".into()));
    println!("device: {}", place.platform.device().unwrap());
    generation(&place);
    processor(&place);
}

fn generation(place: &Place) {
    // 4091 characters and five special tokens.
    let alphabet: String = ('一'..).take(4091).collect();
    let config = json!({"n_layer": 4, "n_embd": 256, "n_head": 4, "n_positions": 64});
    let tokenizer = models::characters(&alphabet);
    assert_eq!(tokenizer.vocabulary(), 4096);
    let model = place.register("bench", "recipe-gpt", &config, Some(tokenizer), 1.0);
    let deployments = Deployments::open(place.platform.clone()).unwrap();
    deployments
        .deploy(DeploymentSpec::new("bench", &model))
        .unwrap();
    let prompts: Vec<String> = (0..64)
        .map(|at| alphabet.chars().skip(at * 60).take(15).collect())
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for clients in [1, 8, 32] {
        let parameters = GenerationSpec {
            max_tokens: Some(TOKENS),
            min_tokens: Some(TOKENS),
            ..GenerationSpec::default()
        };
        let bodies: Arc<Vec<Value>> = Arc::new(
            prompts
                .iter()
                .map(|text| json!({"inputs": {"text": text}, "parameters": parameters}))
                .collect(),
        );
        let (requests, time) = runtime.block_on(load(&deployments, clients, bodies));
        let rate = requests as f64 / time.as_secs_f64();
        println!(
            "{:<44} {rate:>9.1} requests/s {:>9.0} tokens/s {:>8.1} ms each",
            format!(
                "gpt, {clients} client{}",
                if clients == 1 { "" } else { "s" }
            ),
            rate * f64::from(TOKENS),
            clients as f64 / rate * 1e3,
        );
    }
    deployments.shutdown();
}

/// Clients that ask again as soon as they are answered.
async fn load(
    deployments: &Deployments,
    clients: usize,
    bodies: Arc<Vec<Value>>,
) -> (usize, Duration) {
    let done = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (deployments, bodies, done) = (deployments.clone(), bodies.clone(), done.clone());
            tokio::spawn(async move {
                let mut at = client;
                while start.elapsed() < MEASURED {
                    let body = bodies[at % bodies.len()].clone();
                    deployments.predict("bench", body).await.unwrap();
                    done.fetch_add(1, Relaxed);
                    at += clients;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    (done.load(Relaxed), start.elapsed())
}

fn processor(place: &Place) {
    let spec = probe(place, json!({"stages": ["preprocess", "postprocess"]}));
    let component = place.install("testing-probe-processor");
    let tokenizer = models::characters("abcdefgh");
    let granted = tokenizer.clone();
    let grants = move || Grants {
        tokenizer: Some(granted.clone()),
        ..Grants::default()
    };
    let pool = ProcessorPool::new(&component, &spec.config, grants, 2).unwrap();
    let body = json!({"prompt": "abcdefgh"}).to_string();
    let output = || {
        Output::Generated(vec![Candidate {
            text: "abcdefgh".into(),
            tokens: vec![7; 8],
            log_probability: -3.0,
            finish: Finish::Stop,
        }])
    };
    let output = output();
    let mut calls = 0_u32;
    let start = Instant::now();
    while start.elapsed() < MEASURED / 4 {
        let prepared = pool.with(|processor| processor.preprocess(&body)).unwrap();
        pool.with(|processor| processor.postprocess(&prepared.context, &output))
            .unwrap();
        calls += 1;
    }
    let each = start.elapsed() / calls;
    println!(
        "{:<44} {:>9.1} µs",
        "a processor's calls, pre + post",
        each.as_secs_f64() * 1e6
    );

    // The same through a deployment whose model does next to nothing.
    let model = place.register(
        "probe",
        "testing-probe-recipe",
        &json!({}),
        Some(tokenizer),
        1.0,
    );
    let deployments = Deployments::open(place.platform.clone()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut times = Vec::new();
    for processor in [None, Some(spec)] {
        let body = match processor {
            None => json!({"inputs": {"text": "abcdefgh"}}),
            Some(_) => json!({"prompt": "abcdefgh"}),
        };
        let with = processor.is_some();
        let generation = GenerationSpec {
            max_tokens: Some(1),
            ..GenerationSpec::default()
        };
        deployments
            .deploy(DeploymentSpec {
                processor,
                generation,
                ..DeploymentSpec::new("bench", &model)
            })
            .unwrap();
        let (requests, time) = runtime.block_on(load(&deployments, 1, Arc::new(vec![body])));
        let each = time.as_secs_f64() / requests as f64;
        times.push(each);
        let name = if with {
            "with a processor"
        } else {
            "without a processor"
        };
        println!(
            "{:<44} {:>9.1} µs",
            format!("a request of one token, {name}"),
            each * 1e6
        );
    }
    println!(
        "{:<44} {:>9.1} µs",
        "the difference",
        (times[1] - times[0]) * 1e6
    );
    deployments.shutdown();
}
