//! The files of a model, uploaded: small ones are kept in memory, weights go straight into the store,
//! hashed and flushed while they come. Nothing belongs to anything before the import decides; a client
//! that goes away leaves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use axum::body::Bytes;
use axum::extract::multipart::{Field, Multipart};
use axum::extract::{FromRequest, Request};
use tenon_hub::{HubError, Index, WeightFiles, names};
use tenon_model::ModelError;
use tenon_model::import::{self, SmallFiles, WeightsFile};
use tenon_store::SealedBlob;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::LocalFiles;
use crate::app::blocking;
use crate::error::{ApiError, Result};
use crate::extract::{DRAINED, broken, drain, over, parse};
use crate::router::Context;
use crate::types::ModelImportForm;

/// The part that holds the options.
const OPTIONS: &str = "options";
/// Bytes of that part.
const OPTIONS_BYTES: u64 = 1 << 20;
/// Bytes of the small files together.
const SMALL_BYTES: u64 = 256 << 20;
/// Files of one upload.
const MOST_FILES: usize = 4096;
/// Pieces between the network and the disk.
const AHEAD: usize = 32;

/// An upload that is complete.
pub(super) struct Upload {
    pub form: ModelImportForm,
    pub small: SmallFiles,
    pub weights: Vec<WeightsFile>,
    pub index: Option<Index>,
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
    context.platform.store.check_space(announced.unwrap_or(0))?;
    let local = request.extensions().get::<LocalFiles>().cloned();
    let mut parts = Multipart::from_request(request, context)
        .await
        .map_err(|_| {
            ApiError::unsupported_media("files are uploaded as multipart/form-data")
                .with_hint("one part for each file, with its file name")
        })?;
    let mut receiving = Receiving {
        context: context.clone(),
        local: local.unwrap_or_default(),
        limit,
        received: 0,
        form: None,
        small: SmallFiles::default(),
        weights: BTreeMap::new(),
    };
    let received = receiving.parts(&mut parts).await;
    if received.is_err() {
        drain_parts(parts).await;
    }
    received?;
    receiving.finish()
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

struct Receiving {
    context: Context,
    local: LocalFiles,
    limit: u64,
    received: u64,
    form: Option<ModelImportForm>,
    small: SmallFiles,
    weights: BTreeMap<String, SealedBlob>,
}

impl Receiving {
    async fn parts(&mut self, parts: &mut Multipart) -> Result<()> {
        while let Some(part) = parts.next_field().await.map_err(|error| broken(&error))? {
            let name = part.name().unwrap_or_default().to_owned();
            let Some(file) = part.file_name().map(str::to_owned) else {
                if name == OPTIONS && self.form.is_none() {
                    let bytes = self
                        .small_part(part, OPTIONS_BYTES, "the part `options`")
                        .await?;
                    self.form = Some(parse(&bytes)?);
                    continue;
                }
                return Err(ApiError::invalid(format!(
                    "the part `{name}` is no file: it has no file name"
                ))
                .with_hint("besides files, an upload has one part called `options`"));
            };
            names::check("the upload", &file).map_err(ModelError::from)?;
            if self.small.0.contains_key(&file) || self.weights.contains_key(&file) {
                return Err(ApiError::invalid(format!(
                    "the upload has two files called `{file}`"
                )));
            }
            if self.small.0.len() + self.weights.len() >= MOST_FILES {
                return Err(ApiError::invalid(format!(
                    "an upload has at most {MOST_FILES} files"
                )));
            }
            if names::is_weights(&file) {
                let bytes = match self.local.paths.get(&file).cloned() {
                    Some(path) => self.local_weights(path).await?,
                    None => self.weights(part).await?,
                };
                self.weights.insert(file, bytes);
            } else {
                let left = SMALL_BYTES - self.small.0.values().map(|b| b.len() as u64).sum::<u64>();
                let bytes = self.small_part(part, left, "files besides weights").await?;
                self.small.0.insert(file, bytes);
            }
        }
        Ok(())
    }

