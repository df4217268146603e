//! Models for tests: real recipes with weights from a seed, in a data folder of their own.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::{collections::BTreeMap, env, fs, path::PathBuf, sync::Arc};

use serde_json::{Value, json};
use tenon_data::{
    Tokenizer, TokenizerKind, TrainOptions,
    collate::{Given, Prompt},
};
use tenon_model::{Model, Platform, PlatformOptions};
use tenon_plugin::{Component, Grants};
use tenon_registry::InstallOptions;
use tenon_tensor::params::Params;
use tenon_track::{ModelManifest, PluginRef};

/// A built component; `cargo xtask plugins` builds them.
pub fn component(name: &str) -> Vec<u8> {
    let folder = env::var_os("TENON_PLUGINS")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
            cache.or(home).unwrap().join("tenon/plugins")
        });
    let path = folder.join(format!("{name}.wasm"));
    fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; build the components first: cargo xtask plugins",
            path.display()
        )
    })
}

/// A data folder that is removed at the end.
pub struct Place {
    pub platform: Platform,
    // Dropped after the platform.
    folder: tempfile::TempDir,
}

pub fn place() -> Place {
    place_on("cpu")
}

pub fn place_on(device: &str) -> Place {
    open(tempfile::tempdir().unwrap(), device)
}

fn open(folder: tempfile::TempDir, device: &str) -> Place {
    let options = PlatformOptions {
        device: device.into(),
        ..PlatformOptions::default()
    };
    Place {
        platform: Platform::open(&folder.path().join("data"), options).unwrap(),
        folder,
    }
}

/// Characters are tokens; after the five special ones come these.
pub fn characters(text: &str) -> Arc<Tokenizer> {
    let texts = std::iter::once(Ok(text.to_owned()));
    Arc::new(Tokenizer::train(texts, &TrainOptions::default()).unwrap())
}

/// Byte pairs: a token may be a part of a character.
pub fn bytes(text: &str) -> Arc<Tokenizer> {
    let options = TrainOptions {
        kind: TokenizerKind::Bpe,
        vocabulary: 300,
        ..TrainOptions::default()
    };
    let texts = std::iter::once(Ok(text.to_owned()));
    Arc::new(Tokenizer::train(texts, &options).unwrap())
}

/// A small GPT. Weights of a standard deviation of 0.02 would make all its texts alike, so they are
/// made larger.
pub fn gpt(context: u32) -> Value {
    json!({"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": context})
}

impl Place {
    /// Closes the folder and opens it again.
    pub fn reopen(self) -> Self {
        let Self { platform, folder } = self;
        let device = platform.device_name().to_owned();
        drop(platform);
        open(folder, &device)
    }

    /// Installs a component and opens it.
    pub fn install(&self, name: &str) -> Component {
        let options = InstallOptions { replace: true };
        let installed = self
            .platform
            .registry
            .install(&component(name), options)
            .unwrap();
        self.platform.registry.resolve(&installed.digest).unwrap()
    }

    /// A model with weights from a seed, times `scale`.
    pub fn model(
        &self,
        recipe: &str,
        config: &Value,
        tokenizer: Option<Arc<Tokenizer>>,
        scale: f64,
    ) -> Model {
        let params = Params::new(&self.platform.device().unwrap(), 11);
        let recipe = self.install(recipe);
        let mut model = Model::open(&recipe, config, params, tokenizer, Grants::default()).unwrap();
        model.build().unwrap();
        for name in model.params().names() {
            let value = model.params().get(&name).unwrap();
            // Norms stay norms.
            if value.shape().len() > 1 {
                model
                    .params()
                    .set(&name, value.mul_scalar(scale).unwrap())
                    .unwrap();
            }
        }
        model
    }

    /// Registers such a model; returns its version's reference.
    pub fn register(
        &self,
        name: &str,
        recipe: &str,
        config: &Value,
        tokenizer: Option<Arc<Tokenizer>>,
        scale: f64,
    ) -> String {
        let manifest = self.manifest(recipe, config, tokenizer, scale);
        let version = self
            .platform
            .tracker
            .register_version(name, manifest, "", BTreeMap::new())
            .unwrap();
        format!("{name}@{}", version.version)
    }

    pub fn manifest(
        &self,
        recipe: &str,
        config: &Value,
        tokenizer: Option<Arc<Tokenizer>>,
        scale: f64,
    ) -> ModelManifest {
        let model = self.model(recipe, config, tokenizer.clone(), scale);
        let blobs = self.platform.store.blobs();
        let put = |bytes: &[u8]| blobs.put(bytes).unwrap().to_string();
        let component = self.install(recipe);
        let description = component.description();
        ModelManifest {
            recipe: PluginRef {
                name: description.name.clone(),
                version: description.version.clone(),
                digest: component.digest().to_owned(),
            },
            recipe_config: config.clone(),
            vocabulary: tokenizer.as_ref().map_or(0, |t| t.vocabulary()),
            tokenizer: tokenizer.as_ref().map(|t| put(t.json())),
            weights: put(&model.params().to_bytes(&BTreeMap::new()).unwrap()),
            run: None,
            parent: None,
            origin: None,
            files: BTreeMap::new(),
            metrics: BTreeMap::new(),
        }
    }
}

/// A prompt of one column of text.
pub fn prompt(model: &Model, column: &str, text: &str) -> Prompt {
    let given = BTreeMap::from([(column.to_owned(), Given::Text(text.to_owned()))]);
    Prompt::new(
        model.signature(),
        model.tokenizer().map(Arc::as_ref),
        &given,
    )
    .unwrap()
}
