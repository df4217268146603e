//! Layer norm and RMS norm over the last dimension.

use super::{
    par,
    simd::{dot, simd_fn, sum_of, sum_of2},
};

/// Rows whose weight gradients are summed by one task, whatever the number of threads.
fn fixed_rows(rows: usize, cols: usize) -> usize {
    // Few enough parts that adding them up costs little.
    (par::FIXED / cols.max(1)).max(rows.div_ceil(64)).max(1)
}

simd_fn! {
    fn layer_row(
        x: &[f32],
        weight: Option<&[f32]>,
        bias: Option<&[f32]>,
        eps: f32,
        out: &mut [f32]
    ) -> (f32, f32) {
        let scale = 1.0 / x.len() as f32;
        let mean = sum_of(x, |x| x) * scale;
        // Two passes: the mean of squares would cancel.
        let variance = sum_of(x, |x| (x - mean) * (x - mean)) * scale;
        let rstd = 1.0 / (variance + eps).sqrt();
        match (weight, bias) {
            (Some(weight), Some(bias)) => {
                let parameters = weight.iter().zip(bias);
                for ((out, x), (w, b)) in out.iter_mut().zip(x).zip(parameters) {
                    *out = ((x - mean) * rstd).mul_add(*w, *b);
                }
            }
            (Some(weight), None) => {
                for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                    *out = (x - mean) * rstd * w;
                }
            }
            (None, bias) => {
                for (out, x) in out.iter_mut().zip(x) {
                    *out = (x - mean) * rstd;
                }
                for (out, b) in out.iter_mut().zip(bias.unwrap_or(&[])) {
                    *out += b;
                }
            }
        }
        (mean, rstd)
    }
}

/// (x − mean)·rstd·weight + bias over the last dimension of x [rows, cols]; weight and bias [cols].
/// `mean` and `rstd` [rows] are kept for the backward pass.
#[allow(clippy::too_many_arguments)]
pub fn layer_norm(
    x: &[f32],
    cols: usize,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    assert!(x.len() == out.len() && x.len() == mean.len() * cols && mean.len() == rstd.len());
    assert!(weight.is_none_or(|w| w.len() == cols) && bias.is_none_or(|b| b.len() == cols));
    let rows = par::rows_grain(mean.len(), cols, 3);
    par::chunks3(
        (out, rows * cols),
        (mean, rows),
        (rstd, rows),
        |i, out, mean, rstd| {
            let x = &x[i * rows * cols..];
            for (row, out) in out.chunks_exact_mut(cols).enumerate() {
                let x = &x[row * cols..][..cols];
                (mean[row], rstd[row]) = layer_row(x, weight, bias, eps, out);
            }
        },
    );
}

simd_fn! {
    /// One row's dx; adds to the gradients of weight and bias.
    fn layer_row_backward(
        x: &[f32],
        dy: &[f32],
        weight: Option<&[f32]>,
        mean: f32,
        rstd: f32,
        dx: &mut [f32],
        dweight: &mut [f32],
        dbias: &mut [f32]
    ) {
        // With y the normalised row and g = dy·weight: dx = rstd·(g − mean(g) − y·mean(g·y)).
        let scale = 1.0 / x.len() as f32;
        match weight {
            Some(weight) => {
                for (dx, (dy, w)) in dx.iter_mut().zip(dy.iter().zip(weight)) {
                    *dx = dy * w;
                }
            }
            None => dx.copy_from_slice(dy),
        }
        let g_mean = sum_of(dx, |g| g) * scale;
        let g_y = sum_of2(dx, x, |sum, g, x| g.mul_add(x - mean, sum)) * rstd * scale;
        let slope = -g_y * rstd;
        for (dx, x) in dx.iter_mut().zip(x) {
            *dx = rstd * (slope.mul_add(x - mean, *dx) - g_mean);
        }
        for (dweight, (x, dy)) in dweight.iter_mut().zip(x.iter().zip(dy)) {
            *dweight = ((x - mean) * rstd).mul_add(*dy, *dweight);
        }
        for (dbias, dy) in dbias.iter_mut().zip(dy) {
            *dbias += dy;
        }
    }
}

/// The gradients of [`layer_norm`]: dx [rows, cols], and dweight and dbias [cols] where wanted.
#[allow(clippy::too_many_arguments)]
pub fn layer_norm_backward(
    x: &[f32],
    dy: &[f32],
    cols: usize,
    weight: Option<&[f32]>,
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    dweight: Option<&mut [f32]>,
    dbias: Option<&mut [f32]>,
) {
    assert!(x.len() == dx.len() && dy.len() == dx.len());
    assert!(x.len() == mean.len() * cols && mean.len() == rstd.len());
    let (has_weight, has_bias) = (dweight.is_some(), dbias.is_some());
    by_parts(cols, dx, dweight, dbias, |at, dx, dweight, dbias| {
        let dweight = if has_weight { dweight } else { &mut [] };
        let dbias = if has_bias { dbias } else { &mut [] };
        for (row, dx) in dx.chunks_exact_mut(cols).enumerate() {
            let row = at + row;
            let range = row * cols..(row + 1) * cols;
            let (x, dy) = (&x[range.clone()], &dy[range]);
            layer_row_backward(x, dy, weight, mean[row], rstd[row], dx, dweight, dbias);
        }
    });
}

