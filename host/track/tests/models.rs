//! Registered models and lineage.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::{open, reference, running, tracker};
use serde_json::json;
use tenon_track::{ModelManifest, PluginRef, ReferenceKind, RunStatus, TrackError, Tracker};

fn manifest(tracker: &Tracker, weights: &[u8]) -> ModelManifest {
    let blobs = tracker.store().blobs();
    ModelManifest {
        recipe: PluginRef {
            name: "tenon/gpt".to_owned(),
            version: "0.1.0".to_owned(),
            digest: "sha256:11".to_owned(),
        },
        recipe_config: json!({"layers": 2}),
        vocabulary: 100,
        tokenizer: Some(blobs.put(b"tokenizer").unwrap().to_string()),
        weights: blobs.put(weights).unwrap().to_string(),
        run: None,
        parent: None,
        origin: None,
        files: BTreeMap::new(),
        metrics: BTreeMap::from([("perplexity".to_owned(), f64::INFINITY)]),
    }
}

fn register(tracker: &Tracker, name: &str, weights: &[u8]) -> u32 {
    let manifest = manifest(tracker, weights);
    let version = tracker.register_version(name, manifest, "", BTreeMap::new());
    version.unwrap().version
}

#[test]
fn versions_count_up_and_are_found_by_number_alias_and_name() {
    let (folder, tracker) = tracker();
    assert_eq!(register(&tracker, "couplets", b"one"), 1);
    assert_eq!(register(&tracker, "couplets", b"two"), 2);
    assert_eq!(register(&tracker, "couplets-2", b"other"), 1);
    tracker.set_alias("couplets", "production", 1).unwrap();
    drop(tracker);

    let tracker = open(folder.path());
    let version = |text: &str| tracker.resolve_model(text).map(|v| v.version);
    assert_eq!(version("couplets").unwrap(), 2);
    assert_eq!(version("couplets@1").unwrap(), 1);
    assert_eq!(version("couplets@production").unwrap(), 1);
    for (text, hint) in [
        ("couplets@3", "there are: 1, 2"),
        ("couplets@nope", "production"),
        ("nothing", "couplets, couplets-2"),
    ] {
        let error = version(text).unwrap_err();
        assert!(
            error.is_not_found() && error.to_string().contains(hint),
            "{error}"
        );
    }
    let manifest = tracker.resolve_model("couplets").unwrap().manifest;
    assert_eq!(manifest.metrics["perplexity"], f64::INFINITY);
    assert_eq!(tracker.versions("couplets").unwrap().len(), 2);
    assert_eq!(tracker.models().unwrap().len(), 2);
}

#[test]
fn what_is_registered_must_exist_and_does_not_change() {
    let (_folder, tracker) = tracker();
    let mut wrong = manifest(&tracker, b"w");
    wrong.weights = format!("blake3:{}", "0".repeat(64));
    let error = tracker.register_version("m", wrong, "", BTreeMap::new());
    assert!(error.unwrap_err().to_string().contains("no blob"));
    let mut wrong = manifest(&tracker, b"w");
    wrong.run = Some("nobody".to_owned());
    let refused = tracker.register_version("m", wrong, "", BTreeMap::new());
    assert!(refused.unwrap_err().is_not_found());
    assert!(tracker.models().unwrap().is_empty(), "nothing was created");

    register(&tracker, "m", b"w");
    let before = tracker.version("m", 1).unwrap();
    let after = tracker
        .update_version("m", 1, |description, _| *description = "new".to_owned())
        .unwrap();
    assert_eq!(after.description, "new");
    assert_eq!(
        (after.digest, after.manifest),
        (before.digest, before.manifest)
    );

    assert!(matches!(
        tracker.create_model("m", ""),
        Err(TrackError::AlreadyExists { .. })
    ));
    assert!(tracker.create_model("a@b", "").is_err());
    assert!(
        tracker.set_alias("m", "7", 1).is_err(),
        "numbers are versions"
    );
    assert!(tracker.set_alias("m", "a", 9).unwrap_err().is_not_found());
}

