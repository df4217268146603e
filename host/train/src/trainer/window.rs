//! The points of the training curve: means over the steps since the last one.

use std::{collections::BTreeMap, time::Instant};

use tenon_tensor::Tensor;

use super::{
    scalars,
    state::Sums,
    step::{Done, Loss, numbers},
};
use crate::{Result, TrainError};

/// Losses on a device are read together, at the latest when there are this many.
const PENDING: usize = 256;

/// What has happened since the curve's last point.
pub(super) struct Window {
    /// Losses that nobody has read yet.
    pending: Vec<Loss>,
    /// Σ loss · weight, Σ weight.
    sums: (f64, f64),
    /// The recipe's metrics and the gradient's norm at the step that is logged.
    metrics: Vec<(String, Tensor)>,
    norm: Option<f64>,
    tokens: u64,
    rows: u64,
    /// Seconds of computing, and when the step that is computed began.
    busy: f64,
    began: Instant,
    /// Of the last point: tokens, or rows of a recipe without tokens, a second.
    rate: Option<(f64, bool)>,
}

impl Window {
    pub fn new(sums: &Sums) -> Self {
        Self {
            pending: Vec::new(),
            sums: (
                f64::from_bits(sums.loss_bits),
                f64::from_bits(sums.weight_bits),
            ),
            metrics: Vec::new(),
            norm: None,
            tokens: 0,
            rows: 0,
            busy: 0.0,
            began: Instant::now(),
            rate: None,
        }
    }

    /// A step begins. Only steps count as time, not evaluations and checkpoints between them.
    pub fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// The step has ended.
    pub fn end(&mut self) {
        self.busy += self.began.elapsed().as_secs_f64();
    }

    pub fn add(&mut self, done: Done) -> Result<()> {
        (self.tokens, self.rows) = (self.tokens + done.tokens, self.rows + done.rows);
        self.norm = done.norm;
        let host = done.losses.iter().all(|loss| loss.loss.device().is_cpu());
        self.pending.extend(done.losses);
        if host || self.pending.len() >= PENDING {
            self.read()?;
        }
        Ok(())
    }

    /// Whether nothing has happened since the last point.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.rows == 0 && self.sums.1 == 0.0
    }

    /// Brings the sums up to date.
    fn read(&mut self) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending);
        for (loss, weight) in numbers(&pending)? {
            if weight == 0.0 {
                continue;
            }
            // On the processor every loss was looked at before it could do harm.
            if !loss.is_finite() {
                return Err(TrainError::NonFinite {
                    what: "the loss of this step or one shortly before it",
                    value: loss,
                    operation: None,
                });
            }
            self.sums.0 += loss * weight;
            self.sums.1 += weight;
        }
        if let Some(last) = pending.last_mut() {
            self.metrics = std::mem::take(&mut last.metrics);
        }
        Ok(())
    }

    /// What a checkpoint keeps of it.
    pub fn sums(&mut self) -> Result<Sums> {
        self.read()?;
        Ok(Sums {
            loss_bits: self.sums.0.to_bits(),
            weight_bits: self.sums.1.to_bits(),
        })
    }

    /// The point of the curve; the next one begins.
    pub fn take(&mut self) -> Result<BTreeMap<String, f64>> {
        self.read()?;
        let mut values = BTreeMap::new();
        let (loss, weight) = std::mem::take(&mut self.sums);
        if weight > 0.0 {
            values.insert("train/loss".to_owned(), loss / weight);
        }
        if let Some(norm) = self.norm.take() {
            values.insert("train/grad_norm".to_owned(), norm);
        }
        let metrics = std::mem::take(&mut self.metrics);
        let wanted: Vec<&Tensor> = metrics.iter().map(|(_, value)| value).collect();
        for ((name, _), value) in metrics.iter().zip(scalars::read(&wanted)?) {
            values.insert(format!("train/{name}"), value);
        }
        let (tokens, rows) = (
            std::mem::take(&mut self.tokens),
            std::mem::take(&mut self.rows),
        );
        let busy = std::mem::take(&mut self.busy);
        let seconds = (busy + self.began.elapsed().as_secs_f64()).max(1e-9);
        self.began = Instant::now();
        let rate = match tokens {
            0 => (rows as f64 / seconds, false),
            _ => (tokens as f64 / seconds, true),
        };
        self.rate = Some(rate);
        let name = match rate.1 {
            true => "train/tokens_per_second",
            false => "train/rows_per_second",
        };
        values.insert(name.to_owned(), rate.0);
        Ok(values)
    }

    /// How fast it goes: of the last point, or since the beginning where there is none.
    pub fn rate(&self) -> (f64, &'static str) {
        let seconds = self.busy.max(1e-9);
        let (rate, tokens) = self.rate.unwrap_or(match self.tokens {
            0 => (self.rows as f64 / seconds, false),
            tokens => (tokens as f64 / seconds, true),
        });
        (rate, if tokens { "tokens/s" } else { "rows/s" })
    }
}
