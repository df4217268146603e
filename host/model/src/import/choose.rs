//! The recipe, its configuration and the tokenizer of a model that is to be imported.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tenon_data::Tokenizer;
use tenon_hub::{Hints, HubError, ModelConfig, names, tokenizer};
use tenon_plugin::{Component, Kind};
use tenon_registry::InstalledPlugin;
use tenon_track::{PluginRef, Tracker};

use super::{ImportSpec, SmallFiles, hints, special};
use crate::{Platform, Result};

/// What an import goes on with.
pub struct Chosen {
    pub(super) component: Component,
    /// The recipe.
    pub recipe: PluginRef,
    /// Its configuration, checked and with its defaults.
    pub config: Value,
    /// The model's own configuration.
    pub(super) file: Option<ModelConfig>,
    pub(super) tokenizer: Option<Arc<Tokenizer>>,
    /// Tokens of the tokenizer; 0 without one.
    pub vocabulary: u32,
    /// Special tokens of the recipe's configuration that the tokenizer calls otherwise.
    pub(super) special_tokens: BTreeMap<String, String>,
    /// Fields of the configuration that the recipe does not know.
    pub ignored: Vec<String>,
    pub(super) hints: Hints,
}

/// Finds the recipe and the tokenizer of a model by its small files. `place` is for messages.
///
/// # Errors
/// A name that cannot be one; no recipe, or several, for the model's architecture; a configuration that
/// the recipe refuses; a tokenizer that cannot be read or has more tokens than the model's embedding.
pub fn choose(
    platform: &Platform,
    place: &str,
    spec: &ImportSpec,
    small: &SmallFiles,
) -> Result<Chosen> {
    Tracker::check_model_name(&spec.name)?;
    let file = ModelConfig::read(|name| small.get(name))?;
    if let Some(file) = &file {
        file.check()?;
    }
    let plugin = match &spec.recipe {
        Some(named) => named_recipe(platform, named)?,
        None => fitting_recipe(platform, place, file.as_ref())?,
    };
    let component = platform.registry.resolve(&plugin.digest)?;
    let mut fields = file
        .as_ref()
        .map(|file| file.fields.clone())
        .unwrap_or_default();
    let ignored = leave_out_unknown(&mut fields, &plugin.config_schema);
    let mut config = Value::Object(fields);
    merge(&mut config, &Value::Object(spec.recipe_config.clone()));
    let mut config = component.complete_config(&config)?;
    let (tokenizer, from) = tokenizer_of(platform, spec, small)?;
    let mut replaced = BTreeMap::new();
    if let Some(tokenizer) = &tokenizer {
        let roles = roles(tokenizer, file.as_ref(), small)?;
        special::replace(&mut config, tokenizer, &roles, &mut replaced);
        config = component.complete_config(&config)?;
    }
    let vocabulary = tokenizer
        .as_ref()
        .map_or(0, |tokenizer| tokenizer.vocabulary());
    let said = config["vocab_size"]
        .as_u64()
        .map(|rows| (rows, "the recipe's configuration"));
    let written = file
        .as_ref()
        .and_then(|file| Some((file.number("vocab_size")?, file.file)));
    if let Some((rows, who)) = said.or(written)
        && u64::from(vocabulary) > rows
    {
        let error = tokenizer_too_large(
            vocabulary,
            rows,
            &format!("by `vocab_size` of {who} it has"),
        );
        return Err(named(error, &from).into());
    }
    Ok(Chosen {
        hints: file
            .as_ref()
            .map(|file| hints(&file.fields))
            .unwrap_or_default(),
        recipe: PluginRef {
            name: plugin.name,
            version: plugin.version,
            digest: plugin.digest,
        },
        component,
        config,
        file,
        tokenizer,
        vocabulary,
        special_tokens: replaced,
        ignored,
    })
}

/// A token beyond the embedding has no vector.
pub(super) fn tokenizer_too_large(tokens: u32, rows: u64, who: &str) -> HubError {
    HubError::Fit {
        reason: format!(
            "the tokenizer does not fit the model: it has {tokens} tokens, but the embedding has fewer \
             rows: {who} {rows}"
        ),
        remedy: "use the tokenizer that belongs to these weights (--tokenizer NAME for a stored one), or \
                 weights whose embedding was enlarged for it"
            .to_owned(),
    }
}

fn named(error: HubError, from: &str) -> HubError {
    match error {
        HubError::Fit { reason, remedy } => HubError::Fit {
            reason: reason.replacen("the tokenizer", &format!("the tokenizer ({from})"), 1),
            remedy,
        },
        other => other,
    }
}

