//! The Python that has `torch` and `transformers`: one process for all tests, asked line by line.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
};

use serde_json::{Value as Json, json};

struct Python {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

fn start() -> Python {
    let interpreter = std::env::var_os("TENON_TORCH").unwrap_or_else(|| {
        panic!("TENON_TORCH is not set: `cargo xtask test` sets it to a Python with torch and transformers")
    });
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/reference.py");
    let mut child = Command::new(interpreter)
        .arg("-B")
        .arg(script)
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        .env("TRANSFORMERS_VERBOSITY", "error")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    Python {
        input: child.stdin.take().unwrap(),
        output: BufReader::new(child.stdout.take().unwrap()),
        _child: child,
    }
}

/// Sends a command and gives its answer. The process ends with ours, when its input does.
pub fn ask(what: &str, case: &str, folder: &Path) -> Json {
    static PYTHON: OnceLock<Mutex<Python>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| Mutex::new(start()));
    // Another test's failure is no reason for this one's.
    let mut python = python.lock().unwrap_or_else(PoisonError::into_inner);
    let command = json!({"do": what, "case": case, "folder": folder});
    writeln!(python.input, "{command}").unwrap();
    let mut line = String::new();
    python.output.read_line(&mut line).unwrap();
    let answer: Json = serde_json::from_str(&line)
        .unwrap_or_else(|error| panic!("{case}: {what} answered {line:?}: {error}"));
    assert!(answer["error"].is_null(), "{case}: {what}: {answer}");
    answer
}
