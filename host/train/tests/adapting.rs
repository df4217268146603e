//! Fine-tuning of parts: frozen parameters, and low-rank adapters.
#![allow(clippy::unwrap_used)]

mod support;

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Value, json};
use support::{Place, place, spec};
use tenon_tensor::{Device, params::SafetensorsFile};
use tenon_track::Run;
use tenon_train::{
    ADAPTER, LoraSpec, Precision, PreferenceSpec, QuantizationSpec, TrainSpec, WEIGHTS,
};

/// Place with a model that knows the alphabet, and a dataset of it backwards.
fn taught() -> (Place, Run) {
    let place = place();
    let backwards = |rows| {
        support::alphabet(rows, 12)
            .lines()
            .map(|line| {
                let row: Value = serde_json::from_str(line).unwrap();
                let text: String = row["text"].as_str().unwrap().chars().rev().collect();
                format!("{}\n", json!({"text": text}))
            })
            .collect::<String>()
    };
    let splits = [("train", backwards(64)), ("dev", backwards(16))];
    support::import(place.platform(), "backwards", &splits);
    let run = place.finish(TrainSpec {
        register: Some("base".into()),
        ..spec(60)
    });
    (place, run)
}

fn tuned(steps: u64) -> TrainSpec {
    TrainSpec {
        recipe: None,
        tokenizer: None,
        recipe_config: json!({}),
        from: Some("base".into()),
        dataset: "backwards".into(),
        eval_every: Some(20),
        ..spec(steps)
    }
}

fn artifact(place: &Place, run: &Run, name: &str) -> PathBuf {
    let digest = run.artifacts[name].digest.parse().unwrap();
    place.platform().store.blobs().path(&digest)
}

fn values(path: &std::path::Path) -> BTreeMap<String, Vec<f32>> {
    let file = SafetensorsFile::open(path).unwrap();
    let tensors = file.tensors(&Device::cpu()).unwrap();
    let read =
        |(name, tensor): (String, tenon_tensor::Tensor)| (name, tensor.to_f32_vec().unwrap());
    tensors.into_iter().map(read).collect()
}

/// A training that was stopped after some steps.
fn stopped(place: &Place, spec: TrainSpec) -> Run {
    let run = place.jobs.train(spec).unwrap();
    support::until("some steps are done", || {
        let run = place.platform().tracker.run(&run.id).unwrap();
        // Its progress begins with the rows that are read.
        let losses = run.metrics.get("train/loss");
        losses.is_some_and(|losses| losses.count >= 5)
    });
    place.jobs.stop(&run.id).unwrap();
    let run = place.jobs.wait(&run.id).unwrap();
    assert_eq!(run.status.name(), "interrupted");
    run
}

#[test]
fn adapters_learn_what_the_weights_need_not() {
    let (place, base) = taught();
    let before = values(&artifact(&place, &base, WEIGHTS));
    for keep_best in [false, true] {
        let run = place.finish(TrainSpec {
            lora: Some(LoraSpec {
                rank: 4,
                alpha: 8.0,
                dropout: 0.1,
                targets: vec![r"attn\.c_attn$".into(), r"mlp\.".into()],
                ..LoraSpec::default()
            }),
            keep_best,
            ..tuned(60)
        });
        let losses = place.points(&run.id, "eval/loss");
        let (first, last) = (losses[0].1, losses.last().unwrap().1);
        assert!(last < 0.5 * first, "{losses:?}");
        // [32, 96], [32, 128] and [128, 32].
        let numbers = 4 * ((32 + 96) + 2 * (32 + 128));
        assert_eq!(run.params["trained_parameters"], json!(numbers));

        // The layers that were chosen have changed, nothing else, and nothing is there beside them.
        let after = values(&artifact(&place, &run, WEIGHTS));
        assert!(before.keys().eq(after.keys()));
        let changed: Vec<&str> = before
            .iter()
            .filter(|(name, values)| after[*name] != **values)
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            changed,
            [
                "h.0.attn.c_attn.weight",
                "h.0.mlp.c_fc.weight",
                "h.0.mlp.c_proj.weight"
            ]
        );

        // The adapters alone say by how much: α / r · (B A)ᵀ in a layer stored [in, out].
        let config = std::fs::read(artifact(&place, &run, ADAPTER[0])).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["r"], 4);
        assert_eq!(config["lora_alpha"], 8.0);
        assert_eq!(config["fan_in_fan_out"], true);
        assert_eq!(
            config["target_modules"],
            json!(["h.0.attn.c_attn", "h.0.mlp.c_fc", "h.0.mlp.c_proj"])
        );
        let adapter = values(&artifact(&place, &run, ADAPTER[1]));
        assert_eq!(adapter.len(), 6, "{:?}", adapter.keys());
        let part = |part: &str| {
            &adapter[&format!("base_model.model.transformer.h.0.attn.c_attn.lora_{part}.weight")]
        };
        let (a, b) = (part("A"), part("B"));
        let name = "h.0.attn.c_attn.weight";
        for (at, (new, old)) in after[name].iter().zip(&before[name]).enumerate() {
            let (input, out) = (at / 96, at % 96);
            let product: f32 = (0..4).map(|r| b[out * 4 + r] * a[r * 32 + input]).sum();
            assert!((new - old - 2.0 * product).abs() < 1e-5, "{at}");
        }

        // The merged model is what was measured at the end, or at its best.
        let expected = if keep_best {
            losses.iter().map(|point| point.1).fold(f64::MAX, f64::min)
        } else {
            last
        };
        let again = place.finish(TrainSpec {
            from: Some(format!("run:{}", run.id)),
            learning_rate: 1e-30,
            ..tuned(1)
        });
        let found = again.metrics["eval/loss"].last;
        assert!((found - expected).abs() < 1e-4, "{found}, not {expected}");
    }
}

