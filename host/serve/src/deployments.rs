//! The set of deployments.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tenon_model::Platform;
use tenon_store::JsonTable;

use crate::{
    Completion, CompletionRequest, Deployment, DeploymentSpec, Result, ServeError, completion,
    lane::{Lane, Threads},
    load::load,
    predict,
    record::{Record, TABLE},
};

/// How long a shutdown waits for answers that are being generated.
const GRACE: Duration = Duration::from_secs(30);

/// The deployments of a data folder. Clones share them.
///
/// What is asked of one is asked within a tokio runtime; what waits for a disk or a model is plain
/// blocking code and belongs on a blocking thread.
#[derive(Clone)]
pub struct Deployments {
    inner: Arc<Inner>,
}

struct Inner {
    platform: Platform,
    table: JsonTable<Record>,
    lanes: RwLock<BTreeMap<String, Arc<Lane>>>,
    threads: Arc<Threads>,
    /// Held while records and lanes change together.
    changes: Mutex<()>,
    /// Loads what the folder holds.
    loader: Mutex<Option<JoinHandle<()>>>,
    closed: AtomicBool,
}

impl Deployments {
    /// Opens a folder's deployments and loads them in the background, one after the other. A request
    /// that comes earlier has its deployment loaded at once, and waits.
    ///
    /// # Errors
    /// When their records cannot be read.
    pub fn open(platform: Platform) -> Result<Self> {
        let deployments = Self::opened(platform, true)?;
        // Weak: a deployment that is replaced or removed meanwhile is not loaded any more.
        let lanes: Vec<_> = {
            let lanes = deployments.inner.lanes.read();
            lanes.values().map(Arc::downgrade).collect()
        };
        if !lanes.is_empty() {
            let threads = deployments.inner.threads.clone();
            let load = move || {
                for lane in lanes {
                    if threads.are_closed() {
                        return;
                    }
                    if let Some(lane) = lane.upgrade() {
                        lane.load();
                    }
                }
            };
            let loader = std::thread::Builder::new()
                .name("load deployments".into())
                .spawn(load)
                .map_err(|error| {
                    ServeError::Internal(format!("no thread can be started: {error}"))
                })?;
            *deployments.inner.loader.lock() = Some(loader);
        }
        Ok(deployments)
    }

    /// As [`Deployments::open`], but each is loaded by its first request: for a process that lives for
    /// one command.
    ///
    /// # Errors
    /// As [`Deployments::open`].
    pub fn open_idle(platform: Platform) -> Result<Self> {
        Self::opened(platform, false)
    }

    fn opened(platform: Platform, soon: bool) -> Result<Self> {
        let table: JsonTable<Record> = platform.store.json(TABLE);
        let threads = Arc::<Threads>::default();
        let lanes = table
            .list()?
            .into_iter()
            .map(|(name, record)| (name, Lane::new(record, &platform, &threads, soon)))
            .collect();
        let records = table.clone();
        platform.add_user(move || {
            let mut live = std::collections::HashSet::new();
            for (_, record) in records.list()? {
                live.extend(record.blobs()?);
            }
            Ok(live)
        });
        Ok(Self {
            inner: Arc::new(Inner {
                platform,
                table,
                lanes: RwLock::new(lanes),
                threads,
                changes: Mutex::new(()),
                loader: Mutex::new(None),
                closed: AtomicBool::new(false),
            }),
        })
    }

    /// The data folder that they belong to.
    pub fn platform(&self) -> &Platform {
        &self.inner.platform
    }

    /// Loads a model and its processor, runs the model once, records the deployment and lets it take the
    /// place of one of the same name, if there is one: requests that have begun are finished by the old
    /// one, later ones go to the new one. When it fails, nothing has changed. Blocks until all is done.
    ///
    /// # Errors
    /// [`ServeError::Invalid`] for a specification out of range; references that lead nowhere; what
    /// loading says.
    pub fn deploy(&self, spec: DeploymentSpec) -> Result<Deployment> {
        let inner = &*self.inner;
        self.check_open(&spec.name)?;
        let mut record = Record::pin(&inner.platform, spec)?;
        let loaded = load(&inner.platform, &record)?;
        let name = record.spec.name.clone();
        let _changes = inner.changes.lock();
        self.check_open(&name)?;
        if let Some(old) = inner.lanes.read().get(&name) {
            record.created = old.record.created;
        }
        let lane = Lane::new(record, &inner.platform, &inner.threads, true);
        lane.serve(loaded)?;
        inner.table.put(&name, &lane.record)?;
        let deployment = lane.describe();
        let old = inner.lanes.write().insert(name.clone(), lane);
        tracing::info!(
            deployment = name,
            model = deployment.model,
            replaced = old.is_some(),
            "deployed"
        );
        Ok(deployment)
    }

