//! Checkpoints on disk: folders that appear at once and whole.
//!
//! A job that goes on from a model keeps only what it changes: adapters instead of all weights.
//!
//! ```text
//! runs/ID/step-000000000200/  params.safetensors, optimizer.safetensors, checkpoint.json;
//!                             ema.safetensors where weights are averaged
//! runs/ID/best-000000000150.safetensors
//! ```
//!
//! A folder is written under another name, every file is flushed, then it is renamed and the folder
//! above is flushed. The last two are kept: should the newest be damaged, the one before it is taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tenon_store::Store;
use tenon_tensor::{
    Device, Tensor,
    optim::OptimizerState,
    params::{Params, SafetensorsFile, save_safetensors},
};
use tenon_track::PluginRef;

use super::{finish, state::State, step::Learner};
use crate::{Result, TrainError};

/// Checkpoints that are kept.
const KEPT: usize = 2;
/// The format of `checkpoint.json`.
const FORMAT: u32 = 1;

const PARAMS: &str = "params.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const EMA: &str = "ema.safetensors";
const DOCUMENT: &str = "checkpoint.json";
const STEP: &str = "step-";
const BEST: &str = "best-";
const UNFINISHED: &str = "unfinished";

/// `checkpoint.json`.
#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    state: State,
    /// BLAKE3 of the other files.
    files: BTreeMap<String, String>,
}

/// The checkpoints of one run.
pub(super) struct Checkpoints {
    folder: PathBuf,
    store: Store,
    /// Whether what is not trained is kept elsewhere.
    based: bool,
}

/// A checkpoint that was found whole.
pub(super) struct Checkpoint {
    folder: PathBuf,
    pub state: State,
}

impl Checkpoint {
    /// The file of the parameters.
    pub fn params(&self) -> PathBuf {
        self.folder.join(PARAMS)
    }

    /// The parameters.
    pub fn values(&self, device: &Device) -> Result<Vec<(String, Tensor)>> {
        Ok(SafetensorsFile::open(&self.params())?.tensors(device)?)
    }

    /// What the optimiser remembers.
    pub fn optimizer(&self) -> Result<OptimizerState> {
        let file = SafetensorsFile::open(&self.folder.join(OPTIMIZER))?;
        Ok(OptimizerState {
            steps: self.state.optimizer_steps,
            tensors: file.tensors(&Device::cpu())?,
        })
    }
}

impl Checkpoint {
    /// The averages of the weights; none where the job keeps none.
    pub fn averages(&self) -> Result<Vec<(String, Tensor)>> {
        let path = self.folder.join(EMA);
        if !path.exists() {
            return Ok(Vec::new());
        }
        Ok(SafetensorsFile::open(&path)?.tensors(&Device::cpu())?)
    }
}

impl Checkpoints {
    /// The checkpoints in a folder of a store. `based`: the job goes on from a model, whose weights a
    /// resumed job reads first, so that checkpoints need only what the training changes.
    pub fn new(folder: PathBuf, store: &Store, based: bool) -> Self {
        Self {
            folder,
            store: store.clone(),
            based,
        }
    }

    /// Refuses when the disk has no room for these: better now than after half of them.
    fn admit(&self, files: &[(&str, &Vec<(String, Tensor)>)]) -> Result<()> {
        let tensors = files.iter().flat_map(|(_, tensors)| tensors.iter());
        let bytes: usize = tensors.map(|(_, tensor)| tensor.byte_len()).sum();
        Ok(self.store.check_space(bytes as u64)?)
    }

