//! Rows in columns, in Arrow's memory layout: what transforms and evaluators work on.
//!
//! A [`Batch`] is read through typed views ([`Batch::utf8`], [`Batch::u32_lists`], …), which check the
//! buffers once, and written with [`Column::from_utf8`] and its kin or, row by row, with a
//! [`ColumnBuilder`].

mod build;
mod view;

pub use build::ColumnBuilder;
pub use view::{Binary, Bools, F32Lists, F32s, F64s, I64s, List, Numbers, U32Lists, Utf8};

pub use crate::bindings::batches::{Batch, Column, ColumnType};
use crate::{Error, Result};

impl ColumnType {
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
    fn width(self) -> Option<usize> {
        match self {
            Self::Utf8 | Self::Binary => Some(1),
            Self::Boolean => None,
            Self::Float32 | Self::Uint32List | Self::Float32List => Some(4),
            Self::Int64 | Self::Float64 => Some(8),
        }
    }

    /// Whether a row's length varies, so that the column has offsets.
    fn is_variable(self) -> bool {
        matches!(
            self,
            Self::Utf8 | Self::Binary | Self::Uint32List | Self::Float32List
        )
    }
}

impl Batch {
    /// Columns of `rows` rows each.
    pub fn new(rows: u32, columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            rows,
            columns: columns.into_iter().collect(),
        }
    }

    /// Columns that know their own number of rows; a bitmap of booleans does not, so at least one must
    /// be of another type.
    ///
    /// # Errors
    /// Columns of different lengths, or none that knows its own.
    pub fn from_columns(columns: impl IntoIterator<Item = Column>) -> Result<Self> {
        let columns: Vec<Column> = columns.into_iter().collect();
        let Some(rows) = columns.iter().find_map(Column::rows) else {
            return Err(Error::invalid(
                "these columns do not know how many rows they have: use Batch::new",
            ));
        };
        for column in &columns {
            let fits = match column.rows() {
                Some(own) => own == rows,
                None => column.values.len() == rows.div_ceil(8),
            };
            if !fits {
                return Err(Error::invalid(format!(
                    "columns of one batch have one length: {:?} does not have the {rows} rows of the first",
                    column.name
                )));
            }
        }
        Ok(Self {
            rows: rows as u32,
            columns,
        })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.rows as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The first `rows` rows, or all where there are no more.
    #[must_use]
    pub fn head(self, rows: usize) -> Self {
        if rows >= self.len() {
            return self;
        }
        Self {
            rows: rows as u32,
            columns: self.columns.into_iter().map(|c| c.head(rows)).collect(),
        }
    }

    /// The column of that name, if there is one.
    pub fn find(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column of that name.
    ///
    /// # Errors
    /// There is none; the message names those that are.
    pub fn column(&self, name: &str) -> Result<&Column> {
        self.find(name).ok_or_else(|| {
            let names: Vec<&str> = self
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            Error::invalid(format!(
                "there is no column {name:?}; the columns are {names:?}"
            ))
        })
    }

    /// The names of the columns, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }
}

/// The typed views. Each fails where the column is missing, has another type or is damaged.
#[allow(clippy::missing_errors_doc, reason = "said once for all of them")]
impl Batch {
    /// A column of text.
    pub fn utf8(&self, name: &str) -> Result<Utf8<'_>> {
        Utf8::new(self.column(name)?, self.len())
    }

    /// A column of bytes.
    pub fn binary(&self, name: &str) -> Result<Binary<'_>> {
        Binary::new(self.column(name)?, self.len())
    }

    /// A column of booleans.
    pub fn bools(&self, name: &str) -> Result<Bools<'_>> {
        Bools::new(self.column(name)?, self.len())
    }

    /// A column of integers.
    pub fn i64s(&self, name: &str) -> Result<I64s<'_>> {
        I64s::new(self.column(name)?, self.len())
    }

    /// A column of single-precision numbers.
    pub fn f32s(&self, name: &str) -> Result<F32s<'_>> {
        F32s::new(self.column(name)?, self.len())
    }

    /// A column of double-precision numbers.
    pub fn f64s(&self, name: &str) -> Result<F64s<'_>> {
        F64s::new(self.column(name)?, self.len())
    }

    /// A column of lists of ids.
    pub fn u32_lists(&self, name: &str) -> Result<U32Lists<'_>> {
        U32Lists::new(self.column(name)?, self.len())
    }

    /// A column of lists of numbers.
    pub fn f32_lists(&self, name: &str) -> Result<F32Lists<'_>> {
        F32Lists::new(self.column(name)?, self.len())
    }

    /// A column of numbers of any of these types.
    pub fn numbers(&self, name: &str) -> Result<Numbers<'_>> {
        Numbers::new(self.column(name)?, self.len())
    }
}

impl PartialEq for Column {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
            && self.kind == other.kind
            && self.values == other.values
            && self.offsets == other.offsets
            && self.validity == other.validity
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows && self.columns == other.columns
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_with_absent_rows_comes_back() {
        let rows = [Some("春"), None, Some(""), Some("秋色")];
        let batch = Batch::from_columns([Column::from_utf8_options("text", rows)]).unwrap();
        assert_eq!(batch.len(), 4);
        assert_eq!(batch.utf8("text").unwrap().iter().collect::<Vec<_>>(), rows);
        assert_eq!(batch.columns[0].validity, [0b1101]);
    }

