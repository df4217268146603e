//! Dropout whose mask is a function of a key.

use tenon_gpu::kernels::Dropout;

use super::common::host_unary;
use crate::{
    DType, Tensor, TensorError, cpu, gpu, raw, rng,
    tape::{again, record_again},
};

impl Tensor {
    /// Zeroes elements with probability `p` and scales the others by 1/(1 − p). The mask follows
    /// from `key` alone (the n-th element uses `rng::uniform_at(key, n)`), whatever the device.
    ///
    /// # Errors
    /// `InvalidArgument` unless the tensor is floating-point and 0 ≤ p < 1.
    pub fn dropout(&self, p: f32, key: u64) -> Result<Tensor, TensorError> {
        self.need_float("dropout")?;
        if !(0.0..1.0).contains(&p) {
            return Err(TensorError::InvalidArgument(format!(
                "dropout: the probability is {p}, but must be at least 0 and below 1"
            )));
        }
        if p == 0.0 {
            return Ok(self.clone());
        }
        if raw::is_host_f32(self) {
            let out = host_unary(self, |x, out| cpu::dropout(x, p, key, out))?;
            return record_again(
                "dropout",
                out,
                &[self],
                |_| Vec::new(),
                move |context| {
                    let kernel = |dy: &[f32], dx: &mut [f32]| cpu::dropout_backward(dy, p, key, dx);
                    Ok(vec![Some(host_unary(&context.grad, kernel)?)])
                },
                || again(&[], move |x, _| x[0].dropout(p, key)),
            );
        }
        if gpu::has_floats(self) && u32::try_from(self.numel()).is_ok() {
            let run = move |x: &Tensor, dtype: DType| {
                gpu::in_type(dtype, "dropout", &[x], |dtype| Dropout { p, key, dtype })
            };
            let out = run(self, self.dtype())?;
            return record_again(
                "dropout",
                out,
                &[self],
                |_| Vec::new(),
                move |context| Ok(vec![Some(run(&context.grad, context.taken(0))?)]),
                || again(&[], move |x, _| x[0].dropout(p, key)),
            );
        }
        let factors = factors(self, p, key)?;
        let out = self.detach()?.mul(&factors)?;
        record_again(
            "dropout",
            out,
            &[self],
            |_| vec![factors],
            |context| Ok(vec![Some(context.grad.mul(&context.saved[0])?)]),
            || again(&[], move |x, _| x[0].dropout(p, key)),
        )
    }
}

/// 0 or 1/(1 − p) for each element.
fn factors(x: &Tensor, p: f32, key: u64) -> Result<Tensor, TensorError> {
    let kept: Vec<u8> = (0..x.numel() as u64)
        .map(|i| u8::from(rng::uniform_at(key, i) >= p))
        .collect();
    Tensor::from_bytes(x.shape(), DType::Bool, &kept, &x.device())?
        .cast(x.dtype())?
        .mul_scalar(1.0 / (1.0 - f64::from(p)))
}
