//! `tenon model export`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;

use serde_json::{Value, json};
use tenon_api::types::ModelFiles;

use super::{Context, save};
use crate::args::ExportModel;
use crate::client::{Client, Request};
use crate::failure::{Failure, Result};
use crate::output::progress::Meter;
use crate::output::text;

/// Writes a model to a folder, or its weights to a file.
pub fn export(context: &Context, args: &ExportModel) -> Result<()> {
    if let Some(output) = &args.output {
        // Before anything is read.
        save::refuse_existing(output, args.force)?;
        let client = context.client()?;
        let reader = client.open(Request::get(&["models", &args.model, "weights"]))?;
        return save::save(context, reader, output, args.force);
    }
    let folder = args.folder.clone().unwrap_or_default();
    refuse_existing(&folder, args.force)?;
    let client = context.client()?;
    let list: ModelFiles = client.typed(Request::get(&["models", &args.model, "files"]))?;
    let unfinished = Unfinished::new(&folder)?;
    let mut meter = Meter::new();
    let mut written = Vec::new();
    for file in &list.files {
        let bytes = fetch(
            &client,
            &list.model,
            &file.name,
            &unfinished.0,
            &folder,
            &mut meter,
        )?;
        written.push((file.name.clone(), bytes));
    }
    drop(meter);
    unfinished.replace(&folder, args.force)?;
    let files: Vec<Value> = written
        .iter()
        .map(|(name, bytes)| json!({"name": name, "bytes": bytes}))
        .collect();
    let total = written.iter().map(|(_, bytes)| bytes).sum();
    let answer = json!({
        "model": list.model, "path": folder.display().to_string(), "files": files,
    });
    context.output.answer(answer, |_: &Value, page| {
        page.line(format!(
            "wrote {} to {} ({} in {})",
            list.model,
            folder.display(),
            text::bytes(total),
            text::counted(written.len() as u64, "file")
        ));
    })
}

fn fetch(
    client: &Client,
    model: &str,
    name: &str,
    into: &Path,
    folder: &Path,
    meter: &mut Meter,
) -> Result<u64> {
    // What a server calls its files must not lead out of the folder.
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
        return Err(Failure::failed(
            "protocol",
            format!("the server names a file `{}`", name.escape_debug()),
        ));
    }
    let reader = client.open(Request::get(&["models", model, "files", name]))?;
    save::write(reader, &into.join(name), &folder.join(name), meter)
}

fn refuse_existing(folder: &Path, replace: bool) -> Result<()> {
    if folder.is_file() {
        return Err(
            Failure::usage(format!("{} is a file; name a folder", folder.display()))
                .hint("--output FILE writes the weights alone"),
        );
    }
    if !replace && folder.exists() {
        return Err(
            Failure::usage(format!("{} exists already", folder.display()))
                .hint("name another folder, or replace it with --force"),
        );
    }
    Ok(())
}

/// A folder that is not whole yet; removed unless it takes its place.
struct Unfinished(PathBuf);

impl Unfinished {
    fn new(folder: &Path) -> Result<Self> {
        let mut name = folder.as_os_str().to_owned();
        name.push(format!(".{}.part", process::id()));
        let path = PathBuf::from(name);
        fs::create_dir_all(&path).map_err(|error| save::cannot_write(folder, &error))?;
        Ok(Self(path))
    }

    /// The whole folder appears at once; an old one goes only when the new one is complete.
    fn replace(&self, folder: &Path, replace: bool) -> Result<()> {
        let fail = |error| save::cannot_write(folder, &error);
        refuse_existing(folder, replace)?;
        File::open(&self.0)
            .and_then(|folder| folder.sync_all())
            .map_err(fail)?;
        if folder.exists() {
            let mut name = folder.as_os_str().to_owned();
            name.push(format!(".{}.old", process::id()));
            let old = PathBuf::from(name);
            fs::rename(folder, &old).map_err(fail)?;
            fs::rename(&self.0, folder).map_err(fail)?;
            return fs::remove_dir_all(&old).map_err(fail);
        }
        fs::rename(&self.0, folder).map_err(fail)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
