use super::*;
use crate::cpu::{self, CrossEntropy};

#[test]
fn cross_entropy_and_its_gradient() {
    for (rows, classes, label_smoothing) in [(5, 3, 0.0), (130, 1003, 0.0), (65, 1003, 0.1)] {
        let options = CrossEntropy {
            classes,
            ignore_index: -100,
            label_smoothing,
        };
        let x = values(1, rows * classes, 8.0);
        let mut targets = indices(2, rows, classes);
        targets[rows / 2] = -100;
        let dy = values(3, rows, 1.0);
        let all = on_any_pool(|| {
            let (mut losses, mut lse) = (output(rows), output(rows));
            cpu::cross_entropy(&options, &x, &targets, &mut losses, &mut lse);
            let (mut each, mut one) = (output(x.len()), output(x.len()));
            cpu::cross_entropy_backward(&options, &x, &targets, &lse, &dy, &mut each);
            cpu::cross_entropy_backward(&options, &x, &targets, &lse, &dy[..1], &mut one);
            [losses, each, one].concat()
        });
        let smoothing = f64::from(label_smoothing);
        let mut expected = vec![Vec::new(); 3];
        for (i, row) in wide(&x).chunks(classes).enumerate() {
            let ignored = targets[i] == -100;
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            let loss = |class: usize, x: f64| {
                let target = if class as i64 == targets[i] {
                    1.0 - smoothing
                } else {
                    0.0
                };
                (target + smoothing / classes as f64, x - sum.ln())
            };
            let terms: Vec<_> = row.iter().enumerate().map(|(c, x)| loss(c, *x)).collect();
            let total: f64 = terms.iter().map(|(target, log)| -target * log).sum();
            expected[0].push(if ignored { 0.0 } else { total });
            for (target, log) in terms {
                let slope = if ignored { 0.0 } else { log.exp() - target };
                expected[1].push(f64::from(dy[i]) * slope);
                expected[2].push(f64::from(dy[0]) * slope);
            }
        }
        close(&all, &expected.concat(), 3e-6, 2e-6);
    }
}

#[test]
fn binary_cross_entropy_and_its_gradient() {
    let len = 20_011;
    let (x, dy) = (values(4, len, 30.0), values(5, len, 1.0));
    let t: Vec<f32> = values(6, len, 0.5).iter().map(|t| t + 0.5).collect();
    let all = on_any_pool(|| {
        let (mut losses, mut dx, mut shared) = (output(len), output(len), output(len));
        cpu::bce_with_logits(&x, &t, &mut losses);
        cpu::bce_with_logits_backward(&x, &t, &dy, &mut dx);
        cpu::bce_with_logits_backward(&x, &t, &[0.25], &mut shared);
        [losses, dx, shared].concat()
    });
    let (x, t, dy) = (wide(&x), wide(&t), wide(&dy));
    let slope = |i: usize| 1.0 / (1.0 + (-x[i]).exp()) - t[i];
    let mut expected = Vec::new();
    expected.extend((0..len).map(|i| x[i].max(0.0) - x[i] * t[i] + (-x[i].abs()).exp().ln_1p()));
    expected.extend((0..len).map(|i| dy[i] * slope(i)));
    expected.extend((0..len).map(|i| 0.25 * slope(i)));
    close(&all, &expected, 2e-6, 2e-6);
}
