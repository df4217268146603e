//! Batch norm: statistics of each channel over samples and places.

use super::{
    group_norm::{combine, moments, scale_shift},
    par,
    simd::{simd_fn, sum_of},
};

simd_fn! {
    fn sum_part(x: &[f32]) -> f32 {
        sum_of(x, |x| x)
    }
}

simd_fn! {
    fn square_part(x: &[f32], mean: f32) -> f32 {
        sum_of(x, |x| (x - mean) * (x - mean))
    }
}

/// The planes of one channel in x [n, channels, places].
fn planes(
    x: &[f32],
    channels: usize,
    places: usize,
    channel: usize,
) -> impl Iterator<Item = &[f32]> + Clone {
    let samples = x.chunks_exact(channels * places);
    samples.map(move |sample| &sample[channel * places..][..places])
}

/// (x − mean) / √(variance + eps) · weight + bias for x [n, channels, places], with the mean and the
/// biased variance of each channel, which are kept. weight, bias, mean and variance [channels].
#[allow(clippy::too_many_arguments)]
pub fn batch_norm(
    x: &[f32],
    channels: usize,
    places: usize,
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
    mean: &mut [f32],
    variance: &mut [f32],
) {
    let size = channels * places;
    assert!(size > 0 && x.len() == out.len() && x.len().is_multiple_of(size));
    assert!([weight.len(), bias.len(), mean.len(), variance.len()] == [channels; 4]);
    let count = (x.len() / channels) as f64;
    let grain = par::rows_grain(channels, x.len() / channels, 2);
    par::chunks2((mean, grain), (variance, grain), |i, mean, variance| {
        for (at, (mean, variance)) in mean.iter_mut().zip(variance).enumerate() {
            let planes = planes(x, channels, places, i * grain + at);
            let sum: f64 = planes.clone().map(|x| f64::from(sum_part(x))).sum();
            *mean = (sum / count) as f32;
            let sum: f64 = planes.map(|x| f64::from(square_part(x, *mean))).sum();
            *variance = (sum / count) as f32;
        }
    });
    let (mean, variance) = (&*mean, &*variance);
    let grain = par::rows_grain(x.len() / places, places, 1);
    par::chunks(out, grain * places, |at, out| {
        let planes = x[at..].chunks_exact(places);
        for (plane, (x, out)) in planes.zip(out.chunks_exact_mut(places)).enumerate() {
            let channel = (at / places + plane) % channels;
            let scale = weight[channel] / (variance[channel] + eps).sqrt();
            let shift = (-mean[channel]).mul_add(scale, bias[channel]);
            scale_shift(x, scale, shift, out);
        }
    });
}

/// The gradients of [`batch_norm`], from the mean and `rstd` = 1/√(variance + eps): dx, and dweight
/// and dbias [channels].
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_backward(
    x: &[f32],
    dy: &[f32],
    channels: usize,
    places: usize,
    weight: &[f32],
    mean: &[f32],
    rstd: &[f32],
    dx: &mut [f32],
    dweight: &mut [f32],
    dbias: &mut [f32],
) {
    let size = channels * places;
    assert!(size > 0 && x.len() == dx.len() && dy.len() == dx.len());
    assert!(x.len().is_multiple_of(size));
    assert!([weight.len(), mean.len(), rstd.len()] == [channels; 3]);
    assert!([dweight.len(), dbias.len()] == [channels; 2]);
    let count = (x.len() / channels) as f32;
    let grain = par::rows_grain(channels, x.len() / channels, 3);
    par::chunks2((dweight, grain), (dbias, grain), |i, dweight, dbias| {
        for (at, (dweight, dbias)) in dweight.iter_mut().zip(dbias).enumerate() {
            let channel = i * grain + at;
            let (mut sum, mut moment) = (0.0_f64, 0.0_f64);
            let x = planes(x, channels, places, channel);
            for (x, dy) in x.zip(planes(dy, channels, places, channel)) {
                let (plane_sum, plane_moment) = moments(x, dy, mean[channel]);
                sum += f64::from(plane_sum);
                moment += f64::from(plane_moment);
            }
            *dbias = sum as f32;
            *dweight = moment as f32 * rstd[channel];
        }
    });
    let (dweight, dbias) = (&*dweight, &*dbias);
    let grain = par::rows_grain(x.len() / places, places, 2);
    par::chunks(dx, grain * places, |at, dx| {
        let planes = x[at..]
            .chunks_exact(places)
            .zip(dy[at..].chunks_exact(places));
        for (plane, ((x, dy), dx)) in planes.zip(dx.chunks_exact_mut(places)).enumerate() {
            let channel = (at / places + plane) % channels;
            // dx = w·rstd·(dy − mean(dy) − y·mean(dy·y)) with y = (x − mean)·rstd.
            let scale = weight[channel] * rstd[channel];
            let slope = -scale * rstd[channel] * dweight[channel] / count;
            let shift = -mean[channel] * slope - scale * dbias[channel] / count;
            combine(x, dy, scale, slope, shift, dx);
        }
    });
}
