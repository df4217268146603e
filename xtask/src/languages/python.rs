//! Python: `componentize-py` in a virtual environment of the cache. It puts CPython into the component
//! and runs the plugin's modules once, so that what they import is there without files.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Example, cache, wit};
use crate::{apt, env};

/// For the fingerprint, and what is installed.
pub const TOOLS: &str = "componentize-py==0.25.1";
/// What componentize-py looks for first: it names the modules of the interfaces itself.
const MODULE: &str = "app";

pub fn compile(example: &Example) -> Result<Vec<u8>> {
    let environment = environment(&[TOOLS])?;
    // A copy: Python writes its caches beside the sources.
    let scratch = example.scratch()?;
    copy(&example.sdk(), &scratch)?;
    copy(&example.sources(), &scratch)?;
    let component = scratch.join("component.wasm");
    env::run(
        Command::new(environment.join("bin/componentize-py"))
            .current_dir(&scratch)
            .arg("-d")
            .arg(wit())
            .args([
                "-w",
                example.world,
                "componentize",
                "--stub-wasi",
                "-p",
                ".",
            ])
            .args([MODULE, "-o"])
            .arg(&component),
    )?;
    Ok(fs::read(component)?)
}

/// A Python that runs tests.
pub fn interpreter() -> Result<PathBuf> {
    interpreter_with(&[TOOLS])
}

/// A Python in which packages of these versions are installed.
pub fn interpreter_with(requirements: &[&str]) -> Result<PathBuf> {
    Ok(environment(requirements)?.join("bin/python"))
}

/// The virtual environment with packages, made unless it is there.
fn environment(requirements: &[&str]) -> Result<PathBuf> {
    let all = requirements.join("\n");
    let name = match requirements {
        [one] => one.replace("==", "-"),
        // Short: scripts begin with the interpreter's path, and systems read 127 bytes of it.
        several => {
            let first = several
                .first()
                .map_or(String::new(), |one| one.replace("==", "-"));
            format!("{first}-{}", &blake3::hash(all.as_bytes()).to_hex()[..8])
        }
    };
    let folder = cache()?.join(format!("python-{name}"));
    let done = folder.join("done");
    if fs::read_to_string(&done).is_ok_and(|installed| installed == all) {
        return Ok(folder);
    }
    if !env::has("python3") {
        apt::ensure(&["python3", "python3-venv"])?;
    }
    let make = || {
        let _ = fs::remove_dir_all(&folder);
        env::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
    };
    if make().is_err() {
        apt::ensure(&["python3-venv"]).context("python3 makes no virtual environment")?;
        make()?;
    }
    env::run(
        Command::new(folder.join("bin/pip"))
            .args(["install", "--quiet", "--disable-pip-version-check"])
            .args(requirements),
    )?;
    fs::write(done, all)?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if name == "__pycache__" {
            continue;
        }
        let target = to.join(name);
        if path.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
