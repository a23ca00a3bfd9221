//! Guesses: commands of other tools that people try, with the command that does it here.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The words, and what to type instead.
const GUESSES: &[(&[&str], &str)] = &[
    (&["check", "lint", "doctor"], "`fanfold validate SPEC` checks a spec, `fanfold verify SPEC` its tables"),
    (&["build", "exec", "start", "execute", "apply"], "`fanfold run SPEC` runs a pipeline"),
    (&["resume", "continue", "retry"], "`fanfold run SPEC` continues: it asks only what is not recorded"),
    (&["preview", "estimate", "cost", "dry-run"], "`fanfold plan SPEC` shows rows, calls and cost, and sends nothing"),
    (&["eval", "evaluate", "assert"], "`fanfold test SPEC` checks the tables of the last run"),
    (&["compare"], "`fanfold diff OLD NEW` compares two runs or tables"),
    (&["export", "import", "gc"], "`fanfold ledger {word}` does it"),
    (&["clean", "prune", "cache", "purge"], "`fanfold ledger gc` deletes recorded answers that no run uses"),
    (&["list", "ls", "pull"], "`fanfold models {list}` does it"),
    (&["view", "head", "cat", "open", "print"], "`fanfold show SPEC` shows the rows of a table, and of the calls"),
    (&["log", "logs", "history"], "`fanfold runs SPEC` lists the runs, and what changed between them"),
    (&["trace", "why", "debug"], "`fanfold explain TABLE ROW COLUMN` shows how an answer was made"),
    (&["replay"], "`fanfold run SPEC --replay FILE` answers the calls from a file"),
    (&["new", "create", "setup"], "`fanfold init FOLDER` writes a first spec"),
    (&["graph", "dag"], "`fanfold plan SPEC --format mermaid` draws the stages"),
];

/// The unknown command of a command line, with the help for it.
pub(super) fn unknown_command(error: &clap::Error) -> Option<(String, String)> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else { return None };
    let (_, help) = GUESSES.iter().find(|(words, _)| words.contains(&word.as_str()))?;
    let list = if word == "pull" { "pull" } else { "list" };
    Some((word.clone(), help.replace("{word}", word).replace("{list}", list)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Arguments;
    use super::GUESSES;

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
