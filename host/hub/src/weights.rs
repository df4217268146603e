//! The weights of a model, in whatever files they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::dtype::Dtype;
use crate::error::{HubError, Result};
use crate::header::Header;
use crate::names::Index;
use crate::torch;

/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;
/// A tensor that is not stored in row-major order is read as a whole; larger ones are refused.
const LARGEST_STRIDED: u64 = 8 << 30;

/// A tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its elements.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Bytes that it has when it is written.
    pub bytes: u64,
    /// Number of its file.
    pub(crate) file: usize,
    /// Where its first element is in the file.
    pub(crate) offset: u64,
    /// Elements between neighbours of each dimension; nothing: row-major.
    strides: Option<Vec<usize>>,
    /// Tensors of the same storage share memory; nothing: its own.
    storage: Option<String>,
}

impl Stored {
    /// Whether two names are one tensor in one memory.
    fn is_same(&self, other: &Self) -> bool {
        self.storage.is_some()
            && self.file == other.file
            && self.storage == other.storage
            && self.offset == other.offset
            && self.shape == other.shape
            && self.strides == other.strides
    }
}

struct Opened {
    name: String,
    file: File,
}

/// A checkpoint, opened: names, types, shapes and places of its tensors. Their bytes are read when they
/// are copied.
pub struct Weights {
    files: Vec<Opened>,
    tensors: BTreeMap<String, Stored>,
    metadata: BTreeMap<String, String>,
    /// One safetensors file holds exactly these tensors.
    single: bool,
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weights")
            .field("files", &self.files.len())
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

impl Weights {
    /// Opens files by name and path: safetensors by their ending, all others as `torch.save` writes
    /// them. With an index, every tensor must be in the file that it says.
    ///
    /// # Errors
    /// A file that is cut short, is no weights, or whose pickle names what is not allowed; a tensor that
    /// is in two files, or not where the index says.
    pub fn open(files: &[(String, &Path)], index: Option<&Index>) -> Result<Self> {
        if let Some(index) = index {
            index.require(files.iter().map(|(name, _)| name.as_str()))?;
        }
        let mut all = Self {
            files: Vec::new(),
            tensors: BTreeMap::new(),
            metadata: BTreeMap::new(),
            single: files.len() == 1 && files[0].0.ends_with(".safetensors"),
        };
        for (name, path) in files {
            let file = File::open(path).map_err(|error| HubError::io("open", path, error))?;
            let number = all.files.len();
            if name.ends_with(".safetensors") {
                let header = Header::read(name, &file)?;
                if number == 0 {
                    all.metadata = header.metadata;
                }
                for (key, entry) in header.tensors {
                    let stored = Stored {
                        dtype: entry.dtype,
                        shape: entry.shape,
                        bytes: entry.bytes,
                        file: number,
                        offset: entry.offset,
                        strides: None,
                        storage: None,
                    };
                    all.add(name, key, stored, index)?;
                }
            } else {
                for found in torch::read(name, &file)? {
                    let (key, stored) = from_torch(name, number, found)?;
                    all.add(name, key, stored, index)?;
                }
            }
            all.files.push(Opened {
                name: name.clone(),
                file,
            });
        }
        if let Some(index) = index {
            for (tensor, file) in &index.tensors {
                if !all.tensors.contains_key(tensor) {
                    return Err(HubError::file(
                        &index.name,
                        format!("it says that the tensor `{tensor}` is in {file}, but it is not"),
                    )
                    .or("index and files are of different models: download both again"));
                }
            }
        }
        if all.tensors.is_empty() {
            let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
            return Err(HubError::file(names.join(", "), "it holds no tensors"));
        }
        Ok(all)
    }

    fn add(
        &mut self,
        file: &str,
        tensor: String,
        stored: Stored,
        index: Option<&Index>,
    ) -> Result<()> {
        // Where the index knows it elsewhere, this one is a leftover.
        let elsewhere = index
            .and_then(|index| index.tensors.get(&tensor))
            .is_some_and(|named| named != file);
        if elsewhere {
            return Ok(());
        }
        if let Some(other) = self.tensors.get(&tensor) {
            let other = self.files.get(other.file).map_or(file, |file| &file.name);
            return Err(
                HubError::file(file, format!("the tensor `{tensor}` is in {other} too"))
                    .or("keep one of them, or add the index that says which is meant"),
            );
        }
        self.tensors.insert(tensor, stored);
        Ok(())
    }

    /// The tensors by name.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, Stored> {
        &self.tensors
    }

