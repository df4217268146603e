//! A model on a hub: what it consists of, and its files.

use std::collections::BTreeSet;
use std::io::{Read, Write};

use tenon_hub::{
    Hub, HubError, HubOptions, Index, RemoteFile, Repository, Selection, WeightFiles, names,
};
use tenon_store::SealedBlob;
use tenon_track::Origin;

use super::{SmallFiles, WeightsFile, index};
use crate::{Platform, Result};

/// What a source on a hub begins with.
pub const PREFIX: &str = "hub:";
/// A small file is smaller.
const SMALL_BYTES: u64 = 128 << 20;

/// A model on a hub with its small files.
#[derive(Debug)]
pub struct Remote {
    hub: Hub,
    repository: Repository,
    /// The small files, an index among them.
    pub small: SmallFiles,
    index: Option<Index>,
    weights: Vec<RemoteFile>,
}

impl Remote {
    /// Lists a model `hub:ORG/NAME` and downloads its small files. `tokenizer`: whether its own
    /// tokenizer is needed.
    ///
    /// # Errors
    /// A model that is not there, may not be read or is none; a hub that cannot be reached.
    pub fn open(source: &str, revision: Option<&str>, tokenizer: bool) -> Result<Self> {
        let id = source.strip_prefix(PREFIX).unwrap_or(source);
        let hub = Hub::new(HubOptions::from_environment())?;
        let repository = hub.repository(id, revision)?;
        let names = repository.files.iter().map(|file| file.name.as_str());
        let selection: Selection = names::select(source, names)?;
        if tokenizer {
            selection.require_tokenizer()?;
        }
        let mut small = SmallFiles::default();
        let mut wanted = selection.small.clone();
        if let WeightFiles::Sharded { index } = &selection.weights {
            wanted.push(index.clone());
        }
        for name in wanted {
            if let Some(file) = repository.file(&name) {
                let bytes = hub.read(&repository, file, SMALL_BYTES)?;
                small.0.insert(name, bytes);
            }
        }
        let there: BTreeSet<&str> = repository
            .files
            .iter()
            .map(|file| file.name.as_str())
            .collect();
        let index = index(&selection, &small, &there)?;
        let files = match (&selection.weights, &index) {
            (WeightFiles::Single(name), _) => vec![name.clone()],
            (WeightFiles::Sharded { .. }, Some(index)) => index.files(),
            (WeightFiles::Sharded { .. }, None) => Vec::new(),
        };
        let weights = files
            .iter()
            .filter_map(|name| repository.file(name).cloned())
            .collect();
        Ok(Self {
            hub,
            repository,
            small,
            index,
            weights,
        })
    }

    /// Bytes of its weights, where the hub says so.
    #[must_use]
    pub fn bytes(&self) -> Option<u64> {
        self.weights.iter().map(|file| file.size).sum()
    }

    /// The index of several files of weights.
    #[must_use]
    pub fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    /// Where the model is from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin {
            source: format!("{PREFIX}{}", self.repository.id),
            hub: Some(self.hub.address().to_owned()),
            revision: Some(self.repository.commit.clone()),
            ..Origin::default()
        }
    }

    /// Downloads the weights; what an earlier try has left of a file is not asked for again. `progress` is
    /// told the bytes of each piece and answers whether to go on.
    ///
    /// # Errors
    /// What the hub and the disk say; bytes that do not have the announced checksum.
    pub fn fetch(
        &self,
        platform: &Platform,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<WeightsFile>> {
        if let Some(bytes) = self.bytes() {
            let blobs = platform.store.blobs();
            let sums = self.weights.iter().filter_map(|file| file.sha256.as_ref());
            let there: u64 = sums.map(|sum| blobs.partial_bytes(sum)).sum();
            platform.store.check_space(bytes.saturating_sub(there))?;
        }
        let mut files = Vec::new();
        for file in &self.weights {
            files.push(WeightsFile {
                name: file.name.clone(),
                bytes: self.fetch_file(platform, file, progress)?,
            });
        }
        Ok(files)
    }

    fn fetch_file(
        &self,
        platform: &Platform,
        file: &RemoteFile,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<SealedBlob> {
        let blobs = platform.store.blobs();
        // Without a size, it could not be told whether anything is left to ask for.
        let partial = match (&file.sha256, file.size) {
            (Some(sum), Some(_)) => blobs.partial(sum)?,
            _ => None,
        };
        let Some(mut partial) = partial else {
            let mut writer = blobs.writer()?;
            self.hub
                .download(&self.repository, file, &mut writer, progress)?;
            writer.flush().map_err(HubError::Sink)?;
            return Ok(writer.seal()?);
        };
        if file.size.is_some_and(|size| partial.there() > size) {
            partial.clear()?;
        }
        let mut again = partial.there() > 0;
        loop {
            let mut begun = partial.reader()?.take(partial.there());
            let done =
                self.hub
                    .download_rest(&self.repository, file, &mut begun, &mut partial, progress);
            match done {
                Ok(()) => return Ok(partial.seal()?),
                // What earlier tries have left may be damaged.
                Err(HubError::Checksum { .. }) if again => {
                    again = false;
                    partial.clear()?;
                }
                Err(error @ HubError::Checksum { .. }) => {
                    partial.discard()?;
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
