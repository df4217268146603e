//! Layers that are computed again in the backward pass.

use super::*;
use crate::{ConvOptions, DType, PoolOptions, RotaryStyle, Tape, TensorError, params::Params};

const LAYERS: usize = 4;
const ROWS: usize = 3;
const TOKENS: usize = 6;
const WIDTH: usize = 8;

/// A layer of nearly every operation that can be computed again, in two branches.
fn layer(scope: &Scope, pass: &Pass, at: usize, x: &Tensor) -> Result<Tensor, TensorError> {
    let y = scope.norm("ln", x, NormKind::Layer, 1e-5, true)?;
    let options = LinearOptions::default();
    let joint = scope.linear("qkv", &y, 3 * WIDTH, &options)?;
    let part = |i: usize| {
        joint
            .narrow(-1, i * WIDTH, WIDTH)?
            .reshape(&[ROWS as i64, TOKENS as i64, 2, 4])
    };
    let frequencies = Tensor::from_f32(&[2], &[1.0, 0.1], &Device::cpu())?;
    let positions = pass.positions("ids")?;
    let turned = |x: Tensor| x.rotary(&positions, &frequencies, RotaryStyle::Half);
    let attention = AttentionOptions {
        dropout: 0.2,
        ..AttentionOptions::causal(at as u32, "ids")
    };
    let (q, k, v) = (turned(part(0)?)?, turned(part(1)?)?, part(2)?);
    let y = pass.attention(&q, Some(&k), Some(&v), None, &attention)?;
    let y = y.reshape(&[ROWS as i64, TOKENS as i64, -1])?;
    let y = scope
        .linear("out", &y, WIDTH, &options)?
        .dropout(0.1, at as u64)?;
    let x = x.add(&y)?;
    let y = scope.norm("rms", &x, NormKind::Rms, 1e-5, false)?;
    let (gate, up) = (
        scope.linear("gate", &y, 16, &options)?,
        scope.linear("up", &y, 16, &options)?,
    );
    let y = gate.silu_mul(&up)?.gelu(true)?.mul(&gate.sigmoid()?)?;
    // Scores without the fused kernel, and an operation that is not computed again among the others.
    let scores = y.matmul(&y.transpose(1, 2)?)?.mul_scalar(0.2)?;
    let mask = Tensor::ones(&[TOKENS, TOKENS], DType::F32, &Device::cpu())?.triu(1)?;
    let scores = scores
        .masked_fill(&mask.cast(DType::Bool)?, -1e9)?
        .softmax(-1)?;
    let y = scores
        .matmul(&y)?
        .exp()?
        .add_scalar(1.0)?
        .log()?
        .tanh()?
        .relu()?;
    let y = Tensor::cat(&[&y, &y.permute(&[0, 1, 2])?.neg()?], -1)?;
    let y = scope.linear("down", &y, WIDTH, &options)?;
    // A small image of it.
    let image = y.unsqueeze(1)?;
    let conv = ConvLayerOptions::new(ConvOptions {
        stride: vec![1, 1],
        padding: vec![1, 1],
        dilation: vec![1, 1],
        groups: 1,
    });
    let image = scope.conv("conv", &image, 2, &[3, 3], &conv)?;
    let image = scope.batch_norm("bn", &image, 0.1, 1e-5)?;
    let pooled = image.max_pool2d(&PoolOptions {
        kernel: vec![3, 3],
        stride: vec![1, 1],
        padding: vec![1, 1],
    })?;
    let weight = Tensor::ones(&[2], DType::F32, &Device::cpu())?;
    let pooled = pooled.group_norm(2, Some(&weight), None, 1e-5)?;
    x.add(
        &pooled
            .mean(&[1], false)?
            .div(&x.pow_scalar(2.0)?.add_scalar(1.0)?)?,
    )
}

struct Outcome {
    loss: Vec<f32>,
    gradients: Vec<(String, Vec<f32>)>,
    saved: usize,
    peak: usize,
}

fn step(params: &Params, recompute: bool, reduced: Option<DType>) -> Outcome {
    let tape = Tape::new();
    tape.recompute(recompute);
    tape.autocast(reduced);
    let scope = Scope::root(params, Some(&tape));
    let pass = pass(Stage::Train, vec![SequenceInfo::full("ids", ROWS, TOKENS)]);
    let ids: Vec<i64> = (0..ROWS * TOKENS).map(|i| i as i64 % 10).collect();
    let ids = Tensor::from_i64(&[ROWS, TOKENS], &ids, &Device::cpu()).unwrap();
    let mut x = scope
        .embedding("wte", &ids, 10, WIDTH, Init::Normal(0.5))
        .unwrap();
    for at in 0..LAYERS {
        let layers = scope.child("h").child(&at.to_string());
        x = layer(&layers, &pass, at, &x).unwrap();
    }
    let x = scope.norm("ln_f", &x, NormKind::Layer, 1e-5, true).unwrap();
    let loss = x.mul(&x).unwrap().mul(&random(7, &[WIDTH])).unwrap();
    let loss = loss.sum(&[], false).unwrap();
    let saved = tape.saved_bytes();
    drop(x);
    let mut gradients = tape.backward(&loss).unwrap();
    assert_eq!(tape.saved_bytes(), 0);
    let gradients = scope.gradients(&mut gradients);
    Outcome {
        loss: loss.to_f32_vec().unwrap(),
        gradients: gradients
            .into_iter()
            .map(|(name, x)| (name, x.to_f32_vec().unwrap()))
            .collect(),
        saved,
        peak: tape.peak_bytes(),
    }
}

#[test]
fn gradients_are_the_same_bits() {
    let params = Params::new(&Device::cpu(), 3);
    for reduced in [None, Some(DType::BF16)] {
        let (kept, again) = (step(&params, false, reduced), step(&params, true, reduced));
        assert!(kept.loss[0].is_finite() && kept.loss == again.loss);
        assert!(kept.gradients.len() > 15 * LAYERS);
        for ((name, a), (other, b)) in kept.gradients.iter().zip(&again.gradients) {
            assert!(name == other && a == b, "{name}");
            assert!(a.iter().any(|x| *x != 0.0), "{name}");
        }
        assert_eq!(kept.saved, kept.peak);
        assert!(
            again.saved * 2 < kept.saved && again.peak < kept.peak,
            "{} and {} of {}",
            again.saved,
            again.peak,
            kept.saved
        );
    }
}

#[test]
fn layers_are_named_by_their_first_number() {
    use super::super::scope::layer_of;
    assert_eq!(
        layer_of("transformer.h.3.attn.2.weight"),
        Some("transformer.h.3")
    );
    assert_eq!(layer_of("0.weight"), Some("0"));
    let inner = "0.encoder.layer.3.output.dense.weight";
    assert_eq!(layer_of(inner), Some("0.encoder.layer.3"));
    assert_eq!(layer_of("lm_head.weight"), None);
    assert_eq!(layer_of("h2.weight"), None);
}
