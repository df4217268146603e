//! Reading columns.

use std::marker::PhantomData;

use super::{Column, ColumnType};
use crate::{Error, Result};

/// Rows that hold a value.
#[derive(Debug, Clone, Copy)]
struct Validity<'a>(&'a [u8]);

impl<'a> Validity<'a> {
    fn new(column: &'a Column, rows: usize) -> Result<Self> {
        if !column.validity.is_empty() && column.validity.len() < rows.div_ceil(8) {
            return Err(damaged(column, "its validity bitmap is too short"));
        }
        Ok(Self(&column.validity))
    }

    fn holds(self, row: usize) -> bool {
        self.0.is_empty() || bit(self.0, row)
    }
}

fn bit(bitmap: &[u8], index: usize) -> bool {
    bitmap
        .get(index / 8)
        .is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

fn damaged(column: &Column, why: &str) -> Error {
    Error::invalid(format!("column {:?} is damaged: {why}", column.name))
}

fn expect(column: &Column, kind: ColumnType) -> Result<()> {
    if column.kind == kind {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "column {:?} holds {}, and {} is needed here",
        column.name,
        column.kind.name(),
        kind.name()
    )))
}

/// Where each row of a variable column begins and ends, in elements.
#[derive(Debug, Clone, Copy)]
struct Offsets<'a>(&'a [u8]);

impl<'a> Offsets<'a> {
    /// Checks that the offsets ascend and stay within `elements`.
    fn new(column: &'a Column, rows: usize, elements: usize) -> Result<Self> {
        if column.offsets.len() != (rows + 1) * 4 {
            return Err(damaged(column, "it has not one offset more than rows"));
        }
        let offsets = Self(&column.offsets);
        let mut last = 0;
        for i in 0..=rows {
            let at = offsets.at(i);
            if at < last || at > elements {
                return Err(damaged(
                    column,
                    "its offsets do not ascend within its values",
                ));
            }
            last = at;
        }
        Ok(offsets)
    }

    fn at(self, index: usize) -> usize {
        match self.0.get(index * 4..index * 4 + 4) {
            Some(&[a, b, c, d]) => u32::from_le_bytes([a, b, c, d]) as usize,
            _ => usize::MAX,
        }
    }

    fn row(self, row: usize) -> std::ops::Range<usize> {
        self.at(row)..self.at(row + 1)
    }
}

macro_rules! rows {
    ($view:ident, $item:ty) => {
        impl<'a> $view<'a> {
            /// How many rows.
            pub fn len(&self) -> usize {
                self.rows
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.rows == 0
            }

            /// All rows in order; nothing where a row holds no value.
            pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<$item>> + use<'a> {
                let view = *self;
                (0..self.rows).map(move |row| view.get(row))
            }
        }
    };
}

/// A column of text.
#[derive(Debug, Clone, Copy)]
pub struct Utf8<'a> {
    text: &'a str,
    offsets: Offsets<'a>,
    validity: Validity<'a>,
    rows: usize,
}
rows!(Utf8, &'a str);

impl<'a> Utf8<'a> {
    pub(super) fn new(column: &'a Column, rows: usize) -> Result<Self> {
        expect(column, ColumnType::Utf8)?;
        let text =
            std::str::from_utf8(&column.values).map_err(|_| damaged(column, "it is no UTF-8"))?;
        let offsets = Offsets::new(column, rows, text.len())?;
        if !(0..=rows).all(|i| text.is_char_boundary(offsets.at(i))) {
            return Err(damaged(column, "a row ends in the middle of a character"));
        }
        Ok(Self {
            text,
            offsets,
            validity: Validity::new(column, rows)?,
            rows,
        })
    }

    /// The text of a row; nothing where it holds none or does not exist.
    pub fn get(&self, row: usize) -> Option<&'a str> {
        if row < self.rows && self.validity.holds(row) {
            self.text.get(self.offsets.row(row))
        } else {
            None
        }
    }
}

/// A column of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Binary<'a> {
    bytes: &'a [u8],
    offsets: Offsets<'a>,
    validity: Validity<'a>,
    rows: usize,
}
rows!(Binary, &'a [u8]);

impl<'a> Binary<'a> {
    pub(super) fn new(column: &'a Column, rows: usize) -> Result<Self> {
        expect(column, ColumnType::Binary)?;
        let offsets = Offsets::new(column, rows, column.values.len())?;
        Ok(Self {
            bytes: &column.values,
            offsets,
            validity: Validity::new(column, rows)?,
            rows,
        })
    }

    /// The bytes of a row; nothing where it holds none or does not exist.
    pub fn get(&self, row: usize) -> Option<&'a [u8]> {
        if row < self.rows && self.validity.holds(row) {
            self.bytes.get(self.offsets.row(row))
        } else {
            None
        }
    }
}

/// A column of booleans.
#[derive(Debug, Clone, Copy)]
pub struct Bools<'a> {
    bits: &'a [u8],
    validity: Validity<'a>,
    rows: usize,
}
rows!(Bools, bool);

impl<'a> Bools<'a> {
    pub(super) fn new(column: &'a Column, rows: usize) -> Result<Self> {
        expect(column, ColumnType::Boolean)?;
        if column.values.len() < rows.div_ceil(8) {
            return Err(damaged(column, "its bitmap is too short"));
        }
        Ok(Self {
            bits: &column.values,
            validity: Validity::new(column, rows)?,
            rows,
        })
    }

