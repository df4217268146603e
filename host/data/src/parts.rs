//! Writing a dataset's rows as Parquet parts.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrow_select::concat::concat_batches;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde::{Deserialize, Serialize};
use tenon_store::{BlobWriter, Blobs};
use utoipa::ToSchema;

use crate::error::{DataError, Result};

/// Rows that are handed to the Parquet writer at a time. Rows are regrouped to exactly this many, so
/// that a part's bytes depend on the rows alone and not on how they arrived.
const CHUNK_ROWS: usize = 8192;
/// Unless that many rows are this large: 64 MiB.
const CHUNK_BYTES: usize = 64 << 20;
/// Rows in a row group: what a reader decodes at least.
const GROUP_ROWS: usize = 16 * CHUNK_ROWS;
/// Rows in a part, and compressed bytes after which a part is full.
const PART_ROWS: u64 = 128 * CHUNK_ROWS as u64;
const PART_BYTES: usize = 256 << 20;

/// One Parquet file of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Part {
    /// The blob.
    pub digest: String,
    /// Rows in it.
    pub rows: u64,
    /// Compressed size.
    pub bytes: u64,
}

/// Writes the rows of one split, in order, as Parquet parts. Nothing is stored before
/// [`PartWriter::finish`]; dropped, it leaves only temporary files, which the store removes.
pub(crate) struct PartWriter {
    blobs: Blobs,
    schema: SchemaRef,
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    waiting_bytes: usize,
    open: Option<ArrowWriter<BlobWriter>>,
    open_rows: u64,
    full: Vec<(BlobWriter, u64)>,
}

impl PartWriter {
    pub(crate) fn new(blobs: &Blobs, schema: SchemaRef) -> Self {
        Self {
            blobs: blobs.clone(),
            schema,
            waiting: Vec::new(),
            waiting_rows: 0,
            waiting_bytes: 0,
            open: None,
            open_rows: 0,
            full: Vec::new(),
        }
    }

    /// Adds rows of the writer's schema.
    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut start = 0;
        while start < batch.num_rows() {
            let take = (batch.num_rows() - start).min(CHUNK_ROWS - self.waiting_rows);
            let slice = batch.slice(start, take);
            // The share of the batch: a slice reports the memory of all of it.
            self.waiting_bytes += batch.get_array_memory_size() / batch.num_rows().max(1) * take;
            self.waiting_rows += take;
            self.waiting.push(slice);
            start += take;
            if self.waiting_rows == CHUNK_ROWS || self.waiting_bytes >= CHUNK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.waiting_rows == 0 {
            return Ok(());
        }
        let chunk = match self.waiting.as_slice() {
            [only] => only.clone(),
            several => concat_batches(&self.schema, several)
                .map_err(DataError::table("joining rows for a Parquet part"))?,
        };
        self.waiting.clear();
        self.waiting_bytes = 0;
        let rows = std::mem::take(&mut self.waiting_rows) as u64;
        if self.open.is_none() {
            let writer = ArrowWriter::try_new(
                self.blobs.writer()?,
                Arc::clone(&self.schema),
                Some(properties()),
            )
            .map_err(DataError::table("opening a Parquet part"))?;
            self.open = Some(writer);
            self.open_rows = 0;
        }
        if let Some(writer) = &mut self.open {
            writer
                .write(&chunk)
                .map_err(DataError::table("writing a Parquet part"))?;
            self.open_rows += rows;
            if self.open_rows >= PART_ROWS || writer.bytes_written() >= PART_BYTES {
                self.close()?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if let Some(writer) = self.open.take() {
            let blob = writer
                .into_inner()
                .map_err(DataError::table("closing a Parquet part"))?;
            self.full.push((blob, self.open_rows));
        }
        Ok(())
    }

    /// Closes the Parquet files without storing them.
    pub(crate) fn seal(&mut self) -> Result<()> {
        self.flush()?;
        self.close()
    }

    /// Stores the parts.
    pub(crate) fn finish(mut self) -> Result<Vec<Part>> {
        self.seal()?;
        self.full
            .drain(..)
            .map(|(blob, rows)| {
                let digest = blob.finish()?;
                Ok(Part {
                    digest: digest.to_string(),
                    rows,
                    bytes: self.blobs.size(&digest)?,
                })
            })
            .collect()
    }
}

fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        // Fixed, so that equal rows are equal bytes whichever version of the host wrote them.
        .set_created_by("tenon".into())
        .build()
}
