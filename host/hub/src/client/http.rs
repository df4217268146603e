//! Requests to a hub. The token goes to the hub's own address only; redirects are followed by hand, so
//! that what the first answer says of a file is not lost.

use std::fmt::Write as _;
use std::io::Read;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::{HeaderMap, Uri};

use crate::error::{HubError, Result};

const CONNECT: Duration = Duration::from_secs(15);
/// Until an answer begins.
const ANSWER: Duration = Duration::from_secs(60);
/// For a piece of a body: a transfer that takes longer goes on with the next request, so that a
/// connection that is dead is found out.
const BODY: Duration = Duration::from_secs(120);
/// From the hub to a mirror to a store.
const MOST_REDIRECTS: usize = 8;

/// A hub by its address.
pub struct Http {
    agent: Agent,
    address: String,
    token: Option<String>,
}

/// An answer as it begins to arrive.
pub struct Answer {
    pub status: u16,
    /// Of the hub itself, before any redirect.
    pub first: HeaderMap,
    /// Of whoever sends the body.
    pub headers: HeaderMap,
    pub reader: Box<dyn Read>,
}

impl Answer {
    /// Whether the same request may go well a little later.
    pub fn is_temporary(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..=599)
    }
}

/// A header's text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Http {
    pub fn new(endpoint: &str, token: Option<String>) -> Result<Self> {
        let address = endpoint.trim_end_matches('/').to_owned();
        let invalid = || HubError::Invalid {
            reason: format!("HF_ENDPOINT is `{endpoint}`, which is no address"),
            remedy: "expected for example https://huggingface.co".to_owned(),
        };
        let uri: Uri = address.parse().map_err(|_| invalid())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
            return Err(invalid());
        }
        let host = uri.host().ok_or_else(invalid)?;
        if let Some(token) = &token
            && !token.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(HubError::Invalid {
                reason: "HF_TOKEN has characters that no token has".to_owned(),
                remedy: "copy it again from the hub's settings".to_owned(),
            });
        }
        let mut config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_recv_body(Some(BODY))
            .user_agent(concat!("tenon/", env!("CARGO_PKG_VERSION")));
        // A proxy for the world is none for this machine.
        if host.starts_with("127.") || host == "localhost" || host == "[::1]" {
            config = config.proxy(None);
        }
        Ok(Self {
            agent: config.build().new_agent(),
            address,
            token,
        })
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// A GET, from a byte on where `from` says so. The error is a sentence.
    pub fn get(&self, path: &str, from: Option<u64>) -> Result<Answer, String> {
        let mut target = format!("{}{path}", self.address);
        let mut first = None;
        for _ in 0..MOST_REDIRECTS {
            let mut request = self.agent.get(&target);
            if let Some(token) = &self.token
                && same_origin(&target, &self.address)
            {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let Some(from) = from {
                request = request.header("range", format!("bytes={from}-"));
            }
            // A compressed answer has another length and no ranges.
            let request = request.header("accept-encoding", "identity");
            let answer = request.call().map_err(|error| error.to_string())?;
            let status = answer.status().as_u16();
            let headers = answer.headers().clone();
            let location = text(&headers, "location").map(str::to_owned);
            if let (301 | 302 | 303 | 307 | 308, Some(location)) = (status, location) {
                first.get_or_insert(headers);
                target = absolute(&target, &location)
                    .ok_or_else(|| format!("it redirects to `{location}`, which is no address"))?;
                continue;
            }
            return Ok(Answer {
                status,
                first: first.unwrap_or_else(|| headers.clone()),
                headers,
                reader: Box::new(answer.into_body().into_reader()),
            });
        }
        Err(format!("it redirects more than {MOST_REDIRECTS} times"))
    }
}

/// Scheme, host and port.
fn origin(address: &str) -> Option<(String, String)> {
    let uri: Uri = address.parse().ok()?;
    let authority = uri.authority()?.as_str().to_ascii_lowercase();
    Some((uri.scheme_str()?.to_ascii_lowercase(), authority))
}

fn same_origin(a: &str, b: &str) -> bool {
    matches!((origin(a), origin(b)), (Some(a), Some(b)) if a == b)
}

/// Where a redirect leads: never from TLS to plain text.
fn absolute(from: &str, location: &str) -> Option<String> {
    let (scheme, authority) = origin(from)?;
    if location.starts_with("http://") || location.starts_with("https://") {
        let (to, _) = origin(location)?;
        return (to == scheme || to == "https").then(|| location.to_owned());
    }
    location
        .starts_with('/')
        .then(|| match location.strip_prefix("//") {
            Some(rest) => format!("{scheme}://{rest}"),
            None => format!("{scheme}://{authority}{location}"),
        })
}

/// As one segment of a path.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_stays_with_its_hub() {
        assert!(same_origin("https://hub.co/a", "https://HUB.co"));
        for other in [
            "http://hub.co/a",
            "https://hub.co:8443/a",
            "https://cdn.hub.co/a",
            "x",
        ] {
            assert!(!same_origin(other, "https://hub.co"), "{other}");
        }
    }

    #[test]
    fn redirects_are_resolved() {
        let from = "https://hub.co/a/b";
        for (location, to) in [
            ("/c", Some("https://hub.co/c")),
            ("https://cdn.co/x?y=1", Some("https://cdn.co/x?y=1")),
            ("//cdn.co/x", Some("https://cdn.co/x")),
            ("http://cdn.co/x", None),
            ("ftp://cdn.co/x", None),
            ("c", None),
        ] {
            assert_eq!(absolute(from, location).as_deref(), to, "{location}");
        }
    }

    #[test]
    fn addresses_are_checked() {
        for bad in [
            "",
            "hub.co",
            "ftp://hub.co",
            "file:///etc",
            "https://hub.co?x=1",
        ] {
            assert!(Http::new(bad, None).is_err(), "{bad}");
        }
        assert!(Http::new("https://hub.co/", Some("a\nb".into())).is_err());
        assert_eq!(
            Http::new("https://hub.co/", None).unwrap().address(),
            "https://hub.co"
        );
        assert_eq!(encode("refs/pr/1"), "refs%2Fpr%2F1");
    }
}
