//! Tokenizers of the hub's layouts as one `tokenizer.json`: that file itself, `vocab.txt` (WordPiece, as
//! BERT), `vocab.json` with `merges.txt` (byte-level pairs, as GPT-2 and RoBERTa).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use crate::error::{HubError, Result};
use crate::names::TOKENIZER;

/// A tokenizer out of a model's small files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The `tokenizer.json`.
    pub json: Vec<u8>,
    /// The file that it is from.
    pub file: &'static str,
}

/// The tokenizer; nothing where the files have none. `get` gives a file's bytes.
///
/// # Errors
/// [`HubError::File`] for a file that is not what its name says.
pub fn build<'a>(get: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Option<Built>> {
    if let Some(bytes) = get(TOKENIZER) {
        // Kept as it is: its digest is the publisher's.
        parse(TOKENIZER, bytes)?;
        return Ok(Some(Built {
            json: bytes.to_vec(),
            file: TOKENIZER,
        }));
    }
    let settings = Settings::read(&get)?;
    let (file, description) = if let Some(bytes) = get("vocab.txt") {
        ("vocab.txt", word_piece(bytes, &settings)?)
    } else if let (Some(vocabulary), Some(merges)) = (get("vocab.json"), get("merges.txt")) {
        ("vocab.json", byte_pairs(vocabulary, merges, &settings)?)
    } else {
        return Ok(None);
    };
    // Written by the library, so that it looks as everywhere else.
    let written = parse(file, description.to_string().as_bytes())?
        .to_string(true)
        .map_err(|error| HubError::file(file, error.to_string()))?;
    Ok(Some(Built {
        json: written.into_bytes(),
        file,
    }))
}

/// The special tokens by their role (`bos_token`, `eos_token`, …), as the files beside a tokenizer say.
///
/// # Errors
/// [`HubError::File`] for a file that is no JSON object.
pub fn roles<'a>(get: impl Fn(&str) -> Option<&'a [u8]>) -> Result<BTreeMap<String, String>> {
    Ok(Settings::read(get)?.roles)
}

fn parse(file: &str, bytes: &[u8]) -> Result<Tokenizer> {
    Tokenizer::from_bytes(bytes).map_err(|error| {
        HubError::file(
            file,
            format!("this is no tokenizer that can be read: {error}"),
        )
        .or("save the tokenizer again with a newer transformers or tokenizers library")
    })
}

/// What stands beside a vocabulary.
struct Settings {
    config: Map<String, Value>,
    /// `unk_token` and so on, by role.
    roles: BTreeMap<String, String>,
    /// Tokens with ids of their own.
    added: BTreeMap<u64, Added>,
}

struct Added {
    content: String,
    special: bool,
}

const ROLES: &[&str] = &[
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
    "bos_token",
    "eos_token",
];

