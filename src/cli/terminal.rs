//! The terminal: standard output and standard error. A closed pipe is not an error.
//!
//! Text for people loses its unprintable characters; data for programs is unchanged.

use std::io::{IsTerminal, Write};

use clap::ValueEnum;

use crate::report::text::{printable, printable_json};

/// The assumed width in columns, if standard error is not a terminal.
const WIDTH: usize = 100;

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// If standard error is a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    pub(crate) color: bool,
    /// Whether standard error is a terminal that can redraw lines.
    pub(crate) live: bool,
}

impl Terminal {
    pub(crate) fn new(color: When) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let live = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        let color = match color {
            When::Always => true,
            When::Never => false,
            When::Auto => !set("NO_COLOR") && (live || set("FORCE_COLOR")),
        };
        Terminal { color, live }
    }

    /// Whether a person can answer a question.
    pub(crate) fn can_ask(&self) -> bool {
        self.live && std::io::stdin().is_terminal()
    }

    /// Asks a question. Every answer but `y` or `yes` is a no.
    pub(crate) fn ask(&self, question: &str) -> bool {
        let _ = write!(std::io::stderr().lock(), "{}", printable(question));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    pub(crate) fn width(&self) -> usize {
        terminal_size::terminal_size_of(std::io::stderr()).map_or(WIDTH, |(width, _)| width.0.into())
    }

    /// The width of standard output, if it is a terminal.
    pub(crate) fn page(&self) -> Option<usize> {
        terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0.into())
    }

    pub(crate) fn text(&self, text: &str) {
        self.data(&printable(text));
    }

    pub(crate) fn json(&self, text: &str) {
        self.data(&printable_json(text));
    }

    /// Prints trusted text to standard output unchanged.
    pub(crate) fn data(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    pub(crate) fn note(&self, text: &str) {
        self.marked(&printable(text));
    }

    /// Prints a line that may contain colour codes to standard error; the caller has cleaned its text.
    pub(crate) fn marked(&self, text: &str) {
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }

    pub(crate) fn error(&self, message: &str, help: Option<&str>) {
        let (red, bold, off) = if self.color { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        self.marked(&format!("{red}error{off}{bold}:{off} {}", printable(message)));
        if let Some(help) = help {
            self.marked(&format!("{bold}help:{off} {}", printable(help)));
        }
    }
}
