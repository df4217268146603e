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
use tenon_tensor::{optim::Optimizer, params::Params};
use tenon_track::Progress;

use super::{
    Trainer, checkpoint::Checkpoints, eval::EvalSet, pace::Pace, state::State, step::Learner,
    window::Window,
};
use crate::{
    Result, TrainError,
    jobs::Job,
    prepare::{Split, TrainPlan, renamed},
};

impl<'j> Trainer<'j> {
    /// A training at its beginning or at its last checkpoint.
    pub(super) fn open(job: &'j Job, plan: &'j TrainPlan) -> Result<Self> {
        let platform = job.platform();
        let device = platform.device()?;
        let checkpoints = Checkpoints::new(job.folder()?, &platform.store);
        let checkpoint = checkpoints.latest()?;
        let tokenizer = match &plan.tokenizer {
            Some(digest) => Some(Arc::new(platform.tokenizers.load_blob(digest)?)),
            None => None,
        };
        say(job, "loading the model")?;
        let params = Params::new(&device, plan.seeds.weights);
        match (&checkpoint, &plan.parent) {
            (Some(checkpoint), _) => {
                params.load_safetensors(&checkpoint.params())?;
            }
            (None, Some(parent)) => {
                let weights = parent.weights.parse()?;
                params.load_safetensors(&platform.store.blobs().verified_path(&weights)?)?;
            }
            (None, None) => {}
        }
        for pattern in &plan.spec.freeze {
            params.freeze(pattern)?;
        }
        if let Some(lora) = &plan.spec.lora {
            params.adapt(&lora.into())?;
        }
        let mut model = open_model(job, plan, params, tokenizer.as_ref())?;
        model.build()?;
        let trained = trained(job, plan, model.params())?;
        let signature = renamed(model.signature(), &plan.recipe.name, &plan.spec.columns)?;
        let encode =
            |split: &Split, rows| encode(job, &signature, tokenizer.as_deref(), split, rows);
        let rows = encode(&plan.train, None)?;
        learnable(&rows, &plan.train)?;
        let options = BatchOptions {
            seed: plan.seeds.order,
            ..plan.spec.batch.clone()
        };
        let facts = [
            ("device", json!(device.to_string())),
            ("parameters", json!(model.params().total_elements())),
            ("trained_parameters", json!(trained)),
            ("train_rows", json!(rows.len())),
            ("train_tokens", json!(rows.tokens())),
        ];
        let mut loader = Loader::new(rows, options)?;
        let eval = match &plan.eval {
            Some(split) => {
                let rows = encode(split, plan.spec.eval_rows)?;
                let options = BatchOptions {
                    shuffle: false,
                    drop_last: false,
                    bucket_batches: 0,
                    ..plan.spec.batch.clone()
                };
                Some(EvalSet::new(Loader::new(rows, options)?, split.reference()))
            }
            None => None,
        };
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
        let mut learner = Learner::new(model, optimizer, loader, &plan.spec, plan.seeds.passes)?;
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

/// The rows of a split, encoded: the first `most` of them.
fn encode(
    job: &Job,
    signature: &Signature,
    tokenizer: Option<&Tokenizer>,
    split: &Split,
    most: Option<u64>,
) -> Result<Arc<EncodedRows>> {
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
    let rows = EncodedRows::encode(signature, tokenizer, batches, options, &job.control())?;
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
