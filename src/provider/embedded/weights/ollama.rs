//! Ollama's stores: a manifest per name, and blobs that are named by their SHA-256.
//!
//! ```text
//! models/
//!   manifests/registry.ollama.ai/library/llama3.2/1b     JSON: layers with their type and digest
//!   manifests-v2/ollama.com/library/llama3.2/1b          the same in newer versions, often a link to a blob
//!   blobs/sha256-<hex>                                   the weights, among others
//! ```
//!
//! Names are parsed as in Ollama's `types/model/name.go`. Stores are untrusted: manifests and digests are checked.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::builtin::{BUILTIN, Located};
use crate::name::{listed, nearest};
use crate::provider::endpoint::EndpointError;

const REGISTRY: &str = "registry.ollama.ai";
const REGISTRY_V2: &str = "ollama.com";

const LONGEST_MANIFEST: u64 = 1 << 20;
/// The most characters of parameters in a note.
const SHOWN: usize = 300;

const WEIGHTS: &str = "application/vnd.ollama.image.model";
const ADAPTER: &str = "application/vnd.ollama.image.adapter";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name<'a> {
    registry: &'a str,
    namespace: &'a str,
    model: &'a str,
    tag: &'a str,
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

pub(super) fn find(id: &str, stores: &[PathBuf]) -> Result<Located, EndpointError> {
    let Some(name) = Name::parse(id) else {
        let message =
            format!("`{id}` is not a model: neither a built-in one, nor a `.gguf` file, nor a name that Ollama allows");
        return Err(EndpointError::new(message).help(suggestion(id)));
    };
    let mut closed = Vec::new();
    if let Some((manifest, store)) = first_manifest(&name, stores, &mut closed) {
        return weights(id, &manifest, store);
    }
    let suggestion = suggestion(id);
    let or = if suggestion.ends_with('?') { " Else" } else { ";" };
    let mut help = format!("{suggestion}{or} `ollama pull {id}` fetches it if Ollama has it");
    if let Some(first) = stores.first() {
        let more = if stores.len() > 1 { " and Ollama's other places" } else { "" };
        help.push_str(&format!(" (looked in {}{more})", first.display()));
    }
    for reason in closed {
        help.push_str("; ");
        help.push_str(&reason);
    }
    Err(EndpointError::new(format!("the weights of `{id}` are not on this machine")).help(help))
}

/// Whether a store has a manifest of this name, good or not.
pub(super) fn is_pulled(id: &str, stores: &[PathBuf]) -> bool {
    Name::parse(id).is_some_and(|name| first_manifest(&name, stores, &mut Vec::new()).is_some())
}

/// The first manifest of this name, and its store. `closed` gets the stores that can't be read, each with the reason.
fn first_manifest<'a>(name: &Name<'_>, stores: &'a [PathBuf], closed: &mut Vec<String>) -> Option<(PathBuf, &'a Path)> {
    stores.iter().find_map(|store| match name.manifest(store) {
        Ok(path) => path.map(|path| (path, store.as_path())),
        Err(error) => {
            closed.push(format!("{} can't be read: {error}", store.display()));
            None
        }
    })
}

fn suggestion(id: &str) -> String {
    let names = BUILTIN.iter().flat_map(|row| row.names).copied();
    match nearest(id, names) {
        Some(meant) => format!("did you mean `{meant}`, which is built in?"),
        None => {
            let names = listed(BUILTIN.iter().map(|row| row.name()));
            format!("built in: {names}; the name of a file ends in `.gguf`")
        }
    }
}

impl<'a> Name<'a> {
    /// Parses `[registry/][namespace/]model[:tag]`; `None` if Ollama refuses the name.
    fn parse(id: &'a str) -> Option<Self> {
        let (path, tag) = match id.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (id, "latest"),
        };
        let parts: Vec<&str> = path.split('/').collect();
        let (registry, namespace, model) = match parts[..] {
            [model] => (REGISTRY, "library", model),
            [namespace, model] => (REGISTRY, namespace, model),
            [registry, namespace, model] => (registry, namespace, model),
            _ => return None,
        };
        let name = Name { registry, namespace, model, tag };
        // A registry may have a port, except on Windows, where a colon would refer to another drive.
        let marks = if cfg!(windows) { "." } else { ".:" };
        let good = is_part(registry, 350, marks) && is_part(namespace, 80, "") && is_part(model, 80, ".");
        (good && is_part(tag, 80, ".")).then_some(name)
    }

    fn manifest(&self, store: &Path) -> io::Result<Option<PathBuf>> {
        let newer = if self.registry.eq_ignore_ascii_case(REGISTRY) { REGISTRY_V2 } else { self.registry };
        for (folder, registry) in [("manifests-v2", newer), ("manifests", self.registry)] {
            let mut path = Some(store.join(folder));
            for part in [registry, self.namespace, self.model, self.tag] {
                path = match path {
                    Some(folder) => entry(&folder, part)?,
                    None => None,
                };
            }
            if path.is_some() {
                return Ok(path);
            }
        }
        Ok(None)
    }
}