#[test]
fn what_is_frozen_stays() {
    let (place, base) = taught();
    let run = place.finish(TrainSpec {
        freeze: vec![r"^(wte|wpe)\.".into(), r"\.ln_\d\.".into()],
        ..tuned(20)
    });
    let before = values(&artifact(&place, &base, WEIGHTS));
    let after = values(&artifact(&place, &run, WEIGHTS));
    for (name, old) in &before {
        let frozen = name.starts_with("w") || name.contains(".ln_");
        assert_eq!(after[name] == *old, frozen, "{name}");
    }
    assert!(!run.artifacts.contains_key(ADAPTER[0]));
}

#[test]
fn an_adapted_training_that_was_stopped_goes_on_where_it_was() {
    let (place, _) = taught();
    let adapted = |steps| TrainSpec {
        lora: Some(LoraSpec {
            dropout: 0.2,
            ..LoraSpec::default()
        }),
        ..tuned(steps)
    };
    let whole = place.finish(adapted(400));
    let run = stopped(&place, adapted(400));
    // What it started from is kept by the model that it started from.
    let folder = place.folder.path().join("runs").join(&run.id);
    let checkpoints = std::fs::read_dir(folder).unwrap();
    let file = checkpoints
        .map(|entry| entry.unwrap().path().join("params.safetensors"))
        .find(|path| path.exists())
        .unwrap();
    let kept = values(&file);
    assert!(
        !kept.is_empty() && kept.keys().all(|name| name.contains(".lora_")),
        "{:?}",
        kept.keys()
    );
    place.jobs.resume(&run.id).unwrap();
    let run = support::finished(place.jobs.wait(&run.id).unwrap());
    for name in [WEIGHTS, ADAPTER[0], ADAPTER[1]] {
        assert_eq!(
            run.artifacts[name].digest, whole.artifacts[name].digest,
            "{name}"
        );
    }
}

#[test]
fn adapters_that_cannot_be_meant() {
    let (place, _) = taught();
    let lora = |lora: LoraSpec| TrainSpec {
        lora: Some(lora),
        ..tuned(3)
    };
    let refused = |spec: TrainSpec| place.jobs.train(spec).unwrap_err().to_string();
    let text = refused(lora(LoraSpec {
        rank: 0,
        ..LoraSpec::default()
    }));
    assert!(text.contains("rank"), "{text}");
    let text = refused(TrainSpec {
        lora: Some(LoraSpec::default()),
        ..spec(3)
    });
    assert!(text.contains("`from`"), "{text}");
    let text = refused(TrainSpec {
        freeze: vec!["(".into()],
        ..tuned(3)
    });
    assert!(text.contains("regular expression"), "{text}");

    let failed = |spec: TrainSpec| place.train(spec).error.unwrap();
    let text = failed(lora(LoraSpec {
        targets: vec!["q_proj".into()],
        ..LoraSpec::default()
    }));
    assert!(
        text.contains("lora.targets") && text.contains("c_attn"),
        "{text}"
    );
    let text = failed(TrainSpec {
        freeze: vec!["wt3".into()],
        ..tuned(3)
    });
    assert!(
        text.contains("`wt3`") && text.contains("h.0.attn"),
        "{text}"
    );
    let text = failed(TrainSpec {
        freeze: vec![".".into()],
        ..tuned(3)
    });
    assert!(text.contains("no parameter"), "{text}");
}