    /// All deployments, by name.
    pub fn list(&self) -> Vec<Deployment> {
        let lanes = self.inner.lanes.read();
        lanes.values().map(|lane| lane.describe()).collect()
    }

    /// One deployment.
    ///
    /// # Errors
    /// [`ServeError::NotFound`] naming those that there are.
    pub fn get(&self, name: &str) -> Result<Deployment> {
        Ok(self.lane(name)?.describe())
    }

    /// Removes a deployment; requests that have begun are finished. Returns what it was.
    ///
    /// # Errors
    /// [`ServeError::NotFound`]; when the record cannot be removed.
    pub fn remove(&self, name: &str) -> Result<Deployment> {
        let _changes = self.inner.changes.lock();
        let deployment = self.get(name)?;
        self.inner.table.delete(name)?;
        self.inner.lanes.write().remove(name);
        tracing::info!(deployment = name, "removed");
        Ok(deployment)
    }

    /// The names of the deployments that need the plugin of that digest.
    pub fn using_plugin(&self, digest: &str) -> Vec<String> {
        let lanes = self.inner.lanes.read();
        let using = lanes.iter().filter(|(_, lane)| lane.record.uses(digest));
        using.map(|(name, _)| name.clone()).collect()
    }

    /// Answers a request: the processor says what the body means and what the answer looks like; without
    /// one, `{"inputs": {COLUMN: VALUE}, "parameters": {…}}` is answered with `{"outputs": […]}`.
    /// Dropping the future cancels the request.
    ///
    /// # Errors
    /// [`ServeError::NotFound`], [`ServeError::Busy`], [`ServeError::NotLoaded`]; what the processor or
    /// the model says.
    pub async fn predict(&self, name: &str, body: Value) -> Result<Value> {
        self.check_open(name)?;
        let lane = self.lane(name)?;
        let ticket = lane.enter()?;
        let answer = async {
            let service = lane.service().await?;
            drop(lane);
            predict::predict(service, ticket.clone(), body).await
        }
        .await;
        match &answer {
            Ok(_) => ticket.answered(),
            Err(_) => ticket.failed(),
        }
        answer
    }

    /// Continues a text; see [`completion`](crate::completion). Dropping the stream cancels it.
    ///
    /// # Errors
    /// As [`Deployments::predict`]; what goes wrong later ends the stream.
    pub async fn complete(&self, name: &str, request: CompletionRequest) -> Result<Completion> {
        self.check_open(name)?;
        let lane = self.lane(name)?;
        let ticket = lane.enter()?;
        let begun = async {
            let service = lane.service().await?;
            drop(lane);
            completion::begin(service, ticket.clone(), request).await
        }
        .await;
        if begun.is_err() {
            ticket.failed();
        }
        begun
    }

    /// Takes no more requests, lets those that have begun finish for a while, and ends all threads.
    /// Blocks until they have ended. The deployments are loaded again when the folder is opened again.
    pub fn shutdown(&self) {
        self.inner.closed.store(true, Relaxed);
        // A deployment that is just being swapped in is among the threads after this.
        drop(self.inner.changes.lock());
        self.inner.threads.finish(GRACE);
        if let Some(loader) = self.inner.loader.lock().take() {
            let _ = loader.join();
        }
    }

    fn check_open(&self, name: &str) -> Result<()> {
        if self.inner.closed.load(Relaxed) {
            return Err(ServeError::Closed {
                name: name.to_owned(),
            });
        }
        Ok(())
    }

    fn lane(&self, name: &str) -> Result<Arc<Lane>> {
        let lanes = self.inner.lanes.read();
        lanes.get(name).cloned().ok_or_else(|| {
            let names: Vec<&str> = lanes.keys().map(String::as_str).collect();
            ServeError::NotFound {
                name: name.to_owned(),
                hint: if names.is_empty() {
                    "none is deployed yet".into()
                } else {
                    format!("there are: {}", names.join(", "))
                },
            }
        })
    }
}

impl std::fmt::Debug for Deployments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lanes = self.inner.lanes.read();
        f.debug_struct("Deployments")
            .field("names", &lanes.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
