//! Uploads of several files (RFC 7578), read from disk as they are sent.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::request::Body;
use crate::failure::{Failure, Result};

/// An upload that is being put together.
pub struct Multipart {
    boundary: String,
    pieces: Vec<Box<dyn Read + Send>>,
    length: Option<u64>,
    sent: Arc<AtomicU64>,
}

impl Multipart {
    /// An upload without parts.
    pub fn new() -> Self {
        Self {
            boundary: boundary(),
            pieces: Vec::new(),
            length: Some(0),
            sent: Arc::default(),
        }
    }

    /// Adds a part of JSON.
    #[must_use]
    pub fn json(self, name: &str, value: &serde_json::Value) -> Self {
        let head = format!(
            "--{}\r\ncontent-disposition: form-data; name=\"{}\"\r\ncontent-type: \
             application/json\r\n\r\n",
            self.boundary,
            quoted(name)
        );
        self.piece(head.into_bytes())
            .piece(value.to_string().into_bytes())
            .piece(b"\r\n".to_vec())
    }

    /// Adds a file.
    pub fn file(self, name: &str, path: &Path) -> Result<Self> {
        let fail = |action, error: &io::Error| Failure::file(action, path, error);
        let file = File::open(path).map_err(|error| fail("open", &error))?;
        let meta = file.metadata().map_err(|error| fail("open", &error))?;
        if meta.is_dir() {
            return Err(Failure::usage(format!(
                "{} is a folder; name the files in it",
                path.display()
            )));
        }
        let file_name = path
            .file_name()
            .map_or_else(|| "file".into(), |name| name.to_string_lossy());
        // A pipe has no length.
        let length = meta.is_file().then_some(meta.len());
        let named = Named {
            path: path.display().to_string(),
            inner: Box::new(file),
        };
        Ok(self.stream(name, &file_name, Box::new(named), length))
    }

    /// Adds a file that is read by whoever gets the upload: its part is empty.
    pub fn local(self, name: &str, path: &Path) -> Result<Self> {
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        File::open(path).map_err(|error| Failure::file("open", path, &error))?;
        Ok(self.stream(name, &file_name, Box::new(io::empty()), Some(0)))
    }

    /// Adds a stream.
    #[must_use]
    pub fn stream(
        mut self,
        name: &str,
        file_name: &str,
        reader: Box<dyn Read + Send>,
        length: Option<u64>,
    ) -> Self {
        let head = format!(
            "--{}\r\ncontent-disposition: form-data; name=\"{}\"; filename=\"{}\"\r\ncontent-type: \
             application/octet-stream\r\n\r\n",
            self.boundary,
            quoted(name),
            quoted(file_name)
        );
        self = self.piece(head.into_bytes());
        self.length = match (self.length, length) {
            (Some(before), Some(length)) => Some(before + length),
            _ => None,
        };
        self.pieces.push(Box::new(Counted {
            inner: reader,
            sent: Arc::clone(&self.sent),
        }));
        self.piece(b"\r\n".to_vec())
    }

    /// Bytes of the files that have been handed over, as they go.
    pub fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    /// The body of the request.
    pub fn finish(mut self) -> Body {
        let end = format!("--{}--\r\n", self.boundary);
        self = self.piece(end.into_bytes());
        let empty: Box<dyn Read + Send> = Box::new(io::empty());
        Body {
            content_type: format!("multipart/form-data; boundary={}", self.boundary),
            length: self.length,
            reader: self
                .pieces
                .into_iter()
                .fold(empty, |all, piece| Box::new(all.chain(piece))),
        }
    }

    fn piece(mut self, bytes: Vec<u8>) -> Self {
        self.length = self.length.map(|length| length + bytes.len() as u64);
        self.pieces.push(Box::new(Cursor::new(bytes)));
        self
    }
}

/// A line that does not occur in the data: 128 random bits.
fn boundary() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new();
    format!(
        "tenon-{:016x}{:016x}",
        random.hash_one(1_u8),
        random.hash_one(2_u8)
    )
}

/// As browsers write names: a quotation mark or a line end would end the name.
fn quoted(name: &str) -> String {
    name.replace('"', "%22")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// Says which file could not be read.
struct Named {
    path: String,
    inner: Box<dyn Read + Send>,
}

impl Read for Named {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.inner.read(out).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot read {}: {error}", self.path))
        })
    }
}

struct Counted {
    inner: Box<dyn Read + Send>,
    sent: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(out)?;
        self.sent.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_upload_has_the_length_that_it_says() {
        let folder = std::env::temp_dir().join(format!("tenon-multipart-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a \"b\".jsonl");
        std::fs::write(&path, "{\"text\":\"x\"}\n").unwrap();
        let upload = Multipart::new()
            .json("options", &serde_json::json!({"on_bad_row": "reject"}))
            .file("train", &path)
            .unwrap();
        let sent = upload.sent();
        let mut body = upload.finish();
        let mut text = String::new();
        body.reader.read_to_string(&mut text).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(body.length, Some(text.len() as u64));
        assert_eq!(sent.load(Ordering::Relaxed), 13);
        assert!(text.contains("filename=\"a %22b%22.jsonl\""), "{text}");
        let boundary = body.content_type.rsplit_once('=').unwrap().1;
        assert!(text.starts_with(&format!("--{boundary}\r\n")), "{text}");
        assert!(text.ends_with(&format!("\r\n--{boundary}--\r\n")), "{text}");
    }

    #[test]
    fn folders_and_missing_files_are_refused_by_name() {
        let refused = |path: &str| match Multipart::new().file("train", Path::new(path)) {
            Err(failure) => failure.message().to_owned(),
            Ok(_) => panic!("{path} was accepted"),
        };
        assert!(refused("/").contains("folder"));
        assert!(refused("/no/such/file.jsonl").contains("/no/such/file.jsonl"));
    }
}
