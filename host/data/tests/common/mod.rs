//! What the tests share.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use tenon_data::{Control, Datasets, ImportInput, ImportOptions, ImportReport};
use tenon_store::{Store, StoreOptions};

pub struct Place {
    pub store: Store,
    pub datasets: Datasets,
    pub folder: tempfile::TempDir,
}

pub fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("data"), StoreOptions::default()).unwrap();
    Place {
        datasets: Datasets::new(&store),
        store,
        folder,
    }
}

impl Place {
    pub fn import(&self, name: &str, file: &str, content: impl AsRef<[u8]>) -> ImportReport {
        self.try_import(name, file, content, &ImportOptions::default())
            .unwrap()
    }

    pub fn try_import(
        &self,
        name: &str,
        file: &str,
        content: impl AsRef<[u8]>,
        options: &ImportOptions,
    ) -> tenon_data::Result<ImportReport> {
        let input = ImportInput::stream(file, std::io::Cursor::new(content.as_ref().to_vec()));
        self.datasets
            .import(name, vec![input], options, &Control::new())
    }

    /// All rows of a split as JSON.
    pub fn rows(&self, reference: &str, split: &str) -> Vec<serde_json::Value> {
        let version = self.datasets.get(reference).unwrap();
        self.datasets
            .read(&version, split, None, 1000)
            .unwrap()
            .flat_map(|batch| tenon_data::dataset::to_json(&batch.unwrap()).unwrap())
            .collect()
    }

    /// Blobs in the store.
    pub fn blobs(&self) -> usize {
        self.store.blobs().list().unwrap().len()
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The folder that the project's builds and tests share.
fn cache() -> Option<PathBuf> {
    std::env::var_os("TENON_CACHE")
        .map(PathBuf::from)
        .or_else(|| {
            let home = std::env::var_os("HOME")?;
            Some(PathBuf::from(home).join(".cache/tenon"))
        })
}

/// A Python with a module, from the environment that the tests share; nothing where there is none.
pub fn python(module: &str) -> Option<PathBuf> {
    let python = cache()?.join("pyenv/bin/python");
    let has = Command::new(&python)
        .args(["-c", &format!("import {module}")])
        .output()
        .ok()?;
    if !has.status.success() {
        eprintln!("skipped: no Python with {module}");
        return None;
    }
    Some(python)
}

/// Runs a script and returns what it prints.
pub fn run(python: &PathBuf, script: &str, args: &[&str]) -> String {
    let output = Command::new(python)
        .arg("-c")
        .arg(script)
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The real corpus, where it is at hand.
pub fn poetry() -> Option<PathBuf> {
    let folder = std::env::var_os("TENON_POETRY")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/poetry")
        });
    if folder.join("couplets-dev.jsonl.gz").exists() {
        return Some(folder);
    }
    eprintln!("skipped: no corpus at {}", folder.display());
    None
}

/// A component that the project ships, where it has been built.
pub fn plugin(name: &str) -> Option<Vec<u8>> {
    let path = cache()?.join("plugins").join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!("skipped: {} has not been built", path.display());
    }
    bytes
}
