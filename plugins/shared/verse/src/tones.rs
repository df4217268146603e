//! Which tone a character has.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::Deserialize;
use tenon_sdk::{Context, Error, ErrorKind, Result, dataset};

/// The dataset that holds the tones, unless the configuration does.
pub const DATASET: &str = "tones";

/// The tones that a character may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tone {
    /// 平
    pub level: bool,
    /// 仄
    pub oblique: bool,
}

impl Tone {
    /// `P`, `Z` or `PZ`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "P" => Some(Self {
                level: true,
                oblique: false,
            }),
            "Z" => Some(Self {
                level: false,
                oblique: true,
            }),
            "PZ" => Some(Self {
                level: true,
                oblique: true,
            }),
            _ => None,
        }
    }

    /// Whether the two can be read as opposed.
    pub fn opposes(self, other: Self) -> bool {
        (self.level && other.oblique) || (self.oblique && other.level)
    }
}

/// Tones as a configuration gives them: `P` level (平), `Z` oblique (仄), `PZ` both.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TonesConfig {
    /// One line for each character: the character, white space, its tone.
    Text(String),
    /// The columns of the granted dataset `tones`.
    Columns(ToneColumns),
    /// From a tone to its characters (`{"P": "天风", "Z": "地月"}`) or from a character to its tone
    /// (`{"天": "P"}`).
    Map(BTreeMap<String, String>),
}

/// The columns of the granted dataset `tones`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToneColumns {
    /// The column with the characters.
    pub character: String,
    /// The column with their tones.
    pub tone: String,
}

impl Default for ToneColumns {
    fn default() -> Self {
        Self {
            character: "character".into(),
            tone: "tone".into(),
        }
    }
}

/// The tones of all characters that are known.
#[derive(Debug, Default)]
pub struct Tones(HashMap<char, Tone>);

impl Tones {
    /// Those of the configuration; without any, those of the granted dataset [`DATASET`].
    ///
    /// # Errors
    /// Something that is no character with a tone; neither a configuration nor a dataset.
    pub fn open(config: Option<&TonesConfig>) -> Result<Self> {
        match config {
            Some(TonesConfig::Text(text)) => Self::from_text(text),
            Some(TonesConfig::Map(map)) => Self::from_map(map),
            Some(TonesConfig::Columns(columns)) => Self::granted(columns),
            None => Self::granted(&ToneColumns::default()),
        }
    }

    /// From pairs.
    pub fn new(tones: impl IntoIterator<Item = (char, Tone)>) -> Self {
        let mut all = Self::default();
        for (character, tone) in tones {
            all.add(character, tone);
        }
        all
    }

    fn from_text(text: &str) -> Result<Self> {
        let mut tones = Self::default();
        for (at, line) in text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty())
        {
            let mut parts = line.split_whitespace();
            let (character, tone) = (parts.next(), parts.next());
            match (
                character.and_then(single),
                tone.and_then(Tone::parse),
                parts.next(),
            ) {
                (Some(character), Some(tone), None) => tones.add(character, tone),
                _ => {
                    return Err(Error::invalid(format!(
                        "`tones`, line {}: {line:?} is no character with P, Z or PZ",
                        at + 1
                    )));
                }
            }
        }
        Ok(tones)
    }

    fn from_map(map: &BTreeMap<String, String>) -> Result<Self> {
        let mut tones = Self::default();
        for (key, value) in map {
            if let Some(tone) = Tone::parse(key) {
                let characters = value.chars().filter(|c| !c.is_whitespace());
                characters.for_each(|character| tones.add(character, tone));
                continue;
            }
            match (single(key), Tone::parse(value)) {
                (Some(character), Some(tone)) => tones.add(character, tone),
                _ => {
                    return Err(Error::invalid(format!(
                        "`tones`: {key:?}: {value:?} is neither a character with P, Z or PZ nor one of these with its \
                         characters"
                    )));
                }
            }
        }
        Ok(tones)
    }

    fn granted(columns: &ToneColumns) -> Result<Self> {
        let reader = dataset::open(DATASET).map_err(|error| match error.kind() {
            ErrorKind::NotGranted => error.context(format!(
                "reading the tones: grant a dataset `{DATASET}` or give `tones` in the configuration"
            )),
            _ => error,
        })?;
        let mut tones = Self::default();
        for batch in reader {
            let batch = batch?;
            let what = || format!("the dataset `{DATASET}`");
            let characters = batch.utf8(&columns.character).with_context(what)?;
            let names = batch.utf8(&columns.tone).with_context(what)?;
            for (character, name) in characters.iter().zip(names.iter()) {
                let (character, name) = (character.unwrap_or_default(), name.unwrap_or_default());
                match (single(character), Tone::parse(name)) {
                    (Some(character), Some(tone)) => tones.add(character, tone),
                    _ => {
                        return Err(Error::invalid(format!(
                            "dataset `{DATASET}`: {character:?} with tone {name:?} is no character with P, Z or PZ"
                        )));
                    }
                }
            }
        }
        Ok(tones)
    }

    /// A character that is there already can be read either way.
    fn add(&mut self, character: char, tone: Tone) {
        let known = self.0.entry(character).or_insert(tone);
        known.level |= tone.level;
        known.oblique |= tone.oblique;
    }

    /// A character's tone; nothing if it is not known.
    pub fn get(&self, character: char) -> Option<Tone> {
        self.0.get(&character).copied()
    }

    /// Whether no tone is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The text's only character.
