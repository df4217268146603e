//! Installing, finding, replacing, removing; bad components; damage.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use support::plugin;
use tempfile::TempDir;
use tenon_plugin::{Engine, EngineOptions, Kind, PluginError};
use tenon_registry::{InstallOptions, Registry, RegistryError};
use tenon_store::{Store, StoreError, StoreOptions};

const KEEP: InstallOptions = InstallOptions { replace: false };
const REPLACE: InstallOptions = InstallOptions { replace: true };

fn open(folder: &TempDir) -> (Store, Registry) {
    let store = Store::open(folder.path(), StoreOptions::default()).unwrap();
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let registry = Registry::open(&store, &engine);
    (store, registry)
}

#[test]
fn an_installed_plugin_is_found_by_name_version_and_digest_also_later() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = open(&folder);
    let error = registry.find("test/by-hand").unwrap_err();
    assert!(
        error.is_not_found() && error.to_string().contains("install"),
        "{error}"
    );

    let bytes = plugin("test/by-hand", "0.10.0", 1);
    let installed = registry.install(&bytes, KEEP).unwrap();
    assert_eq!(
        (installed.name.as_str(), installed.kind),
        ("test/by-hand", Kind::Transform)
    );
    assert_eq!(installed.size, bytes.len() as u64);
    let sha256 = store.blobs().sha256(&installed.blob).unwrap();
    assert_eq!(installed.digest, format!("sha256:{sha256}"));
    let bad = registry.install(&plugin("test/by-hand", "newest", 1), KEEP);
    assert!(bad.is_err(), "that is no version");
    for version in ["0.2.0", "0.11.0-beta.1"] {
        let bytes = plugin("test/by-hand", version, 1);
        registry.install(&bytes, KEEP).unwrap();
    }
    registry
        .install(&plugin("test/another", "1.0.0", 1), KEEP)
        .unwrap();
    drop((store, registry));

    let (_store, registry) = open(&folder);
    assert_eq!(
        registry.find("test/by-hand").unwrap(),
        installed,
        "the highest version"
    );
    assert_eq!(
        registry.find("test/by-hand@0.2.0").unwrap().version,
        "0.2.0"
    );
    assert_eq!(registry.find(&installed.digest).unwrap(), installed);
    assert_eq!(registry.find(&installed.digest[..20]).unwrap(), installed);
    assert_eq!(registry.bytes("test/by-hand").unwrap(), bytes);
    let component = registry.resolve("test/by-hand@0.10.0").unwrap();
    assert_eq!(component.digest(), installed.digest);
    let ids: Vec<String> = registry.list().unwrap().iter().map(|p| p.id()).collect();
    assert_eq!(
        ids,
        [
            "test/another@1.0.0",
            "test/by-hand@0.2.0",
            "test/by-hand@0.10.0",
            "test/by-hand@0.11.0-beta.1"
        ]
    );

    for (spec, says) in [
        ("test/by-hand@3.0.0", "0.2.0, 0.10.0, 0.11.0-beta.1"),
        ("test/nothing", "test/another, test/by-hand"),
        ("sha256:0123456789", "installed are"),
    ] {
        let error = registry.find(spec).unwrap_err();
        assert!(
            error.is_not_found() && error.to_string().contains(says),
            "{error}"
        );
    }
    for spec in ["", "@1.0.0", "a/b@latest", "sha256:12", "sha256:XYZXYZXYZ"] {
        let error = registry.find(spec).unwrap_err();
        assert!(
            matches!(error, RegistryError::InvalidSpec { .. }),
            "{error}"
        );
    }
}

#[test]
fn the_same_bytes_are_installed_once_and_other_bytes_need_a_decision() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, registry) = open(&folder);
    let first = registry
        .install(&plugin("test/by-hand", "1.0.0", 1), KEEP)
        .unwrap();
    let again = registry
        .install(&plugin("test/by-hand", "1.0.0", 1), KEEP)
        .unwrap();
    assert_eq!(again, first, "nothing changed, not even the time");

    let other = plugin("test/by-hand", "1.0.0", 2);
    let error = registry.install(&other, KEEP).unwrap_err();
    assert!(matches!(error, RegistryError::Conflict { .. }), "{error}");
    assert!(error.to_string().contains(&first.digest) && error.to_string().contains("replace"));
    assert_eq!(registry.find("test/by-hand").unwrap(), first);

    let second = registry.install(&other, REPLACE).unwrap();
    assert_eq!(registry.find("test/by-hand@1.0.0").unwrap(), second);
    let old = registry.find(&first.digest).unwrap();
    assert!(old.replaced, "models that were made with it still find it");
    registry.resolve(&first.digest).unwrap();
    assert_eq!(
        (
            registry.list().unwrap().len(),
            registry.list_all().unwrap().len()
        ),
        (1, 2)
    );
    // And back again.
    let back = registry
        .install(&plugin("test/by-hand", "1.0.0", 1), REPLACE)
        .unwrap();
    assert!(!back.replaced && registry.find(&second.digest).unwrap().replaced);
    assert_eq!(registry.list().unwrap(), [back]);
}

