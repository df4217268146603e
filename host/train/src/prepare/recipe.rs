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
use crate::{Result, TrainError};

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
