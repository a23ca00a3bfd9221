//! The terminal: the only folder that prints, reads arguments or picks exit codes. A file per command.
//!
//! Data goes to standard output, everything else to standard error. To add a command: a file with its arguments (the
//! help is the doc comment) and its `run`, and a line in [`Command`].

mod bench;
pub mod diagnostics;
mod diff;
mod exit;
mod explain;
mod init;
mod ledger;
mod load;
mod locking;
mod models;
mod plan;
mod population;
mod progress;
mod run;
mod schema;
mod signals;
mod standing;
mod status;
mod terminal;
mod test;
mod validate;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use exit::Exit;
use terminal::Terminal;

/// Runs language models over tables, as a pipeline spec declares.
#[derive(Debug, Parser)]
#[command(name = "fanfold", version, after_help = exit::HELP, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Colours: on a terminal, always or never (NO_COLOR is honoured).
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: terminal::When,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Validate(validate::Validate),
    Plan(plan::Plan),
    Run(run::Run),
    Test(test::Test),
    Status(status::Status),
    Verify(verify::Verify),
    Diff(diff::Diff),
    Explain(explain::Explain),
    Ledger(ledger::Ledger),
    Population(population::Population),
    Bench(bench::Bench),
    Models(models::Models),
    Schema(schema::Schema),
    Completions(Completions),
}

/// Prints the completions of a shell.
#[derive(Debug, clap::Args)]
struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

/// Runs the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // Help and version are no errors and go to standard output; clap tells them apart.
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Spec } else { Exit::Ok }.into();
        }
    };
    let terminal = Terminal::new(arguments.color);
    let exit = match arguments.command {
        Command::Init(command) => command.run(&terminal),
        Command::Validate(command) => command.run(&terminal),
        Command::Plan(command) => command.run(&terminal),
        Command::Run(command) => command.run(&terminal),
        Command::Test(command) => command.run(&terminal),
        Command::Status(command) => command.run(&terminal),
        Command::Verify(command) => command.run(&terminal),
        Command::Diff(command) => command.run(&terminal),
        Command::Explain(command) => command.run(&terminal),
        Command::Ledger(command) => command.run(&terminal),
        Command::Population(command) => command.run(&terminal),
        Command::Bench(command) => command.run(&terminal),
        Command::Models(command) => command.run(&terminal),
        Command::Schema(command) => command.run(&terminal),
        Command::Completions(command) => {
            let mut text = Vec::new();
            clap_complete::generate(command.shell, &mut Arguments::command(), "fanfold", &mut text);
            terminal.data(&String::from_utf8_lossy(&text));
            Exit::Ok
        }
    };
    exit.into()
}
