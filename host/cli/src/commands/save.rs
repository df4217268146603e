//! Writing what was downloaded to a file: the whole file appears, or none.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process;

use serde_json::json;

use super::Context;
use crate::failure::{Failure, Result};
use crate::output::progress::Meter;
use crate::output::text;

/// Bytes that are written at a time.
const CHUNK: usize = 1 << 20;

/// Writes `reader` to `path`, and says so.
pub fn save(
    context: &Context,
    reader: Box<dyn Read + Send>,
    path: &Path,
    replace: bool,
) -> Result<()> {
    refuse_existing(path, replace)?;
    let unfinished = Unfinished::new(path);
    let written = write(reader, &unfinished.0, path, &mut Meter::new())?;
    // Somebody may have made it meanwhile.
    refuse_existing(path, replace)?;
    fs::rename(&unfinished.0, path).map_err(|error| cannot_write(path, &error))?;
    let answer = json!({ "path": path.display().to_string(), "bytes": written });
    context
        .output
        .answer(answer, |_: &serde_json::Value, page| {
            page.line(format!(
                "wrote {} ({})",
                path.display(),
                text::bytes(written)
            ));
        })
}

/// Writes all of `reader` to a new file and makes it durable; the bytes written. `named` is the file's
/// name for people.
pub fn write(
    mut reader: Box<dyn Read + Send>,
    to: &Path,
    named: &Path,
    meter: &mut Meter,
) -> Result<u64> {
    let fail = |error: &io::Error| cannot_write(named, error);
    let mut file = File::create(to).map_err(|error| fail(&error))?;
    let mut chunk = vec![0; CHUNK];
    let mut written = 0;
    loop {
        let length = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failure::failed(
                    "unreachable",
                    format!(
                        "the download was cut off after {}: {error}",
                        text::bytes(written)
                    ),
                ));
            }
        };
        file.write_all(&chunk[..length])
            .map_err(|error| fail(&error))?;
        written += length as u64;
        meter.show(
            written,
            None,
            &format!("writing · {}", text::bytes(written)),
        );
    }
    file.sync_all().map_err(|error| fail(&error))?;
    Ok(written)
}

/// A file or folder that could not be written.
pub fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::failed("io", format!("cannot write {}: {error}", path.display()))
}

/// Refuses a file that is there already.
pub fn refuse_existing(path: &Path, replace: bool) -> Result<()> {
    if path.is_dir() {
        return Err(Failure::usage(format!(
            "{} is a folder; name a file",
            path.display()
        )));
    }
    if !replace && path.exists() {
        return Err(Failure::usage(format!("{} exists already", path.display()))
            .hint("name another file, or replace it with --force"));
    }
    Ok(())
}

/// A file that is not whole yet; removed unless it is renamed.
struct Unfinished(PathBuf);

impl Unfinished {
    fn new(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.part", process::id()));
        Self(name.into())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
