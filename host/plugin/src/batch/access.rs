//! Reading a batch. Nothing here panics, whatever the buffers hold: a row that cannot be read is a
//! row without a value.

use std::borrow::Cow;

use super::{Column, ColumnType};

/// The numbers of an `int64` column, absent rows included.
pub type Ints64<'a> = Cow<'a, [i64]>;
/// The numbers of a `float32` column, absent rows included.
pub type Floats32<'a> = Cow<'a, [f32]>;
/// The numbers of a `float64` column, absent rows included.
pub type Floats64<'a> = Cow<'a, [f64]>;

/// Little-endian numbers, in place where the buffer is aligned.
fn numbers<const N: usize, T: bytemuck::Pod>(
    bytes: &[u8],
    read: impl Fn([u8; N]) -> T,
) -> Cow<'_, [T]> {
    #[cfg(target_endian = "little")]
    if let Ok(numbers) = bytemuck::try_cast_slice(bytes) {
        return Cow::Borrowed(numbers);
    }
    Cow::Owned(
        bytes
            .as_chunks()
            .0
            .iter()
            .map(|chunk| read(*chunk))
            .collect(),
    )
}

impl Column {
    /// Whether row `row` holds a value (it may still lie outside the batch).
    #[inline]
    pub fn is_valid(&self, row: usize) -> bool {
        self.validity.is_empty() || bit(&self.validity, row) == Some(true)
    }

    /// Row `row` of a `utf8` column.
    #[inline]
    pub fn utf8(&self, row: usize) -> Option<&str> {
        std::str::from_utf8(self.bytes_of(row, ColumnType::Utf8)?).ok()
    }

    /// Row `row` of a `binary` column.
    #[inline]
    pub fn binary(&self, row: usize) -> Option<&[u8]> {
        self.bytes_of(row, ColumnType::Binary)
    }

    /// Row `row` of a `boolean` column.
    #[inline]
    pub fn boolean(&self, row: usize) -> Option<bool> {
        self.has(row, ColumnType::Boolean)?;
        bit(&self.values, row)
    }

    /// Row `row` of an `int64` column.
    #[inline]
    pub fn i64(&self, row: usize) -> Option<i64> {
        self.has(row, ColumnType::Int64)?;
        chunk(&self.values, row).map(i64::from_le_bytes)
    }

    /// Row `row` of a `float32` column.
    #[inline]
    pub fn f32(&self, row: usize) -> Option<f32> {
        self.has(row, ColumnType::Float32)?;
        chunk(&self.values, row).map(f32::from_le_bytes)
    }

    /// Row `row` of a `float64` column.
    #[inline]
    pub fn f64(&self, row: usize) -> Option<f64> {
        self.has(row, ColumnType::Float64)?;
        chunk(&self.values, row).map(f64::from_le_bytes)
    }

    /// Row `row` of a `uint32-list` column.
    #[inline]
    pub fn u32_list(&self, row: usize) -> Option<Cow<'_, [u32]>> {
        Some(numbers(
            self.bytes_of(row, ColumnType::Uint32List)?,
            u32::from_le_bytes,
        ))
    }

    /// Row `row` of a `float32-list` column.
    #[inline]
    pub fn f32_list(&self, row: usize) -> Option<Cow<'_, [f32]>> {
        Some(numbers(
            self.bytes_of(row, ColumnType::Float32List)?,
            f32::from_le_bytes,
        ))
    }

    /// All values of an `int64` column; what absent rows hold means nothing.
    pub fn i64s(&self) -> Option<Ints64<'_>> {
        (self.kind == ColumnType::Int64).then(|| numbers(&self.values, i64::from_le_bytes))
    }

    /// All values of a `float32` column; what absent rows hold means nothing.
    pub fn f32s(&self) -> Option<Floats32<'_>> {
        (self.kind == ColumnType::Float32).then(|| numbers(&self.values, f32::from_le_bytes))
    }

    /// All values of a `float64` column; what absent rows hold means nothing.
    pub fn f64s(&self) -> Option<Floats64<'_>> {
        (self.kind == ColumnType::Float64).then(|| numbers(&self.values, f64::from_le_bytes))
    }

    /// The offsets as numbers; none for types of a fixed width.
    pub(crate) fn offset_words(&self) -> Cow<'_, [u32]> {
        numbers(&self.offsets, u32::from_le_bytes)
    }

    #[inline]
    fn has(&self, row: usize, kind: ColumnType) -> Option<()> {
        (self.kind == kind && self.is_valid(row)).then_some(())
    }

    /// The bytes of a row of a variable column.
    #[inline]
    fn bytes_of(&self, row: usize, kind: ColumnType) -> Option<&[u8]> {
        self.has(row, kind)?;
        let width = kind.width()?;
        let start = u32::from_le_bytes(chunk(&self.offsets, row)?) as usize;
        let end = u32::from_le_bytes(chunk(&self.offsets, row.checked_add(1)?)?) as usize;
        self.values
            .get(start.checked_mul(width)?..end.checked_mul(width)?)
    }
}

/// The `index`-th chunk of `N` bytes.
#[inline]
fn chunk<const N: usize>(bytes: &[u8], index: usize) -> Option<[u8; N]> {
    bytes.as_chunks().0.get(index).copied()
}

#[inline]
fn bit(bitmap: &[u8], index: usize) -> Option<bool> {
    bitmap
        .get(index / 8)
        .map(|byte| byte >> (index % 8) & 1 == 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_broken_column_reads_as_absent_rows() {
        let offsets: Vec<u8> = [7u32, 3, u32::MAX]
            .iter()
            .flat_map(|o| o.to_le_bytes())
            .collect();
        for kind in ColumnType::ALL {
            let column = Column {
                name: "x".into(),
                kind,
                values: vec![0xff; 3],
                offsets: offsets.clone(),
                validity: vec![],
            };
            for row in [0, 1, 2, 1000, usize::MAX] {
                assert_eq!(column.utf8(row), None);
                assert_eq!(column.binary(row), None);
                assert_eq!(column.u32_list(row), None);
                assert_eq!(column.f32_list(row), None);
                assert_eq!(column.i64(row), None);
                assert_eq!(column.f32(row), None);
                assert_eq!(column.f64(row), None);
            }
        }
    }

    #[test]
    fn unaligned_buffers_read_the_same() {
        let bytes: Vec<u8> = std::iter::once(0)
            .chain((0..4).flat_map(|i: i64| (i - 2).to_le_bytes()))
            .collect();
        let read = numbers(&bytes[1..], i64::from_le_bytes);
        assert_eq!(&*read, &[-2, -1, 0, 1]);
    }
}
