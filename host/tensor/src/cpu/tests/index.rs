use super::*;
use crate::cpu;

#[test]
fn embedding_and_its_gradient() {
    for (count, cols, n) in [(1, 1, 1), (11, 3, 40), (503, 64, 2000), (4096, 256, 300)] {
        let weight = values(1, count * cols, 1.0);
        // Some ids come many times.
        let ids: Vec<i64> = indices(2, n, count).iter().map(|id| id / 3).collect();
        let dy = values(3, n * cols, 1.0);
        let mut out = output(n * cols);
        cpu::embedding(&weight, cols, &ids, &mut out);
        for (row, id) in out.chunks(cols).zip(&ids) {
            assert_eq!(row, &weight[*id as usize * cols..][..cols]);
        }
        let dweight = on_any_pool(|| {
            let mut dweight = output(count * cols);
            cpu::embedding_backward(&ids, &dy, cols, &mut dweight);
            dweight
        });
        let mut expected = vec![0.0; count * cols];
        for (row, id) in wide(&dy).chunks(cols).zip(&ids) {
            let into = &mut expected[*id as usize * cols..][..cols];
            into.iter_mut().zip(row).for_each(|(sum, dy)| *sum += dy);
        }
        close(&dweight, &expected, 1e-6, 1e-5);
    }
}

#[test]
fn along_a_dimension_in_the_middle() {
    let (outer, count, inner, n) = (3, 5, 7, 9);
    let x = values(4, outer * count * inner, 1.0);
    let index = indices(5, n, count);
    let mut out = output(outer * n * inner);
    cpu::index_select(&x, outer, count, inner, &index, &mut out);
    let mut y = x.clone();
    cpu::index_add(&mut y, outer, count, inner, &index, &out);
    let mut expected = wide(&x);
    for o in 0..outer {
        for (i, at) in index.iter().enumerate() {
            for j in 0..inner {
                let from = (o * count + *at as usize) * inner + j;
                assert_eq!(out[(o * n + i) * inner + j], x[from]);
                expected[from] += f64::from(x[from]);
            }
        }
    }
    close(&y, &expected, 1e-6, 0.0);
}

#[test]
fn gather_and_scatter_add() {
    for (outer, count, inner, n) in [(3, 5, 7, 9), (200, 31, 16, 31), (1, 900, 1, 5000)] {
        let x = values(6, outer * count * inner, 1.0);
        let index = indices(7, outer * n * inner, count);
        let source = values(8, outer * n * inner, 1.0);
        let mut out = output(outer * n * inner);
        cpu::gather(&x, outer, count, inner, &index, &mut out);
        let y = on_any_pool(|| {
            let mut y = x.clone();
            cpu::scatter_add(&mut y, outer, count, inner, &index, &source);
            y
        });
        let mut expected = wide(&x);
        for o in 0..outer {
            for i in 0..n {
                for j in 0..inner {
                    let at = (o * n + i) * inner + j;
                    let from = (o * count + index[at] as usize) * inner + j;
                    assert_eq!(out[at], x[from]);
                    expected[from] += f64::from(source[at]);
                }
            }
        }
        close(&y, &expected, 1e-5, 1e-5);
    }
}

#[test]
fn the_first_wrong_index_is_found() {
    assert_eq!(cpu::first_invalid(&[0, 4, 2], 5, None), None);
    assert_eq!(cpu::first_invalid(&[0, 5, -1], 5, None), Some(1));
    assert_eq!(cpu::first_invalid(&[0, -100, -1], 5, Some(-100)), Some(2));
    assert_eq!(cpu::first_invalid(&[], 0, None), None);
}
