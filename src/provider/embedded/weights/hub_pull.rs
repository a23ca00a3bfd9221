//! Fetches a file of a model hub into the hub's cache, and continues a download that was interrupted.
//!
//! The protocol is that of the hub's own tools: `HEAD` of a file answers with the commit (`X-Repo-Commit`), the hash
//! (`X-Linked-Etag`) and the size (`X-Linked-Size`); `GET` redirects to the bytes, from an offset if `Range` asks for it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;

use super::hash::{Hash, megabytes, short};
use super::hub::{Hub, HubFile, is_part, is_sha256};
use crate::name::nearest;
use crate::provider::address::Address;
use crate::provider::failure::{CallError, CallErrorKind};
use crate::provider::http::download::{Body, Downloads, Head};

/// After a lost connection. A connection that brought bytes starts the list anew.
const WAITS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
const LONGEST_LIST: usize = 4 << 20;

/// A version of a file on the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    commit: String,
    /// The SHA-256 of a large file; the git hash of a small one.
    etag: String,
    bytes: u64,
}

impl Version {
    pub(crate) fn sha256(&self) -> Option<&str> {
        Some(self.etag.as_str()).filter(|etag| is_sha256(etag))
    }
}

/// One file on its hub.
struct Remote<'a> {
    hub: &'a Hub,
    file: &'a HubFile,
    address: Address,
    downloads: Downloads,
}

/// Asks the hub which version of the file its revision has. Sends one request.
#[cfg(feature = "embedded")]
pub(crate) async fn version(hub: &Hub, file: &HubFile) -> Result<Version, CallError> {
    Remote::new(hub, file)?.version().await
}

/// Fetches a version, by default the one that the revision has now. `told` receives the bytes so far and the total.
/// Of two concurrent pulls, one fetches and the other waits.
pub(crate) async fn pull(
    hub: &Hub,
    file: &HubFile,
    version: Option<Version>,
    told: &dyn Fn(u64, u64),
) -> Result<PathBuf, CallError> {
    let remote = Remote::new(hub, file)?;
    let version = match version {
        Some(version) => version,
        None => remote.version().await?,
    };
    let blob = hub.folder(file).join("blobs").join(&version.etag);
    let lock = hub.lock(file, &version.etag);
    let unwritable = |error: io::Error| remote.unwritable(&error, version.bytes);
    for folder in [blob.parent(), lock.parent()].into_iter().flatten() {
        fs::create_dir_all(folder).map_err(unwritable)?;
    }
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(lock).map_err(unwritable)?;
    // Some network disks have no locks. There, two concurrent pulls only cost a second download.
    let _ = lock.lock();
    if !blob.is_file() {
        remote.download(&version, &blob, told).await?;
    }
    let path = hub.snapshot(file, &version.commit);
    link(&blob, &path).map_err(unwritable)?;
    if file.revision != version.commit {
        let branch = hub.folder(file).join("refs").join(&file.revision);
        fs::create_dir_all(branch.parent().unwrap_or(&branch)).map_err(unwritable)?;
        fs::write(branch, &version.commit).map_err(unwritable)?;
    }
    Ok(path)
}

impl<'a> Remote<'a> {
    fn new(hub: &'a Hub, file: &'a HubFile) -> Result<Self, CallError> {
        let bad = |why: String| CallError::new(CallErrorKind::Rejected, format!("HF_ENDPOINT: {why}"));
        let address = Address::parse_like(&hub.address, "https://huggingface.co").map_err(bad)?;
        if hub.is_offline {
            let message = format!("{file} is not on this machine, and HF_HUB_OFFLINE forbids to fetch it");
            return Err(CallError::new(CallErrorKind::Unavailable { retry_after: None }, message));
        }
        let bad = |why: String| CallError::new(CallErrorKind::Rejected, why);
        let downloads = Downloads::new(&address, hub.token().as_ref()).map_err(bad)?;
        Ok(Remote { hub, file, address, downloads })
    }