    /// The value of a row; nothing where it holds none or does not exist.
    pub fn get(&self, row: usize) -> Option<bool> {
        (row < self.rows && self.validity.holds(row)).then(|| bit(self.bits, row))
    }
}

macro_rules! numbers {
    ($view:ident, $type:ty, $kind:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy)]
        pub struct $view<'a> {
            values: &'a [u8],
            validity: Validity<'a>,
            rows: usize,
        }
        rows!($view, $type);

        impl<'a> $view<'a> {
            pub(super) fn new(column: &'a Column, rows: usize) -> Result<Self> {
                expect(column, ColumnType::$kind)?;
                if column.values.len() != rows * size_of::<$type>() {
                    return Err(damaged(
                        column,
                        "its values are not as long as its rows say",
                    ));
                }
                Ok(Self {
                    values: &column.values,
                    validity: Validity::new(column, rows)?,
                    rows,
                })
            }

            /// The value of a row; nothing where it holds none or does not exist.
            pub fn get(&self, row: usize) -> Option<$type> {
                if row >= self.rows || !self.validity.holds(row) {
                    return None;
                }
                self.values
                    .as_chunks()
                    .0
                    .get(row)
                    .map(|bytes| <$type>::from_le_bytes(*bytes))
            }
        }
    };
}
numbers!(I64s, i64, Int64, "A column of integers.");
numbers!(F32s, f32, Float32, "A column of single-precision numbers.");
numbers!(F64s, f64, Float64, "A column of double-precision numbers.");

/// The numbers of one row.
#[derive(Debug, Clone, Copy)]
pub struct List<'a, T> {
    bytes: &'a [u8],
    element: PhantomData<T>,
}

macro_rules! lists {
    ($view:ident, $type:ty, $kind:ident, $doc:literal) => {
        impl<'a> List<'a, $type> {
            /// How many numbers.
            pub fn len(&self) -> usize {
                self.bytes.len() / 4
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.bytes.is_empty()
            }

            /// The numbers in order.
            pub fn iter(&self) -> impl ExactSizeIterator<Item = $type> + use<'a> {
                self.bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|bytes| <$type>::from_le_bytes(*bytes))
            }

            /// The numbers in a vector of their own.
            pub fn to_vec(&self) -> Vec<$type> {
                self.iter().collect()
            }
        }

        #[doc = $doc]
        #[derive(Debug, Clone, Copy)]
        pub struct $view<'a> {
            values: &'a [u8],
            offsets: Offsets<'a>,
            validity: Validity<'a>,
            rows: usize,
        }
        rows!($view, List<'a, $type>);

        impl<'a> $view<'a> {
            pub(super) fn new(column: &'a Column, rows: usize) -> Result<Self> {
                expect(column, ColumnType::$kind)?;
                let offsets = Offsets::new(column, rows, column.values.len() / 4)?;
                Ok(Self {
                    values: &column.values,
                    offsets,
                    validity: Validity::new(column, rows)?,
                    rows,
                })
            }

            /// The numbers of a row; nothing where it holds none or does not exist.
            pub fn get(&self, row: usize) -> Option<List<'a, $type>> {
                if row >= self.rows || !self.validity.holds(row) {
                    return None;
                }
                let range = self.offsets.row(row);
                self.values
                    .get(range.start * 4..range.end * 4)
                    .map(|bytes| List {
                        bytes,
                        element: PhantomData,
                    })
            }
        }
    };
}
lists!(U32Lists, u32, Uint32List, "A column of lists of ids.");
lists!(F32Lists, f32, Float32List, "A column of lists of numbers.");

/// A column of numbers of any type, one or several a row, in double precision.
#[derive(Debug, Clone, Copy)]
pub enum Numbers<'a> {
    /// Integers.
    I64s(I64s<'a>),
    /// Single precision.
    F32s(F32s<'a>),
    /// Double precision.
    F64s(F64s<'a>),
    /// Lists.
    F32Lists(F32Lists<'a>),
}

impl<'a> Numbers<'a> {
    pub(super) fn new(column: &'a Column, rows: usize) -> Result<Self> {
        match column.kind {
            ColumnType::Int64 => Ok(Self::I64s(I64s::new(column, rows)?)),
            ColumnType::Float32 => Ok(Self::F32s(F32s::new(column, rows)?)),
            ColumnType::Float64 => Ok(Self::F64s(F64s::new(column, rows)?)),
            ColumnType::Float32List => Ok(Self::F32Lists(F32Lists::new(column, rows)?)),
            other => Err(Error::invalid(format!(
                "column {:?} holds {}, and numbers are needed here: int64, float32, float64 or \
                 float32-list",
                column.name,
                other.name()
            ))),
        }
    }

    /// Appends the numbers of a row; says how many, or nothing where the row holds no value or does not
    /// exist.
    pub fn append(&self, row: usize, to: &mut Vec<f64>) -> Option<usize> {
        let one = match self {
            Self::I64s(view) => view.get(row)? as f64,
            Self::F32s(view) => f64::from(view.get(row)?),
            Self::F64s(view) => view.get(row)?,
            Self::F32Lists(view) => {
                let list = view.get(row)?;
                to.extend(list.iter().map(f64::from));
                return Some(list.len());
            }
        };
        to.push(one);
        Some(1)
    }
}
