//! What trains on a device is what would train on the processor: optimisers, the norm of gradients, and a
//! whole model with dropout.

use tenon_tensor::{
    DType, Device, Reduction, Tape, Tensor, TensorError,
    nn::{AttentionOptions, Pass, Scope, SequenceInfo, Stage},
    optim::{Adafactor, AdamW, Lion, Optimizer, OptimizerConfig, Sgd, grad_norm},
    params::Params,
    rng,
};

use super::gpt::Gpt;

/// Parameters of every kind of shape, and enough elements for more than one cube.
const SHAPES: [(&str, &[usize]); 4] = [
    ("matrix", &[37, 129]),
    ("vector", &[7]),
    ("cube", &[3, 5, 2]),
    ("one", &[1, 1]),
];

fn configs() -> Vec<OptimizerConfig> {
    let sgd = |momentum: f64, dampening: f64, nesterov: bool| {
        OptimizerConfig::Sgd(Sgd {
            momentum,
            dampening,
            nesterov,
            weight_decay: 0.01,
            ..Sgd::default()
        })
    };
    vec![
        OptimizerConfig::Adamw(AdamW::default()),
        OptimizerConfig::Lion(Lion::default()),
        OptimizerConfig::Adafactor(Adafactor::default()),
        sgd(0.0, 0.0, false),
        sgd(0.9, 0.1, false),
        sgd(0.9, 0.0, true),
    ]
}

fn values(key: u64, shape: &[usize], device: &Device) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    rng::fill_normal(key, &mut values);
    Tensor::from_f32(shape, &values, device).unwrap()
}

/// The parameters after three steps, and the norm of the last gradients.
fn stepped(config: OptimizerConfig, device: &Device) -> (Vec<Vec<f32>>, f64) {
    let params = Params::new(device, 0);
    for (key, (name, shape)) in SHAPES.iter().enumerate() {
        params.set(name, values(key as u64, shape, device)).unwrap();
    }
    let mut optimizer = Optimizer::new(config).unwrap();
    let mut norm = 0.0;
    for step in 1..4 {
        let gradients: Vec<(String, Tensor)> = SHAPES
            .iter()
            .enumerate()
            .map(|(key, (name, shape))| {
                let values = values(100 * step + key as u64, shape, device);
                ((*name).to_owned(), values)
            })
            .collect();
        norm = grad_norm(&gradients).unwrap();
        let scaled = optimizer.step_scaled(&params, &gradients, 0.5, 0.01, &[]);
        scaled.unwrap();
    }
    let read = |(name, _): &(&str, &[usize])| params.get(name).unwrap().to_f32_vec().unwrap();
    (SHAPES.iter().map(read).collect(), norm)
}

pub fn optimisers(device: &Device) {
    for config in configs() {
        let (expected, expected_norm) = stepped(config, &Device::cpu());
        let (found, norm) = stepped(config, device);
        assert!(
            (norm - expected_norm).abs() < 1e-4 * expected_norm,
            "{norm}"
        );
        for ((name, _), (found, expected)) in SHAPES.iter().zip(found.iter().zip(&expected)) {
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                assert!(
                    (found - expected).abs() < 1e-5,
                    "{config:?}: `{name}` at {index} is {found}, not {expected}"
                );
            }
        }
    }
}

const MODEL: Gpt = Gpt {
    vocabulary: 32,
    positions: 32,
    layers: 1,
    heads: 4,
    dim: 32,
    dropout: 0.1,
};

/// The loss and the gradients of a batch. Few sizes: products are timed for each of them.
fn gradients(
    device: &Device,
    reduced: Option<DType>,
    recompute: bool,
) -> (f64, Vec<(String, Vec<f32>)>) {
    let (batch, tokens) = (4, 8);
    let ids = |key: u64| -> Tensor {
        let ids: Vec<i64> = (0..batch * tokens)
            .map(|i| (rng::bits_at(rng::derive(3, key), i as u64) % 32) as i64)
            .collect();
        Tensor::from_i64(&[batch, tokens], &ids, device).unwrap()
    };
    let params = Params::new(device, 0);
    let tape = Tape::new();
    tape.autocast(reduced);
    tape.recompute(recompute);
    let scope = Scope::root(&params, Some(&tape));
    let inputs = vec![SequenceInfo::full("ids", batch, tokens)];
    let pass = Pass::new(Stage::Train, inputs, 5, device).unwrap();
    let logits = MODEL.forward(&scope, &pass, &ids(0)).unwrap();
    let loss = MODEL.loss(&logits, &ids(1)).unwrap();
    let value = loss.item().unwrap();
    let mut gradients = tape.backward(&loss).unwrap();
    let read = |(name, gradient): (String, Tensor)| (name, gradient.to_f32_vec().unwrap());
    (
        value,
        scope
            .gradients(&mut gradients)
            .into_iter()
            .map(read)
            .collect(),
    )
}

