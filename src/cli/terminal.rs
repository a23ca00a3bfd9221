//! The terminal: standard output and standard error. A closed pipe is not an error.
//!
//! Text for people loses its unprintable characters; data for programs is unchanged.

use std::io::{Error, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::live;
use crate::cluster::quoted;
use crate::document::{Diagnostic, Document};
use crate::report::colors::{Palette, painted};
use crate::report::diagnostics;
use crate::report::text::{printable, printable_json};
use crate::report::wrap::wrapped;

/// The assumed width in columns, if standard error is not a terminal.
const WIDTH: usize = 100;

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The format of standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text for people.
    #[default]
    Text,
    /// One JSON object per line: start, calls, part, failures, wait, wait_end, stopping, problem, note, error, end.
    Json,
}

/// How much is written to standard error, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Notes {
    #[default]
    Text,
    /// Only errors.
    None,
    /// An event a line, as JSON.
    Json,
}

/// Whether colours are used without `--color`, by the conventions of <https://no-color.org> and
/// <https://bixense.com/clicolors>. NO_COLOR wins.
fn has_color(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let value = |name: &str| variable(name).filter(|value| !value.is_empty());
    let forced = |name: &str| value(name).is_some_and(|value| value != "0");
    if value("NO_COLOR").is_some() {
        return false;
    }
    let is_forced = forced("CLICOLOR_FORCE") || forced("FORCE_COLOR");
    is_forced || is_terminal && value("CLICOLOR").is_none_or(|value| value != "0")
}

/// A path as it is typed in a shell.
pub(crate) fn typed(path: &Path) -> String {
    quoted(&path.display().to_string())
}

static UNPRINTED: OnceLock<Error> = OnceLock::new();

/// Why standard output is not complete, unless its reader has left.
pub(crate) fn unprinted() -> Option<&'static Error> {
    UNPRINTED.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    /// Whether standard error has colours.
    pub(crate) color: bool,
    /// Whether standard output has colours.
    pub(crate) page_color: bool,
    /// Which notes are written to standard error.
    pub(crate) notes: Notes,
    /// Whether standard error is a terminal that can redraw lines.
    pub(crate) live: bool,
}

impl Terminal {
    pub(crate) fn new(color: When, log: LogFormat) -> Self {
        let is_able = std::env::var_os("TERM").is_none_or(|t| t != "dumb");
        let live = std::io::stderr().is_terminal() && is_able;
        let colors = |is_terminal: bool| match color {
            When::Always => true,
            When::Never => false,
            When::Auto => has_color(is_terminal, |name| std::env::var(name).ok()),
        };
        let page_color = colors(std::io::stdout().is_terminal() && is_able);
        Terminal {
            color: colors(live),
            page_color,
            live,
            notes: if log == LogFormat::Json { Notes::Json } else { Notes::Text },
        }
    }

    /// Whether a person can answer a question.
    pub(crate) fn can_ask(&self) -> bool {
        self.live && std::io::stdin().is_terminal()
    }

    /// Asks a question. Every answer but `y` or `yes` is a no.
    pub(crate) fn ask(&self, question: &str) -> bool {
        let _ = write!(std::io::stderr().lock(), "{}", self.fitted(&printable(question)));
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
    }

    pub(crate) fn width(&self) -> usize {
        self.size().0
    }

    /// The width and the height of standard error.
    pub(crate) fn size(&self) -> (usize, usize) {
        terminal_size::terminal_size_of(std::io::stderr())
            .map_or((WIDTH, usize::MAX), |(width, height)| (width.0.into(), height.0.into()))
    }

    /// The width of standard output, if it is a terminal.
    pub(crate) fn page(&self) -> Option<usize> {
        terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0.into())
    }

    /// The text for standard error, with lines that fit a terminal.
    pub(crate) fn fitted(&self, text: &str) -> String {
        if self.live { wrapped(text, self.width()) } else { text.to_owned() }
    }

    /// Prints a text whose lines are kept, such as a prompt.
    pub(crate) fn text(&self, text: &str) {
        self.data(&printable(text));
    }

    /// Prints a text with lines that fit a terminal.
    pub(crate) fn prose(&self, text: &str) {
        let text = printable(text);
        self.data(&self.page().map_or(text.to_string(), |width| wrapped(&text, width)));
    }

    /// The same with colours, if standard output has some.
    pub(crate) fn painted(&self, text: &str, palette: Palette) {
        let text = printable(text);
        let text = if self.page_color { painted(&text, palette) } else { text.into_owned() };
        self.data(&self.page().map_or(text.clone(), |width| wrapped(&text, width)));
    }

    pub(crate) fn json(&self, text: &str) {
        self.data(&printable_json(text));
    }

    /// Prints trusted text to standard output unchanged. [`unprinted`] has the first error.
    pub(crate) fn data(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            let _ = UNPRINTED.set(error);
        }
    }

    /// Shows the problems of a spec: with lines that fit a terminal, or as events.
    pub(crate) fn problems(&self, problems: &[Diagnostic], document: &Document) {
        if self.notes == Notes::Json {
            diagnostics::events(problems, document).into_iter().for_each(|event| self.event(event));
        } else if !problems.is_empty() {
            let width = self.live.then(|| self.width());
            self.marked(diagnostics::human(problems, document, self.color, width).trim_end());
        }
    }

    pub(crate) fn note(&self, text: &str) {
        match self.notes {
            Notes::Text if self.color => self.marked(&self.fitted(&painted(&printable(text), Palette::Counts))),
            Notes::Text => self.marked(&self.fitted(&printable(text))),
            Notes::None => {}
            Notes::Json => self.event(json!({ "event": "note", "text": text.trim() })),
        }
    }

    /// Writes an event with its time as a line of JSON to standard error.
    pub(crate) fn event(&self, mut event: Value) {
        event["at"] = json!(chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        self.marked(&printable_json(&event.to_string()));
    }

    /// Prints a line that may contain colour codes to standard error; the caller has cleaned its text.
    pub(crate) fn marked(&self, text: &str) {
        live::above(text, self.width());
    }

    /// Shows an error at its place in a spec.
    pub(crate) fn located(&self, problem: &Diagnostic, document: &Document) {
        self.problems(std::slice::from_ref(problem), document);
    }

    pub(crate) fn error(&self, message: &str, help: Option<&str>) {
        if self.notes == Notes::Json {
            return self.event(json!({ "event": "error", "message": message, "help": help }));
        }
        let (red, bold, off) = if self.color { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        self.marked(&self.fitted(&format!("{red}error{off}{bold}:{off} {}", printable(message))));
        if let Some(help) = help {
            self.marked(&self.fitted(&format!("{bold}help:{off} {}", printable(help))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_conventions() {
        let color = |is_terminal, set: &[(&str, &str)]| {
            let find = |name: &str| set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
            has_color(is_terminal, find)
        };
        for (set, on_terminal, in_pipe) in [
            (&[][..], true, false),
            (&[("NO_COLOR", "1")], false, false),
            (&[("NO_COLOR", "")], true, false),
            (&[("CLICOLOR", "0")], false, false),
            (&[("CLICOLOR", "1")], true, false),
            (&[("CLICOLOR_FORCE", "1")], true, true),
            (&[("CLICOLOR_FORCE", "0")], true, false),
            (&[("FORCE_COLOR", "1")], true, true),
            (&[("CLICOLOR", "0"), ("CLICOLOR_FORCE", "1")], true, true),
            (&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], false, false),
        ] {
            assert_eq!((color(true, set), color(false, set)), (on_terminal, in_pipe), "{set:?}");
        }
    }
}
