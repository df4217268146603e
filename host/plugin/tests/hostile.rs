//! Recipes that misbehave: each ends as a typed error of its own instance, and the host goes on.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::json;
use support::FORWARD_NOTHING;
use tenon_plugin::{
    Component, Engine, EngineOptions, Failure, Grants, Limits, LogLevel, LogSink, PluginError,
    Recipe,
};
use tenon_tensor::{
    Device, Tensor,
    nn::{Pass, Scope, Stage},
    params::Params,
};

fn engine() -> Engine {
    Engine::new(EngineOptions::default()).unwrap()
}

fn load(forward: &str, extra: &str) -> Component {
    engine().load(&support::recipe(forward, extra)).unwrap()
}

fn open(component: &Component, limits: Limits) -> Recipe {
    Recipe::open(
        component,
        &json!({}),
        0,
        Grants {
            limits: Some(limits),
            ..Grants::default()
        },
    )
    .unwrap()
}

fn forward_of(
    recipe: &mut Recipe,
    inputs: Vec<(String, Tensor)>,
) -> Result<Vec<(String, Tensor)>, PluginError> {
    let device = Device::cpu();
    let params = Params::new(&device, 0);
    let pass = Pass::new(Stage::Train, Vec::new(), 0, &device).unwrap();
    recipe.forward(&Scope::root(&params, None), &pass, inputs)
}

/// Runs one forward of a guest under these limits and returns how it failed.
fn fails(forward: &str, extra: &str, limits: Limits) -> PluginError {
    forward_of(&mut open(&load(forward, extra), limits), Vec::new()).unwrap_err()
}

fn quick() -> Limits {
    Limits {
        call_time: Duration::from_millis(100),
        ..Limits::default()
    }
}

/// `(drop the borrows, then) call zeros([2])`: leaves the result's tag at 768 and the handle at 772.
const ZEROS: &str = r#"
  (i32.store (i32.const 640) (i32.const 2))
  (call $"zeros" (i32.const 640) (i32.const 1) (i32.const 0) (i32.const 768))"#;

#[test]
fn nothing_wrong_is_no_error() {
    let component = load(FORWARD_NOTHING, "");
    let mut recipe = open(&component, Limits::default());
    for _ in 0..3 {
        assert!(forward_of(&mut recipe, Vec::new()).unwrap().is_empty());
    }
}

#[test]
fn a_loop_without_end_is_stopped() {
    let start = Instant::now();
    let error = fails("(loop $again (br $again)) unreachable", "", quick());
    assert!(matches!(error, PluginError::Timeout(_)), "{error}");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    let text = error.to_string();
    assert!(
        text.contains("test/by-hand") && text.contains("forward") && text.contains("100 ms"),
        "{text}"
    );
    assert!(
        error.hint().is_some_and(|hint| hint.contains("call_time")),
        "{text}"
    );
}

#[test]
fn a_loop_of_cheap_host_calls_is_stopped() {
    let error = fails(
        r#"(loop $again (drop (call $"random")) (br $again)) unreachable"#,
        "",
        quick(),
    );
    assert!(matches!(error, PluginError::Timeout(_)), "{error}");
}

#[test]
fn a_loop_in_the_start_function_is_stopped() {
    let bytes = support::recipe(
        FORWARD_NOTHING,
        "(func $begin (loop $again (br $again))) (start $begin)",
    );
    let engine = Engine::new(EngineOptions {
        limits: quick(),
        ..EngineOptions::default()
    })
    .unwrap();
    let error = engine.load(&bytes).unwrap_err();
    assert!(matches!(error, PluginError::Timeout(_)), "{error}");
    assert_eq!(error.report().phase, "instantiate");
}

#[test]
fn allocating_without_end_is_out_of_memory_not_unreachable() {
    let forward = r#"(loop $again
        (if (i32.eq (i32.const -1) (memory.grow (i32.const 64))) (then unreachable))
        (br $again)) unreachable"#;
    let error = fails(
        forward,
        "",
        Limits {
            memory_bytes: 64 << 20,
            ..Limits::default()
        },
    );
    assert!(matches!(error, PluginError::Memory(_)), "{error}");
    assert!(
        error.to_string().contains("64 MiB") && error.hint().unwrap().contains("memory_bytes"),
        "{error}"
    );
}

