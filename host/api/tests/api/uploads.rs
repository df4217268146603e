//! Importing: what an upload may be, and what is left of one that ends early.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::common::server::Server;
use crate::common::{Multipart, alphabet, place};
use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tenon_api::{App, Options};

#[tokio::test]
async fn files_become_splits_and_the_report_tells() {
    let place = place().await;
    let upload = Multipart::new()
        .options(&json!({
            "on_bad_row": "quarantine",
            "schema": [{"name": "text", "kind": "utf8"}, {"name": "number", "kind": "int64"}],
            "source": "by hand",
            "experiment": "imports",
            "tags": {"owner": "me"},
        }))
        .file("train", "/home/me/a.jsonl", alphabet(5, 8).as_bytes())
        .file(
            "train",
            "b.jsonl",
            b"{\"text\":\"x\",\"number\":\"many\"}\n{\"text\":\"y\",\"number\":1}\n",
        )
        .file("dev", "c.csv", b"number,text\n7,\"a, b\"\n");
    let run = place.upload("letters", upload).await.expect(202);
    assert_eq!(run["kind"], "import");
    assert_eq!(run["params"]["dataset"], "letters");
    assert_eq!(run["params"]["files"][0]["file"], "a.jsonl");
    assert_eq!(run["tags"], json!({"owner": "me"}));
    let run = place.finished(&run).await;
    let experiment = place.get("/api/v1/experiments/imports").await.expect(200);
    assert_eq!(run["experiment"], experiment["id"]);
    assert_eq!(run["outputs"][0]["name"], "letters@1");

    let id = run["id"].as_str().unwrap();
    let report = place
        .get(&format!("/api/v1/runs/{id}/artifacts/report.json"))
        .await;
    assert_eq!(report.headers[header::CONTENT_TYPE], "application/json");
    let report = report.json();
    place.document.validate_as("ImportAnswer", &report);
    assert_eq!(report["created"], true);
    assert_eq!(report["quarantined"]["count"], 1);
    assert_eq!(report["quarantined"]["first"][0]["source"], "b.jsonl");
    assert_eq!(report["quarantined"]["first"][0]["line"], 1);
    assert_eq!(report["version"]["source"], "by hand");

    let version = place.get("/api/v1/datasets/letters").await.expect(200);
    let rows = |split: &str| {
        let splits = version["splits"].as_array().unwrap();
        splits.iter().find(|one| one["name"] == split).unwrap()["rows"].clone()
    };
    assert_eq!((rows("train"), rows("dev")), (json!(6), json!(1)));
    let preview = place
        .get("/api/v1/datasets/letters@1/preview?split=dev")
        .await
        .expect(200);
    assert_eq!(preview["rows"], json!([{"text": "a, b", "number": 7}]));
    assert_eq!(preview["dataset"], "letters@1");
    let window = place
        .get("/api/v1/datasets/letters/preview?split=train&offset=5&rows=1")
        .await
        .expect(200);
    assert_eq!(
        (&window["total"], &window["rows"][0]["text"]),
        (&json!(6), &json!("y"))
    );
    let bad = place
        .get("/api/v1/datasets/letters/preview?split=quarantine")
        .await
        .expect(200);
    assert!(bad["rows"][0]["raw"].as_str().unwrap().contains("many"));
    assert_eq!(place.unfinished(), 0, "the uploaded files are gone");

    let deleted = place.delete("/api/v1/datasets/letters").await.expect(200);
    assert_eq!(deleted["deleted"], json!(["letters@1"]));
    place
        .get("/api/v1/datasets/letters")
        .await
        .error(404, "not-found");
}

