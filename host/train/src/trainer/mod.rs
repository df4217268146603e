//! The training loop.
//!
//! At every boundary between two steps the job may evaluate, write a checkpoint, stop or end; in
//! between it does nothing but compute. All that is random is a function of the seeds and the number of
//! the step, so a checkpoint has no generator's state, and a run that was resumed equals one that never
//! stopped, bit for bit where the device computes so.

mod adapter;
mod checkpoint;
mod eval;
mod finish;
mod pace;
mod preference;
mod scalars;
mod scaler;
mod setup;
mod state;
mod statistics;
mod step;
mod window;

use std::time::{Duration, Instant};

use tenon_plugin::LogLevel;
use tenon_tensor::memory::Retained;
use tenon_track::Progress;

use checkpoint::Checkpoints;
use eval::EvalSet;
use pace::Pace;
use state::State;
use step::{Learner, Looks};
use window::Window;

use crate::{
    Result, TrainError,
    jobs::{Job, Record},
    prepare::{TrainPlan, scalars},
};

/// A checkpoint is written at least this often.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);
/// How often those who watch are told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);

/// What a training job does, from its start or its last checkpoint.
pub(crate) fn run(job: &Job) -> Result<()> {
    let Record::Train(plan) = job.record()? else {
        return Err(TrainError::Internal(
            "the record is not one of a training".into(),
        ));
    };
    // Stopped in the middle of its end: only the rest of that is left to do.
    if finish::is_made(job)? {
        return finish::complete(job, &plan);
    }
    let _memory = Retained::hold();
    let mut trainer = Trainer::open(job, &plan)?;
    trainer.train()?;
    let best = trainer.best_weights();
    if best.is_none() {
        // The model is made of the averages, as it was measured.
        trainer.learner.exchange()?;
    }
    finish::make(job, &plan, trainer.learner.model(), &trainer.state, best)?;
    drop(trainer);
    finish::complete(job, &plan)
}

/// A training in memory.
struct Trainer<'j> {
    job: &'j Job,
    plan: &'j TrainPlan,
    learner: Learner,
    eval: Option<EvalSet>,
    checkpoints: Checkpoints,
    pace: Pace,
    state: State,
    window: Window,
    /// When this process began to train, and the seconds that earlier ones have.
    began: Instant,
    before: f64,
    /// The step and the time of the last checkpoint.
    saved: (Option<u64>, Instant),
    told: Option<Instant>,
}

