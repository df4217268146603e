//! All measures of the rows together.

use std::borrow::Cow;

use tenon_sdk::{Error, Result, host, host::Random, stats};

use crate::{
    calibration::{self, Band},
    classes::Classes,
    config::Config,
    counts::Counts,
    curves::{Areas, Ranking},
    rows::Rows,
    scores::Scores,
};

/// How much the intervals of the curves' areas may cost: rows times classes times resamples. About
/// half a minute.
const MOST_WORK: u64 = 1_000_000_000;

/// One number.
pub(crate) struct Measure {
    pub(crate) name: Cow<'static, str>,
    /// NaN: not defined for these rows.
    pub(crate) value: f64,
    pub(crate) higher_is_better: bool,
}

/// The rows, ready to be measured.
pub(crate) struct Judge {
    pub(crate) classes: Classes,
    pub(crate) truth: Vec<u32>,
    pub(crate) predicted: Vec<u32>,
    pub(crate) scores: Option<Scores>,
    pub(crate) bands: Vec<Band>,
    /// Where each row stood among those that were shown.
    pub(crate) numbers: Vec<u64>,
    /// By which ranks the true class counts as found.
    top: Vec<usize>,
    /// By each class's score, where these are few enough to keep and to draw from.
    rankings: Vec<Ranking>,
}

impl Judge {
    pub(crate) fn new(rows: Rows, config: &Config) -> Result<Self> {
        let classes = Classes::new(config, &rows.named, rows.width)?;
        let place = |numbers: Vec<u32>| -> Vec<u32> {
            let places = numbers.into_iter();
            places
                .map(|number| classes.places[number as usize])
                .collect()
        };
        let truth = place(rows.truth);
        let mut predicted = place(rows.predicted);
        let scores = rows
            .width
            .map(|width| Scores::new(rows.scores, width, &truth, config.scale));
        if let Some(scores) = &scores {
            predicted = match config.threshold {
                None => scores.winners.clone(),
                Some(threshold) => parted(scores, truth.len(), &classes, threshold)?,
            };
        }
        let mut judge = Self {
            classes,
            truth,
            predicted,
            scores,
            bands: Vec::new(),
            numbers: rows.numbers,
            top: config.top.clone(),
            rankings: Vec::new(),
        };
        judge.bands = judge.calibration(config);
        judge.rankings = judge.rankings(config.resamples);
        Ok(judge)
    }

    pub(crate) fn len(&self) -> usize {
        self.truth.len()
    }

    /// The classes whose curves are drawn: of two classes, that which is looked for.
    pub(crate) fn curved(&self) -> Vec<u32> {
        match (&self.scores, self.classes.positive) {
            (None, _) => Vec::new(),
            (Some(_), Some(positive)) => vec![positive],
            (Some(scores), None) => (0..scores.width() as u32).collect(),
        }
    }

    fn rankings(&self, resamples: usize) -> Vec<Ranking> {
        let (Some(scores), curved) = (&self.scores, self.curved()) else {
            return Vec::new();
        };
        let work = self.len() as u64 * curved.len() as u64 * resamples.max(1) as u64;
        if work > MOST_WORK {
            host::info(&format!(
                "{} rows with {} classes are too many for intervals of the curves' areas; fewer `resamples` or \
                 `max_rows` would give them",
                self.len(),
                curved.len()
            ));
            return Vec::new();
        }
        curved
            .into_iter()
            .map(|class| Ranking::new(scores, class, self.len()))
            .collect()
    }

    fn calibration(&self, config: &Config) -> Vec<Band> {
        let Some(scores) = self.scores.as_ref().filter(|s| s.judged.is_some()) else {
            return Vec::new();
        };
        // Of two classes the probability of the one that is looked for, of more that of the likeliest.
        let class = |row: usize| self.classes.positive.unwrap_or(scores.winners[row]);
        let confidences: Vec<f64> = (0..self.len())
            .map(|row| scores.get(row, class(row)))
            .collect();
        let so = |row: usize| self.truth[row] == class(row);
        calibration::bands(&confidences, so, config.bins, config.bands)
    }

    /// Every measure with its interval. What is not defined is left out, and said.
    pub(crate) fn measures(
        &self,
        resamples: usize,
        random: &mut Random,
    ) -> Vec<(Measure, Option<stats::Interval>)> {
        let ones = vec![1.0; self.len()];
        let measures = self.measure(&ones, false);
        let intervals = stats::bootstrap_weights(self.len(), resamples, random, |weights| {
            let drawn = self.measure(weights, true);
            drawn.into_iter().map(|measure| measure.value).collect()
        });
        let mut undefined = Vec::new();
        let mut defined = Vec::new();
        for (at, measure) in measures.into_iter().enumerate() {
            if measure.value.is_finite() {
                defined.push((measure, intervals.get(at).copied().flatten()));
            } else {
                undefined.push(measure.name);
            }
        }
        if !undefined.is_empty() {
            host::info(&format!(
                "not defined for these rows, which lack a class or a second one: {}",
                undefined.join(", ")
            ));
        }
        defined
    }

