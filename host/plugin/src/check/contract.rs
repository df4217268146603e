//! The contract as this host was built with it.

use std::sync::OnceLock;

use wit_parser::{Resolve, WorldId};

use crate::Kind;

/// Each after those that it uses.
pub(super) const PACKAGES: [(&str, &str); 8] = [
    (
        "plugin.wit",
        include_str!("../../../../wit/deps/plugin-0.1.0/plugin.wit"),
    ),
    (
        "data.wit",
        include_str!("../../../../wit/deps/data-0.1.0/data.wit"),
    ),
    (
        "tensor.wit",
        include_str!("../../../../wit/deps/tensor-0.1.0/tensor.wit"),
    ),
    (
        "recipe.wit",
        include_str!("../../../../wit/deps/recipe-0.1.0/recipe.wit"),
    ),
    (
        "evaluator.wit",
        include_str!("../../../../wit/deps/evaluator-0.1.0/evaluator.wit"),
    ),
    (
        "transform.wit",
        include_str!("../../../../wit/deps/transform-0.1.0/transform.wit"),
    ),
    (
        "processor.wit",
        include_str!("../../../../wit/deps/processor-0.1.0/processor.wit"),
    ),
    ("worlds.wit", include_str!("../../../../wit/worlds.wit")),
];

/// The contract's packages and its world for each kind of plugin.
pub(crate) struct Contract {
    pub(crate) resolve: Resolve,
    pub(crate) worlds: Vec<(Kind, WorldId)>,
}

/// Parsed once.
pub(crate) fn contract() -> Result<&'static Contract, String> {
    static CONTRACT: OnceLock<Result<Contract, String>> = OnceLock::new();
    CONTRACT.get_or_init(parse).as_ref().map_err(Clone::clone)
}

fn parse() -> Result<Contract, String> {
    let mut resolve = Resolve::new();
    let mut last = None;
    for (name, text) in PACKAGES {
        last = Some(
            resolve
                .push_source(name, text)
                .map_err(|e| format!("the contract's {name}: {e:#}"))?,
        );
    }
    let package = last.ok_or("the contract is empty")?;
    let worlds = Kind::ALL
        .into_iter()
        .map(|kind| {
            let name = format!("{kind}-plugin");
            let world = resolve.packages[package].worlds.get(&name);
            world
                .map(|&world| (kind, world))
                .ok_or(format!("the contract has no world {name}"))
        })
        .collect::<Result<_, _>>()?;
    Ok(Contract { resolve, worlds })
}

/// An interface's name and version: `tenon:data/batches@0.1.0`.
pub(crate) struct Name<'a> {
    /// `tenon:data/batches`.
    pub(crate) interface: &'a str,
    major: u64,
    minor: u64,
    patch: u64,
}

impl<'a> Name<'a> {
    /// Nothing if there is no version, or one that is not released.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let (interface, version) = name.split_once('@')?;
        let mut numbers = version.split('.').map(|n| n.parse().ok());
        let name = Self {
            interface,
            major: numbers.next()??,
            minor: numbers.next()??,
            patch: numbers.next()??,
        };
        numbers.next().is_none().then_some(name)
    }

    /// Whether one may stand for the other, functions permitting: 0.1.0 and 0.1.7, 1.2.0 and 1.3.0.
    pub(crate) fn is_compatible(&self, other: &Self) -> bool {
        match (self.major, self.minor) {
            (0, 0) => (other.major, other.minor, other.patch) == (0, 0, self.patch),
            (0, minor) => (other.major, other.minor) == (0, minor),
            (major, _) => other.major == major,
        }
    }
}
