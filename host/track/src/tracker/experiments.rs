//! Experiments.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::{EXPERIMENTS, Tracker, check_name};
use crate::error::TrackError;
use crate::experiment::Experiment;
use crate::search::RunQuery;

impl Tracker {
    /// Creates an experiment.
    ///
    /// # Errors
    /// [`TrackError::AlreadyExists`], [`TrackError::Invalid`] for a bad name.
    pub fn create_experiment(
        &self,
        name: &str,
        description: &str,
        tags: BTreeMap<String, String>,
    ) -> Result<Experiment, TrackError> {
        check_name("an experiment", name)?;
        let _changes = self.inner.changes.lock();
        if self.experiment_named(name).is_some() {
            return Err(TrackError::AlreadyExists {
                what: "experiment",
                name: name.to_owned(),
            });
        }
        let now = Timestamp::now();
        self.write_experiment(Experiment {
            id: self.inner.ids.next(now),
            name: name.to_owned(),
            description: description.to_owned(),
            tags,
            created: now,
        })
    }

    /// The experiment of this name, created when it does not exist.
    ///
    /// # Errors
    /// As [`Tracker::create_experiment`].
    pub fn ensure_experiment(&self, name: &str) -> Result<Experiment, TrackError> {
        if let Some(found) = self.experiment_named(name) {
            return Ok(found);
        }
        match self.create_experiment(name, "", BTreeMap::new()) {
            // Somebody else was faster.
            Err(TrackError::AlreadyExists { .. }) => self.experiment(name),
            other => other,
        }
    }

    /// An experiment by identifier or name.
    ///
    /// # Errors
    /// [`TrackError::NotFound`].
    pub fn experiment(&self, name_or_id: &str) -> Result<Experiment, TrackError> {
        let by_id = self.inner.experiments.read().get(name_or_id).cloned();
        by_id
            .map(|found| (*found).clone())
            .or_else(|| self.experiment_named(name_or_id))
            .ok_or_else(|| {
                let names: Vec<_> = self.experiments().into_iter().map(|e| e.name).collect();
                TrackError::not_found(
                    "experiment",
                    name_or_id,
                    format!("there are: {}", names.join(", ")),
                )
            })
    }

    /// All experiments, oldest first.
    #[must_use]
    pub fn experiments(&self) -> Vec<Experiment> {
        let experiments = self.inner.experiments.read();
        experiments.values().map(|e| (**e).clone()).collect()
    }

    /// Changes name, description and tags of an experiment.
    ///
    /// # Errors
    /// [`TrackError::NotFound`], [`TrackError::AlreadyExists`] for a name that is taken.
    pub fn update_experiment(
        &self,
        name_or_id: &str,
        change: impl FnOnce(&mut Experiment),
    ) -> Result<Experiment, TrackError> {
        let _changes = self.inner.changes.lock();
        let old = self.experiment(name_or_id)?;
        let mut new = old.clone();
        change(&mut new);
        new.id.clone_from(&old.id);
        new.created = old.created;
        if new.name != old.name {
            check_name("an experiment", &new.name)?;
            if old.name == crate::DEFAULT_EXPERIMENT {
                return Err(TrackError::Invalid(
                    "the experiment `default` keeps its name".to_owned(),
                ));
            }
            if self.experiment_named(&new.name).is_some() {
                return Err(TrackError::AlreadyExists {
                    what: "experiment",
                    name: new.name,
                });
            }
        }
        self.write_experiment(new)
    }

    /// Removes an experiment that has no runs (those in the bin count).
    ///
    /// # Errors
    /// [`TrackError::NotFound`]; [`TrackError::Invalid`] when it has runs or is `default`.
    pub fn delete_experiment(&self, name_or_id: &str) -> Result<(), TrackError> {
        let _changes = self.inner.changes.lock();
        let experiment = self.experiment(name_or_id)?;
        let runs = self
            .search(&RunQuery {
                experiment: Some(experiment.id.clone()),
                include_deleted: true,
                limit: Some(1),
                ..RunQuery::default()
            })?
            .total;
        if runs > 0 || experiment.name == crate::DEFAULT_EXPERIMENT {
            return Err(TrackError::Invalid(format!(
                "experiment `{}` cannot be removed: {}",
                experiment.name,
                if runs > 0 {
                    format!("it has {runs} runs; remove them for good first")
                } else {
                    "it always exists".to_owned()
                }
            )));
        }
        self.inner
            .store
            .json::<Experiment>(EXPERIMENTS)
            .delete(&experiment.id)?;
        self.inner.experiments.write().remove(&experiment.id);
        Ok(())
    }

    fn experiment_named(&self, name: &str) -> Option<Experiment> {
        let experiments = self.inner.experiments.read();
        let found = experiments.values().find(|e| e.name == name);
        found.map(|e| (**e).clone())
    }

    fn write_experiment(&self, experiment: Experiment) -> Result<Experiment, TrackError> {
        self.inner
            .store
            .json(EXPERIMENTS)
            .put(&experiment.id, &experiment)?;
        self.inner
            .experiments
            .write()
            .insert(experiment.id.clone(), Arc::new(experiment.clone()));
        Ok(experiment)
    }
}
