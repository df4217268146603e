//! The process and its data folder.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The process lives and answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`: a process that is not well does not answer.
    pub status: String,
    /// Of the server.
    pub version: String,
}

/// What the process is doing, for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// Of the server.
    pub version: String,
    /// The process's number.
    pub pid: u32,
    /// When it opened the data folder.
    #[schema(value_type = String, format = DateTime)]
    pub started: Timestamp,
    /// The data folder.
    pub root: String,
    /// The device as it was asked for (`auto`, `cpu`, `cuda:0`).
    pub device: String,
    /// Memory of the process that is in use, where the system tells.
    pub resident_bytes: Option<u64>,
    /// The store.
    pub store: StoreStatus,
    /// How much there is of everything.
    pub counts: Counts,
}

/// The state of the data folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreStatus {
    /// `writable`, `disk-full` or `read-only`.
    pub state: String,
    /// Why it is not writable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What keeps the records: `redb` or `sled`.
    pub backend: String,
    /// Bytes available on its disk.
    pub free_bytes: u64,
    /// Transactions since it was opened.
    pub transactions: u64,
    /// Groups of transactions since it was opened; each was one wait for the disk.
    pub commit_groups: u64,
}

/// How much there is of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
    /// Installed plugins, replaced ones left out.
    pub plugins: usize,
    /// Datasets, whatever the number of their versions.
    pub datasets: usize,
    /// Versions of tokenizers.
    pub tokenizers: usize,
    /// Registered models.
    pub models: usize,
    /// Runs by status, those in the bin left out.
    pub runs: BTreeMap<String, usize>,
    /// Deployments by state.
    pub deployments: BTreeMap<String, usize>,
}

/// The devices of the server's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceList {
    /// The processor first.
    pub devices: Vec<DeviceEntry>,
}

/// A device that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceEntry {
    /// As `--device` takes it: `cuda:0`.
    pub name: String,
    /// What its driver calls it.
    pub description: String,
    /// Whether it is a real accelerator, not a processor that imitates one.
    pub hardware: bool,
    /// Whether this process computes on it.
    pub selected: bool,
}

/// What a full check of the records found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifyAnswer {
    /// Records whose checksum is right.
    pub records: u64,
    /// Blobs whose bytes match their digest.
    pub blobs: u64,
    /// One sentence for each thing that is damaged.
    pub damage: Vec<String>,
}

/// Which unused blobs to remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SweepRequest {
    /// Blobs younger than this stay: they may be about to be used.
    pub grace_seconds: u64,
}

impl Default for SweepRequest {
    fn default() -> Self {
        Self {
            grace_seconds: 3600,
        }
    }
}

/// What a sweep did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SweepAnswer {
    /// Blobs that stayed.
    pub kept: u64,
    /// Blobs that were removed.
    pub removed: u64,
    /// Bytes that this freed.
    pub bytes: u64,
}
