//! Evaluation: one model, shown to one evaluator after the other.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tenon_data::{GrantedDatasets, convert, dataset::to_json};
use tenon_model::Model;
use tenon_plugin::{
    Batch, Evaluation, Evaluator, GenerationOptions, Grants, Limits, LogLevel, ModelSource, Scored,
    TokenizerSource,
};
use tenon_track::{Progress, Reference, ReferenceKind};

use crate::{
    REPORT, Result, TrainError,
    jobs::{Job, Record},
    prepare::{EvaluationPlan, EvaluatorPlan},
};

/// How many times the usual time an evaluator's call may take: the model computes within it.
const PATIENCE: u32 = 12;

/// What an evaluation job does. It has no checkpoints: resumed, it begins anew.
pub(crate) fn run(job: &Job) -> Result<()> {
    let Record::Evaluate(plan) = job.record()? else {
        return Err(TrainError::Internal(
            "the record is not one of an evaluation".into(),
        ));
    };
    let platform = job.platform();
    platform.tracker.rewind(job.id(), -1)?;
    let mut bench = Bench::open(job, &plan)?;
    let mut reports = Vec::new();
    for (at, one) in plan.evaluators.iter().enumerate() {
        job.check()?;
        // What the plugin says of a model that was stopped is not why the job ended.
        let found = bench
            .judge(one, at)
            .map_err(|error| match job.should_stop() {
                true => TrainError::Stopped,
                false => error,
            })?;
        log(job, one, &found)?;
        reports.push(report(one, found)?);
    }
    let document = json!({
        "model": plan.model,
        "manifest": plan.manifest.digest(),
        "dataset": plan.split.reference(),
        "dataset_digest": plan.split.digest,
        "rows": bench.rows,
        "seed": plan.spec.seed,
        "evaluators": reports,
    });
    let bytes = serde_json::to_vec_pretty(&document)
        .map_err(|error| TrainError::Internal(error.to_string()))?;
    let artifact = job.log_artifact(REPORT, &bytes)?;
    job.add_output(Reference {
        kind: ReferenceKind::File,
        role: "report".to_owned(),
        name: REPORT.to_owned(),
        digest: artifact.digest,
    })
}

/// A model and the rows that it is judged on.
struct Bench<'j> {
    job: &'j Job,
    plan: &'j EvaluationPlan,
    model: Arc<Mutex<Model>>,
    tokenizer: Option<Arc<dyn TokenizerSource>>,
    /// The dataset's columns that the model reads.
    columns: Vec<String>,
    rows: u64,
}

impl<'j> Bench<'j> {
    fn open(job: &'j Job, plan: &'j EvaluationPlan) -> Result<Self> {
        let grants = Grants {
            seed: plan.spec.seed,
            log: job.log_sink(),
            ..Grants::default()
        };
        let model = job.platform().load(&plan.manifest, grants)?;
        let columns = model.signature().columns().into_iter();
        Ok(Self {
            job,
            plan,
            columns: columns.map(str::to_owned).collect(),
            tokenizer: model
                .tokenizer()
                .map(|tokenizer| tokenizer.clone() as Arc<dyn TokenizerSource>),
            model: Arc::new(Mutex::new(model)),
            rows: plan.spec.rows.unwrap_or(u64::MAX).min(plan.split.rows),
        })
    }

    /// What one evaluator finds.
    fn judge(&mut self, one: &EvaluatorPlan, at: usize) -> Result<Evaluation> {
        let platform = self.job.platform();
        let component = platform.registry.resolve(&one.plugin.digest)?;
        let granted = one
            .datasets
            .iter()
            .map(|(name, granted)| (name.as_str(), granted.reference.as_str()));
        let granted = GrantedDatasets::new(&platform.datasets, granted)?;
        let judges = component.description().asks_for("model");
        let limits = component.engine().limits();
        let grants = Grants {
            seed: one.seed,
            limits: judges.then(|| Limits {
                call_time: limits.call_time.saturating_mul(PATIENCE),
                ..limits.clone()
            }),
            log: self.job.log_sink(),
            tokenizer: self.tokenizer.clone(),
            datasets: Some(granted.shared()),
            model: Some(Box::new(Judged {
                model: self.model.clone(),
                stop: self.job.switch(),
            })),
        };
        let mut evaluator = Evaluator::open(&component, &one.config, grants)?;
        let columns = self.wanted(evaluator.columns(), judges);
        let version = self.plan.split.version(&platform.datasets)?;
        let spec = &self.plan.spec;
        let batches = platform.datasets.read(
            &version,
            &self.plan.split.split,
            columns.as_deref(),
            spec.batch_rows,
        )?;
        let mut seen = 0;
        for batch in batches {
            self.job.check()?;
            let batch = batch?;
            let rows = (self.rows - seen).min(batch.num_rows() as u64);
            if rows == 0 {
                break;
            }
            let mut batch = convert::to_batch(&batch.slice(0, rows as usize))?;
            self.alias(&mut batch);
            evaluator.update(&batch)?;
            seen += rows;
            self.tell(&one.label, at, seen)?;
        }
        Ok(evaluator.finish()?)
    }

