//! Guesses: commands and flags of other tools that people try, with what does it here.

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The words, and what to type instead.
const GUESSES: &[(&[&str], &str)] = &[
    (&["check", "lint"], "`fanfold validate SPEC` checks a spec, `fanfold verify SPEC` its tables"),
    (&["build", "exec", "start", "execute", "apply"], "`fanfold run SPEC` runs a pipeline"),
    (&["resume", "continue", "retry"], "`fanfold run SPEC` continues: it asks only what is not recorded"),
    (&["preview", "estimate", "cost", "dry-run"], "`fanfold plan SPEC` shows rows, calls and cost, and sends nothing"),
    (&["eval", "evaluate", "assert"], "`fanfold test SPEC` checks the tables of the last run"),
    (&["compare"], "`fanfold diff OLD NEW` compares two runs or tables"),
    (&["export", "import", "gc"], "`fanfold ledger {word}` does it"),
    (&["prune", "cache", "purge"], "`fanfold clean` deletes old runs, `fanfold ledger gc` answers that no run uses"),
    (&["list", "ls"], "`fanfold runs SPEC` lists the runs, `fanfold models list` the built-in models"),
    (&["pull", "download"], "`fanfold models pull` downloads the built-in models"),
    (&["view", "head", "cat", "open", "print"], "`fanfold show SPEC` shows the rows of a table, and of the calls"),
    (&["log", "logs", "history"], "`fanfold runs SPEC` lists the runs, and what changed between them"),
    (&["trace", "why", "debug"], "`fanfold explain TABLE ROW COLUMN` shows how an answer was made"),
    (&["replay"], "`fanfold run SPEC --replay FILE` answers the calls from a file"),
    (&["new", "create", "setup"], "`fanfold init FOLDER` writes a first spec"),
    (&["graph", "dag"], "`fanfold plan SPEC --format mermaid` draws the stages"),
    (&["docs", "manual", "man"], "`fanfold run --help` explains a command"),
    (&["render", "prompt", "prompts"], "`fanfold plan SPEC --render 3` shows prompts as they would be sent"),
    (&["config", "settings"], "the spec has all settings; `fanfold schema` lists them"),
    (&["annotate", "label", "classify", "extract"], "`fanfold ask FILE` asks one question about every row of a file"),
];

/// Flags, the command that they are typed after (all if empty), the flag that it must have, and what to type instead.
const FLAGS: &[(&[&str], &str, &str, &str)] = &[
    (&["--json", "-j"], "", "format", "write `--format json`"),
    (&["--stage", "--stages", "--only"], "", "select", "write `--select STAGE`"),
    (&["--head", "--first", "--num", "--max-rows"], "", "limit", "write `--limit N`"),
    (&["--random", "--n-samples"], "", "sample", "write `--sample N`"),
    (&["--no-cache", "--force", "--refresh", "--rerun"], "run", "fresh", "`--fresh` repeats every call"),
    (&["--resume", "--continue", "--cache"], "run", "", "a run continues by itself: leave the flag out"),
    (&["--dry-run", "-n"], "plan", "", "a plan sends nothing: leave the flag out"),
    (&["--model", "--models"], "", "set", "`--set models.NAME.model=ID` changes a model for this time"),
    (
        &["--temperature", "--seed", "--max-tokens"],
        "",
        "set",
        "`--set models.NAME.SETTING=VALUE` changes it for this time",
    ),
    (&["--row", "--filter", "--where"], "run", "", "`--rows 7:7` runs one row; `where` of a source keeps some rows"),
    (&["--output", "--out", "-o"], "run", "", "the spec says where tables are written: `path` in `[outputs.NAME]`"),
    (
        &["--concurrency", "--parallel", "--jobs"],
        "run",
        "",
        "set `max_concurrent_calls` of the model's provider in the spec",
    ),
    (&["--budget", "--max-cost"], "run", "", "write a table `[budget]` into the spec, such as `usd = 1.0`"),
];

/// The unknown flag of a command line, with the help for it.
pub(super) fn unknown_flag(error: &clap::Error, typed: &[String], all: &Command) -> Option<(String, String)> {
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = flag.split('=').next().unwrap_or(flag);
    let command = typed.iter().skip(1).find_map(|word| all.find_subcommand(word))?;
    let has = |long: &str| long.is_empty() || command.get_arguments().any(|known| known.get_long() == Some(long));
    let fits = |of: &str| of.is_empty() || of == command.get_name();
    let (.., help) = FLAGS.iter().find(|(flags, of, needs, _)| flags.contains(&flag) && fits(of) && has(needs))?;
    Some((format!("{flag}` of `fanfold {}", command.get_name()), (*help).to_owned()))
}

/// The unknown command of a command line, with the help for it.
pub(super) fn unknown_command(error: &clap::Error) -> Option<(String, String)> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let (_, help) = GUESSES.iter().find(|(words, _)| words.contains(&word.as_str()))?;
    Some((word.clone(), help.replace("{word}", word)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Arguments;
    use super::{FLAGS, GUESSES};

    #[test]
    fn no_flag_that_a_command_has_is_a_guess_for_it() {
        let arguments = Arguments::command();
        for command in arguments.get_subcommands() {
            for known in command.get_arguments() {
                let names =
                    [known.get_long().map(|long| format!("--{long}")), known.get_short().map(|c| format!("-{c}"))];
                for name in names.into_iter().flatten() {
                    let guessed = FLAGS
                        .iter()
                        .find(|(flags, of, ..)| *of == command.get_name() && flags.contains(&name.as_str()));
                    assert!(guessed.is_none(), "{} {name}", command.get_name());
                }
            }
        }
    }

    #[test]
    fn no_guess_is_listed_twice() {
        let mut words: Vec<&str> = GUESSES.iter().flat_map(|(words, _)| *words).copied().collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
    }

    #[test]
    fn no_guess_is_a_command() {
        let arguments = Arguments::command();
        for word in GUESSES.iter().flat_map(|(words, _)| *words) {
            assert!(arguments.find_subcommand(word).is_none(), "{word}");
        }
    }

    #[test]
    fn every_command_that_is_named_exists() {
        let arguments = Arguments::command();
        for (_, help) in GUESSES {
            for name in help.split("`fanfold ").skip(1).filter_map(|rest| rest.split([' ', '`']).next()) {
                assert!(arguments.find_subcommand(name).is_some(), "{name}");
            }
        }
    }
}
