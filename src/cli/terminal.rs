//! The terminal itself: where text goes, and whether in colour. A closed pipe is no error.
//!
//! What is written for people is made printable here, once for each way out; data for programs stays what it is.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;

use crate::report::printable::{printable, printable_json};

/// The columns of what is no terminal.
const WIDTH: usize = 100;

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal that wants them.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Standard output and standard error.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Whether messages are coloured.
    pub color: bool,
    /// Whether standard error is a terminal that can redraw lines.
    pub live: bool,
}

impl Terminal {
    /// The terminal with colours as wanted.
    pub fn new(color: When) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let live = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        let color = match color {
            When::Always => true,
            When::Never => false,
            When::Auto => !set("NO_COLOR") && (live || set("FORCE_COLOR")),
        };
        Terminal { color, live }
    }

    /// How many columns standard error has; [`WIDTH`] where it is no terminal.
    pub fn width(&self) -> usize {
        terminal_size::terminal_size_of(std::io::stderr()).map_or(WIDTH, |(width, _)| width.0.into())
    }

    /// Prints text for people to standard output.
    pub fn text(&self, text: &str) {
        self.data(&printable(text));
    }

    /// Prints JSON to standard output.
    pub fn json(&self, text: &str) {
        self.data(&printable_json(text));
    }

    /// Prints data to standard output as it is: nothing in it comes from outside.
    pub fn data(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// Prints a line to standard error.
    pub fn note(&self, text: &str) {
        self.marked(&printable(text));
    }

    /// Prints a line that may hold colours to standard error; who made it has cleaned what is in it.
    pub fn marked(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    /// Prints an error with what to do about it.
    pub fn error(&self, message: &str, help: Option<&str>) {
        let (red, bold, off) = if self.color { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        self.marked(&format!("{red}error{off}{bold}:{off} {}", printable(message)));
        if let Some(help) = help {
            self.marked(&format!("{bold}help:{off} {}", printable(help)));
        }
    }
}
