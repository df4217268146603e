use super::*;
use crate::cpu::{self, Heads, RotaryShape};

/// (normalised rows, gradient of x) for layer norm (`center`) or RMS norm, by the definition.
fn exact(x: &[f64], g: &[f64], eps: f64, center: bool) -> (Vec<f64>, Vec<f64>) {
    let n = x.len() as f64;
    let mean = if center {
        x.iter().sum::<f64>() / n
    } else {
        0.0
    };
    let rstd = 1.0 / (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + eps).sqrt();
    let y: Vec<f64> = x.iter().map(|x| (x - mean) * rstd).collect();
    let g_mean = if center {
        g.iter().sum::<f64>() / n
    } else {
        0.0
    };
    let g_y = g.iter().zip(&y).map(|(g, y)| g * y).sum::<f64>() / n;
    let dx = g
        .iter()
        .zip(&y)
        .map(|(g, y)| rstd * (g - g_mean - y * g_y))
        .collect();
    (y, dx)
}

fn check(rows: usize, cols: usize, center: bool, affine: bool) {
    let x: Vec<f32> = values(1, rows * cols, 2.0)
        .iter()
        .map(|x| x + 5.0)
        .collect();
    let dy = values(2, rows * cols, 1.0);
    let (w, b) = (values(3, cols, 1.5), values(4, cols, 1.0));
    let (weight, bias) = (
        affine.then_some(&w[..]),
        (affine && center).then_some(&b[..]),
    );
    let eps = 1e-5;
    let all = on_any_pool(|| {
        let (mut out, mut dx) = (output(x.len()), output(x.len()));
        let (mut mean, mut rstd) = (output(rows), output(rows));
        let (mut dw, mut db) = (output(cols), output(cols));
        if center {
            cpu::layer_norm(&x, cols, weight, bias, eps, &mut out, &mut mean, &mut rstd);
            let (dw, db) = (Some(&mut dw[..]), Some(&mut db[..]));
            cpu::layer_norm_backward(&x, &dy, cols, weight, &mean, &rstd, &mut dx, dw, db);
        } else {
            cpu::rms_norm(&x, cols, weight, eps, &mut out, &mut rstd);
            cpu::rms_norm_backward(&x, &dy, cols, weight, &rstd, &mut dx, Some(&mut dw));
            db.fill(0.0);
        }
        [out, dx, dw, db].concat()
    });
    let (x, dy) = (wide(&x), wide(&dy));
    let weight = |i: usize| weight.map_or(1.0, |w| f64::from(w[i]));
    let (mut out, mut dx) = (Vec::new(), Vec::new());
    let (mut dw, mut db) = (vec![0.0; cols], vec![0.0; cols]);
    for (x, dy) in x.chunks(cols).zip(dy.chunks(cols)) {
        let g: Vec<f64> = dy
            .iter()
            .enumerate()
            .map(|(i, dy)| dy * weight(i))
            .collect();
        let (y, row_dx) = exact(x, &g, f64::from(eps), center);
        for i in 0..cols {
            out.push(y[i] * weight(i) + bias.map_or(0.0, |b| f64::from(b[i])));
            dw[i] += dy[i] * y[i];
            db[i] += if center { dy[i] } else { 0.0 };
        }
        dx.extend(row_dx);
    }
    let expected = [out, dx, dw, db].concat();
    close(
        &all,
        &expected,
        1e-5,
        2e-5 * (1.0 + (rows as f64).sqrt() / 10.0),
    );
}

#[test]
fn layer_and_rms_norm() {
    for (rows, cols) in [(1, 2), (5, 33), (300, 256), (2000, 37), (17, 5003)] {
        for affine in [false, true] {
            check(rows, cols, true, affine);
            check(rows, cols, false, affine);
        }
    }
}

