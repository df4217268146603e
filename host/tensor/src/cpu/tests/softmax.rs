use super::*;
use crate::cpu;

fn exact_softmax(row: &[f64]) -> Vec<f64> {
    let largest = row.iter().copied().fold(f64::MIN, f64::max);
    let sum: f64 = row.iter().map(|x| (x - largest).exp()).sum();
    row.iter().map(|x| (x - largest).exp() / sum).collect()
}

#[test]
fn rows_against_double_precision() {
    for (rows, cols) in [(1, 1), (7, 5), (129, 128), (33, 4099)] {
        let x = values(1, rows * cols, 20.0);
        let dy = values(2, rows * cols, 1.0);
        let all = on_any_pool(|| {
            let [mut y, mut dy_x, mut log, mut dlog_x, mut dlse_x] =
                [(); 5].map(|()| output(rows * cols));
            cpu::softmax(&x, cols, &mut y);
            cpu::softmax_backward(&y, &dy, cols, &mut dy_x);
            cpu::log_softmax(&x, cols, &mut log);
            cpu::log_softmax_backward(&log, &dy, cols, &mut dlog_x);
            let mut lse = output(rows);
            cpu::logsumexp(&x, cols, &mut lse);
            cpu::logsumexp_backward(&x, &lse, &dy[..rows], cols, &mut dlse_x);
            [y, dy_x, log, dlog_x, lse, dlse_x].concat()
        });
        let (x, dy) = (wide(&x), wide(&dy));
        let mut expected = vec![Vec::new(); 6];
        for (i, (row, dy_row)) in x.chunks(cols).zip(dy.chunks(cols)).enumerate() {
            let y = exact_softmax(row);
            let largest = row.iter().copied().fold(f64::MIN, f64::max);
            let lse = largest + row.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
            let mean: f64 = y.iter().zip(dy_row).map(|(y, d)| y * d).sum();
            let sum: f64 = dy_row.iter().sum();
            expected[0].extend(&y);
            expected[1].extend(y.iter().zip(dy_row).map(|(y, d)| y * (d - mean)));
            expected[2].extend(row.iter().map(|x| x - lse));
            expected[3].extend(y.iter().zip(dy_row).map(|(y, d)| d - y * sum));
            expected[4].push(lse);
            expected[5].extend(y.iter().map(|y| y * dy[i]));
        }
        close(&all, &expected.concat(), 3e-6, 3e-6);
    }
}

#[test]
fn infinite_scores() {
    let hidden = f32::NEG_INFINITY;
    let mut out = output(3);
    cpu::softmax(&[hidden, 1.0, hidden], 3, &mut out);
    assert_eq!(out, [0.0, 1.0, 0.0]);
    let mut lse = output(2);
    cpu::logsumexp(&[hidden, hidden, f32::INFINITY, 1.0], 2, &mut lse);
    assert_eq!(lse, [hidden, f32::INFINITY]);
    cpu::softmax(&[hidden; 3], 3, &mut out);
    assert!(out.iter().all(|x| x.is_nan()), "as PyTorch: {out:?}");
    cpu::softmax(&[1e30, 0.0, -1e30], 3, &mut out);
    assert_eq!(out, [1.0, 0.0, 0.0]);
    cpu::softmax(&[1.0, f32::NAN, 0.0], 3, &mut out);
    assert!(out.iter().all(|x| x.is_nan()), "{out:?}");
    let mut lse = output(1);
    cpu::logsumexp(&[1.0, f32::NAN], 2, &mut lse);
    assert!(lse[0].is_nan());
}
