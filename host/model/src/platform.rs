//! Everything that one data folder holds, opened once: what training and serving stand on.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::Mutex;
use tenon_data::{Datasets, Tokenizers};
use tenon_plugin::{Engine, EngineOptions, Grants, Limits};
use tenon_registry::Registry;
use tenon_store::{Digest, Store, StoreError, StoreOptions, SweepReport};
use tenon_tensor::Device;
use tenon_track::{ModelManifest, Tracker};

use crate::{Model, ModelError, Result, bundle};

/// The artifact of a training run in which its model's manifest is kept.
pub const MANIFEST: &str = "model.json";

/// How a data folder is opened.
#[derive(Debug, Clone, Default)]
pub struct PlatformOptions {
    /// `auto`, `cpu`, `wgpu:0`, `cuda:0`; empty means `auto`.
    pub device: String,
    /// Of the store.
    pub store: StoreOptions,
    /// Of plugins that are granted no others.
    pub limits: Limits,
}

/// One data folder, opened. Clones share it.
#[derive(Clone)]
pub struct Platform {
    /// Records and blobs.
    pub store: Store,
    /// Experiments, runs, registered models.
    pub tracker: Tracker,
    /// Installed plugins and the engine that loads them.
    pub registry: Registry,
    /// Versioned tables.
    pub datasets: Datasets,
    /// Trained and imported tokenizers.
    pub tokenizers: Tokenizers,
    device: Arc<Chosen>,
    users: Arc<Mutex<Vec<User>>>,
}

/// Tells which blobs somebody who stands above uses.
type User = Box<dyn Fn() -> std::result::Result<HashSet<Digest>, StoreError> + Send + Sync>;

/// The device is looked for when it is first needed: drivers take a while to load.
struct Chosen {
    name: String,
    device: OnceLock<Device>,
}

impl Platform {
    /// Opens a data folder, or makes a new one where there is none.
    ///
    /// # Errors
    /// A folder that another process has open, that is damaged or of a newer version; an engine that
    /// does not start.
    pub fn open(root: &Path, options: PlatformOptions) -> Result<Self> {
        let store = Store::open(root, options.store)?;
        let engine = Engine::new(EngineOptions {
            cache_dir: Some(store.dir("compiled")?),
            limits: options.limits,
        })?;
        let name = if options.device.is_empty() {
            "auto".to_owned()
        } else {
            options.device
        };
        Ok(Self {
            tracker: Tracker::open(&store)?,
            registry: Registry::open(&store, &engine),
            datasets: Datasets::new(&store),
            tokenizers: Tokenizers::new(&store),
            device: Arc::new(Chosen {
                name,
                device: OnceLock::new(),
            }),
            users: Arc::default(),
            store,
        })
    }

    /// The device that models are on.
    ///
    /// # Errors
    /// A name that is no device, or a device that is not there.
    pub fn device(&self) -> Result<Device> {
        if let Some(device) = self.device.device.get() {
            return Ok(*device);
        }
        let device = Device::parse(&self.device.name)?;
        Ok(*self.device.device.get_or_init(|| device))
    }

    /// The device as it was asked for.
    #[must_use]
    pub fn device_name(&self) -> &str {
        &self.device.name
    }

    /// What a reference to a model means: `name`, `name@2`, `name@alias`, or `run:ID` for the model
    /// that a run has made, registered or not. With its name for people.
    ///
    /// # Errors
    /// A reference that leads nowhere; a run that has made no model.
    pub fn manifest(&self, reference: &str) -> Result<(String, ModelManifest)> {
        let Some(run) = reference.strip_prefix("run:") else {
            let version = self.tracker.resolve_model(reference)?;
            let name = format!("{}@{}", version.model, version.version);
            return Ok((name, version.manifest));
        };
        let run = self.tracker.find_run(run)?;
        let Some(artifact) = run.artifacts.get(MANIFEST) else {
            return Err(ModelError::Invalid(format!(
                "run `{}` ({}) has made no model; it is {}",
                run.name,
                run.id,
                run.status.name()
            )));
        };
        let bytes = self.store.blobs().read(&artifact.digest.parse()?)?;
        let manifest = serde_json::from_slice(&bytes).map_err(|error| {
            ModelError::Invalid(format!("{MANIFEST} of run {}: {error}", run.id))
        })?;
        Ok((format!("run:{}", run.id), manifest))
    }

    /// Loads a model onto the device.
    ///
    /// # Errors
    /// Those of [`bundle::load`].
    pub fn load(&self, manifest: &ModelManifest, grants: Grants) -> Result<Model> {
        bundle::load(
            manifest,
            &self.registry,
            &self.store,
            &self.device()?,
            grants,
        )
    }

    /// Registers somebody who uses blobs that neither runs, models, datasets, tokenizers nor plugins
    /// name: a sweep asks all of them.
    pub fn add_user(
        &self,
        uses: impl Fn() -> std::result::Result<HashSet<Digest>, StoreError> + Send + Sync + 'static,
    ) {
        self.users.lock().push(Box::new(uses));
    }

    /// Removes blobs that nothing refers to and that were put more than `grace` ago.
    ///
    /// # Errors
    /// When the store cannot be read; nothing is removed then.
    pub fn sweep(&self, grace: Duration) -> Result<SweepReport> {
        let live = || -> std::result::Result<HashSet<Digest>, StoreError> {
            let other = |error: &dyn std::fmt::Display| {
                StoreError::InvalidArgument(format!("what is in use cannot be told: {error}"))
            };
            let mut live = self.tracker.live_blobs().map_err(|error| other(&error))?;
            live.extend(self.registry.live_blobs().map_err(|error| other(&error))?);
            let datasets = self.datasets.live_blobs().map_err(|error| other(&error))?;
            let tokenizers = self
                .tokenizers
                .live_blobs()
                .map_err(|error| other(&error))?;
            for text in datasets.iter().chain(&tokenizers) {
                live.insert(text.parse()?);
            }
            for uses in &*self.users.lock() {
                live.extend(uses()?);
            }
            Ok(live)
        };
        Ok(self.store.blobs().sweep(grace, live)?)
    }
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Platform")
            .field("root", &self.store.root())
            .field("device", &self.device.name)
            .finish_non_exhaustive()
    }
}
