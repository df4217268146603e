//! Tones and the rules of couplets (对联): what the evaluator judges and the processor guarantees.
//!
//! The rules are those of regulated verse: the lines are of one length; at the 2nd, 4th and 6th
//! character (before the last) the tones are opposed; the upper line ends oblique (仄) and the lower
//! level (平); no character of the lower line is repeated or taken from the upper.

use std::collections::{HashMap, HashSet};

use tenon_sdk::{Error, Result, dataset};

/// The dataset that holds the tones: columns `character` and `tone` (`P` level, `Z` oblique, `PZ`
/// both).
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

/// The tones of all characters that are known.
#[derive(Debug, Default)]
pub struct Tones(HashMap<char, Tone>);

impl Tones {
    /// Reads them from the granted dataset [`DATASET`].
    ///
    /// # Errors
    /// If it was not granted, or a row is no character with a tone.
    pub fn granted() -> Result<Self> {
        let mut tones = HashMap::new();
        for batch in dataset::open(DATASET)? {
            let batch = batch?;
            let (characters, names) = (batch.utf8("character")?, batch.utf8("tone")?);
            for (character, name) in characters.iter().zip(names.iter()) {
                let (character, name) = (character.unwrap_or_default(), name.unwrap_or_default());
                let mut one = character.chars();
                match (one.next(), one.next(), Tone::parse(name)) {
                    (Some(c), None, Some(tone)) => tones.insert(c, tone),
                    _ => {
                        return Err(Error::invalid(format!(
                            "dataset `{DATASET}`: {character:?} with tone {name:?} is no character with P, Z or PZ"
                        )));
                    }
                };
            }
        }
        Ok(Self(tones))
    }

    /// From pairs.
    pub fn new(tones: impl IntoIterator<Item = (char, Tone)>) -> Self {
        Self(tones.into_iter().collect())
    }

    /// A character's tone; nothing if it is not known.
    pub fn get(&self, character: char) -> Option<Tone> {
        self.0.get(&character).copied()
    }
}

/// Positions (from 0) whose tones must be opposed in a line of that length: the 2nd, 4th and 6th
/// character, the last aside.
pub fn key_positions(length: usize) -> impl Iterator<Item = usize> {
    [1, 3, 5].into_iter().filter(move |at| at + 1 < length)
}

/// How a couplet keeps the rules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// Both lines have the same number of characters, and there are some.
    pub equal_length: bool,
    /// Key positions whose tones are opposed, of `judged`. A character of unknown tone is not judged.
    pub opposed: u32,
    /// Key positions at which both tones are known.
    pub judged: u32,
    /// The upper line ends oblique and the lower level; nothing if one of the tones is unknown.
    pub endings: Option<bool>,
    /// No character of the lower line stands twice in it or in the upper line.
    pub no_repeats: bool,
}

impl Judgement {
    /// Of a couplet.
    pub fn of(upper: &str, lower: &str, tones: &Tones) -> Self {
        let (a, b): (Vec<char>, Vec<char>) = (upper.chars().collect(), lower.chars().collect());
        let (mut opposed, mut judged) = (0, 0);
        for at in key_positions(a.len().min(b.len())) {
            if let (Some(x), Some(y)) = (tones.get(a[at]), tones.get(b[at])) {
                judged += 1;
                opposed += u32::from(x.opposes(y));
            }
        }
        let ending = |line: &[char]| line.last().and_then(|&c| tones.get(c));
        let endings = match (ending(&a), ending(&b)) {
            (Some(x), Some(y)) => Some(x.oblique && y.level),
            _ => None,
        };
        let mut seen: HashSet<char> = a.iter().copied().collect();
        Self {
            equal_length: a.len() == b.len() && !a.is_empty(),
            opposed,
            judged,
            endings,
            no_repeats: b.iter().all(|&c| seen.insert(c)),
        }
    }

    /// Whether every rule that could be judged is kept.
    pub fn all(&self) -> bool {
        self.equal_length
            && self.opposed == self.judged
            && self.endings != Some(false)
            && self.no_repeats
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tenon_sdk::{Batch, Column, testkit};

    fn tones() -> Tones {
        let of = |text: &str, tone: &str| {
            text.chars()
                .map(|c| (c, Tone::parse(tone).unwrap()))
                .collect::<Vec<_>>()
        };
        Tones::new(
            of("清泉松风流", "P")
                .into_iter()
                .chain(of("明月石上照", "Z"))
                .chain(of("看", "PZ")),
        )
    }

    #[test]
    fn couplets_are_judged_by_each_rule() {
        let good = Judgement::of("月上石照", "泉松风清", &tones());
        assert_eq!((good.equal_length, good.opposed, good.judged), (true, 1, 1));
        assert_eq!(
            (good.endings, good.no_repeats, good.all()),
            (Some(true), true, true)
        );
        // The ending is wrong, the second characters are alike.
        let bad = Judgement::of("月上石清", "泉照风明", &tones());
        assert_eq!(
            (bad.opposed, bad.judged, bad.endings, bad.all()),
            (0, 1, Some(false), false)
        );
        assert!(!Judgement::of("月上", "泉泉", &tones()).no_repeats);
        assert!(!Judgement::of("月上", "上泉", &tones()).no_repeats);
        assert!(!Judgement::of("月上", "泉", &tones()).equal_length);
        assert!(!Judgement::of("", "", &tones()).equal_length);
        // A character of both tones opposes both.
        assert_eq!(Judgement::of("月看石照", "泉松风清", &tones()).opposed, 1);
        // An unknown one is not judged.
        assert_eq!(Judgement::of("月某石照", "泉松风清", &tones()).judged, 0);
    }

    #[test]
    fn key_positions_leave_the_last_character_out() {
        assert_eq!(key_positions(7).collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!(key_positions(5).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(key_positions(4).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn tones_come_from_the_granted_dataset() {
        assert!(Tones::granted().is_err());
        let rows = [
            Column::from_utf8("character", ["云", "月"]),
            Column::from_utf8("tone", ["P", "Z"]),
        ];
        testkit::set_dataset(DATASET, vec![Batch::from_columns(rows).unwrap()]);
        assert_eq!(Tones::granted().unwrap().get('月'), Tone::parse("Z"));
        let rows = [
            Column::from_utf8("character", ["云"]),
            Column::from_utf8("tone", ["?"]),
        ];
        testkit::set_dataset(DATASET, vec![Batch::from_columns(rows).unwrap()]);
        assert!(Tones::granted().unwrap_err().to_string().contains("云"));
    }
}
