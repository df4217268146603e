//! From a registered model's manifest to a model.

use std::sync::Arc;

use tenon_data::Tokenizers;
use tenon_plugin::Grants;
use tenon_registry::Registry;
use tenon_store::Store;
use tenon_tensor::{
    Device,
    params::{OnMissing, Params},
};
use tenon_track::ModelManifest;

use crate::{Model, ModelError, Result};

/// Loads everything that the manifest names and runs the recipe once, so that a model that is
/// returned is known to fit together.
///
/// # Errors
/// A recipe that is not installed, a blob that is gone or damaged, weights that do not fit the recipe
/// (by name), a tokenizer of another size than the model was made with.
pub fn load(
    manifest: &ModelManifest,
    registry: &Registry,
    store: &Store,
    device: &Device,
    grants: Grants,
) -> Result<Model> {
    let component = registry.resolve(&manifest.recipe.digest)?;
    let tokenizer = match &manifest.tokenizer {
        Some(digest) => Some(Arc::new(Tokenizers::new(store).load_blob(digest)?)),
        None => None,
    };
    let vocabulary = tokenizer
        .as_ref()
        .map_or(0, |tokenizer| tokenizer.vocabulary());
    if vocabulary != manifest.vocabulary {
        return Err(ModelError::Invalid(format!(
            "the model was made for a vocabulary of {}, its tokenizer has {vocabulary}",
            manifest.vocabulary
        )));
    }
    let params = Params::new(device, 0);
    let weights = manifest.weights.parse()?;
    params.load_safetensors(&store.blobs().path(&weights))?;
    params.set_on_missing(OnMissing::Error);
    let mut model = Model::open(
        &component,
        &manifest.recipe_config,
        params,
        tokenizer,
        grants,
    )?;
    model.build()?;
    let unclaimed = model.params().unclaimed();
    if !unclaimed.is_empty() {
        tracing::warn!(
            recipe = manifest.recipe.name,
            ?unclaimed,
            "weights that the recipe does not use"
        );
    }
    Ok(model)
}