    async fn small_part(&mut self, mut part: Field<'_>, limit: u64, what: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = part.chunk().await.map_err(|error| broken(&error))? {
            self.count(&chunk)?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > limit {
                return Err(over(what, limit));
            }
        }
        Ok(bytes)
    }

    /// Takes a file from where it is.
    async fn local_weights(&self, path: PathBuf) -> Result<SealedBlob> {
        let (blobs, local) = (self.context.platform.store.blobs(), self.local.clone());
        blocking(move || {
            let mut read = |bytes| {
                local.read.fetch_add(bytes, Ordering::Relaxed);
            };
            Ok(blobs.take_file(&path, local.link, &mut read)?)
        })
        .await
    }

    /// The network is read here, the disk is written on a thread that may block.
    async fn weights(&mut self, mut part: Field<'_>) -> Result<SealedBlob> {
        let blobs = self.context.platform.store.blobs();
        let (send, mut receive) = mpsc::channel::<Bytes>(AHEAD);
        let writing: JoinHandle<Result<Option<SealedBlob>>> =
            tokio::task::spawn_blocking(move || {
                let mut writer = blobs.writer()?;
                let mut whole = false;
                while let Some(chunk) = receive.blocking_recv() {
                    if chunk.is_empty() {
                        // The end, as opposed to a client that went away.
                        whole = true;
                        break;
                    }
                    writer
                        .write_all(&chunk)
                        .map_err(|error| ModelError::from(HubError::Sink(error)))?;
                }
                Ok(match whole {
                    true => Some(writer.seal()?),
                    false => None,
                })
            });
        let mut failed = None;
        loop {
            match part.chunk().await {
                Ok(Some(chunk)) => {
                    if let Err(error) = self.count(&chunk) {
                        failed = Some(error);
                        break;
                    }
                    // A thread that has failed tells why below.
                    if !chunk.is_empty() && send.send(chunk).await.is_err() {
                        break;
                    }
                }
                Ok(None) => {
                    let _ = send.send(Bytes::new()).await;
                    break;
                }
                Err(error) => {
                    failed = Some(broken(&error));
                    break;
                }
            }
        }
        drop(send);
        let written = writing.await.map_err(|error| {
            ApiError::internal(format!("the upload could not be written: {error}"))
        })?;
        match (written, failed) {
            (Err(error), _) | (_, Some(error)) => Err(error),
            (Ok(Some(blob)), None) => Ok(blob),
            (Ok(None), None) => Err(broken(&"it ended early")),
        }
    }

    fn count(&mut self, chunk: &Bytes) -> Result<()> {
        self.received += chunk.len() as u64;
        match self.received > self.limit {
            true => Err(over("an upload", self.limit)),
            false => Ok(()),
        }
    }

    /// Chooses among the files as it is done in a folder.
    fn finish(mut self) -> Result<Upload> {
        let form = self.form.ok_or_else(|| {
            ApiError::invalid("the upload has no part `options`")
                .with_hint("it is JSON with at least the `name` of the model")
        })?;
        let place = form.source.as_deref().unwrap_or("the upload");
        let there: BTreeSet<&str> = self
            .small
            .0
            .keys()
            .chain(self.weights.keys())
            .map(String::as_str)
            .collect();
        let selection = names::select(place, there.iter().copied()).map_err(ModelError::from)?;
        if form.tokenizer.is_none() {
            selection.require_tokenizer().map_err(ModelError::from)?;
        }
        let index = import::index(&selection, &self.small, &there)?;
        let wanted = match (&selection.weights, &index) {
            (WeightFiles::Single(name), _) => vec![name.clone()],
            (_, Some(index)) => index.files(),
            (_, None) => Vec::new(),
        };
        let weights = wanted
            .into_iter()
            .filter_map(|name| {
                let bytes = self.weights.remove(&name)?;
                Some(WeightsFile { name, bytes })
            })
            .collect();
        Ok(Upload {
            form,
            small: self.small,
            weights,
            index,
        })
    }
}