#[test]
fn gradients_that_are_not_wanted_are_left_out() {
    let (rows, cols) = (40, 24);
    let (x, dy) = (values(1, rows * cols, 1.0), values(2, rows * cols, 1.0));
    let (mean, rstd) = (vec![0.1; rows], vec![1.2; rows]);
    let (mut all, mut some) = (output(x.len()), output(x.len()));
    let mut dw = output(cols);
    cpu::layer_norm_backward(
        &x,
        &dy,
        cols,
        None,
        &mean,
        &rstd,
        &mut all,
        Some(&mut dw),
        None,
    );
    cpu::layer_norm_backward(&x, &dy, cols, None, &mean, &rstd, &mut some, None, None);
    assert_eq!(all, some);
    assert!(dw.iter().all(|x| x.is_finite()));
}

#[test]
fn group_norm_is_layer_norm_of_groups() {
    let (n, channels, places, groups) = (5, 12, 35, 3);
    let size = channels / groups * places;
    let len = n * channels * places;
    let (x, dy) = (values(5, len, 2.0), values(6, len, 1.0));
    let (w, b) = (values(7, channels, 1.0), values(8, channels, 1.0));
    let all = on_any_pool(|| {
        let (mut out, mut dx) = (output(len), output(len));
        let (mut mean, mut rstd) = (output(n * groups), output(n * groups));
        let (mut dw, mut db) = (output(channels), output(channels));
        let (weight, bias) = (Some(&w[..]), Some(&b[..]));
        cpu::group_norm(
            &x, channels, places, groups, weight, bias, 1e-5, &mut out, &mut mean, &mut rstd,
        );
        cpu::group_norm_backward(
            &x,
            &dy,
            channels,
            places,
            groups,
            weight,
            &mean,
            &rstd,
            &mut dx,
            Some(&mut dw),
            Some(&mut db),
        );
        [out, dx, dw, db].concat()
    });
    let (x, dy) = (wide(&x), wide(&dy));
    let (mut out, mut dx) = (Vec::new(), Vec::new());
    let (mut dw, mut db) = (vec![0.0; channels], vec![0.0; channels]);
    for (group, (x, dy)) in x.chunks(size).zip(dy.chunks(size)).enumerate() {
        let channel = |i: usize| group % groups * (channels / groups) + i / places;
        let g: Vec<f64> = (0..size)
            .map(|i| dy[i] * f64::from(w[channel(i)]))
            .collect();
        let (y, group_dx) = exact(x, &g, 1e-5, true);
        for i in 0..size {
            out.push(y[i] * f64::from(w[channel(i)]) + f64::from(b[channel(i)]));
            dw[channel(i)] += dy[i] * y[i];
            db[channel(i)] += dy[i];
        }
        dx.extend(group_dx);
    }
    close(&all, &[out, dx, dw, db].concat(), 1e-5, 2e-5);
}

