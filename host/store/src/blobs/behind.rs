//! What a large blob costs besides being written, on threads of its own: its digests, and getting its
//! bytes to the disk before all of them are there.

use std::fs::File;
use std::io;
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

#[derive(Default)]
struct Both {
    blake3: blake3::Hasher,
    sha256: sha2::Sha256,
    size: u64,
}

impl Both {
    fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        self.sha256.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn finish(self) -> (Digest, String) {
        let sha256 = self.sha256.finalize();
        let hex = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        (Digest::from(self.blake3.finalize()), hex)
    }
}

struct Beside {
    send: SyncSender<Vec<u8>>,
    thread: JoinHandle<Both>,
}

/// Both digests of a blob.
#[derive(Default)]
pub(super) struct Sums {
    here: Both,
    beside: Option<Beside>,
}

impl Sums {
    pub(super) fn update(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.beside.is_none() {
            self.here.update(bytes);
            if self.here.size >= SMALL {
                let begun = std::mem::take(&mut self.here);
                self.beside = Some(Beside::start(begun)?);
            }
            return Ok(());
        }
        match &self.beside {
            Some(beside) if beside.send.send(bytes.to_vec()).is_ok() => Ok(()),
            _ => Err(gone()),
        }
    }

    pub(super) fn finish(self) -> io::Result<(Digest, String)> {
        let Some(Beside { send, thread }) = self.beside else {
            return Ok(self.here.finish());
        };
        drop(send);
        thread.join().map(Both::finish).map_err(|_| gone())
    }
}

impl Beside {
    fn start(begun: Both) -> io::Result<Self> {
        let (send, receive) = sync_channel::<Vec<u8>>(AHEAD);
        let thread = thread::Builder::new()
            .name("tenon-digest".to_owned())
            .spawn(move || {
                let mut sums = begun;
                for bytes in receive {
                    sums.update(&bytes);
                }
                sums
            })?;
        Ok(Self { send, thread })
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
