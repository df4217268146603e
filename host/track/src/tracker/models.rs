//! Registered models.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;
use tenon_store::{Digest, JsonTable, ScanRange, Transaction};

use super::{MODELS, Tracker, VERSIONS, check_name};
use crate::error::TrackError;
use crate::model::{ModelManifest, ModelVersion, RegisteredModel};

/// Key of a version: sorts by model, then number.
fn version_key(model: &str, version: u32) -> String {
    format!("{model}@{version:010}")
}

impl Tracker {
    /// Refuses what cannot be the name of a model: for jobs that register one hours later.
    ///
    /// # Errors
    /// [`TrackError::Invalid`].
    pub fn check_model_name(name: &str) -> Result<(), TrackError> {
        check_name("a model", name)?;
        // The path of a model in the interface is the one of what is done with models otherwise.
        if name == "import" {
            return Err(TrackError::Invalid(
                "a model cannot be called `import`, which is a command: choose another name".into(),
            ));
        }
        Ok(())
    }

    /// Creates a model without versions.
    ///
    /// # Errors
    /// [`TrackError::AlreadyExists`], [`TrackError::Invalid`] for a bad name.
    pub fn create_model(
        &self,
        name: &str,
        description: &str,
    ) -> Result<RegisteredModel, TrackError> {
        Self::check_model_name(name)?;
        let model = new_model(name, description);
        self.models_table().insert(name, &model).map_err(|error| {
            if error.is_conflict() {
                TrackError::AlreadyExists {
                    what: "model",
                    name: name.to_owned(),
                }
            } else {
                error.into()
            }
        })?;
        Ok(model)
    }

    /// Registers a manifest as the next version of a model, which is created when it does not exist.
    /// One transaction: a crash leaves the whole version or nothing.
    ///
    /// # Errors
    /// [`TrackError::Store`] when a blob of the manifest is not in the data folder;
    /// [`TrackError::NotFound`] for an unknown run.
    pub fn register_version(
        &self,
        model: &str,
        manifest: ModelManifest,
        description: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<ModelVersion, TrackError> {
        Self::check_model_name(model)?;
        for blob in manifest.blobs() {
            self.inner.store.blobs().size(&blob.parse()?)?;
        }
        if let Some(run) = &manifest.run {
            self.stored(run)?;
        }
        let _changes = self.inner.changes.lock();
        let now = Timestamp::now();
        let mut registered = match self.models_table().get(model)? {
            Some(found) => found,
            None => new_model(model, ""),
        };
        registered.latest += 1;
        registered.updated = now;
        let version = ModelVersion {
            model: model.to_owned(),
            version: registered.latest,
            digest: manifest.digest(),
            manifest,
            description: description.to_owned(),
            tags,
            created: now,
        };
        let key = version_key(model, version.version);
        let mut transaction = Transaction::new().expect_absent(VERSIONS, &key);
        self.models_table()
            .add_put(&mut transaction, model, &registered)?;
        self.versions_table()
            .add_put(&mut transaction, &key, &version)?;
        self.inner.store.commit(transaction)?;
        Ok(version)
    }

    /// All models, by name.
    ///
    /// # Errors
    /// When records cannot be read.
    pub fn models(&self) -> Result<Vec<RegisteredModel>, TrackError> {
        let models = self.models_table().list()?;
        Ok(models.into_iter().map(|(_, model)| model).collect())
    }

    /// A model by name.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn model(&self, name: &str) -> Result<RegisteredModel, TrackError> {
        if let Some(model) = self.models_table().get(name)? {
            return Ok(model);
        }
        let names: Vec<_> = self.models()?.into_iter().map(|m| m.name).collect();
        let hint = if names.is_empty() {
            "none is registered yet".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        };
        Err(TrackError::not_found("model", name, hint))
    }

