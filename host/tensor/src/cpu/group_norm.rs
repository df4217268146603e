//! Group norm: statistics over groups of channels and all places.

use super::{
    par,
    simd::{simd_fn, sum_of, sum_of2},
};

simd_fn! {
    fn mean_of(x: &[f32]) -> f32 {
        sum_of(x, |x| x) / x.len() as f32
    }
}

simd_fn! {
    fn variance_of(x: &[f32], mean: f32) -> f32 {
        sum_of(x, |x| (x - mean) * (x - mean)) / x.len() as f32
    }
}

simd_fn! {
    /// out = x · scale + shift.
    pub(super) fn scale_shift(x: &[f32], scale: f32, shift: f32, out: &mut [f32]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = x.mul_add(scale, shift);
        }
    }
}

/// (x − mean)·rstd·weight + bias for x [n, channels, places]; the statistics are over
/// channels/groups · places elements. weight and bias [channels]; `mean` and `rstd` [n, groups] are
/// kept for the backward pass.
#[allow(clippy::too_many_arguments)]
pub fn group_norm(
    x: &[f32],
    channels: usize,
    places: usize,
    groups: usize,
    weight: Option<&[f32]>,
    bias: Option<&[f32]>,
    eps: f32,
    out: &mut [f32],
    mean: &mut [f32],
    rstd: &mut [f32],
) {
    let inner = channels / groups;
    let size = inner * places;
    assert!(x.len() == out.len() && x.len() == mean.len() * size && mean.len() == rstd.len());
    let rows = par::rows_grain(mean.len(), size, 3);
    par::chunks3(
        (out, rows * size),
        (mean, rows),
        (rstd, rows),
        |i, out, mean, rstd| {
            for (row, out) in out.chunks_exact_mut(size).enumerate() {
                let x = &x[(i * rows + row) * size..][..size];
                let m = mean_of(x);
                let r = 1.0 / (variance_of(x, m) + eps).sqrt();
                (mean[row], rstd[row]) = (m, r);
                let first = (i * rows + row) % groups * inner;
                let planes = x.chunks_exact(places).zip(out.chunks_exact_mut(places));
                for (channel, (x, out)) in planes.enumerate() {
                    let scale = r * weight.map_or(1.0, |w| w[first + channel]);
                    let shift = bias.map_or(0.0, |b| b[first + channel]);
                    scale_shift(x, scale, (-m).mul_add(scale, shift), out);
                }
            }
        },
    );
}

simd_fn! {
    /// Σ dy and Σ dy·(x − mean) of one plane.
    pub(super) fn moments(x: &[f32], dy: &[f32], mean: f32) -> (f32, f32) {
        (
            sum_of(dy, |dy| dy),
            sum_of2(dy, x, |sum, dy, x| dy.mul_add(x - mean, sum)),
        )
    }
}

simd_fn! {
    /// dx = dy · scale + x · slope + shift.
    pub(super) fn combine(
        x: &[f32],
        dy: &[f32],
        scale: f32,
        slope: f32,
        shift: f32,
        dx: &mut [f32],
    ) {
        for (dx, (x, dy)) in dx.iter_mut().zip(x.iter().zip(dy)) {
            *dx = dy.mul_add(scale, x.mul_add(slope, shift));
        }
    }
}

/// The gradients of [`group_norm`]: dx, and dweight and dbias [channels] where wanted.
#[allow(clippy::too_many_arguments)]
pub fn group_norm_backward(
    x: &[f32],
    dy: &[f32],
    channels: usize,
    places: usize,
    groups: usize,
    weight: Option<&[f32]>,
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    dweight: Option<&mut [f32]>,
    dbias: Option<&mut [f32]>,
) {
    let inner = channels / groups;
    let size = inner * places;
    assert!(x.len() == dx.len() && dy.len() == dx.len() && x.len() == mean.len() * size);
    // Σ dy and Σ dy·(x − mean)·rstd of each plane [n, channels].
    let mut planes = vec![[0.0_f32; 2]; mean.len() * inner];
    let rows = par::rows_grain(mean.len(), size, 4);
    par::chunks2(
        (dx, rows * size),
        (&mut planes, rows * inner),
        |i, dx, planes| {
            for (row, dx) in dx.chunks_exact_mut(size).enumerate() {
                let group = i * rows + row;
                let (m, r) = (mean[group], rstd[group]);
                let (x, dy) = (&x[group * size..][..size], &dy[group * size..][..size]);
                let first = group % groups * inner;
                let weight = |channel: usize| weight.map_or(1.0, |w| w[first + channel]);
                let (mut g, mut g_y) = (0.0_f32, 0.0_f32);
                for channel in 0..inner {
                    let range = channel * places..(channel + 1) * places;
                    let (sum, moment) = moments(&x[range.clone()], &dy[range], m);
                    planes[row * inner + channel] = [sum, moment * r];
                    g += weight(channel) * sum;
                    g_y += weight(channel) * moment * r;
                }
                let (g, g_y) = (g / size as f32, g_y / size as f32);
                // dx = rstd·(dy·w − g − y·g_y) with y = (x − mean)·rstd.
                let slope = -r * r * g_y;
                let shift = -m * slope - r * g;
                for (channel, dx) in dx.chunks_exact_mut(places).enumerate() {
                    let range = channel * places..(channel + 1) * places;
                    combine(
                        &x[range.clone()],
                        &dy[range],
                        r * weight(channel),
                        slope,
                        shift,
                        dx,
                    );
                }
            }
        },
    );
    for (which, out) in [(1, dweight), (0, dbias)] {
        let Some(out) = out else { continue };
        assert_eq!(out.len(), channels);
        out.fill(0.0);
        for sample in planes.chunks_exact(channels.max(1)) {
            out.iter_mut()
                .zip(sample)
                .for_each(|(out, plane)| *out += plane[which]);
        }
    }
}
