//! The components that the project ships, as `cargo xtask plugins` builds them.

use std::{path::PathBuf, sync::OnceLock};

use tenon_plugin::{Component, Engine, EngineOptions};

/// Loads one by the name of its crate.
pub fn component(name: &str) -> Component {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let engine = ENGINE.get_or_init(|| Engine::new(EngineOptions::default()).unwrap());
    let folder = std::env::var_os("TENON_PLUGINS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/tenon/plugins"),
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; build the components with `cargo xtask plugins`",
            path.display()
        )
    });
    engine.load(&bytes).unwrap()
}
