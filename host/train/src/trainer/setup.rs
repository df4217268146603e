//! Everything that a training needs, in memory: from the plan, and from a checkpoint where there is
//! one.

use std::{sync::Arc, time::Instant};

use serde_json::json;
use tenon_data::{
    Tokenizer,
    collate::{BatchOptions, EncodeOptions, EncodedRows, Loader},
};
use tenon_model::Model;
use tenon_plugin::{Grants, LogLevel, Signature, TokenizerSource, recipe::Layout};
use tenon_tensor::{
    DType, Tensor,
    optim::Optimizer,
    params::{OnMissing, Params},
};
use tenon_track::Progress;

use super::{
    Trainer,
    checkpoint::Checkpoints,
    eval::EvalSet,
    pace::Pace,
    preference::{Preference, differ},
    state::State,
    step::Learner,
    window::Window,
};
use crate::{
    Result, TrainError,
    jobs::Job,
    prepare::{Split, TrainPlan, readings},
};

/// GPUs compile and time kernels for every shape that they meet: batches of few widths are faster
/// than padding is slow.
const GPU_WIDTHS: usize = 32;

impl<'j> Trainer<'j> {
    /// A training at its beginning or at its last checkpoint.
    pub(super) fn open(job: &'j Job, plan: &'j TrainPlan) -> Result<Self> {
        let platform = job.platform();
        let device = platform.device()?;
        if let Some(dtype) = plan.spec.precision.reduced() {
            // Refused by the device, if it is, before anything is loaded.
            Tensor::zeros(&[1], dtype, &device)?;
        }
        let checkpoints = Checkpoints::new(job.folder()?, &platform.store, plan.parent.is_some());
        let checkpoint = checkpoints.latest()?;
        let tokenizer = match &plan.tokenizer {
            Some(digest) => Some(Arc::new(platform.tokenizers.load_blob(digest)?)),
            None => None,
        };
        say(job, "loading the model")?;
        let quantize = plan.spec.lora.as_ref().and_then(|lora| lora.quantize);
        let params = Params::new(&device, plan.seeds.weights);
        if let Some(parent) = &plan.parent {
            let weights = platform
                .store
                .blobs()
                .verified_path(&parent.weights.parse()?)?;
            match quantize {
                // Never whole in memory.
                Some(_) => params.map_safetensors(&weights)?,
                None => drop(params.load_safetensors(&weights)?),
            }
        }
        // Preferences are measured against the model as it was, which is asked first.
        let later = plan.spec.preference.is_some();
        if let (Some(checkpoint), false) = (&checkpoint, later) {
            params.load_safetensors(&checkpoint.params())?;
        }
        for pattern in &plan.spec.freeze {
            params.freeze(pattern)?;
        }
        if let Some(lora) = &plan.spec.lora {
            params.adapt(&lora.into())?;
        }
        if checkpoint.is_none() && plan.parent.is_none() && device.is_cpu() {
            // What does not fit is refused before it is filled with random numbers.
            let empty = Params::new(&device, plan.seeds.weights);
            empty.set_on_missing(OnMissing::Note);
            open_model(job, plan, empty, tokenizer.as_ref())?.build()?;
        }
        let mut model = open_model(job, plan, params, tokenizer.as_ref())?;
        model.build()?;
        let trained = trained(job, plan, model.params())?;
        if let Some(kind) = quantize {
            let bytes = model.params().quantize_adapted(kind.into())?;
            let fact = [("quantized_bytes".to_owned(), json!(bytes))];
            platform.tracker.set_params(job.id(), fact)?;
        }
        let signatures = readings(model.signature(), &plan.recipe.name, &plan.spec)?;
        let encode =
            |split: &Split, rows| encode(job, &signatures, tokenizer.as_deref(), split, rows);
        let rows = encode(&plan.train, None)?;
        learnable(&rows, &plan.train)?;
        if rows.is_paired() && !differ(&rows)? {
            return Err(TrainError::Invalid(format!(
                "the better and the worse answers of {} are the same in every row",
                plan.train.reference()
            )));
        }
        let pad_multiple = plan.spec.batch.pad_multiple;
        let options = BatchOptions {
            seed: plan.seeds.order,
            pad_multiple: pad_multiple.or((!device.is_cpu()).then_some(GPU_WIDTHS)),
            ..plan.spec.batch.clone()
        };
        let facts = [
            ("device", json!(device.to_string())),
            ("parameters", json!(model.params().total_elements())),
            ("trained_parameters", json!(trained)),
            ("train_rows", json!(rows.units())),
            ("train_tokens", json!(rows.tokens())),
        ];
        let mut loader = Loader::new(rows, options.clone())?;
        let reduced = plan.spec.precision.reduced();
        let preference = reference(job, plan, &mut model, reduced, &loader)?;
        let eval = match &plan.eval {
            Some(split) => {
                let rows = encode(split, plan.spec.eval_rows)?;
                let options = BatchOptions {
                    shuffle: false,
                    drop_last: false,
                    bucket_batches: 0,
                    seed: plan.spec.batch.seed,
                    ..options
                };
                let loader = Loader::new(rows, options)?;
                // Evaluations are in float32.
                let preference = reference(job, plan, &mut model, None, &loader)?;
                Some(EvalSet::new(loader, preference, split.reference()))
            }
            None => None,
        };
        if let (Some(checkpoint), true) = (&checkpoint, later) {
            for (name, value) in checkpoint.values(&device)? {
                model.params().set(&name, value)?;
            }
        }
        let pace = Pace::new(&plan.spec, loader.batches());
        let facts = facts.map(|(name, value)| (name.to_owned(), value));
        let total = pace.steps().map(|n| ("total_steps".to_owned(), json!(n)));
        platform
            .tracker
            .set_params(job.id(), facts.into_iter().chain(total))?;

        let mut optimizer = Optimizer::new(plan.spec.optimizer)?;
        let mut state = State::default();
        if let Some(checkpoint) = &checkpoint {
            optimizer.load_state(model.params(), &checkpoint.optimizer()?)?;
            loader.seek(checkpoint.state.position)?;
            state = checkpoint.state.clone();
            job.say(
                LogLevel::Info,
                &format!("resumed after step {}", state.step),
            );
        }
        // Whatever was logged after the checkpoint is logged again.
        if !platform.tracker.run(job.id())?.metrics.is_empty() {
            platform.tracker.rewind(job.id(), state.step as i64)?;
        }
        let window = Window::new(&state.window);
        let params = model.params().clone();
        let mut learner = Learner::new(
            model,
            optimizer,
            loader,
            preference,
            &plan.spec,
            plan.seeds.passes,
        )?;
        learner.set_scaler(state.scaler);
        if let (Some(checkpoint), Some(ema)) = (&checkpoint, learner.ema()) {
            ema.load(&params, state.ema_steps, &checkpoint.averages()?)?;
        }
        Ok(Self {
            job,
            plan,
            learner,
            eval,
            checkpoints,
            pace,
            before: state.seconds,
            saved: (checkpoint.map(|_| state.step), Instant::now()),
            state,
            window,
            began: Instant::now(),
            told: None,
        })
    }
}

