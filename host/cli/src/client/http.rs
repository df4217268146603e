//! The way to a server.

use std::io::{self, Read};
use std::time::Duration;

use ureq::config::Config;
use ureq::{Agent, SendBody};

use super::request::{Request, Response};
use crate::failure::{Failure, Result};

/// A server that listens answers within this time, or it is not there.
const CONNECT: Duration = Duration::from_secs(5);
/// Bodies above this are only sent once the server has agreed to read them.
const ASK_FIRST: u64 = 1 << 20;

/// A server by its address.
pub struct Http {
    agent: Agent,
    url: String,
    token: Option<String>,
}

impl Http {
    /// The server at `url`.
    pub fn new(url: &str, token: Option<String>) -> Result<Self> {
        let url = url.trim().trim_end_matches('/');
        let Some(host) = url.strip_prefix("http://") else {
            let why = if url.starts_with("https://") {
                "this command speaks plain HTTP; reach a server behind TLS through a tunnel or a \
                 local proxy"
            } else {
                "expected an address such as http://127.0.0.1:7700"
            };
            return Err(Failure::usage(format!("--server {url}: {why}")));
        };
        let mut config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .user_agent(concat!("tenon/", env!("CARGO_PKG_VERSION")));
        // A proxy for the world is none for this machine.
        if host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]") {
            config = config.proxy(None);
        }
        Ok(Self {
            agent: config.build().new_agent(),
            url: url.to_owned(),
            token,
        })
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether a Tenon server answers there. Quick: it is asked before every command.
    pub fn is_alive(&self) -> bool {
        let answer = self
            .agent
            .get(format!("{}/health", self.url))
            .config()
            .timeout_global(Some(CONNECT))
            .build()
            .call();
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Sends a request and returns the answer as it begins to arrive.
    pub fn call(&self, request: Request) -> Result<Response> {
        let mut builder = ureq::http::Request::builder()
            .method(request.method.name())
            .uri(format!("{}{}", self.url, request.target));
        if let Some(token) = &self.token {
            builder = builder.header("authorization", format!("Bearer {token}"));
        }
        let body = match request.body {
            None => SendBody::none(),
            Some(body) => {
                builder = builder.header("content-type", &body.content_type);
                if let Some(length) = body.length {
                    builder = builder.header("content-length", length);
                }
                if body.length.is_none_or(|length| length > ASK_FIRST) {
                    builder = builder.header("expect", "100-continue");
                }
                SendBody::from_owned_reader(body.reader)
            }
        };
        let request = builder
            .body(body)
            .map_err(|error| Failure::usage(format!("{}: {error}", self.url)))?;
        let answer = self
            .agent
            .run(request)
            .map_err(|error| self.failed(&error))?;
        let content_type = answer
            .headers()
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        Ok(Response {
            status: answer.status().as_u16(),
            content_type,
            reader: Box::new(Patient(Box::new(answer.into_body().into_reader()))),
        })
    }

    fn failed(&self, error: &ureq::Error) -> Failure {
        let refused = match error {
            ureq::Error::Io(error) => error.kind() == io::ErrorKind::ConnectionRefused,
            _ => false,
        };
        let failure = Failure::failed(
            "unreachable",
            format!("the server at {} cannot be reached: {error}", self.url),
        );
        if refused {
            failure.hint(
                "start it with `tenon up`, or leave --server out to use the data folder itself",
            )
        } else {
            failure
        }
    }
}

/// Reads on after an interrupted system call, which is no end of the answer.
struct Patient(Box<dyn Read + Send>);

impl Read for Patient {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(out) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}