impl Settings {
    fn read<'a>(get: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self> {
        let object = |name: &str| -> Result<Map<String, Value>> {
            match get(name) {
                None => Ok(Map::new()),
                Some(bytes) => serde_json::from_slice(bytes).map_err(|error| {
                    HubError::file(name, format!("it is no JSON object: {error}"))
                }),
            }
        };
        let config = object("tokenizer_config.json")?;
        let map = object("special_tokens_map.json")?;
        let mut roles = BTreeMap::new();
        for role in ROLES {
            let named = map.get(*role).or_else(|| config.get(*role));
            if let Some(text) = named.and_then(content) {
                roles.insert((*role).to_owned(), text.to_owned());
            }
        }
        let mut added = BTreeMap::new();
        for (content, id) in object("added_tokens.json")? {
            if let Some(id) = id.as_u64() {
                let special = roles.values().any(|token| *token == content);
                added.insert(id, Added { content, special });
            }
        }
        let decoder = config
            .get("added_tokens_decoder")
            .and_then(Value::as_object);
        for (id, token) in decoder.into_iter().flatten() {
            if let (Ok(id), Some(content)) = (id.parse(), content(token)) {
                let special = token["special"].as_bool().unwrap_or(false);
                let content = content.to_owned();
                added.insert(id, Added { content, special });
            }
        }
        Ok(Self {
            config,
            roles,
            added,
        })
    }

    fn role(&self, role: &str, default: &str) -> String {
        self.roles
            .get(role)
            .map_or(default, String::as_str)
            .to_owned()
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.config.get(name).and_then(Value::as_bool)
    }

    /// The special tokens among the vocabulary, and those beside it, as `tokenizer.json` has them.
    fn tokens(&self, vocabulary: &Map<String, Value>, special: &[String]) -> Vec<Value> {
        let mut by_id: BTreeMap<u64, (&str, bool)> = BTreeMap::new();
        for token in special {
            if let Some(id) = vocabulary.get(token).and_then(Value::as_u64) {
                by_id.insert(id, (token, true));
            }
        }
        for (id, token) in &self.added {
            by_id.entry(*id).or_insert((&token.content, token.special));
        }
        by_id
            .into_iter()
            .map(|(id, (content, special))| {
                json!({
                    "id": id, "content": content, "special": special, "single_word": false,
                    "lstrip": content == "<mask>", "rstrip": false, "normalized": !special,
                })
            })
            .collect()
    }
}

/// A token is a text, or an object that has one.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

fn word_piece(bytes: &[u8], settings: &Settings) -> Result<Value> {
    const FILE: &str = "vocab.txt";
    let text = std::str::from_utf8(bytes)
        .map_err(|error| HubError::file(FILE, format!("it is no UTF-8: {error}")))?;
    let mut vocabulary = Map::new();
    for (id, line) in text.lines().enumerate() {
        vocabulary.insert(line.trim_end_matches('\r').to_owned(), json!(id));
    }
    let unknown = settings.role("unk_token", "[UNK]");
    if !vocabulary.contains_key(&unknown) {
        return Err(HubError::file(
            FILE,
            format!("it has no line `{unknown}`, the unknown token"),
        )
        .or("a WordPiece vocabulary has one token a line; name another in tokenizer_config.json"));
    }
    let (cls, sep) = (
        settings.role("cls_token", "[CLS]"),
        settings.role("sep_token", "[SEP]"),
    );
    let special = [
        unknown.clone(),
        cls.clone(),
        sep.clone(),
        settings.role("pad_token", "[PAD]"),
        settings.role("mask_token", "[MASK]"),
    ];
    let frame = match (vocabulary.get(&cls), vocabulary.get(&sep)) {
        (Some(first), Some(last)) => json!({
            "type": "TemplateProcessing",
            "single": [special_piece(&cls, 0), sequence_piece("A", 0), special_piece(&sep, 0)],
            "pair": [
                special_piece(&cls, 0), sequence_piece("A", 0), special_piece(&sep, 0),
                sequence_piece("B", 1), special_piece(&sep, 1),
            ],
            "special_tokens": {
                cls.clone(): {"id": cls, "ids": [first], "tokens": [cls]},
                sep.clone(): {"id": sep, "ids": [last], "tokens": [sep]},
            },
        }),
        _ => Value::Null,
    };
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": settings.tokens(&vocabulary, &special),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": settings.flag("tokenize_chinese_chars").unwrap_or(true),
            "strip_accents": settings.flag("strip_accents"),
            "lowercase": settings.flag("do_lower_case").unwrap_or(true),
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": frame,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    }))
}

fn special_piece(token: &str, kind: u32) -> Value {
    json!({"SpecialToken": {"id": token, "type_id": kind}})
}

fn sequence_piece(id: &str, kind: u32) -> Value {
    json!({"Sequence": {"id": id, "type_id": kind}})
}

