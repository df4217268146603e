//! C: clang with wasi-libc, of which only what needs no system is linked, and bindings from
//! `wit-bindgen-c`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};
use wit_component::ComponentEncoder;

use super::{Example, wit};
use crate::{apt, env};

/// For the fingerprint.
pub const TOOLS: &str = "clang-19 wit-bindgen-c 0.61";
const COMPILER: &str = "clang-19";
const DEBIAN: [&str; 4] = [
    "clang-19",
    "lld-19",
    "wasi-libc",
    "libclang-rt-19-dev-wasm32",
];

pub fn compile(example: &Example) -> Result<Vec<u8>> {
    if env::has("apt-get") {
        apt::ensure(&DEBIAN)?;
    } else if !env::has(COMPILER) {
        bail!(
            "{COMPILER}, its wasm-ld and wasi-libc are needed; install them with this system's package manager"
        );
    }
    let scratch = example.scratch()?;
    let mut inputs = bindings(example, &scratch)?;
    inputs.extend(sources(&example.sources(), &["c"])?);
    let module = scratch.join("module.wasm");
    env::run(
        Command::new(COMPILER)
            .args([
                "--target=wasm32-wasi",
                "-std=c23",
                "-O2",
                "-Wall",
                "-Wextra",
                "-Werror",
                // Functions of the contract have parameters that an implementation may not need.
                "-Wno-unused-parameter",
                // A library: the host calls its exports, nothing runs before.
                "-mexec-model=reactor",
                "-nostartfiles",
                "-Wl,--no-entry",
                "-fuse-ld=/usr/bin/wasm-ld-19",
            ])
            .arg("-I")
            .arg(&scratch)
            .arg("-I")
            .arg(example.sdk())
            .args(&inputs)
            .arg("-o")
            .arg(&module),
    )?;
    ComponentEncoder::default()
        .validate(true)
        .module(&fs::read(&module)?)?
        .encode()
}

/// Generates the bindings into the folder and lists what of them is compiled and linked.
fn bindings(example: &Example, folder: &Path) -> Result<Vec<PathBuf>> {
    env::run(
        env::cargo()?
            .args([
                "run",
                "--quiet",
                "--release",
                "--locked",
                "--package",
                "c-bindings",
                "--",
            ])
            .arg(wit())
            .arg(example.world)
            .arg(folder),
    )?;
    sources(folder, &["c", "o"])
}

/// The files in a folder that end in one of these.
fn sources(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .and_then(|ending| ending.to_str())
            .is_some_and(|ending| endings.contains(&ending))
        {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
