//! Recipes that misbehave in the middle of training: the run fails with their words, everything else
//! goes on, and no tensor stays behind.
#![allow(clippy::unwrap_used)]

#[path = "../../plugin/tests/support/mod.rs"]
mod guests;
mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::{Place, place_with, spec};
use tenon_plugin::Limits;
use tenon_track::{Run, RunStatus};
use tenon_train::{ScheduleSpec, TrainSpec};

/// A recipe with one parameter of 4 MiB and the loss mean(w²). `then` is done in the forward pass after
/// this many that went well; the first is the one that the host builds the model with.
fn recipe(good: u32, then: &str) -> Vec<u8> {
    let forward = format!(
        r#"
  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (i32.store (i32.const 640) (i32.const 1048576))
  (call $"scope.param" (local.get 1) (i32.const 4096) (i32.const 1) (i32.const 640) (i32.const 1)
    (i32.const 1) (f32.const 0) (i32.const 768))
  (call $"tensor.mul" (i32.load (i32.const 772)) (i32.load (i32.const 772)) (i32.const 784))
  (call $"drop-tensor" (i32.load (i32.const 772)))
  (if (i32.gt_u (global.get $calls) (i32.const {good})) (then {then}))
  (call $"drop-scope" (local.get 1))
  (call $"drop-pass" (local.get 2))
  (i32.store (i32.const 1024) (i32.const 4097))
  (i32.store (i32.const 1028) (i32.const 1))
  (i32.store (i32.const 1032) (i32.load (i32.const 788)))
  (i32.store8 (i32.const 512) (i32.const 0))
  (i32.store (i32.const 516) (i32.const 1024))
  (i32.store (i32.const 520) (i32.const 1))
  (i32.const 512)"#
    );
    let loss = r#"
  (call $"tensor.mean" (i32.load offset=8 (local.get 2)) (i32.const 640) (i32.const 0) (i32.const 0) (i32.const 800))
  (call $"drop-tensor" (i32.load offset=8 (local.get 2)))
  (call $"ones" (i32.const 640) (i32.const 0) (i32.const 0) (i32.const 816))
  (call $"drop-pass" (local.get 1))
  (i32.store8 (i32.const 512) (i32.const 0))
  (i32.store (i32.const 516) (i32.load (i32.const 804)))
  (i32.store (i32.const 520) (i32.load (i32.const 820)))
  (i64.store (i32.const 524) (i64.const 0))
  (i32.const 512)"#;
    let bodies = [
        ("[static]model.open", guests::OPEN_MODEL),
        // No inputs, no generation: zeros.
        ("[method]model.signature", "(i32.const 2048)"),
        (
            "[method]model.parameter-groups",
            "(i64.store (i32.const 512) (i64.const 0)) (i32.const 512)",
        ),
        ("[method]model.forward", &forward),
        ("[method]model.loss", loss),
    ];
    let extra = r#"(global $calls (mut i32) (i32.const 0))
      (data (i32.const 4096) "wy")
      (data (i32.const 8192) "panicked at src/lib.rs:7: no more")
      (func $"deep::inside" (call $"log" (i32.const 4) (i32.const 8192) (i32.const 33)) unreachable)"#;
    guests::component("recipe-plugin", &bodies, extra)
}

fn by_hand() -> TrainSpec {
    TrainSpec {
        recipe: Some("test/by-hand".into()),
        recipe_config: json!({}),
        tokenizer: None,
        dataset: "plain".into(),
        schedule: ScheduleSpec::default(),
        register: Some("never".into()),
        ..spec(10)
    }
}

fn furnished(limits: Limits) -> Place {
    let place = place_with(limits);
    support::import(
        place.platform(),
        "plain",
        &[("train", support::alphabet(20, 3))],
    );
    place
}

