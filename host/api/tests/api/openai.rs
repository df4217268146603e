//! Completions as OpenAI's clients ask for them.

use crate::common::Document;
use crate::common::path::{deploy, document, prepare};
use crate::common::server::{Server, sse};
use serde_json::{Value, json};
use tenon_api::{App, Options};

#[test]
fn completions_as_a_whole_and_piece_by_piece() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::open(folder.path(), crate::common::options()).unwrap();
    let document = document(&app);
    let server = Server::of(app, Options::default());
    prepare(&server, &document);
    deploy(&server, &document);
    complete(&server, &document);
    stream(&server, &document);
    refuse(&server);
    abandon(&server);
    server.stop().unwrap();
}

fn complete(server: &Server, document: &Document) {
    let wanted = json!({
        "model": "letters", "prompt": ["abc", "def"], "max_tokens": 4, "min_tokens": 4, "temperature": 0,
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
        let wanted = json!({"model": "letters", "prompt": prompt, "max_tokens": 4, "min_tokens": 4, "temperature": 0});
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
    let wanted = json!({"model": "letters", "prompt": "abc", "max_tokens": 4, "min_tokens": 4, "temperature": 0, "stop": [stop]});
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
        "model": "letters", "prompt": ["abc", "def"], "max_tokens": 6, "min_tokens": 6, "temperature": 0,
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
        let whole = json!({"model": "letters", "prompt": prompt, "max_tokens": 6, "min_tokens": 6, "temperature": 0});
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

/// A client that goes away in the middle of a stream: what it asked for is not generated any further.
fn abandon(server: &Server) {
    let counters = || {
        let (_, deployment) = server.get("/api/v1/deployments/letters");
        deployment["counters"].clone()
    };
    let count = |name: &str| counters()[name].as_u64().unwrap();
    let before = (count("requests"), count("cancelled"));
    let prompts = vec!["a"; 1000];
    let wanted = json!({
        "model": "letters", "prompt": prompts, "min_tokens": 24, "max_tokens": 24, "n": 16,
        "temperature": 1, "stream": true,
    });
    let response = server
        .agent
        .post(server.url("/v1/completions"))
        .send_json(wanted)
        .unwrap();
    assert!(sse(response.into_body().into_reader()).next().is_some());
    let start = std::time::Instant::now();
    while count("cancelled") == before.1 || count("in_flight") > 0 {
        assert!(start.elapsed().as_secs() < 20, "{}", counters());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(count("requests") < before.0 + 1000, "{}", counters());
}
