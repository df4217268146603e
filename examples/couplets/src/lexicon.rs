//! The words: characters with their tone, part of speech and semantic class.

use anyhow::{Context, Result, bail};

use crate::rng::Rng;

/// 平 or 仄.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tone {
    /// 平
    Level,
    /// 仄
    Oblique,
}

impl Tone {
    /// The other one.
    pub fn opposite(self) -> Self {
        match self {
            Self::Level => Self::Oblique,
            Self::Oblique => Self::Level,
        }
    }
}

/// What a character is in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// A thing.
    Noun,
    /// What stands before a noun: colour, season, shape, mood.
    Modifier,
    /// A number before a noun.
    Numeral,
    /// A verb with an object.
    Verb,
    /// The verb or state that ends a line.
    Ending,
    /// Where: after a noun.
    Place,
}

/// One character in one role.
#[derive(Debug, Clone)]
pub struct Word {
    /// The character.
    pub character: char,
    /// Its tone.
    pub tone: Tone,
    /// Its part of speech.
    pub part: Part,
    /// Its semantic class, an index into [`Lexicon::classes`].
    pub class: usize,
    /// The number of its pair: 云 (level, 0) goes with 月 (oblique, 0) of the same class.
    pub pair: usize,
}

/// All words.
#[derive(Debug)]
pub struct Lexicon {
    words: Vec<Word>,
    classes: Vec<(Part, String)>,
}

impl Lexicon {
    /// The lexicon that ships with the project.
    ///
    /// # Errors
    /// If the file is damaged; the sentence names the line.
    pub fn shipped() -> Result<Self> {
        Self::parse(include_str!("../lexicon.tsv"))
    }

    /// Reads `character tone part class pair` lines separated by tabs.
    ///
    /// # Errors
    /// On the first line that does not read.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lexicon = Self {
            words: Vec::new(),
            classes: Vec::new(),
        };
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            lexicon
                .read(line)
                .with_context(|| format!("lexicon, line {}: {line:?}", number + 1))?;
        }
        Ok(lexicon)
    }

    fn read(&mut self, line: &str) -> Result<()> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [character, tone, part, class, pair] = fields[..] else {
            bail!("five fields are needed, {} are there", fields.len());
        };
        let mut characters = character.chars();
        let (Some(character), None) = (characters.next(), characters.next()) else {
            bail!("the first field is not one character");
        };
        let tone = match tone {
            "P" => Tone::Level,
            "Z" => Tone::Oblique,
            other => bail!("tone {other:?}: P or Z"),
        };
        let part = match part {
            "noun" => Part::Noun,
            "modifier" => Part::Modifier,
            "numeral" => Part::Numeral,
            "verb" => Part::Verb,
            "ending" => Part::Ending,
            "place" => Part::Place,
            other => bail!("unknown part of speech {other:?}"),
        };
        let key = (part, class.to_owned());
        let class = self
            .classes
            .iter()
            .position(|known| *known == key)
            .unwrap_or_else(|| {
                self.classes.push(key);
                self.classes.len() - 1
            });
        let pair = pair.parse().context("the last field is no number")?;
        self.words.push(Word {
            character,
            tone,
            part,
            class,
            pair,
        });
        Ok(())
    }

    /// Every word.
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// A class of this part of speech, by the number of its words.
    pub fn any_class(&self, part: Part, rng: &mut Rng) -> Option<usize> {
        let of_part: Vec<&Word> = self.words.iter().filter(|word| word.part == part).collect();
        (!of_part.is_empty()).then(|| of_part[rng.below(of_part.len())].class)
    }

    /// A word of the class, of the tone where one is asked for, that is not in the line yet.
    pub fn any_word(
        &self,
        class: usize,
        tone: Option<Tone>,
        used: &[char],
        rng: &mut Rng,
    ) -> Option<&Word> {
        let fitting: Vec<&Word> = self
            .words
            .iter()
            .filter(|word| {
                word.class == class
                    && tone.is_none_or(|tone| word.tone == tone)
                    && !used.contains(&word.character)
            })
            .collect();
        (!fitting.is_empty()).then(|| fitting[rng.below(fitting.len())])
    }

    /// The word of the other tone that goes with this one.
    pub fn partner(&self, word: &Word) -> Option<&Word> {
        self.words.iter().find(|other| {
            other.class == word.class
                && other.pair == word.pair
                && other.tone == word.tone.opposite()
        })
    }

    /// The classes that may stand opposite this one: itself, and for some a neighbour in meaning.
    pub fn neighbour(&self, class: usize) -> Option<usize> {
        const NEIGHBOURS: [(&str, &str); 3] = [
            ("mountain", "water"),
            ("plant", "animal"),
            ("building", "object"),
        ];
        let (part, name) = &self.classes[class];
        let other = NEIGHBOURS.iter().find_map(|(a, b)| {
            (name == a)
                .then_some(*b)
                .or_else(|| (name == b).then_some(*a))
        })?;
        self.classes
            .iter()
            .position(|(p, n)| p == part && n == other)
    }
}