/// Runs `each(first row, dx, dweight, dbias)` over parts of dx with partial sums of their own, which
/// are then added in order.
fn by_parts(
    cols: usize,
    dx: &mut [f32],
    dweight: Option<&mut [f32]>,
    dbias: Option<&mut [f32]>,
    each: impl Fn(usize, &mut [f32], &mut [f32], &mut [f32]) + Sync + Send,
) {
    let cols = cols.max(1);
    let rows = fixed_rows(dx.len() / cols, cols);
    let parts = dx.len().div_ceil(rows * cols);
    let mut partial = vec![0.0_f32; parts * 2 * cols];
    par::chunks2(
        (dx, rows * cols),
        (&mut partial, 2 * cols),
        |i, dx, partial| {
            let (dweight, dbias) = partial.split_at_mut(cols);
            each(i * rows, dx, dweight, dbias);
        },
    );
    for (which, out) in [dweight, dbias].into_iter().enumerate() {
        let Some(out) = out else { continue };
        assert_eq!(out.len(), cols);
        out.fill(0.0);
        for part in partial.chunks_exact(2 * cols) {
            let part = &part[which * cols..][..cols];
            out.iter_mut()
                .zip(part)
                .for_each(|(out, part)| *out += part);
        }
    }
}

/// x·rstd·weight with rstd = 1/√(mean(x²) + eps), over the last dimension of x [rows, cols]. `rstd`
/// [rows] is kept for the backward pass.
pub fn rms_norm(
    x: &[f32],
    cols: usize,
    weight: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
    rstd: &mut [f32],
) {
    simd_fn! {
        fn row(x: &[f32], weight: Option<&[f32]>, eps: f32, out: &mut [f32]) -> f32 {
            let rstd = 1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt();
            match weight {
                Some(weight) => {
                    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                        *out = x * rstd * w;
                    }
                }
                None => {
                    for (out, x) in out.iter_mut().zip(x) {
                        *out = x * rstd;
                    }
                }
            }
            rstd
        }
    }
    assert!(x.len() == out.len() && x.len() == rstd.len() * cols);
    assert!(weight.is_none_or(|w| w.len() == cols));
    let rows = par::rows_grain(rstd.len(), cols, 2);
    par::chunks2((out, rows * cols), (rstd, rows), |i, out, rstd| {
        let x = &x[i * rows * cols..];
        for (at, out) in out.chunks_exact_mut(cols).enumerate() {
            rstd[at] = row(&x[at * cols..][..cols], weight, eps, out);
        }
    });
}

/// The gradients of [`rms_norm`]: dx [rows, cols], and dweight [cols] where wanted.
#[allow(clippy::too_many_arguments)]
pub fn rms_norm_backward(
    x: &[f32],
    dy: &[f32],
    cols: usize,
    weight: Option<&[f32]>,
    rstd: &[f32],
    dx: &mut [f32],
    dweight: Option<&mut [f32]>,
) {
    simd_fn! {
        fn backward(
            x: &[f32],
            dy: &[f32],
            weight: Option<&[f32]>,
            rstd: f32,
            dx: &mut [f32],
            dweight: &mut [f32]
        ) {
            // With g = dy·weight: dx = rstd·(g − x·rstd²·mean(g·x)).
            match weight {
                Some(weight) => {
                    for (dx, (dy, w)) in dx.iter_mut().zip(dy.iter().zip(weight)) {
                        *dx = dy * w;
                    }
                }
                None => dx.copy_from_slice(dy),
            }
            let slope = -dot(dx, x) / x.len() as f32 * rstd * rstd;
            for (dx, x) in dx.iter_mut().zip(x) {
                *dx = rstd * slope.mul_add(*x, *dx);
            }
            for (dweight, (x, dy)) in dweight.iter_mut().zip(x.iter().zip(dy)) {
                *dweight = (x * rstd).mul_add(*dy, *dweight);
            }
        }
    }
    assert!(x.len() == dx.len() && dy.len() == dx.len() && x.len() == rstd.len() * cols);
    let has_weight = dweight.is_some();
    by_parts(cols, dx, dweight, None, |at, dx, dweight, _| {
        let dweight = if has_weight { dweight } else { &mut [] };
        for (row, dx) in dx.chunks_exact_mut(cols).enumerate() {
            let row = at + row;
            let range = row * cols..(row + 1) * cols;
            backward(
                &x[range.clone()],
                &dy[range],
                weight,
                rstd[row],
                dx,
                dweight,
            );
        }
    });
}
