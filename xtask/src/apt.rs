//! Debian packages that a bare machine lacks.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::env;

/// Installs the packages that are missing; does nothing (and needs no rights) when all are there.
pub fn ensure(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|name| !installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!(
        "apt-get install -y --no-install-recommends {}",
        missing.join(" ")
    );
    if !env::has("apt-get") {
        bail!(
            "missing: {}. Install them with this system's package manager",
            missing.join(", ")
        );
    }
    let mut update = privileged("apt-get");
    update.args(["update", "-qq"]);
    let mut install = privileged("apt-get");
    install
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(&missing);
    install.env("DEBIAN_FRONTEND", "noninteractive");
    env::run(&mut update)
        .and_then(|()| env::run(&mut install))
        .with_context(|| {
            format!(
                "could not install {}; as root: {by_hand}",
                missing.join(", ")
            )
        })
}

fn installed(package: &str) -> bool {
    env::output(Command::new("dpkg-query").args(["-W", "-f=${Status}", package]))
        .is_ok_and(|status| status.trim() == "install ok installed")
}

/// The command, through sudo for those who are not root.
fn privileged(program: &str) -> Command {
    let root = env::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
    if root {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}
