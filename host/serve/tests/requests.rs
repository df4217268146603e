//! One deployment, many requests: what they ask, what they get, and when they go away.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use futures::{StreamExt, future::join_all};
use serde_json::{Value, json};
use support::{
    PROMPTS, body, deploy, endless, is_busy, models::bytes, most, place, poems, poems_of, until,
};
use tenon_model::Finish;
use tenon_serve::{
    Completed, Completion, CompletionEvent, CompletionPrompt, CompletionRequest, Deployments,
    GenerationSpec, ServeError,
};

fn request(text: &str, max_tokens: usize) -> CompletionRequest {
    CompletionRequest {
        max_tokens: Some(max_tokens),
        ..CompletionRequest::text(text)
    }
}

/// A stream that goes on for longer than any test.
async fn long(deployments: &Deployments) -> Completion {
    let request = CompletionRequest {
        min_tokens: Some(usize::MAX),
        ..request("a", 100_000_000)
    };
    deployments.complete("poems", request).await.unwrap()
}

async fn complete(deployments: &Deployments, request: CompletionRequest) -> Completed {
    let stream = deployments.complete("poems", request).await.unwrap();
    stream.collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_side_by_side_are_answered_as_alone() {
    let place = place();
    let deployments = poems(&place, |spec| spec.max_batch = 8);
    let mut bodies: Vec<Value> = Vec::new();
    for at in 0..40_usize {
        let parameters = match at % 4 {
            0 => most(7),
            1 => GenerationSpec {
                temperature: Some(1.0),
                seed: Some(at as u64),
                ..most(9)
            },
            2 => GenerationSpec {
                beams: Some(3),
                count: Some(2),
                ..most(5)
            },
            _ => GenerationSpec {
                temperature: Some(0.8),
                top_k: Some(6),
                count: Some(4),
                seed: Some(3),
                ..most(6)
            },
        };
        bodies.push(body(PROMPTS[at % 5], &parameters));
    }
    let mut alone = Vec::new();
    for body in &bodies {
        alone.push(deployments.predict("poems", body.clone()).await.unwrap());
    }
    let together = bodies
        .iter()
        .map(|body| deployments.predict("poems", body.clone()));
    for (found, expected) in join_all(together).await.into_iter().zip(&alone) {
        let (found, expected) = (found.unwrap(), expected);
        let (found, expected) = (
            found["outputs"].as_array().unwrap(),
            expected["outputs"].as_array().unwrap(),
        );
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(
                (&found["text"], &found["finish"]),
                (&expected["text"], &expected["finish"])
            );
            let difference = found["log_probability"].as_f64().unwrap()
                - expected["log_probability"].as_f64().unwrap();
            assert!(difference.abs() < 1e-3, "{difference}");
        }
    }
    let counters = poems_of(&deployments).counters;
    assert_eq!(
        (counters.requests, counters.errors, counters.in_flight),
        (80, 0, 0)
    );
    assert_eq!(counters.latency.count, 80);
    assert!(
        counters.tokens > 300 && counters.prompt_tokens > 160,
        "{counters:?}"
    );
    assert!(counters.latency.p50 > 0.0 && counters.latency.p50 <= counters.latency.p99);
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_body_says_is_checked() {
    let place = place();
    let deployments = poems(&place, |spec| {
        spec.generation = most(3);
        spec.max_batch = 4;
    });
    let answer = deployments
        .predict("poems", json!({"inputs": {"text": "床前"}}))
        .await
        .unwrap();
    let output = &answer["outputs"][0];
    assert!(output["text"].as_str().unwrap().chars().count() <= 3);
    assert!(output["log_probability"].as_f64().unwrap() < 0.0);
    // Token ids are as good as a text, and no column is as good as an empty one.
    let ids = characters_of(&place, "床前");
    let same = deployments
        .predict("poems", json!({"inputs": {"text": ids}}))
        .await
        .unwrap();
    assert_eq!(same, answer);
    let nothing = deployments
        .predict("poems", json!({"inputs": {}}))
        .await
        .unwrap();
    let empty = deployments
        .predict("poems", body("", &GenerationSpec::default()))
        .await
        .unwrap();
    assert_eq!(nothing, empty);
    for (body, words) in [
        (json!({"text": "a"}), "\"inputs\""),
        (
            json!({"inputs": {"txet": "a"}}),
            "no column `txet`; it reads `text`",
        ),
        (json!({"inputs": {"text": 7}}), "not a number"),
        (
            json!({"inputs": {"text": [1.5]}}),
            "column `text` takes a text or a list of token ids",
        ),
        (
            json!({"inputs": {"text": [1000]}}),
            "token 1000; the vocabulary has",
        ),
        (
            json!({"inputs": {"text": "a"}, "parameters": {"top_q": 1}}),
            "top_q",
        ),
        (
            json!({"inputs": {"text": "a"}, "parameters": {"temperature": -1.0}}),
            "temperature is -1",
        ),
        (
            json!({"inputs": {"text": "a"}, "parameters": {"beams": 5}}),
            "5 sequences side by side",
        ),
        (
            json!({"inputs": {"text": "床".repeat(30)}}),
            "8 tokens too long for the model, which can hold 24",
        ),
    ] {
        let error = deployments.predict("poems", body).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.is_callers_fault(), "{error:?}");
    }
    let error = deployments.predict("poem", json!({})).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_callers_fault()),
        ("not-found", true)
    );
    assert!(error.to_string().contains("there are: poems"), "{error}");
    assert_eq!(poems_of(&deployments).counters.errors, 9);
    deployments.shutdown();
}

