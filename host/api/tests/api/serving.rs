//! The API at an address: who may ask, and how it ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::server::{Server, sse};
use crate::common::{alphabet, answer, component, tiny_training};
use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tenon_api::{Access, App, Options, Store, Token, router, serve};
use tokio::net::TcpListener;
use tower::ServiceExt;

const TOKEN: &str = "a-token-of-some-length";

fn with_token() -> Options {
    Options {
        access: Access::Token(Token::new(TOKEN).unwrap()),
        ..Options::default()
    }
}

#[tokio::test]
async fn other_machines_need_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::open(folder.path(), crate::common::options()).unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let error = serve(app.clone(), listener, Options::default(), async {})
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no token is set"), "{error}");
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    serve(app, listener, with_token(), async {}).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let app = App::open(other.path(), crate::common::options()).unwrap();
    let options = Options {
        access: Access::InProcess,
        ..Options::default()
    };
    serve(app, listener, options, async {}).await.unwrap_err();
}

#[tokio::test]
async fn with_a_token_every_route_but_health_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::open(folder.path(), crate::common::options()).unwrap();
    let router = router(app, with_token());
    let ask = async |path: &str, token: Option<&str>| {
        let mut request = Request::get(path).header("host", "ml.example");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::empty()).unwrap();
        answer(router.clone().oneshot(request).await.unwrap()).await
    };
    assert_eq!(ask("/health", None).await.expect(200)["status"], "ok");
    for path in [
        "/metrics",
        "/api/v1/openapi.json",
        "/api/v1/runs",
        "/api/v1/nothing",
        "/",
    ] {
        for token in [None, Some("a-token-of-some-other-length")] {
            let answer = ask(path, token).await;
            answer.error(401, "unauthorized");
            let scheme = answer.headers["www-authenticate"].to_str().unwrap();
            assert!(scheme.starts_with("Bearer"), "{scheme}");
        }
    }
    let error = ask("/v1/models", None).await.expect(401)["error"].clone();
    assert_eq!(error["type"], "authentication_error", "{error}");
    ask("/api/v1/runs", Some(TOKEN)).await.expect(200);
    ask("/v1/models", Some(TOKEN)).await.expect(200);
}

#[tokio::test]
async fn without_a_token_other_hosts_and_other_sites_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::open(folder.path(), crate::common::options()).unwrap();
    let router = router(app, Options::default());
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let mut request = Request::get(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        answer(router.clone().oneshot(request).await.unwrap()).await
    };
    let rebound = ask("/api/v1/runs", &[("host", "evil.example:8421")]).await;
    assert!(rebound.error(421, "misdirected").contains("evil.example"));
    ask("/health", &[("host", "evil.example")])
        .await
        .error(421, "misdirected");
    let local = ("host", "127.0.0.1:8421");
    ask("/api/v1/runs", &[local]).await.expect(200);
    let page = [local, ("origin", "https://evil.example")];
    ask("/api/v1/runs", &page).await.error(403, "forbidden");
    let error = ask("/v1/models", &page).await.expect(403)["error"].clone();
    assert_eq!(error["type"], "permission_error", "{error}");
}

#[test]
fn a_running_server_is_found_and_its_folder_is_locked() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), Options::default());
    let (status, health) = server.get("/health");
    assert_eq!((status, &health["status"]), (200, &json!("ok")));
    let hint = Store::server_hint(folder.path()).unwrap();
    assert_eq!(hint.url, server.url(""));
    let error = App::open(folder.path(), crate::common::options()).unwrap_err();
    assert!(error.to_string().contains(&hint.url), "{error}");
    server.stop().unwrap();
    assert!(Store::server_hint(folder.path()).is_none());
    App::open(folder.path(), crate::common::options()).unwrap();
}

