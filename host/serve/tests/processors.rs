//! Processors between clients and the model: what they say holds, and what they do wrong hits only the
//! request that it is done to.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use futures::{StreamExt, future::join_all};
use serde_json::{Value, json};
use support::{characters, deploy, most, place, poems_of, probe, until};
use tenon_data::{Control, ImportInput, ImportOptions};
use tenon_plugin::PluginError;
use tenon_serve::{
    CompletionEvent, CompletionRequest, DeploymentSpec, Deployments, ProcessorSpec, ServeError,
};

fn served(place: &support::Place, config: Value) -> Deployments {
    let tokenizer = characters("abcdefgh");
    let model = place.register(
        "probe",
        "testing-probe-recipe",
        &json!({"context": 0}),
        Some(tokenizer),
        1.0,
    );
    let processor = probe(place, config);
    deploy(place, &model, |spec| {
        spec.processor = Some(processor);
        spec.generation = most(12);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_decides_what_comes_in_what_is_allowed_and_what_goes_out() {
    let place = place();
    let deployments = served(&place, json!({}));
    let body = json!({"prompt": "ab", "only": "ch", "length": 5, "generation": {"count": 3, "temperature": 1.0, "seed": 8}});
    let answer = deployments.predict("poems", body.clone()).await.unwrap();
    assert_eq!(answer["prompt"], "ab");
    let answers = answer["answers"].as_array().unwrap();
    assert_eq!(answers.len(), 3);
    for one in answers {
        let text = one["text"].as_str().unwrap();
        assert_eq!((text.len(), &one["finish"]), (5, &json!("constraint")));
        assert!(text.chars().all(|c| c == 'c' || c == 'h'), "{text}");
    }
    assert_eq!(deployments.predict("poems", body).await.unwrap(), answer);
    // The deployment's default holds where neither request nor processor says anything.
    let answer = deployments
        .predict("poems", json!({"prompt": "a", "only": "c"}))
        .await
        .unwrap();
    assert_eq!(answer["answers"][0]["text"], "c".repeat(12));
    let deployment = poems_of(&deployments);
    assert_eq!(
        deployment.processor.unwrap().name,
        "testing/probe-processor"
    );
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_goes_through_the_processor() {
    let place = place();
    let deployments = served(&place, json!({}));
    let request = CompletionRequest {
        max_tokens: Some(12),
        min_tokens: Some(12),
        temperature: Some(1.0),
        seed: Some(1),
        ..CompletionRequest::text("ab")
    };
    let mut stream = deployments
        .complete("poems", request.clone())
        .await
        .unwrap();
    let mut pieces = Vec::new();
    while let Some(event) = stream.next().await {
        if let CompletionEvent::Text { text, .. } = event.unwrap() {
            pieces.push(text);
        }
    }
    // Every piece goes through the filter.
    assert!(!pieces.is_empty() && pieces.len() <= 12);
    assert!(
        pieces
            .iter()
            .all(|piece| piece.starts_with('[') && piece.ends_with(']')),
        "{pieces:?}"
    );
    deployments.shutdown();
    let raw = served(&place, json!({"stages": ["constrain"]}));
    let found = raw
        .complete("poems", request)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    let bare: String = pieces
        .iter()
        .map(|piece| piece.trim_matches(['[', ']']))
        .collect();
    assert_eq!(found.choices[0].text, bare);
    raw.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_without_a_tokenizer_or_a_generation() {
    let place = place();
    let model = place.register(
        "linear",
        "testing-probe-recipe",
        &json!({"kind": "linear"}),
        None,
        1.0,
    );
    let processor = probe(&place, json!({}));
    let deployments = deploy(&place, &model, |spec| spec.processor = Some(processor));
    let answer = deployments
        .predict("poems", json!({"x": [1, 2, 3, 4]}))
        .await
        .unwrap();
    assert_eq!(answer["answers"][0]["name"], "y");
    assert_eq!(answer["answers"][0]["values"].as_array().unwrap().len(), 3);
    let error = deployments
        .predict("poems", json!({"prompt": "a"}))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no column `text`; it reads `x`"),
        "{error}"
    );
    deployments.shutdown();
}

fn plugin(error: &ServeError) -> &PluginError {
    error.plugin().unwrap_or_else(|| panic!("{error:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_processor_does_wrong_hits_one_request() {
    let place = place();
    let deployments = served(&place, json!({}));
    let good = json!({"prompt": "ab", "only": "ch", "length": 5});
    let expected = deployments.predict("poems", good.clone()).await.unwrap();
    for stage in ["preprocess", "constrain", "postprocess"] {
        for does in ["refuse", "panic", "loop"] {
            let bad = json!({"prompt": "ab", "in": stage, "does": does});
            // Among others, twice: a lost instance is replaced.
            for _ in 0..2 {
                let bodies = [&good, &good, &bad, &good, &good];
                let answers =
                    join_all(bodies.map(|body| deployments.predict("poems", body.clone()))).await;
                for (at, answer) in answers.into_iter().enumerate() {
                    if at != 2 {
                        assert_eq!(answer.unwrap(), expected, "{stage} {does}");
                        continue;
                    }
                    let error = answer.unwrap_err();
                    let found = plugin(&error);
                    let report = found.report();
                    assert_eq!(
                        (report.plugin.as_str(), report.phase.as_str()),
                        ("testing/probe-processor", stage)
                    );
                    let (kind, words) = match does {
                        "refuse" => ("invalid-argument", format!("{stage} does not like this")),
                        "panic" => ("trap", format!("{stage} panics")),
                        _ => ("timeout", "500 ms".to_owned()),
                    };
                    assert_eq!(found.kind(), kind, "{error}");
                    assert!(report.message.contains(&words), "{error}");
                    assert_eq!(
                        error.is_callers_fault(),
                        stage == "preprocess" && does == "refuse"
                    );
                }
            }
        }
    }
    let bad = json!({"prompt": "ab", "in": "constrain", "does": "token"});
    let bodies = [&good, &bad, &good];
    let mut answers = join_all(bodies.map(|body| deployments.predict("poems", body.clone()))).await;
    let error = answers.remove(1).unwrap_err();
    assert!(error.to_string().contains("token 4294967295"), "{error}");
    for answer in answers {
        assert_eq!(answer.unwrap(), expected);
    }
    let counters = poems_of(&deployments).counters;
    assert_eq!((counters.errors, counters.in_flight), (19, 0));
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_loops_at_once_do_not_hold_up_the_others_for_long() {
    let place = place();
    let deployments = served(&place, json!({}));
    let bad = json!({"prompt": "ab", "in": "constrain", "does": "loop"});
    let good = json!({"prompt": "ab", "only": "c", "length": 5});
    let start = Instant::now();
    let bodies: Vec<&Value> = std::iter::repeat_n(&bad, 10).chain([&good]).collect();
    let answers = join_all(
        bodies
            .into_iter()
            .map(|body| deployments.predict("poems", body.clone())),
    )
    .await;
    let failed = answers.iter().filter(|answer| answer.is_err()).count();
    assert!(failed >= 10);
    // Not the 5.5 s that asking each of them would take.
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    deployments.predict("poems", good).await.unwrap();
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_fails_ends_the_stream() {
    let place = place();
    let deployments = served(&place, json!({"stages": ["filter"], "forbids": "c"}));
    let request = CompletionRequest {
        max_tokens: Some(100_000_000),
        min_tokens: Some(100_000_000),
        temperature: Some(1.0),
        ..CompletionRequest::text("ab")
    };
    let stream = deployments.complete("poems", request).await.unwrap();
    let events: Vec<_> = StreamExt::collect(stream).await;
    let (last, others) = events.split_last().unwrap();
    assert!(
        others
            .iter()
            .all(|event| matches!(event, Ok(CompletionEvent::Text { .. })))
    );
    let error = last.as_ref().unwrap_err();
    assert_eq!(plugin(error).report().phase, "filter");
    assert!(
        error.to_string().contains("filter does not pass this on"),
        "{error}"
    );
    // Nothing goes on for it.
    until("it is gone", || {
        poems_of(&deployments).counters.in_flight == 0
    })
    .await;
    assert_eq!(poems_of(&deployments).counters.errors, 1);
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_processor_reads_what_it_was_granted_and_nothing_else() {
    let place = place();
    let rows = "{\"word\": \"a\"}\n{\"word\": \"b\"}\n{\"word\": \"c\"}\n";
    let import = |rows: &'static str| {
        let input = ImportInput::stream("words.jsonl", std::io::Cursor::new(rows));
        let options = ImportOptions::default();
        place
            .platform
            .datasets
            .import("words", vec![input], &options, &Control::new())
            .unwrap();
    };
    import(rows);
    let counting = probe(&place, json!({"counts": true}));
    let model = place.register(
        "probe",
        "testing-probe-recipe",
        &json!({}),
        Some(characters("abc")),
        1.0,
    );
    let deployments = Deployments::open(place.platform.clone()).unwrap();
    let spec = |processor: ProcessorSpec| DeploymentSpec {
        processor: Some(processor),
        ..DeploymentSpec::new("poems", &model)
    };
    let grant = |name: &str, reference: &str| ProcessorSpec {
        datasets: [(name.to_owned(), reference.to_owned())].into(),
        ..counting.clone()
    };
    let error = deployments.deploy(spec(counting.clone())).unwrap_err();
    assert!(error.to_string().contains("dataset:words"), "{error}");
    let error = deployments
        .deploy(spec(grant("word", "words")))
        .unwrap_err();
    assert!(
        error.to_string().contains("grants `word`") && error.to_string().contains("dataset:words"),
        "{error}"
    );
    let error = deployments
        .deploy(spec(grant("words", "wordz")))
        .unwrap_err();
    assert_eq!(error.kind(), "not-found");
    let error = deployments
        .deploy(spec(ProcessorSpec {
            config: json!({"count": 1}),
            ..grant("words", "words")
        }))
        .unwrap_err();
    assert!(matches!(plugin(&error), PluginError::Config(_)), "{error}");
    let error = deployments
        .deploy(spec(ProcessorSpec {
            plugin: "testing/probe-recipe".into(),
            ..counting.clone()
        }))
        .unwrap_err();
    assert!(error.to_string().contains("is a recipe"), "{error}");
    assert!(deployments.list().is_empty());
    let deployment = deployments.deploy(spec(grant("words", "words"))).unwrap();
    assert_eq!(
        deployments.using_plugin(&deployment.processor.unwrap().digest),
        ["poems"]
    );
    let ask = || {
        deployments.predict(
            "poems",
            json!({"prompt": "a", "generation": {"max_tokens": 1}}),
        )
    };
    assert_eq!(ask().await.unwrap()["rows"], 3);
    // A version that is imported later is not what was granted; not after a restart either.
    import("{\"word\": \"a\"}\n");
    deployments.shutdown();
    drop(deployments);
    let place = place.reopen();
    let deployments = Deployments::open(place.platform.clone()).unwrap();
    let answer = deployments
        .predict(
            "poems",
            json!({"prompt": "a", "generation": {"max_tokens": 1}}),
        )
        .await
        .unwrap();
    assert_eq!(answer["rows"], 3);
    deployments.shutdown();
}
