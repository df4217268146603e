//! A name for this state of the kernels: what is compiled from others must not be taken for it.

#![allow(missing_docs)]

use std::{
    error::Error,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
};

fn main() -> Result<(), Box<dyn Error>> {
    const FOLDER: &str = "src/kernels";
    /// Burn's kernels are kept beside ours.
    const LOCK: &str = "../../Cargo.lock";
    for path in [FOLDER, LOCK] {
        println!("cargo::rerun-if-changed={path}");
    }
    let entries = fs::read_dir(FOLDER)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<Result<Vec<_>, Box<dyn Error>>>()?;
    paths.push(LOCK.into());
    paths.sort();
    let mut hasher = DefaultHasher::new();
    for path in paths {
        fs::read(path)?.hash(&mut hasher);
    }
    println!("cargo::rustc-env=TENON_KERNELS={:016x}", hasher.finish());
    Ok(())
}
