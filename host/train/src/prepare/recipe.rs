//! Whether a recipe, a tokenizer and a dataset fit each other.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use tenon_data::{
    ColumnKind, Control, DatasetVersion, Datasets, Tokenizer,
    collate::{EncodeOptions, EncodedRows},
};
use tenon_plugin::{
    Component, Grants, Limits, Recipe, Signature,
    recipe::{Layout, Segment},
};

use super::Split;
use crate::{PreferenceSpec, Result, TrainError, TrainSpec};

/// A recipe has this long to say what it wants to be fed: somebody waits for the answer.
const OPEN_TIME: Duration = Duration::from_secs(10);

/// Opens a recipe only to ask it for its signature.
pub(super) fn signature(
    component: &Component,
    config: &Value,
    vocabulary: u32,
) -> Result<Signature> {
    let limits = component.engine().limits();
    let grants = Grants {
        limits: Some(Limits {
            call_time: limits.call_time.min(OPEN_TIME),
            ..limits.clone()
        }),
        ..Grants::default()
    };
    Ok(Recipe::open(component, config, vocabulary, grants)?.signature()?)
}

/// Refuses a recipe that asks for what a training cannot give it.
pub(super) fn capabilities(component: &Component, tokenizer: bool) -> Result<()> {
    let description = component.description();
    for capability in &description.capabilities {
        let reason = match capability.as_str() {
            "tokenizer" if tokenizer => continue,
            "tokenizer" => "no tokenizer is named: set `tokenizer`",
            _ => "a training does not grant it to a recipe",
        };
        return Err(TrainError::Invalid(format!(
            "recipe `{}` asks for the capability `{capability}`, but {reason}",
            description.name
        )));
    }
    Ok(())
}

/// The signature with the dataset's names of its columns.
pub(crate) fn renamed(
    signature: &Signature,
    recipe: &str,
    columns: &BTreeMap<String, String>,
) -> Result<Signature> {
    let known = signature.columns();
    if let Some(unknown) = columns.keys().find(|name| !known.contains(&name.as_str())) {
        return Err(TrainError::setting(
            "columns",
            format!(
                "has `{unknown}`, but recipe `{recipe}` reads no such column; it reads {}",
                listed(&known)
            ),
        ));
    }
    let mut signature = signature.clone();
    let rename = |column: &mut String| {
        if let Some(name) = columns.get(column) {
            column.clone_from(name);
        }
    };
    for input in &mut signature.inputs {
        match &mut input.layout {
            Layout::Sequence(layout) => {
                for piece in &mut layout.pieces {
                    if let Segment::Column(column) = &mut piece.segment {
                        rename(column);
                    }
                }
            }
            Layout::Fixed { column, .. } => rename(column),
            _ => {}
        }
    }
    Ok(signature)
}

/// The signatures under which a training reads its rows, with the dataset's names of its columns: one,
/// or where preferences are learnt one for the better answers and one for the worse.
pub(crate) fn readings(
    signature: &Signature,
    recipe: &str,
    spec: &TrainSpec,
) -> Result<Vec<Signature>> {
    let Some(preference) = &spec.preference else {
        return Ok(vec![renamed(signature, recipe, &spec.columns)?]);
    };
    let answer = answer(signature, recipe, preference)?;
    if spec.columns.contains_key(answer) {
        return Err(TrainError::setting(
            "columns",
            format!(
                "names another column for `{answer}`, which `preference` has two for: `{}` and `{}`",
                preference.chosen, preference.rejected
            ),
        ));
    }
    [&preference.chosen, &preference.rejected]
        .map(|column| {
            let mut columns = spec.columns.clone();
            columns.insert(answer.to_owned(), column.clone());
            renamed(signature, recipe, &columns)
        })
        .into_iter()
        .collect()
}

/// The recipe's column that answers take the place of.
fn answer<'s>(
    signature: &'s Signature,
    recipe: &str,
    preference: &'s PreferenceSpec,
) -> Result<&'s str> {
    let refused = |reason: String| TrainError::setting("preference", reason);
    let Some(generation) = &signature.generation else {
        return Err(refused(format!(
            "needs a recipe that says how likely a text is, which `{recipe}` does not"
        )));
    };
    let learnt: Vec<&str> = signature
        .inputs
        .iter()
        .filter(|input| input.name == generation.sequence)
        .filter_map(|input| match &input.layout {
            Layout::Sequence(layout) => Some(&layout.pieces),
            _ => None,
        })
        .flatten()
        .filter(|piece| piece.learnt)
        .filter_map(|piece| match &piece.segment {
            Segment::Column(column) => Some(column.as_str()),
            _ => None,
        })
        .collect();
    match (&preference.answer, learnt.as_slice()) {
        (None, [only]) => Ok(only),
        (Some(named), _) if learnt.contains(&named.as_str()) => Ok(named),
        (Some(named), _) => Err(TrainError::setting(
            "preference.answer",
            format!(
                "is `{named}`, but recipe `{recipe}` learns {}",
                listed(&learnt)
            ),
        )),
        (None, _) => Err(TrainError::setting(
            "preference.answer",
            format!(
                "is missing: recipe `{recipe}` learns {}; name the one that the answers take the place of",
                listed(&learnt)
            ),
        )),
    }
}

/// Whether the recipe can be fed with this split: its columns are there and its first row can be
/// encoded.
pub(super) fn feed(
    datasets: &Datasets,
    version: &DatasetVersion,
    split: &Split,
    signature: &Signature,
    recipe: &str,
    tokenizer: Option<&Tokenizer>,
) -> Result<()> {
    let columns = signature.columns();
    for column in &columns {
        let kind = version.schema.kind_of(column);
        if kind.is_none() {
            let names = version.schema.names();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            return Err(TrainError::Invalid(format!(
                "recipe `{recipe}` reads the column `{column}`, which {} does not have; it has {}. Name \
                 the dataset's column for it in `columns`",
                version.reference(),
                listed(&names)
            )));
        }
        if kind == Some(ColumnKind::Utf8) && tokenizer.is_none() {
            return Err(TrainError::Invalid(format!(
                "recipe `{recipe}` reads the column `{column}` of {}, which is text; set `tokenizer`",
                version.reference()
            )));
        }
    }
    let columns: Vec<String> = columns.into_iter().map(str::to_owned).collect();
    let first = datasets
        .read(version, &split.split, Some(&columns), 1)?
        .take(1);
    let options = EncodeOptions::default();
    EncodedRows::encode(signature, tokenizer, first, options, &Control::new())?;
    Ok(())
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
