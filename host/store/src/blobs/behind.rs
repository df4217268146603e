//! What a large blob costs besides being written, on threads of its own: its digests, and getting its
//! bytes to the disk before all of them are there.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use sha2::Digest as _;

use super::Digest;

/// A blob that is larger is hashed on a thread.
const SMALL: u64 = 4 << 20;
/// Pieces that wait to be hashed: a few megabytes, since writers buffer.
const AHEAD: usize = 16;
/// Bytes between two flushes.
const FLUSH_EVERY: u64 = 64 << 20;

/// A thread that computes one digest of the pieces that it is sent.
struct Beside<H> {
    send: SyncSender<Arc<[u8]>>,
    thread: JoinHandle<H>,
}

/// Both digests of a blob.
#[derive(Default)]
pub(super) struct Sums {
    blake3: blake3::Hasher,
    sha256: sha2::Sha256,
    size: u64,
    beside: Option<(Beside<blake3::Hasher>, Beside<sha2::Sha256>)>,
}

impl Sums {
    /// Of bytes that were all taken in.
    pub(super) fn of(blake3: blake3::Hasher, sha256: sha2::Sha256) -> Self {
        Self {
            blake3,
            sha256,
            ..Self::default()
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some((blake3, sha256)) = &self.beside {
            let bytes: Arc<[u8]> = bytes.into();
            let sent =
                blake3.send.send(Arc::clone(&bytes)).is_ok() && sha256.send.send(bytes).is_ok();
            return sent.then_some(()).ok_or_else(gone);
        }
        self.blake3.update(bytes);
        self.sha256.update(bytes);
        self.size += bytes.len() as u64;
        if self.size >= SMALL {
            let (blake3, sha256) = (self.blake3.clone(), std::mem::take(&mut self.sha256));
            self.beside = Some((
                Beside::start(blake3, |sum, bytes| {
                    sum.update(bytes);
                })?,
                Beside::start(sha256, |sum, bytes| sum.update(bytes))?,
            ));
        }
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<(Digest, String)> {
        let (blake3, sha256) = match self.beside {
            None => (self.blake3, self.sha256),
            Some((blake3, sha256)) => (blake3.finish()?, sha256.finish()?),
        };
        let hex = sha256.finalize();
        let hex = hex.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((Digest::from(blake3.finalize()), hex))
    }
}

impl<H: Send + 'static> Beside<H> {
    fn start(begun: H, update: fn(&mut H, &[u8])) -> io::Result<Self> {
        let (send, receive) = sync_channel::<Arc<[u8]>>(AHEAD);
        let thread = thread::Builder::new()
            .name("tenon-digest".to_owned())
            .spawn(move || {
                let mut sum = begun;
                for bytes in receive {
                    update(&mut sum, &bytes);
                }
                sum
            })?;
        Ok(Self { send, thread })
    }

    fn finish(self) -> io::Result<H> {
        drop(self.send);
        self.thread.join().map_err(|_| gone())
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that computes digests is gone")
}

/// Asks the system now and then to write what it has of a file, so that the last sync is short.
pub(super) struct Flusher {
    send: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
    waiting: u64,
}

impl Flusher {
    pub(super) fn start(file: &File) -> io::Result<Self> {
        let file = file.try_clone()?;
        let (send, receive): (_, Receiver<()>) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("tenon-flush".to_owned())
            .spawn(move || {
                for () in receive {
                    // An error is told once for all handles of the file: it must not be lost here.
                    file.sync_data()?;
                }
                Ok(())
            })?;
        Ok(Self {
            send,
            thread,
            waiting: FLUSH_EVERY,
        })
    }

    pub(super) fn written(&mut self, bytes: u64) {
        self.waiting += bytes;
        if self.waiting >= FLUSH_EVERY {
            self.waiting = 0;
            // Full: it has not come to the last request yet.
            let _ = self.send.try_send(());
        }
    }

    pub(super) fn finish(self) -> io::Result<()> {
        drop(self.send);
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that flushes is gone")))
    }
}
