//! Files that are uploaded: written to a scratch folder of the store as they come.
//!
//! The import begins when all of them are there. A client that goes away before that drops the
//! request, and with it the folder: no run, no dataset, no file is left.

use std::path::{Path, PathBuf};

use axum::extract::multipart::{Field, Multipart};
use axum::extract::{FromRequest, Request};
use tempfile::TempDir;
use tenon_data::{Format, ImportInput};
use tenon_store::Store;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};

use crate::error::{ApiError, Result};
use crate::extract::{DRAINED, broken, drain, over, parse};
use crate::router::Context;
use crate::types::ImportForm;

/// The part that holds the options.
const OPTIONS: &str = "options";
/// Bytes of that part.
const OPTIONS_BYTES: u64 = 1 << 20;
/// Bytes of a file's name; file systems take 255.
const LONGEST_NAME: usize = 200;
/// Files of one upload.
const MOST_FILES: usize = 10_000;
/// The room on the disk is looked at again after this many bytes.
const CHECK_EVERY: u64 = 8 << 20;

/// An upload that is complete. Its files are removed when it is dropped.
pub(super) struct Upload {
    pub form: ImportForm,
    pub files: Vec<Uploaded>,
    _folder: TempDir,
}

/// A file of an upload.
pub(super) struct Uploaded {
    /// As the client calls it.
    pub name: String,
    /// The split that its rows belong to.
    pub split: String,
    /// Its length.
    pub bytes: u64,
    path: PathBuf,
}

impl Uploaded {
    /// As the importer takes it.
    ///
    /// # Errors
    /// A format that nobody has told.
    pub fn input(&self, format: Option<Format>) -> Result<ImportInput> {
        let format = format.or_else(|| Format::from_name(&self.name));
        let format = format.ok_or_else(|| {
            ApiError::invalid(format!(
                "the format of `{}` cannot be told from its name",
                self.name
            ))
            .with_hint("say `format` in the options: jsonl, csv, text or parquet")
        })?;
        let input = ImportInput::file(&self.path);
        Ok(input.split(&self.split).format(format))
    }
}

/// Receives a whole upload.
pub(super) async fn receive(context: &Context, request: Request) -> Result<Upload> {
    let limit = context.limits.upload;
    let announced = request
        .headers()
        .get(axum::http::header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > limit) {
        drain(request.into_body().into_data_stream()).await;
        return Err(over("an upload", limit));
    }
    let store = context.platform.store.clone();
    store.check_space(announced.unwrap_or(0))?;
    let mut parts = Multipart::from_request(request, context)
        .await
        .map_err(|_| {
            ApiError::unsupported_media("files are uploaded as multipart/form-data").with_hint(
                "one part for each file: its name is the split, its file name tells the format",
            )
        })?;
    let mut writing = Writing {
        folder: store.scratch()?,
        store,
        limit,
        received: 0,
    };
    let received = writing.parts(&mut parts).await;
    if received.is_err() {
        drain_parts(parts).await;
    }
    let (form, files) = received?;
    Ok(Upload {
        form,
        files,
        _folder: writing.folder,
    })
}

/// Reads what a client still sends after its upload was refused, up to a point.
async fn drain_parts(mut parts: Multipart) {
    let mut drained = 0;
    while let Ok(Some(mut part)) = parts.next_field().await {
        while let Ok(Some(chunk)) = part.chunk().await {
            drained += chunk.len() as u64;
            if drained > DRAINED {
                return;
            }
        }
    }
}

/// The last component (some clients send whole paths), cut on the left so that its ending stays.
fn file_name(text: &str) -> String {
    let last = text.rsplit(['/', '\\']).next().unwrap_or_default();
    let mut start = last.len().saturating_sub(LONGEST_NAME);
    while !last.is_char_boundary(start) {
        start += 1;
    }
    let visible = last[start..].chars().filter(|c| !c.is_control());
    let name: String = visible.collect();
    match name.as_str() {
        "" | "." | ".." => "file".to_owned(),
        _ => name,
    }
}

async fn options(mut part: Field<'_>) -> Result<ImportForm> {
    let mut bytes = Vec::new();
    while let Some(chunk) = part.chunk().await.map_err(|error| broken(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > OPTIONS_BYTES {
            return Err(over("the part `options`", OPTIONS_BYTES));
        }
    }
    parse(&bytes)
}

struct Writing {
    folder: TempDir,
    store: Store,
    limit: u64,
    received: u64,
}

impl Writing {
    /// The options and every file.
    async fn parts(&mut self, parts: &mut Multipart) -> Result<(ImportForm, Vec<Uploaded>)> {
        let mut form = None;
        let mut files = Vec::new();
        while let Some(part) = parts.next_field().await.map_err(|error| broken(&error))? {
            let Some(name) = part.name().map(str::to_owned) else {
                return Err(ApiError::invalid(
                    "a part of the upload has no name: a file's is its split",
                ));
            };
            match part.file_name().map(file_name) {
                None if name == OPTIONS && form.is_none() => form = Some(options(part).await?),
                None => {
                    return Err(ApiError::invalid(format!(
                        "the part `{name}` is no file: it has no file name"
                    ))
                    .with_hint("besides files, an upload has one part called `options`"));
                }
                Some(_) if files.len() >= MOST_FILES => {
                    return Err(ApiError::invalid(format!(
                        "an upload has at most {MOST_FILES} files"
                    )));
                }
                Some(file) => files.push(self.file(part, files.len(), name, file).await?),
            }
        }
        if files.is_empty() {
            return Err(ApiError::invalid("the upload has no file"));
        }
        Ok((form.unwrap_or_default(), files))
    }

    async fn file(
        &mut self,
        mut part: Field<'_>,
        number: usize,
        split: String,
        name: String,
    ) -> Result<Uploaded> {
        // A folder for each, so that a file keeps its name, which appears in messages.
        let folder = self.folder.path().join(number.to_string());
        let path = folder.join(&name);
        let failed = |error: std::io::Error| cannot_write(&path, &error);
        tokio::fs::create_dir(&folder).await.map_err(failed)?;
        let file = File::create_new(&path).await.map_err(failed)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let (mut bytes, mut unchecked) = (0, 0);
        while let Some(chunk) = part.chunk().await.map_err(|error| broken(&error))? {
            let length = chunk.len() as u64;
            bytes += length;
            unchecked += length;
            self.received += length;
            if self.received > self.limit {
                return Err(over("an upload", self.limit));
            }
            if unchecked >= CHECK_EVERY {
                unchecked = 0;
                self.store.check_space(CHECK_EVERY)?;
            }
            out.write_all(&chunk).await.map_err(failed)?;
        }
        // Also waits for what was handed to another thread.
        out.flush().await.map_err(failed)?;
        Ok(Uploaded {
            name,
            split,
            bytes,
            path,
        })
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> ApiError {
    let text = format!("cannot write the upload to {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::StorageFull => ApiError::disk_full(text),
        _ => ApiError::internal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_by_the_last_part_of_its_path() {
        for (sent, name) in [
            ("poems.jsonl", "poems.jsonl"),
            ("/home/me/poems.csv", "poems.csv"),
            ("C:\\data\\poems.txt", "poems.txt"),
            ("../../etc/passwd", "passwd"),
            ("folder/", "file"),
            ("..", "file"),
            ("a\nb.txt", "ab.txt"),
        ] {
            assert_eq!(file_name(sent), name);
        }
    }
}