    fn url(&self, revision: &str) -> Url {
        self.address.join(&format!("{}/resolve/{revision}/{}", self.file.repository, self.file.file))
    }

    async fn version(&self) -> Result<Version, CallError> {
        let head = self.downloads.head(self.url(&self.file.revision)).await?;
        if head.status >= 400 {
            return Err(self.refused(&head).await);
        }
        let text = |names: [&str; 2]| names.into_iter().find_map(|name| head.get(name));
        let etag = text(["x-linked-etag", "etag"]).map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
        let bytes = text(["x-linked-size", "content-length"]).and_then(|size| size.parse().ok());
        match (head.get("x-repo-commit").filter(|name| is_part(name)), etag.filter(|name| is_part(name)), bytes) {
            (Some(commit), Some(etag), Some(bytes)) => Ok(Version { commit: commit.into(), etag: etag.into(), bytes }),
            _ => {
                let host = self.address.host();
                Err(failed(format!("{host} does not answer as a model hub does; HF_ENDPOINT is the hub's address")))
            }
        }
    }

    /// Downloads into `<blob>.incomplete`, which gets the blob's name after its hash was checked.
    async fn download(&self, version: &Version, blob: &Path, told: &dyn Fn(u64, u64)) -> Result<(), CallError> {
        let part = blob.with_extension("incomplete");
        let unwritable = |error: io::Error| self.unwritable(&error, version.bytes);
        let mut part = Part::open(&part).map_err(unwritable)?;
        let (mut waits, mut last) = (WAITS.iter(), part.bytes);
        told(part.bytes, version.bytes);
        while part.bytes < version.bytes {
            let Err(error) = self.receive(version, &mut part, told).await else { continue };
            if !matches!(error.kind, CallErrorKind::Unavailable { .. } | CallErrorKind::Lost | CallErrorKind::Timeout) {
                return Err(error);
            }
            if part.bytes > last {
                (waits, last) = (WAITS.iter(), part.bytes);
            }
            let Some(wait) = waits.next() else {
                let (done, all) = (megabytes(part.bytes), megabytes(version.bytes));
                let kept = format!("; {done} of {all} are kept, and the next try continues there");
                return Err(CallError::new(error.kind, error.message + &kept));
            };
            tokio::time::sleep(*wait).await;
        }
        let found = part.hash.clone().hex();
        if part.bytes != version.bytes || version.sha256().is_some_and(|expected| expected != found) {
            let _ = fs::remove_file(&part.path);
            let (found, expected) = (short(&found), short(&version.etag));
            return Err(failed(format!(
                "{} was not received correctly: its SHA-256 is {found}, not {expected}; the file was deleted, run again",
                self.file
            )));
        }
        part.file.sync_all().and_then(|()| fs::rename(&part.path, blob)).map_err(unwritable)
    }

    async fn receive(&self, version: &Version, part: &mut Part, told: &dyn Fn(u64, u64)) -> Result<(), CallError> {
        let (head, mut body): (Head, Body) = self.downloads.get(self.url(&version.commit), part.bytes).await?;
        let unwritable = |error: io::Error| self.unwritable(&error, version.bytes);
        match head.status {
            // The server can't begin within the file.
            200 if part.bytes > 0 => part.restart().map_err(unwritable)?,
            200 | 206 => {}
            _ => return Err(self.refused(&head).await),
        }
        while let Some(bytes) = body.next().await? {
            part.add(bytes.as_ref()).map_err(unwritable)?;
            if part.bytes > version.bytes {
                return Err(failed(format!(
                    "{} is longer than the {} bytes that the hub states",
                    self.file, version.bytes
                )));
            }
            told(part.bytes, version.bytes);
        }
        match part.bytes < version.bytes {
            true => Err(CallError::new(CallErrorKind::Lost, format!("the download of {} ended early", self.file))),
            false => Ok(()),
        }
    }

