//! What a large blob costs besides being written, on threads of its own: its digest, and getting its
//! bytes to the disk before all of them are there.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use super::Digest;

/// A blob that is larger is hashed on a thread.
const SMALL: u64 = 4 << 20;
/// Pieces that wait to be hashed: a few megabytes, since writers buffer.
const AHEAD: usize = 16;
/// Bytes between two flushes.
const FLUSH_EVERY: u64 = 64 << 20;

/// A thread that goes on with the digest of the pieces that it is sent.
struct Beside {
    send: SyncSender<Box<[u8]>>,
    thread: JoinHandle<blake3::Hasher>,
}

/// The digest of a blob that is written.
#[derive(Default)]
pub(super) struct Sum {
    hasher: blake3::Hasher,
    size: u64,
    beside: Option<Beside>,
}

impl Sum {
    pub(super) fn update(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(beside) = &self.beside {
            return beside.send.send(bytes.into()).map_err(|_| gone());
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        if self.size >= SMALL {
            self.beside = Some(Beside::start(std::mem::take(&mut self.hasher))?);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<Digest> {
        let hasher = match self.beside {
            None => self.hasher,
            Some(beside) => beside.finish()?,
        };
        Ok(Digest::from(hasher.finalize()))
    }
}

impl Beside {
    fn start(begun: blake3::Hasher) -> io::Result<Self> {
        let (send, receive) = sync_channel::<Box<[u8]>>(AHEAD);
        let thread = thread::Builder::new()
            .name("tenon-digest".to_owned())
            .spawn(move || {
                let mut hasher = begun;
                for bytes in receive {
                    hasher.update(&bytes);
                }
                hasher
            })?;
        Ok(Self { send, thread })
    }

    fn finish(self) -> io::Result<blake3::Hasher> {
        drop(self.send);
        self.thread.join().map_err(|_| gone())
    }
}

fn gone() -> io::Error {
    io::Error::other("the thread that computes the digest is gone")
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
