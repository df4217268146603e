//! `cargo xtask demo`: builds the host and the components, then runs the reference demo.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{env, guests};

/// What the demo is told.
#[derive(clap::Args)]
pub struct Demo {
    /// A folder with real text instead of the corpus that the project makes: poems.jsonl,
    /// couplets-train.jsonl, couplets-dev.jsonl (each also .gz) and tones.tsv.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Tenon's data folder. Nothing: one in the cache folder, emptied first.
    #[arg(long)]
    home: Option<PathBuf>,
    /// Where the service listens; 0 takes a free port.
    #[arg(long, default_value_t = 7700)]
    port: u16,
    /// Minutes of training in all.
    #[arg(long)]
    minutes: Option<f64>,
    /// End with the last step instead of serving until Ctrl-C.
    #[arg(long)]
    exit: bool,
}

/// Builds the components and the binaries; the folder of the latter.
pub fn build() -> Result<PathBuf> {
    guests::build()?;
    // The whole workspace: cargo resolves other features for a part of it, and would build the
    // dependencies a second time for the tests.
    env::run(env::cargo()?.args(["build", "--release", "--workspace", "--bins", "--locked"]))?;
    Ok(env::target()?.join("release"))
}

/// Builds what is needed and runs it.
pub fn run(demo: &Demo) -> Result<()> {
    let built = build()?;
    let home = match &demo.home {
        Some(home) => home.clone(),
        None => {
            let home = env::cache()?.join("demo");
            // Only what earlier demos left there.
            if home.exists() {
                fs::remove_dir_all(&home)
                    .with_context(|| format!("cannot empty {}", home.display()))?;
            }
            home
        }
    };
    fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
    let mut command = Command::new(built.join("couplets"));
    command
        .arg("demo")
        .arg("--tenon")
        .arg(built.join("tenon"))
        .arg("--plugins")
        .arg(env::components()?)
        .arg("--home")
        .arg(home)
        .args(["--port", &demo.port.to_string()]);
    if let Some(data) = &demo.data {
        command.arg("--data").arg(
            fs::canonicalize(data).with_context(|| format!("{} is not there", data.display()))?,
        );
    }
    if let Some(minutes) = demo.minutes {
        command.args(["--minutes", &minutes.to_string()]);
    }
    if demo.exit {
        command.arg("--exit");
    }
    env::run(&mut command)
}