    /// Whether they are one safetensors file that readers of the hub's files take as it is.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.single
            && self.metadata.get("format").map(String::as_str) == Some("pt")
            // Duplicates of a header's entries would be in the file, but not here.
            && self.files.len() == 1
    }

    /// The names that mean the same memory as another, each with that other.
    #[must_use]
    pub fn shared(&self) -> BTreeMap<&str, &str> {
        let mut shared = BTreeMap::new();
        let mut seen: BTreeMap<(usize, &str, u64), &str> = BTreeMap::new();
        for (name, stored) in &self.tensors {
            let Some(storage) = &stored.storage else {
                continue;
            };
            match seen.entry((stored.file, storage, stored.offset)) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(name);
                }
                std::collections::btree_map::Entry::Occupied(first) => {
                    if self.tensors[*first.get()].is_same(stored) {
                        shared.insert(name.as_str(), *first.get());
                    }
                }
            }
        }
        shared
    }

    /// Whether two tensors have the same bytes.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn are_equal(&self, a: &str, b: &str) -> Result<bool> {
        let (Some(a), Some(b)) = (self.tensors.get(a), self.tensors.get(b)) else {
            return Ok(false);
        };
        if a.is_same(b) {
            return Ok(true);
        }
        if a.dtype != b.dtype || a.shape != b.shape {
            return Ok(false);
        }
        if a.strides.is_some() || b.strides.is_some() {
            return Ok(self.gather(a)? == self.gather(b)?);
        }
        let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
        let mut done = 0;
        while done < a.bytes {
            let length = CHUNK.min(usize::try_from(a.bytes - done).unwrap_or(CHUNK));
            self.read(a, a.offset + done, &mut left[..length])?;
            self.read(b, b.offset + done, &mut right[..length])?;
            if left[..length] != right[..length] {
                return Ok(false);
            }
            done += length as u64;
        }
        Ok(true)
    }

    /// The element types that occur, with the number of tensors of each.
    #[must_use]
    pub fn dtypes(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for stored in self.tensors.values() {
            *counts.entry(stored.dtype.name().to_owned()).or_default() += 1;
        }
        counts
    }

    /// Bytes of all files.
    #[must_use]
    pub fn files(&self) -> BTreeSet<&str> {
        self.files.iter().map(|file| file.name.as_str()).collect()
    }

    /// Writes a tensor's elements in row-major order.
    pub(crate) fn copy(
        &self,
        stored: &Stored,
        sink: &mut dyn Write,
        buffer: &mut Vec<u8>,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<()> {
        if stored.strides.is_some() {
            let bytes = self.gather(stored)?;
            sink.write_all(&bytes).map_err(HubError::Sink)?;
            return advance(progress, stored.bytes);
        }
        buffer.resize(CHUNK, 0);
        let mut done = 0;
        while done < stored.bytes {
            let length = CHUNK.min(usize::try_from(stored.bytes - done).unwrap_or(CHUNK));
            self.read(stored, stored.offset + done, &mut buffer[..length])?;
            sink.write_all(&buffer[..length]).map_err(HubError::Sink)?;
            done += length as u64;
            advance(progress, length as u64)?;
        }
        Ok(())
    }

    /// The elements of a tensor that is a view of another order.
    fn gather(&self, stored: &Stored) -> Result<Vec<u8>> {
        let size = stored.dtype.size().unwrap_or(1) as usize;
        let mut out = vec![0; usize::try_from(stored.bytes).unwrap_or(0)];
        let Some(strides) = &stored.strides else {
            self.read(stored, stored.offset, &mut out)?;
            return Ok(out);
        };
        if out.is_empty() {
            return Ok(out);
        }
        let last: usize = stored
            .shape
            .iter()
            .zip(strides)
            .map(|(dim, stride)| (dim - 1) * stride)
            .sum();
        let mut source = vec![0; (last + 1) * size];
        self.read(stored, stored.offset, &mut source)?;
        let mut place = vec![0; stored.shape.len()];
        let mut at = 0;
        for element in out.chunks_exact_mut(size) {
            element.copy_from_slice(&source[at * size..(at + 1) * size]);
            for axis in (0..place.len()).rev() {
                place[axis] += 1;
                at += strides[axis];
                if place[axis] < stored.shape[axis] {
                    break;
                }
                at -= strides[axis] * stored.shape[axis];
                place[axis] = 0;
            }
        }
        Ok(out)
    }

    fn read(&self, stored: &Stored, at: u64, out: &mut [u8]) -> Result<()> {
        let opened = &self.files[stored.file];
        opened
            .file
            .read_exact_at(out, at)
            .map_err(|error| HubError::io("read", Path::new(&opened.name), error))
    }
}

pub(crate) fn advance(progress: &mut dyn FnMut(u64) -> bool, bytes: u64) -> Result<()> {
    if progress(bytes) {
        Ok(())
    } else {
        Err(HubError::Cancelled)
    }
}

fn from_torch(file: &str, number: usize, found: torch::Found) -> Result<(String, Stored)> {
    let too_large = || {
        HubError::file(file, format!("the tensor `{}` is too large", found.name))
            .or("save the model as safetensors")
    };
    let size = found.dtype.size().unwrap_or(1);
    let bytes = found
        .shape
        .iter()
        .try_fold(size, |all, dim| all.checked_mul(*dim as u64))
        .ok_or_else(too_large)?;
    let mut expected = 1;
    let mut dense = true;
    for (dim, stride) in found.shape.iter().zip(&found.strides).rev() {
        // The stride of a dimension of size 1 means nothing.
        dense &= *dim == 1 || *stride == expected;
        expected *= dim;
    }
    if !dense && bytes > LARGEST_STRIDED {
        return Err(too_large());
    }
    let stored = Stored {
        dtype: found.dtype,
        shape: found.shape,
        bytes,
        file: number,
        offset: found.offset,
        strides: (!dense && bytes > 0).then_some(found.strides),
        storage: Some(found.storage),
    };
    Ok((found.name, stored))
}