pub fn model(device: &Device) {
    let mut kinds = vec![(None, 1e-4)];
    for dtype in [DType::BF16, DType::F16] {
        let possible = Tensor::zeros(&[1], dtype, device).is_ok();
        kinds.extend(possible.then_some((Some(dtype), 0.05)));
    }
    for (reduced, tolerance) in kinds {
        let (expected_loss, expected) = gradients(&Device::cpu(), None, false);
        let (loss, found) = gradients(device, reduced, false);
        // Computed again they are the same bits: a device does the same twice.
        assert_eq!(gradients(device, reduced, true), (loss, found.clone()));
        assert!(
            (loss - expected_loss).abs() < tolerance,
            "{reduced:?}: {loss}"
        );
        assert_eq!(found.len(), expected.len());
        for ((name, found), (same, expected)) in found.iter().zip(&expected) {
            assert_eq!(name, same);
            let length = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>().sqrt();
            let apart: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
            assert!(
                length(&apart) <= tolerance as f32 * (length(expected) + 1e-3),
                "{reduced:?}: the gradient of `{name}` is off by {} of {}",
                length(&apart),
                length(expected)
            );
        }
    }
}

/// The gradient of an embedding with more ids than a cube has units, of which many are the same: whole numbers,
/// so that every order of adding them up gives the same.
pub fn embedding(device: &Device) {
    for (count, places, width) in [(37, 1000, 300), (5000, 700, 3), (3, 260, 257)] {
        // Most ids are few, and the first is everywhere.
        let id = |place: usize| match place % 3 {
            0 => 0,
            _ => (rng::bits_at(9, place as u64) % count as u64) as usize,
        };
        let ids: Vec<i64> = (0..places).map(|place| id(place) as i64).collect();
        let slope = |place: usize, col: usize| ((place * 7 + col * 3) % 11) as f32 - 5.0;
        let mut expected = vec![0.0; count * width];
        let mut slopes = Vec::with_capacity(places * width);
        for place in 0..places {
            for col in 0..width {
                slopes.push(slope(place, col));
                expected[id(place) * width + col] += slope(place, col);
            }
        }
        let tape = Tape::new();
        let weight = Tensor::zeros(&[count, width], DType::F32, device).unwrap();
        let weight = tape.leaf(&weight).unwrap();
        let ids = Tensor::from_i64(&[places], &ids, device).unwrap();
        let slopes = Tensor::from_f32(&[places, width], &slopes, device).unwrap();
        let rows = weight.embedding(&ids).unwrap();
        let loss = rows.mul(&slopes).unwrap().sum(&[], false).unwrap();
        let gradient = tape.backward(&loss).unwrap().take(&weight).unwrap();
        assert!(
            gradient.to_f32_vec().unwrap() == expected,
            "{count} rows, {places} places of {width}"
        );
    }
}

/// The gradient of a bias over more rows than are added up one after the other.
pub fn bias(device: &Device) {
    for (rows, inputs, outputs) in [(65, 3, 130), (300, 2, 5), (1000, 1, 257)] {
        let tape = Tape::new();
        let x = Tensor::ones(&[rows, inputs], DType::F32, device).unwrap();
        let weight = Tensor::ones(&[outputs, inputs], DType::F32, device).unwrap();
        let bias = Tensor::zeros(&[outputs], DType::F32, device).unwrap();
        let bias = tape.leaf(&bias).unwrap();
        let slope = |row: usize, col: usize| ((row * 5 + col * 3) % 7) as f32 - 3.0;
        let slopes = (0..rows * outputs).map(|index| slope(index / outputs, index % outputs));
        let slopes: Vec<f32> = slopes.collect();
        let expected: Vec<f32> = (0..outputs)
            .map(|col| (0..rows).map(|row| slope(row, col)).sum())
            .collect();
        let slopes = Tensor::from_f32(&[rows, outputs], &slopes, device).unwrap();
        let y = x.linear(&weight, Some(&bias)).unwrap();
        let loss = y.mul(&slopes).unwrap().sum(&[], false).unwrap();
        let gradient = tape.backward(&loss).unwrap().take(&bias).unwrap();
        assert_eq!(gradient.to_f32_vec().unwrap(), expected, "{rows} rows");
    }
}

