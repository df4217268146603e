//! Tokenizers that give every character its own token, without going through the library: about a
//! hundred times as fast, which matters when a corpus is encoded once before training.

use std::collections::HashMap;

use serde_json::Value;

/// Character to id.
pub(super) struct Characters {
    /// For characters below 2¹⁶ (the plane that most text is in): the id, or the unknown token's.
    plane: Vec<u32>,
    rest: HashMap<char, u32>,
    unknown: u32,
}

impl Characters {
    /// The map, if this tokenizer is exactly that: byte-pair encoding without merges, nothing before
    /// it, and a token for unknown characters.
    pub(super) fn detect(description: &Value, library: &tokenizers::Tokenizer) -> Option<Self> {
        let model = &description["model"];
        let plain = model["type"] == "BPE"
            && model["merges"].as_array().is_some_and(Vec::is_empty)
            && ["dropout", "continuing_subword_prefix", "end_of_word_suffix"]
                .iter()
                .all(|key| model[key].is_null())
            && ["fuse_unk", "byte_fallback", "ignore_merges"]
                .iter()
                .all(|key| !model[key].as_bool().unwrap_or(false))
            && description["normalizer"].is_null()
            && description["pre_tokenizer"].is_null()
            && description["truncation"].is_null();
        // Added tokens that are not special are looked for in the text.
        let added = description["added_tokens"]
            .as_array()
            .map_or(&[][..], Vec::as_slice);
        if !plain || added.iter().any(|token| token["special"] != true) {
            return None;
        }
        let unknown = library.token_to_id(model["unk_token"].as_str()?)?;
        let mut plane = vec![unknown; 1 << 16];
        let mut rest = HashMap::new();
        for (token, id) in model["vocab"].as_object()? {
            let id = u32::try_from(id.as_u64()?).ok()?;
            let mut characters = token.chars();
            if let (Some(character), None) = (characters.next(), characters.next()) {
                match plane.get_mut(character as usize) {
                    Some(place) => *place = id,
                    None => {
                        rest.insert(character, id);
                    }
                }
            }
        }
        Some(Self {
            plane,
            rest,
            unknown,
        })
    }

    pub(super) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        ids.extend(
            text.chars()
                .map(|character| match self.plane.get(character as usize) {
                    Some(id) => *id,
                    None => self.rest.get(&character).copied().unwrap_or(self.unknown),
                }),
        );
    }
}
