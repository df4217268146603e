//! chrF (Popović 2015) and chrF++ (Popović 2017) as sacreBLEU defines them, from 0 to 100: how many
//! n-grams of characters, and of words, a text has in common with its reference.

use std::collections::HashMap;

use crate::tokens::{is_space, words};

/// Which n-grams count, and how much recall counts beside precision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chrf {
    /// Characters of the longest n-grams.
    pub(crate) characters: usize,
    /// Words of the longest n-grams of words; 0: none count (chrF), 2: chrF++.
    pub(crate) words: usize,
    /// Recall counts this many times as much as precision.
    pub(crate) beta: f64,
}

/// n-grams of one length: of the text, of the reference, and in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Common {
    text: u32,
    reference: u32,
    both: u32,
}

impl Chrf {
    /// What one text adds to the score of all, compared with the reference that it scores best with.
    pub(crate) fn statistics(&self, text: &str, references: &[&str]) -> Vec<Common> {
        let text = Grams::new(self, text);
        let mut best = (
            f64::NEG_INFINITY,
            vec![Common::default(); self.characters + self.words],
        );
        for reference in references {
            let reference = Grams::new(self, reference);
            let statistics = text.compare(&reference);
            let score = self.score(statistics.iter().copied());
            if score > best.0 {
                best = (score, statistics);
            }
        }
        best.1
    }

    /// The score of a corpus, from the statistics of all its texts.
    pub(crate) fn corpus<'s>(&self, texts: impl Iterator<Item = &'s Vec<Common>>) -> f64 {
        let mut sums = vec![[0_u64; 3]; self.characters + self.words];
        for text in texts {
            for (sum, of) in sums.iter_mut().zip(text) {
                sum[0] += u64::from(of.text);
                sum[1] += u64::from(of.reference);
                sum[2] += u64::from(of.both);
            }
        }
        self.f_score(sums.into_iter().map(|sum| sum.map(|count| count as f64)))
    }

    fn score(&self, lengths: impl Iterator<Item = Common>) -> f64 {
        self.f_score(lengths.map(|of| [of.text, of.reference, of.both].map(f64::from)))
    }

    /// The F-score of precision and recall, each averaged over the lengths that both sides have n-grams
    /// of.
    fn f_score(&self, lengths: impl Iterator<Item = [f64; 3]>) -> f64 {
        let (mut precision, mut recall, mut count) = (0.0, 0.0, 0.0);
        for [text, reference, both] in lengths {
            if text > 0.0 && reference > 0.0 {
                precision += both / text;
                recall += both / reference;
                count += 1.0;
            }
        }
        if precision == 0.0 || recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / count, recall / count);
        let beta = self.beta * self.beta;
        100.0 * (1.0 + beta) * precision * recall / (beta * precision + recall)
    }
}

/// The n-grams of a text and how often each stands there, by length: of characters, then of words.
struct Grams(Vec<HashMap<Vec<u32>, u32>>);

impl Grams {
    fn new(chrf: &Chrf, text: &str) -> Self {
        let characters: Vec<u32> = text
            .chars()
            .filter(|c| !is_space(*c))
            .map(u32::from)
            .collect();
        let mut lengths: Vec<_> = (1..=chrf.characters)
            .map(|length| count(characters.windows(length).map(<[u32]>::to_vec)))
            .collect();
        if chrf.words > 0 {
            let words = parted(text);
            lengths.extend((1..=chrf.words).map(|length| {
                // Words with what no character is between them: lists of words as lists of numbers.
                let gram = |words: &[&str]| {
                    let spelt = words
                        .iter()
                        .flat_map(|word| word.chars().map(u32::from).chain([u32::MAX]));
                    spelt.collect()
                };
                count(words.windows(length).map(gram))
            }));
        }
        Self(lengths)
    }

    fn compare(&self, reference: &Self) -> Vec<Common> {
        let lengths = self.0.iter().zip(&reference.0);
        lengths
            .map(|(text, reference)| {
                let both = text.iter().map(|(gram, count)| {
                    let there = reference.get(gram).copied().unwrap_or(0);
                    there.min(*count)
                });
                Common {
                    // Where the reference has none, those of the text are not held against it.
                    text: if reference.is_empty() {
                        0
                    } else {
                        text.values().sum()
                    },
                    reference: reference.values().sum(),
                    both: both.sum(),
                }
            })
            .collect()
    }
}

fn count(grams: impl Iterator<Item = Vec<u32>>) -> HashMap<Vec<u32>, u32> {
    let mut counts = HashMap::new();
    for gram in grams {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

/// The words, with one mark of punctuation at an end of each parted from it.
fn parted(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for word in words(text) {
        let mut ends = word.chars();
        let (first, last) = (ends.next(), ends.next_back());
        match (first, last) {
            (_, Some(last)) if last.is_ascii_punctuation() => {
                parts.extend([&word[..word.len() - 1], &word[word.len() - 1..]]);
            }
            (Some(first), Some(_)) if first.is_ascii_punctuation() => {
                parts.extend([&word[..1], &word[1..]]);
            }
            _ => parts.push(word),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Chrf = Chrf {
        characters: 6,
        words: 0,
        beta: 2.0,
    };

    fn of(chrf: Chrf, text: &str, references: &[&str]) -> f64 {
        chrf.corpus([chrf.statistics(text, references)].iter())
    }

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-9,
            "{found}, expected {expected}"
        );
    }

    #[test]
    fn scores_are_the_closed_forms() {
        near(of(PLAIN, "春風", &["春風"]), 100.0);
        near(of(PLAIN, "xyz", &["abc"]), 0.0);
        near(of(PLAIN, "", &["春風"]), 0.0);
        near(of(PLAIN, "春風", &[]), 0.0);
        // Precision equals recall: (2/3 + 1/2 + 0) / 3. White space does not count.
        near(
            of(PLAIN, "a b\tc", &["abd"]),
            100.0 * (2.0 / 3.0 + 0.5) / 3.0,
        );
        // Precision 1, recall 1/2 for single characters: F2 = 5 · 1 · 0.5 / (4 · 1 + 0.5).
        near(of(PLAIN, "a", &["ab"]), 100.0 * 2.5 / 4.5);
        // The better of two references.
        near(of(PLAIN, "abc", &["xyz", "abc"]), 100.0);
    }

    #[test]
    fn words_count_in_chrf_plus_plus() {
        let plus = Chrf { words: 2, ..PLAIN };
        assert_eq!(
            parted("(a) b, -- 'tis x."),
            ["(a", ")", "b", ",", "-", "-", "'", "tis", "x", "."]
        );
        // Characters: 2 of 2 alone, 1 of 1 together; words: b is no word of the text, nor is a pair.
        near(of(plus, "ab", &["a b"]), 100.0 * (1.0 + 1.0 + 0.0) / 3.0);
    }
}