    async fn refused(&self, head: &Head) -> CallError {
        let (HubFile { repository, revision, file }, host) = (self.file, self.address.host());
        let page = format!("the page of {repository} on {host}");
        let unknown = |message: String| CallError::new(CallErrorKind::UnknownModel, message);
        let has_token = self.hub.token().is_some();
        match (head.status, head.get("x-error-code").unwrap_or_default()) {
            (_, "EntryNotFound") => unknown(format!("{repository} has no file {file}{}", self.others().await)),
            (_, "RevisionNotFound") => unknown(format!("{repository} has no revision `{revision}`")),
            (401 | 403, _) | (_, "GatedRepo") if has_token => CallError::new(
                CallErrorKind::Unauthorized,
                format!("the token may not read {repository}; accept its terms on {page}, or check the token"),
            ),
            (401 | 403, _) | (_, "GatedRepo") => CallError::new(
                CallErrorKind::Unauthorized,
                format!("{repository} does not exist, or needs a token: see {page}, and set HF_TOKEN"),
            ),
            (404, _) => unknown(format!("{repository} or its file {file} does not exist: see {page}")),
            (status, _) => failed(format!("{host} refuses {} with status {status}", self.file)),
        }
    }

    /// The weights that the repository has.
    async fn others(&self) -> String {
        let HubFile { repository, revision, file } = self.file;
        let url = self.address.join(&format!("api/models/{repository}/revision/{revision}"));
        let Ok((head, mut body)) = self.downloads.get(url, 0).await else { return String::new() };
        let mut text = Vec::new();
        while let Ok(Some(bytes)) = body.next().await {
            text.extend_from_slice(bytes.as_ref());
            if text.len() > LONGEST_LIST || head.status != 200 {
                return String::new();
            }
        }
        let list: Value = serde_json::from_slice(&text).unwrap_or_default();
        let names = list["siblings"].as_array().into_iter().flatten().filter_map(|entry| entry["rfilename"].as_str());
        let weights: Vec<&str> = names.filter(|name| name.ends_with(".gguf")).collect();
        match (nearest(file, weights.iter().copied()), weights.as_slice()) {
            (Some(meant), _) => format!("; did you mean {meant}?"),
            (None, []) => "; it has no `.gguf` file".to_owned(),
            (None, weights) => format!("; it has {}", weights.join(", ")),
        }
    }

    fn unwritable(&self, error: &io::Error, bytes: u64) -> CallError {
        let folder = self.hub.cache.display();
        let why = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!(" {} are needed,", megabytes(bytes)),
            _ => String::new(),
        };
        failed(format!("{folder} can't be written: {error};{why} set HF_HUB_CACHE to another folder"))
    }
}

fn failed(message: String) -> CallError {
    CallError::new(CallErrorKind::Rejected, message)
}

/// A file that is being received.
struct Part {
    path: PathBuf,
    file: File,
    hash: Hash,
    bytes: u64,
}

impl Part {
    fn open(path: &Path) -> io::Result<Part> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut part = Part { path: path.to_owned(), file, hash: Hash::default(), bytes: 0 };
        let mut block = vec![0; 1 << 18];
        while let n @ 1.. = part.file.read(&mut block)? {
            part.hash.update(&block[..n]);
            part.bytes += n as u64;
        }
        Ok(part)
    }

    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        (self.hash, self.bytes) = (Hash::default(), 0);
        Ok(())
    }
}

/// Links the snapshot's file to the blob, relative as the hub's tools do; where links are not allowed, moves the blob.
fn link(blob: &Path, path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    if path.is_file() {
        return Ok(());
    }
    let _ = fs::remove_file(path);
    #[cfg(unix)]
    {
        let root = blob.parent().and_then(Path::parent).unwrap_or(blob);
        let depth = folder.strip_prefix(root).map_or(0, |inner| inner.components().count());
        let up: PathBuf = std::iter::repeat_n("..", depth).collect();
        let name = blob.file_name().unwrap_or_default();
        if std::os::unix::fs::symlink(up.join("blobs").join(name), path).is_ok() {
            return Ok(());
        }
    }
    fs::rename(blob, path)
}
