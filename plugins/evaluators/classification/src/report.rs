//! The report: numbers, tables, and the figures that show what the numbers hide.

use std::collections::HashMap;

use tenon_sdk::{
    Batch, Column, ColumnBuilder, ColumnType, Metric, Report, Result,
    host::Random,
    plot::{self, Axis, Guide, Series},
};

use crate::{
    curves::{Areas, Ranking},
    judge::Judge,
    scores::Scores,
};

/// Classes of a confusion matrix; of more, the pairs that are confused most often are listed.
const MOST_CLASSES: usize = 50;
/// Classes with curves of their own: the most frequent.
const MOST_CURVES: usize = 10;
/// Points of a curve.
const MOST_POINTS: usize = 300;

pub(crate) fn report(
    judge: &Judge,
    mistakes: usize,
    resamples: usize,
    random: &mut Random,
) -> Result<Report> {
    let mut report = Report::new();
    for (measure, interval) in judge.measures(resamples, random) {
        let metric = if measure.higher_is_better {
            Metric::higher(measure.name, measure.value)
        } else {
            Metric::lower(measure.name, measure.value)
        };
        report = report.metric(metric.interval(interval));
    }
    report = report.metric(Metric::higher("rows", judge.len() as f64));
    report = confusion(judge, report)?;
    report = report.table("classes", classes(judge)?);
    if let Some(scores) = &judge.scores {
        report = curves(judge, scores, report);
    }
    report = calibration(judge, report)?;
    if mistakes > 0 {
        report = report.table("mistakes", worst(judge, mistakes)?);
    }
    Ok(report)
}

