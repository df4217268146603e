//! The architecture of docs/architecture.md, enforced: which crate may name which.

use std::fs;

use anyhow::{Result, bail};

use crate::env;

/// Host crates from the ground up; a crate may depend on crates of lower layers only.
const LAYERS: &[&[&str]] = &[
    &["gpu"],
    &["tensor", "hub"],
    &["plugin", "store"],
    &["data", "track", "registry"],
    &["model"],
    &["train", "serve"],
    &["api"],
    &["cli"],
];

/// Dependencies that few crates may name.
const CONFINED: &[(&str, &[&str])] = &[
    ("burn", &["gpu", "tensor"]),
    ("cubecl", &["gpu", "tensor"]),
    ("cudarc", &["gpu"]),
    ("wasmtime", &["plugin"]),
    ("redb", &["store"]),
    ("sled", &["store"]),
];

/// Fails with every arrow that points up or sideways, and every confined dependency outside its home.
pub fn check() -> Result<()> {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(env::root().join("host"))? {
        let path = entry?.path();
        let Some(name) = path
            .file_name()
            .and_then(|name| name.to_str())
            .map(str::to_owned)
        else {
            continue;
        };
        let manifest = fs::read_to_string(path.join("Cargo.toml"))?;
        let Some(own) = layer(&name) else {
            wrong.push(format!(
                "host/{name} has no place in the layers (xtask/src/arrows.rs)"
            ));
            continue;
        };
        for dependency in dependencies(&manifest) {
            if let Some(other) = dependency.strip_prefix("tenon-")
                && layer(other).is_none_or(|theirs| theirs >= own)
            {
                wrong.push(format!(
                    "host/{name} depends on {dependency}, which is not below it"
                ));
            }
            for (prefix, homes) in CONFINED {
                if dependency.starts_with(prefix) && !homes.contains(&name.as_str()) {
                    wrong.push(format!(
                        "host/{name} names {dependency}, which belongs to host/{} alone",
                        homes.join(" and host/")
                    ));
                }
            }
        }
    }
    if !wrong.is_empty() {
        bail!("the architecture is broken:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

/// The names in the `[dependencies]` and `[build-dependencies]` tables; tests may look further.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = matches!(line.trim(), "[dependencies]" | "[build-dependencies]");
        } else if inside {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() && !name.starts_with('#') {
                names.push(name);
            }
        }
    }
    names
}
