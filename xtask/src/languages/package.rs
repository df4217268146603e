//! From a component to a plugin: what it says about itself, and whether it keeps to the contract.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use wasm_encoder::{ComponentSection, CustomSection};
use wit_component::DecodedWasm;

/// Of the packaging itself, for the fingerprint.
pub const FORMAT: &str = "1";
/// The custom sections that the host reads without running the component.
const DESCRIPTION: &str = "tenon:description";
const README: &str = "tenon:readme";

/// The component with its description (`plugin.json`) and README inside.
///
/// # Errors
/// If it imports anything that is not of the contract: no host would load it.
pub fn package(mut component: Vec<u8>, sources: &Path) -> Result<Vec<u8>> {
    check_imports(&component)?;
    let description: serde_json::Value =
        serde_json::from_slice(&read(sources, "plugin.json")?).context("plugin.json is no JSON")?;
    append(
        &mut component,
        DESCRIPTION,
        &serde_json::to_vec(&description)?,
    );
    append(&mut component, README, &read(sources, "README.md")?);
    Ok(component)
}

fn read(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let path = folder.join(name);
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn append(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    CustomSection {
        name: name.into(),
        data: data.into(),
    }
    .append_to_component(component);
}

fn check_imports(component: &[u8]) -> Result<()> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else {
        bail!("the tools made a WIT package, not a component");
    };
    let foreign: Vec<String> = resolve.worlds[world]
        .imports
        .keys()
        .map(|key| resolve.name_world_key(key))
        .filter(|name| !name.starts_with("tenon:"))
        .collect();
    if !foreign.is_empty() {
        bail!(
            "it imports {}, which no plugin is given; leave out what asks for it (files, clocks, output)",
            foreign.join(", ")
        );
    }
    Ok(())
}