    /// Every measure of rows that count as often as `weights` says; in a draw some are not computed.
    fn measure(&self, weights: &[f64], draw: bool) -> Vec<Measure> {
        let counts = Counts::new(self.classes.len(), &self.truth, &self.predicted, weights);
        let mut all = List(Vec::with_capacity(32));
        all.higher("accuracy", counts.accuracy());
        all.higher("balanced_accuracy", counts.balanced());
        if let Some(positive) = self.classes.positive {
            let of = counts.class(positive as usize);
            all.higher("precision", of.precision);
            all.higher("recall", of.recall);
            all.higher("f1", of.f1);
        }
        let mean = counts.macro_mean();
        all.higher("precision_macro", mean.precision);
        all.higher("recall_macro", mean.recall);
        all.higher("f1_macro", mean.f1);
        let mean = counts.weighted_mean();
        all.higher("precision_weighted", mean.precision);
        all.higher("recall_weighted", mean.recall);
        all.higher("f1_weighted", mean.f1);
        let mean = counts.micro();
        all.higher("precision_micro", mean.precision);
        all.higher("recall_micro", mean.recall);
        all.higher("f1_micro", mean.f1);
        all.higher("matthews", counts.matthews());
        all.higher("cohen_kappa", counts.kappa());
        if let Some(scores) = &self.scores {
            self.scored(scores, &counts, weights, draw, &mut all);
        }
        all.0
    }

    /// The measures that need scores.
    fn scored(
        &self,
        scores: &Scores,
        counts: &Counts,
        weights: &[f64],
        draw: bool,
        all: &mut List,
    ) {
        let rows: f64 = weights.iter().sum();
        let mean = |of: &mut dyn Iterator<Item = f64>| {
            of.zip(weights)
                .map(|(value, weight)| value * weight)
                .sum::<f64>()
                / rows
        };
        for top in self.top.iter().filter(|top| **top < self.classes.len()) {
            let within = scores
                .above
                .iter()
                .map(|above| u8::from((*above as usize) < *top));
            let value = mean(&mut within.map(f64::from));
            all.0.push(Measure {
                name: format!("top_{top}_accuracy").into(),
                value,
                higher_is_better: true,
            });
        }
        let areas = self.areas(scores, weights, draw);
        if self.classes.positive.is_some() {
            let areas = areas.first();
            all.higher("roc_auc", areas.map_or(f64::NAN, |areas| areas.roc));
            all.higher("average_precision", areas.map_or(f64::NAN, |a| a.precision));
        } else {
            let (ones, truth) = (vec![1.0; areas.len()], &counts.truth);
            let rocs = || areas.iter().map(|areas| areas.roc);
            let precisions = || areas.iter().map(|areas| areas.precision);
            all.higher("roc_auc_macro", average(rocs(), &ones));
            all.higher("roc_auc_weighted", average(rocs(), truth));
            all.higher("average_precision_macro", average(precisions(), &ones));
            all.higher("average_precision_weighted", average(precisions(), truth));
        }
        if let Some(judged) = &scores.judged {
            all.lower("log_loss", mean(&mut judged.losses.iter().copied()));
            all.lower("brier", mean(&mut judged.briers.iter().copied()));
            // A draw has fewer different rows and so looks worse calibrated than its rows are: the
            // bootstrap has no interval for this.
            let (expected, greatest) = match draw {
                true => (f64::NAN, f64::NAN),
                false => calibration::errors(&self.bands),
            };
            all.lower("calibration_error", expected);
            all.lower("max_calibration_error", greatest);
        }
    }

    /// The areas of the classes that have curves; nothing in a draw where they would cost too much.
    pub(crate) fn areas(&self, scores: &Scores, weights: &[f64], draw: bool) -> Vec<Areas> {
        if !self.rankings.is_empty() || draw {
            let rankings = self.rankings.iter();
            return rankings.map(|r| r.areas(&self.truth, weights)).collect();
        }
        let rankings = self.curved().into_iter();
        rankings
            .map(|class| Ranking::new(scores, class, self.len()).areas(&self.truth, weights))
            .collect()
    }
}

/// The mean of those that are defined; NaN where none is.
fn average(values: impl Iterator<Item = f64>, weights: &[f64]) -> f64 {
    let defined = values.zip(weights).filter(|(value, _)| value.is_finite());
    let (sum, all) = defined.fold((0.0, 0.0), |(sum, all), (value, weight)| {
        (sum + value * weight, all + weight)
    });
    sum / all
}

/// The predictions by a bar for the positive of two classes.
fn parted(scores: &Scores, rows: usize, classes: &Classes, threshold: f64) -> Result<Vec<u32>> {
    let Some(positive) = classes.positive else {
        return Err(Error::invalid(format!(
            "`threshold` is given, but there are {} classes: it is for two",
            classes.len()
        )));
    };
    let class = |row| match scores.get(row, positive) > threshold {
        true => positive,
        false => 1 - positive,
    };
    Ok((0..rows).map(class).collect())
}

struct List(Vec<Measure>);

impl List {
    fn higher(&mut self, name: &'static str, value: f64) {
        self.0.push(Measure {
            name: name.into(),
            value,
            higher_is_better: true,
        });
    }

    fn lower(&mut self, name: &'static str, value: f64) {
        self.0.push(Measure {
            name: name.into(),
            value,
            higher_is_better: false,
        });
    }
}
