//! Clients that people already have.
#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command};

use tenon_tests::{ready_to_train, train};

/// `cargo xtask test` makes a Python with the clients in it and says where it is.
fn python() -> String {
    std::env::var("TENON_PYTHON")
        .unwrap_or_else(|_| panic!("TENON_PYTHON is not set: `cargo xtask test` sets it"))
}

#[test]
fn openai() {
    let room = ready_to_train();
    room.ok(&train(&["--steps", "40", "--register", "poet"]));
    let server = room.up(&["--device", "cpu"]);
    room.ok(&["deploy", "poet", "poet"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/openai_client.py");
    let out = Command::new(python())
        .arg(script)
        .args([&server.url, "poet", "the sun"])
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}
