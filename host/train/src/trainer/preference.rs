//! Learning which of two answers is better: direct preference optimisation (Rafailov et al. 2023,
//! equation 7), with the smoothing of conservative DPO (Mitchell 2023).
//!
//! A batch has the better answers of its pairs and then the worse ones. With π the model, ρ the one that
//! the training started from, and the reward r = β (log π(answer) − log ρ(answer)), the loss of a pair is
//! −(1 − ε) log σ(r₊ − r₋) − ε log σ(r₋ − r₊).

use tenon_data::collate::{CollatedBatch, EncodedRows, IGNORED, Loader};
use tenon_model::{Model, model::tensors};
use tenon_plugin::{
    Losses, Signature,
    recipe::{Generation, Layout},
};
use tenon_tensor::{
    DType, Reduction, Tape, Tensor,
    nn::{Pass, Scope, Stage},
};

use crate::{PreferenceSpec, Result, TrainError, jobs::Job};

type Named = Vec<(String, Tensor)>;

/// The objective over one set of pairs.
pub(super) struct Preference {
    beta: f64,
    smoothing: f64,
    likelihood: Likelihood,
    /// log ρ of every row.
    reference: Vec<f32>,
}

/// How likely the answers of a batch are.
struct Likelihood {
    recipe: String,
    generation: Generation,
    /// The input with the next tokens of the sequence that is generated.
    labels: String,
}

impl Preference {
    /// Asks the reference, which is the model that the training starts from, about every row. With `reduced`,
    /// products are in that type, as in the steps of a training that has it.
    ///
    /// # Errors
    /// A recipe that has no labels; what the recipe answers; a job that was stopped.
    pub fn new(
        spec: &PreferenceSpec,
        recipe: &str,
        reference: &mut Model,
        reduced: Option<DType>,
        rows: &Loader,
        job: &Job,
    ) -> Result<Self> {
        let likelihood = Likelihood::of(reference.signature(), recipe)?;
        let mut known = vec![0.0; rows.rows().len()];
        for batch in rows.epoch(0) {
            job.check()?;
            let batch = batch?;
            let pass = Pass::new(Stage::Evaluate, batch.infos.clone(), 0, reference.device())?;
            let inputs = tensors(&batch, reference.device())?;
            let tape = reduced.map(|dtype| {
                let tape = Tape::new();
                tape.autocast(Some(dtype));
                // There will be no backward pass: as little as possible is kept for it.
                tape.recompute(true);
                tape
            });
            let scope = Scope::root(reference.params(), tape.as_ref()).evaluating();
            let outputs = reference
                .recipe_mut()
                .forward(&scope, &pass, inputs.clone())?;
            let values = likelihood.of_rows(&outputs, &inputs)?.to_f32_vec()?;
            for (placement, value) in batch.placements.iter().zip(values) {
                known[placement.document as usize] = value;
            }
        }
        Ok(Self {
            beta: spec.beta,
            smoothing: spec.label_smoothing,
            likelihood,
            reference: known,
        })
    }

    /// The mean loss over the pairs of a batch.
    ///
    /// # Errors
    /// Outputs that do not fit the signature; a device that failed.
    pub fn losses(&self, outputs: &Named, inputs: &Named, batch: &CollatedBatch) -> Result<Losses> {
        let likelihoods = self.likelihood.of_rows(outputs, inputs)?;
        let device = likelihoods.device();
        let reference: Vec<f32> = batch
            .placements
            .iter()
            .map(|placement| self.reference[placement.document as usize])
            .collect();
        let reference = Tensor::from_f32(&[reference.len()], &reference, &device)?;
        let rewards = likelihoods.sub(&reference)?.mul_scalar(self.beta)?;
        let pairs = batch.rows / 2;
        let better = rewards.narrow(0, 0, pairs)?;
        let worse = rewards.narrow(0, pairs, pairs)?;
        let margins = better.sub(&worse)?;
        // −log σ(m) is the cross-entropy of [m, 0] at the first; the smoothing of two classes takes half
        // of what it is given from the first and gives it to the second.
        let column = margins.unsqueeze(-1)?;
        let logits = Tensor::cat(&[&column, &column.detach()?.mul_scalar(0.0)?], 1)?;
        let first = Tensor::zeros(&[pairs], DType::I64, &device)?;
        let smoothing = (2.0 * self.smoothing) as f32;
        let loss = logits.cross_entropy(&first, IGNORED, smoothing, Reduction::Mean)?;
        let mean = |values: &Tensor| values.detach()?.mean(&[], false);
        let right = margins.detach()?.gt_scalar(0.0)?.cast(DType::F32)?;
        Ok(Losses {
            loss,
            weight: Tensor::from_f32(&[], &[pairs as f32], &device)?,
            metrics: vec![
                ("rewards/chosen".to_owned(), mean(&better)?),
                ("rewards/rejected".to_owned(), mean(&worse)?),
                ("rewards/margins".to_owned(), mean(&margins)?),
                ("rewards/accuracies".to_owned(), mean(&right)?),
            ],
        })
    }
}

impl Likelihood {
    fn of(signature: &Signature, recipe: &str) -> Result<Self> {
        let lacks = |what: &str| {
            TrainError::setting(
                "preference",
                format!("needs a recipe with {what}, which `{recipe}` does not have"),
            )
        };
        let generation = signature
            .generation
            .clone()
            .ok_or_else(|| lacks("a sequence that it generates"))?;
        let labels = signature
            .inputs
            .iter()
            .find(|input| {
                matches!(&input.layout, Layout::NextTokens { sequence } if *sequence == generation.sequence)
            })
            .map(|input| input.name.clone())
            .ok_or_else(|| lacks("the next tokens of the sequence that it generates among its inputs"))?;
        Ok(Self {
            recipe: recipe.to_owned(),
            generation,
            labels,
        })
    }

    /// Σ log p of the learnt tokens of each row, [rows].
    fn of_rows(&self, outputs: &Named, inputs: &Named) -> Result<Tensor> {
        let find = |list: &Named, name: &str| {
            let found = list.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        let name = &self.generation.logits;
        let (Some(logits), Some(labels)) = (find(outputs, name), find(inputs, &self.labels)) else {
            return Err(self.contract(format!("forward returned no `{name}`")));
        };
        let (&[rows, width, vocabulary], &[_, wanted]) = (logits.shape(), labels.shape()) else {
            return Err(self.contract(format!(
                "`{name}` must be [batch, tokens, vocabulary], it is {:?}",
                logits.shape()
            )));
        };
        if width != wanted {
            return Err(self.contract(format!("`{name}` has {width} places for {wanted} tokens")));
        }
        let places = (rows * width) as i64;
        let losses = logits
            .cast(DType::F32)?
            .reshape(&[places, vocabulary as i64])?
            .cross_entropy(&labels.reshape(&[places])?, IGNORED, 0.0, Reduction::None)?;
        Ok(losses
            .reshape(&[rows as i64, width as i64])?
            .sum(&[1], false)?
            .neg()?)
    }

    fn contract(&self, message: String) -> TrainError {
        TrainError::Invalid(format!("recipe `{}`: {message}", self.recipe))
    }
}

/// Whether there is a pair of which one answer can be preferred.
pub(super) fn differ(rows: &EncodedRows) -> Result<bool> {
    let Some(generation) = &rows.signature().generation else {
        return Ok(false);
    };
    for pair in 0..rows.units() {
        let row = |row| rows.row(&generation.sequence, row);
        if row(pair)? != row(rows.units() + pair)? {
            return Ok(true);
        }
    }
    Ok(false)
}