fn byte_pairs(vocabulary: &[u8], merges: &[u8], settings: &Settings) -> Result<Value> {
    let vocabulary: Map<String, Value> = serde_json::from_slice(vocabulary)
        .map_err(|error| HubError::file("vocab.json", format!("it is no JSON object: {error}")))?;
    let text = std::str::from_utf8(merges)
        .map_err(|error| HubError::file("merges.txt", format!("it is no UTF-8: {error}")))?;
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end_matches('\r');
        if line.is_empty() || (number == 0 && line.starts_with("#version")) {
            continue;
        }
        match line.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => pairs.push(json!([left, right])),
            _ => {
                return Err(HubError::file(
                    "merges.txt",
                    format!("line {}: `{line}` is no pair", number + 1),
                )
                .or("a line has two pieces with one space between them"));
            }
        }
    }
    let mut special: Vec<String> = settings.roles.values().cloned().collect();
    if special.is_empty() {
        special.push("<|endoftext|>".to_owned());
    }
    let prefix_space = settings.flag("add_prefix_space").unwrap_or(false);
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": prefix_space, "trim_offsets": true, "use_regex": true,
    });
    // RoBERTa and BART put their marks around a text; GPT-2 puts nothing.
    let framed = |role: &str| {
        let token = settings.roles.get(role)?;
        Some(json!([token, vocabulary.get(token)?]))
    };
    let post_processor = match (framed("cls_token"), framed("sep_token")) {
        (Some(cls), Some(sep)) => json!({
            "type": "RobertaProcessing", "sep": sep, "cls": cls, "trim_offsets": true,
            "add_prefix_space": prefix_space,
        }),
        _ => byte_level.clone(),
    };
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": settings.tokens(&vocabulary, &special),
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": post_processor,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": pairs,
        },
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn from(files: &[(&str, &str)]) -> Result<Option<Built>> {
        build(|name| {
            let found = files.iter().find(|(known, _)| *known == name);
            found.map(|(_, text)| text.as_bytes())
        })
    }

    fn ids(built: &Built, text: &str, special: bool) -> Vec<u32> {
        let tokenizer = Tokenizer::from_bytes(&built.json).unwrap();
        tokenizer.encode(text, special).unwrap().get_ids().to_vec()
    }

    #[test]
    fn a_list_of_words_is_a_tokenizer() {
        let vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nsun\n##ny\n";
        let built = from(&[("vocab.txt", vocabulary)]).unwrap().unwrap();
        assert_eq!(ids(&built, "The sunny moon", true), [2, 5, 6, 7, 1, 3]);
        let cased = [
            ("vocab.txt", vocabulary),
            ("tokenizer_config.json", r#"{"do_lower_case": false}"#),
        ];
        let built = from(&cased).unwrap().unwrap();
        assert_eq!(ids(&built, "The sunny", false), [1, 6, 7]);
        let error = from(&[("vocab.txt", "a\nb\n")]).unwrap_err().to_string();
        assert!(
            error.contains("vocab.txt") && error.contains("[UNK]"),
            "{error}"
        );
    }

    #[test]
    fn pairs_of_bytes_are_a_tokenizer() {
        let vocabulary = r#"{"<|endoftext|>": 0, "a": 1, "b": 2, "Ġ": 3, "ab": 4, "Ġab": 5}"#;
        let merges = "#version: 0.2\na b\nĠ ab\n";
        let files = [("vocab.json", vocabulary), ("merges.txt", merges)];
        let built = from(&files).unwrap().unwrap();
        assert_eq!(ids(&built, "ab ab", true), [4, 5]);
        assert_eq!(ids(&built, "ab<|endoftext|>", true), [4, 0]);
        let more = [
            files[0],
            files[1],
            ("added_tokens.json", r#"{"<pad>": 6}"#),
            (
                "special_tokens_map.json",
                r#"{"pad_token": {"content": "<pad>"}}"#,
            ),
        ];
        let built = from(&more).unwrap().unwrap();
        assert_eq!(ids(&built, "ab<pad>", true), [4, 6]);
        let broken = [files[0], ("merges.txt", "a b c\n")];
        let error = from(&broken).unwrap_err().to_string();
        assert!(error.contains("merges.txt: line 1"), "{error}");
        assert!(from(&[("vocab.json", vocabulary)]).unwrap().is_none());
    }
}
