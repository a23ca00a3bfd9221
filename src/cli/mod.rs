//! The terminal: the only folder that prints, reads arguments or chooses exit codes. One file per command.
//!
//! Data goes to standard output, everything else to standard error. To add a command, write a file with its arguments
//! (the doc comments are its help) and its `run`, and add it to [`Command`].

mod ask;
mod batches;
mod bench;
mod clean;
mod data;
mod diff;
mod doctor;
mod error;
mod exit;
mod explain;
mod guess;
mod init;
mod ledger;
mod live;
mod load;
mod models;
mod on;
mod only_spec;
mod output;
mod past_run;
mod plan;
mod population;
mod progress;
mod recorded;
mod report;
mod run;
mod runs;
mod runtime;
mod selection;
mod serve;
mod show;
mod signals;
mod status;
mod task;
mod terminal;
mod test;
mod validate;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub(crate) use error::Failure;
pub(crate) use exit::Exit;
pub(crate) use load::load_spec;
pub(crate) use output::OutputFormat;
pub(crate) use terminal::{LogFormat, Terminal};

use crate::spec::schema::schema;

/// Asks language models about every row of a table, and keeps every answer.
#[derive(Debug, Parser)]
#[command(name = "fanfold", version, after_help = exit::HELP, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// When to use colours: auto (on a terminal, unless NO_COLOR is set), always or never.
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN", hide_possible_values = true)]
    color: terminal::When,
    /// Format of standard error: text, or one event per line as JSON.
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORMAT", hide_possible_values = true)]
    log: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Init),
    Ask(ask::Ask),
    Validate(validate::Validate),
    Plan(plan::Plan),
    Run(run::Run),
    Test(test::Test),
    Status(status::Status),
    Batches(batches::Batches),
    Runs(runs::Runs),
    Verify(verify::Verify),
    Diff(diff::Diff),
    Explain(explain::Explain),
    Show(show::Show),
    Report(report::Report),
    Ledger(ledger::Ledger),
    Clean(clean::Clean),
    Population(population::Population),
    Bench(bench::Bench),
    Models(models::Models),
    Task(task::Task),
    Doctor(doctor::Doctor),
    /// Prints the JSON Schema of a spec (draft-07), for editors and CI.
    Schema,
    /// Prints the completion script of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let typed = serve::with_port(arguments);
    let arguments = match Arguments::try_parse_from(&typed) {
        Ok(arguments) => arguments,
        // `--help` and `--version` also end here; their text goes to standard output.
        Err(error) => {
            if let Some(failure) = only_spec::failure(&error) {
                return failure.show(&Terminal::new(terminal::When::Auto, LogFormat::Text)).into();
            }
            if let Some((word, help)) = guess::unknown_command(&error) {
                Terminal::new(terminal::When::Auto, LogFormat::Text)
                    .error(&format!("there is no command `{word}`"), Some(&help));
                return Exit::Spec.into();
            }
            let typed: Vec<String> = typed.iter().map(|word| word.to_string_lossy().into_owned()).collect();
            if let Some((flag, help)) = guess::unknown_flag(&error, &typed, &Arguments::command()) {
                Terminal::new(terminal::When::Auto, LogFormat::Text)
                    .error(&format!("there is no `{flag}`"), Some(&help));
                return Exit::Spec.into();
            }
            let _ = error.print();
            return if error.use_stderr() { Exit::Spec } else { Exit::Ok }.into();
        }
    };
    let terminal = Terminal::new(arguments.color, arguments.log);
    runtime::raise_open_files();
    runtime::ignore_file_size_signal();
    let exit = arguments.command.run(&terminal).unwrap_or_else(|failure| failure.show(&terminal));
    match terminal::unprinted() {
        Some(error) => {
            terminal.error(&format!("standard output can't be written: {error}"), None);
            if exit == Exit::Ok { Exit::Environment } else { exit }
        }
        None => exit,
    }
    .into()
}

impl Command {
    fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        match self {
            Command::Init(command) => command.run(terminal),
            Command::Ask(command) => command.run(terminal),
            Command::Validate(command) => command.run(terminal),
            Command::Plan(command) => command.run(terminal),
            Command::Run(command) => command.run(terminal),
            Command::Test(command) => command.run(terminal),
            Command::Runs(command) => command.run(terminal),
            Command::Status(command) => command.run(terminal),
            Command::Batches(command) => command.run(terminal),
            Command::Verify(command) => command.run(terminal),
            Command::Diff(command) => command.run(terminal),
            Command::Explain(command) => command.run(terminal),
            Command::Show(command) => command.run(terminal),
            Command::Report(command) => command.run(terminal),
            Command::Ledger(command) => command.run(terminal),
            Command::Clean(command) => command.run(terminal),
            Command::Population(command) => command.run(terminal),
            Command::Bench(command) => command.run(terminal),
            Command::Models(command) => command.run(terminal),
            Command::Task(command) => command.run(terminal),
            Command::Doctor(command) => command.run(terminal),
            Command::Schema => {
                output::write_json(&schema(), terminal);
                Ok(Exit::Ok)
            }
            Command::Completions { shell } => {
                let mut text = Vec::new();
                clap_complete::generate(shell, &mut Arguments::command(), "fanfold", &mut text);
                terminal.data(&String::from_utf8_lossy(&text));
                Ok(Exit::Ok)
            }
        }
    }
}
