//! Adapters on linear layers.

use std::collections::BTreeMap;

use super::*;
use crate::{
    Tape,
    params::{Lora, Params, Quantization},
};

fn lora() -> Lora {
    Lora {
        rank: 2,
        alpha: 6.0,
        ..Lora::default()
    }
}

fn params(lora: &Lora) -> Params {
    let params = Params::new(&Device::cpu(), 3);
    params.adapt(lora).unwrap();
    params
}

fn options(layout: WeightLayout) -> LinearOptions {
    LinearOptions {
        layout,
        ..LinearOptions::default()
    }
}

/// A model of an embedding, two linear layers, and an output layer that is the embedding.
fn model(scope: &Scope) -> Tensor {
    let ids = Tensor::from_i64(&[3], &[4, 0, 2], &Device::cpu()).unwrap();
    let x = scope
        .embedding("words", &ids, 5, 4, Init::Normal(1.0))
        .unwrap();
    let x = scope
        .linear("up", &x, 6, &options(WeightLayout::OutIn))
        .unwrap();
    let x = scope
        .child("h.0")
        .linear("down", &x, 4, &options(WeightLayout::InOut))
        .unwrap();
    let tied = LinearOptions {
        bias: false,
        ..LinearOptions::default()
    };
    scope.linear("words", &x, 5, &tied).unwrap()
}

fn vec(tensor: &Tensor) -> Vec<f32> {
    tensor.to_f32_vec().unwrap()
}

/// B is zero at first: this makes it something.
fn learn(params: &Params) {
    for (at, layer) in params.adapted().keys().enumerate() {
        let name = format!("{layer}.lora_B.weight");
        let shape = params.get(&name).unwrap().shape().to_vec();
        params.set(&name, random(20 + at as u64, &shape)).unwrap();
    }
}

#[test]
fn a_new_adapter_changes_nothing() {
    let plain = Params::new(&Device::cpu(), 3);
    let adapted = params(&lora());
    let outputs = [&plain, &adapted].map(|params| vec(&model(&Scope::root(params, None))));
    assert_eq!(outputs[0], outputs[1]);
    let layers = [
        ("h.0.down".to_owned(), WeightLayout::InOut),
        ("up".to_owned(), WeightLayout::OutIn),
    ];
    assert_eq!(adapted.adapted(), layers.into());
    assert!(plain.adapted().is_empty());
}

#[test]
fn an_adapter_adds_its_product() {
    for layout in [WeightLayout::OutIn, WeightLayout::InOut] {
        let params = params(&lora());
        let x = random(1, &[3, 4]);
        let run = || {
            Scope::root(&params, None)
                .linear("l", &x, 5, &options(layout))
                .unwrap()
        };
        let before = vec(&run());
        learn(&params);
        let (a, b) = ("l.lora_A.weight", "l.lora_B.weight");
        let (a, b) = (vec(&params.get(a).unwrap()), vec(&params.get(b).unwrap()));
        assert!(a.iter().all(|value| value.abs() <= 0.5), "1/√4: {a:?}");
        let values = vec(&x);
        let mut expected = before;
        for row in 0..3 {
            for out in 0..5 {
                for rank in 0..2 {
                    let inner: f32 = (0..4).map(|i| a[rank * 4 + i] * values[row * 4 + i]).sum();
                    expected[row * 5 + out] += 3.0 * b[out * 2 + rank] * inner;
                }
            }
        }
        close(&vec(&run()), &expected, 1e-5);
    }
}

#[test]
fn merged_weights_compute_the_same() {
    let params = params(&lora());
    let run = || vec(&model(&Scope::root(&params, None)));
    let first = run();
    learn(&params);
    let adapted = run();
    assert_ne!(first, adapted);
    let names: Vec<String> = params
        .adapter_entries()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        names,
        [
            "h.0.down.lora_A.weight",
            "h.0.down.lora_B.weight",
            "up.lora_A.weight",
            "up.lora_B.weight"
        ]
    );
    assert_eq!(params.merge_adapters().unwrap(), ["h.0.down", "up"]);
    close(&run(), &adapted, 1e-5);
    assert_eq!(
        params.names(),
        [
            "h.0.down.bias",
            "h.0.down.weight",
            "up.bias",
            "up.weight",
            "words.weight"
        ]
    );
    assert_eq!(params.merge_adapters().unwrap(), [""; 0]);
}

