//! Whether a component is a plugin, and what it lacks if it is none.
//!
//! Works on the component's type alone: nothing is compiled or run.

mod compare;
mod contract;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::Serialize;
use wit_component::DecodedWasm;
use wit_parser::{InterfaceId, Resolve, WorldId, WorldItem, WorldKey};

use crate::{Description, Kind, PluginError, call::panic_text, component, pack};
use compare::Comparison;
use contract::{Name, contract};

/// What a component is, next to the worlds of the contract.
#[derive(Debug, Clone, Serialize)]
pub struct CheckReport {
    /// `sha256:…` of the bytes.
    pub digest: String,
    /// What it imports, with versions.
    pub imports: Vec<String>,
    /// What it exports, with versions.
    pub exports: Vec<String>,
    /// The description that it carries; nothing if it was built without one.
    pub description: Option<Description>,
    /// Whether it carries a README.
    pub has_readme: bool,
    /// Every world of the contract, the nearest first.
    pub worlds: Vec<WorldFit>,
}

/// How a component stands to one world.
#[derive(Debug, Clone, Serialize)]
pub struct WorldFit {
    /// The kind of plugin that the world is for.
    pub kind: Kind,
    /// The world's name and version.
    pub world: String,
    /// What the world needs and the component does not export.
    pub missing_exports: Vec<String>,
    /// What the component imports and nobody in this world provides.
    pub unknown_imports: Vec<String>,
    /// What is there on both sides and differs.
    pub mismatches: Vec<String>,
}

impl WorldFit {
    /// Whether the component can be used in this world.
    pub fn fits(&self) -> bool {
        self.missing_exports.is_empty()
            && self.unknown_imports.is_empty()
            && self.mismatches.is_empty()
    }

    fn distance(&self) -> (bool, usize) {
        // The export that makes a plugin of this kind counts more than everything else.
        let other_kind = self
            .missing_exports
            .iter()
            .any(|m| m.starts_with(&format!("tenon:{}/", self.kind)));
        (
            other_kind,
            self.missing_exports.len() + self.unknown_imports.len() + self.mismatches.len(),
        )
    }
}

impl CheckReport {
    /// The kind of plugin that it is; nothing if it fits no world.
    pub fn kind(&self) -> Option<Kind> {
        self.worlds
            .iter()
            .find(|world| world.fits())
            .map(|world| world.kind)
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(world) = self.worlds.first() else {
            return Ok(());
        };
        if world.fits() {
            return write!(f, "it is a {}: it fits {}", world.kind, world.world);
        }
        write!(f, "it fits no world; the nearest is {}:", world.world)?;
        for missing in &world.missing_exports {
            write!(f, "\n  it does not export {missing}")?;
        }
        for unknown in &world.unknown_imports {
            write!(f, "\n  it imports {unknown}")?;
        }
        for mismatch in &world.mismatches {
            write!(f, "\n  {mismatch}")?;
        }
        Ok(())
    }
}

/// Compares a component with every world of the contract.
///
/// # Errors
/// [`PluginError::Corrupt`] or [`PluginError::WrongWorld`] if the bytes are no component. A component
/// that fits no world is no error: the report says what it lacks.
pub fn check(bytes: &[u8]) -> Result<CheckReport, PluginError> {
    let digest = component::digest(bytes);
    let short = component::short(&digest);
    let corrupt = |message: String| PluginError::corrupt(&short, "check", message);
    if wasmparser::Parser::is_core_wasm(bytes) {
        return Err(PluginError::wrong_world(
            &short,
            "check",
            "this is a core WebAssembly module, not a component",
        )
        .with_hint(
            "build it as a component: `cargo xtask plugins`, or `wasm-tools component new`",
        ));
    }
    let carried = pack::read(bytes).map_err(corrupt)?;
    // The decoder is written for what compilers produce; on anything else it may give up loudly.
    let decoded = catch_unwind(AssertUnwindSafe(|| wit_component::decode(bytes)))
        .map_err(|panic| corrupt(format!("it cannot be decoded: {}", panic_text(&*panic))))?
        .map_err(|error| corrupt(format!("it is no valid component: {error:#}")))?;
    let DecodedWasm::Component(resolve, world) = decoded else {
        return Err(PluginError::wrong_world(
            &short,
            "check",
            "this is a WIT package, not a component",
        ));
    };
    let contract = contract().map_err(|e| PluginError::host(&short, "check", e))?;
    let mut worlds: Vec<WorldFit> = contract
        .worlds
        .iter()
        .map(|&(kind, wanted)| fit(kind, &contract.resolve, wanted, &resolve, world))
        .collect();
    worlds.sort_by_key(WorldFit::distance);
    Ok(CheckReport {
        digest,
        imports: resolve.worlds[world]
            .imports
            .keys()
            .map(|key| resolve.name_world_key(key))
            .collect(),
        exports: resolve.worlds[world]
            .exports
            .keys()
            .map(|key| resolve.name_world_key(key))
            .collect(),
        description: carried.description,
        has_readme: carried.readme.is_some(),
        worlds,
    })
}

