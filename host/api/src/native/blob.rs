//! Sending a file of the data folder.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use tenon_store::Digest;
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::app::blocking;
use crate::error::{ApiError, Result};
use crate::router::Context;

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// A blob as the body of an answer; `name` is what a browser would call the file.
pub(super) async fn send(context: &Context, digest: &str, name: &str) -> Result<Response> {
    let digest: Digest = digest.parse().map_err(ApiError::from)?;
    let store = context.platform.store.clone();
    let (file, size) = blocking(move || {
        let blobs = store.blobs();
        let path = blobs.verified_path(&digest)?;
        let file = std::fs::File::open(&path)
            .map_err(|error| ApiError::internal(format!("blob {digest}: {error}")))?;
        Ok((file, blobs.size(&digest)?))
    })
    .await?;
    let stream = ReaderStream::with_capacity(File::from_std(file), CHUNK);
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type(name));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    // What a run has made is never a page of ours, whatever it says that it is.
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    if let Ok(value) = HeaderValue::from_str(&format!("\"{digest}\"")) {
        headers.insert(header::ETAG, value);
    }
    let last = name.rsplit('/').next().unwrap_or(name);
    let plain = last
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\"\\;".contains(&byte));
    let disposition = if plain {
        format!("attachment; filename=\"{last}\"")
    } else {
        "attachment".to_owned()
    };
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

fn media_type(name: &str) -> HeaderValue {
    let ending = name.rsplit('.').next().unwrap_or_default();
    HeaderValue::from_static(match ending {
        "json" => "application/json",
        "jsonl" | "txt" | "md" | "csv" | "log" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    })
}
