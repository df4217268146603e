//! Importing a version.

use serde::Serialize;
use utoipa::ToSchema;

use super::{DatasetVersion, Datasets, Split, check_name, content_digest};
use crate::control::Control;
use crate::error::Result;
use crate::import::{self, BadRows, ImportInput, ImportOptions};

/// What an import did.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ImportReport {
    /// The version that holds the rows.
    pub version: DatasetVersion,
    /// False when a version with exactly this content was there already.
    pub created: bool,
    /// The rows that did not fit and went to quarantine.
    pub quarantined: BadRows,
}

impl Datasets {
    /// Imports files or streams as a new version of `name`. The same content again gives the
    /// version that is already there. Until it returns `Ok` nothing is visible.
    ///
    /// # Errors
    /// [`DataError::BadRows`] when rows do not fit and are to be rejected; otherwise what could not
    /// be read or written.
    pub fn import(
        &self,
        name: &str,
        inputs: Vec<ImportInput>,
        options: &ImportOptions,
        control: &Control,
    ) -> Result<ImportReport> {
        check_name("dataset", name)?;
        let source = options.source.clone().or_else(|| {
            let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
            Some(names.join(", "))
        });
        let scratch = self.store.scratch()?;
        // Parts are put before the record that names them; a sweep leaves fresh blobs alone.
        let imported = import::read(
            &self.store.blobs(),
            scratch.path(),
            inputs,
            options,
            control,
        )?;
        let mut splits = imported
            .splits
            .into_iter()
            .map(|(split, writer)| Ok(Split::new(split, writer.finish()?)))
            .collect::<Result<Vec<_>>>()?;
        splits.sort_by(|a, b| a.name.cmp(&b.name));
        let quarantine = match imported.quarantine {
            Some(writer) => Some(Split::new(import::QUARANTINE, writer.finish()?)),
            None => None,
        };
        control.check()?;
        let draft = DatasetVersion {
            name: name.to_owned(),
            version: 0,
            digest: content_digest(&imported.schema, &splits, quarantine.as_ref())?,
            schema: imported.schema,
            splits,
            quarantine,
            created_at: String::new(),
            source,
            lineage: None,
        };
        let (version, created) = self.commit(draft, |transaction, _| Ok(transaction))?;
        tracing::info!(dataset = %version.reference(), rows = version.rows(), created, "imported");
        Ok(ImportReport {
            version,
            created,
            quarantined: imported.bad,
        })
    }
}
