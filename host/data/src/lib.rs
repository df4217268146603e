//! Data: datasets, pipelines of transforms, tokenizers, and batches for recipes.
//!
//! | module | what |
//! |---|---|
//! | [`import`] | files and streams become columns; rows that do not fit are reported by line |
//! | [`dataset`] | named, versioned, content-addressed tables of Parquet parts |
//! | [`pipeline`] | transforms from one version to the next, with an exact cache |
//! | [`tokenizer`] | training, loading, applying and keeping tokenizers |
//! | [`collate`] | rows of a dataset become the arrays that a recipe's signature asks for |
//! | [`convert`] | Arrow record batches to plugin batches and back |

pub mod collate;
pub mod control;
pub mod convert;
pub mod dataset;
pub mod error;
pub mod import;
mod parts;
pub mod pipeline;
pub mod schema;
pub mod tokenizer;

pub use control::{Control, Progress};
pub use dataset::{
    DatasetSummary, DatasetVersion, Datasets, GrantedDatasets, ImportReport, Preview,
};
pub use error::{DataError, Result};
pub use import::{Format, ImportInput, ImportOptions, OnBadRow};
pub use parts::Part;
pub use pipeline::{PipelineReport, PipelineStep, StepStats};
pub use schema::{ColumnKind, ColumnSpec, Schema};
pub use tokenizer::{Tokenizer, TokenizerKind, TokenizerRecord, Tokenizers, TrainOptions};
