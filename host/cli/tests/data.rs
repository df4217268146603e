//! Plugins and data: import, transform, look, delete.
#![allow(clippy::unwrap_used)]

use std::fs;

use serde_json::{Value, json};
use tenon_tests::{Room, component, verses};

#[test]
fn components_are_checked_and_installed() {
    let room = Room::new();
    let filter = component("transform-filter");
    let check = room.json(&["plugin", "check", &filter]);
    assert_eq!(check["kind"], "transform");
    let said = room.ok(&["plugin", "check", &filter]);
    assert!(said.contains("(transform): fits"), "{said}");
    assert_eq!(
        room.json(&["plugin", "list"])["plugins"],
        json!([]),
        "a check installs nothing"
    );

    let installed = room.json(&[
        "plugin",
        "install",
        &filter,
        &component("transform-normalize"),
    ]);
    assert_eq!(installed["plugins"].as_array().unwrap().len(), 2);
    let again = room.json(&["plugin", "install", &filter]);
    assert_eq!(
        again["plugins"][0]["digest"],
        installed["plugins"][0]["digest"]
    );
    let list = room.ok(&["plugin", "list", "--kind", "transform"]);
    assert_eq!(list.lines().count(), 2, "plain lines: {list}");
    assert!(
        list.lines().all(|line| line.split('\t').count() == 5),
        "{list}"
    );
    let shown = room.ok(&["plugin", "show", "tenon/filter"]);
    assert!(
        shown.contains("min_characters"),
        "its settings are listed: {shown}"
    );
    let digest = installed["plugins"][0]["digest"].as_str().unwrap();
    assert_eq!(
        room.json(&["plugin", "show", digest])["plugin"]["name"],
        "tenon/filter"
    );

    room.ok(&["plugin", "remove", "tenon/filter"]);
    let said = room.fails(2, &["plugin", "show", "tenon/filter"]);
    assert!(
        said.contains("tenon/filter") && said.contains("tenon/normalize"),
        "what is there: {said}"
    );
}

#[test]
fn what_is_no_plugin_is_explained() {
    let room = Room::new();
    let corrupt = room.file("corrupt.wasm", "no component at all");
    let said = room.fails(2, &["plugin", "install", &corrupt]);
    assert!(said.contains("corrupt.wasm"), "{said}");
    room.fails(2, &["plugin", "check", &corrupt]);

    // A component, but of no world.
    let other = room.file(
        "other.wasm",
        wat::parse_str(
            r#"(component
                 (import "someone:else/thing@1.0.0" (instance (export "go" (func)))))"#,
        )
        .unwrap(),
    );
    let done = room.run(&["plugin", "check", &other]);
    assert_eq!(done.status.code(), Some(1), "{}", done.stderr);
    assert!(
        done.stdout.contains("someone:else/thing"),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout.contains("does not export tenon:"),
        "what is missing: {}",
        done.stdout
    );
    assert!(done.stderr.contains("fits no world"), "{}", done.stderr);
    let said = room.fails(2, &["plugin", "install", &other]);
    assert!(said.contains("other.wasm"), "{said}");

    let error = room.error(2, &["plugin", "install", &corrupt]);
    assert_eq!(error["kind"], "corrupt");
}

#[test]
fn files_become_versions() {
    let room = Room::new();
    let train = room.file("train.jsonl", verses(30));
    let dev = room.file("dev.csv", "text\none\n\"two, three\"\n");
    let dev = format!("dev={dev}");
    let end = room.json(&["data", "import", "verses", &train, "--split", &dev]);
    assert_eq!(end["status"], "finished");
    assert_eq!(end["report"]["created"], true);
    assert_eq!(end["report"]["version"]["version"], 1);
    let again = room.json(&["data", "import", "verses", &train, "--split", &dev]);
    assert_eq!(
        again["report"]["created"], false,
        "the same content is the same version"
    );

    let version = room.json(&["data", "show", "verses"]);
    assert_eq!(version["digest"], end["report"]["version"]["digest"]);
    let shown = room.ok(&["data", "show", "verses@1"]);
    assert!(
        shown.contains("text\tutf8") && shown.contains("dev\t2"),
        "{shown}"
    );
    let rows = room.json(&["data", "preview", "verses#dev", "--offset", "1"]);
    assert_eq!(rows["rows"], json!([{"text": "two, three"}]));
    assert_eq!(
        room.ok(&["data", "preview", "verses@1#dev", "-n", "1"]),
        "one\n"
    );
    let list = room.ok(&["data", "list"]);
    assert!(list.starts_with("verses@1\t32\t"), "{list}");

    room.ok(&["data", "delete", "verses@1"]);
    let said = room.fails(2, &["data", "show", "verses"]);
    assert!(said.contains("verses"), "{said}");
    let gone = room.json(&["store", "gc", "--grace-minutes", "0"]);
    assert!(gone["removed"].as_u64().unwrap() > 0, "{gone}");
    assert_eq!(room.json(&["store", "verify"])["damage"], json!([]));
}

