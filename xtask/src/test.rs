//! `cargo xtask test`: exactly what CI runs.

use anyhow::Result;

use crate::{apt, arrows, cuda, env, guests, languages};

/// A software GPU, so that the GPU code path runs on machines without one.
const DEBIAN: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// The client that a test asks our completions with.
const CLIENT: [&str; 1] = ["openai==3.57.0"];
/// What our models are compared with.
const TORCH: [&str; 4] = [
    "torch==2.15.0",
    "transformers==5.23.0",
    "peft==0.21.2",
    "safetensors==0.8.0",
];

/// What the evaluators' numbers and figures are compared with.
const REFERENCES: [&str; 6] = [
    "scikit-learn==1.9.1",
    "scipy==1.17.1",
    "numpy==2.4.6",
    "sacrebleu==2.6.0",
    "rouge-score==0.1.2",
    "altair==6.3.0",
];

/// Everything, cheapest first.
pub fn all(filter: Option<&str>) -> Result<()> {
    let guests = env::root().join("plugins/Cargo.toml");
    env::run(env::cargo()?.args(["fmt", "--all", "--check"]))?;
    env::run(
        env::cargo()?
            .args(["fmt", "--all", "--check", "--manifest-path"])
            .arg(&guests),
    )?;
    arrows::check()?;
    if env::has("apt-get") {
        apt::ensure(&DEBIAN)?;
    }
    let mut components = guests::build()?;
    components.extend(languages::build()?);
    languages::test()?;
    eprintln!(
        "{} components in {}",
        components.len(),
        env::components()?.display()
    );

    let lint = [
        "--all-targets",
        "--workspace",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    env::run(env::cargo()?.args(["clippy", "--release"]).args(lint))?;
    let mut native = env::cargo()?;
    native.env("CARGO_TARGET_DIR", env::cache()?.join("guest-target"));
    env::run(
        native
            .args(["clippy", "--manifest-path"])
            .arg(&guests)
            .args(lint),
    )?;
    let mut native = env::cargo()?;
    native.env("CARGO_TARGET_DIR", env::cache()?.join("guest-target"));
    env::run(
        native
            .args(["test", "--workspace", "--locked", "--manifest-path"])
            .arg(&guests),
    )?;

    // The end-to-end tests run the binaries that lie in the target folder.
    let binaries = ["build", "--release", "--workspace", "--bins", "--locked"];
    env::run(env::cargo()?.args(binaries))?;
    let mut host = env::cargo()?;
    host.env("TENON_PLUGINS", env::components()?)
        .env("TENON_PYTHON", languages::interpreter_with(&CLIENT)?)
        .env("TENON_TORCH", languages::interpreter_with(&TORCH)?)
        .env("TENON_SKLEARN", languages::interpreter_with(&REFERENCES)?);
    // A part of the workspace would resolve other features and build its dependencies again.
    host.args([
        "test",
        "--release",
        "--locked",
        "--workspace",
        "--no-fail-fast",
    ]);
    if let Some(filter) = filter {
        host.args(["--", filter]);
    }
    env::run(&mut host)?;
    if cuda::is_possible() {
        // Also where there is a GPU: what these find is not what a card finds.
        cuda::test(filter)?;
    }
    Ok(())
}
