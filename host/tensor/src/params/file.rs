//! Named tensors in safetensors files: read one at a time, written so that a crash leaves either the old
//! file or the new one.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use memmap2::Mmap;
use parking_lot::Mutex;
use safetensors::{
    Dtype, SafeTensors,
    tensor::{Metadata, TensorInfo},
};
use serde_json::{Map, Value, json};

use crate::{DType, Device, Tensor, TensorError};

/// Bytes of one tensor that are copied from the device at a time while a file is written.
const WRITE_CHUNK: u64 = 8 << 20;
/// Bytes of one tensor that are read at a time. Elements of every type end with it.
const READ_CHUNK: usize = 1 << 20;

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
    let heads = sorted.iter().map(|(name, tensor)| Head {
        name,
        dtype: tensor.dtype(),
        shape: tensor.shape(),
    });
    let values = sorted.iter().map(|(_, tensor)| Ok(tensor.clone()));
    write_each(sink, heads, values, metadata)
}

/// What a file's header says of a tensor.
pub(super) struct Head<'a> {
    pub name: &'a str,
    pub dtype: DType,
    pub shape: &'a [usize],
}

/// [`write_safetensors`] of tensors that are made when their turn comes, in the order of their names.
pub(super) fn write_each<'a>(
    sink: &mut dyn Write,
    heads: impl Iterator<Item = Head<'a>>,
    values: impl Iterator<Item = Result<Tensor, TensorError>>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), TensorError> {
    let header = header(heads, metadata)?;
    let failed = |error: std::io::Error| {
        TensorError::Failed(format!("safetensors: the file cannot be written: {error}"))
    };
    sink.write_all(&(header.len() as u64).to_le_bytes())
        .and_then(|()| sink.write_all(header.as_bytes()))
        .map_err(failed)?;
    for tensor in values {
        let tensor = tensor?;
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

fn header<'a>(
    heads: impl Iterator<Item = Head<'a>>,
    metadata: &BTreeMap<String, String>,
) -> Result<String, TensorError> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        entries.insert("__metadata__".into(), json!(metadata));
    }
    let mut start = 0_u64;
    for Head { name, dtype, shape } in heads {
        let end = start + (shape.iter().product::<usize>() * dtype.size()) as u64;
        let entry = json!({
            "dtype": dtype_name(dtype),
            "shape": shape,
            "data_offsets": [start, end],
        });
        if entries.insert(name.to_owned(), entry).is_some() {
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
    save(path, |sink| write_safetensors(sink, tensors, metadata))
}

/// [`save_safetensors`] of what `write` gives.
pub(super) fn save(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), TensorError>,
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
        write(&mut sink)?;
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

/// Before the header stands its length.
const LENGTH_BYTES: u64 = 8;

/// A safetensors file: tensors are read from it when they are asked for.
pub struct SafetensorsFile {
    path: PathBuf,
    file: Mutex<File>,
    header: Metadata,
    /// Where the data begins.
    data: u64,
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
        // SAFETY: the map is only read, here alone, and as plain bytes, for which every value is valid. As
        // with every memory map, another process that truncates the file in this moment ends this one
        // with SIGBUS; weight files are replaced by renaming, never written in place.
        let map =
            unsafe { Mmap::map(&file) }.map_err(|error| failed("cannot be mapped", &error))?;
        let (header_bytes, header) = SafeTensors::read_metadata(&map)
            .map_err(|error| failed("is not a safetensors file, or is cut short", &error))?;
        let metadata = header
            .metadata()
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        Ok(Self {
            path: path.to_path_buf(),
            file: Mutex::new(file),
            header,
            data: LENGTH_BYTES + header_bytes as u64,
            metadata,
        })
    }

    /// The `__metadata__` of the header.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// What the header says of each tensor, by name.
    fn infos(&self) -> BTreeMap<String, &TensorInfo> {
        self.header.tensors().into_iter().collect()
    }

    /// Every tensor as it is stored, in the order of the names.
    ///
    /// # Errors
    /// `Failed` when the file cannot be read, `Unsupported` when an element type is not ours.
    pub fn tensors(&self, device: &Device) -> Result<Vec<(String, Tensor)>, TensorError> {
        let infos = self.infos().into_iter();
        infos
            .map(|(name, info)| {
                let dtype = match info.dtype {
                    Dtype::F32 => DType::F32,
                    Dtype::F16 => DType::F16,
                    Dtype::BF16 => DType::BF16,
                    Dtype::I64 => DType::I64,
                    Dtype::I32 => DType::I32,
                    Dtype::U8 => DType::U8,
                    Dtype::BOOL => DType::Bool,
                    other => return Err(self.unsupported(&name, other)),
                };
                let mut bytes = Vec::with_capacity(info.data_offsets.1 - info.data_offsets.0);
                self.read(&name, info, |part| bytes.extend_from_slice(part))?;
                let tensor = Tensor::from_bytes(&info.shape, dtype, &bytes, device)?;
                Ok((name, tensor))
            })
            .collect()
    }

    /// Every tensor as float32, in the order of the names; `visit` gets one at a time, so that only
    /// one is converted in memory. Tensors of integers and booleans are given as `None`.
    ///
    /// # Errors
    /// `Failed` when the file cannot be read; what `visit` returns.
    pub fn for_each_f32(
        &self,
        mut visit: impl FnMut(&str, &[usize], Option<Vec<f32>>) -> Result<(), TensorError>,
    ) -> Result<(), TensorError> {
        for (name, info) in self.infos() {
            let values = match converter(info.dtype) {
                Some(_) => Some(self.read_f32(&name)?),
                None => None,
            };
            visit(&name, &info.shape, values)?;
        }
        Ok(())
    }

    /// The shapes of the tensors that can be read as float32, by name.
    pub(super) fn floats(&self) -> BTreeMap<String, Vec<usize>> {
        let infos = self.infos().into_iter();
        infos
            .filter(|(_, info)| converter(info.dtype).is_some())
            .map(|(name, info)| (name, info.shape.clone()))
            .collect()
    }

    /// One tensor as float32; only this one is in memory.
    ///
    /// # Errors
    /// `Failed` when there is none of this name or the file cannot be read; `Unsupported` for integers.
    pub(super) fn read_f32(&self, name: &str) -> Result<Vec<f32>, TensorError> {
        let info = self
            .header
            .info(name)
            .ok_or_else(|| self.failed(name, &"is not there"))?;
        let convert = converter(info.dtype).ok_or_else(|| self.unsupported(name, info.dtype))?;
        let mut values = Vec::with_capacity(info.shape.iter().product());
        self.read(name, info, |part| convert(part, &mut values))?;
        Ok(values)
    }

    /// Gives the bytes of a tensor to `take`, in parts of whole elements.
    fn read(
        &self,
        name: &str,
        info: &TensorInfo,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), TensorError> {
        let (begin, end) = info.data_offsets;
        let mut left = end - begin;
        let mut bytes = vec![0; READ_CHUNK.min(left)];
        let mut file = self.file.lock();
        file.seek(SeekFrom::Start(self.data + begin as u64))
            .map_err(|error| self.failed(name, &error))?;
        while left > 0 {
            let part = &mut bytes[..READ_CHUNK.min(left)];
            file.read_exact(part)
                .map_err(|error| self.failed(name, &error))?;
            take(part);
            left -= part.len();
        }
        Ok(())
    }

    fn failed(&self, name: &str, what: &dyn std::fmt::Display) -> TensorError {
        TensorError::Failed(format!(
            "`{}`: tensor `{name}`: {what}",
            self.path.display()
        ))
    }

    fn unsupported(&self, name: &str, dtype: Dtype) -> TensorError {
        TensorError::Unsupported(format!(
            "`{}`: tensor `{name}` has the element type {dtype:?}, which is not supported; \
             convert the file to F32, F16 or BF16",
            self.path.display()
        ))
    }
}

/// Appends little-endian bytes as float32. The bytes need not be aligned.
type Convert = fn(&[u8], &mut Vec<f32>);

/// How numbers of this type become float32, if it is one of floating-point numbers.
fn converter(dtype: Dtype) -> Option<Convert> {
    fn each<const N: usize>(bytes: &[u8], values: &mut Vec<f32>, number: impl Fn([u8; N]) -> f32) {
        let (whole, _) = bytes.as_chunks::<N>();
        values.extend(whole.iter().map(|bytes| number(*bytes)));
    }
    Some(match dtype {
        Dtype::F32 => |bytes, values| each(bytes, values, f32::from_le_bytes),
        Dtype::F16 => |bytes, values| {
            each(bytes, values, |b| half::f16::from_le_bytes(b).to_f32());
        },
        Dtype::BF16 => |bytes, values| {
            each(bytes, values, |b| half::bf16::from_le_bytes(b).to_f32());
        },
        Dtype::F64 => |bytes, values| each(bytes, values, |b| f64::from_le_bytes(b) as f32),
        _ => return None,
    })
}
