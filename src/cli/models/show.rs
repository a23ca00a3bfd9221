//! The command `fanfold models [SPEC]`.

use std::path::{Path, PathBuf};

use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::load::load_spec;
use crate::cli::output::OutputFormat;
use crate::cli::runtime::{block_on, env};
use crate::cli::terminal::Terminal;
use crate::inventory::{Lack, Surveyed, hints, survey};
use crate::provider::weights::Folders;
use crate::provider::{ConnectContext, Inventory, default_endpoint, memory};
use crate::report::models::{BuiltinReport, ModelsReport};

#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The spec [default: the built-in models, and the Ollama server of this machine or at OLLAMA_HOST].
    #[arg(value_name = "SPEC")]
    spec: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value = "human")]
    format: OutputFormat,
}

impl Show {
    pub(crate) fn run(&self, folders: &Folders, terminal: &Terminal) -> Result<Exit, Failure> {
        let Some(path) = &self.spec else {
            let server = block_on(async { Ok(own_ollama().await) })?;
            self.format.write(&BuiltinReport { folders, ollama: Some(server) }, terminal);
            return Ok(Exit::Ok);
        };
        let spec = load_spec(path, terminal)?;
        let servers = block_on(async { Ok(survey(&spec, &env).await) })?;
        let hints = hints(&spec, &servers, &env, memory());
        let report = ModelsReport { pipeline: spec.name.clone(), servers, hints };
        self.format.write(&report, terminal);
        Ok(if report.missing() == 0 { Exit::Ok } else { Exit::Environment })
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
