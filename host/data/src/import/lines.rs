//! Text streams: decompressed where they are gzip, cut into blocks of whole lines.

use std::io::{BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// Bytes that are read and parsed at a time.
const BLOCK: usize = 1 << 20;
/// The longest line: 64 MiB. A longer one is a bad row.
pub(crate) const LONGEST_LINE: usize = 64 << 20;

/// The stream, decompressed if it begins with gzip's magic number.
pub(crate) fn decompressed<'a>(
    mut reader: Box<dyn Read + Send + 'a>,
) -> std::io::Result<Box<dyn Read + Send + 'a>> {
    let mut magic = [0; 2];
    let mut have = 0;
    while have < 2 {
        match reader.read(&mut magic[have..])? {
            0 => break,
            n => have += n,
        }
    }
    let whole = std::io::Cursor::new(magic[..have].to_vec()).chain(reader);
    if have == 2 && magic == [0x1f, 0x8b] {
        return Ok(Box::new(MultiGzDecoder::new(BufReader::with_capacity(
            1 << 17,
            whole,
        ))));
    }
    Ok(Box::new(whole))
}

/// Whole lines, one after the other.
pub(crate) struct Block {
    bytes: Vec<u8>,
    /// The number of its first line, from 1.
    pub(crate) first_line: u64,
    /// The line is longer than [`LONGEST_LINE`]: `bytes` holds only its beginning.
    pub(crate) too_long: bool,
}

impl Block {
    /// The lines without their ends, with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let bytes = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        bytes
            .split(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .zip(self.first_line..)
            .map(|(line, number)| (number, line))
    }
}

/// Cuts a stream into [`Block`]s.
pub(crate) struct Blocks<R> {
    reader: R,
    carried: Vec<u8>,
    line: u64,
    ended: bool,
}

impl<R: Read> Blocks<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            carried: Vec::new(),
            line: 1,
            ended: false,
        }
    }

    /// The next block, or nothing at the end.
    pub(crate) fn next(&mut self) -> std::io::Result<Option<Block>> {
        let mut bytes = std::mem::take(&mut self.carried);
        loop {
            let cut = if self.ended {
                Some(bytes.len())
            } else {
                let before = bytes.len();
                let wanted = BLOCK.saturating_sub(before).max(BLOCK / 4);
                let got = (&mut self.reader)
                    .take(wanted as u64)
                    .read_to_end(&mut bytes)?;
                self.ended = got < wanted;
                if self.ended {
                    Some(bytes.len())
                } else {
                    last_newline(&bytes[before..]).map(|at| before + at + 1)
                }
            };
            if let Some(cut) = cut {
                if bytes.is_empty() {
                    return Ok(None);
                }
                self.carried = bytes.split_off(cut);
                return Ok(Some(self.block(bytes, false)));
            }
            if bytes.len() > LONGEST_LINE {
                self.skip_line()?;
                bytes.truncate(8192);
                return Ok(Some(self.block(bytes, true)));
            }
        }
    }

    fn block(&mut self, mut bytes: Vec<u8>, too_long: bool) -> Block {
        let first_line = self.line;
        if first_line == 1 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        let ends = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.line += if too_long { 1 } else { ends };
        Block {
            bytes,
            first_line,
            too_long,
        }
    }

    /// Reads up to the end of the current line, keeping what follows it.
    fn skip_line(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; BLOCK];
        loop {
            let got = self.reader.read(&mut buffer)?;
            if got == 0 {
                self.ended = true;
                return Ok(());
            }
            if let Some(at) = buffer[..got].iter().position(|byte| *byte == b'\n') {
                self.carried = buffer[at + 1..got].to_vec();
                return Ok(());
            }
        }
    }
}

fn last_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    /// A reader that hands out a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let n = out.len().min(self.1).min(self.0.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn all(reader: impl Read) -> Vec<(u64, Vec<u8>)> {
        let mut blocks = Blocks::new(reader);
        let mut lines = Vec::new();
        while let Some(block) = blocks.next().unwrap() {
            lines.extend(block.lines().map(|(number, line)| (number, line.to_vec())));
        }
        lines
    }

    #[test]
    fn lines_are_numbered_across_blocks_however_they_arrive() {
        let text: String = (0..200_000).map(|i| format!("line {i}\n")).collect();
        let whole = all(text.as_bytes());
        assert_eq!(whole.len(), 200_000);
        assert_eq!(whole[199_999], (200_000, b"line 199999".to_vec()));
        assert!(
            whole
                .iter()
                .enumerate()
                .all(|(i, (n, _))| *n == i as u64 + 1)
        );
        assert_eq!(all(Trickle(text.as_bytes(), 777)), whole);
    }

    #[test]
    fn the_last_line_needs_no_end_and_a_byte_order_mark_is_dropped() {
        let lines = all("\u{feff}a\r\n\nb".as_bytes());
        assert_eq!(
            lines,
            [(1, b"a".to_vec()), (2, b"".to_vec()), (3, b"b".to_vec())]
        );
    }

    #[test]
    fn a_line_past_the_limit_is_one_bad_block_and_the_rest_is_read() {
        let mut text = b"first\n".to_vec();
        text.resize(text.len() + LONGEST_LINE + (3 << 20), b'x');
        text.extend_from_slice(b"\nlast\n");
        let mut blocks = Blocks::new(text.as_slice());
        let mut long = 0;
        let mut last = None;
        while let Some(block) = blocks.next().unwrap() {
            long += usize::from(block.too_long);
            if !block.too_long {
                last = block.lines().last().map(|(n, line)| (n, line.to_vec()));
            } else {
                assert_eq!(block.first_line, 2);
            }
        }
        assert_eq!(long, 1);
        assert_eq!(last, Some((3, b"last".to_vec())));
    }

    #[test]
    fn gzip_is_recognised_by_its_content() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"hello").unwrap();
        for (bytes, expected) in [
            (encoder.finish().unwrap(), "hello"),
            (b"plain".to_vec(), "plain"),
            (b"x".to_vec(), "x"),
            (Vec::new(), ""),
        ] {
            let mut text = String::new();
            let mut reader = decompressed(Box::new(bytes.as_slice())).unwrap();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
        }
    }
}
