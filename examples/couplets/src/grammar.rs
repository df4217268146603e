//! How lines are made: word order, tones, and what stands opposite what.
//!
//! The rules are those of regulated verse: characters 2, 4 and 6 alternate in tone and are opposed
//! between the lines, the upper line ends oblique and the lower level, opposite characters are of one
//! part of speech and of one class (or a neighbouring one), and no character is used twice.

use crate::{
    lexicon::{Lexicon, Part, Tone, Word},
    rng::Rng,
};

use Part::{Ending, Modifier, Noun, Numeral, Place, Verb};

const FIVE: [&[Part]; 3] = [
    &[Modifier, Noun, Noun, Place, Ending],
    &[Modifier, Noun, Verb, Modifier, Noun],
    &[Numeral, Noun, Modifier, Noun, Ending],
];
const SEVEN: [&[Part]; 3] = [
    &[Modifier, Noun, Modifier, Noun, Verb, Modifier, Noun],
    &[Numeral, Noun, Modifier, Noun, Noun, Place, Ending],
    &[Modifier, Noun, Noun, Place, Verb, Modifier, Noun],
];

/// How often the usual partner is chosen where it fits.
const PARTNER: f64 = 0.75;
/// How often a class faces its neighbour and not itself.
const NEIGHBOUR: f64 = 0.2;

/// A word order for a line of 5 or 7 characters.
pub fn template(length: usize, rng: &mut Rng) -> &'static [Part] {
    let all = if length == 5 { &FIVE } else { &SEVEN };
    all[rng.below(all.len())]
}

/// The tone asked for at every position: 2, 4, 6 alternate from `second`, the last is `last`.
pub fn tones(length: usize, second: Tone, last: Tone) -> Vec<Option<Tone>> {
    (0..length)
        .map(|at| match at {
            _ if at + 1 == length => Some(last),
            1 | 5 => Some(second),
            3 => Some(second.opposite()),
            _ => None,
        })
        .collect()
}

/// A line on its own; nothing if the lexicon cannot fill it without repeating a character.
pub fn line<'a>(
    lexicon: &'a Lexicon,
    template: &[Part],
    tones: &[Option<Tone>],
    rng: &mut Rng,
) -> Option<Vec<&'a Word>> {
    let mut words: Vec<&Word> = Vec::with_capacity(template.len());
    for (&part, &tone) in template.iter().zip(tones) {
        let used: Vec<char> = words.iter().map(|word| word.character).collect();
        let class = lexicon.any_class(part, rng)?;
        words.push(lexicon.any_word(class, tone, &used, rng)?);
    }
    Some(words)
}

/// The line that answers `upper`.
pub fn answer<'a>(
    lexicon: &'a Lexicon,
    upper: &[&'a Word],
    tones: &[Option<Tone>],
    rng: &mut Rng,
) -> Option<Vec<&'a Word>> {
    let mut used: Vec<char> = upper.iter().map(|word| word.character).collect();
    let mut words = Vec::with_capacity(upper.len());
    for (&above, &tone) in upper.iter().zip(tones) {
        let partner = lexicon.partner(above).filter(|word| {
            tone.is_none_or(|tone| word.tone == tone) && !used.contains(&word.character)
        });
        let word = match partner {
            Some(word) if rng.chance(PARTNER) => word,
            _ => {
                let class = match lexicon.neighbour(above.class) {
                    Some(other) if rng.chance(NEIGHBOUR) => other,
                    _ => above.class,
                };
                lexicon.any_word(class, tone, &used, rng)?
            }
        };
        used.push(word.character);
        words.push(word);
    }
    Some(words)
}

/// The characters of a line.
pub fn text(words: &[&Word]) -> String {
    words.iter().map(|word| word.character).collect()
}
