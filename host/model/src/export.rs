//! A registered model as the files that others read: the layout of the hub.

use std::collections::BTreeMap;
use std::fs::File;

use serde_json::{Map, Value, json};
use tenon_hub::{Dtype, header::Header, names};
use tenon_store::Digest;
use tenon_track::ModelManifest;

use crate::{ModelError, Platform, Result};

/// The weights.
pub const WEIGHTS: &str = "model.safetensors";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// A file of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportFile {
    /// A blob as it is.
    Blob(Digest),
    /// Made for the export.
    Bytes(Vec<u8>),
}

/// The files of a model in the hub's layout, by name: what it was imported with, and what has changed
/// since.
///
/// # Errors
/// A blob that is gone or damaged.
pub fn files(
    platform: &Platform,
    manifest: &ModelManifest,
) -> Result<BTreeMap<String, ExportFile>> {
    let blobs = platform.store.blobs();
    let mut files = BTreeMap::new();
    for (name, digest) in &manifest.files {
        files.insert(name.clone(), ExportFile::Blob(digest.parse()?));
    }
    let weights: Digest = manifest.weights.parse()?;
    let stored = stored_dtype(platform, &weights)?;
    let base: Map<String, Value> = match manifest.files.get(names::CONFIG) {
        Some(digest) => {
            let bytes = blobs.read(&digest.parse()?)?;
            serde_json::from_slice(&bytes).map_err(|error| {
                ModelError::Invalid(format!("{} of the model: {error}", names::CONFIG))
            })?
        }
        None => Map::new(),
    };
    let config = config(base, manifest, stored.as_ref());
    files.insert(names::CONFIG.to_owned(), ExportFile::Bytes(pretty(&config)));
    files.insert(WEIGHTS.to_owned(), ExportFile::Blob(weights));
    if let Some(digest) = &manifest.tokenizer {
        let digest: Digest = digest.parse()?;
        files.insert(names::TOKENIZER.to_owned(), ExportFile::Blob(digest));
        if !files.contains_key(TOKENIZER_CONFIG) {
            let json = blobs.read(&digest)?;
            let config = pretty(&tokenizer_config(&json));
            files.insert(TOKENIZER_CONFIG.to_owned(), ExportFile::Bytes(config));
        }
    }
    Ok(files)
}

/// The type that most parameters are stored in.
fn stored_dtype(platform: &Platform, weights: &Digest) -> Result<Option<Dtype>> {
    let path = platform.store.blobs().verified_path(weights)?;
    let file = File::open(&path)
        .map_err(|error| ModelError::Invalid(format!("{}: {error}", path.display())))?;
    let header = Header::read(WEIGHTS, &file)?;
    let mut bytes: BTreeMap<&Dtype, u64> = BTreeMap::new();
    for entry in header
        .tensors
        .values()
        .filter(|entry| entry.dtype.is_float())
    {
        *bytes.entry(&entry.dtype).or_default() += entry.bytes;
    }
    let largest = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
    Ok(largest.map(|(dtype, _)| dtype.clone()))
}

/// The publisher's configuration with the recipe's over it.
fn config(
    mut base: Map<String, Value>,
    manifest: &ModelManifest,
    stored: Option<&Dtype>,
) -> Map<String, Value> {
    if let Value::Object(own) = &manifest.recipe_config {
        for (field, value) in own {
            // A setting that nobody has made: other readers have defaults of their own for it.
            if !value.is_null() || base.contains_key(field) {
                base.insert(field.clone(), value.clone());
            }
        }
    }
    if let Some(name) = stored.and_then(Dtype::torch_name) {
        // Newer versions of the library call it `dtype`.
        let field = match base.contains_key("dtype") {
            true => "dtype",
            false => "torch_dtype",
        };
        base.insert(field.to_owned(), json!(name));
    }
    base
}

/// What the transformers library needs to know beside `tokenizer.json`.
fn tokenizer_config(json: &[u8]) -> Map<String, Value> {
    let tokenizer: Value = serde_json::from_slice(json).unwrap_or_default();
    let mut config = Map::new();
    config.insert(
        "tokenizer_class".to_owned(),
        json!("PreTrainedTokenizerFast"),
    );
    config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    let special: Vec<&str> = tokenizer["added_tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|token| token["special"] == true)
        .filter_map(|token| token["content"].as_str())
        .collect();
    for (role, names) in [
        (
            "bos_token",
            &["<bos>", "<s>", "<|begin_of_text|>", "<|endoftext|>"][..],
        ),
        (
            "eos_token",
            &["<eos>", "</s>", "<|end_of_text|>", "<|endoftext|>"],
        ),
        ("unk_token", &["<unk>", "[UNK]"]),
        ("pad_token", &["<pad>", "[PAD]"]),
        ("sep_token", &["<sep>", "[SEP]"]),
        ("cls_token", &["[CLS]"]),
        ("mask_token", &["<mask>", "[MASK]"]),
    ] {
        if let Some(name) = names.iter().find(|name| special.contains(name)) {
            config.insert(role.to_owned(), json!(name));
        }
    }
    config
}

fn pretty(fields: &Map<String, Value>) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(fields).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}
