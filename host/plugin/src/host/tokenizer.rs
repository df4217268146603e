//! `tenon:data/tokenizer`: the tokenizer of the model at hand (capability `tokenizer`).

use std::sync::Arc;

use crate::{
    bindings::{tokenizer, types},
    grants::TokenizerSource,
    state::State,
};

impl State {
    fn granted_tokenizer(&self) -> Result<Arc<dyn TokenizerSource>, types::Error> {
        self.allowed("tokenizer", "it needs")?;
        self.tokenizer.clone().ok_or_else(|| {
            types::Error::NotGranted(
                "the capability `tokenizer` is not granted: there is no tokenizer here; grant one where the plugin is \
                 used, or choose a model that has one"
                    .into(),
            )
        })
    }
}

impl tokenizer::Host for State {
    fn vocabulary(&mut self) -> wasmtime::Result<Result<tokenizer::TokenTable, types::Error>> {
        Ok(self.granted_tokenizer().map(|source| {
            let table = source.vocabulary();
            tokenizer::TokenTable {
                text: table.text,
                offsets: table.offsets,
                special: table.special,
            }
        }))
    }

    fn encode(&mut self, text: String) -> wasmtime::Result<Result<Vec<u32>, types::Error>> {
        Ok(self
            .granted_tokenizer()
            .and_then(|source| source.encode(&text).map_err(types::Error::Failed)))
    }

    fn decode(&mut self, tokens: Vec<u32>) -> wasmtime::Result<Result<String, types::Error>> {
        Ok(self.granted_tokenizer().and_then(|source| {
            source
                .decode(&tokens)
                .map_err(types::Error::InvalidArgument)
        }))
    }

    fn token_id(&mut self, token: String) -> wasmtime::Result<Result<Option<u32>, types::Error>> {
        Ok(self
            .granted_tokenizer()
            .map(|source| source.token_id(&token)))
    }
}
