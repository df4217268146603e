//! A server on a socket of this machine, with a client.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;

use serde_json::Value;
use tenon_api::{App, Options, serve};
use tokio::sync::oneshot;

pub struct Server {
    pub address: SocketAddr,
    pub agent: ureq::Agent,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<tenon_api::Result<()>>>,
}

impl Server {
    /// Serves the folder on a free port.
    pub fn start(root: &Path, options: Options) -> Self {
        let app = App::open(root, super::options()).unwrap();
        Self::of(app, options)
    }

    pub fn of(app: App, options: Options) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let shutdown = async {
                    let _ = stopped.await;
                };
                serve(app, listener, options, shutdown).await
            })
        });
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        Self {
            address: told.recv().unwrap(),
            agent: config.build().into(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        read(self.agent.get(self.url(path)).call().unwrap())
    }

    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        read(self.agent.post(self.url(path)).send_json(body).unwrap())
    }

    pub fn put_bytes(&self, path: &str, kind: &str, body: &[u8]) -> (u16, Value) {
        let request = self.agent.post(self.url(path)).content_type(kind);
        read(request.send(body).unwrap())
    }

    /// The events of a stream, until it ends.
    pub fn events(&self, path: &str) -> impl Iterator<Item = (String, Value)> + use<> {
        let response = self.agent.get(self.url(path)).call().unwrap();
        assert_eq!(response.status(), 200);
        sse(response.into_body().into_reader())
            .map(|(name, data)| (name, serde_json::from_str(&data).unwrap()))
    }

    /// Asks the server to end.
    pub fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Ends the server and waits for it.
    pub fn stop(mut self) -> tenon_api::Result<()> {
        self.begin_stop();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(response: ureq::http::Response<ureq::Body>) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.into_body().read_to_string().unwrap();
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, value)
}

/// Server-sent events as they arrive.
pub fn sse(reader: impl Read + 'static) -> impl Iterator<Item = (String, String)> {
    let mut lines = BufReader::new(reader).lines();
    std::iter::from_fn(move || {
        let (mut name, mut data) = (String::new(), Vec::new());
        loop {
            let line = lines.next()?.unwrap();
            if line.is_empty() {
                if data.is_empty() {
                    continue;
                }
                return Some((name, data.join("\n")));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "event" => name = value,
                "data" => data.push(value),
                _ => {}
            }
        }
    })
}
