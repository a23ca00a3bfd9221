//! Files of a model hub: their names, and the cache that the hub's own tools share.
//!
//! ```text
//! hub/
//!   models--bartowski--Llama-3.2-1B-Instruct-GGUF/
//!     refs/main                       the commit of a branch
//!     snapshots/<commit>/<file>       a link to the blob
//!     blobs/<sha256>                  the file; <sha256>.incomplete during a download
//!   .locks/<folder>/<sha256>.lock
//! ```
//!
//! The layout is documented at <https://huggingface.co/docs/hub/local-cache>. A cache is untrusted: names are checked.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::provider::endpoint::{EndpointError, Env};
use crate::provider::http::Secret;

pub(super) const PREFIX: &str = "hf:";
const FORM: &str = "a file of a hub is `hf:owner/repository/file.gguf`, or `hf:owner/repository@revision/file.gguf`";

/// `hf:owner/repository@revision/folder/file.gguf`; without a revision, it is `main`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HubFile {
    pub(super) repository: String,
    pub(super) revision: String,
    pub(super) file: String,
}

impl fmt::Display for HubFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HubFile { repository, revision, file } = self;
        match revision.as_str() {
            MAIN => write!(f, "{PREFIX}{repository}/{file}"),
            _ => write!(f, "{PREFIX}{repository}@{revision}/{file}"),
        }
    }
}

const MAIN: &str = "main";

impl HubFile {
    /// `None` if the id does not begin with `hf:`.
    pub(crate) fn parse(id: &str) -> Option<Result<HubFile, EndpointError>> {
        let rest = id.strip_prefix(PREFIX)?;
        let wrong = |what: &str| EndpointError::new(format!("`{id}` {what}")).help(FORM);
        let mut parts = rest.splitn(3, '/');
        let (Some(owner), Some(name), Some(file)) = (parts.next(), parts.next(), parts.next()) else {
            return Some(Err(wrong("names no file of a repository")));
        };
        let (name, revision) = name.split_once('@').unwrap_or((name, MAIN));
        let is_name = |name: &str| is_part(name) && !name.contains("--");
        let found = if ![owner, name].into_iter().all(is_name) || !is_part(revision) {
            Err(wrong("has a name or a revision that no repository can have"))
        } else if !file.split('/').all(is_file) || !file.ends_with(".gguf") {
            Err(wrong("does not end with the path of a `.gguf` file"))
        } else if is_split(file) {
            let help = "join the parts with `llama-gguf-split --merge`, and name the new file by its path";
            Err(EndpointError::new(format!("`{id}` is one part of a model, which can't be used alone")).help(help))
        } else {
            Ok(HubFile { repository: format!("{owner}/{name}"), revision: revision.into(), file: file.into() })
        };
        Some(found)
    }

    /// The encoding in the name of the file, such as `Q4_K_M`: the last part that can be one.
    #[cfg(any(test, feature = "embedded"))]
    pub(crate) fn quantization(&self) -> Option<String> {
        let stem = self.file.strip_suffix(".gguf")?;
        let name = stem.rsplit(['-', '.', '/']).next()?.to_ascii_uppercase();
        let (kind, bits) = name.split_at(name.find(|c: char| c.is_ascii_digit())?);
        let is_kind = matches!(kind, "Q" | "IQ" | "TQ" | "F" | "BF" | "MXFP");
        (is_kind && bits.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(name)
    }

    fn folder(&self) -> String {
        format!("models--{}", self.repository.replace('/', "--"))
    }
}

/// Whether a name can be part of a path and of an address.
pub(super) fn is_part(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=128).contains(&name.len()) && name.chars().all(is_letter) && !name.starts_with(['.', '-'])
}

fn is_file(part: &str) -> bool {
    let is_letter = |c: char| !c.is_control() && !matches!(c, '\\' | '/' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    !part.is_empty() && part != "." && part != ".." && part.chars().all(is_letter)
}

/// `model-00001-of-00003.gguf`.
fn is_split(file: &str) -> bool {
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let numbers = file.strip_suffix(".gguf").and_then(|stem| stem.rsplit_once("-of-"));
    numbers.is_some_and(|(first, all)| {
        is_number(all) && first.rsplit_once('-').is_some_and(|(_, number)| is_number(number))
    })
}

/// A model hub, and the cache of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hub {
    pub(super) cache: PathBuf,
    pub(super) address: String,
    pub(super) token: Option<Secret>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) is_offline: bool,
}

