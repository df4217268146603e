//! Datasets for plugins that were granted them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tenon_plugin::DatasetSource;

use super::{DatasetVersion, Datasets};
use crate::error::Result;

/// Rows that a plugin reads at a time.
const BATCH_ROWS: usize = 8192;

/// The datasets that one plugin may read, by the name that it uses. What it gets is fixed when the
/// grant is made: a version that is imported later does not change a running job.
#[derive(Clone, Debug)]
pub struct GrantedDatasets {
    datasets: Datasets,
    granted: BTreeMap<String, (DatasetVersion, Option<String>)>,
}

impl GrantedDatasets {
    /// Grants `name` → reference (`name[@version][#split]`).
    ///
    /// # Errors
    /// A reference that leads nowhere.
    pub fn new<'a>(
        datasets: &Datasets,
        granted: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        let granted = granted
            .into_iter()
            .map(|(name, reference)| {
                let (version, split) = datasets.resolve(reference)?;
                Ok((name.to_owned(), (version, split)))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            datasets: datasets.clone(),
            granted,
        })
    }

    /// The digests of what was granted, by name: part of a cache key.
    pub fn digests(&self) -> BTreeMap<String, String> {
        self.granted
            .iter()
            .map(|(name, (version, split))| {
                let split = split
                    .as_deref()
                    .map(|split| format!("#{split}"))
                    .unwrap_or_default();
                (name.clone(), format!("{}{split}", version.digest))
            })
            .collect()
    }

    /// As plugins take it.
    pub fn shared(self) -> Arc<dyn DatasetSource> {
        Arc::new(self)
    }
}

impl DatasetSource for GrantedDatasets {
    fn is_granted(&self, name: &str) -> bool {
        self.granted.contains_key(name)
    }

    fn open(&self, name: &str) -> Result<tenon_plugin::BatchReader, String> {
        let (version, split) = self.granted.get(name).ok_or_else(|| {
            format!("the dataset `{name}` was not granted; grant `dataset:{name}` to let the plugin read it")
        })?;
        let splits: Vec<String> = match split {
            Some(split) => vec![split.clone()],
            None => version
                .splits
                .iter()
                .map(|split| split.name.clone())
                .collect(),
        };
        let mut readers = Vec::with_capacity(splits.len());
        for split in splits {
            let reader = self
                .datasets
                .read(version, &split, None, BATCH_ROWS)
                .map_err(|error| error.to_string())?;
            readers.push(reader);
        }
        let batches = readers
            .into_iter()
            .flat_map(|reader| reader.plugin_batches())
            .map(|batch| batch.map_err(|error| error.to_string()));
        Ok(Box::new(batches))
    }
}
