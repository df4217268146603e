//! The report: numbers, the rows that are farthest off, and the residuals.

use tenon_sdk::{
    Batch, Column, ColumnBuilder, ColumnType, Error, Metric, Report, Result, host,
    host::Random,
    plot::{self, Axis, Guide, Series},
    stats,
};

use crate::{
    Config,
    measures::{Measure, Pairs},
    rows::Rows,
};

/// Bars of the histogram.
const BARS: usize = 40;
/// Targets that are told apart by colour.
const MOST_SERIES: usize = 10;

pub(crate) fn report(rows: Rows, config: &Config, random: &mut Random) -> Result<Report> {
    let (targets, numbers) = rows.targets();
    if !config.names.is_empty() && config.names.len() != targets.len() {
        return Err(Error::invalid(format!(
            "`names` has {} names for {} targets",
            config.names.len(),
            targets.len()
        )));
    }
    let names: Vec<String> = match &config.names[..] {
        [] => (0..targets.len())
            .map(|target| target.to_string())
            .collect(),
        names => names.to_vec(),
    };
    let mut report = Report::new();
    report.metrics = metrics(&targets, numbers.len(), config.resamples, random);
    report = report.metric(Metric::higher("rows", numbers.len() as f64));
    if targets.len() > 1 {
        report = report.table("targets", each(&targets, &names)?);
    }
    if config.errors > 0 {
        report = report.table("errors", worst(&targets, &names, &numbers, config.errors)?);
    }
    Ok(plots(&targets, &names, config.points, random, report))
}

/// The measures' means over the targets. What is not defined is left out, and said.
fn metrics(targets: &[Pairs], rows: usize, resamples: usize, random: &mut Random) -> Vec<Metric> {
    let ones = vec![1.0; rows];
    let measures = mean(targets, &ones, false);
    let intervals = stats::bootstrap_weights(rows, resamples, random, |weights| {
        let drawn = mean(targets, weights, true).into_iter();
        drawn.map(|measure| measure.value).collect()
    });
    let mut undefined = Vec::new();
    let mut metrics = Vec::new();
    for (at, measure) in measures.into_iter().enumerate() {
        if !measure.value.is_finite() {
            undefined.push(measure.name);
            continue;
        }
        let metric = match measure.higher_is_better {
            true => Metric::higher(measure.name, measure.value),
            false => Metric::lower(measure.name, measure.value),
        };
        metrics.push(metric.interval(intervals.get(at).copied().flatten()));
    }
    if !undefined.is_empty() {
        host::info(&format!(
            "not defined for these rows: {} (a share of a true number that is 0, a correlation of numbers that do \
             not vary, or a single row)",
            undefined.join(", ")
        ));
    }
    metrics
}

fn mean(targets: &[Pairs], weights: &[f64], draw: bool) -> Vec<Measure> {
    let mut all = targets.iter().map(|pairs| pairs.measure(weights, draw));
    let mut sum = all.next().unwrap_or_default();
    for measures in all {
        for (sum, measure) in sum.iter_mut().zip(measures) {
            sum.value += measure.value;
        }
    }
    for sum in &mut sum {
        sum.value /= targets.len() as f64;
    }
    sum
}

/// The measures of each target.
fn each(targets: &[Pairs], names: &[String]) -> Result<Batch> {
    let mut columns = vec![Column::from_utf8("target", names)];
    let measured: Vec<Vec<Measure>> = targets
        .iter()
        .map(|pairs| pairs.measure(&vec![1.0; pairs.truth.len()], false))
        .collect();
    let kinds = measured.first().map_or(0, Vec::len);
    for kind in 0..kinds {
        let mut column = ColumnBuilder::new(measured[0][kind].name, ColumnType::Float64);
        for measures in &measured {
            match measures[kind].value {
                value if value.is_finite() => column.push_f64(value),
                _ => column.push_null(),
            }
        }
        columns.push(column.finish());
    }
    Batch::from_columns(columns)
}

/// The rows that are farthest off.
fn worst(targets: &[Pairs], names: &[String], numbers: &[u64], most: usize) -> Result<Batch> {
    let mut rows: Vec<(usize, usize)> = targets
        .iter()
        .enumerate()
        .flat_map(|(target, pairs)| pairs.worst(most).map(move |row| (target, row)))
        .collect();
    let error = |(target, row): (usize, usize)| targets[target].error(row);
    rows.sort_by(|a, b| error(*b).abs().total_cmp(&error(*a).abs()));
    rows.truncate(most);
    let mut columns = vec![Column::from_i64s(
        "row",
        rows.iter().map(|(_, row)| numbers[*row] as i64),
    )];
    if targets.len() > 1 {
        columns.push(Column::from_utf8(
            "target",
            rows.iter().map(|(target, _)| &names[*target]),
        ));
    }
    let of = |value: fn(&Pairs, usize) -> f64| {
        rows.iter()
            .map(move |(target, row)| value(&targets[*target], *row))
    };
    columns.push(Column::from_f64s(
        "actual",
        of(|pairs, row| pairs.truth[row]),
    ));
    columns.push(Column::from_f64s(
        "predicted",
        of(|pairs, row| pairs.predicted[row]),
    ));
    columns.push(Column::from_f64s("error", of(Pairs::error)));
    Batch::from_columns(columns)
}

fn plots(
    targets: &[Pairs],
    names: &[String],
    points: usize,
    random: &mut Random,
    report: Report,
) -> Report {
    let shown = &targets[..targets.len().min(MOST_SERIES)];
    let rows = shown.first().map_or(0, |pairs| pairs.truth.len());
    let mut drawn: Vec<usize> = (0..rows).collect();
    if rows * shown.len() > points {
        random.shuffle(&mut drawn);
        drawn.truncate((points / shown.len()).max(1));
    }
    let series = |point: fn(&Pairs, usize) -> [f64; 2]| -> Vec<Series> {
        let targets = shown.iter().zip(names);
        targets
            .map(|(pairs, name)| Series::new(name, drawn.iter().map(|row| point(pairs, *row))))
            .collect()
    };
    let residuals = plot::scatter(
        Axis::new("predicted"),
        Axis::new("predicted − actual"),
        Guide::Level(0.0),
        &series(|pairs, row| [pairs.predicted[row], pairs.error(row)]),
    );
    let actual = series(|pairs, row| [pairs.truth[row], pairs.predicted[row]]);
    let values = actual
        .iter()
        .flat_map(|series| series.points.iter().map(|point| point[0]));
    let (low, high) = range(values);
    let actual = plot::scatter(
        Axis::new("actual"),
        Axis::new("predicted"),
        Guide::Diagonal(low, high),
        &actual,
    );
    let errors = || {
        shown
            .iter()
            .flat_map(|pairs| (0..rows).map(|row| pairs.error(row)))
    };
    let (low, high) = range(errors());
    let mut counts = vec![0; BARS];
    let width = (high - low) / BARS as f64;
    for error in errors() {
        // All in the first where all are the same.
        let bar = if width > 0.0 {
            (error - low) / width
        } else {
            0.0
        };
        counts[(bar as usize).min(BARS - 1)] += 1;
    }
    let spread = plot::histogram(Axis::new("predicted − actual"), low, high, &counts);
    report
        .plot("residuals", &residuals)
        .plot("predicted_and_actual", &actual)
        .plot("residual_histogram", &spread)
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    })
}
