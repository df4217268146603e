//! Adapters as PEFT (the library of the hub's adapters) reads and writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tenon_tensor::{
    nn::WeightLayout,
    params::{Params, write_safetensors},
};

use crate::{LoraSpec, Result, TrainError};

/// What PEFT writes before the names of the model that it wraps.
const PREFIX: &str = "base_model.model.";

/// The property of a recipe's schema with what its class of `transformers` writes before the names of the
/// public checkpoint's parameters, where these differ.
const CLASS_PREFIX: &str = "x-transformers-prefix";

/// The two files of an adapter: configuration and weights. `schema`: of the recipe's configuration.
pub(super) fn files(lora: &LoraSpec, params: &Params, schema: &Value) -> Result<[Vec<u8>; 2]> {
    let class = schema[CLASS_PREFIX].as_str().unwrap_or_default();
    let layers = params.adapted();
    let entries = params.adapter_entries();
    let in_full: BTreeSet<&str> = entries
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| !name.contains(".lora_"))
        .map(|name| name.rsplit_once('.').map_or(name, |(module, _)| module))
        .collect();
    let config = json!({
        "peft_type": "LORA",
        "task_type": null,
        "base_model_name_or_path": null,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": layers.keys().collect::<Vec<_>>(),
        "modules_to_save": if in_full.is_empty() { None } else { Some(in_full) },
        "fan_in_fan_out": layers.values().all(|layout| *layout == WeightLayout::InOut),
        "bias": "none",
        "use_rslora": false,
        "use_dora": false,
        "init_lora_weights": true,
        "inference_mode": true,
    });
    let config = serde_json::to_vec_pretty(&config)
        .map_err(|error| TrainError::Internal(error.to_string()))?;
    let renamed: Vec<_> = entries
        .into_iter()
        .map(|(name, value)| (format!("{PREFIX}{class}{name}"), value))
        .collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut weights = Vec::new();
    write_safetensors(&mut weights, &renamed, &metadata)?;
    Ok([config, weights])
}
