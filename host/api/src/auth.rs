//! Who may ask: a token, or a program of this machine.
//!
//! Without a token the address is a loopback one, which browsers of this machine reach too, with
//! whatever page they show. A page of another site is kept out in two ways: its requests carry an
//! `Origin` (or `Sec-Fetch-Site`) that is not ours, and a page whose name was pointed to 127.0.0.1
//! after it was loaded (DNS rebinding) asks for a `Host` that is not a loopback one.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;

use crate::error::{ApiError, Result};
use crate::facade;
use crate::options::Access;

/// The one route that needs no token.
const OPEN: &str = "/health";

/// Lets a request through or answers it.
pub(crate) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    match admit(&access, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => facade::render(request.uri().path(), error),
    }
}

fn admit(access: &Access, request: &Request) -> Result<()> {
    match access {
        Access::InProcess => Ok(()),
        Access::Token(_) if request.uri().path() == OPEN => Ok(()),
        Access::Token(token) => {
            let given = bearer(request.headers()).ok_or_else(|| {
                ApiError::unauthorized("this server needs a token")
                    .with_hint("send it as `Authorization: Bearer TOKEN`")
            })?;
            if token.is(given) {
                Ok(())
            } else {
                Err(ApiError::unauthorized(
                    "the token is not that of this server",
                ))
            }
        }
        Access::Loopback => {
            let host = host(request);
            if !host.as_deref().is_some_and(is_loopback) {
                return Err(ApiError::misdirected(format!(
                    "this server answers for loopback hosts only, not for `{}`",
                    host.unwrap_or_default()
                ))
                .with_hint("ask http://127.0.0.1 or http://localhost, or set a token"));
            }
            if is_cross_site(request, host.as_deref().unwrap_or_default()) {
                return Err(ApiError::forbidden(
                    "requests from the pages of other sites are refused",
                ));
            }
            Ok(())
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Host and port that were asked for.
fn host(request: &Request) -> Option<String> {
    if let Some(authority) = request.uri().authority() {
        return Some(authority.as_str().to_owned());
    }
    let host = request.headers().get(header::HOST)?;
    Some(host.to_str().ok()?.to_owned())
}

/// Whether `name[:port]` means this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether a browser says that the page of another site asks.
fn is_cross_site(request: &Request, host: &str) -> bool {
    let text = |name: &str| {
        let value = request.headers().get(name)?;
        Some(value.to_str().unwrap_or("?"))
    };
    if let Some(origin) = text("origin") {
        let ours = ["http://", "https://"]
            .into_iter()
            .filter_map(|scheme| origin.strip_prefix(scheme))
            .any(|authority| authority.eq_ignore_ascii_case(host));
        if !ours {
            return true;
        }
    }
    // Following a link from another site is reading, and only the reader sees what comes.
    let follows_link =
        request.method() == Method::GET && text("sec-fetch-mode") == Some("navigate");
    text("sec-fetch-site") == Some("cross-site") && !follows_link
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::body::Body;

    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut builder = Request::builder().method("POST").uri("/api/v1/train");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(Body::empty()).unwrap()
    }

    fn status(access: &Access, headers: &[(&str, &str)]) -> u16 {
        admit(access, &request(headers)).map_or_else(|error| error.status.as_u16(), |()| 200)
    }

    #[test]
    fn loopback_hosts_are_served_and_others_are_not() {
        for (host, expected) in [
            ("localhost", 200),
            ("localhost:8421", 200),
            ("LOCALHOST:8421", 200),
            ("127.0.0.1:8421", 200),
            ("127.9.9.9", 200),
            ("[::1]:8421", 200),
            ("evil.example", 421),
            ("evil.example:8421", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("192.168.0.7:8421", 421),
            ("[fe80::1]:8421", 421),
            ("", 421),
        ] {
            assert_eq!(
                status(&Access::Loopback, &[("host", host)]),
                expected,
                "{host}"
            );
        }
        assert_eq!(status(&Access::Loopback, &[]), 421, "no host at all");
        assert_eq!(status(&Access::InProcess, &[]), 200);
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let host = ("host", "localhost:8421");
        for (name, value, expected) in [
            ("origin", "http://localhost:8421", 200),
            ("origin", "http://localhost:9999", 403),
            ("origin", "http://evil.example", 403),
            ("origin", "https://evil.example:8421", 403),
            ("origin", "null", 403),
            ("sec-fetch-site", "same-origin", 200),
            ("sec-fetch-site", "none", 200),
            ("sec-fetch-site", "cross-site", 403),
        ] {
            let got = status(&Access::Loopback, &[host, (name, value)]);
            assert_eq!(got, expected, "{name}: {value}");
        }
    }

    #[test]
    fn a_token_replaces_where_one_asks_from() {
        let token = "0123456789abcdef";
        let access = Access::Token(crate::options::Token::new(token).unwrap());
        let host = ("host", "ml.example");
        let bearer = format!("Bearer {token}");
        let lower = format!("bearer {token}");
        for (value, expected) in [
            (bearer.as_str(), 200),
            (lower.as_str(), 200),
            ("Bearer wrong", 401),
            ("Basic 0123456789abcdef", 401),
            (token, 401),
        ] {
            let got = status(&access, &[host, ("authorization", value)]);
            assert_eq!(got, expected, "{value}");
        }
        assert_eq!(status(&access, &[host]), 401);
        let health = Request::builder()
            .uri("/health")
            .body(Body::empty())
            .unwrap();
        assert!(admit(&access, &health).is_ok());
    }
}
