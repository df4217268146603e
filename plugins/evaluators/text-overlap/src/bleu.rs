//! BLEU (Papineni et al. 2002) as sacreBLEU (Post 2018) defines it, from 0 to 100.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// The longest n-grams that are counted.
const MOST: usize = 8;

/// What is done about n-grams of which none matches. The names and definitions are sacreBLEU's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Smoothing {
    /// The first such precision is half of one match, the next a quarter, …
    #[default]
    Exp,
    /// Such n-grams count as a small number of matches.
    Floor,
    /// A number is added to the matches and to the n-grams of every length but the first (Lin and Och
    /// 2004).
    #[serde(rename = "add-k")]
    AddK,
    /// The score is 0.
    None,
}

/// What one text adds to the score of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Statistics {
    /// n-grams that the references have too, by n - 1.
    correct: [u32; MOST],
    /// All n-grams.
    total: [u32; MOST],
    length: u32,
    /// The length of the reference that is nearest to it.
    reference: u32,
}

impl Statistics {
    /// Of a text with its references.
    pub(crate) fn of(text: &[u32], references: &[Vec<u32>], max_order: usize) -> Self {
        let lengths = references.iter().map(|reference| reference.len() as u32);
        let length = text.len() as u32;
        let mut statistics = Self {
            length,
            // Of two that are equally near, the shorter.
            reference: lengths
                .min_by_key(|l| (l.abs_diff(length), *l))
                .unwrap_or(0),
            ..Self::default()
        };
        for order in 1..=max_order.min(MOST) {
            let mut allowed: HashMap<&[u32], u32> = HashMap::new();
            for reference in references {
                for (gram, count) in count(reference, order) {
                    let most = allowed.entry(gram).or_default();
                    *most = count.max(*most);
                }
            }
            let found = count(text, order).into_iter();
            statistics.correct[order - 1] = found
                .map(|(gram, count)| count.min(allowed.get(gram).copied().unwrap_or(0)))
                .sum();
            statistics.total[order - 1] = (length + 1).saturating_sub(order as u32);
        }
        statistics
    }
}