#[test]
fn memory_beyond_what_32_bits_address_is_refused_too() {
    let forward = r#"(loop $again
        (if (i32.eq (i32.const -1) (memory.grow (i32.const 16384))) (then unreachable))
        (br $again)) unreachable"#;
    let error = fails(
        forward,
        "",
        Limits {
            memory_bytes: u64::MAX,
            ..Limits::default()
        },
    );
    assert!(matches!(error, PluginError::Memory(_)), "{error}");
}

#[test]
fn endless_recursion_uses_up_the_stack() {
    let error = fails(
        "(call $deeper) unreachable",
        "(func $deeper (call $deeper) (call $deeper))",
        Limits::default(),
    );
    assert!(matches!(error, PluginError::Quota(_)), "{error}");
    assert!(
        error.to_string().contains("stack") && error.hint().unwrap().contains("stack_bytes"),
        "{error}"
    );
}

#[test]
fn a_trap_names_the_guests_functions_and_poisons_the_instance() {
    let extra = r#"(func $"attention::scores" (i32.store (i32.const -1) (i32.const 1)))
                   (func $"block::run" (call $"attention::scores"))"#;
    let component = load(r#"(call $"block::run") unreachable"#, extra);
    let mut recipe = open(&component, Limits::default());
    let error = forward_of(&mut recipe, Vec::new()).unwrap_err();
    assert!(matches!(error, PluginError::Trap(_)), "{error}");
    assert_eq!(
        error.report().backtrace[..2],
        ["attention::scores", "block::run"],
        "{error}"
    );
    assert!(error.to_string().contains("out of bounds"), "{error}");

    let again = forward_of(&mut recipe, Vec::new()).unwrap_err();
    assert!(matches!(again, PluginError::Poisoned(_)), "{again}");
    assert!(
        again.to_string().contains("out of bounds"),
        "why it is poisoned: {again}"
    );

    // A new instance of the same component is whole.
    assert!(matches!(
        forward_of(&mut open(&component, Limits::default()), Vec::new()),
        Err(PluginError::Trap(_))
    ));
}

#[derive(Default)]
struct Lines(Mutex<Vec<(LogLevel, String)>>);
impl LogSink for Lines {
    fn log(&self, plugin: &str, level: LogLevel, message: &str) {
        self.0.lock().push((level, format!("{plugin}: {message}")));
    }
}

#[test]
fn a_panic_is_reported_in_the_guests_own_words() {
    let forward = r#"(call $"log" (i32.const 4) (i32.const 4096) (i32.const 31)) unreachable"#;
    let component = load(
        forward,
        r#"(data (i32.const 4096) "panicked at src/lib.rs:7: no go")"#,
    );
    let lines = Arc::new(Lines::default());
    let grants = Grants {
        log: lines.clone(),
        ..Grants::default()
    };
    let mut recipe = Recipe::open(&component, &json!({}), 0, grants).unwrap();
    let error = forward_of(&mut recipe, Vec::new()).unwrap_err();
    assert!(matches!(error, PluginError::Trap(_)), "{error}");
    assert!(
        error
            .report()
            .message
            .contains("panicked at src/lib.rs:7: no go"),
        "{error}"
    );
    assert_eq!(
        lines.0.lock()[0],
        (
            LogLevel::Error,
            "test/by-hand: panicked at src/lib.rs:7: no go".into()
        )
    );
}

#[test]
fn a_giant_result_is_refused_before_it_is_copied() {
    // An error whose sentence is 8 MiB long.
    let forward = r#"
        (call $"drop-scope" (local.get 1)) (call $"drop-pass" (local.get 2))
        (drop (memory.grow (i32.const 200)))
        (i32.store8 (i32.const 512) (i32.const 1))
        (i32.store8 (i32.const 516) (i32.const 6))
        (i32.store (i32.const 520) (i32.const 65536))
        (i32.store (i32.const 524) (i32.const 8388608))
        (i32.const 512)"#;
    let error = fails(
        forward,
        "",
        Limits {
            host_call_bytes: 1 << 20,
            ..Limits::default()
        },
    );
    assert!(matches!(error, PluginError::Quota(_)), "{error}");
    assert!(
        error.to_string().contains("1 MiB") && error.hint().unwrap().contains("host_call_bytes"),
        "{error}"
    );
}

#[test]
fn a_list_that_lies_outside_the_memory_is_a_trap() {
    let forward = r#"
        (call $"drop-scope" (local.get 1)) (call $"drop-pass" (local.get 2))
        (i32.store8 (i32.const 512) (i32.const 0))
        (i32.store (i32.const 516) (i32.const 0))
        (i32.store (i32.const 520) (i32.const 0x0fffffff))
        (i32.const 512)"#;
    let error = fails(forward, "", Limits::default());
    assert!(
        matches!(error, PluginError::Trap(_) | PluginError::Quota(_)),
        "{error}"
    );
}

#[test]
fn leaked_handles_are_counted_and_then_refused() {
    // Makes tensors until there is an error, which it returns.
    let forward = format!(
        r#"(call $"drop-scope" (local.get 1)) (call $"drop-pass" (local.get 2))
        (loop $again {ZEROS} (br_if $again (i32.eqz (i32.load8_u (i32.const 768)))))
        (memory.copy (i32.const 516) (i32.const 772) (i32.const 12))
        (i32.store8 (i32.const 512) (i32.const 1))
        (i32.const 512)"#
    );
    let component = load(&forward, "");
    let mut recipe = open(
        &component,
        Limits {
            tensor_handles: 1000,
            ..Limits::default()
        },
    );
    let error = forward_of(&mut recipe, Vec::new()).unwrap_err();
    let PluginError::Guest {
        failure: Failure::OutOfQuota(message),
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(
        message.contains("zeros") && message.contains("1000") && message.contains("tensor_handles"),
        "{message}"
    );
    // What the guest forgot it still holds: the next call has no handle left. The instance lives.
    let error = forward_of(&mut recipe, Vec::new()).unwrap_err();
    assert!(
        matches!(
            &error,
            PluginError::Guest {
                failure: Failure::OutOfQuota(_),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn handles_leaked_one_at_a_time_over_many_calls_are_found() {
    // Forgets one tensor in each call; returns the error when there is one.
    let forward = format!(
        r#"{ZEROS}
        (if (i32.eqz (i32.load8_u (i32.const 768))) (then {FORWARD_NOTHING} return))
        (call $"drop-scope" (local.get 1)) (call $"drop-pass" (local.get 2))
        (memory.copy (i32.const 516) (i32.const 772) (i32.const 12))
        (i32.store8 (i32.const 512) (i32.const 1))
        (i32.const 512)"#
    );
    let component = load(&forward, "");
    let mut recipe = open(
        &component,
        Limits {
            tensor_handles: 10,
            ..Limits::default()
        },
    );
    for _ in 0..10 {
        forward_of(&mut recipe, Vec::new()).unwrap();
    }
    let error = forward_of(&mut recipe, Vec::new()).unwrap_err();
    assert!(
        matches!(
            &error,
            PluginError::Guest {
                failure: Failure::OutOfQuota(_),
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_handle_kept_from_an_earlier_call_is_dead_and_can_be_dropped() {
    // First call: keeps a tensor. Second: adds it to itself and returns the error.
    let forward = format!(
        r#"(if (i32.eqz (global.get $kept)) (then
            {ZEROS} (global.set $kept (i32.load (i32.const 772)))
            {FORWARD_NOTHING} return))
        (call $"tensor.add" (global.get $kept) (global.get $kept) (i32.const 768))
        (call $"drop-tensor" (global.get $kept))
        (call $"drop-scope" (local.get 1)) (call $"drop-pass" (local.get 2))
        (memory.copy (i32.const 516) (i32.const 772) (i32.const 12))
        (i32.store8 (i32.const 512) (i32.load8_u (i32.const 768)))
        (i32.const 512)"#
    );
    let component = load(&forward, "(global $kept (mut i32) (i32.const 0))");
    let mut recipe = open(&component, Limits::default());
    forward_of(&mut recipe, Vec::new()).unwrap();
    let error = forward_of(&mut recipe, Vec::new()).unwrap_err();
    let PluginError::Guest {
        failure: Failure::InvalidArgument(message),
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(
        message.starts_with("add: this tensor belonged to an earlier call"),
        "{message}"
    );
}

#[test]
fn a_kept_handle_where_no_error_can_be_returned_ends_the_call() {
    let forward = format!(
        r#"(if (i32.eqz (global.get $kept)) (then
            {ZEROS} (global.set $kept (i32.load (i32.const 772)))
            {FORWARD_NOTHING} return))
        (call $"tensor.shape" (global.get $kept) (i32.const 768)) unreachable"#
    );
    let component = load(&forward, "(global $kept (mut i32) (i32.const 0))");
    let mut recipe = open(&component, Limits::default());
    forward_of(&mut recipe, Vec::new()).unwrap();
    let error = forward_of(&mut recipe, Vec::new()).unwrap_err();
    assert!(matches!(error, PluginError::Contract(_)), "{error}");
    assert!(error.to_string().contains("earlier call"), "{error}");
}

#[test]
fn a_tensor_larger_than_the_machine_is_refused_before_it_is_made() {
    let forward = r#"
        (i64.store (i32.const 640) (i64.const 0xffffffffffffffff))
        (call $"zeros" (i32.const 640) (i32.const 2) (i32.const 0) (i32.const 768))
        (call $"drop-scope" (local.get 1)) (call $"drop-pass" (local.get 2))
        (memory.copy (i32.const 516) (i32.const 772) (i32.const 12))
        (i32.store8 (i32.const 512) (i32.load8_u (i32.const 768)))
        (i32.const 512)"#;
    let error = fails(forward, "", Limits::default());
    let PluginError::Guest {
        failure: Failure::OutOfQuota(message),
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(
        message.contains("zeros") && message.contains("tensor_bytes"),
        "{message}"
    );
}

#[test]
fn inputs_beyond_the_limit_are_the_callers_error() {
    let component = load(FORWARD_NOTHING, "");
    let mut recipe = open(
        &component,
        Limits {
            tensor_bytes: Some(1000),
            ..Limits::default()
        },
    );
    let big = Tensor::zeros(&[1000], tenon_tensor::DType::F32, &Device::cpu()).unwrap();
    let error = forward_of(&mut recipe, vec![("tokens".into(), big)]).unwrap_err();
    assert!(
        error.to_string().contains("tokens") && error.to_string().contains("tensor_bytes"),
        "{error}"
    );
    let small = Tensor::zeros(&[100], tenon_tensor::DType::F32, &Device::cpu()).unwrap();
    forward_of(&mut recipe, vec![("tokens".into(), small)]).unwrap();
}

#[test]
fn tensors_of_a_call_are_freed_when_it_ends() {
    let component = load(FORWARD_NOTHING, "");
    // Room for ten inputs; the guest never drops one.
    let mut recipe = open(
        &component,
        Limits {
            tensor_bytes: Some(160),
            ..Limits::default()
        },
    );
    let input = Tensor::zeros(&[4], tenon_tensor::DType::F32, &Device::cpu()).unwrap();
    for _ in 0..1000 {
        forward_of(&mut recipe, vec![("x".into(), input.clone())]).unwrap();
    }
}

#[test]
fn one_plugin_that_loops_does_not_hold_up_another() {
    let engine = engine();
    let looping = engine
        .load(&support::recipe(
            "(loop $again (br $again)) unreachable",
            "",
        ))
        .unwrap();
    let working = engine.load(&support::recipe(FORWARD_NOTHING, "")).unwrap();
    let bad = std::thread::spawn(move || {
        let limits = Limits {
            call_time: Duration::from_millis(500),
            ..Limits::default()
        };
        forward_of(&mut open(&looping, limits), Vec::new()).unwrap_err()
    });
    let mut good = open(&working, Limits::default());
    let mut calls = 0;
    while !bad.is_finished() {
        forward_of(&mut good, Vec::new()).unwrap();
        calls += 1;
    }
    assert!(matches!(bad.join().unwrap(), PluginError::Timeout(_)));
    assert!(calls > 100, "{calls} calls went through meanwhile");
}

#[test]
fn too_many_instances_are_refused_and_closing_some_helps() {
    let component = load(FORWARD_NOTHING, "");
    let mut kept = Vec::new();
    let error = loop {
        match Recipe::open(&component, &json!({}), 0, Grants::default()) {
            Ok(recipe) => kept.push(recipe),
            Err(error) => break error,
        }
        assert!(kept.len() < 10_000);
    };
    assert!(matches!(error, PluginError::Quota(_)), "{error}");
    assert!(error.to_string().contains("too many instances"), "{error}");
    kept.truncate(10);
    Recipe::open(&component, &json!({}), 0, Grants::default()).unwrap();
}

#[test]
fn a_deadline_holds_after_the_clock_has_slept() {
    let engine = engine();
    let component = engine
        .load(&support::recipe(
            "(loop $again (br $again)) unreachable",
            "",
        ))
        .unwrap();
    let mut recipe = open(&component, quick());
    // Longer than the clock idles before it parks.
    std::thread::sleep(Duration::from_millis(2500));
    let start = Instant::now();
    let error = forward_of(&mut recipe, Vec::new()).unwrap_err();
    assert!(matches!(error, PluginError::Timeout(_)), "{error}");
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
}
