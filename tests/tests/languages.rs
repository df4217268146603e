//! One path through plugins in four languages: a transform in C, a recipe in Rust, an evaluator in
//! Python, a processor in JavaScript.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use tenon_tests::{Room, component};

/// Questions and answers that a small model learns by heart.
fn questions(rows: usize) -> String {
    (0..rows)
        .map(|row| {
            let (thing, answer) =
                [("snow", "white"), ("coal", "black"), ("grass", "green")][row % 3];
            let text = format!("Q: what colour is {thing}?\\nA: {answer}");
            format!("{{\"text\": \"{text}\", \"answer\": \"{answer}\"}}\n")
        })
        .collect()
}

#[test]
fn a_path_through_four_languages() {
    let room = Room::new();
    let mut rows = questions(120);
    rows.push_str("{\"text\": \"abababababababababababababababababababab\", \"answer\": \"\"}\n");
    let file = room.file("questions.jsonl", rows);
    let mut install = vec![
        "plugin".to_owned(),
        "install".into(),
        component("recipe-gpt"),
    ];
    for name in ["transform-c", "evaluator-python", "processor-javascript"] {
        install.push(component(name));
    }
    room.ok(&install.iter().map(String::as_str).collect::<Vec<_>>());
    room.ok(&["data", "import", "questions", &file]);

    // C: measures, and drops the row that repeats itself.
    let step = r#"example/repetition={"column": "text", "size": 4, "most": 0.5}"#;
    room.ok(&["data", "transform", "questions", "clean", "--step", step]);
    let shown = room.json(&["data", "preview", "clean", "--rows", "200"]);
    let kept = shown["rows"].as_array().unwrap();
    assert_eq!(kept.len(), 120, "{shown}");
    assert_eq!(
        kept[0]["characters"],
        json!(kept[0]["text"].as_str().unwrap().chars().count())
    );

    // Rust.
    room.ok(&[
        "tokenizer",
        "train",
        "questions",
        "--dataset",
        "clean",
        "--columns",
        "text",
    ]);
    room.ok(&[
        "train",
        "--recipe",
        "tenon/gpt",
        "--recipe-config",
        r#"{"n_layer": 2, "n_embd": 64, "n_head": 2, "n_positions": 64,
            "embd_pdrop": 0, "attn_pdrop": 0, "resid_pdrop": 0}"#,
        "--dataset",
        "clean",
        "--tokenizer",
        "questions",
        "--batch-rows",
        "12",
        "--steps",
        "120",
        "--learning-rate",
        "3e-3",
        "--register",
        "colours",
        "--device",
        "cpu",
    ]);

    // Python: an answer has some of its question's n-grams, but not all of them.
    let run = room.json(&[
        "evaluate",
        "colours",
        "--dataset",
        "clean#train",
        "--rows",
        "6",
        "--device",
        "cpu",
        "--evaluator",
        r#"example/chrf={"reference": "text", "hypothesis": "answer"}"#,
    ]);
    let metrics = run["metrics"].as_object().unwrap();
    let chrf = metrics.iter().find(|(name, _)| name.ends_with("/chrf"));
    let chrf = chrf.unwrap().1["last"].as_f64().unwrap();
    assert!(chrf > 0.0 && chrf < 100.0, "{chrf}");

    // JavaScript: a conversation, an answer out of the allowed ones.
    room.ok(&[
        "deploy",
        "chat",
        "colours",
        "--processor",
        "example/chat",
        "--device",
        "cpu",
    ]);
    let ask =
        |request: Value| room.json(&["predict", "chat", &request.to_string(), "--device", "cpu"]);
    let messages = json!([{"role": "user", "content": "what colour is coal?"}]);
    let answer = ask(json!({"messages": messages}));
    assert_eq!(
        answer["choices"][0]["message"]["content"], "black",
        "{answer}"
    );
    let forced = ask(json!({"messages": messages, "choices": ["white", "green"]}));
    let said = forced["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(["white", "green"].contains(&said), "{forced}");
}
