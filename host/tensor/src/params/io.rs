//! Parameters from files and into files.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::Path,
    sync::Arc,
};

use super::{
    Entry, LoadReport, Mismatch, ParamKind, Params, SafetensorsFile,
    file::{Head, save, write_each},
    stored::{Filed, Stored, value_of},
};
use crate::{DType, TensorError, dims::Dims, tensor};

impl Params {
    /// Reads weights (float32, float16, bfloat16 or float64; kept as float32). Where a model is
    /// there already, its parameters are replaced and others reported as unexpected; else all are
    /// kept until a recipe asks for them. Nothing changes when an error is returned.
    ///
    /// # Errors
    /// `Failed` with the path when the file cannot be read.
    pub fn load_safetensors(&self, path: &Path) -> Result<LoadReport, TensorError> {
        let file = SafetensorsFile::open(path)?;
        let mut report = LoadReport::default();
        let mut values = Vec::new();
        let expected: BTreeMap<String, (Vec<usize>, bool)> = {
            let state = self.0.state.read();
            let shape = |entry: &Entry| (entry.value.dims().to_vec(), entry.claimed);
            state
                .entries
                .iter()
                .map(|(name, entry)| (name.clone(), shape(entry)))
                .collect()
        };
        let built = expected.values().any(|(_, claimed)| *claimed);
        let mut seen = BTreeSet::new();
        file.for_each_f32(|name, found, data| {
            seen.insert(name.to_owned());
            match (data, expected.get(name)) {
                (Some(_), Some((shape, true))) if shape != found => {
                    report.mismatched.push(Mismatch {
                        name: name.to_owned(),
                        expected: shape.clone(),
                        found: found.to_vec(),
                    });
                }
                (Some(data), known) if known.is_some() || !built => {
                    let value = value_of(&self.0.device, found, data)?;
                    values.push((name.to_owned(), value));
                }
                _ => report.unexpected.push(name.to_owned()),
            }
            Ok(())
        })?;
        report.missing = expected
            .into_iter()
            .filter(|(name, (_, claimed))| *claimed && !seen.contains(name))
            .map(|(name, _)| name)
            .collect();
        let mut state = self.0.state.write();
        for (name, value) in values {
            report.loaded.push(name.clone());
            let (kind, claimed) = state
                .entries
                .get(&name)
                .map_or((ParamKind::Param, false), |old| (old.kind, old.claimed));
            let entry = Entry {
                value: Stored::Dense(value),
                kind,
                claimed,
            };
            state.entries.insert(name, entry);
        }
        Ok(report)
    }

    /// Takes weights (as [`Self::load_safetensors`]) from a file, out of which each is read whenever it
    /// is asked for, until [`Self::quantize_adapted`]: before a model is built, so that its weights never
    /// are in memory together.
    ///
    /// # Errors
    /// `Failed` with the path when the file cannot be read, and for a tensor of more dimensions than
    /// there can be.
    pub fn map_safetensors(&self, path: &Path) -> Result<(), TensorError> {
        let file = Arc::new(SafetensorsFile::open(path)?);
        let mut entries = BTreeMap::new();
        for (name, shape) in file.floats() {
            let shape = tensor::check_shape(&name, &shape, 4)?;
            let filed = Filed {
                file: file.clone(),
                name: name.clone(),
                shape,
            };
            let entry = Entry {
                value: Stored::File(filed.into()),
                kind: ParamKind::Param,
                claimed: false,
            };
            entries.insert(name, entry);
        }
        let mut state = self.0.state.write();
        state.entries.extend(entries);
        state.stay_in_file = true;
        Ok(())
    }

    /// Writes all values and `metadata` to a safetensors file that loads back bit for bit. The file
    /// appears at once and whole: see [`save_safetensors`].
    ///
    /// # Errors
    /// `Failed` with the path when the disk refuses.
    pub fn save_safetensors(
        &self,
        path: &Path,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TensorError> {
        save(path, |sink| self.write_safetensors(sink, metadata))
    }

    /// The bytes of the file that [`Self::save_safetensors`] writes.
    ///
    /// # Errors
    /// As reading a value from the device.
    pub fn to_bytes(&self, metadata: &BTreeMap<String, String>) -> Result<Vec<u8>, TensorError> {
        let mut bytes = Vec::new();
        self.write_safetensors(&mut bytes, metadata)?;
        Ok(bytes)
    }

    /// Writes all values, also those that are made dense for it, one at a time, as
    /// [`write_safetensors`] does.
    ///
    /// # Errors
    /// `Failed` when the sink refuses the bytes; as reading a value from the device or its file.
    pub fn write_safetensors(
        &self,
        sink: &mut dyn Write,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), TensorError> {
        let values: Vec<(String, Stored, Dims)> = {
            let entries = &self.0.state.read().entries;
            let each = entries.iter();
            each.map(|(name, Entry { value, .. })| (name.clone(), value.clone(), value.dims()))
                .collect()
        };
        let heads = values.iter().map(|(name, _, shape)| Head {
            name,
            dtype: DType::F32,
            shape,
        });
        let dense = values
            .iter()
            .map(|(_, value, _)| value.dense(&self.0.device));
        write_each(sink, heads, dense, metadata)
    }
}
