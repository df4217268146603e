//! Guests in Rust: one cargo call builds every core module of the guest workspace, and each becomes a
//! component with its README inside.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use wasm_encoder::ComponentSection;
use wit_component::ComponentEncoder;

use crate::{
    env,
    toolchain::{TARGET, Toolchain},
};

/// The custom section that carries a plugin's README.
const README: &str = "tenon:readme";

/// Builds every Rust plugin; returns the components' paths.
pub fn build() -> Result<Vec<PathBuf>> {
    let toolchain = Toolchain::find()?;
    let manifest = env::root().join("plugins/Cargo.toml");
    let mut cargo = toolchain.cargo()?;
    cargo
        .current_dir(env::root().join("plugins"))
        .args([
            "build",
            "--release",
            "--workspace",
            "--locked",
            "--target",
            TARGET,
            "--manifest-path",
        ])
        .arg(&manifest);
    env::run(&mut cargo)?;

    let built = env::cache()?
        .join("guest-target")
        .join(TARGET)
        .join("release");
    let out = env::components()?;
    fs::create_dir_all(&out)?;
    let mut components = Vec::new();
    for krate in crates(&env::root().join("plugins"))? {
        let module = built.join(format!("{}.wasm", krate.name.replace('-', "_")));
        let component = out.join(format!("{}.wasm", krate.name));
        componentize(&module, krate.readme.as_deref(), &component)
            .with_context(|| format!("{} does not become a component", krate.name))?;
        components.push(component);
    }
    Ok(components)
}

struct Krate {
    name: String,
    readme: Option<PathBuf>,
}

/// The crates of the guest workspace that are plugins: those that build a cdylib.
fn crates(workspace: &Path) -> Result<Vec<Krate>> {
    let mut found = Vec::new();
    for group in fs::read_dir(workspace)? {
        let group = group?.path();
        if !group.is_dir() {
            continue;
        }
        for folder in fs::read_dir(&group)? {
            let folder = folder?.path();
            let Ok(manifest) = fs::read_to_string(folder.join("Cargo.toml")) else {
                continue;
            };
            if !manifest.contains("\"cdylib\"") {
                continue;
            }
            let name = manifest
                .lines()
                .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
                .with_context(|| {
                    format!("{} names no package", folder.join("Cargo.toml").display())
                })?;
            let readme = Some(folder.join("README.md")).filter(|path| path.is_file());
            found.push(Krate {
                name: name.to_owned(),
                readme,
            });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Makes the component, unless the one that is there came from the same bytes.
fn componentize(module: &Path, readme: Option<&Path>, component: &Path) -> Result<()> {
    let bytes = fs::read(module).with_context(|| format!("{} was not built", module.display()))?;
    let readme = readme.map(fs::read).transpose()?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
    hasher.update(&bytes);
    hasher.update(readme.as_deref().unwrap_or_default());
    let fingerprint = hasher.finalize().to_hex().to_string();
    let stamp = component.with_extension("stamp");
    if component.is_file() && fs::read_to_string(&stamp).is_ok_and(|known| known == fingerprint) {
        return Ok(());
    }
    let mut encoded = ComponentEncoder::default()
        .validate(true)
        .module(&bytes)?
        .encode()?;
    if let Some(readme) = readme {
        let section = wasm_encoder::CustomSection {
            name: README.into(),
            data: readme.into(),
        };
        section.append_to_component(&mut encoded);
    }
    let fresh = component.with_extension("new");
    fs::write(&fresh, encoded)?;
    fs::rename(&fresh, component)?;
    fs::write(stamp, fingerprint)?;
    Ok(())
}