    #[test]
    fn numbers_and_lists_come_back() {
        let batch = Batch::from_columns([
            Column::from_i64s("i", [-1, i64::MAX]),
            Column::from_f32s("f", [0.5, -2.0]),
            Column::from_f64s("d", [1e300, 0.0]),
            Column::from_bools("b", [true, false]),
            Column::from_u32_lists("ids", [&[1u32, 2, 3][..], &[]]),
            Column::from_f32_lists("x", [&[0.25f32][..], &[1.0, 2.0]]),
            Column::from_binary("raw", [&b"\xff"[..], b""]),
        ])
        .unwrap();
        assert_eq!(
            batch.i64s("i").unwrap().iter().collect::<Vec<_>>(),
            [Some(-1), Some(i64::MAX)]
        );
        assert_eq!(batch.f32s("f").unwrap().get(1), Some(-2.0));
        assert_eq!(batch.f64s("d").unwrap().get(0), Some(1e300));
        assert_eq!(
            batch.bools("b").unwrap().iter().collect::<Vec<_>>(),
            [Some(true), Some(false)]
        );
        assert_eq!(
            batch.u32_lists("ids").unwrap().get(0).unwrap().to_vec(),
            [1, 2, 3]
        );
        assert!(batch.u32_lists("ids").unwrap().get(1).unwrap().is_empty());
        assert_eq!(
            batch
                .f32_lists("x")
                .unwrap()
                .get(1)
                .unwrap()
                .iter()
                .sum::<f32>(),
            3.0
        );
        assert_eq!(batch.binary("raw").unwrap().get(0), Some(&b"\xff"[..]));
        let mut numbers = Vec::new();
        let widths = ["i", "f", "d", "x"].map(|name| {
            let view = batch.numbers(name).unwrap();
            (view.append(1, &mut numbers), view.append(2, &mut numbers))
        });
        assert_eq!(widths.map(|(width, _)| width), [1, 1, 1, 2].map(Some));
        assert!(widths.iter().all(|(_, past)| past.is_none()));
        assert_eq!(numbers, [i64::MAX as f64, -2.0, 0.0, 1.0, 2.0]);
        assert!(batch.numbers("b").is_err());
    }

    #[test]
    fn a_builder_writes_nulls_across_byte_borders() {
        let mut builder = ColumnBuilder::new("n", ColumnType::Int64);
        for i in 0..20 {
            if i % 3 == 0 {
                builder.push_null()
            } else {
                builder.push_i64(i)
            }
        }
        let batch = Batch::from_columns([builder.finish()]).unwrap();
        let view = batch.i64s("n").unwrap();
        for i in 0..20 {
            assert_eq!(view.get(i), (i % 3 != 0).then_some(i as i64));
        }
    }

    #[test]
    fn the_first_rows_are_a_batch() {
        let batch = |rows: usize| {
            let all = 0..20;
            let column = |n: &i64| (n % 3 != 0).then(|| "x".repeat(*n as usize));
            let columns = [
                Column::from_utf8_options("t", all.clone().map(|n| column(&n))),
                Column::from_i64s("i", all.clone()),
                Column::from_bools("b", all.clone().map(|n| n % 2 == 1)),
                Column::from_u32_lists("l", all.map(|n| vec![n as u32; (n % 4) as usize])),
            ];
            Batch::from_columns(columns).unwrap().head(rows)
        };
        for rows in [0, 1, 8, 9, 19] {
            let head = batch(rows);
            assert_eq!(head.len(), rows);
            for row in 0..rows {
                let n = row as i64;
                let text = head.utf8("t").unwrap().get(row).map(str::len);
                assert_eq!(text, (n % 3 != 0).then_some(row));
                assert_eq!(head.i64s("i").unwrap().get(row), Some(n));
                assert_eq!(head.bools("b").unwrap().get(row), Some(n % 2 == 1));
                let list = head.u32_lists("l").unwrap().get(row).unwrap().to_vec();
                assert_eq!(list, vec![row as u32; row % 4]);
            }
        }
        assert_eq!(batch(20), batch(100));
        assert_eq!(
            batch(9).find("t").unwrap().values.len(),
            1 + 2 + 4 + 5 + 7 + 8
        );
    }

    #[test]
    fn mistakes_are_named() {
        let batch = Batch::from_columns([Column::from_utf8("a", ["x"])]).unwrap();
        assert!(batch.utf8("b").unwrap_err().to_string().contains("\"a\""));
        assert!(batch.i64s("a").unwrap_err().to_string().contains("utf8"));
        let uneven =
            Batch::from_columns([Column::from_i64s("a", [1]), Column::from_i64s("b", [1, 2])]);
        assert!(uneven.unwrap_err().to_string().contains("\"b\""));
    }

    #[test]
    fn damaged_columns_are_refused() {
        let mut batch = Batch::from_columns([Column::from_utf8("a", ["春", "x"])]).unwrap();
        batch.columns[0].offsets[4] = 1; // in the middle of a character
        assert!(batch.utf8("a").is_err());
        batch.columns[0].offsets[4] = 200; // past the end
        assert!(batch.utf8("a").is_err());
        batch.columns[0].offsets.truncate(8); // a row too few
        assert!(batch.utf8("a").is_err());
    }
}
