//! Uploads, written by hand.

const BOUNDARY: &str = "----tenon-test-7f3a9c";

#[derive(Default)]
pub struct Multipart(Vec<u8>);

impl Multipart {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    pub fn options(self, options: &serde_json::Value) -> Self {
        self.part("name=\"options\"", options.to_string().as_bytes())
    }

    pub fn file(self, split: &str, name: &str, content: &[u8]) -> Self {
        let disposition = format!("name=\"{split}\"; filename=\"{name}\"");
        self.part(&disposition, content)
    }

    pub fn part(mut self, disposition: &str, content: &[u8]) -> Self {
        let head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n");
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(content);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    /// The whole body.
    pub fn finish(mut self) -> Vec<u8> {
        self.0
            .extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.0
    }

    /// The body without its end.
    pub fn cut(self) -> Vec<u8> {
        self.0
    }
}
