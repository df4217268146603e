#![allow(clippy::unwrap_used)]
use serde_json::json;
use tenon_sdk::{Rows, testkit};

use super::*;

const SPECIAL: [&str; 4] = ["<|im_start|>", "<|im_end|>", "<s>", "</s>"];
const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz<|_>/:,.! \nABUI[]";

fn grant() {
    testkit::set_tokenizer(testkit::CharTokenizer::new(SPECIAL, ALPHABET));
}

/// Ids as text, special tokens in brackets of their own.
fn read(ids: &[u32]) -> String {
    ids.iter()
        .map(|&id| match SPECIAL.get(id as usize) {
            Some(token) => format!("⟦{token}⟧"),
            None => tenon_sdk::tokenizer::decode(&[id]).unwrap(),
        })
        .collect()
}

fn run(
    config: serde_json::Value,
    rows: &[serde_json::Value],
) -> Result<Vec<(u32, String, String)>> {
    grant();
    let mut chat = Chat::open(serde_json::from_value(config).unwrap())?;
    let texts: Vec<String> = rows.iter().map(ToString::to_string).collect();
    let column = Column::from_utf8("messages", texts);
    let output = chat
        .process(Batch::from_columns([column]).unwrap())?
        .remove(0);
    let Rows::Origin(origins) = &output.rows else {
        panic!("{:?}", output.rows)
    };
    let prompts = output.batch.u32_lists("prompt").unwrap();
    let answers = output.batch.u32_lists("answer").unwrap();
    Ok((0..origins.len())
        .map(|at| {
            let text =
                |list: Option<tenon_sdk::batch::List<'_, u32>>| read(&list.unwrap().to_vec());
            (origins[at], text(prompts.get(at)), text(answers.get(at)))
        })
        .collect())
}

fn conversation() -> serde_json::Value {
    json!([
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello"},
        {"role": "user", "content": "bye"},
        {"role": "assistant", "content": "see you"},
    ])
}

#[test]
fn each_answer_becomes_a_row_with_what_was_said_before() {
    let rows = run(
        json!({}),
        &[conversation(), json!([{"role": "user", "content": "x"}])],
    )
    .unwrap();
    let first = "⟦<|im_start|>⟧user\nhi⟦<|im_end|>⟧\n⟦<|im_start|>⟧assistant\n";
    let second = format!(
        "{first}hello⟦<|im_end|>⟧\n⟦<|im_start|>⟧user\nbye⟦<|im_end|>⟧\n⟦<|im_start|>⟧assistant\n"
    );
    let row = |prompt: &str, answer: &str| (0, prompt.to_owned(), answer.to_owned());
    assert_eq!(
        rows,
        [
            row(first, "hello⟦<|im_end|>⟧\n"),
            row(&second, "see you⟦<|im_end|>⟧\n"),
        ]
    );
    let last = run(json!({"turns": "last"}), &[conversation()]).unwrap();
    assert_eq!(last, rows[1..]);
    let short = run(json!({"max_tokens": 40}), &[conversation()]).unwrap();
    assert_eq!(short, rows[..1]);
}

#[test]
fn text_never_becomes_a_control_token() {
    let wicked = json!([
        {"role": "user", "content": "a<|im_end|>b</s>"},
        {"role": "assistant", "content": "<|im_start|>"},
    ]);
    let rows = run(json!({}), &[wicked]).unwrap();
    assert_eq!(
        rows[0].1,
        "⟦<|im_start|>⟧user\na<|im_end|>b</s>⟦<|im_end|>⟧\n⟦<|im_start|>⟧assistant\n"
    );
    assert_eq!(rows[0].2, "<|im_start|>⟦<|im_end|>⟧\n");
}

#[test]
fn templates_of_the_hub_are_understood() {
    // As of Llama 2: methods of Python's strings, slices, `loop`, `raise_exception`, variables.
    let template = "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
        {% set system = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}\
        {% set system = false %}{% endif %}{% for message in loop_messages %}\
        {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
        {{ raise_exception('roles must alternate') }}{% endif %}\
        {% if loop.index0 == 0 and system %}{% set content = '<<' + system + '>>' + message['content'] %}\
        {% else %}{% set content = message['content'] %}{% endif %}\
        {% if message['role'] == 'user' %}{{ bos_token + '[I]' + content.strip() + '[/I]' }}\
        {% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}\
        {% endfor %}";
    let config = json!({
        "template": template, "variables": {"bos_token": "<s>", "eos_token": "</s>"},
        "system": "be kind",
    });
    let rows = run(config.clone(), &[conversation()]).unwrap();
    assert_eq!(rows[0].1, "⟦<s>⟧[I]<<be kind>>hi[/I]");
    assert_eq!(rows[0].2, " hello ⟦</s>⟧");
    assert_eq!(rows[1].2, " see you ⟦</s>⟧");
    let twice =
        json!([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]);
    let error = run(config, &[twice]).unwrap_err().to_string();
    assert!(error.contains("roles must alternate"), "{error}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let error = run(json!({"template": "{% for %}"}), &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("no Jinja template"), "{error}");
    let error = run(json!({}), &[json!({"role": "user"})])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("row 0") && error.contains("`messages`"),
        "{error}"
    );
    // It changes what was said before.
    let rewriting = "{{ messages | length }}{% if not add_generation_prompt %}!{% endif %}";
    let error = run(json!({"template": rewriting}), &[conversation()])
        .unwrap_err()
        .to_string();
    assert!(error.contains("does not begin with the prompt"), "{error}");
    let marked =
        json!([{"role": "user", "content": "\u{F5E00}"}, {"role": "assistant", "content": ""}]);
    let error = run(json!({}), &[marked]).unwrap_err().to_string();
    assert!(error.contains("U+F5E00"), "{error}");
    let error = run(json!({"prompt": "x", "answer": "x"}), &[])
        .unwrap_err()
        .to_string();
    assert!(error.contains("different names"), "{error}");
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
    let error = run(json!({"template": endless}), &[conversation()])
        .unwrap_err()
        .to_string();
    assert!(error.contains("template fails"), "{error}");
}
