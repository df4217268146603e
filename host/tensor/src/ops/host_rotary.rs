//! Rotation of float32 in main memory.

use super::{RotaryStyle, common::host};
use crate::{
    Tensor, TensorError,
    cpu::{self, RotaryShape},
    dims::Dims,
    raw,
    tape::{again, record_again},
};

/// Nothing where there is no kernel for it.
pub(super) fn rotary(
    x: &Tensor,
    positions: &Tensor,
    frequencies: &Tensor,
    style: RotaryStyle,
) -> Result<Option<Tensor>, TensorError> {
    let &[batch, tokens, heads, head_dim] = x.shape() else {
        return Ok(None);
    };
    if !raw::is_host_f32(x) {
        return Ok(None);
    }
    let given = frequencies;
    let frequencies = raw::f32s(given)?;
    let half = frequencies.len();
    let shape = RotaryShape {
        batch,
        tokens,
        heads,
        head_dim,
        rotated: 2 * half,
        interleaved: style == RotaryStyle::Interleaved,
    };
    let rows = batch * tokens;
    let (mut cos, mut sin) = (vec![0.0; rows * half], vec![0.0; rows * half]);
    cpu::rotary_table(&raw::integers(positions)?, &frequencies, &mut cos, &mut sin);
    let run = move |x: &Tensor, cos: &[f32], sin: &[f32], back: bool| {
        let view = raw::heads(x)?;
        let x = view.view();
        let dims = [batch, tokens, heads, head_dim];
        let dims = Dims::from_slice(&dims).unwrap_or(Dims::new());
        Ok::<_, TensorError>(host(dims, |out| match back {
            false => cpu::rotary(&shape, x, cos, sin, out),
            true => cpu::rotary_backward(&shape, x, cos, sin, out),
        }))
    };
    let out = run(x, &cos, &sin, false)?;
    let vector = |values: Vec<f32>| {
        let dims = Dims::from_slice(&[rows, half]).unwrap_or(Dims::new());
        raw::from_vec(&dims, values)
    };
    let saved = |_: &Tensor| vec![vector(cos), vector(sin)];
    record_again(
        "rotary",
        out,
        &[x],
        saved,
        move |context| {
            let (cos, sin) = (raw::f32s(&context.saved[0])?, raw::f32s(&context.saved[1])?);
            Ok(vec![Some(run(&context.grad, &cos, &sin, true)?)])
        },
        || {
            again(&[positions, given], move |x, others| {
                x[0].rotary(&others[0], &others[1], style)
            })
        },
    )
    .map(Some)
}
