//! What is refused before any guest code runs, and the cache of compiled code.
#![allow(clippy::unwrap_used)]

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tenon_plugin::{Engine, EngineOptions, Kind, PluginError};

fn engine() -> Engine {
    Engine::new(EngineOptions::default()).unwrap()
}

fn plugin() -> Vec<u8> {
    support::recipe(support::FORWARD_NOTHING, "")
}

#[test]
fn a_component_without_a_description_section_is_asked() {
    let component = engine().load(&plugin()).unwrap();
    assert_eq!(component.kind(), Kind::Recipe);
    let description = component.description();
    assert_eq!(
        (description.name.as_str(), description.version.as_str()),
        ("test/by-hand", "0.1.0")
    );
    assert!(component.digest().starts_with("sha256:") && component.digest().len() == 7 + 64);
}

#[test]
fn loading_twice_gives_the_same_component() {
    let engine = engine();
    let bytes = plugin();
    let digest = engine.load(&bytes).unwrap().digest().to_owned();
    let start = std::time::Instant::now();
    assert_eq!(engine.load(&bytes).unwrap().digest(), digest);
    assert!(
        start.elapsed().as_millis() < 50,
        "the second load hashes and looks up: {:?}",
        start.elapsed()
    );
}

#[test]
fn what_is_no_webassembly_is_corrupt() {
    let error = engine().load(b"PK\x03\x04 a zip file").unwrap_err();
    assert!(matches!(error, PluginError::Corrupt(_)), "{error}");
    assert!(
        error.to_string().contains("no WebAssembly") && error.hint().is_some(),
        "{error}"
    );
}

#[test]
fn a_cut_component_is_corrupt_wherever_it_was_cut() {
    let engine = engine();
    let bytes = plugin();
    for cut in [5, 9, 100, bytes.len() / 2, bytes.len() - 1] {
        let error = engine.load(&bytes[..cut]).unwrap_err();
        assert!(
            matches!(error, PluginError::Corrupt(_) | PluginError::WrongWorld(_)),
            "cut at {cut}: {error}"
        );
    }
}

#[test]
fn flipped_bits_never_load_as_something_that_crashes() {
    let engine = engine();
    let bytes = plugin();
    for at in (8..bytes.len()).step_by(bytes.len() / 60) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x55;
        // Names and texts may be flipped harmlessly; everything else is an error, nothing a panic.
        let _ = engine.load(&flipped);
    }
}

#[test]
fn a_core_module_is_named_as_one() {
    let error = engine()
        .load(&wat::parse_str("(module)").unwrap())
        .unwrap_err();
    assert!(matches!(error, PluginError::WrongWorld(_)), "{error}");
    assert!(
        error.to_string().contains("core WebAssembly module"),
        "{error}"
    );
}

#[test]
fn a_component_that_is_no_plugin_lists_what_it_exports() {
    let bytes =
        wat::parse_str(r#"(component (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#)
            .unwrap();
    let error = engine().load(&bytes).unwrap_err();
    assert!(matches!(error, PluginError::WrongWorld(_)), "{error}");
    assert!(
        error.to_string().contains("wasi:cli/run")
            && error.to_string().contains("tenon:recipe/recipe"),
        "{error}"
    );
}

#[test]
fn imports_that_the_world_does_not_have_are_named() {
    let bytes = wat::parse_str(
        r#"(component
          (import "wasi:clocks/wall-clock@0.2.0" (instance $c (export "now" (func))))
          (instance $i)
          (export "tenon:recipe/recipe@0.1.0" (instance $i)))"#,
    )
    .unwrap();
    let error = engine().load(&bytes).unwrap_err();
    assert!(matches!(error, PluginError::WrongWorld(_)), "{error}");
    assert!(
        error.to_string().contains("wasi:clocks/wall-clock"),
        "{error}"
    );
}

#[test]
fn threads_and_64_bit_memories_are_refused() {
    for module in ["(module (memory 1 1 shared))", "(module (memory i64 1))"] {
        let bytes = wat::parse_str(format!("(component (core {}", &module[1..]) + ")").unwrap();
        let error = engine().load(&bytes).unwrap_err();
        assert!(
            matches!(error, PluginError::Corrupt(_)),
            "{module}: {error}"
        );
    }
}

fn entries(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths
}

fn cached(dir: &Path) -> Engine {
    Engine::new(EngineOptions {
        cache_dir: Some(dir.to_owned()),
        ..EngineOptions::default()
    })
    .unwrap()
}

#[test]
fn compiled_code_is_kept_and_damage_means_compiling_again() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("cwasm");
    let bytes = plugin();
    cached(&dir).load(&bytes).unwrap();
    let [entry] = &entries(&dir, "cwasm")[..] else {
        panic!("one entry")
    };
    assert_eq!(
        fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let compiled = fs::read(entry).unwrap();

    // Used again: not written anew.
    let before = fs::metadata(entry).unwrap().modified().unwrap();
    cached(&dir).load(&bytes).unwrap();
    assert_eq!(fs::metadata(entry).unwrap().modified().unwrap(), before);

    // Flipped, cut, emptied, without its hash: compiled again, and whole afterwards.
    let mut flipped = compiled.clone();
    flipped[compiled.len() / 2] ^= 1;
    for damaged in [
        flipped,
        compiled[..compiled.len() - 100].to_vec(),
        Vec::new(),
    ] {
        fs::write(entry, damaged).unwrap();
        cached(&dir).load(&bytes).unwrap();
        assert_eq!(
            blake3::hash(&fs::read(entry).unwrap()).to_hex().as_str(),
            fs::read_to_string(&entries(&dir, "b3")[0]).unwrap()
        );
    }
    fs::remove_file(&entries(&dir, "b3")[0]).unwrap();
    cached(&dir).load(&bytes).unwrap();
    assert_eq!(entries(&dir, "b3").len(), 1);
}

#[test]
fn a_cache_folder_that_others_can_write_is_emptied_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("cwasm");
    let bytes = plugin();
    cached(&dir).load(&bytes).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let _engine = cached(&dir);
    assert_eq!(
        entries(&dir, "cwasm").len(),
        0,
        "code that others may have written is not trusted"
    );
    assert_eq!(
        fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_cache_folder_that_is_a_link_or_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (real, link) = (folder.path().join("real"), folder.path().join("link"));
    fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let error = Engine::new(EngineOptions {
        cache_dir: Some(link),
        ..EngineOptions::default()
    })
    .unwrap_err();
    assert!(
        matches!(error, PluginError::Host(_)) && error.hint().is_some(),
        "{error}"
    );
}
