//! From inputs to outputs.

use super::{Conv2d, Share, windows::Windows};
use crate::{
    cpu::{
        gemm::{Matrix, Operand, general},
        par,
    },
    recycled::Buffer,
};

/// out [batch, outputs, out height, out width]; bias [outputs].
pub fn conv2d(conv: &Conv2d, x: &[f32], weight: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
    conv.check(x.len(), weight.len(), out.len());
    let window = conv.window();
    apply(
        conv,
        x,
        |group| Matrix::rows(&weight[group * conv.outer() * window..], window),
        bias,
        out,
    );
}

/// The products of each group's weight [outer, window] with the windows of x, and the bias.
pub(super) fn apply<'w, W: Operand + 'w>(
    conv: &Conv2d,
    x: &[f32],
    weight: impl Fn(usize) -> W + Sync + Send,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    if out.is_empty() {
        return;
    }
    let (places, window) = (conv.places(), conv.window());
    let (outer, groups) = (conv.outer(), conv.groups);
    let share = Share::new(conv);
    let windows = Windows::new(conv, x, share.samples);
    let task = |at: usize, out: &mut [f32]| {
        let (first, group) = (
            at / (groups * outer * places),
            at / (outer * places) % groups,
        );
        let samples = out.len() / (outer * places);
        let columns = samples * places;
        let windows = windows.table(first, samples, group);
        let weight = weight(group);
        let bias = bias.map(|bias| &bias[group * outer..][..outer]);
        if samples == 1 {
            let beta = start(out, places, bias);
            general(
                outer,
                places,
                window,
                weight,
                windows,
                beta,
                out,
                places,
                share.products,
            );
            return;
        }
        // Columns of all samples next to each other, which then go to theirs.
        let mut sums = Buffer::take(outer * columns);
        let beta = start(&mut sums, columns, bias);
        general(
            outer,
            columns,
            window,
            weight,
            windows,
            beta,
            &mut sums,
            columns,
            share.products,
        );
        let from = |sample: usize, output: usize| &sums[output * columns + sample * places..];
        par::chunks(out, outer * places, |at, out| {
            for (output, out) in out.chunks_exact_mut(places).enumerate() {
                out.copy_from_slice(&from(at / (outer * places), output)[..places]);
            }
        });
    };
    let chunk = share.samples * outer * places;
    if share.products {
        for (i, out) in out.chunks_mut(chunk).enumerate() {
            task(i * chunk, out);
        }
    } else {
        par::chunks(out, chunk, task);
    }
}

/// Fills rows with their bias; gives the factor of what they hold.
fn start(out: &mut [f32], cols: usize, bias: Option<&[f32]>) -> f32 {
    let Some(bias) = bias else { return 0.0 };
    let rows = out.chunks_exact_mut(cols);
    rows.zip(bias).for_each(|(out, bias)| out.fill(*bias));
    1.0
}
