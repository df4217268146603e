//! CUDA without a GPU: programs run with the libraries of `tests/cuda`, which stand in for NVIDIA's.

use std::{
    env::{self, consts::OS},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context, Result, bail};

use crate::{apt, env as here, languages};

/// The driver is loaded by both of its names.
const DRIVER: [&str; 2] = ["libcuda.so", "libcuda.so.1"];

/// Runs a program with these libraries.
///
/// # Errors
/// If they cannot be built, or the program fails.
pub fn run(program: &[String]) -> Result<()> {
    let [name, arguments @ ..] = program else {
        return test(None);
    };
    here::run(Command::new(name).args(arguments).envs(environment()?))
}

/// Runs the tests of the operations with these libraries.
///
/// # Errors
/// If the libraries cannot be built, or a test fails.
pub fn test(filter: Option<&str>) -> Result<()> {
    // The test alone sees the variables: cargo would build again what depends on them.
    let mut runner = vec![
        "env".to_owned(),
        // Without the device it would pass with nothing tested.
        "TENON_TEST_CUDA=required".to_owned(),
    ];
    for (name, value) in environment()? {
        runner.push(format!("{name}={}", value.to_string_lossy()));
    }
    let runner = serde_json::to_string(&runner)?;
    let mut cargo = here::cargo()?;
    cargo.args(["test", "--release", "--locked", "--workspace"]);
    cargo.args(["--test", "ops_cuda", "--config"]);
    cargo.arg(format!("target.'cfg(all())'.runner={runner}"));
    if let Some(filter) = filter {
        cargo.args(["--", filter]);
    }
    here::run(&mut cargo)
}

/// The variables under which a program finds these libraries, building them first where that was not done.
fn environment() -> Result<Vec<(&'static str, OsString)>> {
    let sources = here::root().join("tests/cuda");
    let folder = build(&sources)?;
    let mut libraries = vec![folder.clone()];
    libraries.extend(env::split_paths(
        &env::var_os("LD_LIBRARY_PATH").unwrap_or_default(),
    ));
    Ok(vec![
        ("LD_LIBRARY_PATH", env::join_paths(libraries)?),
        // For the headers that kernels are compiled against.
        ("CUDA_PATH", sources.into_os_string()),
        ("TENON_KERNEL_CACHE", folder.join("cache").into_os_string()),
    ])
}

/// The folder with the libraries, one for each state of their sources: compiled kernels are kept in it.
fn build(sources: &Path) -> Result<PathBuf> {
    if OS != "linux" {
        bail!("the libraries that stand in for CUDA's are written for Linux, this is {OS}");
    }
    let mut hasher = blake3::Hasher::new();
    languages::hash_folder(&mut hasher, sources)?;
    let name = format!("cuda-{}", &hasher.finalize().to_hex()[..8]);
    let folder = here::cache()?.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    if !here::has("c++") {
        apt::ensure(&["g++"])?;
    }
    // Appears whole, also when two are at it.
    let making = folder.with_extension(process::id().to_string());
    fs::create_dir_all(&making).with_context(|| format!("cannot make {}", making.display()))?;
    let library = |name: &str, files: &[&str], options: &[&str]| {
        let mut compiler = Command::new("c++");
        compiler
            .current_dir(sources)
            .args([
                "-O3",
                "-std=c++17",
                "-shared",
                "-fPIC",
                "-Wall",
                "-Wextra",
                "-Werror",
            ])
            .args(files)
            .args(options)
            .arg("-o")
            .arg(making.join(name));
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
    std::os::unix::fs::symlink(DRIVER[0], making.join(DRIVER[1]))?;
    match fs::rename(&making, &folder) {
        Ok(()) => Ok(folder),
        Err(_) if folder.is_dir() => {
            fs::remove_dir_all(&making)?;
            Ok(folder)
        }
        Err(error) => Err(error).with_context(|| format!("cannot make {}", folder.display())),
    }
}
