//! Transforms written by hand: they can only say what they are.

use std::fmt::Write as _;
use std::path::Path;

use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// A transform of this name and version; `salt` makes other bytes of the same plugin.
pub fn plugin(name: &str, version: &str, salt: u8) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let (package, _) = resolve.push_dir(wit).unwrap();
    let world = resolve
        .select_world(&[package], Some("transform-plugin"))
        .unwrap();
    let abi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);
    let dummy = dummy_module(&resolve, world, abi);
    let mut module = wat::parse_str(text(&dummy, name, version, salt)).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

/// The dummy module again, with a memory, an allocator that never frees, and a `describe`.
fn text(dummy: &[u8], name: &str, version: &str, salt: u8) -> String {
    let (mut types, mut functions, mut imported) = (Vec::<FuncType>::new(), Vec::new(), 0);
    let mut out = String::from("(module\n");
    let mut exports = String::new();
    for payload in Parser::new(0).parse_all(dummy) {
        match payload.unwrap() {
            Payload::TypeSection(section) => {
                types.extend(section.into_iter_err_on_gc_types().map(Result::unwrap));
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports().map(Result::unwrap) {
                    if let TypeRef::Func(ty) = import.ty {
                        imported += 1;
                        let signature = signature(&types[ty as usize]);
                        let (module, name) = (import.module, import.name);
                        let _ = writeln!(out, "(import {module:?} {name:?} (func{signature}))");
                    }
                }
            }
            Payload::FunctionSection(section) => {
                functions.extend(section.into_iter().map(Result::unwrap));
            }
            Payload::ExportSection(section) => {
                for export in section.into_iter().map(Result::unwrap) {
                    if export.kind != ExternalKind::Func || export.name == "cabi_realloc" {
                        continue;
                    }
                    let ty: u32 = functions[export.index as usize - imported];
                    let body = if export.name.starts_with("cabi_post_")
                        || export.name.ends_with("_initialize")
                    {
                        ""
                    } else if export.name.ends_with("#describe") {
                        "(i32.const 128)"
                    } else {
                        "unreachable"
                    };
                    let signature = signature(&types[ty as usize]);
                    let name = export.name;
                    let _ = writeln!(exports, "(func (export {name:?}){signature} {body})");
                }
            }
            _ => {}
        }
    }
    out.push_str(MEMORY);
    out.push_str(&exports);
    out.push_str(&description(name, version));
    let _ = writeln!(out, "(data (i32.const 8192) \"salt {salt}\"))");
    out
}

fn signature(ty: &FuncType) -> String {
    let mut out = String::new();
    let mut list = |kind: &str, types: &[ValType]| {
        for ty in types {
            let _ = write!(out, " ({kind} {ty})");
        }
    };
    list("param", ty.params());
    list("result", ty.results());
    out
}

const MEMORY: &str = r#"
(memory (export "memory") 2)
(global $heap (mut i32) (i32.const 65536))
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (local $at i32)
  (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
  (global.set $heap (i32.add (local.get $at) (local.get 3)))
  (local.get $at))
"#;

/// The record that `describe` returns, at 128, and its texts.
fn description(name: &str, version: &str) -> String {
    let texts = [name, version, "Does nothing.", r#"{"type":"object"}"#];
    let (mut data, mut record, mut at) = (String::new(), Vec::<u8>::new(), 256_u32);
    for (field, text) in texts.into_iter().enumerate() {
        if field == 2 {
            // The kind comes before the summary; 0 is a transform.
            record.extend_from_slice(&[0; 4]);
        }
        record.extend_from_slice(&at.to_le_bytes());
        record.extend_from_slice(&(text.len() as u32).to_le_bytes());
        let _ = writeln!(data, "(data (i32.const {at}) {text:?})");
        at += text.len() as u32;
    }
    // No capabilities.
    record.extend_from_slice(&[0; 8]);
    let bytes: String = record.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!("{data}(data (i32.const 128) \"{bytes}\")\n")
}