#[test]
fn what_is_used_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = open(&folder);
    let one = registry
        .install(&plugin("test/by-hand", "1.0.0", 1), KEEP)
        .unwrap();
    let two = registry
        .install(&plugin("test/by-hand", "1.0.0", 2), REPLACE)
        .unwrap();
    let error = registry
        .remove("test/by-hand", |plugin| {
            assert_eq!(plugin.digest, two.digest);
            Some("model couplets@3".to_owned())
        })
        .unwrap_err();
    assert!(error.to_string().contains("couplets@3"), "{error}");
    assert_eq!(registry.find("test/by-hand").unwrap(), two);

    registry.remove(&one.digest, |_| None).unwrap();
    assert!(registry.find(&one.digest).unwrap_err().is_not_found());
    assert_eq!(
        registry.find("test/by-hand").unwrap(),
        two,
        "the other keeps the name"
    );
    std::thread::sleep(Duration::from_millis(5));
    let live = || Ok(registry.live_blobs().unwrap());
    store.blobs().sweep(Duration::ZERO, live).unwrap();
    assert!(!store.blobs().contains(&one.blob).unwrap());
    registry.resolve("test/by-hand").unwrap();

    registry.remove("test/by-hand", |_| None).unwrap();
    assert!(registry.list_all().unwrap().is_empty());
    assert_eq!(registry.live_blobs().unwrap(), HashSet::new());
    registry
        .install(&plugin("test/by-hand", "1.0.0", 3), KEEP)
        .unwrap();
}

#[test]
fn what_is_no_plugin_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = open(&folder);
    let good = plugin("test/by-hand", "1.0.0", 1);
    let mut cut = good.clone();
    cut.truncate(good.len() / 2);
    let core = wat::parse_str("(module)").unwrap();
    let stranger = wat::parse_str("(component)").unwrap();
    for (bytes, what) in [
        (&b"hello"[..], "no WebAssembly"),
        (&cut, "valid component"),
        (&core, "not a component"),
        (&stranger, "no plugin"),
    ] {
        let error = registry.install(bytes, KEEP).unwrap_err();
        assert!(matches!(error, RegistryError::Plugin(_)), "{error}");
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
    assert!(matches!(
        registry.install(&stranger, KEEP).unwrap_err(),
        RegistryError::Plugin(PluginError::WrongWorld(_))
    ));
    assert!(registry.list_all().unwrap().is_empty());
    assert!(store.blobs().list().unwrap().is_empty());
    let missing = registry.install_file(&folder.path().join("none.wasm"), KEEP);
    assert!(missing.unwrap_err().to_string().contains("none.wasm"));
}

#[test]
fn damaged_bytes_are_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let (store, registry) = open(&folder);
    let bytes = plugin("test/by-hand", "1.0.0", 1);
    let installed = registry.install(&bytes, KEEP).unwrap();
    let path = store.blobs().path(&installed.blob);
    let mut damaged = bytes.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let error = registry.resolve("test/by-hand").unwrap_err();
    assert!(
        matches!(error, RegistryError::Store(StoreError::CorruptBlob { .. })),
        "{error}"
    );
    // Installing again heals.
    registry.install(&bytes, KEEP).unwrap();
    registry.resolve("test/by-hand").unwrap();
}

#[test]
fn threads_that_install_the_same_name_agree() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, registry) = open(&folder);
    let outcomes: Vec<Result<String, RegistryError>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6_u8)
            .map(|salt| {
                let registry = registry.clone();
                scope.spawn(move || {
                    let bytes = plugin("test/by-hand", "1.0.0", salt % 3);
                    registry.install(&bytes, KEEP).map(|plugin| plugin.digest)
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    let winner = registry.find("test/by-hand").unwrap().digest;
    let won = outcomes
        .iter()
        .filter(|o| o.as_ref().is_ok_and(|d| *d == winner));
    assert_eq!(won.count(), 2, "both threads with the winning bytes");
    let lost =
        |o: &&Result<String, RegistryError>| matches!(o, Err(RegistryError::Conflict { .. }));
    assert_eq!(outcomes.iter().filter(lost).count(), 4);
    assert_eq!(registry.list_all().unwrap().len(), 1);
}
