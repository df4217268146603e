//! A pre-trained model, as others publish it, becomes a registered model.
//!
//! In three steps, so that whoever asks learns early what is wrong: [`choose`] needs the small files
//! only, [`prepare`] compares the weights with what the recipe needs, [`Prepared::finish`] stores and
//! registers. Before the last nothing is visible, and after a failure nothing is left but what came of a
//! download.

mod choose;
mod remote;
mod report;
mod special;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};
use tenon_hub::{
    Content, Expected, Fit, Hints, HubError, Index, ModelConfig, Part, Selection, WeightFiles,
    Weights, names,
};
use tenon_plugin::Grants;
use tenon_store::{Digest, SealedBlob};
use tenon_tensor::{
    Device,
    params::{Need, OnMissing, Params},
};
use tenon_track::{ModelManifest, Origin};

pub use choose::{Chosen, choose};
pub use remote::Remote;
pub use report::ImportReport;

use crate::{Model, ModelError, Platform, Result};

/// New parameters are initialised from this seed and their names.
const SEED: u64 = 0;
/// Readers of the hub's files ask for the format.
const FORMAT: (&str, &str) = ("format", "pt");

/// What is to be imported, and how.
#[derive(Clone, Debug, Default)]
pub struct ImportSpec {
    /// The model to register.
    pub name: String,
    /// The recipe; nothing: the one whose schema allows the configuration's `architectures`.
    pub recipe: Option<String>,
    /// Merged over the configuration.
    pub recipe_config: Map<String, Value>,
    /// A stored tokenizer instead of the model's own.
    pub tokenizer: Option<String>,
    /// Whether parameters that the weights lack are initialised.
    pub allow_missing: bool,
    /// What is special about the version.
    pub description: String,
    /// Labels of the version.
    pub tags: BTreeMap<String, String>,
}

/// The small files of a model, by name.
#[derive(Clone, Debug, Default)]
pub struct SmallFiles(pub BTreeMap<String, Vec<u8>>);

