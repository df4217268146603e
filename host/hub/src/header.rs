//! The header of a safetensors file: read with every claim checked against the file, and written.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use serde_json::{Map, Value, json};

use crate::dtype::Dtype;
use crate::error::{HubError, Result};

/// The format's own bound.
const LONGEST: u64 = 100_000_000;

/// A tensor as a header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its elements.
    pub dtype: Dtype,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Where its bytes begin in the file.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
}

/// What a safetensors file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    /// By name.
    pub tensors: BTreeMap<String, Entry>,
}

impl Header {
    /// Reads the header of a file. `name` is for messages.
    ///
    /// # Errors
    /// A file that is cut short, or whose header is not one.
    pub fn read(name: &str, file: &File) -> Result<Self> {
        let bad = |reason: String| HubError::file(name, reason);
        let length = file.metadata().map_err(|e| bad(e.to_string()))?.len();
        let mut eight = [0; 8];
        if length < 8 || file.read_exact_at(&mut eight, 0).is_err() {
            return Err(cut(name, format!("it has {length} bytes only")));
        }
        let size = u64::from_le_bytes(eight);
        if size > LONGEST {
            return Err(bad(format!(
                "it is no safetensors file: its header would have {size} bytes"
            ))
            .or(
                "a file that was saved by Git LFS as a pointer, or by torch.save, is none either",
            ));
        }
        if 8 + size > length {
            return Err(cut(
                name,
                format!("its header has {size} bytes, the file {length}"),
            ));
        }
        let mut text = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut text, 8)
            .map_err(|error| bad(format!("its header cannot be read: {error}")))?;
        let fields: Map<String, Value> = serde_json::from_slice(&text)
            .map_err(|error| bad(format!("it is no safetensors file: its header: {error}")))?;
        let mut header = Self::default();
        for (key, value) in fields {
            if key == "__metadata__" {
                header.metadata = serde_json::from_value(value)
                    .map_err(|error| bad(format!("its __metadata__: {error}")))?;
                continue;
            }
            let entry = entry(&value, 8 + size).ok_or_else(|| {
                bad(format!(
                    "its header describes the tensor `{key}` as {value}, which cannot be"
                ))
            })?;
            let end = entry.offset + entry.bytes;
            if end > length {
                return Err(cut(
                    name,
                    format!("the tensor `{key}` ends at byte {end}, the file at {length}"),
                ));
            }
            header.tensors.insert(key, entry);
        }
        header.fills(name, 8 + size, length)?;
        Ok(header)
    }

    /// The format leaves no byte without a tensor, and none with two.
    fn fills(&self, name: &str, data: u64, length: u64) -> Result<()> {
        let mut places: Vec<(u64, u64)> = self
            .tensors
            .values()
            .map(|entry| (entry.offset, entry.bytes))
            .collect();
        places.sort_unstable();
        let mut at = data;
        for (offset, bytes) in places {
            if offset != at {
                return Err(HubError::file(
                    name,
                    format!("its tensors leave a gap or overlap at byte {at}"),
                )
                .or("copy or download it again, or write it again with the safetensors library"));
            }
            at += bytes;
        }
        if at != length {
            return Err(HubError::file(
                name,
                format!("its tensors end at byte {at}, the file at {length}"),
            )
            .or("copy or download it again"));
        }
        Ok(())
    }
}

fn cut(name: &str, how: String) -> HubError {
    HubError::file(name, format!("the file is cut short: {how}")).or("copy or download it again")
}

/// Nothing: the description contradicts itself.
fn entry(value: &Value, data: u64) -> Option<Entry> {
    let dtype = Dtype::parse(value["dtype"].as_str()?);
    let shape: Vec<usize> = serde_json::from_value(value["shape"].clone()).ok()?;
    let [start, end]: [u64; 2] = serde_json::from_value(value["data_offsets"].clone()).ok()?;
    let bytes = end.checked_sub(start)?;
    if let Some(size) = dtype.size() {
        let wanted = shape
            .iter()
            .try_fold(size, |all, dim| all.checked_mul(*dim as u64))?;
        if wanted != bytes {
            return None;
        }
    }
    Some(Entry {
        dtype,
        shape,
        offset: data.checked_add(start)?,
        bytes,
    })
    .filter(|entry| entry.offset.checked_add(entry.bytes).is_some())
}

/// The beginning of a safetensors file with these tensors, whose bytes follow in this order.
pub(crate) fn render<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Dtype, &'a [usize], u64)>,
    metadata: &BTreeMap<String, String>,
) -> Vec<u8> {
    let mut fields = Map::new();
    if !metadata.is_empty() {
        fields.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut start = 0;
    for (name, dtype, shape, bytes) in tensors {
        let end = start + bytes;
        fields.insert(
            name.to_owned(),
            json!({"dtype": dtype.name(), "shape": shape, "data_offsets": [start, end]}),
        );
        start = end;
    }
    let mut text = Value::Object(fields).to_string();
    // The data starts at a multiple of eight bytes; the format pads with spaces.
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut out = (text.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out
}
