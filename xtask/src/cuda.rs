//! CUDA without a GPU: programs run with the libraries of `tests/cuda`, which stand in for NVIDIA's.

use std::{
    env::{
        self,
        consts::{ARCH, OS},
    },
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context, Result, bail};

use crate::{apt, env as here};

/// The driver is loaded by both of its names.
const DRIVER: [&str; 2] = ["libcuda.so", "libcuda.so.1"];

/// Columns of the products of which some fail in the tests: as no other has.
const FAILING_PRODUCT: usize = 1237;

/// Runs a program with these libraries.
///
/// # Errors
/// If they cannot be built, or the program fails.
pub fn run(program: &[String]) -> Result<()> {
    let [name, arguments @ ..] = program else {
        return test(None);
    };
    let status = Command::new(name)
        .args(arguments)
        .envs(environment()?)
        .status()
        .with_context(|| format!("cannot start `{name}`"))?;
    if !status.success() {
        bail!("`{name}` failed: {status}");
    }
    Ok(())
}

/// Runs the tests of the operations with these libraries.
///
/// # Errors
/// If the libraries cannot be built, or a test fails.
pub fn test(filter: Option<&str>) -> Result<()> {
    // The test alone sees the variables: cargo would build again what depends on them.
    let mut runner = vec!["env".to_owned()];
    for (name, value) in environment()? {
        runner.push(format!("{name}={}", value.to_string_lossy()));
    }
    runner.push(format!("TENON_TEST_FAILING_PRODUCT={FAILING_PRODUCT}"));
    let runner = serde_json::to_string(&runner)?;
    let mut cargo = here::cargo()?;
    cargo.args(["test", "--release", "--locked", "--workspace"]);
    cargo.args(["--test", "ops_cuda", "--config"]);
    cargo.arg(format!("target.'cfg(all())'.runner={runner}"));
    // Without the device it would pass with nothing tested.
    cargo.env("TENON_TEST_CUDA", "required");
    if let Some(filter) = filter {
        cargo.args(["--", filter]);
    }
    here::run(&mut cargo)
}

/// The variables under which a program finds these libraries, building them first where that was not done.
fn environment() -> Result<Vec<(&'static str, OsString)>> {
    let sources = here::root().join("tests/cuda");
    let folder = build(&sources)?;
    let others = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let others = env::split_paths(&others).filter(|path| !path.as_os_str().is_empty());
    let libraries = std::iter::once(folder.clone()).chain(others);
    Ok(vec![
        ("LD_LIBRARY_PATH", env::join_paths(libraries)?),
        // For the headers that kernels are compiled against.
        ("CUDA_PATH", sources.into_os_string()),
        ("TENON_KERNEL_CACHE", folder.join("cache").into_os_string()),
    ])
}

/// Whether the libraries are written for this system.
pub fn is_possible() -> bool {
    OS == "linux" && ["x86_64", "aarch64"].contains(&ARCH)
}

/// The folder with the libraries, one for each state of their sources and each compiler: compiled kernels are
/// kept in it.
fn build(sources: &Path) -> Result<PathBuf> {
    if !is_possible() {
        bail!("the libraries that stand in for CUDA's are not written for {OS} on {ARCH}");
    }
    if !here::has("c++") {
        apt::ensure(&["g++"])?;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(here::output(Command::new("c++").arg("--version"))?.as_bytes());
    hasher.update(ARCH.as_bytes());
    for folder in [sources.to_path_buf(), sources.join("include")] {
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.sort();
        for file in files {
            if matches!(file.extension().and_then(OsStr::to_str), Some("cpp" | "h")) {
                hasher.update(&fs::read(&file)?);
            }
        }
    }
    let name = format!("cuda-{}", &hasher.finalize().to_hex()[..8]);
    let folder = here::cache()?.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    // Appears whole, also when two are at it.
    let making = folder.with_extension(process::id().to_string());
    let made = compile(sources, &making).and_then(|()| match fs::rename(&making, &folder) {
        Err(error) if !folder.is_dir() => {
            Err(error).with_context(|| format!("cannot make {}", folder.display()))
        }
        _ => Ok(()),
    });
    if making.is_dir() {
        fs::remove_dir_all(&making)?;
    }
    made.map(|()| folder)
}

fn compile(sources: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("cannot make {}", into.display()))?;
    let library = |name: &str, files: &[&str], options: &[&str]| {
        let mut compiler = Command::new("c++");
        compiler
            .current_dir(sources)
            .args(["-O3", "-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra"])
            .args(files)
            .args(options)
            .arg("-o")
            .arg(into.join(name));
        here::run(&mut compiler)
    };
    let name_of_driver = format!("-Wl,-soname,{}", DRIVER[1]);
    library(
        DRIVER[0],
        &["driver.cpp", "launch.cpp"],
        &["-ldl", "-lpthread", &name_of_driver],
    )?;
    library("libnvrtc.so", &["compiler.cpp"], &["-ldl"])?;
    library("libcublasLt.so", &["blas.cpp"], &[])?;
    std::os::unix::fs::symlink(DRIVER[0], into.join(DRIVER[1]))?;
    Ok(())
}
