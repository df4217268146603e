//! The client of the REST interface, over HTTP or in this process.

mod embedded;
mod events;
mod http;
mod multipart;
mod request;
mod stream;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tenon_api::types::ErrorBody;
use tenon_api::{PlatformOptions, Store};

use crate::args::Global;
use crate::failure::{Failure, Result};
use embedded::Embedded;
use http::Http;

pub use embedded::cannot_open;
pub use events::{Event, Events};
pub use multipart::Multipart;
pub use request::{Body, Method, Request};

/// What an error's body may be long.
const LONGEST_ERROR: u64 = 1 << 20;

/// A client. Clones share the way to the server, or the open data folder.
#[derive(Clone)]
pub struct Client {
    way: Arc<Way>,
}

enum Way {
    Server(Http),
    Folder(Box<Embedded>),
}

impl Client {
    /// The server that was named; else the one that runs on the data folder; else the folder itself.
    pub fn connect(global: &Global) -> Result<Self> {
        let way = match find_server(global)? {
            Some(server) => {
                if let Some(device) = &global.device {
                    return Err(Failure::usage(format!(
                        "--device {device}: the server at {} has chosen its device already",
                        server.url()
                    ))
                    .hint("leave it out, or start the server with it: `tenon up --device …`"));
                }
                if let Some(limit) = global.limits.first() {
                    return Err(Failure::usage(format!(
                        "--limit {}={}: the server at {} holds plugins to its own limits",
                        limit.name,
                        limit.value,
                        server.url()
                    ))
                    .hint("leave it out, or start the server with it: `tenon up --limit …`"));
                }
                tracing::debug!(url = server.url(), "asking a server");
                Way::Server(server)
            }
            None => Way::Folder(Box::new(Embedded::open(global)?)),
        };
        Ok(Self { way: Arc::new(way) })
    }

    /// The server's address; nothing: there is none, and this process does everything.
    pub fn server(&self) -> Option<&str> {
        match &*self.way {
            Way::Server(server) => Some(server.url()),
            Way::Folder(_) => None,
        }
    }

    /// Refuses to leave work behind where nobody would do it.
    pub fn must_be_server(&self, flag: &str) -> Result<()> {
        match self.server() {
            Some(_) => Ok(()),
            None => Err(Failure::usage(format!(
                "{flag} needs a server: without one the work ends with this command"
            ))
            .hint("start one with `tenon up`")),
        }
    }

    /// Sends a request; the answer's JSON. Null where it is empty.
    pub fn send(&self, request: Request) -> Result<Value> {
        let mut reader = self.open(request)?;
        let mut bytes = Vec::new();
        reader
            .read_to_end(&mut bytes)
            .map_err(|error| self.cut_off(&error))?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|error| self.not_ours(&error.to_string()))
    }

    /// Sends a request; the answer as what it is expected to be.
    pub fn typed<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        serde_json::from_value(self.send(request)?)
            .map_err(|error| self.not_ours(&error.to_string()))
    }

    /// Sends a request; the body of the answer as it arrives.
    pub fn open(&self, request: Request) -> Result<Box<dyn Read + Send>> {
        let answer = match &*self.way {
            Way::Server(server) => server.call(request)?,
            Way::Folder(embedded) => embedded.call(request)?,
        };
        if (200..300).contains(&answer.status) {
            return Ok(answer.reader);
        }
        let mut text = Vec::new();
        answer
            .reader
            .take(LONGEST_ERROR)
            .read_to_end(&mut text)
            .map_err(|error| self.cut_off(&error))?;
        let Ok(body) = serde_json::from_slice::<ErrorBody>(&text) else {
            let first: String = String::from_utf8_lossy(&text).chars().take(200).collect();
            return Err(self.not_ours(&format!(
                "status {} ({}): {first}",
                answer.status, answer.content_type
            )));
        };
        let failure = Failure::answered(answer.status, body.error);
        Err(if answer.status == 401 {
            failure.hint("give the server's token with --token or TENON_TOKEN")
        } else {
            failure
        })
    }

    /// The events of a run from a step on.
    pub fn events(&self, run: &str, from_step: Option<i64>) -> Result<Events> {
        let request = Request::get(&["runs", run, "events"])
            .query_some("from_step", from_step.map(|step| step.to_string()));
        Ok(Events::new(self.open(request)?))
    }

    fn cut_off(&self, error: &std::io::Error) -> Failure {
        let from = self.server().unwrap_or("the data folder");
        Failure::failed(
            "unreachable",
            format!("the answer of {from} was cut off: {error}"),
        )
    }

    fn not_ours(&self, why: &str) -> Failure {
        let from = self.server().unwrap_or("the data folder");
        Failure::failed(
            "protocol",
            format!("{from} did not answer as this version of tenon expects: {why}"),
        )
        .hint("is it a tenon server, and of the same version? `tenon --version`, `tenon status`")
    }
}

/// How a data folder is opened that this process serves or works in.
pub fn platform_options(global: &Global) -> Result<PlatformOptions> {
    let mut options = PlatformOptions {
        device: global.device.clone().unwrap_or_default(),
        ..PlatformOptions::default()
    };
    for limit in &global.limits {
        options
            .limits
            .set(&limit.name, &limit.value)
            .map_err(|why| Failure::usage(format!("--limit: {why}")))?;
    }
    Ok(options)
}

/// The data folder that a command means.
pub fn data_folder(global: &Global) -> Result<PathBuf> {
    if let Some(path) = &global.data {
        return Ok(path.clone());
    }
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = from("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| from("HOME").map(|home| Path::new(&home).join(".local/share")));
    match base {
        Some(base) => Ok(base.join("tenon")),
        None => Err(Failure::usage("there is no home folder to keep data in")
            .hint("name a data folder with --data or TENON_DATA")),
    }
}

/// Whether a server answers there.
pub fn is_alive(url: &str) -> bool {
    Http::new(url, None).is_ok_and(|server| server.is_alive())
}

fn find_server(global: &Global) -> Result<Option<Http>> {
    if let Some(url) = &global.server {
        return Http::new(url, global.token.clone()).map(Some);
    }
    let Some(hint) = Store::server_hint(&data_folder(global)?) else {
        return Ok(None);
    };
    let server = Http::new(&hint.url, global.token.clone())?;
    // The note of a process that is gone may name another's number by now.
    Ok(server.is_alive().then_some(server))
}
