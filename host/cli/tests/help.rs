//! Help, the reference, and command lines that are wrong. None of it needs a data folder.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tenon_tests::Room;

/// Every command, from the reference: `["data", "import"]`.
fn commands(reference: &str) -> Vec<Vec<String>> {
    let headings = reference
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(" tenon "));
    headings
        .map(|heading| heading.split(' ').map(str::to_owned).collect())
        .collect()
}

#[test]
fn every_command_has_help_with_an_example() {
    let room = Room::new();
    let commands = commands(&room.ok(&["reference"]));
    for wanted in [
        "up",
        "status",
        "devices",
        "data import",
        "train",
        "runs compare",
        "store gc",
    ] {
        assert!(
            commands.iter().any(|command| command.join(" ") == wanted),
            "{wanted}"
        );
    }
    for command in &commands {
        let mut args: Vec<&str> = command.iter().map(String::as_str).collect();
        args.push("--help");
        let help = room.ok(&args);
        let name = command.join(" ");
        assert!(
            help.contains(&format!("Usage: tenon {name}")),
            "{name}: {help}"
        );
        assert!(
            help.contains("Examples:") && help.contains("$ "),
            "{name} has no example"
        );
        assert!(help.contains("--json"), "{name}");
        args.pop();
        args.push("-h");
        let short = room.ok(&args);
        assert!(
            short.len() < help.len(),
            "{name}: the short help is the shorter one"
        );
    }
    assert!(!room.data().exists(), "help opens nothing");
}

#[test]
fn the_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    let written = fs::read_to_string(&path).unwrap();
    let made = Room::new().ok(&["reference"]);
    assert!(
        written == made,
        "docs/cli.md is not current; make it again with `tenon reference > docs/cli.md`"
    );
}

#[test]
fn the_version_and_the_help_come_at_once() {
    let room = Room::new();
    assert_eq!(
        room.ok(&["--version"]),
        format!("tenon {}\n", env!("CARGO_PKG_VERSION"))
    );
    let begin = Instant::now();
    let help = room.ok(&["--help"]);
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "{:?}",
        begin.elapsed()
    );
    assert!(help.contains("Exit status: 0"), "{help}");
}

#[test]
fn a_wrong_command_line_says_what_is_right() {
    let room = Room::new();
    let said = room.fails(2, &["dataa"]);
    assert!(said.contains("dataa") && said.contains("'data'"), "{said}");
    let said = room.fails(2, &["runs", "compare", "one"]);
    assert!(said.contains("RUN"), "{said}");
    room.fails(2, &[]);
    let error = room.error(2, &["runs", "list", "--kind", "dance"]);
    assert_eq!(error["kind"], "usage");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("dance") && message.contains("evaluate"),
        "{message}"
    );
}

#[test]
fn what_the_command_line_names_is_looked_at_first() {
    let room = Room::new();
    let json = room.file("bad.json", "{\"steps\": 10,}");
    let text = room.file("notes.md", "x");
    for (args, needles) in [
        (
            vec!["train", "--config", &json],
            vec!["bad.json", "line 1 column 14"],
        ),
        (
            vec!["train", "--config", "none.json"],
            vec!["none.json", "No such file"],
        ),
        (
            vec!["train", "--recipe-config", "[1]"],
            vec!["--recipe-config", "object", "list"],
        ),
        (vec!["plugin", "install", "none.wasm"], vec!["none.wasm"]),
        (
            vec!["data", "import", "a", "none.jsonl"],
            vec!["none.jsonl"],
        ),
        (
            vec!["data", "import", "a", &text],
            vec!["notes.md", "hint:", "--format"],
        ),
        (
            vec!["data", "import", "a", "-"],
            vec!["standard input", "hint:", "--format"],
        ),
        (
            vec![
                "data",
                "import",
                "a",
                &text,
                "--format",
                "text",
                "--columns",
                "text:utf9",
            ],
            vec!["utf9", "utf8, binary"],
        ),
        (
            vec!["data", "import", "a", "--split", "dev"],
            vec!["NAME=VALUE"],
        ),
        (vec!["predict", "a", "{"], vec!["the request is not JSON"]),
        (
            vec!["predict", "a", &json],
            vec!["hint: to read it from the file: @"],
        ),
        (
            vec!["model", "export", "a", "-o", &text],
            vec!["notes.md exists already", "--force"],
        ),
        (
            vec!["status", "--server", "https://example.org"],
            vec!["https://example.org", "plain HTTP"],
        ),
        (
            vec!["status", "--server", "example.org"],
            vec!["http://127.0.0.1:7700"],
        ),
    ] {
        let said = room.fails(2, &args);
        for needle in needles {
            assert!(
                said.contains(needle),
                "{args:?}: {needle:?} is not in\n{said}"
            );
        }
    }
    assert!(!room.data().exists(), "nothing was opened");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let room = Room::new();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("http://127.0.0.1:{port}");
    let said = room.fails(1, &["status", "--server", &url]);
    assert!(
        said.contains(&url) && said.contains("refused") && said.contains("hint:"),
        "{said}"
    );
    assert_eq!(
        room.error(1, &["status", "--server", &url])["kind"],
        "unreachable"
    );
}
