//! Counting which rules are kept.

use tenon_sdk::{Metric, host::Random, stats};
use verse::Judgement;

/// Whether no character is repeated; `across`: nor taken from the upper line.
pub(crate) fn no_repeats(judgement: &Judgement, across: bool) -> bool {
    judgement.distinct && (judgement.fresh || !across)
}

/// Whether every rule that could be judged is kept.
pub(crate) fn all_rules(judgement: &Judgement, across: bool) -> bool {
    judgement.equal_length
        && judgement.tones()
        && judgement.endings != Some(false)
        && no_repeats(judgement, across)
}

/// The judgements of all couplets.
pub(crate) struct Tally {
    across: bool,
    judgements: Vec<Judgement>,
}

impl Tally {
    pub(crate) fn new(across: bool) -> Self {
        Self {
            across,
            judgements: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, judgement: &Judgement) {
        self.judgements.push(*judgement);
    }

    pub(crate) fn couplets(&self) -> usize {
        self.judgements.len()
    }

    /// Every rate with its interval. What could nowhere be judged is left out.
    pub(crate) fn metrics(&self, resamples: usize, random: &mut Random) -> Vec<Metric> {
        let across = self.across;
        let always = |kept: bool| Some((f64::from(u8::from(kept)), 1.0));
        let mut rate = |name: &str, of: &dyn Fn(&Judgement) -> Option<(f64, f64)>| {
            self.rate(name, resamples, random, of)
        };
        [
            rate("all_rules", &|j| always(all_rules(j, across))),
            rate("equal_length", &|j| always(j.equal_length)),
            rate("opposed_tones", &|j| {
                Some((f64::from(j.opposed), f64::from(j.judged)))
            }),
            rate("opposed_lines", &|j| {
                (j.judged > 0).then(|| (f64::from(u8::from(j.tones())), 1.0))
            }),
            rate("endings", &|j| {
                j.endings.map(|kept| (f64::from(u8::from(kept)), 1.0))
            }),
            rate("no_repeats", &|j| always(no_repeats(j, across))),
        ]
        .into_iter()
        .flatten()
        .chain([Metric::higher("couplets", self.couplets() as f64)])
        .collect()
    }

    /// A rate: the sum of what is kept over the sum of what could be.
    fn rate(
        &self,
        name: &str,
        resamples: usize,
        random: &mut Random,
        of: &dyn Fn(&Judgement) -> Option<(f64, f64)>,
    ) -> Option<Metric> {
        let (kept, judged): (Vec<f64>, Vec<f64>) = self.judgements.iter().filter_map(of).unzip();
        let total: f64 = judged.iter().sum();
        if total == 0.0 {
            return None;
        }
        let metric = Metric::higher(name, kept.iter().sum::<f64>() / total);
        let interval = stats::bootstrap_ratio(&kept, &judged, resamples, random);
        Some(metric.interval(interval))
    }
}