#[test]
fn batch_norm_and_its_gradients() {
    for (samples, channels, places) in [(5, 3, 70), (40, 17, 9), (33, 6, 1), (3, 2, 20_001)] {
        let len = samples * channels * places;
        let x = values(1, len, 2.0);
        let (w, b) = (values(2, channels, 1.0), values(3, channels, 1.0));
        let dy = values(4, len, 1.0);
        let eps = 1e-5;
        let all = on_any_pool(|| {
            let (mut out, mut dx) = (output(len), output(len));
            let [mut mean, mut variance, mut dw, mut db] = [0; 4].map(|_| output(channels));
            let (m, v) = (&mut mean, &mut variance);
            cpu::batch_norm(&x, channels, places, &w, &b, eps, &mut out, m, v);
            let rstd: Vec<f32> = variance.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
            cpu::batch_norm_backward(
                &x, &dy, channels, places, &w, &mean, &rstd, &mut dx, &mut dw, &mut db,
            );
            [out, mean, variance, dx, dw, db].concat()
        });
        let count = (samples * places) as f64;
        let (mut out, mut dx) = (vec![0.0; len], vec![0.0; len]);
        let [mut mean, mut variance, mut dw, mut db] = [0; 4].map(|_| vec![0.0; channels]);
        for channel in 0..channels {
            let at: Vec<usize> = (0..len)
                .filter(|i| i / places % channels == channel)
                .collect();
            let mean_of =
                |each: &dyn Fn(usize) -> f64| at.iter().map(|i| each(*i)).sum::<f64>() / count;
            let (x, dy) = (|i: usize| f64::from(x[i]), |i: usize| f64::from(dy[i]));
            let m = mean_of(&x);
            let v = mean_of(&|i| (x(i) - m).powi(2));
            let rstd = 1.0 / (v + f64::from(eps)).sqrt();
            let y = |i: usize| (x(i) - m) * rstd;
            let (g, g_y) = (mean_of(&dy), mean_of(&|i| dy(i) * y(i)));
            let w = f64::from(w[channel]);
            for i in at.iter().copied() {
                out[i] = y(i) * w + f64::from(b[channel]);
                dx[i] = w * rstd * (dy(i) - g - y(i) * g_y);
            }
            (mean[channel], variance[channel]) = (m, v);
            (dw[channel], db[channel]) = (g_y * count, g * count);
        }
        close(
            &all,
            &[out, mean, variance, dx, dw, db].concat(),
            1e-5,
            2e-5,
        );
    }
}

#[test]
fn rotary_turns_pairs_and_back() {
    let (batch, tokens, heads, head_dim, rotated) = (3, 17, 5, 22, 16);
    let positions: Vec<i64> = (0..batch * tokens)
        .map(|i| (i * 37 % 5000) as i64)
        .collect();
    let frequencies: Vec<f32> = (0..rotated / 2)
        .map(|i| 10_000_f32.powf(-2.0 * i as f32 / rotated as f32))
        .collect();
    let rows = batch * tokens;
    let (mut cos, mut sin) = (output(rows * rotated / 2), output(rows * rotated / 2));
    cpu::rotary_table(&positions, &frequencies, &mut cos, &mut sin);
    let width = heads * head_dim;
    // The heads are the second of three parts of a joint projection.
    let joint = values(9, rows * 3 * width, 1.0);
    let x = Heads::new(&joint[width..], [tokens * 3 * width, 3 * width, head_dim]);
    for interleaved in [false, true] {
        let shape = RotaryShape {
            batch,
            tokens,
            heads,
            head_dim,
            rotated,
            interleaved,
        };
        let out = on_any_pool(|| {
            let mut out = output(rows * width);
            cpu::rotary(&shape, x, &cos, &sin, &mut out);
            out
        });
        let mut expected = Vec::new();
        for row in 0..rows {
            for head in 0..heads {
                let x = wide(&joint[row * 3 * width + width + head * head_dim..][..head_dim]);
                let mut y = x.clone();
                for (i, frequency) in frequencies.iter().enumerate().take(rotated / 2) {
                    let (a, b) = if interleaved {
                        (2 * i, 2 * i + 1)
                    } else {
                        (i, i + rotated / 2)
                    };
                    let angle = f64::from(positions[row] as f32 * frequency);
                    y[a] = x[a] * angle.cos() - x[b] * angle.sin();
                    y[b] = x[b] * angle.cos() + x[a] * angle.sin();
                }
                expected.extend(y);
            }
        }
        close(&out, &expected, 1e-6, 1e-6);
        // The gradient of a rotation is the rotation back.
        let mut back = output(out.len());
        let turned = Heads::contiguous(&out, tokens, heads, head_dim);
        cpu::rotary_backward(&shape, turned, &cos, &sin, &mut back);
        let original: Vec<f64> = joint
            .chunks(3 * width)
            .flat_map(|row| wide(&row[width..2 * width]))
            .collect();
        close(&back, &original, 1e-6, 1e-6);
    }
}
