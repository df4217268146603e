//! Recipes call the special tokens of their sequences by the names that our own tokenizers give them;
//! published tokenizers have other names for the same roles.

use std::collections::BTreeMap;

use serde_json::Value;
use tenon_data::Tokenizer;

/// A recipe's name of a special token, and the roles that it may have in a published tokenizer.
const ROLES: &[(&str, &[&str])] = &[
    ("<bos>", &["bos_token", "cls_token"]),
    ("<eos>", &["eos_token", "sep_token"]),
    ("<sep>", &["sep_token", "eos_token"]),
    ("<pad>", &["pad_token", "eos_token"]),
    ("<unk>", &["unk_token"]),
];
/// The field of a piece that is a special token.
const FIELD: &str = "special";

/// Puts the tokenizer's own tokens into the pieces of a configuration (`{"special": "<bos>"}`) whose
/// tokens it does not have. A piece for whose role there is no token at all is left out: the model never
/// saw one.
pub(super) fn replace(
    config: &mut Value,
    tokenizer: &Tokenizer,
    roles: &BTreeMap<String, String>,
    replaced: &mut BTreeMap<String, String>,
) {
    match config {
        Value::Array(items) => {
            items.retain(|item| {
                let Some(token) = item.get(FIELD).and_then(Value::as_str) else {
                    return true;
                };
                let known = ROLES.iter().any(|(name, _)| *name == token);
                let gone = known
                    && tokenizer.token_to_id(token).is_none()
                    && substitute(token, roles).is_none();
                if gone {
                    replaced.insert(token.to_owned(), String::new());
                }
                !gone
            });
            for item in items {
                replace(item, tokenizer, roles, replaced);
            }
        }
        Value::Object(fields) => {
            if let Some(Value::String(token)) = fields.get_mut(FIELD)
                && tokenizer.token_to_id(token).is_none()
                && let Some(own) = substitute(token, roles)
            {
                replaced.insert(std::mem::replace(token, own.clone()), own);
            }
            for value in fields.values_mut() {
                replace(value, tokenizer, roles, replaced);
            }
        }
        _ => {}
    }
}

fn substitute(token: &str, roles: &BTreeMap<String, String>) -> Option<String> {
    let (_, wanted) = ROLES.iter().find(|(name, _)| *name == token)?;
    wanted.iter().find_map(|role| roles.get(*role)).cloned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use tenon_data::TrainOptions;

    use super::*;

    #[test]
    fn a_sequence_speaks_the_tokenizers_language() {
        let options = TrainOptions {
            special_tokens: vec!["<|end|>".into(), "<unk>".into()],
            ..TrainOptions::default()
        };
        let texts = std::iter::once(Ok("abc".to_owned()));
        let tokenizer = Tokenizer::train(texts, &options).unwrap();
        let sequence = json!([
            {"special": "<bos>"}, {"column": "text"}, {"special": "<sep>"},
            {"special": "<eos>", "learnt": true}, {"special": "<mine>"}, {"special": "<unk>"},
        ]);
        let mut config = json!({"width": 4, "sequence": sequence});
        let roles = BTreeMap::from([("eos_token".to_owned(), "<|end|>".to_owned())]);
        let mut replaced = BTreeMap::new();
        replace(&mut config, &tokenizer, &roles, &mut replaced);
        assert_eq!(
            config["sequence"],
            json!([
                {"column": "text"}, {"special": "<|end|>"}, {"special": "<|end|>", "learnt": true},
                {"special": "<mine>"}, {"special": "<unk>"},
            ])
        );
        assert_eq!(replaced["<eos>"], "<|end|>");
        assert_eq!(replaced["<bos>"], "");
        assert_eq!(replaced.len(), 3);
    }
}