impl Trainer<'_> {
    /// To the end of the job.
    fn train(&mut self) -> Result<()> {
        loop {
            match self.boundary() {
                Ok(false) => {}
                Ok(true) => return Ok(()),
                Err(error) if error.is_stop() => {
                    self.save()?;
                    self.job.say(
                        LogLevel::Info,
                        &format!("stopped after step {}", self.state.step),
                    );
                    return Err(TrainError::Stopped);
                }
                Err(error) => return Err(error),
            }
            let step = self.state.step + 1;
            self.step().map_err(|error| error.at_step(step))?;
        }
    }

    /// What is due between two steps; true when the training has ended.
    fn boundary(&mut self) -> Result<bool> {
        let (step, elapsed) = (self.state.step, self.elapsed());
        let ended = self.pace.is_over(step, elapsed) || self.is_stale();
        if ended && !self.window.is_empty() {
            // The end of the curve, between its points.
            self.window.begin();
            self.log(self.pace.learning_rate(step.saturating_sub(1), elapsed))?;
        }
        let spec = &self.plan.spec;
        let due = spec
            .eval_every
            .is_some_and(|every| step > 0 && step.is_multiple_of(every));
        if due || ended {
            self.evaluate()?;
        }
        if ended {
            return Ok(true);
        }
        if self.is_stale() {
            self.job.say(
                LogLevel::Info,
                &format!(
                    "stopped early after step {step}: the last {} evaluations were no better than \
                     the best",
                    self.state.stale
                ),
            );
            return self.boundary();
        }
        self.job.check()?;
        let (last, when) = self.saved;
        let due = step.is_multiple_of(spec.checkpoint_every) || when.elapsed() > CHECKPOINT_EVERY;
        if step > 0 && due && last != Some(step) {
            self.save()?;
        }
        Ok(false)
    }

    /// One step, and its point of the curve where one is due.
    fn step(&mut self) -> Result<()> {
        let step = self.state.step + 1;
        self.window.begin();
        let rate = self.pace.learning_rate(self.state.step, self.elapsed());
        let due = |every: u64| step.is_multiple_of(every);
        let log = due(self.plan.spec.log_every);
        let looks = Looks {
            metrics: log,
            statistics: self.plan.spec.statistics_every.is_some_and(due),
        };
        let mut done = self.learner.step(step, rate, looks)?;
        let statistics = std::mem::take(&mut done.statistics);
        self.state.step = step;
        self.state.scaler = self.learner.scaler();
        self.state.position = self.learner.position();
        self.state.tokens += done.tokens;
        self.state.rows += done.rows;
        self.window.add(done)?;
        if log {
            self.log(rate)?;
        }
        if !statistics.is_empty() {
            self.job.log_metrics(step as i64, &scalars(&statistics))?;
        }
        self.window.end();
        if self
            .told
            .is_none_or(|told| told.elapsed() >= PROGRESS_EVERY)
        {
            self.tell("")?;
        }
        Ok(())
    }

    fn log(&mut self, rate: f64) -> Result<()> {
        let mut values = self.window.take()?;
        if let Some(loss) = values.get("train/loss") {
            self.state.loss = Some(*loss);
        }
        values.insert("train/lr".to_owned(), rate);
        if let Some(scaler) = self.learner.scaler() {
            values.insert("train/loss_scale".to_owned(), scaler.factor());
        }
        // Of the backward pass alone, and of all that the process does.
        let saved = self.learner.saved_bytes() as f64;
        values.insert("memory/saved_bytes".to_owned(), saved);
        if let Some(peak) = statistics::peak_memory() {
            values.insert("memory/process_peak_bytes".to_owned(), peak);
        }
        self.job
            .log_metrics(self.state.step as i64, &scalars(&values))
    }

    /// Measures the model, unless that was done at this step.
    fn evaluate(&mut self) -> Result<()> {
        let step = self.state.step;
        if self.eval.is_none() || self.state.evaluated == Some(step) {
            return Ok(());
        }
        self.tell("evaluating")?;
        self.learner.exchange()?;
        let measured = self.measure(step);
        // Also when it failed or was stopped: what a checkpoint keeps are the weights themselves.
        self.learner.exchange()?;
        measured?;
        self.tell("")
    }

    /// [`Self::evaluate`], with the averages in the place of the weights where there are any.
    fn measure(&mut self, step: u64) -> Result<()> {
        let Some(eval) = &mut self.eval else {
            return Ok(());
        };
        let values = eval
            .measure(self.learner.model(), self.job)
            .map_err(|error| error.at_step(step))?;
        self.job.log_metrics(step as i64, &scalars(&values))?;
        self.state.evaluated = Some(step);
        let loss = values.get("eval/loss").copied();
        self.judge(loss);
        let better = match (&self.state.best, loss) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(best), Some(loss)) => best.values.get("eval/loss").is_none_or(|old| loss < *old),
        };
        if better {
            self.state.best = Some(state::Best {
                step,
                values: values.clone(),
            });
            if self.plan.spec.keep_best {
                let params = self.learner.model().params().clone();
                self.checkpoints
                    .save_best(&params, step, &self.plan.recipe)?;
            }
        }
        self.state.values = values;
        Ok(())
    }

    /// Counts the evaluations without progress.
    fn judge(&mut self, loss: Option<f64>) {
        let least = self.plan.spec.early_stopping.map_or(0.0, |e| e.min_delta);
        let progress = match (self.state.lowest, loss) {
            (Some(lowest), Some(loss)) => loss < lowest - least,
            (None, Some(loss)) => loss.is_finite(),
            (_, None) => false,
        };
        if progress {
            (self.state.lowest, self.state.stale) = (loss, 0);
        } else {
            self.state.stale += 1;
        }
    }

    /// Whether the job has seen no progress for as long as it was told to wait.
    fn is_stale(&self) -> bool {
        let spec = &self.plan.spec.early_stopping;
        spec.is_some_and(|spec| self.state.stale >= spec.patience)
    }

    /// Writes a checkpoint, unless there is one of this step.
    fn save(&mut self) -> Result<()> {
        self.tell("writing a checkpoint")?;
        self.state.seconds = self.elapsed();
        self.state.window = self.window.sums()?;
        // Points that the checkpoint follows must not be lost when it is resumed from.
        self.job.platform().tracker.flush()?;
        self.checkpoints.save(&self.state, &self.learner)?;
        self.saved = (Some(self.state.step), Instant::now());
        Ok(())
    }

    /// Seconds of training, those of earlier processes included.
    fn elapsed(&self) -> f64 {
        self.before + self.began.elapsed().as_secs_f64()
    }

    fn tell(&mut self, message: &str) -> Result<()> {
        self.told = Some(Instant::now());
        let (step, elapsed) = (self.state.step, self.elapsed());
        let (rate, rate_unit) = self.window.rate();
        self.job.set_progress(Progress {
            done: step,
            total: self.pace.total(step, elapsed),
            unit: "steps".to_owned(),
            rate,
            rate_unit: rate_unit.to_owned(),
            seconds_left: self.pace.seconds_left(step, elapsed),
            message: message.to_owned(),
        })
    }

    /// The file with the best weights, where the job keeps them.
    fn best_weights(&self) -> Option<std::path::PathBuf> {
        let best = self.state.best.as_ref()?;
        self.plan
            .spec
            .keep_best
            .then(|| self.checkpoints.best_path(best.step))
    }
}
