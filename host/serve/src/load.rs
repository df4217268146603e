//! From a record to a model that has answered once.

use std::{collections::BTreeMap, sync::Arc};

use tenon_data::{
    collate::{Given, Prompt},
    dataset::GrantedDatasets,
};
use tenon_model::{Engine, Model, Platform, Settings};
use tenon_plugin::{
    Component, Grants, Limits, ProcessorPool, TokenizerSource,
    processor::Stages,
    recipe::{Layout, Segment, Signature},
};

use crate::{ProcessorSpec, Result, ServeError, record::Record};

/// Instances of a processor, for each core: some wait for their memory while others compute.
const INSTANCES_PER_CORE: usize = 2;

/// What a deployment's thread and its clients need.
pub(crate) struct Loaded {
    pub(crate) model: Model,
    pub(crate) processor: Option<ProcessorPool>,
    /// The same processor, for the thread alone; nothing if it takes no part in choosing tokens.
    pub(crate) constraint: Option<ProcessorPool>,
}

/// Loads a deployment's model and processor, and runs the model once as a request would.
pub(crate) fn load(platform: &Platform, record: &Record) -> Result<Loaded> {
    // Meanwhile a sweep must leave alone what nothing may refer to yet.
    let blobs = platform.store.blobs();
    let _leases: Vec<_> = record.blobs()?.iter().map(|b| blobs.lease(b)).collect();
    let mut model = platform.load(&record.manifest, Grants::default())?;
    let mut loaded = (None, None);
    if let (Some(spec), Some(plugin)) = (&record.spec.processor, &record.processor) {
        let component = platform.registry.resolve(&plugin.digest)?;
        loaded = processor(platform, &component, spec, &record.datasets, &model)?;
    }
    warm(&mut model)?;
    Ok(Loaded {
        model,
        processor: loaded.0,
        constraint: loaded.1,
    })
}

type Pools = (Option<ProcessorPool>, Option<ProcessorPool>);

fn processor(
    platform: &Platform,
    component: &Component,
    spec: &ProcessorSpec,
    granted: &BTreeMap<String, String>,
    model: &Model,
) -> Result<Pools> {
    let description = component.description();
    for name in granted.keys() {
        let capability = format!("dataset:{name}");
        if !description.capabilities.contains(&capability) {
            return Err(ServeError::Invalid(format!(
                "`processor.datasets` grants `{name}`, but {} does not ask for it; it asks for: {}",
                description.name,
                match description.capabilities.as_slice() {
                    [] => "nothing".to_owned(),
                    asked => asked.join(", "),
                }
            )));
        }
    }
    let datasets = GrantedDatasets::new(
        &platform.datasets,
        granted
            .iter()
            .map(|(name, reference)| (name.as_str(), reference.as_str())),
    )?
    .shared();
    let tokenizer = model
        .tokenizer()
        .cloned()
        .map(|tokenizer| tokenizer as Arc<dyn TokenizerSource>);
    let limits = Limits {
        call_time: spec.call_time(),
        ..platform.registry.engine().limits().clone()
    };
    let grants = move || Grants {
        limits: Some(limits.clone()),
        tokenizer: tokenizer.clone(),
        datasets: Some(datasets.clone()),
        ..Grants::default()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let size = cores * INSTANCES_PER_CORE;
    let pool = ProcessorPool::new(component, &spec.config, grants.clone(), size)?;
    let constraint = if pool.stages().contains(Stages::CONSTRAIN) {
        Some(ProcessorPool::new(component, &spec.config, grants, 1)?)
    } else {
        None
    };
    Ok((Some(pool), constraint))
}

/// Runs the model over the smallest request there is: what is made at the first use is made now, and a
/// recipe that cannot serve is found out.
fn warm(model: &mut Model) -> Result<()> {
    let prompt = smallest(model)?;
    if model.signature().generation.is_none() {
        model.predict_prompts(&[prompt])?;
        return Ok(());
    }
    let settings = Settings {
        max_tokens: Some(2),
        min_tokens: 2,
        ..Settings::default()
    };
    let mut engine = Engine::new(model)?;
    engine.admit(0, prompt, settings, Vec::new())?;
    engine.run(None)?;
    Ok(())
}

/// A request of one token or number in each column that has to be given.
fn smallest(model: &Model) -> Result<Prompt> {
    let signature = model.signature();
    let tokenizer = model.tokenizer().map(Arc::as_ref);
    let token = tokenizer.map_or(0, |tokenizer| {
        let ids = 0..tokenizer.vocabulary();
        ids.into_iter()
            .find(|&id| !tokenizer.is_special(id))
            .unwrap_or(0)
    });
    let mut given: BTreeMap<String, Given> = BTreeMap::new();
    let grows = signature.generation.as_ref().map(|g| &g.sequence);
    for input in &signature.inputs {
        match &input.layout {
            Layout::Sequence(layout) => {
                // What is learnt of a sequence that does not grow is read all the same (hidden words).
                let whole = grows != Some(&input.name);
                for piece in &layout.pieces {
                    if let Segment::Column(column) = &piece.segment
                        && (whole || !piece.learnt)
                    {
                        given.insert(column.clone(), Given::Tokens(vec![token]));
                    }
                }
            }
            Layout::Fixed { column, shape, .. } => {
                let zeros = vec![0.0; shape.iter().product()];
                given.insert(column.clone(), Given::Numbers(zeros));
            }
            Layout::NextTokens { .. } | Layout::Masked { .. } | Layout::Pieces { .. } => {}
        }
    }
    let prompt = Prompt::new(signature, tokenizer, &given);
    let empty = |prompt: &Prompt| {
        let grows = prompt.grows.map(|at| &prompt.sequences[at]);
        grows.is_some_and(|sequence| sequence.tokens.is_empty())
    };
    if let (Ok(prompt), Some(column)) = (&prompt, first_learnt(signature))
        && empty(prompt)
    {
        // Nothing stands before what is learnt: it has to be begun.
        given.insert(column, Given::Tokens(vec![token]));
        return Ok(Prompt::new(signature, tokenizer, &given)?);
    }
    Ok(prompt?)
}

fn first_learnt(signature: &Signature) -> Option<String> {
    let pieces = signature.sequences().flat_map(|(_, layout)| &layout.pieces);
    pieces
        .filter(|piece| piece.learnt)
        .find_map(|piece| match &piece.segment {
            Segment::Column(column) => Some(column.clone()),
            Segment::Special(_) => None,
        })
}
