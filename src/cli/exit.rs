//! Exit codes: what a script can know of how it went.

use std::process::ExitCode;

/// The exit codes for `--help`.
pub const HELP: &str = "Exit codes:
  0    done
  1    finished, but more rows failed than `max_failed` allows; a ledger had corrupt answers;
       `diff` found a difference
  2    the spec or the arguments are wrong; nothing was sent
  3    the environment is: server down, key missing, model not there, disk
  4    stopped by the budget; run again to go on
  5    the lock names something else than what is there
  6    a replay lacks calls that the run needs
  130  interrupted (143: terminated); run again to go on";

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// Finished, but too many rows failed, or something was found that should not be.
    Failed,
    /// The spec or the arguments are wrong.
    Spec,
    /// The environment is.
    Environment,
    /// Stopped by the budget; can go on.
    Budget,
    /// Something differs from the lock.
    Lock,
    /// A replay lacks calls.
    NotRecorded,
    /// Stopped by SIGINT; can go on.
    Interrupted,
    /// Stopped by SIGTERM; can go on.
    Terminated,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Failed => 1,
            Exit::Spec => 2,
            Exit::Environment => 3,
            Exit::Budget => 4,
            Exit::Lock => 5,
            Exit::NotRecorded => 6,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
