//! The data folder and the server on it: who has it, where, and what stands in the way.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tenon_tests::{Room, Server, finished, signal, wait_at_most};

#[test]
fn commands_find_the_server_of_their_folder() {
    let room = Room::new();
    let alone = room.json(&["status"]);
    assert_eq!(alone["server"], json!(null));
    let server = room.up(&[]);
    assert!(
        server.started_in < Duration::from_secs(5),
        "{:?}",
        server.started_in
    );
    let served = room.json(&["status"]);
    assert_eq!(served["server"], server.url);
    assert_eq!(served["pid"], server.pid);
    assert_eq!(served["root"], alone["root"]);
    // By its address from anywhere.
    let elsewhere = Room::new();
    let asked = elsewhere.json(&["status", "--server", &server.url]);
    assert_eq!(asked["pid"], server.pid);
    assert!(
        !elsewhere.data().exists(),
        "the folder of the asking side is not touched"
    );
    let done = server.stop();
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("stopping"), "{}", done.stderr);
    assert_eq!(room.json(&["status"])["server"], json!(null));
}

#[test]
fn people_are_told_where_the_server_is() {
    let room = Room::new();
    let mut child = room
        .command(&["up", "--address", "localhost:0"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains("Ctrl-C") {
        let length = stdout.read_line(&mut said).unwrap();
        assert!(length > 0, "it ended: {said}");
    }
    signal(&child, Signal::INT);
    assert!(wait_at_most(&mut child, tenon_tests::PATIENCE).is_some());
    let done = finished(child);
    assert_eq!(done.status.code(), Some(0), "{}", done.stderr);
    for needle in ["http://127.0.0.1:", "openapi.json", "tenon status"] {
        assert!(said.contains(needle), "{needle}: {said}");
    }
}

#[test]
fn a_second_server_is_told_of_the_first() {
    let room = Room::new();
    let server = room.up(&[]);
    let said = room.fails(1, &["up", "--address", "127.0.0.1:0"]);
    for needle in [
        server.url.as_str(),
        &server.pid.to_string(),
        "hint:",
        "--server",
    ] {
        assert!(said.contains(needle), "{needle}: {said}");
    }
}

#[test]
fn a_port_in_use_is_named_with_another() {
    let room = Room::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = room.fails(1, &["up", "--address", &address]);
    for needle in [address.as_str(), "in use", "hint:", "--address 127.0.0.1:"] {
        assert!(said.contains(needle), "{needle}: {said}");
    }
    assert_eq!(
        room.error(1, &["up", "--address", &address])["kind"],
        "in-use"
    );
}

#[test]
fn a_folder_that_another_process_has_open_is_left_alone() {
    let room = Room::new();
    // A command that waits for standard input has its folder open, without being a server.
    room.ok(&["status"]);
    let lock = fs::File::open(room.data().join("LOCK")).unwrap();
    lock.lock().unwrap();
    fs::write(room.data().join("LOCK"), "4242\n").unwrap();
    for args in [&["status"][..], &["up", "--address", "127.0.0.1:0"]] {
        let said = room.fails(1, args);
        assert!(
            said.contains("process 4242") && said.contains("hint:") && said.contains("--server"),
            "{said}"
        );
    }
    let error = room.error(1, &["data", "list"]);
    assert!(
        error["message"].as_str().unwrap().contains("4242"),
        "{error}"
    );
    drop(lock);
    room.ok(&["status"]);
}

#[test]
fn a_folder_of_a_newer_version_is_not_opened() {
    let room = Room::new();
    room.ok(&["status"]);
    let format = room.data().join("FORMAT");
    let newer = json!({"format": 99, "created_by": "tenon 9.1.0", "layout": "unheard of"});
    fs::write(&format, newer.to_string()).unwrap();
    for args in [&["status"][..], &["up", "--address", "127.0.0.1:0"]] {
        let said = room.fails(1, args);
        for needle in ["format 99", "tenon 9.1.0"] {
            assert!(said.contains(needle), "{needle}: {said}");
        }
    }
    assert_eq!(fs::read_to_string(&format).unwrap(), newer.to_string());
}

#[test]
fn a_folder_with_other_files_is_none_of_ours() {
    let room = Room::new();
    fs::create_dir(room.data()).unwrap();
    fs::write(room.data().join("thesis.tex"), "x").unwrap();
    let said = room.fails(1, &["status"]);
    assert!(said.contains("not a tenon data folder"), "{said}");
}

#[test]
fn other_machines_are_let_in_with_a_token_only() {
    let room = Room::new();
    let open = ["up", "--address", "0.0.0.0:0"];
    let said = room.fails(2, &open);
    for needle in ["0.0.0.0", "hint:", "TENON_TOKEN", "127.0.0.1"] {
        assert!(said.contains(needle), "{needle}: {said}");
    }
    let said = room.fails(2, &["up", "--address", "0.0.0.0:0", "--token", "short"]);
    assert!(said.contains("at least 16"), "{said}");
    assert!(!room.data().exists(), "nothing was opened");

    let token = "0123456789abcdef0123";
    let server = Server::start({
        let mut command = room.command(&["up", "--address", "0.0.0.0:0", "--json"]);
        command.env("TENON_TOKEN", token);
        command
    });
    assert!(
        server.url.starts_with("http://127.0.0.1:"),
        "{}",
        server.url
    );
    let said = room.fails(1, &["status"]);
    assert!(
        said.contains("token") && said.contains("hint:") && said.contains("--token"),
        "{said}"
    );
    assert_eq!(room.json(&["status", "--token", token])["pid"], server.pid);
    room.fails(1, &["status", "--token", "another-token-0123"]);
}

#[test]
fn an_address_that_is_none_is_refused() {
    let room = Room::new();
    for address in ["7700", "127.0.0.1", "127.0.0.1:99999", "nowhere.invalid:1"] {
        let said = room.fails(2, &["up", "--address", address]);
        assert!(
            said.contains(address) && said.contains("HOST:PORT"),
            "{said}"
        );
    }
}

#[test]
fn a_crashed_server_leaves_nothing_in_the_way() {
    let room = Room::new();
    room.up(&[]).kill();
    assert!(
        room.data().join("SERVER").exists(),
        "its note is still there"
    );
    assert_eq!(room.json(&["status"])["server"], json!(null));
    room.up(&[]);
}

#[test]
fn what_needs_a_server_says_so() {
    let room = Room::new();
    let config = room.file("train.json", "{}");
    let said = room.fails(2, &["train", "--config", &config, "--detach"]);
    assert!(
        said.contains("--detach needs a server") && said.contains("tenon up"),
        "{said}"
    );
    let server = room.up(&[]);
    let said = room.fails(2, &["status", "--device", "cuda:3"]);
    assert!(
        said.contains("cuda:3") && said.contains(&server.url),
        "{said}"
    );
}

#[test]
fn a_device_that_is_not_there_is_named_with_those_that_are() {
    let room = Room::new();
    let said = room.run(&["devices", "--device", "cpu", "--json"]);
    assert!(said.stdout.contains("\"cpu\""), "{}", said.stdout);
    assert!(said.status.success());
    let list = tenon_tests::one_document(&said.stdout);
    assert_eq!(list["devices"][0]["name"], "cpu");
    assert_eq!(list["devices"][0]["selected"], true);
}
