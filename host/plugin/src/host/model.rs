//! `tenon:evaluator/model`: the model under evaluation (capability `model`).

use crate::{
    Batch, GenerationOptions,
    bindings::{model, types},
    grants::ModelSource,
    state::State,
};

impl State {
    /// The model, for rows that are rows.
    fn granted_model(
        &mut self,
        rows: &Batch,
    ) -> Result<&mut (dyn ModelSource + Send + 'static), types::Error> {
        self.allowed("model", "it judges")?;
        rows.check_alone()
            .map_err(|e| types::Error::InvalidArgument(format!("the rows for the model: {e}")))?;
        self.model.as_deref_mut().ok_or_else(|| {
            types::Error::NotGranted(
                "the capability `model` is not granted: there is no model here; name one where the plugin is used".into(),
            )
        })
    }
}

impl model::Host for State {
    fn score(&mut self, rows: Batch) -> wasmtime::Result<Result<Vec<model::Scored>, types::Error>> {
        Ok(self.granted_model(&rows).and_then(|source| {
            let scored = source.score(&rows).map_err(types::Error::Failed)?;
            Ok(scored
                .into_iter()
                .map(|s| model::Scored {
                    log_likelihood: s.log_likelihood,
                    tokens: s.tokens,
                    special_log_likelihood: s.special_log_likelihood,
                    special_tokens: s.special_tokens,
                })
                .collect())
        }))
    }

    fn generate(
        &mut self,
        rows: Batch,
        options: model::GenerationOptions,
    ) -> wasmtime::Result<Result<Vec<String>, types::Error>> {
        Ok(self.granted_model(&rows).and_then(|source| {
            source
                .generate(&rows, &checked(&options)?)
                .map_err(types::Error::Failed)
        }))
    }

    fn predict(&mut self, rows: Batch) -> wasmtime::Result<Result<Batch, types::Error>> {
        Ok(self
            .granted_model(&rows)
            .and_then(|source| source.predict(&rows).map_err(types::Error::Failed)))
    }
}

/// The options, if they are within their ranges.
fn checked(options: &model::GenerationOptions) -> Result<GenerationOptions, types::Error> {
    let options = GenerationOptions {
        max_tokens: options.max_tokens,
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: options.top_p,
        beams: options.beams,
        seed: options.seed,
    };
    options.check().map_err(types::Error::InvalidArgument)?;
    Ok(options)
}