#[test]
fn weights_in_a_file_are_rounded_as_those_in_memory() {
    let path = std::env::temp_dir().join(format!("tenon-lora-{}.safetensors", std::process::id()));
    let base = Params::new(&Device::cpu(), 3);
    model(&Scope::root(&base, None));
    base.set("unused.weight", random(9, &[2])).unwrap();
    base.save_safetensors(&path, &BTreeMap::new()).unwrap();
    for kind in [Quantization::Int8, Quantization::Nf4] {
        let run = |map: bool| {
            let params = params(&lora());
            match map {
                true => params.map_safetensors(&path).unwrap(),
                false => drop(params.load_safetensors(&path).unwrap()),
            }
            let run = || vec(&model(&Scope::root(&params, None)));
            let first = run();
            assert_eq!(params.get("up.weight").is_none(), map);
            let bytes = params.quantize_adapted(kind).unwrap();
            assert_eq!(params.unclaimed(), ["unused.weight"]);
            assert!(params.get("up.weight").is_none());
            assert!(params.get("words.weight").is_some());
            learn(&params);
            let adapted = run();
            assert_ne!(first, adapted);
            assert_eq!(params.merge_adapters().unwrap(), ["h.0.down", "up"]);
            let merged = run();
            close(&merged, &adapted, 1e-5);
            let file = params.to_bytes(&BTreeMap::new()).unwrap();
            // What is written is what was computed with.
            params
                .save_safetensors(&path.with_extension("merged"), &BTreeMap::new())
                .unwrap();
            assert_eq!(std::fs::read(path.with_extension("merged")).unwrap(), file);
            let read = Params::new(&Device::cpu(), 0);
            read.load_safetensors(&path.with_extension("merged"))
                .unwrap();
            assert_eq!(vec(&model(&Scope::root(&read, None))), merged);
            (first, bytes, adapted, merged, file)
        };
        assert_eq!(run(true), run(false), "{kind:?}");
    }
    // What is trained in full is counted where it is; what is asked for late is there, and stays.
    let late = Lora {
        trained: vec!["^unused".into()],
        ..lora()
    };
    let trained = |map: bool| {
        let params = params(&late);
        match map {
            true => params.map_safetensors(&path).unwrap(),
            false => drop(params.load_safetensors(&path).unwrap()),
        }
        model(&Scope::root(&params, None));
        let before = params.trained_elements();
        params.quantize_adapted(Quantization::Int8).unwrap();
        Scope::root(&params, None)
            .param("unused.weight", &[2], Init::Zeros)
            .unwrap();
        let value = vec(&params.get("unused.weight").unwrap());
        (before, params.trained_elements(), value)
    };
    assert_eq!(trained(true), trained(false));
    // Cut short after it was opened.
    let params = params(&lora());
    params.map_safetensors(&path).unwrap();
    let length = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(length - 4).unwrap();
    let error = params.value("words.weight").unwrap_err().to_string();
    for part in ["tenon-lora", "words.weight"] {
        assert!(error.contains(part), "{error}");
    }
    for name in [path.clone(), path.with_extension("merged")] {
        std::fs::remove_file(name).unwrap();
    }
}

#[test]
fn nothing_else_is_trained_but_what_is_named() {
    let gradients = |lora: &Lora| {
        let params = params(lora);
        let tape = Tape::new();
        let scope = Scope::root(&params, Some(&tape));
        let loss = model(&scope).sum(&[], false).unwrap();
        let mut all = tape.backward(&loss).unwrap();
        let all = scope.gradients(&mut all);
        scope.release();
        tape.close();
        let names: Vec<String> = all.into_iter().map(|(name, _)| name).collect();
        (names, params.trained_elements())
    };
    let (names, numbers) = gradients(&lora());
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(numbers, 2 * (6 + 4) + 2 * (4 + 6));
    let (names, _) = gradients(&Lora {
        targets: vec![r"^up$".into()],
        trained: vec![r"down\.bias$".into()],
        ..lora()
    });
    assert_eq!(
        names,
        ["h.0.down.bias", "up.lora_A.weight", "up.lora_B.weight"]
    );
}

#[test]
fn dropout_is_of_training_and_follows_its_key() {
    let params = params(&Lora {
        dropout: 0.5,
        ..lora()
    });
    model(&Scope::root(&params, None));
    learn(&params);
    let train = |key| {
        let tape = Tape::new();
        let y = vec(&model(&Scope::keyed(&params, Some(&tape), key)));
        tape.close();
        y
    };
    let evaluate = || vec(&model(&Scope::root(&params, None)));
    assert_eq!(train(1), train(1));
    assert_ne!(train(1), train(2));
    assert_ne!(train(1), evaluate());
    assert_eq!(evaluate(), evaluate());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refused = |lora: Lora| {
        Params::new(&Device::cpu(), 3)
            .adapt(&lora)
            .unwrap_err()
            .to_string()
    };
    let text = refused(Lora { rank: 0, ..lora() });
    assert!(text.contains("rank"), "{text}");
    let text = refused(Lora {
        alpha: f64::NAN,
        ..lora()
    });
    assert!(text.contains("alpha"), "{text}");
    let text = refused(Lora {
        dropout: 1.0,
        ..lora()
    });
    assert!(text.contains("dropout"), "{text}");
    let text = refused(Lora {
        targets: vec!["(".into()],
        ..lora()
    });
    assert!(text.contains("`(` in `lora.targets`"), "{text}");
    let params = params(&lora());
    model(&Scope::root(&params, None));
    let text = params
        .require_matches("`freeze`", &["^up".into(), "attn".into()])
        .unwrap_err()
        .to_string();
    assert!(
        text.contains("`attn`") && text.contains("up.weight"),
        "{text}"
    );
}
