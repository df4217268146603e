//! Attention of a pass on a device beside the processor's kernels: padding, packed documents, windows, fewer
//! key heads, biases, and caches.

use tenon_tensor::{
    Device, Tape, Tensor,
    nn::{AttentionKind, AttentionOptions, Pass, SequenceCache, SequenceInfo, SharedCache, Stage},
    rng,
};

const HEADS: usize = 4;
const DIM: usize = 8;

fn random(shape: &[usize], key: u64, device: &Device) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    rng::fill_normal(key, &mut values);
    Tensor::from_f32(shape, &values, device).unwrap()
}

fn packed(name: &str, tokens: usize, rows: &[&[usize]]) -> SequenceInfo {
    SequenceInfo {
        name: name.to_owned(),
        tokens,
        rows: rows.iter().map(|row| row.to_vec()).collect(),
    }
}

struct Case {
    name: &'static str,
    queries: SequenceInfo,
    keys: SequenceInfo,
    kind: AttentionKind,
    window: Option<u32>,
    kv_heads: usize,
    /// The shape of a bias, and whether it gets a gradient.
    bias: Option<(Vec<usize>, bool)>,
    dropout: f32,
}

fn cases() -> Vec<Case> {
    let rows = packed("ids", 6, &[&[6], &[2, 3], &[]]);
    let case = |name, kind| Case {
        name,
        queries: rows.clone(),
        keys: rows.clone(),
        kind,
        window: None,
        kv_heads: HEADS,
        bias: None,
        dropout: 0.0,
    };
    vec![
        case("causal", AttentionKind::Causal),
        case("bidirectional", AttentionKind::Bidirectional),
        Case {
            window: Some(1),
            kv_heads: 2,
            ..case("window", AttentionKind::Bidirectional)
        },
        Case {
            keys: packed("sources", 5, &[&[4], &[1, 4], &[5]]),
            kv_heads: 1,
            dropout: 0.2,
            ..case("cross", AttentionKind::Cross)
        },
        Case {
            bias: Some((vec![HEADS, 1, 6], false)),
            ..case("bias", AttentionKind::Causal)
        },
        Case {
            bias: Some((vec![1, HEADS, 6, 6], true)),
            ..case("learnt bias", AttentionKind::Causal)
        },
    ]
}

/// What a case gives, and its gradients.
fn results(case: &Case, device: &Device) -> Vec<Vec<f32>> {
    let (batch, tokens) = (case.queries.batch(), case.queries.tokens);
    let shape = |tokens, heads| [batch, tokens, heads, DIM];
    let tape = Tape::new();
    let leaf = |key: u64, tokens: usize, heads: usize| {
        let values = random(&shape(tokens, heads), key, device);
        tape.leaf(&values).unwrap()
    };
    let q = leaf(1, tokens, HEADS);
    let (k, v) = (
        leaf(2, case.keys.tokens, case.kv_heads),
        leaf(3, case.keys.tokens, case.kv_heads),
    );
    let bias = case.bias.as_ref().map(|(shape, learnt)| {
        let bias = random(shape, 4, device);
        if *learnt {
            tape.leaf(&bias).unwrap()
        } else {
            bias
        }
    });
    let mut inputs = vec![case.queries.clone()];
    if case.keys.name != case.queries.name {
        inputs.push(case.keys.clone());
    }
    let pass = Pass::new(Stage::Train, inputs, 7, device).unwrap();
    let options = AttentionOptions {
        kind: case.kind,
        keys: case.keys.name.clone(),
        window: case.window,
        dropout: case.dropout,
        ..AttentionOptions::causal(0, &case.queries.name)
    };
    let out = pass
        .attention(&q, Some(&k), Some(&v), bias.as_ref(), &options)
        .unwrap();
    let loss = out.mul(&random(&shape(tokens, HEADS), 5, device)).unwrap();
    let loss = loss.sum(&[], false).unwrap();
    let mut gradients = tape.backward(&loss).unwrap();
    let mut results = vec![out.to_f32_vec().unwrap()];
    for leaf in [Some(&q), Some(&k), Some(&v), bias.as_ref()]
        .into_iter()
        .flatten()
    {
        let gradient = gradients.take(leaf);
        results.extend(gradient.map(|gradient| gradient.to_f32_vec().unwrap()));
    }
    results
}

fn close(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() < 1e-4,
            "{name}: {index} is {found}, not {expected}"
        );
    }
}

pub fn in_training(device: &Device) {
    for case in cases() {
        let expected = results(&case, &Device::cpu());
        let found = results(&case, device);
        assert_eq!(found.len(), expected.len(), "{}", case.name);
        for (found, expected) in found.iter().zip(&expected) {
            close(case.name, found, expected);
        }
    }
}

/// Prompts of different lengths, then tokens one by one.
pub fn in_serving(device: &Device) {
    let caches = || -> Vec<SharedCache> { (0..2).map(|_| SequenceCache::shared()).collect() };
    let (here, there) = (caches(), caches());
    let pass_over = |lengths: &[usize], step: u64, device: &Device, caches: &[SharedCache]| {
        let info = SequenceInfo::padded("ids", lengths);
        let stage = if step == 0 {
            Stage::Prefill
        } else {
            Stage::Decode
        };
        let tokens = info.tokens;
        let pass = Pass::new(stage, vec![info], 0, device).unwrap();
        let pass = pass.with_cache(caches.to_vec()).unwrap();
        let part =
            |key: u64, heads: usize| random(&[2, tokens, heads, DIM], 10 * step + key, device);
        let options = AttentionOptions {
            window: Some(3),
            ..AttentionOptions::causal(0, "ids")
        };
        let (q, k, v) = (part(0, HEADS), part(1, 2), part(2, 2));
        let out = pass.attention(&q, Some(&k), Some(&v), None, &options);
        out.unwrap().to_f32_vec().unwrap()
    };
    for (step, lengths) in [[5, 2], [1, 1], [1, 1], [1, 0], [1, 1]].iter().enumerate() {
        let expected = pass_over(lengths, step as u64, &Device::cpu(), &here);
        let found = pass_over(lengths, step as u64, device, &there);
        close("serving", &found, &expected);
    }
}
