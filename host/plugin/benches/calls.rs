//! What the boundary costs: `cargo bench -p tenon-plugin --bench calls`.
//!
//! - a tensor operation called by a guest against the same one called natively, paired in one run;
//! - an instance from the pool, opened and called once;
//! - a call of an open instance;
//! - 10,000 rows through a transform that does next to nothing, and through two that do something.
//!
//! The guest is written by hand in WebAssembly text: what is measured is the host's side, and the
//! canonical calls are those that the SDK's bindings make too. Set `TENON_BENCH_RECIPE` to a recipe's
//! component to time opening that one as well.
#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    hint::black_box,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::FORWARD_NOTHING;
use tenon_plugin::{
    Batch, Component, Engine, EngineOptions, Grants, Recipe, Transform, batch::Column,
};
use tenon_tensor::{
    Device, Tensor,
    nn::{Pass, Scope, Stage},
    params::Params,
};

/// Operations in one call.
const OPERATIONS: u32 = 100_000;
/// Rounds; the fastest of each side counts, because other processes only ever add time.
const ROUNDS: usize = 15;

fn main() {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    operations(&engine);
    opening(
        "a recipe written by hand",
        &engine.load(&support::recipe(FORWARD_NOTHING, "")).unwrap(),
    );
    calls(&engine);
    rows(&engine);
    if let Some(path) = std::env::var_os("TENON_BENCH_RECIPE") {
        let start = Instant::now();
        let component = engine.load(&std::fs::read(path).unwrap()).unwrap();
        println!(
            "{:<58} {:>10.1} ms",
            "load (compile)",
            start.elapsed().as_secs_f64() * 1e3
        );
        opening(&component.description().name.clone(), &component);
    }
}

fn fastest(mut run: impl FnMut()) -> Duration {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap()
}

struct World {
    params: Params,
    pass: Pass,
}

impl World {
    fn new() -> Self {
        let device = Device::cpu();
        Self {
            params: Params::new(&device, 0),
            pass: Pass::new(Stage::Evaluate, Vec::new(), 0, &device).unwrap(),
        }
    }

    fn forward(&self, recipe: &mut Recipe, inputs: Vec<(String, Tensor)>) {
        recipe
            .forward(&Scope::root(&self.params, None), &self.pass, inputs)
            .unwrap();
    }
}

/// One operation and the drop of its result.
fn operations(engine: &Engine) {
    let forward = format!(
        r#"(local $x i32) (local $left i32)
        (local.set $x (i32.load offset=8 (local.get 3)))
        (local.set $left (i32.const {OPERATIONS}))
        (loop $again
          (call $"tensor.add-scalar" (local.get $x) (f64.const 1) (i32.const 768))
          (if (i32.load8_u (i32.const 768)) (then unreachable))
          (call $"drop-tensor" (i32.load (i32.const 772)))
          (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        (call $"drop-tensor" (local.get $x))
        {FORWARD_NOTHING}"#
    );
    let component = engine.load(&support::recipe(&forward, "")).unwrap();
    let mut recipe = Recipe::open(&component, &json!({}), 0, Grants::default()).unwrap();
    let world = World::new();
    let x = Tensor::from_f32(&[8], &[1.0; 8], &Device::cpu()).unwrap();
    let (mut through, mut native) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        world.forward(&mut recipe, vec![("x".into(), x.clone())]);
        through = through.min(start.elapsed());
        let start = Instant::now();
        for _ in 0..OPERATIONS {
            drop(black_box(black_box(&x).add_scalar(1.0).unwrap()));
        }
        native = native.min(start.elapsed());
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(OPERATIONS);
    println!(
        "{:<58} {:>10.3} µs",
        "add_scalar([8]) and drop, native",
        each(native)
    );
    println!(
        "{:<58} {:>10.3} µs",
        "add_scalar([8]) and drop, through WebAssembly",
        each(through)
    );
    let overhead = each(through) - each(native);
    println!(
        "{:<58} {overhead:>10.3} µs",
        "overhead of an operation and the drop, two calls"
    );
    println!(
        "{:<58} {:>10.3} µs (at most 0.3)",
        "overhead of a call",
        overhead / 2.0
    );
}

/// A fresh instance from the pool: opened, called once, closed.
fn opening(name: &str, component: &Component) {
    const TIMES: u32 = 200;
    let per = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(TIMES);
    let time = fastest(|| {
        for _ in 0..TIMES {
            let mut recipe = Recipe::open(component, &json!({}), 8, Grants::default()).unwrap();
            black_box(recipe.parameter_groups().unwrap());
        }
    });
    println!(
        "{:<58} {:>10.2} µs",
        format!("instantiate, open, call, close: {name}"),
        per(time)
    );
}

/// A call of an open instance that does nothing.
fn calls(engine: &Engine) {
    const TIMES: u32 = 2000;
    let component = engine.load(&support::recipe(FORWARD_NOTHING, "")).unwrap();
    let mut recipe = Recipe::open(&component, &json!({}), 0, Grants::default()).unwrap();
    let world = World::new();
    let time = fastest(|| {
        for _ in 0..TIMES {
            world.forward(&mut recipe, Vec::new());
        }
    });
    println!(
        "{:<58} {:>10.3} µs",
        "an empty forward",
        time.as_secs_f64() * 1e6 / f64::from(TIMES)
    );
}

/// Rows through transforms that were compiled from Rust, as `cargo xtask plugins` builds them.
fn rows(engine: &Engine) {
    const ROWS: usize = 10_000;
    let folder = std::env::var_os("TENON_PLUGINS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/tenon/plugins"),
        PathBuf::from,
    );
    let texts: Vec<String> = (0..ROWS)
        .map(|row| {
            let first = 0x4e00 + row as u32 * 7919 % 4000;
            (0..7).filter_map(|at| char::from_u32(first + at)).collect()
        })
        .collect();
    let batch = |column| Batch {
        rows: ROWS as u32,
        columns: vec![column],
    };
    let numbers = batch(Column::from_i64s("n", 0..ROWS as i64));
    let texts = batch(Column::from_utf8("text", texts.iter().map(String::as_str)));
    let cases: [(&str, &str, Value, &Batch); 3] = [
        (
            "n + 1",
            "testing-probe-transform",
            json!({"column": "n"}),
            &numbers,
        ),
        (
            "tenon/filter by length",
            "transform-filter",
            json!({"columns": ["text"], "max_characters": 9}),
            &texts,
        ),
        (
            "tenon/normalize",
            "transform-normalize",
            json!({"columns": ["text"]}),
            &texts,
        ),
    ];
    for (what, name, config, input) in cases {
        let bytes = std::fs::read(folder.join(format!("{name}.wasm"))).unwrap();
        let component = engine.load(&bytes).unwrap();
        let mut transform = Transform::open(&component, &config, Grants::default()).unwrap();
        let time = fastest(|| {
            black_box(transform.process(black_box(input)).unwrap());
        });
        println!(
            "{:<58} {:>10.2} M rows/s",
            format!("10,000 rows through a transform: {what}"),
            ROWS as f64 / time.as_secs_f64() / 1e6
        );
    }
}
