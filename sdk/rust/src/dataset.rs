//! Reading a dataset that the operator granted (capability `dataset:NAME`).
//!
//! Natively they are those given to [`testkit::set_dataset`](crate::testkit::set_dataset).

use crate::{Batch, Result};

/// The rows of a dataset, batch by batch.
pub struct Reader {
    #[cfg(target_arch = "wasm32")]
    inner: crate::bindings::datasets::Reader,
    #[cfg(not(target_arch = "wasm32"))]
    inner: std::vec::IntoIter<Batch>,
}

/// Begins to read a dataset.
///
/// # Errors
/// The capability was not granted.
#[track_caller]
pub fn open(name: &str) -> Result<Reader> {
    #[cfg(target_arch = "wasm32")]
    return Ok(Reader {
        inner: crate::bindings::datasets::open(name)?,
    });
    #[cfg(not(target_arch = "wasm32"))]
    Ok(Reader {
        inner: crate::testkit::dataset(name)?.into_iter(),
    })
}

impl Iterator for Reader {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        #[cfg(target_arch = "wasm32")]
        return self.inner.next().map_err(Into::into).transpose();
        #[cfg(not(target_arch = "wasm32"))]
        self.inner.next().map(Ok)
    }
}
