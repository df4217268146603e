//! `tenon model import`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tenon_api::LocalFiles;
use tenon_api::types::{EndEvent, ImportReport, ModelImportForm};
use tenon_hub::{HubError, Index, WeightFiles, names};
use tenon_track::Run;

use super::input::read_object;
use super::{Context, follow, import};
use crate::args::ImportModel;
use crate::client::{Client, Multipart, Request};
use crate::failure::{Failure, Result};
use crate::output::{Page, text};

/// Where the interface takes models.
const ROUTE: [&str; 2] = ["models", "import"];
/// What a source on a hub begins with.
const HUB: &str = "hub:";
/// Names that are written out one by one; the JSON has all.
const LISTED: usize = 20;

/// Imports a model from a folder, a file or a hub.
pub fn import(context: &Context, args: &ImportModel) -> Result<()> {
    let form = form(args)?;
    let (client, run) = if args.source.starts_with(HUB) {
        if args.link {
            return Err(Failure::usage("--link is for files on this machine")
                .hint("leave it out for a model on a hub"));
        }
        let client = context.client()?;
        let run = client.typed(Request::post(&ROUTE).json(&json!(form)))?;
        (client, run)
    } else {
        upload(context, args, &form)?
    };
    follow::to_the_end(
        context,
        &client,
        &run,
        |end: &EndEvent, page| match serde_json::from_value(end.report.clone().unwrap_or_default())
        {
            Ok(report) => imported(&report, page),
            Err(_) => page.line(format!("run {} finished", end.run.id)),
        },
    )
}

fn form(args: &ImportModel) -> Result<ModelImportForm> {
    Ok(ModelImportForm {
        name: args.name.clone(),
        source: Some(args.source.clone()),
        revision: args.revision.clone(),
        recipe: args.recipe.clone(),
        recipe_config: match &args.recipe_config {
            Some(source) => read_object(source, "--recipe-config")?,
            None => Default::default(),
        },
        tokenizer: args.tokenizer.clone(),
        allow_missing: args.allow_missing,
        description: args.description.clone().unwrap_or_default(),
        ..ModelImportForm::default()
    })
}

/// Sends the files that make the model, small ones first: what is wrong with them is told before the
/// weights are read.
fn upload(context: &Context, args: &ImportModel, form: &ModelImportForm) -> Result<(Client, Run)> {
    if args.revision.is_some() {
        return Err(Failure::usage("--revision is for a model on a hub")
            .hint("a model on a hub is hub:ORG/NAME"));
    }
    let files = files(Path::new(&args.source), args)?;
    let client = context.client()?;
    let mut upload = Multipart::new().json("options", &json!(form));
    let mut bytes = 0;
    // Where the data folder is open in this process, large files need not be sent.
    let mut local = match client.server() {
        None => Some(LocalFiles {
            link: args.link,
            ..LocalFiles::default()
        }),
        Some(url) if args.link => {
            return Err(
                Failure::usage(format!("--link: the server at {url} takes copies only"))
                    .hint("leave it out, or stop the server for the import"),
            );
        }
        Some(_) => None,
    };
    for path in &files {
        let size = fs::metadata(path).map_or(0, |meta| meta.len());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match &mut local {
            Some(local) if names::is_weights(&name) => {
                upload = upload.local("file", path)?;
                local.paths.insert(name.into_owned(), path.clone());
                bytes += size;
            }
            Some(_) => upload = upload.file("file", path)?,
            None => {
                upload = upload.file("file", path)?;
                bytes += size;
            }
        }
    }
    let run = import::send_local(&client, &ROUTE, upload, Some(bytes), local)?;
    Ok((client, run))
}

