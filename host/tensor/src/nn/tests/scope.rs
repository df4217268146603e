//! Layers and the parameters behind them.

use super::*;
use crate::{
    ConvOptions, DType, Tape,
    params::{OnMissing, Params},
};

fn params() -> Params {
    Params::new(&Device::cpu(), 3)
}

fn vec(tensor: &Tensor) -> Vec<f32> {
    tensor.to_f32_vec().unwrap()
}

#[test]
fn names_are_paths() {
    let params = params();
    let root = Scope::root(&params, None);
    let block = root.child("h").child("0");
    let x = random(1, &[2, 4]);
    block.norm("ln_1", &x, NormKind::Layer, 1e-5, true).unwrap();
    block
        .child("attn")
        .linear("c_attn", &x, 6, &LinearOptions::default())
        .unwrap();
    root.child("mlp")
        .norm("n", &x, NormKind::Rms, 1e-5, false)
        .unwrap();
    assert_eq!(
        params.names(),
        [
            "h.0.attn.c_attn.bias",
            "h.0.attn.c_attn.weight",
            "h.0.ln_1.bias",
            "h.0.ln_1.weight",
            "mlp.n.weight"
        ]
    );
}

#[test]
fn both_layouts_compute_the_same() {
    let x = random(1, &[2, 3, 4]);
    let weight = random(2, &[5, 4]);
    let run = |layout, weight: &Tensor| {
        let params = params();
        params.set("l.weight", weight.clone()).unwrap();
        params.set("l.bias", random(3, &[5])).unwrap();
        let options = LinearOptions {
            layout,
            ..LinearOptions::default()
        };
        vec(&Scope::root(&params, None)
            .linear("l", &x, 5, &options)
            .unwrap())
    };
    let out_in = run(WeightLayout::OutIn, &weight);
    let turned = weight.transpose(0, 1).unwrap();
    let in_out = run(WeightLayout::InOut, &turned);
    close(&out_in, &in_out, 1e-6);
    let (x, w, b) = (vec(&x), vec(&weight), vec(&random(3, &[5])));
    for row in 0..6 {
        for out in 0..5 {
            let dot: f32 = (0..4).map(|i| x[row * 4 + i] * w[out * 4 + i]).sum();
            assert!((out_in[row * 5 + out] - dot - b[out]).abs() < 1e-5);
        }
    }
}

#[test]
fn biases_start_within_the_bound_of_their_layer() {
    let params = params();
    let x = random(1, &[1, 400]);
    let scope = Scope::root(&params, None);
    let options = LinearOptions {
        layout: WeightLayout::InOut,
        ..LinearOptions::default()
    };
    scope.linear("l", &x, 300, &options).unwrap();
    for name in ["l.weight", "l.bias"] {
        let largest = vec(&params.get(name).unwrap())
            .iter()
            .fold(0.0_f32, |a, b| a.max(b.abs()));
        assert!(largest <= 0.05 && largest > 0.048, "{name}: {largest}");
    }
}

#[test]
fn tied_weights_are_one_parameter_and_their_gradients_add() {
    let ids = Tensor::from_i64(&[1, 2], &[1, 3], &Device::cpu()).unwrap();
    let head = LinearOptions {
        bias: false,
        ..LinearOptions::default()
    };
    let run = |tied: bool| {
        let params = params();
        let start = random(5, &[4, 3]);
        params.set("wte.weight", start.clone()).unwrap();
        if !tied {
            params.set("head.weight", start).unwrap();
        }
        let tape = Tape::new();
        let scope = Scope::root(&params, Some(&tape));
        let x = scope
            .embedding("wte", &ids, 4, 3, Init::Normal(1.0))
            .unwrap();
        let name = if tied { "wte" } else { "head" };
        let y = scope.linear(name, &x, 4, &head).unwrap();
        let loss = y.mul(&y).unwrap().sum(&[], false).unwrap();
        let mut gradients = tape.backward(&loss).unwrap();
        let gradients = scope.gradients(&mut gradients);
        gradients
            .iter()
            .map(|(name, g)| (name.clone(), vec(g)))
            .collect::<Vec<_>>()
    };
    let tied = run(true);
    let apart = run(false);
    assert_eq!((tied.len(), apart.len()), (1, 2));
    let sum: Vec<f32> = apart[0]
        .1
        .iter()
        .zip(&apart[1].1)
        .map(|(a, b)| a + b)
        .collect();
    close(&tied[0].1, &sum, 1e-5);
    let params = params();
    let scope = Scope::root(&params, None);
    let x = scope.embedding("wte", &ids, 4, 3, Init::Ones).unwrap();
    fails(
        scope.linear("wte", &x, 5, &head),
        &["wte.weight", "[4, 3]", "[5, 3]"],
    );
}

#[test]
fn frozen_parameters_are_not_tracked() {
    let params = params();
    params.freeze("weight$").unwrap();
    let tape = Tape::new();
    let scope = Scope::root(&params, Some(&tape));
    let x = random(1, &[2, 3]);
    let y = scope.linear("l", &x, 2, &LinearOptions::default()).unwrap();
    let mut gradients = tape.backward(&y.sum(&[], false).unwrap()).unwrap();
    let gradients = scope.gradients(&mut gradients);
    assert_eq!(gradients.len(), 1);
    assert_eq!(
        (gradients[0].0.as_str(), vec(&gradients[0].1)),
        ("l.bias", vec![2.0, 2.0])
    );
}

