//! Files that `torch.save` wrote: the ZIP format, and the one before it (PyTorch below 1.6). Nothing
//! in them is executed.

mod pickle;
mod zip;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::dtype::Dtype;
use crate::error::{HubError, Result};
use pickle::{Id, Item, Pickle, Refusal, Storage, TensorItem};

/// The first value of the older format.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// The pickles of a file: a few kilobytes a layer.
const LARGEST_PICKLE: u64 = 512 << 20;
/// Keys under which training frameworks keep the state dict.
const INNER: &[&str] = &["state_dict", "model_state_dict", "model", "module"];
/// Dictionaries in dictionaries that are looked into.
const DEEPEST: usize = 4;
/// Entries of dictionaries that are looked at.
const MOST_ENTRIES: usize = 10_000_000;

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name in the state dict.
    pub name: String,
    /// Its elements.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Elements between neighbours of each dimension.
    pub strides: Vec<usize>,
    /// Where its first element is in the file.
    pub offset: u64,
    /// Tensors of one storage share memory.
    pub storage: String,
}

/// Whether a file begins as a ZIP archive.
fn is_zip(file: &File) -> bool {
    let mut four = [0; 4];
    file.read_exact_at(&mut four, 0).is_ok() && four == *b"PK\x03\x04"
}

/// The tensors of a file.
///
/// # Errors
/// [`HubError::File`]: a global that is not allowed, by name; a file that is cut short or no weights.
pub fn read(name: &str, file: &File) -> Result<Vec<Found>> {
    if is_zip(file) {
        zipped(name, file)
    } else {
        older(name, file)
    }
}

fn refused(name: &str, refusal: Refusal) -> HubError {
    match refusal {
        Refusal::Global(global) => HubError::file(
            name,
            format!(
                "its pickle names `{global}`, which a file of weights does not need; it was not \
                 executed, and the file is refused"
            ),
        )
        .or("do not load this file elsewhere unless you trust who made it; of a model that you trust, \
             save the state dict alone, best as safetensors"),
        Refusal::Broken(why) => {
            HubError::file(name, format!("its pickle is not one of weights: {why}"))
                .or("save the model's state dict, best as safetensors")
        }
    }
}

fn zipped(name: &str, file: &File) -> Result<Vec<Found>> {
    let entries = zip::entries(name, file)?;
    let main = entries
        .iter()
        .find(|entry| entry.name.ends_with("/data.pkl") || entry.name == "data.pkl")
        .ok_or_else(|| {
            HubError::file(
                name,
                "the archive has no data.pkl: torch.save did not write it",
            )
            .or("TorchScript archives and other ZIP files are no weights; save the state dict")
        })?;
    let root = main.name.trim_end_matches("data.pkl");
    let by_name: HashMap<&str, &zip::Stored> = entries
        .iter()
        .map(|entry| (entry.name.as_str(), entry))
        .collect();
    if let Some(order) = by_name.get(format!("{root}byteorder").as_str()) {
        let bytes = bytes(name, file, order.offset, order.size.min(16))?;
        if bytes.starts_with(b"big") {
            return Err(HubError::file(name, "its numbers are big-endian")
                .or("save it again on a machine of today"));
        }
    }
    if main.size > LARGEST_PICKLE {
        return Err(HubError::file(name, "its pickle is too large for weights"));
    }
    let data = bytes(name, file, main.offset, main.size)?;
    let pickle = pickle::read(&data).map_err(|refusal| refused(name, refusal))?;
    collect(name, &pickle, |storage| {
        let entry = by_name
            .get(format!("{root}data/{}", storage.key).as_str())
            .ok_or_else(|| {
                HubError::file(name, format!("the storage {} is not in it", storage.key))
                    .or("copy or download the file again")
            })?;
        Ok((entry.offset, entry.size))
    })
}

fn bytes(name: &str, file: &File, offset: u64, size: u64) -> Result<Vec<u8>> {
    let mut out = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut out, offset)
        .map_err(|error| HubError::file(name, format!("it cannot be read: {error}")))?;
    Ok(out)
}