fn named_recipe(platform: &Platform, named: &str) -> Result<InstalledPlugin> {
    let plugin = platform.registry.find(named)?;
    if plugin.kind == Kind::Recipe {
        return Ok(plugin);
    }
    Err(HubError::Invalid {
        reason: format!(
            "`{named}` is a plugin of kind {}, not a recipe",
            plugin.kind
        ),
        remedy: "`tenon plugin list --kind recipe` lists the recipes".to_owned(),
    }
    .into())
}

/// The newest version of the one installed recipe whose schema allows the model's architecture.
fn fitting_recipe(
    platform: &Platform,
    place: &str,
    file: Option<&ModelConfig>,
) -> Result<InstalledPlugin> {
    let recipes: Vec<InstalledPlugin> = platform
        .registry
        .list()?
        .into_iter()
        .filter(|plugin| plugin.kind == Kind::Recipe)
        .collect();
    let Some(file) = file else {
        return Err(HubError::NotAModel {
            reason: format!("{place} has no config.json that says what the model is"),
            remedy: format!(
                "name its recipe with --recipe, and sizes with --recipe-config; installed recipes: {}",
                known(&recipes)
            ),
        }
        .into());
    };
    let wanted = file.architectures();
    if wanted.is_empty() {
        return Err(HubError::NotAModel {
            reason: format!("{} of {place} has no `architectures`", file.file),
            remedy: format!(
                "name the model's recipe with --recipe; installed recipes: {}",
                known(&recipes)
            ),
        }
        .into());
    }
    let mut fitting: Vec<&InstalledPlugin> = recipes
        .iter()
        .filter(|plugin| {
            let allowed = architectures(&plugin.config_schema);
            wanted
                .iter()
                .any(|name| allowed.iter().any(|known| known == name))
        })
        .collect();
    // Sorted by name, then version: the last of a name is its newest.
    let newest = |plugin: &&InstalledPlugin| {
        !fitting
            .iter()
            .any(|other| other.name == plugin.name && newer(&other.version, &plugin.version))
    };
    let newest: Vec<&InstalledPlugin> = fitting.iter().copied().filter(|p| newest(p)).collect();
    fitting = newest;
    match fitting[..] {
        [one] => Ok(one.clone()),
        [] => Err(HubError::Fit {
            reason: format!(
                "no installed recipe is for the architecture {} of {place}",
                quoted(&wanted)
            ),
            remedy: format!(
                "install its recipe, or name one with --recipe; installed recipes: {}",
                known(&recipes)
            ),
        }
        .into()),
        _ => {
            let names: Vec<String> = fitting.iter().map(|plugin| plugin.id()).collect();
            Err(HubError::Fit {
                reason: format!(
                    "several installed recipes are for the architecture {} of {place}: {}",
                    quoted(&wanted),
                    names.join(", ")
                ),
                remedy: "choose one with --recipe".to_owned(),
            }
            .into())
        }
    }
}

