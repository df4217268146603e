//! Texts beside their references: BLEU, chrF and ROUGE of all of them.

use tenon_sdk::{Batch, Column, Metric, Result, host::Random, stats};

use crate::{
    bleu::{Bleu, Statistics},
    chrf::{Chrf, Common},
    config::Config,
    rouge::{Rouge, RougeTokens, latin},
    tokens::{Interner, Tokenize},
};

/// What the texts so far have in common with their references.
pub(crate) struct Compared {
    tokenize: Tokenize,
    bleu: Bleu,
    statistics: Vec<Statistics>,
    chrf: [(&'static str, Chrf, Vec<Vec<Common>>); 2],
    rouge: Vec<(Rouge, Vec<f64>)>,
    rouge_tokens: RougeTokens,
    /// Of ROUGE's own tokens.
    latin: Interner,
}

impl Compared {
    pub(crate) fn new(config: &Config) -> Self {
        let chrf = |words| Chrf {
            characters: config.chrf_order,
            words,
            beta: config.chrf_beta,
        };
        let mut rouge = config.rouge.clone();
        rouge.dedup();
        Self {
            tokenize: config.tokenize,
            bleu: Bleu::new(config.max_order, config.smoothing, config.smooth_value),
            statistics: Vec::new(),
            chrf: [
                ("chrf", chrf(0), Vec::new()),
                ("chrf_pp", chrf(2), Vec::new()),
            ],
            rouge: rouge.into_iter().map(|rouge| (rouge, Vec::new())).collect(),
            rouge_tokens: config.rouge_tokens,
            latin: Interner::default(),
        }
    }

    /// Adds a text, with its tokens.
    pub(crate) fn add(
        &mut self,
        text: &str,
        tokens: &[u32],
        references: &[&str],
        interner: &mut Interner,
    ) {
        let mut parted: Vec<Vec<u32>> = references
            .iter()
            .map(|text| interner.add(self.tokenize, text))
            .collect();
        let statistics = self.bleu.statistics(tokens, &parted);
        self.statistics.push(statistics);
        for (_, chrf, rows) in &mut self.chrf {
            rows.push(chrf.statistics(text, references));
        }
        let mut own = tokens.to_vec();
        if self.rouge_tokens == RougeTokens::Latin {
            let mut tokens = |text: &str| {
                let mut tokens = Vec::new();
                latin(text, |token| tokens.push(self.latin.number(token)));
                tokens
            };
            own = tokens(text);
            parted = references.iter().map(|text| tokens(text)).collect();
        }
        for (rouge, rows) in &mut self.rouge {
            rows.push(rouge.score(&own, &parted));
        }
    }

    /// Every score with its interval; none where nothing was compared.
    pub(crate) fn metrics(&self, resamples: usize, random: &mut Random) -> Vec<Metric> {
        let texts = self.statistics.len();
        if texts == 0 {
            return Vec::new();
        }
        let statistics = &self.statistics;
        let interval = stats::bootstrap(texts, resamples, random, |drawn| {
            self.bleu
                .score(drawn.iter().map(|&row| &statistics[row]))
                .value
        });
        let bleu = self.bleu.score(statistics.iter());
        let mut metrics = vec![
            Metric::higher("bleu", bleu.value).interval(interval),
            Metric::higher("brevity_penalty", bleu.brevity),
        ];
        for (name, chrf, rows) in &self.chrf {
            let interval = stats::bootstrap(texts, resamples, random, |drawn| {
                chrf.corpus(drawn.iter().map(|&row| &rows[row]))
            });
            let value = chrf.corpus(rows.iter());
            metrics.push(Metric::higher(*name, value).interval(interval));
        }
        for (rouge, rows) in &self.rouge {
            let interval = stats::bootstrap_mean(rows, resamples, random);
            metrics.push(Metric::higher(rouge.name(), stats::mean(rows)).interval(interval));
        }
        metrics
    }

    /// What BLEU is made of: the matches of each length.
    pub(crate) fn table(&self) -> Result<Option<Batch>> {
        if self.statistics.is_empty() {
            return Ok(None);
        }
        let orders = self.bleu.score(self.statistics.iter()).orders;
        let share = |(correct, total): &(u64, u64)| *correct as f64 / (*total).max(1) as f64;
        Batch::from_columns([
            Column::from_i64s("order", 1..=orders.len() as i64),
            Column::from_i64s("matched", orders.iter().map(|(correct, _)| *correct as i64)),
            Column::from_i64s("total", orders.iter().map(|(_, total)| *total as i64)),
            Column::from_f64s("precision", orders.iter().map(share)),
        ])
        .map(Some)
    }
}
