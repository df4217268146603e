//! One file: its bytes, once each, in order, whatever happens to the connections; then its checksum.

use std::io::{ErrorKind, Read, Write};

use sha1::{Digest as _, Sha1};
use sha2::{Digest as _, Sha256};

use super::http::{Answer, text};
use super::{Hub, RemoteFile, is_hex};
use crate::error::{HubError, Result};

/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// What a file's bytes must sum up to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    Sha256(String),
    /// The sum of a git blob begins with its length.
    Git(String),
}

enum Sum {
    Sha256(Sha256),
    Git(Sha1),
}

/// How a try ended without the whole file.
enum Cut {
    /// For good.
    Fatal(HubError),
    /// Another try may go on.
    Again(HubError),
}

struct Download<'a> {
    hub: &'a Hub,
    path: &'a str,
    file: &'a RemoteFile,
    size: Option<u64>,
    expected: Option<Expected>,
    sum: Option<Sum>,
    done: u64,
}

pub fn run(
    hub: &Hub,
    path: &str,
    file: &RemoteFile,
    begun: &mut dyn Read,
    sink: &mut dyn Write,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<()> {
    let listed = match (&file.sha256, &file.git_sha1) {
        (Some(sum), _) => Some(Expected::Sha256(sum.to_ascii_lowercase())),
        (None, Some(sum)) => Some(Expected::Git(sum.to_ascii_lowercase())),
        (None, None) => None,
    };
    let mut download = Download {
        hub,
        path,
        file,
        size: file.size,
        expected: listed,
        sum: None,
        done: 0,
    };
    download.go_on(begun, progress)?;
    let mut tried = 0;
    loop {
        let before = download.done;
        match download.try_once(sink, progress) {
            Ok(()) => return download.verify(),
            Err(Cut::Fatal(error)) => return Err(error),
            Err(Cut::Again(error)) => {
                tried = if download.done > before { 1 } else { tried + 1 };
                if tried >= hub.tries {
                    return Err(error);
                }
                tracing::info!(file = file.name, at = download.done, %error, "going on with a download");
                if !progress(0) {
                    return Err(HubError::Cancelled);
                }
                std::thread::sleep(hub.pause_before(tried));
            }
        }
    }
}

impl Download<'_> {
    /// Takes in what earlier tries have left. Without a sum to compare with at the end, nothing can be said
    /// of it, and it is not looked at.
    fn go_on(&mut self, begun: &mut dyn Read, progress: &mut dyn FnMut(u64) -> bool) -> Result<()> {
        self.sum = self.begin_sum();
        if self.sum.is_none() {
            return Ok(());
        }
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = match begun.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(HubError::Sink(error)),
            };
            self.done += length as u64;
            self.add(&buffer[..length]);
            if !progress(length as u64) {
                return Err(HubError::Cancelled);
            }
        }
    }

    fn begin_sum(&self) -> Option<Sum> {
        match (&self.expected, self.size) {
            (Some(Expected::Sha256(_)), _) => Some(Sum::Sha256(Sha256::new())),
            (Some(Expected::Git(_)), Some(size)) => {
                let mut sum = Sha1::new();
                sum.update(format!("blob {size}\0").as_bytes());
                Some(Sum::Git(sum))
            }
            _ => None,
        }
    }

    fn add(&mut self, piece: &[u8]) {
        match &mut self.sum {
            Some(Sum::Sha256(sum)) => sum.update(piece),
            Some(Sum::Git(sum)) => sum.update(piece),
            None => {}
        }
    }

    fn try_once(
        &mut self,
        sink: &mut dyn Write,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), Cut> {
        if self.size == Some(self.done) && self.done > 0 {
            return Ok(());
        }
        let from = (self.done > 0).then_some(self.done);
        let answer = self
            .hub
            .http
            .get(self.path, from)
            .map_err(|reason| Cut::Again(self.hub.unreachable(&reason)))?;
        let what = format!("the file {}", self.file.name);
        let mut skip = match answer.status {
            200 => self.done,
            206 if from.is_some() => {
                self.check_range(&answer)?;
                0
            }
            _ if answer.is_temporary() => return Err(Cut::Again(self.hub.busy(&answer, &what))),
            _ => return Err(Cut::Fatal(self.hub.refused(&answer, &what))),
        };
        if self.done == 0 {
            self.learn(&answer)?;
        }
        let mut reader = answer.reader;
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    let reason = format!(
                        "{} was cut off after {} bytes: {error}",
                        self.file.name, self.done
                    );
                    return Err(Cut::Again(self.hub.unreachable(&reason)));
                }
            };
            // A server that knows no ranges begins at the beginning.
            let skipped = usize::try_from(skip).unwrap_or(length).min(length);
            skip -= skipped as u64;
            let piece = &buffer[skipped..length];
            if piece.is_empty() {
                continue;
            }
            self.done += piece.len() as u64;
            if self.size.is_some_and(|size| self.done > size) {
                return Err(Cut::Fatal(self.wrong_size()));
            }
            self.add(piece);
            sink.write_all(piece)
                .map_err(|error| Cut::Fatal(HubError::Sink(error)))?;
            if !progress(piece.len() as u64) {
                return Err(Cut::Fatal(HubError::Cancelled));
            }
        }
        match self.size {
            // The connection was closed as if that were all.
            Some(size) if self.done < size => {
                let reason = format!(
                    "{} was cut off after {} of {size} bytes",
                    self.file.name, self.done
                );
                Err(Cut::Again(self.hub.unreachable(&reason)))
            }
            _ => Ok(()),
        }
    }

    /// What the first answer says of the file, where the listing did not.
    fn learn(&mut self, answer: &Answer) -> Result<(), Cut> {
        let number = |name| text(&answer.first, name)?.parse::<u64>().ok();
        let length = text(&answer.headers, "content-length").and_then(|n| n.parse().ok());
        let said = number("x-linked-size").or(length);
        match (self.size, said) {
            (None, said) => self.size = said,
            (Some(size), Some(said)) if size != said => {
                return Err(Cut::Fatal(self.hub.not_a_hub(&format!(
                    "{} has {size} bytes in its listing, but it sends {said}",
                    self.file.name
                ))));
            }
            _ => {}
        }
        if self.expected.is_none() {
            let tag = text(&answer.first, "x-linked-etag").or(text(&answer.first, "etag"));
            let tag = tag.map(|tag| tag.trim_start_matches("W/").trim_matches('"'));
            self.expected = tag.and_then(|tag| {
                let tag = tag.to_ascii_lowercase();
                if is_hex(&tag, 64) {
                    Some(Expected::Sha256(tag))
                } else if is_hex(&tag, 40) {
                    Some(Expected::Git(tag))
                } else {
                    None
                }
            });
        }
        self.sum = self.begin_sum();
        Ok(())
    }

    /// `Content-Range: bytes FROM-TO/SIZE`.
    fn check_range(&self, answer: &Answer) -> Result<(), Cut> {
        let range = text(&answer.headers, "content-range").unwrap_or_default();
        let parsed = range.strip_prefix("bytes ").and_then(|range| {
            let (part, size) = range.split_once('/')?;
            let (from, _) = part.split_once('-')?;
            Some((from.parse::<u64>().ok()?, size.parse::<u64>().ok()))
        });
        match parsed {
            Some((from, size)) if from == self.done && (size.is_none() || size == self.size) => {
                Ok(())
            }
            _ => Err(Cut::Fatal(self.hub.not_a_hub(&format!(
                "asked for {} from byte {} on, it sends `{range}`",
                self.file.name, self.done
            )))),
        }
    }

    fn wrong_size(&self) -> HubError {
        HubError::Checksum {
            hub: self.hub.address().to_owned(),
            file: self.file.name.clone(),
            kind: "length",
            expected: self.size.unwrap_or(0).to_string(),
            found: format!("{} or more", self.done),
        }
    }

    fn verify(self) -> Result<()> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let (kind, expected, found): (_, _, String) = match (self.expected, self.sum) {
            (Some(Expected::Sha256(expected)), Some(Sum::Sha256(sum))) => {
                ("sha256", expected, hex(&sum.finalize()))
            }
            (Some(Expected::Git(expected)), Some(Sum::Git(sum))) => {
                ("git blob sha1", expected, hex(&sum.finalize()))
            }
            // A hub that announces no sum: the length was compared.
            _ => return Ok(()),
        };
        if expected == found {
            return Ok(());
        }
        Err(HubError::Checksum {
            hub: self.hub.address().to_owned(),
            file: self.file.name.clone(),
            kind,
            expected,
            found,
        })
    }
}
