//! Named tensors in safetensors files: read through a memory map, written so that a crash leaves
//! either the old file or the new one.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use crate::{DType, Device, Tensor, TensorError};

/// Bytes of one tensor that are copied from the device at a time while a file is written.
const WRITE_CHUNK: u64 = 8 << 20;

/// Writes named tensors and metadata in safetensors' format. Tensors are written in the order of
/// their names and the header is canonical, so equal contents give equal bytes.
///
/// # Errors
/// `InvalidArgument` when a name occurs twice; `Failed` when the sink refuses the bytes.
pub fn write_safetensors(
    sink: &mut dyn Write,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), TensorError> {
    let mut sorted: Vec<&(String, Tensor)> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let header = header(&sorted, metadata)?;
    let failed = |error: std::io::Error| {
        TensorError::Failed(format!("safetensors: the file cannot be written: {error}"))
    };
    sink.write_all(&(header.len() as u64).to_le_bytes())
        .and_then(|()| sink.write_all(header.as_bytes()))
        .map_err(failed)?;
    for (_, tensor) in sorted {
        let total = tensor.byte_len() as u64;
        let mut offset = 0;
        while offset < total {
            let length = WRITE_CHUNK.min(total - offset);
            sink.write_all(&tensor.read(offset, length)?)
                .map_err(failed)?;
            offset += length;
        }
    }
    Ok(())
}

fn header(
    sorted: &[&(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<String, TensorError> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".into(), json!(metadata));
    }
    let mut start = 0_u64;
    for (name, tensor) in sorted {
        let end = start + tensor.byte_len() as u64;
        let entry = json!({
            "dtype": dtype_name(tensor.dtype()),
            "shape": tensor.shape(),
            "data_offsets": [start, end],
        });
        if entries.insert(name.clone(), entry).is_some() {
            return Err(TensorError::InvalidArgument(format!(
                "safetensors: two tensors are named `{name}`"
            )));
        }
        start = end;
    }
    let mut text = Value::Object(entries).to_string();
    // The data starts at a multiple of eight bytes; the format pads with spaces.
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    Ok(text)
}

fn dtype_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::I64 => "I64",
        DType::I32 => "I32",
        DType::U8 => "U8",
        DType::Bool => "BOOL",
    }
}

