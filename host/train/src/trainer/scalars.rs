//! Numbers that come from the device.

use tenon_tensor::{DType, Tensor};

use crate::Result;

/// Reads tensors of one number each, all in one go: a device is waited for once.
pub(super) fn read(scalars: &[&Tensor]) -> Result<Vec<f64>> {
    if scalars.len() < 2 || scalars.iter().all(|scalar| scalar.device().is_cpu()) {
        return scalars.iter().map(|scalar| Ok(scalar.item()?)).collect();
    }
    let columns: Vec<Tensor> = scalars
        .iter()
        .map(|scalar| Ok(scalar.cast(DType::F32)?.reshape(&[1])?))
        .collect::<Result<_>>()?;
    let columns: Vec<&Tensor> = columns.iter().collect();
    let numbers = Tensor::cat(&columns, 0)?.to_f32_vec()?;
    Ok(numbers.into_iter().map(f64::from).collect())
}
