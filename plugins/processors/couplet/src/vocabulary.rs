//! The tokens that are Chinese characters, by tone.

use std::collections::{HashMap, hash_map::Entry};

use tenon_sdk::{Error, Result, tokenizer};
use verse::{Need, Tones, is_han};

/// The tokens of one Chinese character each, ascending.
pub(crate) struct Characters {
    all: Vec<u32>,
    level: Vec<u32>,
    oblique: Vec<u32>,
    ids: HashMap<char, u32>,
    special: Vec<u32>,
}

impl Characters {
    /// Those of the granted tokenizer. Done once: a vocabulary has thousands of tokens.
    pub(crate) fn of_tokenizer(tones: &Tones) -> Result<Self> {
        let vocabulary = tokenizer::vocabulary()?;
        let mut special = vocabulary.special().to_vec();
        special.sort_unstable();
        let mut ids: HashMap<char, u32> = HashMap::new();
        for (id, text) in vocabulary.iter() {
            let mut characters = text.unwrap_or_default().chars();
            let (Some(character), None) = (characters.next(), characters.next()) else {
                continue;
            };
            if !is_han(character) || special.binary_search(&id).is_ok() {
                continue;
            }
            match ids.entry(character) {
                Entry::Vacant(entry) => {
                    entry.insert(id);
                }
                // Several tokens with one text (in WordPiece, one begins a word and one goes on with
                // it): the one that stands for the character by itself.
                Entry::Occupied(mut entry) => {
                    let mut buffer = [0; 4];
                    if let [only] = tokenizer::encode(character.encode_utf8(&mut buffer))?[..] {
                        entry.insert(only);
                    }
                }
            }
        }
        if ids.is_empty() {
            return Err(Error::invalid(
                "the tokenizer has no token that is a single Chinese character: use one that was trained on Chinese \
                 text, by character",
            ));
        }
        let of = |need: Need| {
            let fits = ids.iter().filter(|(c, _)| need.admits(tones.get(**c)));
            let mut tokens: Vec<u32> = fits.map(|(_, &id)| id).collect();
            tokens.sort_unstable();
            tokens
        };
        Ok(Self {
            all: of(Need::Any),
            level: of(Need::Level),
            oblique: of(Need::Oblique),
            ids,
            special,
        })
    }

    /// The tokens that a place admits.
    pub(crate) fn admitted(&self, need: Need) -> &[u32] {
        match need {
            Need::Any => &self.all,
            Need::Level => &self.level,
            Need::Oblique => &self.oblique,
        }
    }

    /// The token of a character.
    pub(crate) fn id(&self, character: char) -> Option<u32> {
        self.ids.get(&character).copied()
    }

    /// Whether the tokenizer can write a character at all, in one token or several.
    pub(crate) fn knows(&self, character: char) -> Result<bool> {
        if self.ids.contains_key(&character) {
            return Ok(true);
        }
        let mut buffer = [0; 4];
        // A tokenizer that has no token for it says so by a special one, or by an error.
        Ok(
            match tokenizer::encode(character.encode_utf8(&mut buffer)) {
                Ok(tokens) => {
                    !tokens.is_empty()
                        && tokens
                            .iter()
                            .all(|id| self.special.binary_search(id).is_err())
                }
                Err(_) => false,
            },
        )
    }
}
