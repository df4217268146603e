//! kill -9 while registering and logging: whole versions or none, flushed points stay, the run is
//! interrupted. The test starts itself as the child that is killed.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use common::{open, running};
use serde_json::json;
use tenon_track::{ModelManifest, PluginRef, RunQuery, RunStatus, StepRange};

const ROOT: &str = "TENON_TEST_TRACK_ROOT";

/// The child: does nothing when run as an ordinary test.
#[test]
fn child_registers_until_killed() {
    let Some(root) = std::env::var_os(ROOT) else {
        return;
    };
    let tracker = open(root.as_ref());
    let id = running(&tracker, "r").id;
    for step in 0_i64.. {
        tracker.log(&id, step, &[("loss", step as f64)]).unwrap();
        tracker.flush().unwrap();
        let weights = tracker
            .store()
            .blobs()
            .put(format!("{id} {step}").as_bytes());
        let manifest = ModelManifest {
            recipe: PluginRef {
                name: "tenon/gpt".to_owned(),
                version: "0.1.0".to_owned(),
                digest: "sha256:11".to_owned(),
            },
            recipe_config: json!({}),
            vocabulary: 1,
            tokenizer: None,
            weights: weights.unwrap().to_string(),
            run: Some(id.clone()),
            parent: None,
            origin: None,
            files: BTreeMap::new(),
            metrics: BTreeMap::new(),
        };
        let version = tracker
            .register_version("m", manifest, "", BTreeMap::new())
            .unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {} {step}", version.version).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_kill_leaves_whole_versions_flushed_points_and_an_interrupted_run() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_registers_until_killed", "--nocapture"])
            .env(ROOT, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ack = |line: &str| {
            let (_, numbers) = line.split_once("ack ")?;
            let (version, step) = numbers.split_once(' ')?;
            Some((version.parse::<u32>().ok()?, step.parse::<i64>().ok()?))
        };
        let mut last = None;
        for line in lines.by_ref() {
            last = ack(&line.unwrap()).or(last);
            if last.is_some_and(|(_, step)| step >= round) {
                break;
            }
        }
        child.kill().unwrap();
        for line in lines {
            last = line.ok().as_deref().and_then(ack).or(last);
        }
        child.wait().unwrap();
        let (version, step) = last.unwrap();

        let tracker = open(folder.path());
        let model = tracker.model("m").unwrap();
        assert!(
            model.latest >= version,
            "acknowledged version {version} is there"
        );
        let versions = tracker.versions("m").unwrap();
        assert_eq!(
            versions.len(),
            model.latest as usize,
            "the model counts whole versions"
        );
        for version in &versions {
            let weights = version.manifest.weights.parse().unwrap();
            tracker.store().blobs().read(&weights).unwrap();
            assert_eq!(version.manifest.digest(), version.digest);
        }
        let newest = &tracker.search(&RunQuery::default()).unwrap().runs[0];
        assert_eq!(newest.status, RunStatus::Interrupted);
        let points = tracker
            .history(&newest.id, "loss", StepRange::default())
            .unwrap();
        assert!(points.len() as i64 > step, "flushed points are there");
        assert!(points.iter().enumerate().all(|(i, p)| p.value == i as f64));
        assert_eq!(newest.metrics["loss"].count, points.len() as u64);
    }
}
