#![allow(clippy::unwrap_used)]
use super::*;

/// A batch with two columns of every kind: one without nulls and one with some.
fn every_kind(rows: usize) -> RecordBatch {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for nulls in [false, true] {
        let there = |row: usize| !nulls || row % 3 != 1;
        fn some<T>(
            rows: usize,
            there: impl Fn(usize) -> bool,
            value: impl Fn(usize) -> T,
        ) -> Vec<Option<T>> {
            (0..rows)
                .map(|row| there(row).then(|| value(row)))
                .collect()
        }
        let text = some(rows, there, |row| "é".repeat(row % 5));
        let bytes = some(rows, there, |row| vec![row as u8; row % 4]);
        let bytes: Vec<Option<&[u8]>> = bytes.iter().map(Option::as_deref).collect();
        let ids = some(rows, there, |row| {
            (0..row as u32 % 6)
                .map(|id| u32::MAX - id)
                .collect::<Vec<_>>()
        });
        let list = |data_type: arrow_schema::DataType, values: ArrayRef| {
            let lengths = ids.iter().map(|ids| ids.as_ref().map_or(0, Vec::len));
            let validity = NullBuffer::from_iter(ids.iter().map(Option::is_some));
            let offsets = OffsetBuffer::from_lengths(lengths);
            ListArray::new(item(data_type), offsets, values, nulls.then_some(validity))
        };
        let flat: Vec<u32> = ids.iter().flatten().flatten().copied().collect();
        let floats: Vec<f32> = flat.iter().map(|id| *id as f32 / 3.0).collect();
        let arrays: [(&str, ArrayRef); 8] = [
            ("text", Arc::new(StringArray::from(text))),
            ("bytes", Arc::new(BinaryArray::from(bytes))),
            (
                "flags",
                Arc::new(BooleanArray::from(some(rows, there, |row| row % 3 == 0))),
            ),
            (
                "ints",
                Arc::new(Int64Array::from(some(rows, there, |row| -(row as i64)))),
            ),
            (
                "singles",
                Arc::new(Float32Array::from(some(rows, there, |row| {
                    row as f32 / 7.0
                }))),
            ),
            (
                "doubles",
                Arc::new(Float64Array::from(some(rows, there, |row| {
                    row as f64 / 7.0
                }))),
            ),
            (
                "ids",
                Arc::new(list(
                    UInt32Type::DATA_TYPE,
                    Arc::new(UInt32Array::from(flat)),
                )),
            ),
            (
                "numbers",
                Arc::new(list(
                    Float32Type::DATA_TYPE,
                    Arc::new(Float32Array::from(floats)),
                )),
            ),
        ];
        columns.extend(arrays.map(|(name, array)| (format!("{name}_{nulls}"), array)));
    }
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

/// Every kind of column, with and without nulls, at every offset of a slice.
#[test]
fn batches_round_trip_also_from_slices() {
    let whole = every_kind(37);
    for start in [0, 1, 7, 8, 9, 20] {
        for rows in [0, 1, 8, 17] {
            let slice = whole.slice(start, rows);
            let batch = to_batch(&slice).unwrap();
            assert_eq!(from_batch(batch).unwrap(), slice, "{start} {rows}");
        }
    }
}

#[test]
fn only_columns_with_nulls_have_a_validity_bitmap() {
    let whole = every_kind(37);
    let batch = to_batch(&whole).unwrap();
    for (column, array) in batch.columns.iter().zip(whole.columns()) {
        assert_eq!(
            column.validity.is_empty(),
            array.null_count() == 0,
            "{}",
            column.name
        );
    }
}

#[test]
fn what_a_plugin_returns_is_checked() {
    let good = || {
        let array: ArrayRef = Arc::new(StringArray::from(vec!["ab", "é"]));
        to_batch(&RecordBatch::try_from_iter([("c", array)]).unwrap()).unwrap()
    };
    let refused = |change: fn(&mut Column)| {
        let mut batch = good();
        change(&mut batch.columns[0]);
        from_batch(batch).unwrap_err().to_string()
    };
    assert!(from_batch(good()).is_ok());
    assert!(
        refused(|c| c.values[2] = 0xff).contains("UTF"),
        "{}",
        refused(|c| c.values[2] = 0xff)
    );
    // A character cut in two by an offset.
    assert!(
        refused(|c| c.offsets[4..8].copy_from_slice(&3_u32.to_le_bytes())).contains("column `c`")
    );
    assert!(
        refused(|c| c.offsets[8..].copy_from_slice(&9_u32.to_le_bytes())).contains("offset 2 is 9")
    );
    assert!(
        refused(|c| c.offsets[4..8].copy_from_slice(&5_u32.to_le_bytes()))
            .contains("offset 1 is 5")
    );
    assert!(
        refused(|c| c.offsets[8..].copy_from_slice(&u32::MAX.to_le_bytes())).contains("past 2³¹")
    );
    assert!(refused(|c| c.offsets.truncate(8)).contains("8 bytes of offsets, 2 rows need 12"));
    assert!(
        refused(|c| c.kind = ColumnKind::Int64.into())
            .contains("4 bytes of values, 2 rows need 16")
    );
    assert!(refused(|c| c.kind = ColumnKind::Uint32List.into()).contains("offset 1 is 2"));
    let mut twice = good();
    twice.columns.push(twice.columns[0].clone());
    assert!(
        from_batch(twice)
            .unwrap_err()
            .to_string()
            .contains("appears twice")
    );
    let mut short = good();
    short.rows = 20;
    short.columns[0].validity = vec![255; 2];
    assert!(
        from_batch(short)
            .unwrap_err()
            .to_string()
            .contains("validity bitmap has 2 bytes, 20 rows need 3")
    );
}