/// Trains with a recipe that misbehaves at its third step, and a good one behind it.
fn fails(place: &Place, then: &str) -> Run {
    support::install_bytes(place.platform(), &recipe(3, then));
    let bad = place.jobs.train(by_hand()).unwrap();
    let good = place.jobs.train(spec(2)).unwrap();
    support::finished(place.jobs.wait(&good.id).unwrap());
    let bad = place.jobs.wait(&bad.id).unwrap();
    assert_eq!(bad.status, RunStatus::Failed);
    let error = bad.error.as_deref().unwrap();
    assert!(
        error.starts_with("step 3: plugin test/by-hand, forward: "),
        "{error}"
    );
    assert_eq!(
        place.points(&bad.id, "train/loss").len(),
        2,
        "two steps went well"
    );
    assert!(bad.outputs.is_empty() && bad.artifacts.is_empty());
    assert!(
        place.platform().tracker.model("never").is_err(),
        "nothing is registered"
    );
    bad
}

#[test]
fn a_recipe_that_behaves_learns() {
    let place = furnished(Limits::default());
    support::install_bytes(place.platform(), &recipe(1000, "unreachable"));
    let run = place.finish(TrainSpec {
        register: None,
        ..by_hand()
    });
    let losses = place.points(&run.id, "train/loss");
    assert_eq!(losses[0].1, 1.0);
    assert!(losses[9].1 < 0.95, "{losses:?}");
    assert!(run.metrics.contains_key("train/rows_per_second"));
    assert!(!run.metrics.contains_key("eval/perplexity"));
}

#[test]
fn a_panic_is_told_in_the_guests_words_with_its_functions() {
    let place = furnished(Limits::default());
    let run = fails(&place, r#"(call $"deep::inside")"#);
    let error = run.error.unwrap();
    assert!(
        error.contains("panicked at src/lib.rs:7: no more"),
        "{error}"
    );
    assert!(error.contains("in deep::inside"), "{error}");
    // Those who watch have seen it too.
    let lines = place.jobs.log_lines(&run.id, 0);
    assert!(
        lines
            .iter()
            .any(|line| line.level == "error" && line.message.contains("no more")),
        "{lines:?}"
    );
}

#[test]
fn a_loop_without_end_is_stopped() {
    let place = furnished(Limits {
        call_time: Duration::from_secs(1),
        ..Limits::default()
    });
    let start = Instant::now();
    let run = fails(&place, "(loop $again (br $again))");
    assert!(run.error.unwrap().contains("did not end within 1 s"));
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn memory_without_end_is_refused() {
    let place = furnished(Limits {
        memory_bytes: 64 << 20,
        ..Limits::default()
    });
    let run = fails(
        &place,
        "(loop $again (br_if $again (i32.ne (i32.const -1) (memory.grow (i32.const 64))))) unreachable",
    );
    let error = run.error.unwrap();
    assert!(
        error.contains("ran out of memory") && error.contains("memory_bytes"),
        "{error}"
    );
}

#[test]
fn tensors_without_end_are_refused() {
    let place = furnished(Limits {
        tensor_bytes: Some(64 << 20),
        ..Limits::default()
    });
    // Until there is an error, which it returns.
    let run = fails(
        &place,
        r#"(call $"drop-scope" (local.get 1)) (call $"drop-pass" (local.get 2))
        (loop $again
          (call $"zeros" (i32.const 640) (i32.const 1) (i32.const 0) (i32.const 768))
          (br_if $again (i32.eqz (i32.load8_u (i32.const 768)))))
        (memory.copy (i32.const 516) (i32.const 772) (i32.const 12))
        (i32.store8 (i32.const 512) (i32.const 1))
        (return (i32.const 512))"#,
    );
    let error = run.error.unwrap();
    assert!(
        error.contains("out-of-quota: zeros") && error.contains("64 MiB"),
        "{error}"
    );
}

#[test]
fn failed_steps_leave_no_memory_behind() {
    let place = furnished(Limits::default());
    support::install_bytes(place.platform(), &recipe(3, "unreachable"));
    let fail = || {
        let run = place.train(by_hand());
        assert_eq!(run.status, RunStatus::Failed);
    };
    (0..5).for_each(|_| fail());
    let before = resident();
    (0..40).for_each(|_| fail());
    let grown = resident().saturating_sub(before);
    // Had only w² stayed, it would be 160 MiB.
    assert!(grown < 60 << 20, "{} MiB", grown >> 20);
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<u64>()
        .unwrap()
        << 10
}