#[test]
fn batch_norm_uses_batch_statistics_in_training_and_running_ones_after() {
    let params = params();
    let x = random(1, &[3, 2, 4]);
    let data = vec(&x);
    let channel = |c: usize| -> Vec<f64> {
        (0..3)
            .flat_map(|n| (0..4).map(move |i| (n * 2 + c) * 4 + i))
            .map(|index| f64::from(data[index]))
            .collect()
    };
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let squares = |v: &[f64]| v.iter().map(|x| (x - mean(v)).powi(2)).sum::<f64>();
    let tape = Tape::new();
    let scope = Scope::root(&params, Some(&tape));
    let y = vec(&scope.batch_norm("bn", &x, 0.1, 1e-5).unwrap());
    let got = |name: &str| vec(&params.get(name).unwrap());
    // Nothing changes before the step is accepted.
    assert_eq!(got("bn.running_mean"), [0.0, 0.0]);
    scope.commit_buffers().unwrap();
    for c in 0..2 {
        let values = channel(c);
        let (m, biased) = (mean(&values), squares(&values) / 12.0);
        let first = (values[0] - m) / (biased + 1e-5).sqrt();
        assert!((f64::from(y[c * 4]) - first).abs() < 1e-5);
        assert!((f64::from(got("bn.running_mean")[c]) - 0.1 * m).abs() < 1e-6);
        let running = 0.9 + 0.1 * squares(&values) / 11.0;
        assert!((f64::from(got("bn.running_var")[c]) - running).abs() < 1e-5);
    }
    let after = vec(&Scope::root(&params, None)
        .batch_norm("bn", &x, 0.1, 1e-5)
        .unwrap());
    let (m, v) = (got("bn.running_mean")[1], got("bn.running_var")[1]);
    assert!((after[4] - (data[4] - m) / (v + 1e-5).sqrt()).abs() < 1e-5);
    assert!(!params.trainable("bn.running_var") && params.trainable("bn.weight"));
    let single = random(1, &[1, 2]);
    fails(
        scope.batch_norm("b2", &single, 0.1, 1e-5),
        &["larger batch"],
    );
}

#[test]
fn buffers_change_in_training_only() {
    let params = params();
    let value = random(1, &[2]);
    let scoring = Scope::root(&params, None);
    scoring.buffer("b", &[2], Init::Zeros).unwrap();
    let error = scoring.set_buffer("b", &value).unwrap_err();
    assert!(error.to_string().contains("training"));
    let tape = Tape::new();
    let scope = Scope::root(&params, Some(&tape));
    assert!(
        scope
            .set_buffer("c", &value)
            .unwrap_err()
            .to_string()
            .contains("no such buffer")
    );
    let wide = random(1, &[3]);
    assert!(
        scope
            .set_buffer("b", &wide)
            .unwrap_err()
            .to_string()
            .contains("[3]")
    );
    scope.set_buffer("b", &value).unwrap();
    scope.commit_buffers().unwrap();
    assert_eq!(vec(&params.get("b").unwrap()), vec(&value));
}

#[test]
fn conv_takes_one_or_two_dimensions() {
    let params = params();
    let scope = Scope::root(&params, None);
    let options = |dims: usize| {
        ConvLayerOptions::new(ConvOptions {
            stride: vec![1; dims],
            padding: vec![1; dims],
            dilation: vec![1; dims],
            groups: 2,
        })
    };
    let x = random(1, &[2, 4, 8]);
    let y = scope.conv("c1", &x, 6, &[3], &options(1)).unwrap();
    assert_eq!(y.shape(), [2, 6, 8]);
    assert_eq!(params.get("c1.weight").unwrap().shape(), [6, 2, 3]);
    let x = random(1, &[2, 4, 8, 5]);
    let bare = ConvLayerOptions {
        bias: false,
        weight_init: Init::Constant(0.5),
        ..options(2)
    };
    let y = scope.conv("c2", &x, 2, &[3, 3], &bare).unwrap();
    assert_eq!(y.shape(), [2, 2, 8, 5]);
    assert!(params.get("c2.bias").is_none());
    assert_eq!(vec(&params.get("c2.weight").unwrap()), [0.5; 2 * 2 * 9]);
    fails(
        scope.conv("c3", &x, 2, &[3], &options(1)),
        &["conv `c3`", "[2, 4, 8, 5]"],
    );
}

#[test]
fn serving_refuses_to_invent_weights() {
    let params = params();
    params.set_on_missing(OnMissing::Error);
    let x = Tensor::zeros(&[1, 2], DType::F32, &Device::cpu()).unwrap();
    let scope = Scope::root(&params, None).child("model");
    fails(
        scope.norm("norm", &x, NormKind::Rms, 1e-5, false),
        &["`model.norm.weight`"],
    );
}
