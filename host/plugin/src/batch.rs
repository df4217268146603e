//! Rows in columns, in Arrow's memory layout: what transforms and evaluators work on.
//!
//! The fields are open, so a batch may be wrong in any way. Whatever comes from a plugin has passed
//! [`Batch::check`] before the rest of the host sees it; the accessors never panic on one that has
//! not.

mod access;
mod build;
mod check;
mod json;

use std::fmt;

use wasmtime::component::{ComponentType, Lift, Lower};

pub use access::{Floats32, Floats64, Ints64};
pub use build::ColumnBuilder;
pub use check::BatchError;

/// The type of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub enum ColumnType {
    /// Text.
    #[component(name = "utf8")]
    Utf8,
    /// Bytes.
    #[component(name = "binary")]
    Binary,
    /// True or false; a bitmap, least significant bit first.
    #[component(name = "boolean")]
    Boolean,
    /// Signed 64-bit integers.
    #[component(name = "int64")]
    Int64,
    /// Single-precision numbers.
    #[component(name = "float32")]
    Float32,
    /// Double-precision numbers.
    #[component(name = "float64")]
    Float64,
    /// Lists of numbers from 0 to 2³² - 1: token ids, pixels.
    #[component(name = "uint32-list")]
    Uint32List,
    /// Lists of single-precision numbers: embeddings.
    #[component(name = "float32-list")]
    Float32List,
}

impl ColumnType {
    /// Every type.
    pub const ALL: [Self; 8] = [
        Self::Utf8,
        Self::Binary,
        Self::Boolean,
        Self::Int64,
        Self::Float32,
        Self::Float64,
        Self::Uint32List,
        Self::Float32List,
    ];

    /// The contract's name: `utf8`, `uint32-list`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf8",
            Self::Binary => "binary",
            Self::Boolean => "boolean",
            Self::Int64 => "int64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Uint32List => "uint32-list",
            Self::Float32List => "float32-list",
        }
    }

    /// Bytes of one element of `values`; nothing for the bitmap of booleans.
    pub(crate) fn width(self) -> Option<usize> {
        match self {
            Self::Utf8 | Self::Binary => Some(1),
            Self::Boolean => None,
            Self::Float32 | Self::Uint32List | Self::Float32List => Some(4),
            Self::Int64 | Self::Float64 => Some(8),
        }
    }

    /// Whether a row's length varies, so that the column has offsets.
    pub(crate) fn is_variable(self) -> bool {
        matches!(
            self,
            Self::Utf8 | Self::Binary | Self::Uint32List | Self::Float32List
        )
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One column: its buffers are little-endian.
#[derive(Debug, Clone, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Column {
    /// Unique within its batch.
    #[component(name = "name")]
    pub name: String,
    /// What `values` holds.
    #[component(name = "kind")]
    pub kind: ColumnType,
    /// The values one after the other.
    #[component(name = "values")]
    pub values: Vec<u8>,
    /// `rows + 1` u32 offsets into `values` (bytes for text and binary, elements for lists), from 0;
    /// empty for types of a fixed width.
    #[component(name = "offsets")]
    pub offsets: Vec<u8>,
    /// A bitmap of the rows that hold a value, least significant bit first; empty when all do.
    #[component(name = "validity")]
    pub validity: Vec<u8>,
}

/// Rows: columns of the same length.
#[derive(Debug, Clone, PartialEq, Eq, Default, ComponentType, Lift, Lower)]
#[component(record)]
pub struct Batch {
    /// How many.
    #[component(name = "rows")]
    pub rows: u32,
    /// In any order; found by name.
    #[component(name = "columns")]
    pub columns: Vec<Column>,
}

impl Batch {
    /// Columns of `rows` rows each.
    ///
    /// # Errors
    /// A column that does not fit; see [`check`](Self::check).
    pub fn new(rows: u32, columns: Vec<Column>) -> Result<Self, BatchError> {
        let batch = Self { rows, columns };
        batch.check()?;
        Ok(batch)
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Bytes in all buffers together.
    pub fn byte_len(&self) -> usize {
        self.columns
            .iter()
            .map(|c| c.values.len() + c.offsets.len() + c.validity.len())
            .sum()
    }
}

/// The interface `tenon:data/batches` as the generated bindings expect to find it: the types above
/// are lifted and lowered as they are, so a buffer is copied once between guest and host.
#[doc(hidden)]
pub mod wit {
    use wasmtime::component::{HasData, Linker};

    pub use super::{Batch, Column, ColumnType};

    /// The interface has no functions.
    pub trait Host {}
    impl<T: Host + ?Sized> Host for &mut T {}
    /// Has none that need the store either.
    pub trait HostWithStore<T>: HasData {}
    impl<H: HasData + ?Sized, T> HostWithStore<T> for H {}

    /// Makes the interface known to a linker.
    pub fn add_to_linker<T, D>(
        linker: &mut Linker<T>,
        _getter: fn(&mut T) -> D::Data<'_>,
    ) -> wasmtime::Result<()>
    where
        D: HasData,
        for<'a> D::Data<'a>: Host,
        T: 'static,
    {
        linker.instance("tenon:data/batches@0.1.0")?;
        Ok(())
    }
}
