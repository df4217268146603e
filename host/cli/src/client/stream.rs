//! Bodies between threads that block and the asynchronous router, a few chunks at a time.

use std::io::{self, Read};

use axum::body::{Body, Bytes};
use futures::StreamExt;
use futures::stream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// Bytes that are handed over at a time.
const CHUNK: usize = 256 << 10;
/// Chunks that wait at most.
const AHEAD: usize = 4;

/// A body that a thread of its own reads from `reader`. It ends early when nobody wants it any more.
pub fn body_from(reader: Box<dyn Read + Send>, runtime: &Handle) -> Body {
    let (send, receive) = mpsc::channel::<io::Result<Bytes>>(AHEAD);
    runtime.spawn_blocking(move || {
        let mut reader = reader;
        loop {
            let mut chunk = vec![0; CHUNK];
            let read = match reader.read(&mut chunk) {
                Ok(0) => return,
                Ok(length) => {
                    chunk.truncate(length);
                    Ok(Bytes::from(chunk))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if send.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    Body::from_stream(stream::unfold(receive, |mut receive| async move {
        receive.recv().await.map(|chunk| (chunk, receive))
    }))
}

/// A reader of what a body sends as it comes. Dropping it drops the body.
pub fn reader_of(body: Body, runtime: &Handle) -> Box<dyn Read + Send> {
    let (send, receive) = mpsc::channel(AHEAD);
    runtime.spawn(async move {
        let mut data = body.into_data_stream();
        loop {
            let chunk = tokio::select! {
                chunk = data.next() => chunk,
                () = send.closed() => return,
            };
            let Some(chunk) = chunk else { return };
            if send.send(chunk.map_err(io::Error::other)).await.is_err() {
                return;
            }
        }
    });
    Box::new(Chunks {
        receive,
        current: Bytes::new(),
    })
}

struct Chunks {
    receive: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receive.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let length = out.len().min(self.current.len());
        out[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Gives its bytes in odd pieces, and an error at the end if it shall.
    struct Pieces {
        left: Vec<u8>,
        fails: bool,
    }

    impl Read for Pieces {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.left.is_empty() && self.fails {
                return Err(io::Error::other("the disk is gone"));
            }
            let length = self.left.len().min(out.len()).min(70_001);
            out[..length].copy_from_slice(&self.left[..length]);
            self.left.drain(..length);
            Ok(length)
        }
    }

    fn there_and_back(fails: bool) -> (Vec<u8>, io::Result<usize>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let left: Vec<u8> = (0..1_000_003_u32).map(|i| (i * 7) as u8).collect();
        let body = body_from(Box::new(Pieces { left, fails }), runtime.handle());
        let mut out = Vec::new();
        let read = reader_of(body, runtime.handle()).read_to_end(&mut out);
        (out, read)
    }

    #[test]
    fn every_byte_arrives_once() {
        let (out, read) = there_and_back(false);
        assert_eq!(read.unwrap(), 1_000_003);
        assert!(
            out.iter()
                .zip(0_u32..)
                .all(|(byte, i)| *byte == (i * 7) as u8)
        );
    }

    #[test]
    fn an_error_of_the_reader_is_not_an_end() {
        let (out, read) = there_and_back(true);
        assert_eq!(out.len(), 1_000_003);
        assert!(read.unwrap_err().to_string().contains("the disk is gone"));
    }
}
