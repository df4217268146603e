//! Gradients under autocast: what computes one for a product may round it to the product's type itself. Where
//! nothing else uses the product's result, that is what the product would have done, to the bit.

use tenon_tensor::{
    DType, Device, Reduction, Tape, Tensor,
    nn::{AttentionOptions, Pass, SequenceInfo, Stage},
    rng,
};

const BATCH: usize = 2;
const TOKENS: usize = 5;
/// Odd, as vocabularies are.
const WIDTH: usize = 33;
const HEADS: usize = 3;
const HEAD_DIM: usize = 4;

fn random(key: u64, shape: &[usize], device: &Device) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    rng::fill_normal(key, &mut values);
    Tensor::from_f32(shape, &values, device).unwrap()
}

/// A function of what a product gives.
type After = fn(&Tensor, &Pass) -> Tensor;

fn loss(y: &Tensor, key: u64) -> Tensor {
    let slopes = random(key, y.shape(), &y.device());
    y.mul(&slopes).unwrap().sum(&[], false).unwrap()
}

fn cross_entropy(y: &Tensor, _: &Pass) -> Tensor {
    let targets: Vec<i64> = (0..BATCH * TOKENS).map(|i| (i as i64 * 7) % 30).collect();
    let targets = Tensor::from_i64(&[BATCH, TOKENS], &targets, &y.device()).unwrap();
    y.cross_entropy(&targets, 7, 0.1, Reduction::Mean).unwrap()
}

fn gelu(y: &Tensor, _: &Pass) -> Tensor {
    loss(&y.gelu(true).unwrap(), 11)
}

fn exact_gelu(y: &Tensor, _: &Pass) -> Tensor {
    loss(&y.gelu(false).unwrap(), 11)
}

fn silu(y: &Tensor, _: &Pass) -> Tensor {
    loss(&y.silu().unwrap(), 11)
}

fn gate(y: &Tensor, _: &Pass) -> Tensor {
    let (gate, up) = (y.narrow(-1, 0, 16).unwrap(), y.narrow(-1, 16, 16).unwrap());
    loss(&gate.silu_mul(&up).unwrap(), 11)
}

/// Only one of the two comes from a product.
fn half_of_a_gate(y: &Tensor, _: &Pass) -> Tensor {
    let up = random(12, y.shape(), &y.device());
    loss(&y.silu_mul(&up).unwrap(), 11)
}

fn dropout(y: &Tensor, _: &Pass) -> Tensor {
    loss(&y.dropout(0.3, 5).unwrap(), 11)
}

fn attention(y: &Tensor, pass: &Pass) -> Tensor {
    let [batch, tokens, heads, dim] = [BATCH, TOKENS, HEADS, HEAD_DIM].map(|dim| dim as i64);
    // All but the last columns, so that the parts do not make up the whole.
    let part = |index: usize, heads: usize| {
        let width = heads * HEAD_DIM;
        let start = if index == 0 {
            0
        } else {
            HEADS * HEAD_DIM + (index - 1) * width
        };
        let part = y.narrow(-1, start, width).unwrap();
        part.reshape(&[batch, tokens, heads as i64, dim]).unwrap()
    };
    let (q, k, v) = (part(0, HEADS), part(1, 1), part(2, 1));
    let options = AttentionOptions::causal(0, "ids");
    let out = pass.attention(&q, Some(&k), Some(&v), None, &options);
    loss(
        &out.unwrap().reshape(&[batch, tokens, heads * dim]).unwrap(),
        11,
    )
}

/// The gradients of input, weight and bias; with a `barrier`, what comes after the product knows nothing of it.
fn gradients(after: After, dtype: DType, barrier: bool, device: &Device) -> Vec<Vec<f32>> {
    let tape = Tape::new();
    tape.autocast(Some(dtype));
    let shapes: [&[usize]; 3] = [&[BATCH, TOKENS, 8], &[WIDTH, 8], &[WIDTH]];
    let leaves: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(key, shape)| tape.leaf(&random(key as u64, shape, device)).unwrap())
        .collect();
    let inputs = vec![SequenceInfo::full("ids", BATCH, TOKENS)];
    let pass = Pass::new(Stage::Train, inputs, 5, device).unwrap();
    let mut y = leaves[0].linear(&leaves[1], Some(&leaves[2])).unwrap();
    if barrier {
        y = y.mul_scalar(1.0).unwrap();
    }
    let mut gradients = tape.backward(&after(&y, &pass)).unwrap();
    let mut read = |leaf| gradients.take(leaf).unwrap().to_f32_vec().unwrap();
    leaves.iter().map(&mut read).collect()
}

pub fn gradients_of_products(device: &Device) {
    let functions: [(&str, After); 8] = [
        ("cross entropy", cross_entropy),
        ("gelu", gelu),
        ("exact gelu", exact_gelu),
        ("silu", silu),
        ("gate", gate),
        ("half of a gate", half_of_a_gate),
        ("dropout", dropout),
        ("attention", attention),
    ];
    for dtype in [DType::BF16, DType::F16] {
        if Tensor::zeros(&[1], dtype, device).is_err() {
            continue;
        }
        for (name, after) in functions {
            let expected = gradients(after, dtype, true, device);
            let found = gradients(after, dtype, false, device);
            assert_eq!(found[..2], expected[..2], "{name} in {dtype}");
            // The bias adds up what is rounded.
            let length = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>().sqrt();
            let apart: Vec<f32> = found[2]
                .iter()
                .zip(&expected[2])
                .map(|(a, b)| a - b)
                .collect();
            assert!(
                length(&apart) < 0.005 * length(&expected[2]),
                "{name} in {dtype}"
            );
        }
    }
}

/// A product's result that is used twice, and an activation between two products, against float32.
pub fn of_several(device: &Device) {
    let run = |reduced: Option<DType>, device: &Device| -> Vec<f32> {
        let tape = Tape::new();
        tape.autocast(reduced);
        let x = tape.leaf(&random(1, &[20, 8], device)).unwrap();
        let (up, down) = (random(2, &[24, 8], device), random(3, &[8, 24], device));
        let y = x.linear(&up, None).unwrap();
        let mixed = y.gelu(true).unwrap().linear(&down, None).unwrap();
        let twice = loss(&y.silu().unwrap(), 4).add(&loss(&y, 5)).unwrap();
        let loss = loss(&mixed, 6).add(&twice).unwrap();
        let mut gradients = tape.backward(&loss).unwrap();
        gradients.take(&x).unwrap().to_f32_vec().unwrap()
    };
    let expected = run(None, &Device::cpu());
    let length = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>().sqrt();
    for dtype in [DType::BF16, DType::F16] {
        if Tensor::zeros(&[1], dtype, device).is_ok() {
            let found = run(Some(dtype), device);
            let apart: Vec<f32> = found.iter().zip(&expected).map(|(a, b)| a - b).collect();
            assert!(length(&apart) < 0.02 * length(&expected), "{dtype}");
        }
    }
}