/// Whether a version is newer; the registry lists them in order, and pre-releases come first.
fn newer(other: &str, than: &str) -> bool {
    let parts = |version: &str| -> (Vec<u64>, bool) {
        let (core, pre) = match version.split_once('-') {
            Some((core, _)) => (core, true),
            None => (version, false),
        };
        let numbers = core.split(['.', '+']).map(|part| part.parse().unwrap_or(0));
        (numbers.collect(), !pre)
    };
    parts(other) > parts(than)
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Recipes with the architectures that they are for.
fn known(recipes: &[InstalledPlugin]) -> String {
    let described: Vec<String> = recipes
        .iter()
        .map(|plugin| {
            let allowed = architectures(&plugin.config_schema);
            match allowed.is_empty() {
                true => plugin.id(),
                false => format!("{} ({})", plugin.id(), allowed.join(", ")),
            }
        })
        .collect();
    match described.is_empty() {
        true => "none".to_owned(),
        false => described.join(", "),
    }
}

/// The class names that a schema allows in `architectures`.
fn architectures(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    allowed(
        schema,
        &schema["properties"]["architectures"],
        &mut found,
        0,
    );
    found
}

/// Looks through `$ref`, `anyOf` and so on, as schemas are generated.
fn allowed(root: &Value, at: &Value, found: &mut Vec<String>, depth: usize) {
    // A schema that refers to itself has no end.
    if depth > 8 {
        return;
    }
    if let Some(target) = at["$ref"].as_str().and_then(|path| path.strip_prefix('#'))
        && let Some(target) = root.pointer(target)
    {
        allowed(root, target, found, depth + 1);
    }
    for key in ["items", "contains"] {
        allowed(root, &at[key], found, depth + 1);
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        for part in at[key].as_array().into_iter().flatten() {
            allowed(root, part, found, depth + 1);
        }
    }
    let names = at["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .chain(at.get("const"));
    for name in names.filter_map(Value::as_str) {
        if !found.iter().any(|known| known == name) {
            found.push(name.to_owned());
        }
    }
}

/// Takes out the fields that a closed schema does not know (`transformers_version`, settings of other
/// programs); their names.
fn leave_out_unknown(fields: &mut Map<String, Value>, schema: &Value) -> Vec<String> {
    if schema["additionalProperties"] != Value::Bool(false) {
        return Vec::new();
    }
    let known = |name: &String| schema["properties"].get(name).is_some();
    let unknown: Vec<String> = fields.keys().filter(|name| !known(name)).cloned().collect();
    for name in &unknown {
        fields.remove(name);
    }
    unknown
}

/// `over` merged into `base`: objects field by field, everything else replaced; null removes.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (field, value) in over {
                if value.is_null() {
                    base.remove(field);
                } else {
                    merge(base.entry(field.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (base, over) => *base = over.clone(),
    }
}

/// The tokens of each role: as the tokenizer's files say, else as the model's configuration does.
fn roles(
    tokenizer: &Tokenizer,
    file: Option<&ModelConfig>,
    small: &SmallFiles,
) -> Result<BTreeMap<String, String>> {
    let mut roles = tokenizer::roles(|name| small.get(name))?;
    for role in ["bos_token", "eos_token", "pad_token", "sep_token"] {
        let id = file.and_then(|file| {
            let id = file.fields.get(&format!("{role}_id"))?;
            // Some models end with any of several.
            id.as_u64().or_else(|| id.get(0)?.as_u64())
        });
        let id = id.and_then(|id| u32::try_from(id).ok());
        if let Some(id) = id.filter(|id| tokenizer.is_special(*id)) {
            let text = String::from_utf8_lossy(tokenizer.token_bytes(id)).into_owned();
            roles.entry(role.to_owned()).or_insert(text);
        }
    }
    roles.retain(|_, token| tokenizer.token_to_id(token).is_some());
    Ok(roles)
}

/// The tokenizer, and where it is from.
fn tokenizer_of(
    platform: &Platform,
    spec: &ImportSpec,
    small: &SmallFiles,
) -> Result<(Option<Arc<Tokenizer>>, String)> {
    if let Some(reference) = &spec.tokenizer {
        let record = platform.tokenizers.get(reference)?;
        let tokenizer = platform.tokenizers.load_blob(&record.digest)?;
        let name = format!("{}@{}", record.name, record.version);
        return Ok((Some(Arc::new(tokenizer)), name));
    }
    match tokenizer::build(|name| small.get(name))? {
        Some(built) => {
            let tokenizer = Tokenizer::from_json(&built.json)?;
            Ok((Some(Arc::new(tokenizer)), built.file.to_owned()))
        }
        None => Ok((None, names::TOKENIZER.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_schema_tells_its_architectures() {
        let plain = json!({"properties": {"architectures": {
            "type": "array", "items": {"enum": ["GPT2LMHeadModel"]}}}});
        assert_eq!(architectures(&plain), ["GPT2LMHeadModel"]);
        let referred = json!({
            "properties": {"architectures": {"anyOf": [
                {"type": "array", "items": {"$ref": "#/$defs/Name"}}, {"type": "null"}]}},
            "$defs": {"Name": {"oneOf": [{"const": "A"}, {"enum": ["B", "A"]}]}},
        });
        assert_eq!(architectures(&referred), ["A", "B"]);
        let endless =
            json!({"properties": {"architectures": {"$ref": "#/properties/architectures"}}});
        assert!(architectures(&endless).is_empty());
        assert!(architectures(&json!({})).is_empty());
    }

    #[test]
    fn a_newer_version_is_one() {
        assert!(newer("0.10.0", "0.9.9") && !newer("0.9.9", "0.10.0"));
        assert!(newer("1.0.0", "1.0.0-beta.1") && !newer("1.0.0", "1.0.0"));
    }

    #[test]
    fn fields_of_other_programs_are_left_out_of_a_closed_schema() {
        let config = json!({"n_layer": 2, "torch_dtype": "float32"});
        let mut fields = config.as_object().cloned().unwrap_or_default();
        let open = json!({"properties": {"n_layer": {}}});
        assert!(leave_out_unknown(&mut fields, &open).is_empty());
        let closed = json!({"properties": {"n_layer": {}}, "additionalProperties": false});
        assert_eq!(leave_out_unknown(&mut fields, &closed), ["torch_dtype"]);
        assert_eq!(fields.len(), 1);
    }
}
