//! Compiled code on disk.
//!
//! Loading compiled code runs it, so an entry is used only if this host wrote it: the folder belongs
//! to this user and nobody else may enter it, and each entry's BLAKE3 hash stands beside it (which
//! finds damage, not attackers: whoever can write here can run code as this user anyway).

use std::{
    fs,
    hash::{Hash, Hasher},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::PluginError;

pub(super) struct Cache {
    dir: PathBuf,
    /// Of wasmtime's version and everything in its configuration that shapes machine code.
    key: String,
}

/// Feeds a BLAKE3 hash from `Hash` implementations: the standard hashers promise nothing between
/// releases of Rust.
struct KeyHasher(blake3::Hasher);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        let mut out = [0; 8];
        out.copy_from_slice(&self.0.finalize().as_bytes()[..8]);
        u64::from_le_bytes(out)
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

impl Cache {
    /// Opens the folder, creating it for this user alone.
    pub(super) fn open(dir: &Path, engine: &wasmtime::Engine) -> Result<Self, PluginError> {
        let fail = |what: &str, hint: &str| {
            Err(PluginError::host(
                "(engine)",
                "start",
                format!("the cache folder {} {what}", dir.display()),
            )
            .with_hint(hint))
        };
        if let Err(error) = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
        {
            return fail(
                &format!("cannot be created: {error}"),
                "choose another one, or run without",
            );
        }
        let about = match fs::symlink_metadata(dir) {
            Ok(about) if about.is_dir() => about,
            Ok(_) => {
                return fail(
                    "is no folder",
                    "choose another one: a link could lead anywhere",
                );
            }
            Err(error) => {
                return fail(
                    &format!("cannot be read: {error}"),
                    "choose another one, or run without",
                );
            }
        };
        if about.uid() != rustix::process::geteuid().as_raw() {
            return fail(
                "belongs to another user",
                "compiled code is trusted: use a folder of your own",
            );
        }
        if about.mode() & 0o077 != 0 {
            // Others could have written here: what lies in it is not ours to trust.
            if let Err(error) = clear(dir)
                .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)))
            {
                return fail(
                    &format!("is open to others and cannot be closed: {error}"),
                    "compiled code is trusted: give it mode 700",
                );
            }
        }
        let mut hasher = KeyHasher(blake3::Hasher::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            dir: dir.to_owned(),
            key: format!("{:016x}", hasher.finish()),
        })
    }

    fn path(&self, digest: &str) -> PathBuf {
        let digest = digest.trim_start_matches("sha256:");
        self.dir.join(format!("{digest}-{}.cwasm", self.key))
    }

    /// The compiled component, or nothing: absent, damaged, of another version.
    pub(super) fn get(
        &self,
        engine: &wasmtime::Engine,
        digest: &str,
    ) -> Option<wasmtime::component::Component> {
        let path = self.path(digest);
        let expected = fs::read_to_string(hash_path(&path)).ok()?;
        let matches = hash_file(&path).is_ok_and(|hash| hash.to_hex().as_str() == expected.trim());
        if !matches {
            tracing::warn!(path = %path.display(), "an entry of the compile cache is damaged; compiling again");
            return None;
        }
        // SAFETY: `deserialize_file` trusts its input to be code that wasmtime compiled. This file
        // was written by `put` of this host: the folder is ours and closed to others (checked in
        // `open`), and the content still has the hash that was recorded when it was written.
        // Wasmtime itself checks version and configuration.
        match unsafe { wasmtime::component::Component::deserialize_file(engine, &path) } {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(path = %path.display(), "an entry of the compile cache does not load: {error:#}");
                None
            }
        }
    }

    /// Keeps a compiled component. A cache that cannot be written is slow, not wrong: failures are
    /// logged.
    pub(super) fn put(&self, digest: &str, component: &wasmtime::component::Component) {
        let path = self.path(digest);
        let written = component
            .serialize()
            .map_err(std::io::Error::other)
            .and_then(|code| {
                // The hash first: an entry without its hash is not looked at, one with another is damaged.
                write(
                    &self.dir,
                    &hash_path(&path),
                    blake3::hash(&code).to_hex().as_bytes(),
                )?;
                write(&self.dir, &path, &code)
            });
        if let Err(error) = written {
            tracing::warn!(path = %path.display(), %error, "compiled code could not be cached");
        }
    }
}

fn hash_path(path: &Path) -> PathBuf {
    path.with_extension("cwasm.b3")
}

fn hash_file(path: &Path) -> std::io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finalize())
}

/// A temporary file, then its name: readers see all of it or nothing. Not synced to disk: a torn
/// entry does not match its hash.
fn write(dir: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

fn clear(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let ours = path.extension().is_some_and(|e| e == "cwasm" || e == "b3");
        if ours {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
