//! A Rust compiler with a standard library for wasm32-unknown-unknown.
//!
//! Where rustup has the target, the stock toolchain is used. Elsewhere Debian's `rustc-web` is, and its
//! standard library is built once from Debian's own sources, without a network.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{apt, env};

/// The only target that guests are built for: no WASI, so nothing is imported but the contract.
pub const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19"];

/// What builds guests.
pub enum Toolchain {
    /// The stock toolchain has the target.
    Stock,
    /// Debian's compiler and a sysroot of our own.
    Debian { sysroot: PathBuf },
}

impl Toolchain {
    /// Finds a toolchain, or makes one.
    pub fn find() -> Result<Self> {
        if stock_has_target() || rustup_adds_target() {
            return Ok(Self::Stock);
        }
        apt::ensure(&DEBIAN).with_context(|| {
            format!(
                "the stock toolchain has no {TARGET}, and `rustup target add {TARGET}` did not help"
            )
        })?;
        Ok(Self::Debian {
            sysroot: sysroot()?,
        })
    }

    /// Cargo, set up to build for [`TARGET`].
    pub fn cargo(&self) -> Result<Command> {
        let mut command = match self {
            Self::Stock => env::cargo()?,
            Self::Debian { sysroot } => {
                let mut command = Command::new("/usr/bin/cargo");
                let mut flags = OsString::from("-Cpanic=abort --sysroot=");
                flags.push(sysroot);
                command
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", flags)
                    .env_remove("RUSTUP_TOOLCHAIN");
                command
            }
        };
        command.env("CARGO_TARGET_DIR", env::cache()?.join("guest-target"));
        Ok(command)
    }
}

fn stock_has_target() -> bool {
    env::output(Command::new("rustc").args(["--print", "sysroot"])).is_ok_and(|sysroot| {
        Path::new(sysroot.trim())
            .join("lib/rustlib")
            .join(TARGET)
            .join("lib")
            .is_dir()
    })
}

/// Asks rustup once a day at most: where it cannot reach its server the answer does not change.
fn rustup_adds_target() -> bool {
    let Ok(stamp) = env::cache().map(|cache| cache.join("rustup-target-refused")) else {
        return false;
    };
    let recently = fs::metadata(&stamp)
        .and_then(|meta| meta.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() < 24 * 3600));
    if recently || !env::has("rustup") {
        return false;
    }
    let added =
        env::output(Command::new("timeout").args(["60", "rustup", "target", "add", TARGET]))
            .is_ok();
    if !added {
        let _ = fs::create_dir_all(stamp.parent().unwrap_or(Path::new(".")))
            .and_then(|()| fs::write(&stamp, ""));
    }
    added && stock_has_target()
}

/// The sysroot for Debian's compiler, built unless the one in the cache is of the same version.
fn sysroot() -> Result<PathBuf> {
    let version = env::output(Command::new("/usr/bin/rustc").arg("-V"))?;
    let out = env::cache()?.join("wasm-sysroot");
    let stamp = out.join("VERSION");
    if fs::read_to_string(&stamp).is_ok_and(|built| built == version) {
        return Ok(out);
    }
    eprintln!(
        "building the wasm32 standard library for {}(once, about half a minute)",
        version.replace('\n', " ")
    );
    let work = env::cache()?.join("wasm-sysroot-build");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    let library = work.join("library");
    let sources = fs::canonicalize("/usr/lib/rustlib/src/rust/library")
        .context("no sources: rust-web-src")?;
    env::run(Command::new("cp").arg("-r").arg(&sources).arg(&library))?;
    prepare(&library)?;
    build(&library, &work.join("target"))?;

    let fresh = env::cache()?.join("wasm-sysroot-new");
    let _ = fs::remove_dir_all(&fresh);
    let rustlib = fresh.join("lib/rustlib");
    let lib = rustlib.join(TARGET).join("lib");
    fs::create_dir_all(&lib)?;
    for entry in fs::read_dir(work.join("target").join(TARGET).join("release/deps"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "rlib")
            && let Some(name) = path.file_name()
        {
            fs::copy(&path, lib.join(name))?;
        }
    }
    // Build scripts and macros run on the host and need its library beside.
    let host = env::output(Command::new("/usr/bin/rustc").arg("-vV"))?
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc -vV names no host")?;
    std::os::unix::fs::symlink(
        Path::new("/usr/lib/rustlib").join(&host),
        rustlib.join(&host),
    )?;
    fs::write(fresh.join("VERSION"), &version)?;
    let _ = fs::remove_dir_all(&out);
    fs::rename(&fresh, &out)?;
    let _ = fs::remove_dir_all(&work);
    Ok(out)
}

/// Debian ships the library's sources without what only its tests need: the workspace is cut down to
/// what is built.
fn prepare(library: &Path) -> Result<()> {
    for entry in fs::read_dir(library)? {
        let manifest = entry?.path().join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&manifest) else {
            continue;
        };
        let mut keep = true;
        let mut kept = String::with_capacity(text.len());
        for line in text.lines() {
            if line.starts_with('[') {
                keep = !line.contains("dev-dependencies");
            }
            if keep {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        fs::write(&manifest, kept)?;
    }
    let mut workspace = String::from(
        "[workspace]\nresolver = \"2\"\nmembers = [\"std\", \"sysroot\"]\n\
         [profile.release]\ncodegen-units = 1\n\
         [profile.release.package.compiler_builtins]\n\
         codegen-units = 10000\ndebug-assertions = false\noverflow-checks = false\n\
         [patch.crates-io]\n",
    );
    for part in ["core", "alloc", "std"] {
        workspace.push_str(&format!(
            "rustc-std-workspace-{part} = {{ path = 'rustc-std-workspace-{part}' }}\n"
        ));
    }
    fs::write(library.join("Cargo.toml"), workspace)?;
    let _ = fs::remove_file(library.join("Cargo.lock"));
    // An optional dependency that is never built, but that the resolver wants to see.
    let stub = library.join("vendor/cc-stub");
    fs::create_dir_all(stub.join("src"))?;
    fs::write(stub.join("src/lib.rs"), "")?;
    fs::write(
        stub.join(".cargo-checksum.json"),
        r#"{"files":{},"package":null}"#,
    )?;
    fs::write(
        stub.join("Cargo.toml"),
        "[package]\nname = \"cc\"\nversion = \"1.2.0\"\n[features]\nparallel = []\n",
    )?;
    Ok(())
}

fn build(library: &Path, target: &Path) -> Result<()> {
    let vendor = library.join("vendor");
    let Some(vendor) = vendor.to_str() else {
        bail!("{} is no UTF-8 path", vendor.display())
    };
    env::run(
        Command::new("/usr/bin/cargo")
            .current_dir(library)
            .env("RUSTC", "/usr/bin/rustc")
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", target)
            .env(
                "RUSTFLAGS",
                "-Cembed-bitcode=yes -Zforce-unstable-if-unmarked -Cpanic=abort -Copt-level=3",
            )
            .env_remove("RUSTUP_TOOLCHAIN")
            .args([
                "build",
                "--quiet",
                "--release",
                "--offline",
                "--target",
                TARGET,
            ])
            .args(["-p", "sysroot", "--features", "panic-unwind"])
            .args(["--config", "source.crates-io.replace-with=\"v\""])
            .arg("--config")
            .arg(format!("source.v.directory=\"{vendor}\"")),
    )
}