fn open_model(
    job: &Job,
    plan: &TrainPlan,
    params: Params,
    tokenizer: Option<&Arc<Tokenizer>>,
) -> Result<Model> {
    let component = job.platform().registry.resolve(&plan.recipe.digest)?;
    let grants = Grants {
        seed: plan.seeds.recipe,
        log: job.log_sink(),
        tokenizer: tokenizer.map(|tokenizer| tokenizer.clone() as Arc<dyn TokenizerSource>),
        ..Grants::default()
    };
    Ok(Model::open(
        &component,
        &plan.recipe_config,
        params,
        tokenizer.cloned(),
        grants,
    )?)
}

/// The rows of a split, encoded: the first `most` of them; with two signatures, as pairs.
fn encode(
    job: &Job,
    signatures: &[Signature],
    tokenizer: Option<&Tokenizer>,
    split: &Split,
    most: Option<u64>,
) -> Result<Arc<EncodedRows>> {
    let mut readings = signatures
        .iter()
        .map(|signature| read(job, signature, tokenizer, split, most));
    let first = readings.next().unwrap_or_else(|| {
        Err(TrainError::Internal(
            "there is no way to read the rows".into(),
        ))
    })?;
    let rows = readings.try_fold(first, |first, second| {
        Ok::<_, TrainError>(first.paired(second?)?)
    })?;
    if rows.cut() > 0 {
        let said = format!(
            "{} of the {} sequences of {} are longer than the recipe takes and were cut",
            rows.cut(),
            rows.len(),
            split.reference()
        );
        job.say(LogLevel::Warn, &said);
    }
    Ok(Arc::new(rows))
}