    /// The versions of a model, oldest first.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn versions(&self, model: &str) -> Result<Vec<ModelVersion>, TrackError> {
        self.model(model)?;
        let range = ScanRange::prefix(format!("{model}@"));
        let versions = self.versions_table().list_range(range)?;
        Ok(versions.into_iter().map(|(_, version)| version).collect())
    }

    /// Every version of every model.
    ///
    /// # Errors
    /// When records cannot be read.
    pub fn all_versions(&self) -> Result<Vec<ModelVersion>, TrackError> {
        let versions = self.versions_table().list()?;
        Ok(versions.into_iter().map(|(_, version)| version).collect())
    }

    /// One version of a model.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn version(&self, model: &str, version: u32) -> Result<ModelVersion, TrackError> {
        match self.versions_table().get(&version_key(model, version))? {
            Some(found) => Ok(found),
            None => {
                let numbers: Vec<_> = self
                    .versions(model)?
                    .iter()
                    .map(|version| version.version.to_string())
                    .collect();
                Err(TrackError::not_found(
                    "model version",
                    &format!("{model}@{version}"),
                    format!("there are: {}", numbers.join(", ")),
                ))
            }
        }
    }

    /// The version that a text means: `name` (the newest version), `name@3` or `name@alias`.
    ///
    /// # Errors
    /// [`TrackError::NotFound`] naming what exists.
    pub fn resolve_model(&self, text: &str) -> Result<ModelVersion, TrackError> {
        let Some((name, which)) = text.split_once('@') else {
            return self.versions(text)?.pop().ok_or_else(|| {
                TrackError::not_found("version of model", text, "register one first")
            });
        };
        if let Ok(number) = which.parse() {
            return self.version(name, number);
        }
        let model = self.model(name)?;
        match model.aliases.get(which) {
            Some(number) => self.version(name, *number),
            None => {
                let aliases: Vec<_> = model.aliases.keys().cloned().collect();
                let hint = if aliases.is_empty() {
                    format!("it has none, only versions 1 to {}", model.latest)
                } else {
                    format!("there are: {}", aliases.join(", "))
                };
                Err(TrackError::not_found("alias", text, hint))
            }
        }
    }

    /// Changes description, tags or aliases of a model. Aliases must point to existing versions.
    ///
    /// # Errors
    /// [`TrackError::NotFound`], [`TrackError::Invalid`] for a bad alias.
    pub fn update_model(
        &self,
        name: &str,
        change: impl FnOnce(&mut RegisteredModel),
    ) -> Result<RegisteredModel, TrackError> {
        let _changes = self.inner.changes.lock();
        let old = self.model(name)?;
        let mut new = old.clone();
        change(&mut new);
        new.name.clone_from(&old.name);
        new.latest = old.latest;
        new.created = old.created;
        new.updated = Timestamp::now();
        for (alias, version) in &new.aliases {
            check_name("an alias", alias)?;
            if alias.parse::<u64>().is_ok() {
                return Err(TrackError::Invalid(format!(
                    "`{alias}` cannot be an alias: numbers are versions"
                )));
            }
            self.version(name, *version)?;
        }
        self.models_table().put(name, &new)?;
        Ok(new)
    }

    /// Points an alias to a version, whether it existed or not.
    ///
    /// # Errors
    /// As [`Tracker::update_model`].
    pub fn set_alias(
        &self,
        model: &str,
        alias: &str,
        version: u32,
    ) -> Result<RegisteredModel, TrackError> {
        self.update_model(model, |model| {
            model.aliases.insert(alias.to_owned(), version);
        })
    }

    /// Removes an alias; nothing happens when it is not there.
    ///
    /// # Errors
    /// [`TrackError::NotFound`] for the model.
    pub fn delete_alias(&self, model: &str, alias: &str) -> Result<RegisteredModel, TrackError> {
        self.update_model(model, |model| {
            model.aliases.remove(alias);
        })
    }

    /// Changes description and tags of a version; the rest never changes.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn update_version(
        &self,
        model: &str,
        version: u32,
        change: impl FnOnce(&mut String, &mut BTreeMap<String, String>),
    ) -> Result<ModelVersion, TrackError> {
        let _changes = self.inner.changes.lock();
        let mut found = self.version(model, version)?;
        change(&mut found.description, &mut found.tags);
        self.versions_table()
            .put(&version_key(model, version), &found)?;
        Ok(found)
    }

    /// Removes a version. Its number is not given out again.
    ///
    /// # Errors
    /// [`TrackError::Invalid`] while an alias points to it; [`TrackError::NotFound`].
    pub fn delete_version(&self, model: &str, version: u32) -> Result<(), TrackError> {
        let _changes = self.inner.changes.lock();
        self.version(model, version)?;
        let registered = self.model(model)?;
        if let Some((alias, _)) = registered.aliases.iter().find(|(_, v)| **v == version) {
            return Err(TrackError::Invalid(format!(
                "{model}@{version} has the alias `{alias}`; move or remove the alias first"
            )));
        }
        self.versions_table().delete(&version_key(model, version))?;
        Ok(())
    }

    /// Removes a model with all its versions and aliases.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn delete_model(&self, name: &str) -> Result<(), TrackError> {
        let _changes = self.inner.changes.lock();
        let mut transaction = Transaction::new().delete(MODELS, name);
        for version in self.versions(name)? {
            transaction.add_delete(VERSIONS, version_key(name, version.version));
        }
        self.inner.store.commit(transaction)?;
        Ok(())
    }

    /// The blobs that runs and models refer to: what a sweep must keep.
    ///
    /// # Errors
    /// When records cannot be read.
    pub fn live_blobs(&self) -> Result<HashSet<Digest>, TrackError> {
        let mut live = HashSet::new();
        // Other digests (sha256 of components) are not blobs.
        let mut keep = |digest: &str| live.extend(digest.parse::<Digest>().ok());
        for run in self.inner.runs.read().values() {
            run.artifacts.values().for_each(|a| keep(&a.digest));
            run.inputs
                .iter()
                .chain(&run.outputs)
                .for_each(|reference| keep(&reference.digest));
        }
        for version in self.all_versions()? {
            version.manifest.blobs().for_each(|blob| keep(blob));
        }
        Ok(live)
    }

    fn models_table(&self) -> JsonTable<RegisteredModel> {
        self.inner.store.json(MODELS)
    }

    fn versions_table(&self) -> JsonTable<ModelVersion> {
        self.inner.store.json(VERSIONS)
    }
}

fn new_model(name: &str, description: &str) -> RegisteredModel {
    let now = Timestamp::now();
    RegisteredModel {
        name: name.to_owned(),
        description: description.to_owned(),
        tags: BTreeMap::new(),
        aliases: BTreeMap::new(),
        latest: 0,
        created: now,
        updated: now,
    }
}
