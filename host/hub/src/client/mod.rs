//! A client of model hubs: the endpoints that the `huggingface_hub` library uses, at any address.

mod download;
mod http;

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::Value;

use crate::error::{HubError, Result};
use crate::names;
use http::{Answer, Http};

/// The hub that is meant where `HF_ENDPOINT` says nothing.
const DEFAULT: &str = "https://huggingface.co";
/// The revision that is meant where none is named.
pub const MAIN: &str = "main";
/// An answer of the interface is smaller than this.
const LONGEST_LISTING: u64 = 64 << 20;

/// How a hub is reached.
#[derive(Clone)]
pub struct HubOptions {
    /// Its address.
    pub endpoint: String,
    /// Of the account that asks.
    pub token: Option<String>,
    /// Tries without any progress before a download is given up.
    pub tries: u32,
    /// Before the second try; doubled each time.
    pub pause: Duration,
}

impl HubOptions {
    /// As the environment says: `HF_ENDPOINT`, `HF_TOKEN`.
    #[must_use]
    pub fn from_environment() -> Self {
        let variable = |name: &str| {
            let value = std::env::var(name).ok()?;
            let value = value.trim().to_owned();
            (!value.is_empty()).then_some(value)
        };
        Self {
            endpoint: variable("HF_ENDPOINT").unwrap_or_else(|| DEFAULT.to_owned()),
            token: variable("HF_TOKEN"),
            tries: 5,
            pause: Duration::from_millis(500),
        }
    }
}

impl std::fmt::Debug for HubOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HubOptions")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

/// A file of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its path in the repository.
    pub name: String,
    /// Bytes, where the hub says so.
    pub size: Option<u64>,
    /// Of its bytes, for what is kept in large-file storage.
    pub sha256: Option<String>,
    /// Of its bytes as a git blob, for everything else.
    pub git_sha1: Option<String>,
}

/// A repository of a model at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// `ORG/NAME`.
    pub id: String,
    /// The commit.
    pub commit: String,
    /// Its files.
    pub files: Vec<RemoteFile>,
}