/// A part has at most `longest` ASCII letters, digits, `_`, `-` or `also`. The first is a letter, digit or `_`.
fn is_part(part: &str, longest: usize, also: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    part.len() <= longest && part.starts_with(word) && part.chars().all(|c| word(c) || c == '-' || also.contains(c))
}

/// Prefers the same case, but ignores case as Ollama does.
fn entry(folder: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let gone = |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    match fs::symlink_metadata(folder.join(name)) {
        Ok(_) => return Ok(Some(folder.join(name))),
        Err(error) if gone(&error) => {}
        Err(error) => return Err(error),
    }
    let entries = match fs::read_dir(folder) {
        Err(error) if gone(&error) => return Ok(None),
        entries => entries?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let found = names.filter(|other| other.eq_ignore_ascii_case(name)).min();
    Ok(found.map(|found| folder.join(found)))
}

fn weights(id: &str, manifest: &Path, store: &Path) -> Result<Located, EndpointError> {
    let pull = format!("`ollama pull {id}` fetches it again");
    let wrong = |what: &str| {
        EndpointError::new(format!("Ollama's manifest of `{id}` {what}: {}", manifest.display())).help(pull.clone())
    };
    let manifest = read(manifest).map_err(|error| wrong(&format!("can't be read ({error})")))?;
    let manifest: Manifest = serde_json::from_slice(&manifest).map_err(|_| wrong("is not what Ollama writes"))?;
    if manifest.layers.iter().any(|layer| layer.media_type == ADAPTER) {
        return Err(wrong("adds an adapter to its weights, which only Ollama itself can do")
            .help("use the model that it was made from, or the provider `ollama`"));
    }
    let layers: Vec<&Layer> = manifest.layers.iter().filter(|layer| layer.media_type == WEIGHTS).collect();
    let layer = match layers[..] {
        [layer] => layer,
        [] => return Err(wrong("names no weights in one GGUF file").help("use the provider `ollama` for it")),
        _ => return Err(wrong("names weights in several files").help("use the provider `ollama` for it")),
    };
    let Some(digest) = layer.digest() else { return Err(wrong("has a digest that is none")) };
    let path = blob(store, &digest);
    match fs::metadata(&path) {
        Ok(found) if found.is_file() => {
            let unused = manifest.layers.iter().filter_map(|layer| unused(layer, store)).collect();
            Ok(Located { path, sha256: Some(digest), origin: None, unused })
        }
        Ok(_) => Err(wrong("names weights that are not a file")),
        Err(error) => {
            let message = format!("the weights of Ollama's `{id}` can't be read: {error}: {}", path.display());
            Err(EndpointError::new(message).help(pull))
        }
    }
}

impl Layer {
    fn digest(&self) -> Option<String> {
        let digest = self.digest.strip_prefix("sha256:")?.to_ascii_lowercase();
        (digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())).then_some(digest)
    }
}

fn blob(store: &Path, digest: &str) -> PathBuf {
    store.join("blobs").join(format!("sha256-{digest}"))
}

/// The instruction of a Modelfile that a layer holds, with its values if they are parameters.
fn unused(layer: &Layer, store: &Path) -> Option<String> {
    let kind = layer.media_type.strip_prefix("application/vnd.ollama.image.")?;
    let instruction = match kind {
        "template" | "prompt" => "TEMPLATE",
        "system" => "SYSTEM",
        "messages" => "MESSAGE",
        "params" => "PARAMETER",
        "projector" => return Some("a projector for images".to_owned()),
        _ => return None,
    };
    let parameters = || -> Option<String> {
        let bytes = read(&blob(store, &layer.digest()?)).ok()?;
        let parameters: Map<String, Value> = serde_json::from_slice(&bytes).ok()?;
        let shown = parameters.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ");
        Some(format!(" ({})", shown.chars().take(SHOWN).collect::<String>()))
    };
    let values = if kind == "params" { parameters() } else { None };
    Some(format!("{instruction}{}", values.unwrap_or_default()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Checked before the file is opened: opening a pipe would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST_MANIFEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_MANIFEST { Err(io::Error::other("it is too long")) } else { Ok(bytes) }
}

#[cfg(test)]
#[path = "ollama_tests.rs"]
mod tests;