    /// The dataset's columns that an evaluator is shown: those that it needs and, where it asks the
    /// model, those that the model reads. Nothing: all.
    fn wanted(&self, needs: Option<&[String]>, judges: bool) -> Option<Vec<String>> {
        let mut wanted: Vec<String> = Vec::new();
        let model = self.columns.iter().filter(|_| judges);
        for column in needs?.iter().chain(model) {
            let column = self.plan.spec.columns.get(column).unwrap_or(column);
            if !wanted.contains(column) {
                wanted.push(column.clone());
            }
        }
        Some(wanted)
    }

    /// Adds the columns that the recipe reads under another name.
    fn alias(&self, batch: &mut Batch) {
        for (name, from) in &self.plan.spec.columns {
            let Some(mut column) = batch.column(from).cloned() else {
                continue;
            };
            column.name.clone_from(name);
            batch.columns.retain(|old| old.name != *name);
            batch.columns.push(column);
        }
    }

    fn tell(&self, label: &str, at: usize, seen: u64) -> Result<()> {
        self.job.set_progress(Progress {
            done: at as u64 * self.rows + seen,
            total: Some(self.plan.evaluators.len() as u64 * self.rows),
            unit: "rows".to_owned(),
            rate: 0.0,
            rate_unit: "rows/s".to_owned(),
            seconds_left: None,
            message: label.to_owned(),
        })
    }
}

/// The model, lent to one evaluator after the other.
struct Judged {
    model: Arc<Mutex<Model>>,
    stop: Arc<AtomicBool>,
}

impl Judged {
    fn with<T>(
        &self,
        ask: impl FnOnce(&mut dyn ModelSource) -> Result<T, String>,
    ) -> Result<T, String> {
        if self.stop.load(Ordering::Relaxed) {
            return Err("the evaluation was stopped".to_owned());
        }
        ask(&mut *self.model.lock())
    }
}

impl ModelSource for Judged {
    fn score(&mut self, rows: &Batch) -> Result<Vec<Scored>, String> {
        self.with(|model| model.score(rows))
    }

    fn generate(
        &mut self,
        rows: &Batch,
        options: &GenerationOptions,
    ) -> Result<Vec<String>, String> {
        self.with(|model| model.generate(rows, options))
    }

    fn predict(&mut self, rows: &Batch) -> Result<Batch, String> {
        self.with(|model| model.predict(rows))
    }
}

/// The metrics of an evaluator as those of the run.
fn log(job: &Job, one: &EvaluatorPlan, found: &Evaluation) -> Result<()> {
    let mut values = Vec::new();
    for metric in &found.metrics {
        let name = format!("{}/{}", one.label, metric.name);
        values.extend(metric.low.map(|low| (format!("{name}/low"), low)));
        values.extend(metric.high.map(|high| (format!("{name}/high"), high)));
        let said = format!("{name} = {}", metric.value);
        job.say(LogLevel::Info, &said);
        values.push((name, metric.value));
    }
    let values: Vec<(&str, f64)> = values
        .iter()
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    job.log_metrics(0, &values)
}

/// An evaluator's part of the report.
fn report(one: &EvaluatorPlan, found: Evaluation) -> Result<Value> {
    let mut tables = Vec::new();
    for table in found.tables {
        let rows = convert::from_batch(table.rows)?;
        let columns: Vec<Value> = rows
            .schema()
            .fields()
            .iter()
            .map(|field| json!(field.name()))
            .collect();
        tables.push(json!({"name": table.name, "columns": columns, "rows": to_json(&rows)?}));
    }
    let mut out = Map::new();
    out.insert("label".to_owned(), json!(one.label));
    out.insert("plugin".to_owned(), json!(one.plugin));
    out.insert("config".to_owned(), one.config.clone());
    out.insert("seed".to_owned(), json!(one.seed));
    out.insert("metrics".to_owned(), json!(found.metrics));
    out.insert("tables".to_owned(), Value::Array(tables));
    out.insert("plots".to_owned(), json!(found.plots));
    Ok(Value::Object(out))
}