/// Writes a safetensors file: into a temporary file beside it, flushed to the disk, then renamed,
/// and the folder flushed. A reader sees the whole old file or the whole new one.
///
/// # Errors
/// `InvalidArgument` when a name occurs twice; `Failed` with the path when the disk refuses.
pub fn save_safetensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), TensorError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let failed = |what: &str, error: std::io::Error| {
        TensorError::Failed(format!("`{}`: {what}: {error}", path.display()))
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let name = path.file_name().ok_or_else(|| {
        TensorError::InvalidArgument(format!("`{}` does not name a file", path.display()))
    })?;
    let temporary = folder.join(format!(
        ".{}.{}-{}.tmp",
        name.to_string_lossy(),
        std::process::id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    ));
    let written = (|| {
        let file = File::create_new(&temporary)
            .map_err(|error| failed("the temporary file cannot be created", error))?;
        let mut sink = BufWriter::with_capacity(1 << 20, file);
        write_safetensors(&mut sink, tensors, metadata)?;
        let file = sink
            .into_inner()
            .map_err(|error| failed("the weights cannot be written", error.into_error()))?;
        file.sync_all()
            .map_err(|error| failed("the weights cannot be flushed to the disk", error))?;
        fs::rename(&temporary, path)
            .map_err(|error| failed("the finished file cannot be renamed", error))?;
        File::open(&folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| failed("the folder cannot be flushed to the disk", error))
    })();
    if written.is_err() {
        // The error that matters is the first; a leftover is only untidy.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// A safetensors file, mapped into memory: tensors are read from it when they are asked for.
pub struct SafetensorsFile {
    path: PathBuf,
    map: Mmap,
    metadata: BTreeMap<String, String>,
}

impl SafetensorsFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// `Failed` with the path when the file cannot be read or is not a safetensors file.
    pub fn open(path: &Path) -> Result<Self, TensorError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            TensorError::Failed(format!("`{}`: {what}: {error}", path.display()))
        };
        let file = File::open(path).map_err(|error| failed("cannot be opened", &error))?;
        // SAFETY: the map is only read, and as plain bytes, for which every value is valid. As with
        // every memory map, another process that truncates the file while it is being read ends
        // this one with SIGBUS; weight files are replaced by renaming, never written in place.
        let map =
            unsafe { Mmap::map(&file) }.map_err(|error| failed("cannot be mapped", &error))?;
        let (_, header) = SafeTensors::read_metadata(&map)
            .map_err(|error| failed("is not a safetensors file, or is cut short", &error))?;
        let metadata = header
            .metadata()
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Ok(Self {
            path: path.to_path_buf(),
            map,
            metadata,
        })
    }

    /// The `__metadata__` of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn views(&self) -> Result<SafeTensors<'_>, TensorError> {
        SafeTensors::deserialize(&self.map)
            .map_err(|error| TensorError::Failed(format!("`{}`: {error}", self.path.display())))
    }

    /// The names and shapes, in the order of the names.
    ///
    /// # Errors
    /// `Failed` when the header is damaged.
    pub fn shapes(&self) -> Result<BTreeMap<String, Vec<usize>>, TensorError> {
        Ok(self
            .views()?
            .iter()
            .map(|(name, view)| (name.to_owned(), view.shape().to_vec()))
            .collect())
    }

    /// Every tensor as it is stored, in the order of the names.
    ///
    /// # Errors
    /// `Failed` when the header is damaged, `Unsupported` when an element type is not ours.
    pub fn tensors(&self, device: &Device) -> Result<Vec<(String, Tensor)>, TensorError> {
        let views = self.views()?;
        let mut entries: Vec<_> = views.iter().collect();
        entries.sort_by(|a, b| a.0.cmp(b.0));
        entries
            .into_iter()
            .map(|(name, view)| {
                let dtype = match view.dtype() {
                    Dtype::F32 => DType::F32,
                    Dtype::F16 => DType::F16,
                    Dtype::BF16 => DType::BF16,
                    Dtype::I64 => DType::I64,
                    Dtype::I32 => DType::I32,
                    Dtype::U8 => DType::U8,
                    Dtype::BOOL => DType::Bool,
                    other => return Err(self.unsupported(name, other)),
                };
                let tensor = Tensor::from_bytes(view.shape(), dtype, view.data(), device)?;
                Ok((name.to_owned(), tensor))
            })
            .collect()
    }

    /// Every tensor as float32, in the order of the names; `visit` gets one at a time, so that only
    /// one is converted in memory. Tensors of integers and booleans are given as `None`.
    ///
    /// # Errors
    /// `Failed` when the header is damaged; what `visit` returns.
    pub fn for_each_f32(
        &self,
        mut visit: impl FnMut(&str, &[usize], Option<Vec<f32>>) -> Result<(), TensorError>,
    ) -> Result<(), TensorError> {
        let views = self.views()?;
        let mut entries: Vec<_> = views.iter().collect();
        entries.sort_by(|a, b| a.0.cmp(b.0));
        for (name, view) in entries {
            visit(name, view.shape(), to_f32(view.dtype(), view.data()))?;
        }
        Ok(())
    }

    fn unsupported(&self, name: &str, dtype: Dtype) -> TensorError {
        TensorError::Unsupported(format!(
            "`{}`: tensor `{name}` has the element type {dtype:?}, which is not supported; \
             convert the file to F32, F16 or BF16",
            self.path.display()
        ))
    }
}

/// Little-endian bytes of a floating-point type as float32. The bytes need not be aligned.
fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let pair = |b: &[u8]| u16::from_le_bytes([b[0], b[1]]);
    Some(match dtype {
        Dtype::F32 => bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Dtype::F16 => bytes
            .chunks_exact(2)
            .map(|b| half::f16::from_bits(pair(b)).to_f32())
            .collect(),
        Dtype::BF16 => bytes
            .chunks_exact(2)
            .map(|b| half::bf16::from_bits(pair(b)).to_f32())
            .collect(),
        Dtype::F64 => bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect(),
        _ => return None,
    })
}