#[test]
fn a_version_number_is_never_given_out_twice() {
    let (_folder, tracker) = tracker();
    register(&tracker, "m", b"1");
    register(&tracker, "m", b"2");
    tracker.set_alias("m", "best", 2).unwrap();
    let error = tracker.delete_version("m", 2).unwrap_err().to_string();
    assert!(error.contains("`best`"), "{error}");
    tracker.delete_alias("m", "best").unwrap();
    tracker.delete_version("m", 2).unwrap();
    assert_eq!(register(&tracker, "m", b"3"), 3);
    tracker.delete_model("m").unwrap();
    assert!(tracker.model("m").unwrap_err().is_not_found());
    assert!(tracker.all_versions().unwrap().is_empty());
}

#[test]
fn the_digest_of_a_manifest_is_that_of_its_content() {
    let (_folder, tracker) = tracker();
    let a = manifest(&tracker, b"w");
    let mut b = a.clone();
    assert_eq!(a.digest(), b.digest());
    b.recipe_config = json!({"layers": 3});
    assert_ne!(a.digest(), b.digest());
    let back: ModelManifest = serde_json::from_value(serde_json::to_value(&a).unwrap()).unwrap();
    assert_eq!(back.digest(), a.digest());
}

#[test]
fn live_blobs_survive_a_sweep_and_others_do_not() {
    let (_folder, tracker) = tracker();
    register(&tracker, "m", b"kept");
    let blobs = tracker.store().blobs();
    let loose = blobs.put(b"loose").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));
    let report = blobs
        .sweep(std::time::Duration::ZERO, || {
            tracker
                .live_blobs()
                .map_err(|e| tenon_store::StoreError::InvalidArgument(e.to_string()))
        })
        .unwrap();
    assert_eq!((report.kept, report.removed), (2, 1));
    assert!(!blobs.contains(&loose).unwrap());
}

#[test]
fn lineage_goes_from_the_model_back_to_the_data() {
    let (_folder, tracker) = tracker();
    let data = reference(ReferenceKind::Dataset, "train", "poems@1", "blake3:da7a");
    let raw = reference(ReferenceKind::File, "source", "poems.jsonl", "blake3:0f11e");
    let import = running(&tracker, "import").id;
    tracker.add_input(&import, raw).unwrap();
    tracker.add_output(&import, data.clone()).unwrap();
    tracker.end_run(&import, RunStatus::Finished, None).unwrap();

    let pretrain = running(&tracker, "pretrain").id;
    tracker.add_input(&pretrain, data).unwrap();
    let mut base = manifest(&tracker, b"base");
    base.run = Some(pretrain.clone());
    let base = tracker
        .register_version("base", base, "", BTreeMap::new())
        .unwrap();

    let tune = running(&tracker, "tune").id;
    let mut tuned = manifest(&tracker, b"tuned");
    tuned.run = Some(tune.clone());
    tuned.parent = Some("base@1".to_owned());
    let parent = reference(ReferenceKind::Model, "parent", "base@1", &base.digest);
    tracker.add_input(&tune, parent).unwrap();
    let tuned = tracker
        .register_version("tuned", tuned, "", BTreeMap::new())
        .unwrap();

    let graph = tracker.ancestry("tuned").unwrap();
    assert_eq!(graph.nodes[0].label, "tuned@1");
    let has = |from: &str, to: &str| graph.edges.iter().any(|e| e.from == from && e.to == to);
    assert!(has(&tune, &tuned.digest));
    assert!(has(&base.digest, &tune));
    assert!(has(&base.digest, &tuned.digest));
    assert!(has(&pretrain, &base.digest));
    assert!(has("blake3:da7a", &pretrain));
    assert!(has(&import, "blake3:da7a"));
    assert!(has("blake3:0f11e", &import));
    assert!(!graph.truncated);
    let labels: Vec<_> = graph.nodes.iter().map(|n| n.label.as_str()).collect();
    assert!(labels.contains(&"poems@1") && labels.contains(&"tenon/gpt@0.1.0"));
    // Nothing that came later.
    let of_base = tracker.ancestry("base@1").unwrap();
    assert!(
        of_base
            .nodes
            .iter()
            .all(|n| n.id != tune && n.id != tuned.digest)
    );

    let data = tracker.lineage("blake3:da7a").unwrap();
    assert_eq!(data.made_by[0].run, import);
    assert_eq!(data.used_by[0].run, pretrain);
    let weights = tracker.lineage(&tuned.manifest.weights).unwrap();
    assert_eq!(weights.models[0].role, "weights");
    assert_eq!(tracker.lineage("sha256:11").unwrap().models.len(), 2);
    assert!(tracker.ancestry("nothing").unwrap_err().is_not_found());
}