impl SmallFiles {
    /// A file's bytes.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

/// A file of weights that has been received, but belongs to nothing yet.
#[derive(Debug)]
pub struct WeightsFile {
    /// As its publisher calls it.
    pub name: String,
    /// Its bytes.
    pub bytes: SealedBlob,
}

/// A model that fits its recipe, ready to be stored.
pub struct Prepared {
    spec: ImportSpec,
    chosen: Chosen,
    small: SmallFiles,
    files: Vec<WeightsFile>,
    weights: Weights,
    fit: Fit,
    needs: BTreeMap<String, Need>,
}

/// The index that a selection of files needs, read.
///
/// # Errors
/// What is wrong with it; a file that it names and that is not there.
pub fn index(
    selection: &Selection,
    small: &SmallFiles,
    there: &BTreeSet<&str>,
) -> Result<Option<Index>> {
    let WeightFiles::Sharded { index } = &selection.weights else {
        return Ok(None);
    };
    let bytes = small
        .get(index)
        .ok_or_else(|| HubError::file(index, "it is not there"))?;
    let index = Index::parse(index, bytes)?;
    index.require(there.iter().copied())?;
    Ok(Some(index))
}

/// Compares weights with what the chosen recipe needs.
///
/// # Errors
/// Files that cannot be read; tensors that are missing or of another shape or type; a tokenizer that is
/// larger than the embedding.
pub fn prepare(
    spec: ImportSpec,
    chosen: Chosen,
    small: SmallFiles,
    files: Vec<WeightsFile>,
    index: Option<&Index>,
) -> Result<Prepared> {
    let opened: Vec<(String, &Path)> = files
        .iter()
        .map(|file| (file.name.clone(), file.bytes.path()))
        .collect();
    let weights = Weights::open(&opened, index)?;
    let needs = needs(&chosen)?;
    let expected: Expected = needs
        .iter()
        .map(|(name, need)| (name.clone(), need.shape.clone()))
        .collect();
    let fit = Fit::of(&weights, &expected, &chosen.hints)?;
    embedding_fits(&fit, &chosen)?;
    fit.require(&weights, &chosen.recipe.name, spec.allow_missing)?;
    Ok(Prepared {
        spec,
        chosen,
        small,
        files,
        weights,
        fit,
        needs,
    })
}

/// What a recipe asks for, found out by running it once over zeros that take no memory.
fn needs(chosen: &Chosen) -> Result<BTreeMap<String, Need>> {
    let params = Params::new(&Device::cpu(), SEED);
    params.set_on_missing(OnMissing::Note);
    let mut model = Model::open(
        &chosen.component,
        &chosen.config,
        params,
        chosen.tokenizer.clone(),
        Grants::default(),
    )?;
    model.build()?;
    Ok(model.params().needs())
}

/// Where a recipe makes its embedding as large as the tokenizer, a shape says too little.
fn embedding_fits(fit: &Fit, chosen: &Chosen) -> Result<()> {
    let vocabulary = chosen.vocabulary as usize;
    let too_small = fit.mismatched.iter().find(|mismatch| {
        let (expected, found) = (&mismatch.expected, &mismatch.found);
        vocabulary > 0
            && expected.len() == found.len()
            && expected.first() == Some(&vocabulary)
            && found.first().is_some_and(|rows| *rows < vocabulary)
            && expected[1..] == found[1..]
    });
    match too_small {
        None => Ok(()),
        Some(mismatch) => Err(choose::tokenizer_too_large(
            chosen.vocabulary,
            mismatch.found[0] as u64,
            &format!("the tensor `{}` has", mismatch.name),
        )
        .into()),
    }
}

impl Prepared {
    /// The bytes that [`Prepared::finish`] copies; 0: the file is stored as it is.
    #[must_use]
    pub fn to_copy(&self) -> u64 {
        if self.is_plain() {
            return 0;
        }
        let tensors = self.weights.tensors();
        let sources = self.fit.taken.values().chain(self.fit.tied.values());
        sources.map(|source| tensors[source].bytes).sum()
    }

    fn is_plain(&self) -> bool {
        self.weights.is_plain() && self.fit.is_identity()
    }