#[tokio::test]
async fn an_upload_that_cannot_be_meant_leaves_nothing() {
    let place = place().await;
    let text = b"one\ntwo\n";
    for (upload, word) in [
        (Multipart::new(), "no file"),
        (Multipart::new().options(&json!({})), "no file"),
        (Multipart::new().file("train", "a.doc", text), "`a.doc`"),
        (
            Multipart::new().part("name=\"train\"", text),
            "`train` is no file",
        ),
        (Multipart::new().part("filename=\"a.txt\"", text), "no name"),
        (
            Multipart::new()
                .options(&json!({"csv": {"delimiter": "ab"}}))
                .file("train", "a.csv", text),
            "csv.delimiter",
        ),
    ] {
        let text = place.upload("lines", upload).await.error(400, "invalid");
        assert!(text.contains(word), "{text}");
    }
    let unknown = Multipart::new()
        .options(&json!({"colour": "red"}))
        .file("train", "a.txt", text);
    let text_of = place
        .upload("lines", unknown)
        .await
        .error(422, "invalid-body");
    assert!(text_of.contains("colour"), "{text_of}");
    let named = Multipart::new().file("train", "a.txt", text);
    place.upload("li%20nes", named).await.error(400, "invalid");
    // Cut off in the middle of a file.
    let upload = Multipart::new().file("train", "a.txt", text);
    let request = Request::post("/api/v1/datasets/lines/import")
        .header(header::CONTENT_TYPE, upload.content_type())
        .body(Body::from(upload.cut()))
        .unwrap();
    let text = place.ask(request).await.error(400, "invalid");
    assert!(text.contains("end"), "{text}");
    assert_eq!(place.get("/api/v1/runs").await.expect(200)["total"], 0);
    assert_eq!(
        place.get("/api/v1/datasets").await.expect(200)["datasets"],
        json!([])
    );
    assert_eq!((place.unfinished(), place.blobs()), (0, 0));
}

#[tokio::test]
async fn rows_that_do_not_fit_fail_the_run_with_their_lines() {
    let place = place().await;
    let upload = Multipart::new().file("train", "a.jsonl", b"{\"a\":1}\n{\"a\":\n");
    let run = place.upload("numbers", upload).await.expect(202);
    let id = run["id"].as_str().unwrap();
    let events = place.get(&format!("/api/v1/runs/{id}/events")).await.text();
    let events = crate::common::events(&events);
    let (name, data) = events.last().unwrap();
    assert_eq!(name, "end");
    let end: Value = serde_json::from_str(data).unwrap();
    place.document.validate_as("EndEvent", &end);
    assert_eq!(end["run"]["status"], "failed");
    assert!(
        end["run"]["error"].as_str().unwrap().contains("a.jsonl:2"),
        "{end}"
    );
    assert_eq!(end["report"], Value::Null);
    assert_eq!(
        place.get("/api/v1/datasets").await.expect(200)["datasets"],
        json!([])
    );
    assert_eq!(place.unfinished(), 0);
}

/// A client that goes away in the middle of a file.
#[test]
fn a_client_that_disconnects_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::open(folder.path(), crate::common::options()).unwrap();
    let tmp = app.platform.store.root().join("tmp");
    let unfinished = || std::fs::read_dir(&tmp).unwrap().count();
    let server = Server::of(app.clone(), Options::default());
    let upload = Multipart::new().file("train", "a.txt", &b"line\n".repeat(200_000));
    let kind = upload.content_type();
    let body = upload.finish();
    let mut connection = TcpStream::connect(server.address).unwrap();
    write!(
        connection,
        "POST /api/v1/datasets/lines/import HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\r\n",
        server.address,
        body.len()
    )
    .unwrap();
    connection.write_all(&body[..body.len() / 2]).unwrap();
    let start = Instant::now();
    while unfinished() == 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    connection.shutdown(Shutdown::Both).unwrap();
    drop(connection);
    let start = Instant::now();
    while unfinished() > 0 {
        assert!(start.elapsed() < Duration::from_secs(10), "files are left");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(server.get("/api/v1/runs").1["total"], 0);
    assert_eq!(server.get("/api/v1/datasets").1["datasets"], json!([]));
    assert_eq!(app.platform.store.blobs().list().unwrap().len(), 0);
    server.stop().unwrap();
}

/// A client that sends more than it may, without waiting, still reads why.
#[test]
fn a_client_that_sends_too_much_reads_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.limits.component = 1000;
    let server = Server::start(folder.path(), options);
    let body = vec![0_u8; 4 << 20];
    let mut connection = TcpStream::connect(server.address).unwrap();
    write!(
        connection,
        "POST /api/v1/plugins HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        server.address,
        body.len()
    )
    .unwrap();
    connection.write_all(&body).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("at most 1000 bytes"), "{answer}");
}