/// The rows of a split, encoded in one way.
fn read(
    job: &Job,
    signature: &Signature,
    tokenizer: Option<&Tokenizer>,
    split: &Split,
    most: Option<u64>,
) -> Result<EncodedRows> {
    let datasets = &job.platform().datasets;
    let version = split.version(datasets)?;
    let columns: Vec<String> = signature.columns().into_iter().map(str::to_owned).collect();
    let mut left = most.unwrap_or(u64::MAX);
    let batches = datasets
        .read(&version, &split.split, Some(&columns), 8192)?
        .map_while(|batch| {
            if left == 0 {
                return None;
            }
            Some(batch.map(|batch| {
                let rows = left.min(batch.num_rows() as u64);
                left -= rows;
                batch.slice(0, rows as usize)
            }))
        });
    let options = EncodeOptions::default();
    Ok(EncodedRows::encode(
        signature,
        tokenizer,
        batches,
        options,
        &job.control(),
    )?)
}

/// What the model says of rows before it is trained, to learn or measure preferences with; nothing where there
/// are none.
fn reference(
    job: &Job,
    plan: &TrainPlan,
    model: &mut Model,
    reduced: Option<DType>,
    rows: &Loader,
) -> Result<Option<Preference>> {
    let Some(spec) = &plan.spec.preference else {
        return Ok(None);
    };
    say(job, "asking the reference")?;
    // About every row, also those that an epoch leaves out.
    let options = BatchOptions {
        shuffle: false,
        drop_last: false,
        ..rows.options().clone()
    };
    let all = Loader::new(rows.rows().clone(), options)?;
    Preference::new(spec, &plan.recipe.name, model, reduced, &all, job).map(Some)
}

/// How many numbers are trained. Refuses patterns that choose nothing, and a model of which nothing is
/// left to train.
fn trained(job: &Job, plan: &TrainPlan, params: &Params) -> Result<usize> {
    params.require_matches("`freeze`", &plan.spec.freeze)?;
    if let Some(lora) = &plan.spec.lora {
        params.require_matches("`lora.trained`", &lora.trained)?;
        let layers = params.adapted();
        if layers.is_empty() {
            return Err(TrainError::setting(
                "lora.targets",
                format!(
                    "chooses no linear layer of the model; there are the parameters {}",
                    params.names().join(", ")
                ),
            ));
        }
        let said = format!("{} linear layers have adapters", layers.len());
        job.say(LogLevel::Info, &said);
    }
    match params.trained_elements() {
        0 => Err(TrainError::setting(
            "freeze",
            "leaves no parameter to be trained",
        )),
        trained => Ok(trained),
    }
}

/// Refuses rows of which nothing can be learnt: every step would do nothing.
fn learnable(rows: &EncodedRows, split: &Split) -> Result<()> {
    let mut labelled = false;
    for input in &rows.signature().inputs {
        let (sequence, first) = match &input.layout {
            // The first token has nothing before it.
            Layout::NextTokens { sequence } => (sequence, 1),
            Layout::Masked { sequence, .. } => (sequence, 0),
            _ => continue,
        };
        labelled = true;
        for row in 0..rows.len() {
            let tokens = rows.row(sequence, row)?;
            if tokens.iter().skip(first).any(|token| token.is_learnt()) {
                return Ok(());
            }
        }
    }
    match labelled {
        true => Err(TrainError::Invalid(format!(
            "no row of {} has a token that the recipe learns: are its texts empty, or cut before the \
             learnt pieces begin?",
            split.reference()
        ))),
        false => Ok(()),
    }
}

fn say(job: &Job, message: &str) -> Result<()> {
    job.set_progress(Progress {
        done: 0,
        total: None,
        unit: "steps".to_owned(),
        rate: 0.0,
        rate_unit: "tokens/s".to_owned(),
        seconds_left: None,
        message: message.to_owned(),
    })
}
