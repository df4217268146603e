//! Looking inside: the size of every gradient, of every weight and of what every layer gives.

use std::collections::BTreeMap;

use tenon_tensor::{DType, Tensor, nn::Activation, params::Params};

use super::scalars;
use crate::Result;

/// `gradients/NAME` and `weights/NAME`: root mean squares. Gradients are those of the step, before
/// clipping; weights are those that they were computed with. `scaled`: what the loss was multiplied by.
///
/// # Errors
/// As reading from the device.
pub(super) fn of_parameters(
    gradients: &[(String, Tensor)],
    scaled: f64,
    params: &Params,
) -> Result<BTreeMap<String, f64>> {
    let mut names = Vec::new();
    let mut values = Vec::new();
    for (name, gradient) in gradients {
        names.push(format!("gradients/{name}"));
        values.push(root_mean_square(gradient)?.mul_scalar(1.0 / scaled)?);
        if let Some(weight) = params.get(name) {
            names.push(format!("weights/{name}"));
            values.push(root_mean_square(&weight)?);
        }
    }
    let values = scalars::read(&values.iter().collect::<Vec<_>>())?;
    Ok(names.into_iter().zip(values).collect())
}

/// `activations/LAYER`: the root mean square of what the layer gives, and `activations_max/LAYER`: its
/// largest magnitude. A layer that was used several times counts with its largest.
///
/// # Errors
/// As reading from the device.
pub(super) fn of_layers(activations: &[Activation]) -> Result<BTreeMap<String, f64>> {
    let values: Vec<&Tensor> = activations
        .iter()
        .flat_map(|seen| [&seen.rms, &seen.largest])
        .collect();
    let values = scalars::read(&values)?;
    let mut found: BTreeMap<String, f64> = BTreeMap::new();
    for (seen, pair) in activations.iter().zip(values.chunks_exact(2)) {
        for (kind, value) in ["activations", "activations_max"].iter().zip(pair) {
            let known = found
                .entry(format!("{kind}/{}", seen.layer))
                .or_insert(*value);
            *known = known.max(*value);
        }
    }
    Ok(found)
}

fn root_mean_square(tensor: &Tensor) -> Result<Tensor> {
    let wide = tensor.detach()?.cast(DType::F32)?;
    Ok(wide.mul(&wide)?.mean(&[], false)?.sqrt()?)
}

/// The most memory that the process has had, in bytes, where the system says it.
pub(super) fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}
