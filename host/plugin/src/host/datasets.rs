//! `tenon:data/datasets`: reading datasets that were granted (capability `dataset:NAME`).

use parking_lot::Mutex;
use wasmtime::component::Resource;

use crate::{
    Batch,
    bindings::{datasets, types},
    call::Stop,
    state::{ReaderHandle, State},
};

/// Datasets that one instance reads at a time.
const MOST_READERS: u32 = 16;

impl datasets::Host for State {
    fn open(
        &mut self,
        name: String,
    ) -> wasmtime::Result<Result<Resource<ReaderHandle>, types::Error>> {
        let capability = format!("dataset:{name}");
        if let Err(error) = self.allowed(&capability, "it reads") {
            return Ok(Err(error));
        }
        let Some(source) = self
            .datasets
            .as_ref()
            .filter(|source| source.is_granted(&name))
        else {
            return Ok(Err(types::Error::NotGranted(format!(
                "the capability `{capability}` is not granted; grant it where the plugin is used"
            ))));
        };
        if self.readers.held() >= MOST_READERS {
            return Ok(Err(types::Error::OutOfQuota(format!(
                "{MOST_READERS} datasets are open already; drop a reader before opening another"
            ))));
        }
        let rows = match source.open(&name) {
            Ok(rows) => rows,
            Err(reason) => return Ok(Err(types::Error::Failed(reason))),
        };
        let handle = self.readers.insert(Mutex::new(rows));
        Ok(handle
            .map(Resource::new_own)
            .ok_or_else(|| types::Error::OutOfQuota("the table of readers is full".into())))
    }
}

impl datasets::HostReader for State {
    fn next(
        &mut self,
        reader: Resource<ReaderHandle>,
    ) -> wasmtime::Result<Result<Option<Batch>, types::Error>> {
        let Some(rows) = self.readers.get_mut(reader.rep()) else {
            return Err(Stop::Contract("the plugin uses a reader that is gone".into()).into());
        };
        Ok(rows
            .get_mut()
            .next()
            .transpose()
            .map_err(types::Error::Failed))
    }

    fn drop(&mut self, reader: Resource<ReaderHandle>) -> wasmtime::Result<()> {
        self.readers.remove(reader.rep());
        Ok(())
    }
}