    /// Stores everything and registers the model. `run`: the run that does this. `progress` is told the
    /// bytes of each piece and answers whether to go on.
    ///
    /// # Errors
    /// What the disk says; [`HubError::Cancelled`]. Nothing is registered then.
    pub fn finish(
        self,
        platform: &Platform,
        origin: Origin,
        run: Option<&str>,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<ImportReport> {
        let mut report = ImportReport::of(&self.weights, &self.fit, &self.chosen);
        let plain = self.is_plain();
        report.stored_as_is = plain;
        let Self {
            spec,
            chosen,
            small,
            mut files,
            weights,
            fit,
            needs,
        } = self;
        let blobs = platform.store.blobs();
        let sums = files.iter().map(|file| {
            let sum = match file.bytes.sha256() {
                Some(sum) => format!("sha256:{sum}"),
                None => file.bytes.digest().to_string(),
            };
            (file.name.clone(), sum)
        });
        let origin = Origin {
            weights: sums.collect(),
            ..origin
        };
        let digest = match (plain, files.pop()) {
            (true, Some(only)) => {
                let _lease = blobs.lease(&only.bytes.digest());
                only.bytes.finish()?
            }
            (_, last) => {
                files.extend(last);
                let mut writer = blobs.writer()?;
                let metadata = [FORMAT].map(|(key, value)| (key.to_owned(), value.to_owned()));
                let parts = parts(&fit, &needs);
                weights.write(parts, &metadata.into(), &mut writer, progress)?;
                writer.finish()?
            }
        };
        // The files as they came are not needed any more: their room is free before more is written.
        drop(weights);
        for file in files {
            file.bytes.discard()?;
        }
        let _lease = blobs.lease(&digest);
        let mut leases = Vec::new();
        let mut put = |bytes: &[u8]| -> Result<String> {
            leases.push(blobs.lease(&Digest::of(bytes)));
            Ok(blobs.put(bytes)?.to_string())
        };
        let tokenizer = match &chosen.tokenizer {
            Some(tokenizer) => Some(put(tokenizer.json())?),
            None => None,
        };
        let mut kept = BTreeMap::new();
        for (name, bytes) in kept_files(&small, chosen.file.as_ref()) {
            kept.insert(name, put(&bytes)?);
        }
        let manifest = ModelManifest {
            recipe: chosen.recipe,
            recipe_config: chosen.config,
            vocabulary: chosen.vocabulary,
            tokenizer,
            weights: digest.to_string(),
            run: run.map(str::to_owned),
            parent: None,
            origin: Some(origin),
            files: kept,
            metrics: BTreeMap::new(),
        };
        report.bytes = blobs.size(&digest)?;
        // Under the model's name, so that transforms can be given it too.
        if let (None, Some(tokenizer)) = (&spec.tokenizer, &chosen.tokenizer) {
            let name = tokenizer_name(&spec.name);
            let (_, record) = platform.tokenizers.import(&name, tokenizer.json())?;
            report.tokenizer = Some(format!("{}@{}", record.name, record.version));
        }
        let version = platform.tracker.register_version(
            &spec.name,
            manifest,
            &spec.description,
            spec.tags,
        )?;
        report.version = Some(version);
        Ok(report)
    }
}

/// A model's name as the name of its tokenizer: those have fewer characters to choose from.
fn tokenizer_name(model: &str) -> String {
    let plain: String = model
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || "._-".contains(c) => c,
            _ => '-',
        })
        .take(100)
        .collect();
    match plain.trim_start_matches(['.', '_', '-']) {
        "" => "model".to_owned(),
        name => name.to_owned(),
    }
}

/// The tensors of the stored file, under the recipe's names.
fn parts(fit: &Fit, needs: &BTreeMap<String, Need>) -> Vec<Part> {
    let copies = fit
        .taken
        .iter()
        .chain(&fit.tied)
        .map(|(name, source)| Part {
            name: name.clone(),
            content: Content::Copy(source.clone()),
        });
    let fresh = fit.missing.iter().filter_map(|name| {
        let need = needs.get(name)?.clone();
        let own = name.clone();
        Some(Part {
            name: name.clone(),
            content: Content::Fresh {
                shape: need.shape.clone(),
                values: Box::new(move || {
                    need.values(SEED, &own).map_err(|error| error.to_string())
                }),
            },
        })
    });
    copies.chain(fresh).collect()
}

/// The files that an export writes again. The tokenizer has a place of its own, an index is not needed
/// for one file.
fn kept_files(small: &SmallFiles, config: Option<&ModelConfig>) -> BTreeMap<String, Vec<u8>> {
    let mut kept: BTreeMap<String, Vec<u8>> = small
        .0
        .iter()
        .filter(|(name, _)| {
            names::SMALL.contains(&name.as_str())
                && ![names::CONFIG, names::TOKENIZER].contains(&name.as_str())
        })
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
        .collect();
    if let Some(config) = config {
        let bytes = match small.get(names::CONFIG) {
            Some(bytes) => bytes.to_vec(),
            None => serde_json::to_vec_pretty(&config.fields).unwrap_or_default(),
        };
        kept.insert(names::CONFIG.to_owned(), bytes);
    }
    kept
}

/// The hints of a configuration.
fn hints(config: &Map<String, Value>) -> Hints {
    let text = |field: &str| config.get(field)?.as_str().map(str::to_owned);
    Hints {
        model_type: text("model_type"),
        untied: config.get("tie_word_embeddings") == Some(&Value::Bool(false)),
    }
}

impl From<HubError> for ModelError {
    fn from(error: HubError) -> Self {
        Self::Hub(Box::new(error))
    }
}