/// Which class is taken for which.
fn confusion(judge: &Judge, report: Report) -> Result<Report> {
    let names = &judge.classes.names;
    let pairs = judge.truth.iter().zip(&judge.predicted);
    if names.len() > MOST_CLASSES {
        let mut counts: HashMap<(u32, u32), i64> = HashMap::new();
        for (&truth, &predicted) in pairs.filter(|(truth, predicted)| truth != predicted) {
            *counts.entry((truth, predicted)).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable_by_key(|(pair, count)| (-count, *pair));
        counts.truncate(MOST_CLASSES);
        let name = |class: u32| &names[class as usize];
        let table = Batch::from_columns([
            Column::from_utf8("actual", counts.iter().map(|((of, _), _)| name(*of))),
            Column::from_utf8("predicted", counts.iter().map(|((_, as_), _)| name(*as_))),
            Column::from_i64s("rows", counts.iter().map(|(_, count)| *count)),
        ])?;
        return Ok(report.table("confusions", table));
    }
    let mut cells = vec![vec![0_u64; names.len()]; names.len()];
    for (&truth, &predicted) in pairs {
        cells[truth as usize][predicted as usize] += 1;
    }
    // The heading says which way to read it; no class may have its name.
    let mut heading = "actual \\ predicted".to_owned();
    while names.contains(&heading) {
        heading.push('\'');
    }
    let mut columns = vec![Column::from_utf8(heading, names)];
    for (at, name) in names.iter().enumerate() {
        let down = cells.iter().map(|row| row[at] as i64);
        // A column needs a name, a class need not have one.
        let name = if name.is_empty() { "\"\"" } else { name };
        columns.push(Column::from_i64s(name, down));
    }
    let figure = plot::matrix(("actual", names), ("predicted", names), &cells);
    Ok(report
        .table("confusion_matrix", Batch::from_columns(columns)?)
        .plot("confusion_matrix", &figure))
}

/// Each class by itself.
fn classes(judge: &Judge) -> Result<Batch> {
    let ones = vec![1.0; judge.len()];
    let count = judge.classes.len();
    let counts = crate::counts::Counts::new(count, &judge.truth, &judge.predicted, &ones);
    let scored: Vec<_> = (0..count).map(|class| counts.class(class)).collect();
    let mut columns = vec![
        Column::from_utf8("class", &judge.classes.names),
        Column::from_i64s("rows", counts.truth.iter().map(|rows| *rows as i64)),
        Column::from_i64s(
            "predicted",
            counts.predicted.iter().map(|rows| *rows as i64),
        ),
        Column::from_f64s("precision", scored.iter().map(|of| of.precision)),
        Column::from_f64s("recall", scored.iter().map(|of| of.recall)),
        Column::from_f64s("f1", scored.iter().map(|of| of.f1)),
    ];
    if let Some(scores) = &judge.scores {
        let areas: Vec<Areas> = if judge.classes.positive.is_some() {
            let rankings = (0..count as u32).map(|class| Ranking::new(scores, class, judge.len()));
            rankings
                .map(|ranking| ranking.areas(&judge.truth, &ones))
                .collect()
        } else {
            judge.areas(scores, &ones, false)
        };
        columns.push(defined("roc_auc", areas.iter().map(|areas| areas.roc)));
        columns.push(defined(
            "average_precision",
            areas.iter().map(|areas| areas.precision),
        ));
    }
    Batch::from_columns(columns)
}

/// Numbers, and nothing where there is none.
fn defined(name: &str, values: impl Iterator<Item = f64>) -> Column {
    let mut column = ColumnBuilder::new(name, ColumnType::Float64);
    for value in values {
        if value.is_finite() {
            column.push_f64(value);
        } else {
            column.push_null();
        }
    }
    column.finish()
}

fn curves(judge: &Judge, scores: &Scores, report: Report) -> Report {
    let mut rows = vec![0_u64; judge.classes.len()];
    for &class in &judge.truth {
        rows[class as usize] += 1;
    }
    let mut curved = judge.curved();
    // A curve needs rows of its class, and others.
    curved.retain(|class| (1..judge.len() as u64).contains(&rows[*class as usize]));
    curved.sort_by_key(|class| std::cmp::Reverse(rows[*class as usize]));
    curved.truncate(MOST_CURVES);
    if curved.is_empty() {
        return report;
    }
    let (mut roc, mut precision) = (Vec::new(), Vec::new());
    for class in curved {
        let curves = Ranking::new(scores, class, judge.len()).curves(&judge.truth);
        let name = &judge.classes.names[class as usize];
        roc.push(Series::new(name, curves.roc).thinned(MOST_POINTS));
        precision.push(Series::new(name, curves.precision).thinned(MOST_POINTS));
    }
    let (fall_out, recall) = (Axis::share("false positive rate"), Axis::share("recall"));
    let roc = plot::curves(fall_out, recall, Guide::Diagonal(0.0, 1.0), &roc);
    let precision = plot::curves(recall, Axis::share("precision"), Guide::None, &precision);
    report
        .plot("roc", &roc)
        .plot("precision_recall", &precision)
}

fn calibration(judge: &Judge, report: Report) -> Result<Report> {
    let bands = &judge.bands;
    if bands.is_empty() {
        return Ok(report);
    }
    let table = Batch::from_columns([
        Column::from_f64s("from", bands.iter().map(|band| band.from)),
        Column::from_f64s("to", bands.iter().map(|band| band.to)),
        Column::from_i64s("rows", bands.iter().map(|band| band.rows as i64)),
        Column::from_f64s("confidence", bands.iter().map(|band| band.confidence)),
        Column::from_f64s("share", bands.iter().map(|band| band.share)),
    ])?;
    let of = match judge.classes.positive {
        Some(positive) => format!("share of {}", judge.classes.names[positive as usize]),
        None => "share predicted rightly".to_owned(),
    };
    let points = bands.iter().map(|band| [band.confidence, band.share]);
    let figure = plot::curves(
        Axis::share("mean probability"),
        Axis::share(&of),
        Guide::Diagonal(0.0, 1.0),
        &[Series::new("", points)],
    );
    Ok(report
        .table("calibration", table)
        .plot("calibration", &figure))
}

/// The mistakes that were made with the highest scores, or the first ones.
fn worst(judge: &Judge, most: usize) -> Result<Batch> {
    let mut wrong: Vec<usize> = (0..judge.len())
        .filter(|row| judge.truth[*row] != judge.predicted[*row])
        .collect();
    let score = |row: usize| {
        let scores = judge.scores.as_ref()?;
        Some(scores.get(row, judge.predicted[row]))
    };
    wrong.sort_by(|a, b| {
        score(*b)
            .partial_cmp(&score(*a))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    wrong.truncate(most);
    let name = |class: u32| &judge.classes.names[class as usize];
    let mut columns = vec![
        Column::from_i64s("row", wrong.iter().map(|row| judge.numbers[*row] as i64)),
        Column::from_utf8("actual", wrong.iter().map(|row| name(judge.truth[*row]))),
        Column::from_utf8(
            "predicted",
            wrong.iter().map(|row| name(judge.predicted[*row])),
        ),
    ];
    if judge.scores.is_some() {
        columns.push(Column::from_f64s(
            "score",
            wrong.iter().filter_map(|row| score(*row)),
        ));
    }
    Batch::from_columns(columns)
}