fn single(text: &str) -> Option<char> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Some(character),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_sdk::{Batch, Column, testkit};

    fn config(json: &str) -> TonesConfig {
        serde_json::from_str(json).unwrap()
    }

    fn open(json: &str) -> Result<Tones> {
        Tones::open(Some(&config(json)))
    }

    #[test]
    fn tones_come_from_the_configuration() {
        for json in [
            r#""云\tP\n月 Z\n\n看 PZ\n""#,
            r#"{"P": "云 看", "Z": "月看"}"#,
            r#"{"云": "P", "月": "Z", "看": "PZ"}"#,
        ] {
            let tones = open(json).unwrap();
            assert_eq!(tones.get('云'), Tone::parse("P"), "{json}");
            assert_eq!(tones.get('月'), Tone::parse("Z"), "{json}");
            assert_eq!(tones.get('看'), Tone::parse("PZ"), "{json}");
            assert_eq!(tones.get('某'), None);
        }
    }

    #[test]
    fn what_is_no_tone_is_named() {
        let refused = |json: &str| open(json).unwrap_err().to_string();
        assert!(refused(r#""云 P\n月""#).contains("line 2"));
        assert!(refused(r#""云 P P""#).contains("line 1"));
        assert!(refused(r#""云 平""#).contains("云 平"));
        assert!(refused(r#"{"云": "平"}"#).contains("云"));
        assert!(refused(r#"{"云月": "P"}"#).contains("云月"));
    }

    #[test]
    fn tones_come_from_the_granted_dataset() {
        let missing = Tones::open(None).unwrap_err().to_string();
        assert!(missing.contains("grant a dataset `tones`"), "{missing}");
        let give = |character: &str, tone: &str, rows: [(&str, &str); 2]| {
            let columns = [
                Column::from_utf8(character, rows.map(|row| row.0)),
                Column::from_utf8(tone, rows.map(|row| row.1)),
            ];
            testkit::set_dataset(DATASET, vec![Batch::from_columns(columns).unwrap()]);
        };
        give("character", "tone", [("云", "P"), ("月", "Z")]);
        assert_eq!(Tones::open(None).unwrap().get('月'), Tone::parse("Z"));
        give("字", "声", [("云", "P"), ("月", "Z")]);
        assert!(
            Tones::open(None)
                .unwrap_err()
                .to_string()
                .contains("\"character\"")
        );
        let tones = open(r#"{"character": "字", "tone": "声"}"#).unwrap();
        assert_eq!(tones.get('云'), Tone::parse("P"));
        give("character", "tone", [("云", "P"), ("月", "?")]);
        assert!(Tones::open(None).unwrap_err().to_string().contains("月"));
    }
}
