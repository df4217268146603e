//! ROUGE (Lin 2004): the F-score of n-grams, or of the longest common subsequence, from 0 to 1. For each
//! text with the reference that it scores best with; the score of a corpus is the mean.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Rouge {
    /// Single tokens.
    #[serde(rename = "1")]
    One,
    /// Pairs of tokens.
    #[serde(rename = "2")]
    Two,
    /// Three tokens.
    #[serde(rename = "3")]
    Three,
    /// Four tokens.
    #[serde(rename = "4")]
    Four,
    /// The longest common subsequence.
    #[serde(rename = "L")]
    Longest,
}

/// What a token of ROUGE is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RougeTokens {
    /// What it is for BLEU.
    #[default]
    Same,
    /// A run of Latin letters and digits, in lower case; all else is dropped. What is usual for English.
    Latin,
}

impl Rouge {
    /// The metric's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "rouge_1",
            Self::Two => "rouge_2",
            Self::Three => "rouge_3",
            Self::Four => "rouge_4",
            Self::Longest => "rouge_l",
        }
    }

    /// The score of a text with the best of its references.
    pub(crate) fn score(self, text: &[u32], references: &[Vec<u32>]) -> f64 {
        let scores = references.iter().map(|reference| self.one(text, reference));
        scores.fold(0.0, f64::max)
    }

    fn one(self, text: &[u32], reference: &[u32]) -> f64 {
        let length = match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
            Self::Four => 4,
            Self::Longest => return f1(common(text, reference), text.len(), reference.len()),
        };
        let mut there: HashMap<&[u32], usize> = HashMap::new();
        for gram in reference.windows(length) {
            *there.entry(gram).or_default() += 1;
        }
        let mut both = 0;
        for gram in text.windows(length) {
            if let Some(left) = there.get_mut(gram).filter(|left| **left > 0) {
                *left -= 1;
                both += 1;
            }
        }
        let grams = |tokens: &[u32]| (tokens.len() + 1).saturating_sub(length);
        f1(both, grams(text), grams(reference))
    }
}

/// The runs of Latin letters and digits of a text in lower case.
pub(crate) fn latin(text: &str, token: impl FnMut(&str)) {
    let lower = text.to_lowercase();
    let runs = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    runs.filter(|run| !run.is_empty()).for_each(token);
}

fn f1(both: usize, text: usize, reference: usize) -> f64 {
    match both {
        0 => 0.0,
        both => 2.0 * both as f64 / (text + reference) as f64,
    }
}

/// The length of the longest common subsequence, 64 tokens at a time (Hyyrö 2004).
fn common(one: &[u32], other: &[u32]) -> usize {
    let words = one.len().div_ceil(64);
    let mut places: HashMap<u32, Vec<u64>> = HashMap::new();
    for (at, token) in one.iter().enumerate() {
        places.entry(*token).or_insert_with(|| vec![0; words])[at / 64] |= 1 << (at % 64);
    }
    // A zero bit for each token of `one` that a longest subsequence so far ends with.
    let mut open = vec![u64::MAX; words];
    for token in other {
        let Some(places) = places.get(token) else {
            continue;
        };
        let mut carry = false;
        for (open, places) in open.iter_mut().zip(places) {
            let hits = *open & places;
            let (sum, first) = open.overflowing_add(hits);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            carry = first || second;
            *open = sum | (*open & !places);
        }
    }
    let unused = words * 64 - one.len();
    let open: usize = open.iter().map(|word| word.count_ones() as usize).sum();
    one.len() + unused - open
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenon_sdk::host::Random;

    #[test]
    fn scores_are_the_closed_forms() {
        let (text, reference) = ([1, 2, 3, 4], vec![vec![1, 9, 3, 4, 5]]);
        let score = |rouge: Rouge| rouge.score(&text, &reference);
        assert_eq!(score(Rouge::One), 2.0 * 3.0 / 9.0);
        assert_eq!(score(Rouge::Two), 2.0 * 1.0 / 7.0);
        assert_eq!(score(Rouge::Longest), 2.0 * 3.0 / 9.0);
        // A token counts as often as both have it.
        assert_eq!(Rouge::One.score(&[7, 7, 7], &[vec![7, 7]]), 0.8);
        assert_eq!(Rouge::One.score(&[7], &[vec![8], vec![7]]), 1.0);
        for rouge in [Rouge::One, Rouge::Four, Rouge::Longest] {
            assert_eq!(rouge.score(&[], &[vec![1]]), 0.0);
            assert_eq!(rouge.score(&[1], &[vec![]]), 0.0);
            assert_eq!(rouge.score(&[1], &[]), 0.0);
        }
    }

    /// The textbook's table.
    fn table(one: &[u32], other: &[u32]) -> usize {
        let mut row = vec![0; other.len() + 1];
        for a in one {
            let mut corner = 0;
            for (at, b) in other.iter().enumerate() {
                let above = row[at + 1];
                row[at + 1] = if a == b {
                    corner + 1
                } else {
                    above.max(row[at])
                };
                corner = above;
            }
        }
        row[other.len()]
    }

    #[test]
    fn the_longest_common_subsequence_is_that_of_the_table() {
        let mut random = Random::new(11);
        for round in 0..300 {
            let alphabet = 1 + round % 7;
            let mut draw = |most| -> Vec<u32> {
                let length = random.below(most);
                (0..length).map(|_| random.below(alphabet) as u32).collect()
            };
            let (one, other) = (draw(200), draw(150));
            assert_eq!(
                common(&one, &other),
                table(&one, &other),
                "{one:?} {other:?}"
            );
        }
    }

    #[test]
    fn latin_tokens_are_runs() {
        let mut tokens = Vec::new();
        latin("It's 3.5km — ÉTÉ, 春K", |token| {
            tokens.push(token.to_owned())
        });
        assert_eq!(tokens, ["it", "s", "3", "5km", "t", "k"]);
    }
}
