//! Guests written by hand in WebAssembly text, for what no compiler would write.
//!
//! [`component`] takes a world and the bodies of some of its exports; every other export traps. The
//! functions of the world's imports and exports are declared under their canonical names, and a
//! `memory`, a bump allocator and a valid `describe` are there.
#![allow(dead_code, clippy::unwrap_used)]

use std::{fmt::Write as _, path::Path};

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// Where functions put what they return.
pub const RETURN: u32 = 512;

/// A component of `world` (`transform-plugin`, …). `bodies`: exports by the end of their canonical
/// name (`model.forward`) and their code. `extra`: more functions, globals and data (from 4096 on).
pub fn component(world: &str, bodies: &[(&str, &str)], extra: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let (package, _) = resolve.push_dir(wit).unwrap();
    let id = resolve.select_world(&[package], Some(world)).unwrap();
    let dummy = dummy_module(&resolve, id, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    let mut module = wat::parse_str(text(&dummy, world, bodies, extra)).unwrap();
    embed_component_metadata(&mut module, &resolve, id, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

/// Rewrites the dummy module as text, with our bodies.
fn text(dummy: &[u8], world: &str, bodies: &[(&str, &str)], extra: &str) -> String {
    use wasmparser::{ExternalKind, Parser, Payload, TypeRef};
    let (mut types, mut functions, mut imports, mut exports) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for payload in Parser::new(0).parse_all(dummy) {
        match payload.unwrap() {
            Payload::TypeSection(section) => {
                types.extend(section.into_iter_err_on_gc_types().map(Result::unwrap));
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.unwrap();
                    if let TypeRef::Func(ty) = import.ty {
                        imports.push((import.module.to_owned(), import.name.to_owned(), ty));
                    }
                }
            }
            Payload::FunctionSection(section) => {
                functions.extend(section.into_iter().map(Result::unwrap))
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.unwrap();
                    if export.kind == ExternalKind::Func {
                        exports.push((export.name.to_owned(), export.index as usize));
                    }
                }
            }
            _ => {}
        }
    }
    let signature = |ty: u32| {
        let ty = &types[ty as usize];
        let list = |kind: &str, types: &[wasmparser::ValType]| {
            types.iter().fold(String::new(), |mut out, ty| {
                let _ = write!(out, " ({kind} {ty})");
                out
            })
        };
        format!(
            "{}{}",
            list("param", ty.params()),
            list("result", ty.results())
        )
    };
    let mut out = String::from("(module\n");
    for (module, name, ty) in &imports {
        let _ = writeln!(
            out,
            "(import {module:?} {name:?} (func ${:?}{}))",
            short(module, name),
            signature(*ty)
        );
    }
    out.push_str(ALWAYS);
    let _ = write!(out, "{}", description(world));
    let mut used = vec![false; bodies.len()];
    for (name, index) in &exports {
        // Our allocator never frees, so there is nothing to do after a return either.
        if name == "cabi_realloc"
            || name.starts_with("cabi_post_")
            || name.ends_with("#_initialize")
            || name == "_initialize"
        {
            continue;
        }
        let ty = functions[index - imports.len()];
        let mut body = if name.ends_with("#describe") {
            "(i32.const 128)"
        } else {
            "unreachable"
        };
        if name.contains("[dtor]") {
            body = "";
        }
        for (at, (end, code)) in bodies.iter().enumerate() {
            if name.ends_with(end) {
                body = code;
                used[at] = true;
            }
        }
        let _ = writeln!(
            out,
            "(func $\"{}\" (export {name:?}){} {body})",
            after(name),
            signature(ty)
        );
    }
    out.push_str(extra);
    out.push_str("\n)");
    assert!(
        used.iter().all(|used| *used),
        "no such export: {bodies:?} in {exports:?}"
    );
    out
}

/// `log`, `tensor.add`, `drop-scope`: the short name of an import.
fn short(module: &str, name: &str) -> String {
    let name = name
        .trim_start_matches("[method]")
        .trim_start_matches("[static]");
    match name.split_once(']') {
        // [resource-drop]tensor
        Some((kind, resource)) => format!("{}-{resource}", kind.trim_start_matches("[resource-")),
        None if module.contains("model-host") || module.contains("tensors") => name.to_owned(),
        None => name.to_owned(),
    }
}

fn after(export: &str) -> &str {
    export.rsplit_once('#').map_or(export, |(_, name)| name)
}

/// Memory, and an allocator that never frees.
const ALWAYS: &str = r#"
(memory (export "memory") 2)
(global $heap (mut i32) (i32.const 65536))
(func $alloc (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
  (local $at i32)
  (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
  (global.set $heap (i32.add (local.get $at) (local.get $size)))
  (block $fits
    (br_if $fits (i32.le_u (global.get $heap) (i32.mul (memory.size) (i32.const 65536))))
    (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get $size) (i32.const 65536))))))
    unreachable)
  (local.get $at))
"#;

/// What `describe` returns, at 128.
fn description(world: &str) -> String {
    let kind = ["transform", "recipe", "evaluator", "processor"]
        .iter()
        .position(|kind| world.starts_with(kind))
        .unwrap();
    let texts = [
        "test/by-hand",
        "0.1.0",
        "A guest written by hand.",
        r#"{"type":"object"}"#,
    ];
    let mut data = String::new();
    let mut record = Vec::new();
    let mut at = 192u32;
    for (field, text) in texts.iter().enumerate() {
        if field == 2 {
            record.extend_from_slice(&(kind as u32).to_le_bytes());
        }
        record.extend_from_slice(&at.to_le_bytes());
        record.extend_from_slice(&(text.len() as u32).to_le_bytes());
        let _ = writeln!(data, "(data (i32.const {at}) {text:?})");
        at += text.len() as u32;
    }
    // No capabilities.
    record.extend_from_slice(&[0; 8]);
    let bytes = record.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "\\{byte:02x}");
        out
    });
    format!("{data}(data (i32.const 128) \"{bytes}\")\n")
}

/// The body of `model.open`: a model.
pub const OPEN_MODEL: &str = r#"
  (i32.store8 (i32.const 512) (i32.const 0))
  (i32.store (i32.const 516) (call $"new-model" (i32.const 1)))
  (i32.const 512)"#;

/// The end of `forward`: gives the borrows back and returns no tensors.
pub const FORWARD_NOTHING: &str = r#"
  (call $"drop-scope" (local.get 1))
  (call $"drop-pass" (local.get 2))
  (i32.store8 (i32.const 512) (i32.const 0))
  (i32.store (i32.const 516) (i32.const 0))
  (i32.store (i32.const 520) (i32.const 0))
  (i32.const 512)"#;

/// A recipe with this `forward`, and no parameter groups.
pub fn recipe(forward: &str, extra: &str) -> Vec<u8> {
    let no_groups = "(i64.store (i32.const 512) (i64.const 0)) (i32.const 512)";
    let bodies = [
        ("[static]model.open", OPEN_MODEL),
        ("[method]model.parameter-groups", no_groups),
        ("[method]model.forward", forward),
    ];
    component("recipe-plugin", &bodies, extra)
}
