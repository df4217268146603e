//! Just enough of ZIP (with its 64-bit extension) for what `torch.save` writes: entries that are
//! stored, not compressed, so that their bytes can be read where they lie.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::error::{HubError, Result};

/// `PK\5\6`: the end of the central directory.
const END: u32 = 0x0605_4b50;
/// `PK\6\7`: where the 64-bit end is.
const LOCATOR: u32 = 0x0706_4b50;
/// `PK\6\6`: the 64-bit end.
const END64: u32 = 0x0606_4b50;
/// `PK\1\2`: an entry of the central directory.
const CENTRAL: u32 = 0x0201_4b50;
/// `PK\3\4`: an entry before its bytes.
const LOCAL: u32 = 0x0403_4b50;
/// The end lies within these last bytes: its comment has 16 bits of length.
const TAIL: u64 = 22 + 0xffff;
/// More than any checkpoint has.
const LARGEST_DIRECTORY: u64 = 256 << 20;

/// An entry whose bytes lie in the file as they are.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its path in the archive.
    pub name: String,
    /// Where its bytes begin.
    pub offset: u64,
    /// How many there are.
    pub size: u64,
}

struct Bytes<'a> {
    data: &'a [u8],
}

impl Bytes<'_> {
    fn number<const N: usize>(&self, at: usize) -> Option<u64> {
        let bytes = self.data.get(at..at.checked_add(N)?)?;
        Some(
            bytes
                .iter()
                .rev()
                .fold(0, |all, byte| all << 8 | u64::from(*byte)),
        )
    }
}

/// The entries of an archive.
///
/// # Errors
/// [`HubError::File`]: cut short, compressed, or no archive.
pub fn entries(name: &str, file: &File) -> Result<Vec<Stored>> {
    let cut = || {
        HubError::file(name, "the archive is cut short or damaged")
            .or("copy or download the file again")
    };
    let length = file
        .metadata()
        .map_err(|error| HubError::file(name, error.to_string()))?
        .len();
    let read = |at: u64, size: u64| -> Result<Vec<u8>> {
        if at.checked_add(size).is_none_or(|end| end > length) {
            return Err(cut());
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| cut())?];
        file.read_exact_at(&mut bytes, at)
            .map_err(|error| HubError::file(name, format!("it cannot be read: {error}")))?;
        Ok(bytes)
    };
    let start = length.saturating_sub(TAIL);
    let tail = read(start, length - start)?;
    let end = tail
        .windows(4)
        .rposition(|window| window == END.to_le_bytes())
        .ok_or_else(cut)?;
    let bytes = Bytes { data: &tail };
    let mut count = bytes.number::<2>(end + 10).ok_or_else(cut)?;
    let mut size = bytes.number::<4>(end + 12).ok_or_else(cut)?;
    let mut offset = bytes.number::<4>(end + 16).ok_or_else(cut)?;
    if let Some(locator) = end.checked_sub(20)
        && bytes.number::<4>(locator) == Some(u64::from(LOCATOR))
    {
        let at = bytes.number::<8>(locator + 8).ok_or_else(cut)?;
        let end64 = read(at, 56)?;
        let bytes = Bytes { data: &end64 };
        if bytes.number::<4>(0) != Some(u64::from(END64)) {
            return Err(cut());
        }
        count = bytes.number::<8>(32).ok_or_else(cut)?;
        size = bytes.number::<8>(40).ok_or_else(cut)?;
        offset = bytes.number::<8>(48).ok_or_else(cut)?;
    }
    if size > LARGEST_DIRECTORY {
        return Err(cut());
    }
    let directory = read(offset, size)?;
    let bytes = Bytes { data: &directory };
    let mut found = Vec::new();
    let mut at = 0;
    for _ in 0..count {
        if bytes.number::<4>(at) != Some(u64::from(CENTRAL)) {
            return Err(cut());
        }
        let method = bytes.number::<2>(at + 10).ok_or_else(cut)?;
        let number = |place| bytes.number::<2>(at + place).map(|n| n as usize);
        let (title, extra, comment) = (
            number(28).ok_or_else(cut)?,
            number(30).ok_or_else(cut)?,
            number(32).ok_or_else(cut)?,
        );
        let text = directory.get(at + 46..at + 46 + title).ok_or_else(cut)?;
        let text = String::from_utf8_lossy(text).into_owned();
        let fields = directory
            .get(at + 46 + title..at + 46 + title + extra)
            .ok_or_else(cut)?;
        let mut packed = bytes.number::<4>(at + 20).ok_or_else(cut)?;
        let mut plain = bytes.number::<4>(at + 24).ok_or_else(cut)?;
        let mut local = bytes.number::<4>(at + 42).ok_or_else(cut)?;
        widen(fields, [&mut plain, &mut packed, &mut local]);
        if method != 0 || packed != plain {
            return Err(HubError::file(
                name,
                format!("`{text}` in it is compressed; torch.save stores entries as they are"),
            )
            .or("load it with torch and save it again, best as safetensors"));
        }
        let head = read(local, 30)?;
        let head = Bytes { data: &head };
        if head.number::<4>(0) != Some(u64::from(LOCAL)) {
            return Err(cut());
        }
        let skip = head.number::<2>(26).ok_or_else(cut)? + head.number::<2>(28).ok_or_else(cut)?;
        let offset = local + 30 + skip;
        if offset.checked_add(plain).is_none_or(|end| end > length) {
            return Err(cut());
        }
        found.push(Stored {
            name: text,
            offset,
            size: plain,
        });
        at += 46 + title + extra + comment;
    }
    Ok(found)
}

/// The 64-bit field has, in this order, those numbers that did not fit into 32 bits.
fn widen(mut fields: &[u8], numbers: [&mut u64; 3]) {
    while fields.len() >= 4 {
        let bytes = Bytes { data: fields };
        let (Some(id), Some(size)) = (bytes.number::<2>(0), bytes.number::<2>(2)) else {
            return;
        };
        let Some(body) = fields.get(4..4 + size as usize) else {
            return;
        };
        if id == 1 {
            let bytes = Bytes { data: body };
            let mut at = 0;
            for number in numbers {
                if *number == 0xffff_ffff
                    && let Some(wide) = bytes.number::<8>(at)
                {
                    *number = wide;
                    at += 8;
                }
            }
            return;
        }
        fields = &fields[4 + size as usize..];
    }
}