/// Magic number, protocol, machine, object, keys of the storages: five pickles; then each storage's
/// number of elements and its bytes.
fn older(name: &str, file: &File) -> Result<Vec<Found>> {
    let length = file
        .metadata()
        .map_err(|error| HubError::file(name, error.to_string()))?
        .len();
    // The pickles come first and are small beside the storages, but nothing says where they end.
    let mut data = bytes(name, file, 0, length.min(4 << 20))?;
    let mut pickles: Vec<Pickle> = Vec::new();
    let mut at = 0;
    while pickles.len() < 5 {
        match pickle::read(&data[at..]) {
            Ok(read) => {
                at += read.length;
                pickles.push(read);
                let first = &pickles[0];
                if !matches!(first.get(first.root), Item::Int(MAGIC)) {
                    return Err(no_weights(name));
                }
            }
            Err(Refusal::Broken(_)) if (data.len() as u64) < length.min(LARGEST_PICKLE) => {
                data = bytes(name, file, 0, (data.len() as u64 * 4).min(length))?;
            }
            Err(Refusal::Broken(_)) if pickles.is_empty() => return Err(no_weights(name)),
            Err(refusal) => return Err(refused(name, refusal)),
        }
    }
    let object = &pickles[3];
    let keys = &pickles[4];
    let (Item::List(list) | Item::Tuple(list)) = keys.get(keys.root) else {
        return Err(no_weights(name));
    };
    let sizes: HashMap<&str, u64> = object
        .storages()
        .map(|storage| (storage.key.as_str(), storage.dtype.size().unwrap_or(1)))
        .collect();
    let mut places = HashMap::new();
    let mut offset = at as u64;
    for key in list {
        let Some(key) = keys.text(*key) else {
            return Err(no_weights(name));
        };
        let cut = || {
            HubError::file(
                name,
                format!("the file is cut short: storage {key} is not in it"),
            )
            .or("copy or download it again")
        };
        let mut eight = [0; 8];
        file.read_exact_at(&mut eight, offset).map_err(|_| cut())?;
        let size = sizes.get(key).copied().unwrap_or(1);
        let bytes = u64::from_le_bytes(eight)
            .checked_mul(size)
            .ok_or_else(cut)?;
        let end = (offset + 8).checked_add(bytes).ok_or_else(cut)?;
        if end > length {
            return Err(cut());
        }
        places.insert(key.to_owned(), (offset + 8, bytes));
        offset = end;
    }
    collect(name, object, |storage| {
        places.get(&storage.key).copied().ok_or_else(|| {
            HubError::file(name, format!("the storage {} is not in it", storage.key))
        })
    })
}

fn no_weights(name: &str) -> HubError {
    HubError::file(name, "neither safetensors nor torch.save wrote it")
        .or("import a model as `save_pretrained` of the transformers library writes it")
}

/// Every tensor of the state dict, with its place.
fn collect(
    name: &str,
    pickle: &Pickle,
    place: impl Fn(&Storage) -> Result<(u64, u64)>,
) -> Result<Vec<Found>> {
    let mut walk = Walk {
        pickle,
        out: BTreeMap::new(),
        left: MOST_ENTRIES,
    };
    walk.dictionary(state_dict(pickle), "", 0);
    let tensors = walk.out;
    if tensors.is_empty() {
        return Err(HubError::file(name, "it holds no tensors")
            .or("save the model's state dict: torch.save(model.state_dict(), …)"));
    }
    tensors
        .into_iter()
        .map(|(key, tensor)| {
            let TensorItem {
                storage,
                offset,
                shape,
                strides,
            } = tensor;
            let (start, bytes) = place(&storage)?;
            let outside = || {
                HubError::file(name, format!("the tensor `{key}` lies outside its storage"))
                    .or("copy or download the file again")
            };
            let size = storage.dtype.size().ok_or_else(outside)?;
            // The last element's place, in elements of the storage.
            let empty = shape.contains(&0);
            let last = shape
                .iter()
                .zip(&strides)
                .try_fold(offset, |at, (dim, stride)| {
                    let steps = (dim.saturating_sub(1) as u64).checked_mul(*stride as u64)?;
                    at.checked_add(steps)
                })
                .ok_or_else(outside)?;
            let end = last
                .checked_add(1)
                .and_then(|last| last.checked_mul(size))
                .ok_or_else(outside)?;
            if !empty && (end > bytes || last >= storage.numel) {
                return Err(outside());
            }
            Ok(Found {
                offset: start + offset * size,
                dtype: storage.dtype,
                storage: storage.key,
                name: key,
                shape,
                strides,
            })
        })
        .collect()
}

/// The dictionary of the parameters: the whole, or what a training framework keeps under a known key.
fn state_dict(pickle: &Pickle) -> Id {
    let mut at = pickle.root;
    for _ in 0..DEEPEST {
        let Item::Dict(pairs) = pickle.get(at) else {
            break;
        };
        let holds_tensors = pairs
            .iter()
            .any(|(_, value)| matches!(pickle.get(*value), Item::Tensor(_)));
        if holds_tensors {
            break;
        }
        let inner = INNER.iter().find_map(|wanted| {
            pairs.iter().find_map(|(key, value)| {
                let fits = pickle.text(*key) == Some(*wanted)
                    && matches!(pickle.get(*value), Item::Dict(_));
                fits.then_some(*value)
            })
        });
        match inner {
            Some(inner) => at = inner,
            None => break,
        }
    }
    at
}

/// Looks for tensors in dictionaries of dictionaries.
struct Walk<'a> {
    pickle: &'a Pickle,
    out: BTreeMap<String, TensorItem>,
    /// Entries that may still be looked at: dictionaries that hold each other have no end.
    left: usize,
}

impl Walk<'_> {
    fn dictionary(&mut self, at: Id, prefix: &str, depth: usize) {
        let Item::Dict(pairs) = self.pickle.get(at) else {
            return;
        };
        for (key, value) in pairs {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            let Some(key) = self.pickle.text(*key) else {
                continue;
            };
            let name = format!("{prefix}{key}");
            match self.pickle.get(*value) {
                // A later entry of the same name replaces an earlier one, as in a dictionary.
                Item::Tensor(tensor) => drop(self.out.insert(name, tensor.clone())),
                Item::Dict(_) if depth < DEEPEST => {
                    self.dictionary(*value, &format!("{name}."), depth + 1);
                }
                _ => {}
            }
        }
    }
}
