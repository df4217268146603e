//! `c-bindings WIT WORLD FOLDER`: the C header and source of a world of the contract.

use std::{env, fs, path::Path};

use anyhow::{Context, Result, bail};
use wit_bindgen_core::{Files, wit_parser::Resolve};

/// The bindings are named after it whatever the world is, so that one helper header fits all kinds.
const NAME: &str = "plugin";

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [wit, world, folder] = arguments.as_slice() else {
        bail!("usage: c-bindings WIT WORLD FOLDER")
    };
    let mut resolve = Resolve::default();
    let (package, _) = resolve
        .push_dir(wit)
        .with_context(|| format!("the contract in {wit}"))?;
    let world = resolve.select_world(&[package], Some(world))?;
    let mut files = Files::default();
    let options = wit_bindgen_c::Opts {
        rename_world: Some(NAME.into()),
        ..wit_bindgen_c::Opts::default()
    };
    options.build().generate(&mut resolve, world, &mut files)?;
    for (name, content) in files.iter() {
        let path = Path::new(folder).join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
