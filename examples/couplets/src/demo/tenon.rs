//! The `tenon` binary, driven as a user would drive it: a server, and commands that ask it.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long a server may take to come up.
const START: Duration = Duration::from_secs(60);

/// A running server and how to ask it.
pub struct Tenon {
    binary: PathBuf,
    home: PathBuf,
    server: Option<Child>,
    /// Where it answers.
    pub address: String,
}

impl Tenon {
    /// Starts a server on a data folder. Port 0 takes a free one.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start(binary: PathBuf, home: PathBuf, port: u16) -> Result<Self> {
        let address = format!("127.0.0.1:{port}");
        shown(&[
            "up",
            "--data",
            &home.display().to_string(),
            "--address",
            &address,
        ]);
        let mut server = Command::new(&binary)
            .arg("up")
            .arg("--data")
            .arg(&home)
            .args(["--address", &address, "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        let started = Instant::now();
        let out = server.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let address = serde_json::from_str::<Value>(&line)
            .ok()
            .and_then(|hello| Some(hello.get("url")?.as_str()?.to_owned()));
        let Some(address) = address else {
            let _ = server.kill();
            let _ = server.wait();
            bail!("the server did not start (see above)");
        };
        ensure!(
            started.elapsed() < START,
            "the server took {:?} to start",
            started.elapsed()
        );
        Ok(Self {
            binary,
            home,
            server: Some(server),
            address,
        })
    }

    /// Runs a command and returns what it printed as JSON. Its progress goes to the terminal.
    ///
    /// # Errors
    /// If it fails; it has said why on standard error.
    pub fn run(&self, arguments: &[&str]) -> Result<Value> {
        shown(arguments);
        let out = Command::new(&self.binary)
            .args(arguments)
            .arg("--json")
            .arg("--data")
            .arg(&self.home)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        ensure!(
            out.status.success(),
            "`tenon {}` failed: {}",
            arguments.join(" "),
            out.status
        );
        // One document; where results come one by one, the last is the result.
        let text = String::from_utf8(out.stdout).context("the answer is not UTF-8")?;
        if let Ok(value) = serde_json::from_str(&text) {
            return Ok(value);
        }
        let last = text
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or_default();
        serde_json::from_str(last)
            .with_context(|| format!("`tenon {}` answered no JSON", arguments.join(" ")))
    }

    /// Waits until the server ends by itself: by Ctrl-C, which it gets too.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn wait(mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.wait()?;
        }
        Ok(())
    }
}

impl Drop for Tenon {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        // Asked first, so that it closes its data folder in order.
        let asked = Command::new("kill")
            .args(["-TERM", &server.id().to_string()])
            .status()
            .is_ok_and(|status| status.success());
        let patience = Instant::now() + Duration::from_secs(20);
        while asked && Instant::now() < patience {
            if !matches!(server.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = server.kill();
        let _ = server.wait();
    }
}

/// Shows a command as one would type it.
fn shown(arguments: &[&str]) {
    let mut line = String::from("\n$ tenon");
    for argument in arguments {
        let plain = !argument.is_empty()
            && argument
                .chars()
                .all(|c| c.is_alphanumeric() || "-_./:=#@,+".contains(c));
        line.push(' ');
        if plain {
            line.push_str(argument);
        } else {
            line.push_str(&format!("'{argument}'"));
        }
    }
    eprintln!("{line}");
}
