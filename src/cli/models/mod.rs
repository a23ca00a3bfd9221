//! `fanfold models`: the models of servers (`show`) and the built-in weights (`list`, `pull`).

mod list;
mod pull;
mod show;

use super::error::Failure;
use super::exit::Exit;
use super::runtime::env;
use super::terminal::Terminal;
use crate::provider::weights::Folders;

/// Shows which models the servers of a spec have, which of them the spec needs, and settings that do not fit.
///
/// Shows pulled and loaded models with size, quantization and context, if the server reports them. If a model is
/// missing, shows the command that gets it and exits with code 3. Sends no prompts.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Models {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    show: show::Show,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Pull(pull::Pull),
    List(list::List),
}

impl Models {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let folders = Folders::from_env(&env)?;
        match self.action {
            Some(Action::Pull(command)) => command.run(&folders, terminal),
            Some(Action::List(command)) => command.run(&folders, terminal),
            None => self.show.run(&folders, terminal),
        }
    }
}