fn count(tokens: &[u32], order: usize) -> HashMap<&[u32], u32> {
    let mut counts = HashMap::new();
    for gram in tokens.windows(order) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

/// How the statistics become a score.
pub(crate) struct Bleu {
    max_order: usize,
    smoothing: Smoothing,
    /// What the smoothing adds, where it adds anything.
    value: f64,
}

/// A score, and what it is made of.
pub(crate) struct Score {
    /// From 0 to 100.
    pub(crate) value: f64,
    /// What texts that are too short cost: a factor from 0 to 1.
    pub(crate) brevity: f64,
    /// The n-grams that match, and all of them, by n - 1.
    pub(crate) orders: Vec<(u64, u64)>,
}

impl Bleu {
    pub(crate) fn new(max_order: usize, smoothing: Smoothing, value: Option<f64>) -> Self {
        let usual = match smoothing {
            Smoothing::Floor => 0.1,
            Smoothing::AddK => 1.0,
            Smoothing::Exp | Smoothing::None => 0.0,
        };
        Self {
            max_order: max_order.clamp(1, MOST),
            smoothing,
            value: value.unwrap_or(usual),
        }
    }

    /// What one text adds to the score of all.
    pub(crate) fn statistics(&self, text: &[u32], references: &[Vec<u32>]) -> Statistics {
        Statistics::of(text, references, self.max_order)
    }

    /// The score of a corpus.
    pub(crate) fn score<'s>(&self, texts: impl Iterator<Item = &'s Statistics>) -> Score {
        let mut orders = vec![(0_u64, 0_u64); self.max_order];
        let (mut length, mut reference) = (0_u64, 0_u64);
        for text in texts {
            for (n, (correct, total)) in orders.iter_mut().enumerate() {
                *correct += u64::from(text.correct[n]);
                *total += u64::from(text.total[n]);
            }
            length += u64::from(text.length);
            reference += u64::from(text.reference);
        }
        let brevity = if length < reference {
            // Nothing at all: exp(−∞).
            (1.0 - reference as f64 / length as f64).exp()
        } else {
            1.0
        };
        Score {
            value: 100.0 * brevity * self.precision(&orders),
            brevity,
            orders,
        }
    }

    /// The geometric mean of the precisions.
    fn precision(&self, orders: &[(u64, u64)]) -> f64 {
        if orders.iter().all(|(correct, _)| *correct == 0) {
            return 0.0;
        }
        let (mut logarithms, mut smooth) = (0.0, 1.0);
        for (n, &(correct, total)) in orders.iter().enumerate() {
            let (mut correct, mut total) = (correct as f64, total as f64);
            if self.smoothing == Smoothing::AddK && n > 0 {
                correct += self.value;
                total += self.value;
            }
            if total == 0.0 {
                return 0.0;
            }
            if correct == 0.0 {
                match self.smoothing {
                    Smoothing::Exp => {
                        smooth *= 2.0;
                        correct = 1.0 / smooth;
                    }
                    Smoothing::Floor => correct = self.value,
                    Smoothing::AddK | Smoothing::None => return 0.0,
                }
            }
            logarithms += (correct / total).ln();
        }
        (logarithms / self.max_order as f64).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::{Interner, Tokenize};

    fn score(
        texts: &[&str],
        references: &[&[&str]],
        tokenize: Tokenize,
        max_order: usize,
        smoothing: Smoothing,
    ) -> f64 {
        let mut interner = Interner::default();
        let bleu = Bleu::new(max_order, smoothing, None);
        let rows: Vec<Statistics> = texts
            .iter()
            .enumerate()
            .map(|(row, text)| {
                let text = interner.add(tokenize, text);
                let references: Vec<_> = references
                    .iter()
                    .map(|r| interner.add(tokenize, r[row]))
                    .collect();
                bleu.statistics(&text, &references)
            })
            .collect();
        bleu.score(rows.iter()).value
    }

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!(
            (found - expected).abs() < 1e-9,
            "{found}, expected {expected}"
        );
    }

    /// One reference for each text, four orders, exponential smoothing.
    fn usual(texts: &[&str], references: &[&str], tokenize: Tokenize) -> f64 {
        score(texts, &[references], tokenize, 4, Smoothing::Exp)
    }

    #[test]
    fn scores_are_the_closed_forms() {
        let one = |text, reference, order| {
            score(
                &[text],
                &[&[reference]],
                Tokenize::Char,
                order,
                Smoothing::Exp,
            )
        };
        near(one("春眠不觉晓", "春眠不觉晓", 4), 100.0);
        // 3 of 4 characters, no brevity penalty.
        near(one("春眠不知", "春眠不觉", 1), 75.0);
        // 3/4 characters, 2/3 pairs: their geometric mean.
        near(one("春眠不知", "春眠不觉", 2), 100.0 * 0.5_f64.sqrt());
        // Everything right, but 4 characters of 6: exp(1 - 6/4).
        near(one("春眠不觉", "春眠不觉晓处", 4), 100.0 * (-0.5_f64).exp());
        // The clipped count: "the the the the" has one "the" of the reference's.
        let the = |smoothing| {
            let words = (&["the the the the"], "the cat sat");
            score(words.0, &[&[words.1]], Tokenize::None, 4, smoothing)
        };
        // 1/4, then halved matches: 1/(2·3), 1/(4·2), 1/(8·1).
        near(
            the(Smoothing::Exp),
            100.0 * (1.0_f64 / (4.0 * 6.0 * 8.0 * 8.0)).powf(0.25),
        );
        near(the(Smoothing::None), 0.0);
        // 1/4, 0.1/3, 0.1/2, 0.1/1; and 1/4, 1/4, 1/3, 1/2.
        near(
            the(Smoothing::Floor),
            100.0 * (0.25_f64 * 0.001 / 6.0).powf(0.25),
        );
        near(
            the(Smoothing::AddK),
            100.0 * (1.0_f64 / (4.0 * 4.0 * 3.0 * 2.0)).powf(0.25),
        );
    }

    #[test]
    fn scores_are_sacrebleus() {
        // sacrebleu 2.6, BLEU(tokenize=…).corpus_score
        let poems = ["疑是地上霜", "低头思故乡", "春眠不觉晓处处闻啼鸟"];
        let truth = ["疑是地上霜", "举头望明月", "春眠不觉晓花落知多少"];
        near(usual(&poems, &truth, Tokenize::Char), 44.815_017_360_408_74);
        near(usual(&["天地玄黄"], &["宇宙洪荒"], Tokenize::Char), 0.0);
        near(usual(&["天地"], &["天地"], Tokenize::Char), 0.0);
        near(usual(&["明月照"], &["明月光照我"], Tokenize::Char), 0.0);
        let texts = [
            "The cat, the dog; and the bird-cage cost $3.50 (or 1,000 yen).",
            "It's a test.",
        ];
        let first = [
            "The cat and the dog: the bird-cage cost $3.50 - or 1,000 yen.",
            "It is a test.",
        ];
        let second = [
            "A cat, a dog and the bird-cage cost $3.50 (or 1,000 yen).",
            "It's the test!",
        ];
        near(usual(&texts, &first, Tokenize::V13a), 34.853_717_803_979_5);
        near(usual(&texts, &first, Tokenize::None), 23.478_838_990_071_26);
        near(usual(&texts, &first, Tokenize::Char), 79.397_018_071_080_32);
        let both = score(
            &texts,
            &[&first, &second],
            Tokenize::V13a,
            4,
            Smoothing::None,
        );
        near(both, 71.578_456_137_163_19);
    }

    #[test]
    fn nothing_scores_nothing() {
        near(usual(&[""], &["春"], Tokenize::Char), 0.0);
        near(usual(&[""], &[""], Tokenize::Char), 0.0);
        near(
            score(&["春眠不觉"], &[], Tokenize::Char, 4, Smoothing::Exp),
            0.0,
        );
    }
}
