//! What the tests share: an application in a folder of its own, asked in this process or over a socket.
//! Every answer is compared with the OpenAPI document.

pub mod multipart;
pub mod path;
pub mod schema;
pub mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tempfile::TempDir;
use tenon_api::{Access, App, Options, PlatformOptions, router};
use tower::ServiceExt;

pub use multipart::Multipart;
pub use schema::Document;

/// An application and its router, asked without a network.
pub struct Place {
    pub app: App,
    pub router: Router,
    pub document: Document,
    /// Goes with the test.
    _folder: TempDir,
}

/// What was answered.
pub struct Answer {
    pub status: StatusCode,
    pub headers: axum::http::HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The JSON of an answer of that status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self.json()
    }

    /// The error of an answer of that status and kind.
    #[track_caller]
    pub fn error(&self, status: u16, kind: &str) -> String {
        let error = self.expect(status)["error"].clone();
        assert_eq!(error["kind"], kind, "{error}");
        let hint = error["hint"].as_str().unwrap_or_default();
        format!("{} {hint}", error["message"].as_str().unwrap())
    }
}

pub fn options() -> PlatformOptions {
    PlatformOptions {
        device: "cpu".into(),
        ..PlatformOptions::default()
    }
}

pub async fn place() -> Place {
    place_with(options(), Options::default()).await
}

pub async fn place_with(platform: PlatformOptions, mut options: Options) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let app = App::open(&folder.path().join("data"), platform).unwrap();
    options.access = Access::InProcess;
    let router = router(app.clone(), options);
    let document = Document::fetch(&router).await;
    Place {
        app,
        router,
        document,
        _folder: folder,
    }
}

impl Place {
    pub async fn ask(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = answer(self.router.clone().oneshot(request).await.unwrap()).await;
        self.document.check(&method, &path, &answer);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Request::delete(path).body(Body::empty()).unwrap())
            .await
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        self.ask(json_request(method, path, &body)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, body).await
    }

    pub async fn install(&self, name: &str) -> Value {
        let request = Request::post("/api/v1/plugins")
            .header(header::CONTENT_TYPE, "application/wasm")
            .body(Body::from(component(name)))
            .unwrap();
        self.ask(request).await.expect(201)
    }

    pub async fn upload(&self, dataset: &str, upload: Multipart) -> Answer {
        let request = Request::post(format!("/api/v1/datasets/{dataset}/import"))
            .header(header::CONTENT_TYPE, upload.content_type())
            .body(Body::from(upload.finish()))
            .unwrap();
        self.ask(request).await
    }

    /// Imports rows as JSON lines and waits.
    pub async fn import(&self, dataset: &str, splits: &[(&str, String)]) -> Value {
        let mut upload = Multipart::new();
        for (split, rows) in splits {
            upload = upload.file(split, "rows.jsonl", rows.as_bytes());
        }
        let run = self.upload(dataset, upload).await.expect(202);
        self.finished(&run).await
    }

    /// Waits for a run to end as it should.
    #[track_caller]
    pub fn finished(&self, run: &Value) -> impl Future<Output = Value> {
        let id = run["id"].as_str().unwrap().to_owned();
        let path = format!("/api/v1/runs/{id}");
        async move {
            let start = Instant::now();
            loop {
                let run = self.get(&path).await.expect(200);
                match run["status"].as_str().unwrap() {
                    "queued" | "running" => {}
                    "finished" => return run,
                    other => panic!("the run is {other}: {run}"),
                }
                assert!(start.elapsed() < Duration::from_secs(120), "{run}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// The blobs of the store.
    pub fn blobs(&self) -> usize {
        self.app.platform.store.blobs().list().unwrap().len()
    }

    /// What lies in the store's folder for unfinished files.
    pub fn unfinished(&self) -> usize {
        let folder = self.app.platform.store.root().join("tmp");
        std::fs::read_dir(folder).unwrap().count()
    }
}

pub fn json_request(method: &str, path: &str, body: &Value) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

pub async fn answer(response: Response<Body>) -> Answer {
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        bytes: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

/// The bytes of a component that the project ships.
pub fn component(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("TENON_PLUGINS").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/tenon/plugins"),
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; build the components with `cargo xtask plugins`",
            path.display()
        )
    })
}

/// Rows whose every letter follows from the one before it, as JSON lines.
pub fn alphabet(rows: usize, length: usize) -> String {
    (0..rows)
        .map(|row| {
            let text: String = (0..length)
                .map(|at| char::from(b'a' + ((row * 5 + at) % 8) as u8))
                .collect();
            format!("{}\n", serde_json::json!({"text": text, "number": row}))
        })
        .collect()
}

/// A training that ends within seconds.
pub fn tiny_training() -> Value {
    serde_json::json!({
        "recipe": "tenon/gpt",
        "recipe_config": {
            "n_layer": 1, "n_embd": 32, "n_head": 2, "n_positions": 32,
            "embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0,
        },
        "tokenizer": "letters",
        "dataset": "letters",
        "steps": 30,
        "batch": {"rows": 8},
        "learning_rate": 0.01,
        "log_every": 5,
    })
}

/// The events of a stream of server-sent events: name and data.
pub fn events(text: &str) -> Vec<(String, String)> {
    text.split("\n\n")
        .filter(|event| !event.trim().is_empty())
        .filter_map(|event| {
            let field = |name: &str| {
                let lines = event.lines();
                let found: Vec<&str> = lines
                    .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                    .map(|value| value.strip_prefix(' ').unwrap_or(value))
                    .collect();
                (!found.is_empty()).then(|| found.join("\n"))
            };
            Some((field("event").unwrap_or_default(), field("data")?))
        })
        .collect()
}