/// Numbers at the edge of what a type has.
pub fn limits(device: &Device) {
    // A class that is ruled out: log(e⁰ + e¹) − 1.
    let logits = Tensor::from_f32(&[1, 3], &[0.0, 1.0, f32::NEG_INFINITY], device).unwrap();
    let target = Tensor::from_i64(&[1], &[1], device).unwrap();
    let loss = logits.cross_entropy(&target, -100, 0.0, Reduction::Mean);
    let loss = loss.unwrap().item().unwrap();
    assert!((loss - 0.313_261_69).abs() < 1e-5, "{loss}");

    // What is in a row that does not count does not matter, also when no row counts.
    for targets in [[-100, 1], [-100, -100]] {
        let tape = Tape::new();
        let values = [f32::NAN, f32::INFINITY, 0.0, 1.0, 2.0, 3.0];
        let logits = tape.leaf(&Tensor::from_f32(&[2, 3], &values, device).unwrap());
        let logits = logits.unwrap();
        let targets = Tensor::from_i64(&[2], &targets, device).unwrap();
        let loss = logits.cross_entropy(&targets, -100, 0.0, Reduction::Mean);
        let mut gradients = tape.backward(&loss.unwrap()).unwrap();
        let gradient = gradients.take(&logits).unwrap().to_f32_vec().unwrap();
        assert_eq!(gradient[..3], [0.0; 3]);
        assert!(gradient[3..].iter().all(|value| value.is_finite()));
    }

    // A bias that rules out the only key: attention to nothing is nothing.
    let info = vec![SequenceInfo::full("ids", 1, 2)];
    let pass = Pass::new(Stage::Train, info, 0, device).unwrap();
    let x = Tensor::ones(&[1, 2, 1, 4], DType::F32, device).unwrap();
    let bias = [f32::NEG_INFINITY, 0.0];
    let bias = Tensor::from_f32(&[1, 1, 1, 2], &bias, device).unwrap();
    let options = AttentionOptions::causal(0, "ids");
    let out = pass.attention(&x, Some(&x), Some(&x), Some(&bias), &options);
    let out = out.unwrap().to_f32_vec().unwrap();
    assert_eq!(out, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    // What is no bias is none on any device.
    let mask = bias.gt_scalar(-1.0).unwrap();
    let options = AttentionOptions::causal(1, "ids");
    let refused = pass.attention(&x, Some(&x), Some(&x), Some(&mask), &options);
    assert!(matches!(refused, Err(TensorError::InvalidArgument(_))));

    // One output, whose gradient is a single number for all rows: a vector without a stride.
    let tape = Tape::new();
    let weight = Tensor::ones(&[1, 128], DType::F32, device).unwrap();
    let weight = tape.leaf(&weight).unwrap();
    let x = Tensor::ones(&[2, 128, 128], DType::F32, device).unwrap();
    let loss = x.linear(&weight, None).unwrap().mean(&[], false).unwrap();
    let mut gradients = tape.backward(&loss).unwrap();
    let gradient = gradients.take(&weight).unwrap().to_f32_vec().unwrap();
    assert!(
        gradient.iter().all(|value| (value - 1.0).abs() < 1e-5),
        "{gradient:?}"
    );

    // One head: matrices whose distance is another than that of the dimension between them.
    let tall = Tensor::arange(0.0, 24.0, 1.0, DType::F32, device).unwrap();
    let tall = tall
        .reshape(&[2, 3, 1, 4])
        .unwrap()
        .permute(&[0, 2, 1, 3])
        .unwrap();
    let ones = Tensor::ones(&[2, 1, 4, 1], DType::F32, device).unwrap();
    let sums = tall.matmul(&ones).unwrap();
    assert_eq!(sums.shape(), [2, 1, 3, 1]);
    let sums = sums.to_f32_vec().unwrap();
    assert_eq!(sums, [6.0, 22.0, 38.0, 54.0, 70.0, 86.0]);

    // Products of 64 times 40 times 40 are more than float16 has; times 1/8 they are not.
    if Tensor::zeros(&[1], DType::F16, device).is_ok() {
        let q = Tensor::full(&[1, 4, 1, 64], 40.0, DType::F16, device).unwrap();
        let v = Tensor::full(&[1, 4, 1, 64], 3.0, DType::F16, device).unwrap();
        let out = q.scaled_dot_product_attention(&q, &v, None, None).unwrap();
        let out = out.cast(DType::F32).unwrap().to_f32_vec().unwrap();
        assert!(out.iter().all(|value| *value == 3.0), "{out:?}");
    }
}