/// A server that is asked to end: a training writes its checkpoint, who follows it sees it end, the
/// folder can be opened again and the training goes on.
#[test]
fn a_server_that_ends_interrupts_its_training_and_tells() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), Options::default());
    let bytes = component("recipe-gpt");
    assert_eq!(
        server
            .put_bytes("/api/v1/plugins", "application/wasm", &bytes)
            .0,
        201
    );
    let upload =
        crate::common::Multipart::new().file("train", "rows.jsonl", alphabet(64, 16).as_bytes());
    let kind = upload.content_type();
    let (_, run) = server.put_bytes("/api/v1/datasets/letters/import", &kind, &upload.finish());
    let follow = |server: &Server, run: &Value| {
        let id = run["id"].as_str().unwrap();
        server
            .events(&format!("/api/v1/runs/{id}/events"))
            .last()
            .unwrap()
            .1
    };
    assert_eq!(follow(&server, &run)["run"]["status"], "finished");
    let wanted = json!({"dataset": "letters", "columns": ["text"]});
    let (_, run) = server.post("/api/v1/tokenizers/letters/train", &wanted);
    assert_eq!(follow(&server, &run)["run"]["status"], "finished");
    let mut training = tiny_training();
    training["steps"] = json!(1_000_000);
    let (status, run) = server.post("/api/v1/train", &training);
    assert_eq!(status, 202, "{run}");
    let id = run["id"].as_str().unwrap();
    let mut events = server.events(&format!("/api/v1/runs/{id}/events"));
    let trains = events
        .by_ref()
        .find(|(name, data)| name == "metric" && data["metric"] == "train/loss");
    assert!(trains.is_some());

    // A connection that never sends its request does not hold anything up.
    let mut idle = TcpStream::connect(server.address).unwrap();
    idle.write_all(b"GET /health HTTP/1.1\r\n").unwrap();
    server.begin_stop();
    let (name, end) = events.last().unwrap();
    assert_eq!(
        (name.as_str(), &end["run"]["status"]),
        ("end", &json!("interrupted")),
        "{end}"
    );
    let start = Instant::now();
    server.stop().unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    drop(idle);

    let server = Server::start(folder.path(), Options::default());
    let (_, stopped) = server.get(&format!("/api/v1/runs/{id}"));
    assert_eq!(stopped["status"], "interrupted", "{stopped}");
    let step = stopped["metrics"]["train/loss"]["step"].as_i64().unwrap();
    let (status, resumed) = server.post(&format!("/api/v1/runs/{id}/resume"), &json!({}));
    assert_eq!(status, 202, "{resumed}");
    let path = format!("/api/v1/runs/{id}/events?from_step={}", step + 1);
    let further = server
        .events(&path)
        .find(|(name, data)| name == "metric" && data["metric"] == "train/loss");
    let points = further.unwrap().1["points"].clone();
    assert!(points[0]["step"].as_i64().unwrap() > step, "{points}");
    let (status, _) = server.post(&format!("/api/v1/runs/{id}/stop"), &json!({}));
    assert_eq!(status, 202);
    assert_eq!(follow(&server, &resumed)["run"]["status"], "interrupted");
    server.stop().unwrap();
}

/// HTTP as it goes over the wire: one connection for several requests, and rubbish.
#[test]
fn a_connection_is_kept_and_rubbish_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), Options::default());
    let mut connection = TcpStream::connect(server.address).unwrap();
    let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    connection.write_all(request.repeat(2).as_bytes()).unwrap();
    let mut answers = vec![0; 4096];
    let mut length = 0;
    while String::from_utf8_lossy(&answers[..length])
        .matches("\"ok\"")
        .count()
        < 2
    {
        let read = connection.read(&mut answers[length..]).unwrap();
        assert!(read > 0, "closed early");
        length += read;
    }
    let mut rubbish = TcpStream::connect(server.address).unwrap();
    rubbish.write_all(b"\x16\x03\x01 not http\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = rubbish.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
    assert_eq!(server.get("/health").0, 200);
    let events = server
        .agent
        .get(server.url("/api/v1/runs/nothing/events"))
        .call()
        .unwrap();
    assert_eq!(events.status(), 404, "an answer before the stream begins");
    assert_eq!(sse(events.into_body().into_reader()).count(), 0);
}
