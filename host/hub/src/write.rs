//! Writing a checkpoint: one safetensors file, copied tensor by tensor.

use std::collections::BTreeMap;
use std::io::Write;

use crate::dtype::Dtype;
use crate::error::{HubError, Result};
use crate::header;
use crate::weights::{Stored, Weights, advance};

/// A tensor to write.
pub struct Part {
    /// Its name in the new file.
    pub name: String,
    /// Where its elements come from.
    pub content: Content,
}

/// Makes the numbers of a new tensor; the error is a sentence.
pub type Values = Box<dyn FnOnce() -> Result<Vec<f32>, String>>;

/// Where the elements of a tensor come from.
pub enum Content {
    /// The tensor of this name, as it is stored.
    Copy(String),
    /// New numbers, made when they are written.
    Fresh {
        /// Its dimensions.
        shape: Vec<usize>,
        /// The numbers in row-major order.
        values: Values,
    },
}

struct Ready<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: u64,
    stored: Option<&'a Stored>,
    fresh: Option<Values>,
}

impl Weights {
    /// Writes these tensors into one file, each in the type that it is stored in. `progress` is told the
    /// bytes of each piece and answers whether to go on.
    ///
    /// # Errors
    /// [`HubError::Sink`] when they cannot be written, [`HubError::Cancelled`]; a file that cannot be
    /// read.
    pub fn write(
        &self,
        parts: Vec<Part>,
        metadata: &BTreeMap<String, String>,
        sink: &mut dyn Write,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<()> {
        let mut ready = Vec::with_capacity(parts.len());
        for part in parts {
            ready.push(match part.content {
                Content::Copy(source) => {
                    let stored = self.tensors().get(&source).ok_or_else(|| {
                        HubError::file(&source, "there is no such tensor to copy")
                    })?;
                    Ready {
                        name: part.name,
                        dtype: stored.dtype.clone(),
                        shape: stored.shape.clone(),
                        bytes: stored.bytes,
                        stored: Some(stored),
                        fresh: None,
                    }
                }
                Content::Fresh { shape, values } => Ready {
                    name: part.name,
                    dtype: Dtype::F32,
                    bytes: shape.iter().product::<usize>() as u64 * 4,
                    shape,
                    stored: None,
                    fresh: Some(values),
                },
            });
        }
        // Wide elements first, so that all are aligned; else as they lie in the files.
        ready.sort_by_key(|part| {
            let place = part.stored.map(|stored| (stored.file, stored.offset));
            (
                std::cmp::Reverse(part.dtype.size()),
                place.is_none(),
                place,
                part.name.clone(),
            )
        });
        let head = header::render(
            ready
                .iter()
                .map(|part| (part.name.as_str(), &part.dtype, &part.shape[..], part.bytes)),
            metadata,
        );
        sink.write_all(&head).map_err(HubError::Sink)?;
        let mut buffer = Vec::new();
        for part in ready {
            if let Some(stored) = part.stored {
                self.copy(stored, sink, &mut buffer, progress)?;
            }
            if let Some(values) = part.fresh {
                let values = values().map_err(|reason| HubError::file(&part.name, reason))?;
                let bytes: Vec<u8> = values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                if bytes.len() as u64 != part.bytes {
                    return Err(HubError::file(
                        &part.name,
                        "it has another number of values",
                    ));
                }
                sink.write_all(&bytes).map_err(HubError::Sink)?;
                advance(progress, part.bytes)?;
            }
        }
        Ok(())
    }
}
