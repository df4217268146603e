//! `kill -9` at any moment: the next command finds the whole result or none of it, and goes on.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    process::{Child, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tenon_tests::{Room, ready_to_train, train};

fn start(room: &Room, args: &[&str]) -> Child {
    room.command(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// How long a command takes when nobody kills it.
fn length(room: &Room, args: &[&str]) -> Duration {
    let begin = Instant::now();
    room.ok(args);
    begin.elapsed()
}

#[test]
fn an_import_is_whole_or_not_there() {
    let rows: String = (0..200_000)
        .map(|row| format!("{{\"id\": {row}, \"text\": \"row number {row} of many\"}}\n"))
        .collect();
    let room = Room::new();
    let file = room.file("rows.jsonl", rows);
    let whole = length(&Room::new(), &["data", "import", "rows", &file]);
    let mut unfinished = 0;
    for part in 1..8 {
        let name = format!("rows-{part}");
        let child = start(&room, &["data", "import", &name, &file]);
        sleep(whole.mul_f64(f64::from(part) / 8.0));
        kill(child);
        let done = room.run(&["data", "show", &name, "--json"]);
        if done.status.success() {
            assert!(done.stdout.contains("200000"), "whole: {}", done.stdout);
        } else {
            assert_eq!(done.status.code(), Some(2), "{}", done.stderr);
            unfinished += 1;
        }
    }
    assert!(unfinished > 0, "no import was killed in time");
    // The folder is as it should be, and the import goes through now.
    room.ok(&["store", "verify"]);
    room.ok(&["data", "import", "rows", &file]);
    let shown = room.ok(&["data", "show", "rows", "--json"]);
    assert!(shown.contains("200000"), "{shown}");
}

#[test]
fn a_killed_training_resumes_to_the_same_bits() {
    let room = ready_to_train();
    let settings = ["--steps", "60", "--checkpoint-every", "10", "--seed", "3"];
    let mut straight = train(&settings);
    straight.extend(["--register", "straight"]);
    let whole = length(&room, &straight);
    let mut killed = train(&settings);
    killed.extend(["--register", "killed", "--name", "killed"]);
    let child = start(&room, &killed);
    // In the middle, by the curve that it logs.
    sleep(whole / 2);
    kill(child);
    let run = room.json(&["runs", "show", "killed"]);
    let run = if run["run"].is_object() {
        run["run"].clone()
    } else {
        run
    };
    if run["status"] != "finished" {
        assert_eq!(run["status"], "interrupted", "{run}");
        room.ok(&["runs", "resume", "killed", "--device", "cpu"]);
    }
    let weights = |model: &str| {
        let path = room.path(&format!("{model}.safetensors"));
        room.ok(&["model", "export", model, "--output", &path]);
        fs::read(path).unwrap()
    };
    assert!(
        weights("straight") == weights("killed"),
        "the weights differ"
    );
}

#[test]
fn a_registration_is_whole_or_can_be_repeated() {
    let room = ready_to_train();
    let mut args = train(&["--steps", "3", "--checkpoint-every", "1"]);
    let whole = length(&room, &args);
    args.extend(["--register", "poet", "--name", "late"]);
    for nth in 0..6 {
        let child = start(&room, &args);
        // Around the end, when weights are stored and the version is recorded.
        sleep(whole.mul_f64(0.5 + 0.1 * f64::from(nth)));
        kill(child);
        let listed = room.json(&["model", "list"]).to_string();
        if listed.contains("poet") {
            // What is registered can be used.
            let path = room.path(&format!("poet-{nth}.safetensors"));
            room.ok(&["model", "export", "poet", "--output", &path]);
            assert!(fs::metadata(path).unwrap().len() > 0);
        }
        room.ok(&["store", "verify"]);
    }
    room.ok(&args);
    assert!(room.json(&["model", "list"]).to_string().contains("poet"));
}
