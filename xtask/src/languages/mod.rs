//! Plugins in other languages: the examples, each built from source into a component.
//!
//! What a language needs is fetched once into the cache; a component is built again when its sources,
//! the contract or the tools have changed. Nothing else is looked at, so that a second run costs the
//! reading of a few files.

mod c;
mod javascript;
mod package;
mod python;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result};

pub use python::interpreter_with;

use crate::env;

/// A plugin's folder, and what is built from it.
pub struct Example {
    folder: &'static str,
    /// The world in `wit/worlds.wit` that it is built against.
    world: &'static str,
    language: Language,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    C,
    Python,
    JavaScript,
}

const EXAMPLES: [Example; 3] = [
    Example {
        folder: "transform-c",
        world: "transform-plugin",
        language: Language::C,
    },
    Example {
        folder: "evaluator-python",
        world: "evaluator-plugin",
        language: Language::Python,
    },
    Example {
        folder: "processor-javascript",
        world: "processor-plugin",
        language: Language::JavaScript,
    },
];

impl Example {
    fn sources(&self) -> PathBuf {
        env::root().join("examples").join(self.folder)
    }

    /// What the language's helper layer adds.
    fn sdk(&self) -> PathBuf {
        env::root().join("sdk").join(match self.language {
            Language::C => "c",
            Language::Python => "python",
            Language::JavaScript => "javascript",
        })
    }

    /// An empty folder to build in.
    fn scratch(&self) -> Result<PathBuf> {
        let folder = cache()?.join("build").join(self.folder);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// What the tools are, for the fingerprint.
    fn tools(&self) -> String {
        match self.language {
            Language::C => c::TOOLS.to_owned(),
            Language::Python => python::TOOLS.to_owned(),
            Language::JavaScript => javascript::tools(),
        }
    }

    /// The bytes of the component, without what it says about itself.
    fn compile(&self) -> Result<Vec<u8>> {
        match self.language {
            Language::C => c::compile(self),
            Language::Python => python::compile(self),
            Language::JavaScript => javascript::compile(self),
        }
    }

    /// Of everything that the component is made from.
    fn fingerprint(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(package::FORMAT.as_bytes());
        hasher.update(self.tools().as_bytes());
        for folder in [self.sources(), self.sdk(), wit()] {
            hash_folder(&mut hasher, &folder)?;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

/// Builds the examples that have changed; returns all components' paths.
pub fn build() -> Result<Vec<PathBuf>> {
    let out = env::components()?;
    fs::create_dir_all(&out)?;
    EXAMPLES
        .iter()
        .map(|example| {
            let component = out.join(format!("{}.wasm", example.folder));
            let stamp = component.with_extension("stamp");
            let fingerprint = example.fingerprint()?;
            if component.is_file()
                && fs::read_to_string(&stamp).is_ok_and(|known| known == fingerprint)
            {
                return Ok(component);
            }
            let start = Instant::now();
            let bytes = example
                .compile()
                .and_then(|bytes| package::package(bytes, &example.sources()))
                .with_context(|| {
                    format!("examples/{} does not become a component", example.folder)
                })?;
            let size = bytes.len() as f64 / 1e6;
            let fresh = component.with_extension("new");
            fs::write(&fresh, bytes)?;
            fs::rename(&fresh, &component)?;
            fs::write(stamp, fingerprint)?;
            eprintln!(
                "examples/{}: {size:.1} MB in {:.1} s",
                example.folder,
                start.elapsed().as_secs_f64()
            );
            Ok(component)
        })
        .collect()
}

/// The tests that need no host: the examples' logic and the helper layers, each in its own language.
pub fn test() -> Result<()> {
    for example in &EXAMPLES {
        let (program, arguments): (PathBuf, &[&str]) = match example.language {
            Language::C => continue,
            Language::Python => (python::interpreter()?, &["-B", "-m", "unittest"]),
            Language::JavaScript => (javascript::interpreter()?, &["--test"]),
        };
        for folder in [example.sources(), example.sdk()] {
            let has_tests = fs::read_dir(&folder)?.flatten().any(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("test_") || name.ends_with(".test.mjs")
            });
            if has_tests {
                env::run(Command::new(&program).args(arguments).current_dir(&folder))?;
            }
        }
    }
    Ok(())
}

/// The contract.
fn wit() -> PathBuf {
    env::root().join("wit")
}

/// Where the languages' tools are kept.
fn cache() -> Result<PathBuf> {
    Ok(env::cache()?.join("languages"))
}

/// Every file below a folder, by path and content, apart from what tools leave behind.
fn hash_folder(hasher: &mut blake3::Hasher, folder: &Path) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    entries.sort();
    for path in entries {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with('.') || name == "__pycache__" || name == "node_modules" {
            continue;
        }
        hasher.update(name.as_bytes());
        if path.is_dir() {
            hasher.update(b"/");
            hash_folder(hasher, &path)?;
        } else {
            let content = fs::read(&path)?;
            hasher.update(&(content.len() as u64).to_le_bytes());
            hasher.update(&content);
        }
    }
    Ok(())
}
