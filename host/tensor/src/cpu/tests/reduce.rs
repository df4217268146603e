use super::*;
use crate::cpu;

#[test]
fn sums_of_all_and_of_each_dimension() {
    for (rows, cols) in [
        (1, 1),
        (3, 7),
        (1024, 256),
        (517, 1031),
        (2, 70_001),
        (70_001, 3),
    ] {
        let x = values(rows as u64, rows * cols, 1.0);
        let exact = wide(&x);
        let total: f64 = exact.iter().sum();
        let size: f64 = exact.iter().map(|x| x.abs()).sum();
        assert!((cpu::sum(&x) - total).abs() < 1e-7 * size);

        let by_row: Vec<f64> = exact.chunks(cols).map(|row| row.iter().sum()).collect();
        let mut out = output(rows);
        cpu::sum_last(&x, cols, &mut out);
        close(&out, &by_row, 1e-6, 1e-6 * (cols as f64).sqrt());
        cpu::mean_last(&x, cols, &mut out);
        let means: Vec<f64> = by_row.iter().map(|sum| sum / cols as f64).collect();
        close(&out, &means, 1e-6, 1e-6);

        let mut by_column = vec![0.0; cols];
        for row in exact.chunks(cols) {
            by_column.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
        }
        let out = on_any_pool(|| {
            let mut out = output(cols);
            cpu::sum_rows(&x, cols, &mut out);
            out
        });
        close(&out, &by_column, 1e-6, 1e-6 * (rows as f64).sqrt());
    }
    let mut out = output(4);
    cpu::sum_rows(&[], 4, &mut out);
    assert_eq!(out, [0.0; 4]);
}

#[test]
fn the_sum_does_not_depend_on_the_pool() {
    let x = values(5, 300_007, 1.0);
    let low_and_high = |sum: f64| vec![sum as f32, (sum - f64::from(sum as f32)) as f32];
    on_any_pool(|| low_and_high(cpu::sum(&x)));
}

#[test]
fn extremes_and_where_they_are() {
    let (rows, cols) = (213, 131);
    let x = values(6, rows * cols, 4.0);
    let (mut largest, mut least, mut at) = (output(rows), output(rows), vec![0; rows]);
    cpu::max_last(&x, cols, &mut largest);
    cpu::min_last(&x, cols, &mut least);
    cpu::argmax_last(&x, cols, &mut at);
    for (i, row) in x.chunks(cols).enumerate() {
        assert_eq!(largest[i], row.iter().copied().fold(f32::MIN, f32::max));
        assert_eq!(least[i], row.iter().copied().fold(f32::MAX, f32::min));
        assert_eq!(row[at[i] as usize], largest[i]);
    }
    let row = [1.0, 3.0, 3.0, f32::NAN, 2.0];
    let (mut out, mut at) = (output(1), vec![0; 1]);
    cpu::argmax_last(&row[..3], 3, &mut at);
    assert_eq!(at[0], 1, "the first of equals");
    cpu::argmax_last(&row, 5, &mut at);
    assert_eq!(at[0], 3, "NaN is the largest");
    cpu::max_last(&row, 5, &mut out);
    assert!(out[0].is_nan());
    cpu::min_last(&row, 5, &mut out);
    assert!(out[0].is_nan());
}
