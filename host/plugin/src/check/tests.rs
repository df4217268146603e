#![allow(clippy::unwrap_used)]

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::ManglingAndAbi;

use super::*;

/// A component of this world of the contract that traps whenever it is called.
pub(crate) fn component(world: &str) -> Vec<u8> {
    let contract = contract().unwrap();
    let package = contract
        .resolve
        .packages
        .iter()
        .find(|(_, p)| p.name.name == "worlds")
        .unwrap()
        .0;
    build(
        &contract.resolve,
        contract.resolve.packages[package].worlds[world],
    )
}

fn build(resolve: &Resolve, world: WorldId) -> Vec<u8> {
    let mut module = dummy_module(
        resolve,
        world,
        ManglingAndAbi::Legacy(wit_parser::LiftLowerAbi::Sync),
    );
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

/// A component of a world written beside the contract, whose packages `change` may alter.
fn foreign(wit: &str, change: impl Fn(&str) -> String) -> Vec<u8> {
    let mut resolve = Resolve::new();
    for (name, text) in contract::PACKAGES {
        resolve.push_source(name, &change(text)).unwrap();
    }
    let package = resolve.push_source("foreign.wit", wit).unwrap();
    let world = *resolve.packages[package].worlds.values().next().unwrap();
    build(&resolve, world)
}

fn nearest(bytes: &[u8]) -> WorldFit {
    check(bytes).unwrap().worlds.remove(0)
}

#[test]
fn every_world_fits_itself_and_no_other() {
    for kind in Kind::ALL {
        let report = check(&component(&format!("{kind}-plugin"))).unwrap();
        assert_eq!(report.kind(), Some(kind), "{report}");
        assert_eq!(report.worlds.iter().filter(|w| w.fits()).count(), 1);
        assert!(
            report
                .exports
                .contains(&format!("tenon:{kind}/{kind}@0.1.0")),
            "{:?}",
            report.exports
        );
        assert!(
            report
                .to_string()
                .contains(&format!("tenon:worlds/{kind}-plugin@0.1.0"))
        );
    }
}

#[test]
fn a_missing_export_is_named() {
    let bytes = foreign(
        "package test:x; world w { export tenon:transform/transform@0.1.0; }",
        str::to_owned,
    );
    let fit = nearest(&bytes);
    assert_eq!(
        (fit.kind, fit.missing_exports),
        (
            Kind::Transform,
            vec!["tenon:plugin/plugin@0.1.0".to_owned()]
        )
    );
}

#[test]
fn an_import_that_nobody_provides_is_named() {
    let bytes = foreign(
        "package test:x;
         interface clock { now: func() -> u64; }
         world w {
           import clock;
           import tenon:tensor/tensors@0.1.0;
           export tenon:plugin/plugin@0.1.0;
           export tenon:transform/transform@0.1.0;
         }",
        str::to_owned,
    );
    let report = check(&bytes).unwrap();
    assert_eq!(report.kind(), None);
    let unknown = report.worlds[0].unknown_imports.join("\n");
    assert!(
        unknown.contains("test:x/clock, which a transform is not given"),
        "{unknown}"
    );
    assert!(
        unknown.contains("tenon:tensor/tensors@0.1.0, which a transform is not given"),
        "{unknown}"
    );
}

const TRANSFORM: &str = "package test:x; world w {
    import tenon:plugin/host@0.1.0;
    import tenon:data/tokenizer@0.1.0;
    export tenon:plugin/plugin@0.1.0;
    export tenon:transform/transform@0.1.0;
}";

#[test]
fn another_type_is_a_mismatch() {
    let bytes = foreign(TRANSFORM, |text| {
        text.replace("keep(list<u32>)", "keep(list<u64>)")
    });
    let fit = nearest(&bytes);
    assert_eq!(fit.kind, Kind::Transform);
    assert_eq!(
        fit.mismatches.len(),
        2,
        "process and finish: {:?}",
        fit.mismatches
    );
    assert!(
        fit.mismatches[0].contains("it exports tenon:transform/transform@0.1.0 with another"),
        "{:?}",
        fit.mismatches
    );
}

#[test]
fn another_signature_is_shown() {
    let bytes = foreign(TRANSFORM, |text| {
        text.replace("encode: func(text: string)", "encode: func(text: list<u8>)")
    });
    let fit = nearest(&bytes);
    assert!(
        fit.mismatches[0]
            .contains("func(text: string) -> result<list<u32>, error> here, func(text: list<u8>)"),
        "{:?}",
        fit.mismatches
    );
}

/// The contract with its version raised everywhere.
fn versioned(version: &str) -> impl Fn(&str) -> String + '_ {
    move |text| text.replace("@0.1.0", &format!("@{version}"))
}

#[test]
fn later_patches_of_the_contract_fit_and_others_do_not() {
    let later = foreign(&TRANSFORM.replace("0.1.0", "0.1.3"), versioned("0.1.3"));
    assert_eq!(
        check(&later).unwrap().kind(),
        Some(Kind::Transform),
        "{}",
        check(&later).unwrap()
    );

    let other = foreign(&TRANSFORM.replace("0.1.0", "0.2.0"), versioned("0.2.0"));
    let fit = nearest(&other);
    assert!(!fit.fits());
    assert!(
        fit.missing_exports
            .iter()
            .any(|m| m.contains("what it exports is tenon:transform/transform@0.2.0")),
        "{fit:?}"
    );
    assert!(
        fit.unknown_imports
            .iter()
            .any(|m| m.contains("this host provides tenon:plugin/host@0.1.0")),
        "{fit:?}"
    );
}

#[test]
fn a_function_of_a_newer_host_is_named() {
    let bytes = foreign(TRANSFORM, |text| {
        text.replace(
            "random: func() -> u64;",
            "random: func() -> u64; @since(version = 0.1.0) dice: func() -> u32;",
        )
    });
    let fit = nearest(&bytes);
    assert_eq!(fit.unknown_imports.len(), 1, "{fit:?}");
    assert!(
        fit.unknown_imports[0].contains("function `dice`, which this host does not have"),
        "{fit:?}"
    );
}

#[test]
fn a_component_that_is_no_plugin_at_all() {
    let bytes = foreign(
        "package test:x; world w { export run: func(); }",
        str::to_owned,
    );
    let report = check(&bytes).unwrap();
    assert_eq!(report.kind(), None);
    assert!(report.to_string().contains("it fits no world"), "{report}");
}

#[test]
fn what_is_no_component_is_an_error() {
    assert_eq!(check(b"\0asm\x01\0\0\0").unwrap_err().kind(), "wrong-world");
    assert_eq!(check(b"").unwrap_err().kind(), "corrupt");
    assert_eq!(check(b"not wasm at all").unwrap_err().kind(), "corrupt");
    let whole = component("transform-plugin");
    for length in (0..whole.len()).step_by(97) {
        let _ = check(&whole[..length]);
    }
    // Every byte flipped somewhere: an error or another component, never a panic.
    for at in (0..whole.len()).step_by(31) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        let _ = check(&damaged);
    }
}
