//! Measuring a model on held-out rows, with the recipe's own loss.

use std::collections::BTreeMap;

use tenon_data::collate::{CollatedBatch, Loader};
use tenon_model::{Model, model::tensors};
use tenon_plugin::recipe::Layout;
use tenon_tensor::nn::{Pass, Scope, Stage};

use super::{
    preference::Preference,
    scalars,
    step::{Loss, Weight, numbers},
};
use crate::{Result, TrainError, jobs::Job};

/// Batches whose losses are read together.
const TOGETHER: usize = 32;

/// The rows that a training is measured on.
pub(super) struct EvalSet {
    loader: Loader,
    /// What is measured instead of the recipe's own loss.
    preference: Option<Preference>,
    /// For messages.
    name: String,
}

/// Σ value · weight.
#[derive(Default)]
struct Sums {
    loss: f64,
    weight: f64,
    metrics: BTreeMap<String, f64>,
}

impl EvalSet {
    pub fn new(loader: Loader, preference: Option<Preference>, name: String) -> Self {
        Self {
            loader,
            preference,
            name,
        }
    }

    /// The mean loss and the recipe's metrics; the perplexity where the loss is one of next tokens.
    pub fn measure(&self, model: &mut Model, job: &Job) -> Result<BTreeMap<String, f64>> {
        let tokens = |layout: &Layout| matches!(layout, Layout::NextTokens { .. });
        let perplexity =
            self.preference.is_none() && model.signature().inputs.iter().any(|i| tokens(&i.layout));
        let mut sums = Sums::default();
        let mut pending = Vec::new();
        for batch in self.loader.epoch(0) {
            job.check()?;
            pending.push(self.loss(model, &batch?)?);
            if pending.len() >= TOGETHER {
                sums.add(&std::mem::take(&mut pending))?;
            }
        }
        sums.add(&pending)?;
        if sums.weight == 0.0 {
            return Err(TrainError::Invalid(format!(
                "{} has nothing that the recipe learns: there is nothing to evaluate on",
                self.name
            )));
        }
        let mut values = BTreeMap::new();
        let mean = sums.loss / sums.weight;
        values.insert("eval/loss".to_owned(), mean);
        if perplexity {
            values.insert("eval/perplexity".to_owned(), mean.exp());
        }
        for (name, sum) in sums.metrics {
            values.insert(format!("eval/{name}"), sum / sums.weight);
        }
        Ok(values)
    }

    /// The loss of one batch, without gradients.
    fn loss(&self, model: &mut Model, batch: &CollatedBatch) -> Result<Loss> {
        let device = *model.device();
        let scope = Scope::root(model.params(), None);
        let pass = Pass::new(Stage::Evaluate, batch.infos.clone(), 0, &device)?;
        let inputs = tensors(batch, &device)?;
        let recipe = model.recipe_mut();
        let outputs = recipe.forward(&scope, &pass, inputs.clone())?;
        let losses = match &self.preference {
            Some(preference) => preference.losses(&outputs, &inputs, batch)?,
            None => recipe.loss(&pass, outputs, inputs)?,
        };
        Ok(Loss {
            loss: losses.loss,
            weight: Weight::OnDevice(Box::new(losses.weight)),
            metrics: losses.metrics,
        })
    }
}

impl Sums {
    fn add(&mut self, losses: &[Loss]) -> Result<()> {
        let metrics: Vec<_> = losses.iter().flat_map(|loss| &loss.metrics).collect();
        let values: Vec<_> = metrics.iter().map(|(_, value)| value).collect();
        let mut values = scalars::read(&values)?.into_iter();
        for (loss, (value, weight)) in losses.iter().zip(numbers(losses)?) {
            let metrics = values.by_ref().take(loss.metrics.len());
            // A mean over nothing is no number.
            if weight == 0.0 {
                metrics.for_each(drop);
                continue;
            }
            self.loss += value * weight;
            self.weight += weight;
            for ((name, _), value) in loss.metrics.iter().zip(metrics) {
                *self.metrics.entry(name.clone()).or_default() += value * weight;
            }
        }
        Ok(())
    }
}
