//! JavaScript: `componentize-js` by its API. It puts SpiderMonkey into the component and runs the
//! plugin's modules once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::{Example, cache, wit};
use crate::{apt, env};

const PACKAGE: &str = include_str!("javascript/package.json");
const LOCK: &str = include_str!("javascript/package-lock.json");
const BUILD: &str = include_str!("javascript/build.mjs");

/// For the fingerprint.
pub fn tools() -> String {
    [PACKAGE, LOCK, BUILD].concat()
}

pub fn compile(example: &Example) -> Result<Vec<u8>> {
    let tools = install()?;
    let scratch = example.scratch()?;
    for folder in [example.sdk(), example.sources()] {
        stage(&folder, &scratch)?;
    }
    let component = scratch.join("component.wasm");
    // The entry is named after the kind: `processor.js` for `processor-plugin`.
    let entry = format!("{}.js", example.world.trim_end_matches("-plugin"));
    env::run(
        Command::new("node")
            // The engine copies the paths of the sources into the component: keep them short and alike.
            .current_dir(&scratch)
            .arg(tools.join("build.mjs"))
            .args([&entry, example.world])
            .arg(wit())
            .arg(&component),
    )?;
    Ok(fs::read(component)?)
}

/// A node that runs tests.
pub fn interpreter() -> Result<PathBuf> {
    if !env::has("node") {
        apt::ensure(&["nodejs", "npm"])?;
    }
    Ok("node".into())
}

/// The folder with the tools, filled unless it is there.
fn install() -> Result<PathBuf> {
    interpreter()?;
    if !env::has("npm") {
        bail!("npm is needed beside node to install componentize-js");
    }
    let fingerprint = blake3::hash(tools().as_bytes()).to_hex();
    let folder = cache()?.join(format!("javascript-{}", &fingerprint[..12]));
    let done = folder.join("done");
    if done.is_file() {
        return Ok(folder);
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("package.json"), PACKAGE)?;
    fs::write(folder.join("package-lock.json"), LOCK)?;
    fs::write(folder.join("build.mjs"), BUILD)?;
    env::run(
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&folder),
    )?;
    fs::write(done, "")?;
    Ok(folder)
}

/// Copies the modules. The engine knows no JSON modules: a file of JSON becomes one that exports it.
fn stage(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.ends_with(".js") {
            fs::copy(&path, to.join(name))?;
        } else if name.ends_with(".json") {
            let json = fs::read_to_string(&path)?;
            fs::write(to.join(name), format!("export default {json};\n"))?;
        }
    }
    Ok(())
}