fn characters_of(place: &support::Place, text: &str) -> Vec<u32> {
    let (_, manifest) = place.platform.manifest("poems").unwrap();
    let tokenizer = place
        .platform
        .tokenizers
        .load_blob(&manifest.tokenizer.unwrap())
        .unwrap();
    tokenizer.encode(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_the_answer_in_whole_characters() {
    let place = place();
    // Most characters are two or three tokens.
    let model = place.register(
        "bytes",
        "recipe-gpt",
        &support::gpt(64),
        Some(bytes("hello 床前")),
        8.0,
    );
    let deployments = deploy(&place, &model, |_| ());
    for seed in 0..8 {
        let parameters = GenerationSpec {
            temperature: Some(1.5),
            seed: Some(seed),
            min_tokens: Some(40),
            ..most(40)
        };
        let whole = deployments
            .predict("poems", body("hello", &parameters))
            .await
            .unwrap();
        let request = CompletionRequest {
            temperature: Some(1.5),
            seed: Some(seed),
            min_tokens: Some(40),
            ..request("hello", 40)
        };
        let mut stream = deployments.complete("poems", request).await.unwrap();
        let mut pieces = Vec::new();
        let mut end = Vec::new();
        while let Some(event) = stream.next().await {
            match event.unwrap() {
                CompletionEvent::Text {
                    choice: 0,
                    text,
                    tokens,
                } => {
                    assert!(end.is_empty() && !text.is_empty() && tokens.is_empty());
                    pieces.push(text);
                }
                other => end.push(other),
            }
        }
        assert_eq!(
            pieces.concat(),
            whole["outputs"][0]["text"].as_str().unwrap()
        );
        assert!(pieces.len() > 5, "{pieces:?}");
        let [
            CompletionEvent::Finished {
                choice: 0,
                finish: Finish::Length,
            },
            CompletionEvent::Done(usage),
        ] = &end[..]
        else {
            panic!("{end:?}");
        };
        assert_eq!(usage.completion_tokens, 40);
        assert_eq!(
            usage.prompt_tokens,
            1 + bytes("hello 床前").encode("hello").unwrap().len()
        );
    }
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn several_choices_and_the_best_of_many() {
    let place = place();
    let deployments = poems(&place, |_| ());
    let drawn = CompletionRequest {
        temperature: Some(1.0),
        seed: Some(4),
        n: Some(3),
        ..request("床前", 6)
    };
    let all = complete(&deployments, drawn.clone()).await;
    assert_eq!(all.choices.len(), 3);
    assert!(
        all.choices
            .iter()
            .any(|choice| choice.text != all.choices[0].text)
    );
    // The best two of six: the best of all their samples, in order.
    let best = complete(
        &deployments,
        CompletionRequest {
            n: Some(2),
            best_of: Some(6),
            ..drawn.clone()
        },
    )
    .await;
    let parameters = GenerationSpec {
        temperature: Some(1.0),
        seed: Some(4),
        count: Some(6),
        ..most(6)
    };
    let candidates = deployments
        .predict("poems", body("床前", &parameters))
        .await
        .unwrap();
    assert_eq!(best.choices.len(), 2);
    for (choice, candidate) in best
        .choices
        .iter()
        .zip(candidates["outputs"].as_array().unwrap())
    {
        assert_eq!(candidate["text"], choice.text);
    }
    assert!(best.usage.completion_tokens > all.usage.completion_tokens);
    let beams = complete(
        &deployments,
        CompletionRequest {
            beams: Some(4),
            ..request("床前", 6)
        },
    )
    .await;
    let parameters = GenerationSpec {
        beams: Some(4),
        ..most(6)
    };
    let candidates = deployments
        .predict("poems", body("床前", &parameters))
        .await
        .unwrap();
    assert_eq!(beams.choices.len(), 1);
    assert_eq!(candidates["outputs"][0]["text"], beams.choices[0].text);
    for (request, words) in [
        (
            CompletionRequest {
                n: Some(0),
                ..drawn.clone()
            },
            "n is 0",
        ),
        (
            CompletionRequest {
                n: Some(40),
                ..drawn.clone()
            },
            "40 sequences side by side",
        ),
        (
            CompletionRequest {
                max_tokens: Some(0),
                temperature: Some(-2.0),
                ..drawn.clone()
            },
            "temperature is -2",
        ),
        (
            CompletionRequest {
                prompt: CompletionPrompt::Tokens(vec![4000]),
                ..drawn
            },
            "token 4000",
        ),
    ] {
        let error = deployments.complete("poems", request).await.unwrap_err();
        assert!(
            error.to_string().contains(words) && error.is_callers_fault(),
            "{error}"
        );
    }
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_ends_before_a_stop_string() {
    let place = place();
    let deployments = endless(&place, |_| ());
    let drawn = CompletionRequest {
        temperature: Some(1.0),
        seed: Some(1),
        min_tokens: Some(200),
        logprobs: Some(0),
        ..request("a", 200)
    };
    let whole = complete(&deployments, drawn.clone())
        .await
        .choices
        .remove(0);
    assert_eq!((whole.finish, whole.tokens.len()), (Finish::Length, 200));
    // Two characters from the middle of it.
    let from = whole.text.len() / 2;
    let stop = whole.text[from..from + 2].to_owned();
    let at = whole.text.find(&stop).unwrap();
    let ended = complete(
        &deployments,
        CompletionRequest {
            stop: vec!["zz".into(), stop.clone()],
            ..drawn.clone()
        },
    )
    .await;
    let ended = &ended.choices[0];
    assert_eq!(
        (ended.text.as_str(), ended.finish),
        (&whole.text[..at], Finish::Stop)
    );
    // The tokens that are told are those of the text.
    let told: String = ended
        .tokens
        .iter()
        .filter(|token| !token.text.starts_with('<'))
        .map(|token| token.text.as_str())
        .collect();
    assert_eq!(told, ended.text);
    // Generation ended soon after: the thread did not go on to the two hundredth.
    let before = poems_of(&deployments).counters.tokens;
    let endless = CompletionRequest {
        max_tokens: Some(100_000_000),
        min_tokens: Some(100_000_000),
        stop: vec![stop],
        ..drawn
    };
    complete(&deployments, endless).await;
    let after = poems_of(&deployments).counters.tokens;
    assert!(after - before < 100_000, "{}", after - before);
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_repeated_with_its_probabilities() {
    let place = place();
    let deployments = poems(&place, |_| ());
    let asked = CompletionRequest {
        echo: true,
        logprobs: Some(2),
        ..request("床前明月光", 3)
    };
    let found = complete(&deployments, asked.clone())
        .await
        .choices
        .remove(0);
    assert!(found.text.starts_with("床前明月光"));
    let prompt: Vec<&str> = found
        .tokens
        .iter()
        .take(5)
        .map(|token| token.text.as_str())
        .collect();
    assert_eq!(prompt, ["床", "前", "明", "月", "光"]);
    let mut model = place
        .platform
        .load(
            &place.platform.manifest("poems").unwrap().1,
            Default::default(),
        )
        .unwrap();
    let expected = model
        .score_prompt(&support::models::prompt(&model, "text", "床前明月光"), 2)
        .unwrap();
    for (token, expected) in found.tokens.iter().zip(&expected[1..]) {
        assert_eq!(token.token, expected.token);
        let difference = token.log_probability.unwrap() - expected.log_probability.unwrap();
        assert!(difference.abs() < 1e-4);
        assert_eq!(token.alternatives.len(), 2);
        assert_eq!(token.alternatives[0].0, expected.alternatives[0].0);
    }
    // What was generated greedily is its own first alternative.
    for token in &found.tokens[5..] {
        assert_eq!(token.alternatives[0].0, token.token);
        assert_eq!(Some(token.alternatives[0].2), token.log_probability);
    }
    // Scoring alone, by token ids.
    let ids = found
        .tokens
        .iter()
        .take(5)
        .map(|token| token.token)
        .collect();
    let alone = CompletionRequest {
        prompt: CompletionPrompt::Tokens(ids),
        max_tokens: Some(0),
        ..asked
    };
    let alone = complete(&deployments, alone).await;
    assert_eq!(alone.choices[0].text, "床前明月光");
    assert_eq!(alone.choices[0].tokens, found.tokens[..5]);
    assert_eq!(
        (alone.usage.prompt_tokens, alone.usage.completion_tokens),
        (6, 0)
    );
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_makes_room() {
    let place = place();
    let deployments = endless(&place, |spec| {
        spec.max_batch = 1;
        spec.queue = 1;
    });
    let mut first = long(&deployments).await;
    first.next().await.unwrap().unwrap();
    let second = long(&deployments).await;
    let refused = deployments
        .predict("poems", body("a", &most(2)))
        .await
        .unwrap_err();
    assert!(is_busy(&refused), "{refused}");
    assert!(
        refused.to_string().contains("has 2 requests") && refused.to_string().contains("queue"),
        "{refused}"
    );
    let counters = poems_of(&deployments).counters;
    assert_eq!(
        (counters.in_flight, counters.refused, counters.requests),
        (2, 1, 2)
    );
    // One that waits goes away; then the one that runs.
    drop(second);
    until("the second is gone", || {
        poems_of(&deployments).counters.in_flight == 1
    })
    .await;
    let waiting = tokio::spawn({
        let deployments = deployments.clone();
        async move { deployments.predict("poems", body("a", &most(2))).await }
    });
    until("the third waits", || {
        poems_of(&deployments).counters.in_flight == 2
    })
    .await;
    drop(first);
    waiting.await.unwrap().unwrap();
    // A future that is dropped is a client that goes away, too.
    let endless = GenerationSpec {
        min_tokens: Some(u32::MAX),
        ..most(u32::MAX)
    };
    let asked = deployments.predict("poems", body("a", &endless));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), asked)
            .await
            .is_err()
    );
    until("all are gone", || {
        poems_of(&deployments).counters.in_flight == 0
    })
    .await;
    let counters = poems_of(&deployments).counters;
    assert_eq!(
        (counters.cancelled, counters.errors, counters.requests),
        (3, 0, 4)
    );
    assert_eq!(counters.latency.count, 1);
    deployments
        .predict("poems", body("a", &most(2)))
        .await
        .unwrap();
    deployments.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_requests_finish_and_takes_no_more() {
    let place = place();
    let deployments = endless(&place, |_| ());
    let wanted = GenerationSpec {
        min_tokens: Some(3000),
        ..most(3000)
    };
    let running = tokio::spawn({
        let deployments = deployments.clone();
        async move { deployments.predict("poems", body("a", &wanted)).await }
    });
    until("it runs", || {
        poems_of(&deployments).counters.prompt_tokens > 0
    })
    .await;
    let closing = deployments.clone();
    tokio::task::spawn_blocking(move || closing.shutdown())
        .await
        .unwrap();
    let answer = running.await.unwrap().unwrap();
    assert_eq!(answer["outputs"][0]["finish"], "length");
    let error = deployments
        .predict("poems", body("a", &most(1)))
        .await
        .unwrap_err();
    assert!(matches!(error, ServeError::Closed { .. }), "{error}");
    let error = deployments.deploy(poems_of(&deployments).spec).unwrap_err();
    assert!(matches!(error, ServeError::Closed { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_in_numbers_out() {
    let place = place();
    let model = place.register(
        "linear",
        "testing-probe-recipe",
        &json!({"kind": "linear", "poison": 13}),
        None,
        1.0,
    );
    let deployments = deploy(&place, &model, |_| ());
    let ask = |x: Value| deployments.predict("poems", json!({"inputs": {"x": x}}));
    let one = ask(json!([1.0, 0.0, 0.0, 0.0])).await.unwrap();
    assert_eq!(
        (&one["outputs"][0]["name"], &one["outputs"][0]["shape"]),
        (&json!("y"), &json!([3]))
    );
    // A recipe that panics on one request fails that one: those who shared its forward are asked again.
    let bodies: Vec<Value> = (0..30).map(|at| json!([at, 0, 0, 0])).collect();
    let answers = join_all(bodies.into_iter().map(ask)).await;
    for (at, answer) in answers.into_iter().enumerate() {
        if at == 13 {
            let error = answer.unwrap_err();
            assert!(error.to_string().contains("the number 13 came"), "{error}");
            assert_eq!(error.report().unwrap().plugin, "testing/probe-recipe");
            assert!(!error.is_callers_fault());
        } else {
            let values = answer.unwrap()["outputs"][0]["values"].clone();
            assert_eq!(values.as_array().unwrap().len(), 3);
            if at == 1 {
                assert_eq!(values, one["outputs"][0]["values"]);
            }
        }
    }
    for (x, words) in [
        (json!("a"), "not a text"),
        (json!([1]), "has 1 numbers"),
        (json!(["a"]), "column `x` takes a number"),
    ] {
        let error = ask(x).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = deployments
        .complete("poems", CompletionRequest::text("a"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("does not generate"), "{error}");
    deployments.shutdown();
}

/// A model that reads a text and does not go on with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_classifier_of_texts_is_asked_for_its_texts_only() {
    let place = place();
    let config = json!({
        "architectures": ["BertForSequenceClassification"], "num_labels": 3, "hidden_size": 16,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
        "max_position_embeddings": 16, "cls_token": "<bos>", "sep_token": "<sep>",
        "text": "question", "text_pair": "answer",
    });
    let tokenizer = Some(support::characters(support::TEXT));
    let model = place.register("classes", "recipe-bert", &config, tokenizer, 1.0);
    let deployments = deploy(&place, &model, |_| ());
    let asked = json!({"inputs": {"question": "床前", "answer": "明月"}});
    let answer = deployments.predict("poems", asked).await.unwrap();
    assert_eq!(answer["outputs"][0]["name"], "logits");
    assert_eq!(answer["outputs"][0]["shape"], json!([3]));
    let half = json!({"inputs": {"question": "床前"}});
    let error = deployments.predict("poems", half).await.unwrap_err();
    assert!(error.to_string().contains("`answer`"), "{error}");
    deployments.shutdown();
}