/// Compares one component with one world.
fn fit(
    kind: Kind,
    contract: &Resolve,
    wanted: WorldId,
    resolve: &Resolve,
    world: WorldId,
) -> WorldFit {
    let mut fit = WorldFit {
        kind,
        world: world_name(contract, wanted),
        missing_exports: Vec::new(),
        unknown_imports: Vec::new(),
        mismatches: Vec::new(),
    };
    let (wanted, found) = (&contract.worlds[wanted], &resolve.worlds[world]);

    for (key, item) in &found.imports {
        let name = resolve.name_world_key(key);
        let Some(theirs) = interface(key, item) else {
            fit.unknown_imports
                .push(format!("{name}, which is no interface of the contract"));
            continue;
        };
        match counterpart(contract, &wanted.imports, &name) {
            Counterpart::Found(ours) => {
                // The component calls: all that it calls must be there.
                for (function, called) in &resolve.interfaces[theirs].functions {
                    match contract.interfaces[ours].functions.get(function) {
                        None => fit.unknown_imports.push(format!(
                            "{name}, function `{function}`, which this host does not have: it may need a newer one"
                        )),
                        Some(provided) => {
                            if let Err(why) = Comparison::new(contract, resolve).functions(provided, called) {
                                fit.mismatches.push(format!("it imports {name} with another `{function}`: {why}"));
                            }
                        }
                    }
                }
            }
            // An interface of types alone asks for nothing.
            _ if resolve.interfaces[theirs].functions.is_empty()
                && resolve.interfaces[theirs].types.is_empty() => {}
            Counterpart::OtherVersion(ours) => {
                fit.unknown_imports
                    .push(format!("{name}, but this host provides {ours}"));
            }
            Counterpart::None => fit
                .unknown_imports
                .push(format!("{name}, which a {kind} is not given")),
        }
    }
    for (key, item) in &wanted.exports {
        let name = contract.name_world_key(key);
        let Some(ours) = interface(key, item) else {
            continue;
        };
        match counterpart(resolve, &found.exports, &name) {
            Counterpart::Found(theirs) => {
                // The host calls: all that it calls must be there.
                for (function, called) in &contract.interfaces[ours].functions {
                    match resolve.interfaces[theirs].functions.get(function) {
                        None => fit
                            .missing_exports
                            .push(format!("{name}, function `{function}`")),
                        Some(provided) => {
                            if let Err(why) =
                                Comparison::new(contract, resolve).functions(called, provided)
                            {
                                fit.mismatches.push(format!(
                                    "it exports {name} with another `{function}`: {why}"
                                ));
                            }
                        }
                    }
                }
            }
            Counterpart::OtherVersion(theirs) => {
                fit.missing_exports
                    .push(format!("{name}; what it exports is {theirs}"));
            }
            Counterpart::None => fit.missing_exports.push(name),
        }
    }
    fit
}

enum Counterpart {
    Found(InterfaceId),
    /// The same interface in a version that is not compatible.
    OtherVersion(String),
    None,
}

/// The interface of that name, in a compatible version, among a world's imports or exports.
fn counterpart<'a>(
    resolve: &Resolve,
    items: impl IntoIterator<Item = (&'a WorldKey, &'a WorldItem)>,
    name: &str,
) -> Counterpart {
    let Some(wanted) = Name::parse(name) else {
        return Counterpart::None;
    };
    let mut nearest = Counterpart::None;
    for (key, item) in items {
        let other = resolve.name_world_key(key);
        let Some(found) = Name::parse(&other) else {
            continue;
        };
        if found.interface != wanted.interface {
            continue;
        }
        match interface(key, item) {
            Some(id) if found.is_compatible(&wanted) => return Counterpart::Found(id),
            _ => nearest = Counterpart::OtherVersion(other),
        }
    }
    nearest
}

fn interface(_key: &WorldKey, item: &WorldItem) -> Option<InterfaceId> {
    match item {
        WorldItem::Interface { id, .. } => Some(*id),
        _ => None,
    }
}

fn world_name(resolve: &Resolve, world: WorldId) -> String {
    let world = &resolve.worlds[world];
    match world.package {
        Some(package) => resolve.id_of_name(package, &world.name),
        None => world.name.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