impl Repository {
    /// The file of that name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// A hub.
#[derive(Debug)]
pub struct Hub {
    http: Http,
    tries: u32,
    pause: Duration,
}

impl Hub {
    /// The hub at an address.
    ///
    /// # Errors
    /// [`HubError::Invalid`] for an address that is none.
    pub fn new(options: HubOptions) -> Result<Self> {
        Ok(Self {
            http: Http::new(&options.endpoint, options.token)?,
            tries: options.tries.max(1),
            pause: options.pause,
        })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> &str {
        self.http.address()
    }

    /// The repository of a model, `ORG/NAME`, at a branch, tag or commit.
    ///
    /// # Errors
    /// [`HubError::NotFound`], [`HubError::Denied`], [`HubError::Hub`].
    pub fn repository(&self, id: &str, revision: Option<&str>) -> Result<Repository> {
        check_id(id)?;
        let revision = revision.unwrap_or(MAIN);
        check_revision(revision)?;
        let path = format!(
            "/api/models/{id}/revision/{}?blobs=true",
            http::encode(revision)
        );
        let what = format!("model `{id}` at revision `{revision}`");
        let answer = self.ask(&path, &what)?;
        let body = self.whole(answer, LONGEST_LISTING, &what)?;
        let value: Value = serde_json::from_slice(&body).map_err(|error| {
            self.not_a_hub(&format!("what it says of {what} is no JSON: {error}"))
        })?;
        let commit = value["sha"].as_str();
        let files = value["siblings"].as_array();
        let (Some(commit), Some(files)) = (commit, files) else {
            return Err(self.not_a_hub(&format!("it does not list the files of {what}")));
        };
        check_revision(commit)?;
        Ok(Repository {
            id: id.to_owned(),
            commit: commit.to_owned(),
            files: files.iter().filter_map(remote_file).collect(),
        })
    }

    /// Downloads a file of a repository, and goes on where it was when the connection is cut. The bytes
    /// are compared with the hub's checksum before this returns. `progress` is told the bytes of each
    /// piece and answers whether to go on.
    ///
    /// # Errors
    /// [`HubError::Checksum`]; [`HubError::Hub`] after several tries without progress; what the sink
    /// says; [`HubError::Cancelled`].
    pub fn download(
        &self,
        repository: &Repository,
        file: &RemoteFile,
        sink: &mut dyn Write,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<()> {
        self.download_rest(repository, file, &mut std::io::empty(), sink, progress)
    }

    /// As [`Hub::download`] for a file of which earlier tries have left `begun`: the sink gets what comes
    /// after it, and the checksum is that of both.
    ///
    /// # Errors
    /// As [`Hub::download`]; what reading the beginning says.
    pub fn download_rest(
        &self,
        repository: &Repository,
        file: &RemoteFile,
        begun: &mut dyn Read,
        sink: &mut dyn Write,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<()> {
        names::check(&repository.id, &file.name)?;
        let path = format!(
            "/{}/resolve/{}/{}",
            repository.id,
            http::encode(&repository.commit),
            http::encode(&file.name)
        );
        download::run(self, &path, file, begun, sink, progress)
    }

    /// A small file as a whole.
    ///
    /// # Errors
    /// As [`Hub::download`]; a file of more than `limit` bytes.
    pub fn read(&self, repository: &Repository, file: &RemoteFile, limit: u64) -> Result<Vec<u8>> {
        if file.size.is_some_and(|size| size > limit) {
            return Err(HubError::file(
                &file.name,
                format!("it has more than {limit} bytes"),
            ));
        }
        let mut bytes = Vec::new();
        let mut read = 0;
        let done = self.download(repository, file, &mut bytes, &mut |more| {
            read += more;
            read <= limit
        });
        match done {
            Err(HubError::Cancelled) => Err(HubError::file(
                &file.name,
                format!("it has more than {limit} bytes"),
            )),
            other => other.map(|()| bytes),
        }
    }

    /// One request without a body, tried again while the hub is busy.
    fn ask(&self, path: &str, what: &str) -> Result<Answer> {
        let mut tried = 0;
        loop {
            tried += 1;
            let failure = match self.http.get(path, None) {
                Ok(answer) if answer.status < 300 => return Ok(answer),
                Ok(answer) if !answer.is_temporary() => return Err(self.refused(&answer, what)),
                Ok(answer) => self.busy(&answer, what),
                Err(reason) => self.unreachable(&reason),
            };
            if tried >= self.tries {
                return Err(failure);
            }
            tracing::debug!(%failure, "asking the hub again");
            std::thread::sleep(self.pause_before(tried));
        }
    }

    fn pause_before(&self, tried: u32) -> Duration {
        self.pause * 2_u32.pow(tried.saturating_sub(1).min(6))
    }

    fn whole(&self, answer: Answer, limit: u64, what: &str) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        answer
            .reader
            .take(limit + 1)
            .read_to_end(&mut body)
            .map_err(|error| self.unreachable(&format!("{what}: {error}")))?;
        if body.len() as u64 > limit {
            return Err(self.not_a_hub(&format!("its answer about {what} has no end")));
        }
        Ok(body)
    }

    fn refused(&self, answer: &Answer, what: &str) -> HubError {
        let hub = self.address().to_owned();
        let what = what.to_owned();
        match answer.status {
            status @ (401 | 403) => HubError::Denied {
                hub,
                what,
                status,
                remedy: match self.http.has_token() {
                    true => {
                        "the account of HF_TOKEN may not read it: ask for access on the hub's page \
                             of the model, or check the name"
                            .to_owned()
                    }
                    false => {
                        "set HF_TOKEN to a token of an account that may read it, for the server or \
                              this command; or check the name: hubs refuse what does not exist, too"
                            .to_owned()
                    }
                },
            },
            404 | 410 => HubError::NotFound {
                hub,
                what,
                remedy: "check the name and the revision; HF_ENDPOINT chooses another hub"
                    .to_owned(),
            },
            status => HubError::Hub {
                hub,
                reason: format!("it answered {status} when asked for {what}"),
                remedy: "is HF_ENDPOINT the address of a hub?".to_owned(),
            },
        }
    }

    fn busy(&self, answer: &Answer, what: &str) -> HubError {
        HubError::Hub {
            hub: self.address().to_owned(),
            reason: format!("it answered {} when asked for {what}", answer.status),
            remedy: "try again later".to_owned(),
        }
    }

    fn unreachable(&self, reason: &str) -> HubError {
        HubError::Hub {
            hub: self.address().to_owned(),
            reason: format!("it cannot be reached: {reason}"),
            remedy:
                "check the network and HF_ENDPOINT; import the model from a folder where there is \
                     no network"
                    .to_owned(),
        }
    }

    fn not_a_hub(&self, reason: &str) -> HubError {
        HubError::Hub {
            hub: self.address().to_owned(),
            reason: reason.to_owned(),
            remedy: "is HF_ENDPOINT the address of a hub?".to_owned(),
        }
    }
}

fn remote_file(value: &Value) -> Option<RemoteFile> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let lfs = &value["lfs"];
    Some(RemoteFile {
        name: text(&value["rfilename"])?,
        size: lfs["size"].as_u64().or_else(|| value["size"].as_u64()),
        sha256: text(&lfs["sha256"])
            .or_else(|| text(&lfs["oid"]))
            .filter(|sum| is_hex(sum, 64)),
        git_sha1: match lfs.is_object() {
            // That of a file in large-file storage is the sum of its pointer.
            true => None,
            false => text(&value["blobId"]).filter(|sum| is_hex(sum, 40)),
        },
    })
}

pub(crate) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `ORG/NAME`, or `NAME` for the few that have no owner.
fn check_id(id: &str) -> Result<()> {
    let parts: Vec<&str> = id.split('/').collect();
    let fine = parts.len() <= 2
        && parts.iter().all(|part| {
            !part.is_empty()
                && part.len() <= 96
                && !part.starts_with(['.', '-'])
                && !part.contains("..")
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        });
    match fine {
        true => Ok(()),
        false => Err(HubError::Invalid {
            reason: format!("`{id}` is no model of a hub"),
            remedy: "expected hub:ORG/NAME, for example hub:openai-community/gpt2".to_owned(),
        }),
    }
}

fn check_revision(revision: &str) -> Result<()> {
    let fine = !revision.is_empty()
        && revision.len() <= 200
        && !revision.contains("..")
        && revision.bytes().all(|byte| byte.is_ascii_graphic());
    match fine {
        true => Ok(()),
        false => Err(HubError::Invalid {
            reason: format!("`{}` is no revision", revision.escape_debug()),
            remedy: "expected a branch, a tag or a commit".to_owned(),
        }),
    }
}