    /// The newest checkpoint that is whole; nothing where there is none at all.
    pub fn latest(&self) -> Result<Option<Checkpoint>> {
        let mut damage = None;
        for folder in self.folders()?.into_iter().rev() {
            match read(&folder) {
                Ok(document) => {
                    return Ok(Some(Checkpoint {
                        folder,
                        state: document.state,
                    }));
                }
                Err(error) => {
                    tracing::warn!(%error, "a checkpoint is damaged; looking for an older one");
                    damage.get_or_insert(error);
                }
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// Writes a checkpoint and removes those that are too old.
    pub fn save(&self, state: &State, learner: &Learner) -> Result<()> {
        let name = format!("{STEP}{:012}", state.step);
        let folder = self.folder.join(&name);
        if folder.exists() {
            return Ok(());
        }
        let new = self.folder.join(UNFINISHED);
        if new.exists() {
            fs::remove_dir_all(&new).map_err(failed(&new, "cannot be removed"))?;
        }
        fs::create_dir(&new).map_err(failed(&new, "cannot be created"))?;
        let metadata = BTreeMap::new();
        let params = match self.based {
            true => learner.params().changing_entries(),
            false => learner.params().entries(),
        };
        let optimizer = learner.optimizer().state()?;
        let (ema_steps, averages) = learner.averages().unwrap_or_default();
        let mut parts = vec![(PARAMS, &params), (OPTIMIZER, &optimizer.tensors)];
        if !averages.is_empty() {
            parts.push((EMA, &averages));
        }
        self.admit(&parts)?;
        let mut files = BTreeMap::new();
        for (file, tensors) in parts {
            save_safetensors(&new.join(file), tensors, &metadata)?;
            files.insert(file.to_owned(), hash(&new.join(file))?);
        }
        let document = Document {
            format: FORMAT,
            state: State {
                optimizer_steps: optimizer.steps,
                ema_steps,
                ..state.clone()
            },
            files,
        };
        write(&new.join(DOCUMENT), &document)?;
        sync(&new)?;
        fs::rename(&new, &folder).map_err(failed(&new, "cannot be renamed"))?;
        sync(&self.folder)?;
        self.prune(state)
    }

    /// Keeps the weights of a measurement that was the best so far.
    pub fn save_best(&self, params: &Params, step: u64, recipe: &PluginRef) -> Result<()> {
        let metadata = finish::metadata(recipe);
        // Adapters are merged into the weights that they were trained over; else the file is the model.
        let entries = match params.adapted().is_empty() {
            true => params.entries(),
            false => params.changing_entries(),
        };
        self.admit(&[(BEST, &entries)])?;
        Ok(save_safetensors(
            &self.best_path(step),
            &entries,
            &metadata,
        )?)
    }

    /// Where the best weights are, if they are those of this step.
    pub fn best_path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{BEST}{step:012}.safetensors"))
    }

    /// Removes old checkpoints, and best weights that neither a checkpoint nor the job refers to.
    fn prune(&self, state: &State) -> Result<()> {
        let mut folders = self.folders()?;
        let old = folders.len().saturating_sub(KEPT);
        for folder in folders.drain(..old) {
            fs::remove_dir_all(&folder).map_err(failed(&folder, "cannot be removed"))?;
        }
        let mut wanted: BTreeSet<PathBuf> = BTreeSet::new();
        let states = folders.iter().filter_map(|folder| document(folder).ok());
        for state in states.map(|document| document.state).chain([state.clone()]) {
            wanted.extend(state.best.map(|best| self.best_path(best.step)));
        }
        for path in self.entries(BEST)? {
            if !wanted.contains(&path) {
                fs::remove_file(&path).map_err(failed(&path, "cannot be removed"))?;
            }
        }
        Ok(())
    }

    /// The folders of checkpoints, oldest first.
    fn folders(&self) -> Result<Vec<PathBuf>> {
        self.entries(STEP)
    }

    /// What is in the folder under names that begin so, sorted.
    fn entries(&self, prefix: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed(&self.folder, "cannot be read"))? {
            let entry = entry.map_err(failed(&self.folder, "cannot be read"))?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    }
}

/// A checkpoint's document, if all its files are what it says.
fn read(folder: &Path) -> Result<Document> {
    let document = document(folder)?;
    for (file, expected) in &document.files {
        let path = folder.join(file);
        if hash(&path)? != *expected {
            return Err(TrainError::Checkpoint {
                path: path.display().to_string(),
                reason: "its bytes are not those that were written; the checkpoint is damaged"
                    .into(),
            });
        }
    }
    Ok(document)
}

fn document(folder: &Path) -> Result<Document> {
    let path = folder.join(DOCUMENT);
    let bytes = fs::read(&path).map_err(failed(&path, "cannot be read"))?;
    let document: Document =
        serde_json::from_slice(&bytes).map_err(|error| TrainError::Checkpoint {
            path: path.display().to_string(),
            reason: format!("is no checkpoint: {error}"),
        })?;
    if document.format != FORMAT {
        return Err(TrainError::Checkpoint {
            path: path.display().to_string(),
            reason: format!(
                "has format {}, this version of tenon reads {FORMAT}; resume with the version that wrote it",
                document.format
            ),
        });
    }
    Ok(document)
}

fn hash(path: &Path) -> Result<String> {
    let file = File::open(path).map_err(failed(path, "cannot be opened"))?;
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(file)
        .map_err(failed(path, "cannot be read"))?;
    Ok(hasher.finalize().to_hex().to_string())
}

fn write(path: &Path, document: &Document) -> Result<()> {
    let bytes =
        serde_json::to_vec(document).map_err(|error| TrainError::Internal(error.to_string()))?;
    File::create(path)
        .and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        })
        .map_err(failed(path, "cannot be written"))
}

fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed(folder, "cannot be flushed to the disk"))
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> TrainError {
    let path = path.display().to_string();
    move |error| TrainError::Checkpoint {
        path,
        reason: format!("{what}: {error}"),
    }
}