#[test]
fn bad_rows_are_named_by_line() {
    let room = Room::new();
    let mut text = verses(5);
    text.push_str("{\"text\": 7}\nnot json\n");
    text.push_str(&verses(3));
    let path = room.file("mixed.jsonl", text);
    let columns = ["--columns", "text:utf8"];
    let mut args = vec!["data", "import", "verses", &path];
    args.extend(columns);
    let said = room.fails(1, &args);
    for needle in ["mixed.jsonl:6:", "mixed.jsonl:7:", "2 rows do not fit"] {
        assert!(said.contains(needle), "{needle}: {said}");
    }
    room.fails(2, &["data", "show", "verses"]);
    // The run tells afterwards, too.
    let runs = room.json(&["runs", "list", "--status", "failed"]);
    assert!(
        runs["runs"][0]["error"]
            .as_str()
            .unwrap()
            .contains("mixed.jsonl:7"),
        "{runs}"
    );

    args.extend(["--on-bad-row", "quarantine"]);
    let said = room.ok(&args);
    for needle in [
        "verses@1 imported: 8 rows",
        "2 rows did not fit",
        "mixed.jsonl:6:",
        "verses@1#quarantine",
    ] {
        assert!(said.contains(needle), "{needle}: {said}");
    }
    let rows = room.json(&["data", "preview", "verses#quarantine"]);
    assert_eq!(rows["rows"][1]["line"], 7);
    assert_eq!(rows["rows"][1]["raw"], "not json");
}

#[test]
fn columns_may_come_from_a_file_and_rows_from_a_pipe() {
    let room = Room::new();
    let first = room.file("a.csv", "1;good\n2;bad\n");
    room.ok(&[
        "data",
        "import",
        "a",
        &first,
        "--delimiter",
        ";",
        "--no-header",
    ]);
    let schema = room.json(&["data", "show", "a"])["schema"].clone();
    assert_eq!(schema[0]["kind"], "int64", "{schema}");
    let schema = room.file("schema.json", schema.to_string());

    let args = [
        "data",
        "import",
        "b",
        "-",
        "--format",
        "csv",
        "--schema",
        &schema,
        "--no-header",
        "--delimiter",
        ";",
    ];
    let done = room.feed(&args, b"3;fine\n");
    assert!(done.status.success(), "{}", done.stderr);
    let rows = room.json(&["data", "preview", "b"]);
    assert_eq!(rows["rows"][0]["column_1"], 3, "{rows}");
    let done = room.feed(&args, b"three;fine\n");
    assert_eq!(done.status.code(), Some(1));
    assert!(done.stderr.contains("standard input:1:"), "{}", done.stderr);
}

#[test]
fn transforms_run_once_for_the_same_rows() {
    let room = Room::new();
    let text = "{\"text\": \"  A  b \"}\n{\"text\": \"x\"}\n{\"text\": \"long enough\"}\n";
    room.ok(&["data", "import", "raw", &room.file("raw.jsonl", text)]);
    let transform = [
        "data",
        "transform",
        "raw",
        "clean",
        "--step",
        "tenon/normalize={\"columns\": [\"text\"], \"lowercase\": true}",
        "--step",
        "tenon/filter={\"columns\": [\"text\"], \"min_characters\": 2}",
    ];
    let said = room.fails(2, &transform);
    assert!(
        said.contains("tenon/normalize"),
        "not installed yet: {said}"
    );
    room.ok(&[
        "plugin",
        "install",
        &component("transform-normalize"),
        &component("transform-filter"),
    ]);
    let end = room.json(&transform);
    assert_eq!(end["report"]["cached"], false);
    assert_eq!(end["report"]["steps"][1]["rows_out"], 2, "{end}");
    assert_eq!(room.json(&transform)["report"]["cached"], true);
    let rows = room.json(&["data", "preview", "clean"]);
    assert_eq!(rows["rows"][0], json!({"text": "a b"}));
    let shown = room.ok(&["data", "show", "clean"]);
    assert!(
        shown.contains("raw@1") && shown.contains("tenon/filter@"),
        "{shown}"
    );

    let said = room.fails(
        2,
        &[
            "data",
            "transform",
            "raw",
            "x",
            "--step",
            "tenon/filter={\"min_characters\": -1}",
        ],
    );
    assert!(
        said.contains("step 1 (tenon/filter)") && said.contains("min_characters"),
        "{said}"
    );
    let steps = room.file(
        "steps.json",
        json!([{"plugin": "tenon/filter", "config": {"columns": ["text"]}}]).to_string(),
    );
    let end = room.json(&["data", "transform", "raw", "same", "--steps", &steps]);
    assert_eq!(end["report"]["version"]["splits"][0]["rows"], 3);
}

#[test]
fn damage_is_found() {
    let room = Room::new();
    room.ok(&["data", "import", "verses", &room.file("a.jsonl", verses(5))]);
    let said = room.ok(&["store", "verify"]);
    assert!(said.contains("are sound"), "{said}");
    let blob = find_blob(&room.data().join("blobs"));
    let mut bytes = fs::read(&blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut permissions = fs::metadata(&blob).unwrap().permissions();
    #[allow(clippy::permissions_set_readonly_false)]
    permissions.set_readonly(false);
    fs::set_permissions(&blob, permissions).unwrap();
    fs::write(&blob, bytes).unwrap();
    let done = room.run(&["store", "verify", "--json"]);
    assert_eq!(done.status.code(), Some(1));
    let found: Value = tenon_tests::one_document(&done.stdout);
    assert_eq!(found["damage"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(
        tenon_tests::one_document(&done.stderr)["error"]["kind"],
        "damaged"
    );
}

fn find_blob(folder: &std::path::Path) -> std::path::PathBuf {
    let mut found = Vec::new();
    for shard in fs::read_dir(folder).unwrap() {
        let shard = shard.unwrap().path();
        if shard.is_dir() {
            found.extend(
                fs::read_dir(shard)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
    }
    found.sort();
    found.swap_remove(0)
}