/// The files of a model in a folder; or the one file.
fn files(source: &Path, args: &ImportModel) -> Result<Vec<PathBuf>> {
    let meta = fs::metadata(source).map_err(|error| {
        let failure = Failure::file("read", source, &error);
        match args.source.matches('/').count() {
            1 if !args.source.starts_with(['.', '/']) => {
                failure.hint(format!("a model on a hub is {HUB}{}", args.source))
            }
            _ => failure,
        }
    })?;
    if meta.is_file() {
        let name = source.file_name().unwrap_or_default().to_string_lossy();
        if !names::is_weights(&name) {
            return Err(
                Failure::usage(format!("{} is no file of weights", source.display()))
                    .hint("weights end in .safetensors, .bin, .pt, .pth or .ckpt"),
            );
        }
        return Ok(vec![source.to_owned()]);
    }
    let listing = fs::read_dir(source).map_err(|error| Failure::file("read", source, &error))?;
    let mut there = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|error| Failure::file("read", source, &error))?;
        // Links too: the hub's own cache consists of them.
        if entry.path().is_file()
            && let Ok(name) = entry.file_name().into_string()
        {
            there.push(name);
        }
    }
    there.sort();
    let place = source.display().to_string();
    let selection = names::select(&place, there.iter().map(String::as_str)).map_err(wrong)?;
    if args.tokenizer.is_none() {
        selection.require_tokenizer().map_err(wrong)?;
    }
    let mut wanted = selection.small;
    match &selection.weights {
        WeightFiles::Single(name) => wanted.push(name.clone()),
        WeightFiles::Sharded { index } => {
            let path = source.join(index);
            let bytes = fs::read(&path).map_err(|error| Failure::file("read", &path, &error))?;
            let listed = Index::parse(index, &bytes).map_err(wrong)?;
            listed
                .require(there.iter().map(String::as_str))
                .map_err(wrong)?;
            wanted.push(index.clone());
            wanted.extend(listed.files());
        }
    }
    Ok(wanted.into_iter().map(|name| source.join(name)).collect())
}

fn wrong(error: HubError) -> Failure {
    let text = error.to_string();
    match text.split_once("\nhint: ") {
        Some((message, hint)) => Failure::usage(message).hint(hint),
        None => Failure::usage(text),
    }
}

fn imported(report: &ImportReport, page: &mut Page) {
    if let Some(version) = &report.version {
        let recipe = &version.manifest.recipe;
        page.line(format!(
            "{}@{} imported: {} for {}@{}, {}",
            version.model,
            version.version,
            text::counted(report.tensors as u64, "tensor"),
            recipe.name,
            recipe.version,
            text::bytes(report.bytes)
        ));
    }
    if let Some(tokenizer) = &report.tokenizer {
        page.line(format!("its tokenizer is {tokenizer}"));
    }
    let renamed: Vec<String> = report
        .renamed
        .iter()
        .map(|(from, to)| format!("{from} → {to}"))
        .collect();
    let tied: Vec<String> = report
        .tied
        .iter()
        .map(|(name, source)| format!("{name} = {source}"))
        .collect();
    let special: Vec<String> = report
        .special_tokens
        .iter()
        .map(|(own, token)| match token.is_empty() {
            true => format!("{own}: the tokenizer has none, sequences are without it"),
            false => format!("{own} is {token}"),
        })
        .collect();
    for (what, names) in [
        ("special tokens of the recipe's sequences", &special),
        (
            "initialised, because the checkpoint lacks them",
            &report.initialised,
        ),
        (
            "left out, because the recipe does not know them",
            &report.dropped,
        ),
        ("left out, because they repeat others", &report.redundant),
        ("shared with another", &tied),
        ("renamed", &renamed),
        (
            "settings of config.json that the recipe does not know",
            &report.ignored_config,
        ),
    ] {
        if names.is_empty() {
            continue;
        }
        page.line(format!("{what} ({}):", names.len()));
        for name in names.iter().take(LISTED) {
            page.line(format!("  {name}"));
        }
        if names.len() > LISTED {
            page.line(format!("  … and {} more", names.len() - LISTED));
        }
    }
}