#[test]
fn adapters_over_rounded_weights_learn_too() {
    let (place, base) = taught();
    let before = values(&artifact(&place, &base, WEIGHTS));
    for (kind, bits, error) in [
        (QuantizationSpec::Int8, 8, 1.0 / 254.0),
        (QuantizationSpec::Nf4, 4, 0.16),
    ] {
        let run = place.finish(TrainSpec {
            lora: Some(LoraSpec {
                rank: 4,
                targets: vec![r"attn\.c_attn$".into(), r"mlp\.".into()],
                quantize: Some(kind),
                ..LoraSpec::default()
            }),
            ..tuned(60)
        });
        let losses = place.points(&run.id, "eval/loss");
        let (first, last) = (losses[0].1, losses.last().unwrap().1);
        // The first letter is a guess among 8, the others follow from it.
        let floor = 8f64.ln() / 13.0;
        assert!(last < first && last < floor + 0.1, "{kind:?}: {losses:?}");
        // [32, 96], [32, 128] and [128, 32]; 32 bits for every 64 numbers beside.
        let numbers = 32 * 96 + 2 * 32 * 128;
        assert_eq!(
            run.params["quantized_bytes"],
            json!(numbers * bits / 8 + numbers / 64 * 4)
        );
        // Without its adapter a layer is what it was, but for rounding.
        let after = values(&artifact(&place, &run, WEIGHTS));
        let adapter = values(&artifact(&place, &run, ADAPTER[1]));
        let part = |part: &str| {
            &adapter[&format!("base_model.model.transformer.h.0.attn.c_attn.lora_{part}.weight")]
        };
        let (a, b) = (part("A"), part("B"));
        let name = "h.0.attn.c_attn.weight";
        let mut rounded = 0;
        for (block, old) in before[name].chunks(64).enumerate() {
            let most = old.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            for (at, old) in old.iter().enumerate() {
                let place = block * 64 + at;
                let (input, out) = (place / 96, place % 96);
                let product: f32 = (0..4).map(|r| b[out * 4 + r] * a[r * 32 + input]).sum();
                // α / r is 4.
                let off = (after[name][place] - old - 4.0 * product).abs();
                assert!(
                    off <= error * most + 1e-5,
                    "{kind:?} {place}: {off} of {most}"
                );
                rounded += usize::from(off > 1e-6);
            }
        }
        assert!(rounded > 2000, "{kind:?}: {rounded}");
        // The merged model is what was measured.
        let again = place.finish(TrainSpec {
            from: Some(format!("run:{}", run.id)),
            learning_rate: 1e-30,
            ..tuned(1)
        });
        let found = again.metrics["eval/loss"].last;
        assert!((found - last).abs() < 1e-4, "{found}, not {last}");
    }
}

/// The reference is the very model that is trained, before its first step: rounded where that is rounded.
#[test]
fn preferences_are_measured_against_the_model_before_its_first_step() {
    let (place, _) = taught();
    let pairs: String = support::alphabet(64, 12)
        .lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).unwrap();
            let text = row["text"].as_str().unwrap();
            let backwards: String = text.chars().rev().collect();
            format!("{}\n", json!({"chosen": backwards, "rejected": text}))
        })
        .collect();
    support::import(place.platform(), "pairs", &[("train", pairs)]);
    let quantized = LoraSpec {
        quantize: Some(QuantizationSpec::Nf4),
        ..LoraSpec::default()
    };
    let cases = [
        (None, Precision::Float32),
        (Some(LoraSpec::default()), Precision::Bfloat16),
        (Some(quantized), Precision::Float32),
    ];
    for (lora, precision) in cases {
        let spec = |steps| TrainSpec {
            lora: lora.clone(),
            preference: Some(PreferenceSpec::default()),
            precision,
            dataset: "pairs".into(),
            learning_rate: 1e-3,
            eval_every: None,
            ..tuned(steps)
        };
        let whole = place.finish(spec(200));
        let losses = place.points(&whole.id, "train/loss");
        let (first, last) = (losses[0].1, losses[losses.len() - 1].1);
        assert!((first - 2f64.ln()).abs() < 1e-6, "{lora:?}: {first}");
        assert!(last < 0.6, "{lora:?}: {last}");
        // Nothing is dropped out, not by adapters either.
        if let Some(lora) = &lora {
            let dropping = TrainSpec {
                lora: Some(LoraSpec {
                    dropout: 0.5,
                    ..lora.clone()
                }),
                ..spec(200)
            };
            let dropping = place.finish(dropping);
            assert_eq!(support::weights(&dropping), support::weights(&whole));
        }
        // What was learnt before the stop is not taken for the reference.
        let run = stopped(&place, spec(200));
        place.jobs.resume(&run.id).unwrap();
        let run = support::finished(place.jobs.wait(&run.id).unwrap());
        assert_eq!(support::weights(&run), support::weights(&whole), "{lora:?}");
    }
}
