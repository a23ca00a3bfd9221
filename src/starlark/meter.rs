//! The meter: counts steps and memory before they are used, and says why a program stops.

/// What a program has used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Steps,
    Memory,
}

/// A mistake of a program, which its author can correct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgramError {
    pub(crate) message: String,
    /// The line of the program, from 1.
    pub(crate) line: Option<u32>,
}

/// Why a program ends before its last statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Error(ProgramError),
    Limit(Limit),
    /// The host ends the program; it knows why.
    Host,
}

impl Stop {
    /// Adds the line to an error that has none.
    pub(crate) fn at(self, line: u32) -> Stop {
        match self {
            Stop::Error(ProgramError { message, line: None }) => {
                Stop::Error(ProgramError { message, line: Some(line) })
            }
            other => other,
        }
    }
}

/// Returns an error of the program.
pub(crate) fn error<T>(message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Error(ProgramError { message: message.into(), line: None }))
}

/// The number of bytes that are read or written in one step.
const BYTES_PER_STEP: u64 = 64;

/// The steps and the bytes that are left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    steps: u64,
    memory: u64,
}

impl Meter {
    /// `memory` is in bytes. It counts all memory that the program takes, also what it no longer uses.
    pub(crate) fn new(steps: u64, memory: u64) -> Self {
        Meter { steps, memory }
    }

    pub(crate) fn step(&mut self, steps: u64) -> Result<(), Stop> {
        self.steps = self.steps.checked_sub(steps).ok_or(Stop::Limit(Limit::Steps))?;
        Ok(())
    }

    /// Counts the reading of `bytes`.
    pub(crate) fn read(&mut self, bytes: usize) -> Result<(), Stop> {
        self.step(bytes as u64 / BYTES_PER_STEP)
    }

    /// Must be called before the bytes are taken.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), Stop> {
        self.memory = self.memory.checked_sub(bytes).ok_or(Stop::Limit(Limit::Memory))?;
        self.step(bytes / BYTES_PER_STEP)
    }
}
