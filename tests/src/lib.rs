//! A data folder of its own for each test, the real binary, and servers that end with their test.
//!
//! The end-to-end tests stand on this: here, and in `host/cli/tests`. They use the binary that lies
//! beside them in the target folder; `cargo xtask test` builds it first.
#![allow(clippy::unwrap_used, clippy::new_without_default, missing_docs)]

pub mod models;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Nothing that a test waits for takes this long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The `tenon` binary of the same build.
pub fn binary() -> PathBuf {
    let beside = |test: PathBuf| Some(test.parent()?.parent()?.join("tenon"));
    let path = std::env::current_exe().ok().and_then(beside).unwrap();
    assert!(
        path.is_file(),
        "{} is missing: `cargo build --release -p tenon` builds it",
        path.display()
    );
    path
}

/// A data folder and a folder for files.
pub struct Room {
    folder: TempDir,
}

/// What a command did.
pub struct Done {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Room {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A file with that content.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The path of a file that a command is to write.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The command, without any setting of the machine.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(args)
            .env("TENON_DATA", self.data())
            .env_remove("TENON_SERVER")
            .env_remove("TENON_TOKEN")
            .env_remove("TENON_LOG")
            .env_remove("TENON_ADDRESS")
            // Vulkan drivers complain where it is not set.
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Done {
        done(self.command(args))
    }

    /// Runs a command with something on standard input.
    pub fn feed(&self, args: &[&str], input: &[u8]) -> Done {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        finished(child)
    }

    /// Runs a command that must succeed; its standard output.
    pub fn ok(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert!(
            done.status.success(),
            "tenon {args:?} ended with {}\n{}\n{}",
            done.status,
            done.stdout,
            done.stderr
        );
        done.stdout
    }

    /// Runs a command with `--json` that must succeed; its one document.
    pub fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        one_document(&self.ok(&args))
    }

    /// Runs a command that must fail with this exit status; what it said on standard error.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let done = self.run(args);
        assert_eq!(
            done.status.code(),
            Some(code),
            "tenon {args:?}\n{}\n{}",
            done.stdout,
            done.stderr
        );
        done.stderr
    }

    /// Runs a command with `--json` that must fail with this exit status; its error.
    pub fn error(&self, code: i32, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.push("--json");
        let text = self.fails(code, &args);
        let error = one_document(&text);
        error["error"].clone()
    }

    /// Starts a server on a free port and waits until it answers.
    pub fn up(&self, args: &[&str]) -> Server {
        let mut all = vec!["up", "--address", "127.0.0.1:0", "--json"];
        all.extend(args);
        Server::start(self.command(&all))
    }
}

/// The text is exactly one JSON document.
pub fn one_document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not one document: {error}\n{text}"))
}

fn done(mut command: Command) -> Done {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    finished(child)
}

/// Waits for the end of a child whose output is piped.
pub fn finished(child: Child) -> Done {
    let output = child.wait_with_output().unwrap();
    Done {
        status: output.status,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running server. It is asked to stop when it is dropped, and must.
pub struct Server {
    child: Option<Child>,
    pub url: String,
    pub pid: u32,
    /// From the start of the process to its announcement.
    pub started_in: Duration,
}

impl Server {
    pub fn start(mut command: Command) -> Self {
        let begin = Instant::now();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let started_in = begin.elapsed();
        if line.is_empty() {
            let done = finished(child);
            panic!("the server ended with {}: {}", done.status, done.stderr);
        }
        let said = one_document(&line);
        Self {
            url: said["url"].as_str().unwrap().to_owned(),
            pid: said["pid"].as_u64().unwrap().try_into().unwrap(),
            child: Some(child),
            started_in,
        }
    }

    /// Asks it to stop and waits for that; what it said on standard error.
    pub fn stop(mut self) -> Done {
        self.end().unwrap()
    }

    /// Kills it, as a crash would.
    pub fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn end(&mut self) -> Option<Done> {
        let mut child = self.child.take()?;
        signal(&child, Signal::TERM);
        let end = wait_at_most(&mut child, PATIENCE);
        assert!(end.is_some(), "the server did not stop");
        Some(finished(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Waits for the end of a child; nothing: it was killed because it took too long.
pub fn wait_at_most(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let begin = Instant::now();
    while begin.elapsed() < time {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

/// Asks again and again until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(answer) = ask() {
            return answer;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("{what}: not within {PATIENCE:?}");
}

/// A first-party component, as `cargo xtask plugins` builds it.
pub fn component(name: &str) -> String {
    let folder = std::env::var_os("TENON_PLUGINS").map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/tenon/plugins"),
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    assert!(
        path.exists(),
        "{} is missing: `cargo xtask plugins` builds it",
        path.display()
    );
    path.to_str().unwrap().to_owned()
}

/// Lines of a little language that a model learns quickly.
pub fn verses(rows: usize) -> String {
    (0..rows)
        .map(|row| format!("{{\"text\":\"{}\"}}\n", verse(row)))
        .collect()
}

fn verse(row: usize) -> String {
    let (a, b) = (
        ["sun", "moon", "star"][row % 3],
        ["sea", "hill", "wood"][row / 3 % 3],
    );
    format!("the {a} is over the {b}")
}

/// A folder with plugins, a dataset, a tokenizer: ready to train.
pub fn ready_to_train() -> Room {
    let room = Room::new();
    let (train, dev) = (
        room.file("train.jsonl", verses(200)),
        room.file("dev.jsonl", verses(18)),
    );
    room.ok(&[
        "plugin",
        "install",
        &component("recipe-gpt"),
        &component("evaluator-perplexity"),
    ]);
    room.ok(&[
        "data",
        "import",
        "verses",
        &train,
        "--split",
        &format!("dev={dev}"),
    ]);
    room.ok(&[
        "tokenizer",
        "train",
        "verses",
        "--dataset",
        "verses",
        "--columns",
        "text",
    ]);
    room
}

/// A tiny model.
pub const TINY: &str = r#"{"n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 64,
    "embd_pdrop": 0, "attn_pdrop": 0, "resid_pdrop": 0}"#;

/// `tenon train` of the tiny model, with more arguments.
pub fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec![
        "train",
        "--recipe",
        "tenon/gpt",
        "--recipe-config",
        TINY,
        "--dataset",
        "verses",
        "--tokenizer",
        "verses",
        "--batch-rows",
        "8",
        "--learning-rate",
        "0.01",
        "--log-every",
        "1",
        "--device",
        "cpu",
    ];
    args.extend(more);
    args
}
