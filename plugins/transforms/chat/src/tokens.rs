//! From a rendered conversation to tokens.

use tenon_sdk::{Error, Result, tokenizer};

use crate::template::{CLOSE, OPEN};

/// The special tokens that a template may write, longest first.
pub struct Encoder {
    special: Vec<(String, u32)>,
}

impl Encoder {
    pub fn new() -> Result<Self> {
        let vocabulary = tokenizer::vocabulary()?;
        let mut special: Vec<(String, u32)> = vocabulary
            .special()
            .iter()
            .filter_map(|&id| Some((vocabulary.text(id)?.to_owned(), id)))
            .filter(|(text, _)| !text.is_empty())
            .collect();
        special.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.1.cmp(&b.1)));
        Ok(Self { special })
    }

    /// The tokens. Special tokens are those that the template wrote; text between two of them is encoded
    /// in one piece, whoever wrote it, as a tokenizer would that reads it all.
    pub fn encode(&self, rendered: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut text = String::new();
        let mut rest = rendered;
        let mut inside = false;
        while let Some(character) = rest.chars().next() {
            if character == OPEN || character == CLOSE {
                inside = character == OPEN;
                rest = &rest[character.len_utf8()..];
                continue;
            }
            let special = match inside {
                true => None,
                false => self.special.iter().find(|(text, _)| rest.starts_with(text)),
            };
            if let Some((token, id)) = special {
                flush(&mut text, &mut ids)?;
                ids.push(*id);
                rest = &rest[token.len()..];
            } else {
                text.push(character);
                rest = &rest[character.len_utf8()..];
            }
        }
        flush(&mut text, &mut ids)?;
        Ok(ids)
    }
}

fn flush(text: &mut String, ids: &mut Vec<u32>) -> Result<()> {
    if !text.is_empty() {
        let encoded = tokenizer::encode(text)
            .map_err(|error| Error::invalid(format!("{text:?} cannot be encoded: {error}")))?;
        ids.extend(encoded);
        text.clear();
    }
    Ok(())
}
