//! The columns of a dataset.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use serde::{Deserialize, Serialize};
use tenon_plugin::batch::ColumnType;
use utoipa::ToSchema;

use crate::error::{DataError, Result};

/// What a column holds: the types that plugins know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ColumnKind {
    /// Text.
    Utf8,
    /// Bytes.
    Binary,
    /// True or false.
    Boolean,
    /// 64-bit integers.
    Int64,
    /// Single-precision numbers.
    Float32,
    /// Double-precision numbers.
    Float64,
    /// Lists of numbers from 0 to 2³² - 1: token ids, pixels.
    Uint32List,
    /// Lists of single-precision numbers: embeddings.
    Float32List,
}

impl ColumnKind {
    /// Every kind.
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

    /// The name as in the plugin contract: `utf8`, `uint32-list`, …
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

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Arrow's type for it. List items are never null.
    pub fn arrow(self) -> DataType {
        match self {
            Self::Utf8 => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Boolean => DataType::Boolean,
            Self::Int64 => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Uint32List => DataType::List(item(DataType::UInt32)),
            Self::Float32List => DataType::List(item(DataType::Float32)),
        }
    }

    /// The kind that Arrow's type is, exactly.
    pub fn from_arrow(data_type: &DataType) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.arrow() == *data_type)
    }
}

impl std::fmt::Display for ColumnKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl From<ColumnType> for ColumnKind {
    fn from(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Utf8 => Self::Utf8,
            ColumnType::Binary => Self::Binary,
            ColumnType::Boolean => Self::Boolean,
            ColumnType::Int64 => Self::Int64,
            ColumnType::Float32 => Self::Float32,
            ColumnType::Float64 => Self::Float64,
            ColumnType::Uint32List => Self::Uint32List,
            ColumnType::Float32List => Self::Float32List,
        }
    }
}

impl From<ColumnKind> for ColumnType {
    fn from(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::Utf8 => Self::Utf8,
            ColumnKind::Binary => Self::Binary,
            ColumnKind::Boolean => Self::Boolean,
            ColumnKind::Int64 => Self::Int64,
            ColumnKind::Float32 => Self::Float32,
            ColumnKind::Float64 => Self::Float64,
            ColumnKind::Uint32List => Self::Uint32List,
            ColumnKind::Float32List => Self::Float32List,
        }
    }
}

/// The field of a list's items: "element" is what Parquet's own convention calls it, so that a
/// column looks the same before and after it was written.
pub(crate) fn item(data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", data_type, false))
}

/// One column: its name and what it holds. Any row may lack a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct ColumnSpec {
    /// The column's name.
    pub name: String,
    /// What it holds.
    pub kind: ColumnKind,
}

/// The columns of a dataset, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Schema {
    /// The columns.
    pub columns: Vec<ColumnSpec>,
}

impl Schema {
    /// A schema of these columns.
    ///
    /// # Errors
    /// Two columns of one name, or a column without a name.
    pub fn new(columns: Vec<ColumnSpec>) -> Result<Self> {
        for (index, column) in columns.iter().enumerate() {
            if column.name.is_empty() {
                return Err(DataError::Invalid(format!(
                    "column {} has no name",
                    index + 1
                )));
            }
            if columns[..index]
                .iter()
                .any(|other| other.name == column.name)
            {
                return Err(DataError::Invalid(format!(
                    "column `{}` appears twice in the schema",
                    column.name
                )));
            }
        }
        Ok(Self { columns })
    }

    /// A schema from `(name, kind)` pairs.
    ///
    /// # Errors
    /// As [`Schema::new`].
    pub fn of(columns: &[(&str, ColumnKind)]) -> Result<Self> {
        Self::new(
            columns
                .iter()
                .map(|(name, kind)| ColumnSpec {
                    name: (*name).to_owned(),
                    kind: *kind,
                })
                .collect(),
        )
    }

    /// The place of a column.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// What a column holds.
    pub fn kind_of(&self, name: &str) -> Option<ColumnKind> {
        self.index_of(name).map(|index| self.columns[index].kind)
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<String> {
        self.columns
            .iter()
            .map(|column| column.name.clone())
            .collect()
    }

    /// The names for an error message: "`a`, `b`".
    pub(crate) fn listed(&self) -> String {
        let names: Vec<_> = self
            .columns
            .iter()
            .map(|c| format!("`{}`", c.name))
            .collect();
        names.join(", ")
    }

    /// Arrow's form of it; every column may hold nulls.
    pub fn arrow(&self) -> SchemaRef {
        Arc::new(ArrowSchema::new(
            self.columns
                .iter()
                .map(|column| Field::new(&column.name, column.kind.arrow(), true))
                .collect::<Vec<_>>(),
        ))
    }

    /// From Arrow's form.
    ///
    /// # Errors
    /// A column of a type that datasets do not have.
    pub fn from_arrow(schema: &ArrowSchema) -> Result<Self> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| {
                let kind = ColumnKind::from_arrow(field.data_type()).ok_or_else(|| {
                    DataError::Invalid(format!(
                        "column `{}` has Arrow's type {}, which datasets do not store; cast it first",
                        field.name(),
                        field.data_type()
                    ))
                })?;
                Ok(ColumnSpec {
                    name: field.name().clone(),
                    kind,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        Self::new(columns)
    }
}