impl Hub {
    /// The variables are those of the hub's own tools: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN`,
    /// `HF_TOKEN_PATH` and `HF_HUB_OFFLINE`.
    pub(super) fn from_env(env: Env<'_>, home: Option<&Path>) -> Hub {
        let set = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let caches = set("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(home?.join(".cache")));
        let own = set("HF_HOME").map(PathBuf::from).or_else(|| Some(caches?.join("huggingface")));
        let cache = set("HF_HUB_CACHE").or_else(|| set("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        let is_true = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        Hub {
            cache: cache.or_else(|| Some(own.as_ref()?.join("hub"))).unwrap_or_else(|| PathBuf::from("hub")),
            address: set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: set("HF_TOKEN").map(|token| Secret::new(&token)),
            token_file: set("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(own?.join("token"))),
            is_offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().filter_map(set).any(is_true),
        }
    }

    pub(super) fn token(&self) -> Option<Secret> {
        let of_file = || {
            let text = fs::read_to_string(self.token_file.as_ref()?).ok()?;
            Some(Secret::new(&text)).filter(|_| !text.trim().is_empty())
        };
        self.token.clone().or_else(of_file)
    }

    pub(super) fn folder(&self, file: &HubFile) -> PathBuf {
        self.cache.join(file.folder())
    }

    pub(super) fn lock(&self, file: &HubFile, etag: &str) -> PathBuf {
        self.cache.join(".locks").join(file.folder()).join(format!("{etag}.lock"))
    }

    pub(super) fn snapshot(&self, file: &HubFile, commit: &str) -> PathBuf {
        self.folder(file).join("snapshots").join(commit).join(&file.file)
    }

    /// The file in the cache, with its SHA-256 if the name of its blob is one.
    #[cfg(any(test, feature = "embedded"))]
    pub(super) fn find(&self, file: &HubFile) -> Option<(PathBuf, Option<String>)> {
        let of_branch = fs::read_to_string(self.folder(file).join("refs").join(&file.revision)).ok();
        let commit = of_branch.map(|text| text.trim().to_owned()).unwrap_or_else(|| file.revision.clone());
        let path = self.snapshot(file, Some(commit.as_str()).filter(|commit| is_part(commit))?);
        let blob = path.canonicalize().ok().filter(|blob| blob.is_file())?;
        let name = blob.file_name().and_then(|name| name.to_str()).filter(|name| is_sha256(name));
        Some((path, name.map(str::to_owned)))
    }
}

pub(super) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(id: &str) -> Result<HubFile, EndpointError> {
        HubFile::parse(id).unwrap()
    }

    #[test]
    fn names_have_a_repository_a_revision_and_a_file() {
        let file = parse("hf:bartowski/Llama-3.2-1B-Instruct-GGUF/Llama-3.2-1B-Instruct-Q4_K_M.gguf").unwrap();
        assert_eq!(
            (file.repository.as_str(), file.revision.as_str()),
            ("bartowski/Llama-3.2-1B-Instruct-GGUF", "main")
        );
        assert_eq!(file.folder(), "models--bartowski--Llama-3.2-1B-Instruct-GGUF");
        for id in ["hf:a/b@v1.0/sub/c d.gguf", "hf:a/b/c.gguf"] {
            assert_eq!(parse(id).unwrap().to_string(), id);
        }
        assert_eq!(parse("hf:a/b@main/c.gguf").unwrap().to_string(), "hf:a/b/c.gguf");
        assert!(HubFile::parse("a/b/c.gguf").is_none());
    }

    #[test]
    fn names_that_no_file_of_a_hub_can_have() {
        for id in ["hf:", "hf:a/b", "hf:a", "hf:a/b.gguf"] {
            assert!(parse(id).unwrap_err().message.contains("names no file"), "{id}");
        }
        for id in [
            "hf:a//c.gguf",
            "hf:../b/c.gguf",
            "hf:a/b@/c.gguf",
            "hf:a/b@../c.gguf",
            "hf:a/b--c/d.gguf",
            "hf:a b/c/d.gguf",
        ] {
            assert!(parse(id).unwrap_err().message.contains("no repository can have"), "{id}");
        }
        for id in
            ["hf:a/b/", "hf:a/b/../c.gguf", "hf:a/b//c.gguf", "hf:a/b/c.bin", "hf:a/b/c\\d.gguf", "hf:a/b/c?x.gguf"]
        {
            assert!(parse(id).unwrap_err().message.contains("`.gguf` file"), "{id}");
        }
        assert!(parse("hf:a/b/c-00001-of-00002.gguf").unwrap_err().message.contains("one part of a model"));
    }

    #[test]
    fn the_encoding_is_the_last_part_of_the_name() {
        let of = |file: &str| parse(&format!("hf:a/b/{file}.gguf")).unwrap().quantization();
        for (file, name) in [
            ("Llama-3.2-1B-Instruct-Q4_K_M", "Q4_K_M"),
            ("qwen2.5-0.5b-instruct-q8_0", "Q8_0"),
            ("SmolLM2.IQ4_XS", "IQ4_XS"),
            ("gemma/BF16", "BF16"),
            ("a-MXFP4", "MXFP4"),
        ] {
            assert_eq!(of(file).as_deref(), Some(name));
        }
        for file in ["model", "Llama-3.2-1B", "v1", "a-Qx"] {
            assert_eq!(of(file), None, "{file}");
        }
    }

    #[test]
    fn the_variables_are_those_of_the_hub() {
        let hub = |set: &[(&str, &str)]| {
            let env = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            Hub::from_env(&env, Some(Path::new("/home/a")))
        };
        assert_eq!(hub(&[]).cache, Path::new("/home/a/.cache/huggingface/hub"));
        assert_eq!(hub(&[("XDG_CACHE_HOME", "/x")]).cache, Path::new("/x/huggingface/hub"));
        assert_eq!(hub(&[("HF_HOME", "/h"), ("XDG_CACHE_HOME", "/x")]).cache, Path::new("/h/hub"));
        assert_eq!(hub(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]).cache, Path::new("/c"));
        assert_eq!(hub(&[("HF_HOME", "/h")]).token_file.unwrap(), Path::new("/h/token"));
        assert_eq!(hub(&[("HF_TOKEN", " ")]).token, None);
        assert_eq!(format!("{:?}", hub(&[("HF_TOKEN", "hf_x")]).token), "Some(Secret(..))");
        assert!(hub(&[("HF_HUB_OFFLINE", "1")]).is_offline && !hub(&[("HF_HUB_OFFLINE", "0")]).is_offline);
    }
}
