//! Exit codes: the result of a command, for scripts.

use std::process::ExitCode;

/// The text about exit codes in `--help`.
pub(crate) const HELP: &str = "Exit codes:
  0    success
  1    finished, but more rows failed than `max_failed` allows, a test failed, the ledger had
       corrupt answers, or `diff` found a difference
  2    the spec or the arguments are invalid; nothing was sent
  3    environment problem: server down, API key or model missing, disk full
  4    stopped by the budget; run again to continue
  5    the lock does not match the current spec, inputs or models, or a model changed during the run
  6    the replay file lacks calls that the run needs
  130  interrupted (143: terminated); run again to continue";

/// The result of a command, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    /// Finished, but too many rows failed, a test failed, or a difference or corruption was found.
    Failed = 1,
    /// The spec or the arguments are invalid.
    Spec = 2,
    /// The environment has a problem: server down, API key or model missing, disk full.
    Environment = 3,
    Budget = 4,
    /// Something differs from the lock, or a model changed during the run.
    Lock = 5,
    /// A replay file lacks calls.
    NotRecorded = 6,
    Interrupted = 130,
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
