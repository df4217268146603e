//! A request and its answer, whichever way they travel.

use std::io::{Cursor, Read};

use serde_json::Value;
use tenon_api::LocalFiles;

/// The methods that the interface uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates or starts.
    Post,
    /// Sets.
    Put,
    /// Removes.
    Delete,
}

impl Method {
    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// Bytes with their media type.
pub struct Body {
    /// The media type.
    pub content_type: String,
    /// How many bytes there will be, where that is known.
    pub length: Option<u64>,
    /// The bytes.
    pub reader: Box<dyn Read + Send>,
}

/// A request.
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query, encoded.
    pub target: String,
    /// The body, if there is one.
    pub body: Option<Body>,
    /// Files that the body names only; for a data folder that is open in this process.
    pub local: Option<LocalFiles>,
}

/// An answer.
pub struct Response {
    /// The status.
    pub status: u16,
    /// The media type of the body.
    pub content_type: String,
    /// The body, as it arrives.
    pub reader: Box<dyn Read + Send>,
}

impl Request {
    /// A request for `/api/v1/` and these segments.
    pub fn api(method: Method, segments: &[&str]) -> Self {
        let mut target = String::from("/api/v1");
        for segment in segments {
            target.push('/');
            encode(&mut target, segment);
        }
        Self {
            method,
            target,
            body: None,
            local: None,
        }
    }

    /// A GET.
    pub fn get(segments: &[&str]) -> Self {
        Self::api(Method::Get, segments)
    }

    /// A POST.
    pub fn post(segments: &[&str]) -> Self {
        Self::api(Method::Post, segments)
    }

    /// A PUT.
    pub fn put(segments: &[&str]) -> Self {
        Self::api(Method::Put, segments)
    }

    /// A DELETE.
    pub fn delete(segments: &[&str]) -> Self {
        Self::api(Method::Delete, segments)
    }

    /// The same with one more pair in the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.target
            .push(if self.target.contains('?') { '&' } else { '?' });
        encode(&mut self.target, name);
        self.target.push('=');
        encode(&mut self.target, value.as_ref());
        self
    }

    /// The same with a pair in the query if there is a value.
    #[must_use]
    pub fn query_some(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn json(self, value: &Value) -> Self {
        self.bytes("application/json", value.to_string().into_bytes())
    }

    /// The same with these bytes as its body.
    #[must_use]
    pub fn bytes(self, content_type: &str, bytes: Vec<u8>) -> Self {
        self.body(Body {
            content_type: content_type.to_owned(),
            length: Some(bytes.len() as u64),
            reader: Box::new(Cursor::new(bytes)),
        })
    }

    /// The same with files that its body names only.
    #[must_use]
    pub fn local(mut self, files: Option<LocalFiles>) -> Self {
        self.local = files;
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self
    }
}

/// Writes everything but RFC 3986's unreserved characters as `%XX`.
fn encode(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(hex(byte >> 4));
            out.push(hex(byte & 15));
        }
    }
}

fn hex(digit: u8) -> char {
    char::from(b"0123456789ABCDEF"[usize::from(digit & 15)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_change_the_path() {
        let request = Request::get(&["datasets", "a/../b?c#d@1", "é"])
            .query("text", "a b&c=d")
            .query("n", "1");
        assert_eq!(
            request.target,
            "/api/v1/datasets/a%2F..%2Fb%3Fc%23d%401/%C3%A9?text=a%20b%26c%3Dd&n=1"
        );
    }
}
