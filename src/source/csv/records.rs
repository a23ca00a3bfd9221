//! Records: divides a text into records and fields as a [`Dialect`] says, and knows the place of every problem.
//!
//! Line ends are LF, CRLF or CR. A quote opens only at the start of a field; a doubled quote is one quote. Nothing may
//! follow a closing quote except the delimiter or a line end: `csv_core` and the crates on top of it read on there, and
//! change the text without an error. Blank lines are skipped, except in a file with one column: there a blank line is an
//! empty cell. The line end at the end of the file ends the last record and begins none.

use super::dialect::Dialect;
use crate::source::batches::{CELL_BYTES, MOST_COLUMNS, ROW_BYTES, SourceError};
use crate::source::text::{Position, Text};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote in a quoted field: it closes the field, or the next byte doubles it.
    Closed,
    Escaped {
        quoted: bool,
    },
}

/// Why a record cannot be read, found in the middle of it.
enum Fault {
    TextAfterQuote,
    FieldTooLong,
    RecordTooLong,
    TooManyFields,
}

/// The fields of one record, filled piece by piece.
struct Splitter {
    dialect: Dialect,
    /// The bytes that end a run of ordinary bytes in a field without quotes, and in one with quotes.
    stops: [[bool; 256]; 2],
    state: State,
    output: Vec<u8>,
    /// Where each complete field ends in `output`.
    ends: Vec<usize>,
    line: u64,
    /// The last line end was a CR; a following LF belongs to it.
    after_cr: bool,
}

impl Splitter {
    fn new(dialect: Dialect) -> Self {
        let table = |stops: &[Option<u8>]| {
            let mut table = [false; 256];
            stops.iter().flatten().for_each(|&byte| table[usize::from(byte)] = true);
            table
        };
        let plain = table(&[Some(dialect.delimiter), Some(b'\r'), Some(b'\n'), dialect.escape]);
        let quoted = table(&[dialect.quote, dialect.escape]);
        let (output, ends) = (Vec::with_capacity(4096), Vec::with_capacity(64));
        Splitter { dialect, stops: [plain, quoted], state: State::FieldStart, output, ends, line: 1, after_cr: false }
    }

    fn clear(&mut self) {
        self.output.clear();
        self.ends.clear();
        self.state = State::FieldStart;
        self.after_cr = false;
    }

    /// Takes bytes of the record from `input`: how many, and whether the record is complete.
    fn take(&mut self, input: &[u8]) -> (usize, Result<bool, Fault>) {
        let mut at = 0;
        while let Some(&byte) = input.get(at) {
            let step = match self.state {
                State::FieldStart if Some(byte) == self.dialect.quote => {
                    self.state = State::Quoted;
                    at += 1;
                    Ok(false)
                }
                State::FieldStart => {
                    self.state = State::Plain;
                    Ok(false)
                }
                State::Plain => {
                    let (used, done) = self.plain(&input[at..]);
                    at += used;
                    done
                }
                State::Quoted => {
                    let (used, done) = self.quoted(&input[at..]);
                    at += used;
                    done
                }
                State::Closed if Some(byte) == self.dialect.quote => {
                    self.state = State::Quoted;
                    at += 1;
                    self.push(&[byte]).map(|()| false)
                }
                State::Closed if byte == self.dialect.delimiter || matches!(byte, b'\r' | b'\n') => {
                    at += 1;
                    self.stop(byte, false)
                }
                State::Closed => Err(Fault::TextAfterQuote),
                State::Escaped { quoted } => {
                    at += 1;
                    self.escaped(byte, quoted).map(|()| false)
                }
            };
            match step {
                Ok(false) => {}
                done => return (at, done),
            }
        }
        (at, Ok(false))
    }

    /// Takes fields without quotes, until the record ends or a field may begin with a quote.
    fn plain(&mut self, input: &[u8]) -> (usize, Result<bool, Fault>) {
        let mut at = 0;
        loop {
            let run = run(&input[at..], &self.stops[0]);
            if let Err(fault) = self.push(&input[at..at + run]) {
                return (at + run, Err(fault));
            }
            at += run;
            let Some(&stop) = input.get(at) else { return (at, Ok(false)) };
            at += 1;
            if stop != self.dialect.delimiter {
                return (at, self.stop(stop, false));
            }
            let ended = self.end_field();
            if ended.is_err() || input.get(at).is_none_or(|&next| Some(next) == self.dialect.quote) {
                self.state = State::FieldStart;
                return (at, ended.map(|()| false));
            }
        }
    }

    /// Takes the text of a field in quotes, until a quote or an escape.
    fn quoted(&mut self, input: &[u8]) -> (usize, Result<bool, Fault>) {
        let run = run(input, &self.stops[1]);
        self.line += input[..run].iter().filter(|&&byte| byte == b'\n').count() as u64;
        match (self.push(&input[..run]), input.get(run)) {
            (Err(fault), _) => (run, Err(fault)),
            (Ok(()), None) => (run, Ok(false)),
            (Ok(()), Some(&stop)) => (run + 1, self.stop(stop, true)),
        }
    }

    /// Goes on after a byte that ended a run; returns whether the record is complete.
    fn stop(&mut self, byte: u8, quoted: bool) -> Result<bool, Fault> {
        if Some(byte) == self.dialect.escape {
            self.state = State::Escaped { quoted };
            return Ok(false);
        }
        if quoted {
            self.state = State::Closed;
            return Ok(false);
        }
        self.state = State::FieldStart;
        self.end_field()?;
        let is_line_end = byte != self.dialect.delimiter;
        if is_line_end {
            self.end_line(byte);
        }
        Ok(is_line_end)
    }

    /// The byte after an escape: a character of the dialect or a line end is itself; before any other the escape stays.
    fn escaped(&mut self, byte: u8, quoted: bool) -> Result<(), Fault> {
        let Dialect { delimiter, quote, escape, .. } = self.dialect;
        if byte != delimiter && Some(byte) != quote && Some(byte) != escape && !matches!(byte, b'\r' | b'\n') {
            self.push(escape.as_slice())?;
        }
        self.line += u64::from(byte == b'\n');
        self.state = if quoted { State::Quoted } else { State::Plain };
        self.push(&[byte])
    }

    fn end_line(&mut self, byte: u8) {
        self.after_cr = byte == b'\r';
        self.line += 1;
    }

    /// Completes the last record of a file; returns `false` if a quote is open.
    fn finish(&mut self) -> Result<bool, Fault> {
        match self.state {
            State::Quoted | State::Escaped { quoted: true } => return Ok(false),
            State::Escaped { quoted: false } => {
                let escape = self.dialect.escape;
                self.push(escape.as_slice())?;
            }
            State::FieldStart | State::Plain | State::Closed => {}
        }
        self.state = State::FieldStart;
        self.end_field().map(|()| true)
    }

    fn field_start(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.output.extend_from_slice(bytes);
        if self.output.len() > CELL_BYTES {
            if self.output.len() - self.field_start() > CELL_BYTES {
                return Err(Fault::FieldTooLong);
            }
            if self.output.len() > ROW_BYTES {
                return Err(Fault::RecordTooLong);
            }
        }
        Ok(())
    }

    fn end_field(&mut self) -> Result<(), Fault> {
        self.ends.push(self.output.len());
        if self.ends.len() > MOST_COLUMNS { Err(Fault::TooManyFields) } else { Ok(()) }
    }
}

/// The number of bytes before the first one in `stops`.
fn run(input: &[u8], stops: &[bool; 256]) -> usize {
    input.iter().position(|&byte| stops[usize::from(byte)]).unwrap_or(input.len())
}

pub(crate) struct Records {
    text: Text,
    pub(crate) shown: String,
    splitter: Splitter,
    /// The names of the columns, for messages; empty while the header is read.
    names: Vec<String>,
    pub(crate) start: Position,
    /// The last record is returned again by the next [`read`](Records::read).
    unread: bool,
    /// The file ended in a quote.
    pub(crate) open_quote: bool,
}

impl Records {
    pub(crate) fn new(text: Text, shown: &str, dialect: Dialect) -> Result<Self, SourceError> {
        let start = Position { row: 0, line: 1, byte: text.byte() };
        let splitter = Splitter::new(dialect);
        let mut records = Records {
            text,
            shown: shown.to_owned(),
            splitter,
            names: Vec::new(),
            start,
            unread: false,
            open_quote: false,
        };
        for _ in 0..dialect.skip_rows {
            if !records.skip_line()? {
                break;
            }
        }
        Ok(records)
    }

    /// Sets the columns: from here on every record is a row and has this number of fields.
    pub(crate) fn set_columns(&mut self, names: &[String]) {
        self.names = names.to_vec();
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.splitter.dialect
    }

    /// Makes the next [`read`](Records::read) return the last record again, as the first row.
    pub(crate) fn unread(&mut self) {
        self.start.row = self.next_row();
        self.unread = true;
    }

    pub(crate) fn width(&self) -> usize {
        self.splitter.ends.len()
    }

    /// The bytes of the last record.
    pub(crate) fn length(&self) -> usize {
        self.splitter.output.len()
    }

    pub(crate) fn fields(&self) -> Result<Fields<'_>, SourceError> {
        let text = str::from_utf8(&self.splitter.output).map_err(|_| self.error("is not UTF-8"))?;
        Ok(Fields { text, ends: &self.splitter.ends })
    }

    pub(crate) fn texts(&self) -> Result<Vec<String>, SourceError> {
        let fields = self.fields()?;
        Ok((0..fields.ends.len()).map(|index| fields.get(index).to_owned()).collect())
    }

    /// Reads the next record; returns `false` at the end of the file.
    pub(crate) fn read(&mut self) -> Result<bool, SourceError> {
        if std::mem::take(&mut self.unread) {
            return Ok(true);
        }
        if !self.begin()? {
            return Ok(false);
        }
        loop {
            let here = Position { line: self.splitter.line, ..self.start };
            let piece = self.text.piece().map_err(|fault| fault.error(&self.shown, here))?;
            let at_end = piece.is_empty();
            let (used, done) = if at_end { (0, self.splitter.finish()) } else { self.splitter.take(piece) };
            self.text.consume(used);
            match done {
                Err(fault) => return Err(self.refused(&fault)),
                Ok(true) => return self.check().map(|()| true),
                Ok(false) if at_end => {
                    self.open_quote = true;
                    return Err(self.error("a quote is opened here and never closed").help(
                        "the file ends inside the quote: it is cut off, or a quote in a text is not doubled (\"\"); if \
                         quotes are characters like any other, set quote = \"none\"",
                    ));
                }
                Ok(false) => {}
            }
        }
    }

    fn next_row(&self) -> u64 {
        if self.names.is_empty() { 0 } else { self.start.row + 1 }
    }

    /// Goes to the start of the next record, past blank lines and comments; returns `false` at the end of the file.
    fn begin(&mut self) -> Result<bool, SourceError> {
        let row = self.next_row();
        loop {
            let here = Position { row, line: self.splitter.line, byte: None };
            let piece = self.text.piece().map_err(|fault| fault.error(&self.shown, here))?;
            let Some(&next) = piece.first() else { return Ok(false) };
            let is_line_end = matches!(next, b'\r' | b'\n');
            if self.splitter.after_cr && next == b'\n' {
                self.splitter.after_cr = false;
                self.text.consume(1);
            } else if is_line_end && self.names.len() != 1 {
                self.splitter.end_line(next);
                self.text.consume(1);
            } else if Some(next) == self.splitter.dialect.comment {
                self.skip_line()?;
            } else {
                self.start = Position { row, line: self.splitter.line, byte: self.text.byte() };
                self.splitter.clear();
                return Ok(true);
            }
        }
    }

    /// Skips a line, whatever it contains; returns `false` at the end of the file.
    fn skip_line(&mut self) -> Result<bool, SourceError> {
        loop {
            let here = Position { line: self.splitter.line, byte: None, ..self.start };
            let piece = self.text.piece().map_err(|fault| fault.error(&self.shown, here))?;
            // The LF of the line end before this line.
            let skipped = usize::from(self.splitter.after_cr && piece.starts_with(b"\n"));
            let (line, is_last) = (&piece[skipped..], piece.is_empty());
            let end = line.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
            let (length, found) = (line.len(), end.map(|end| line[end]));
            self.text.consume(skipped + end.map_or(length, |end| end + 1));
            self.splitter.after_cr = false;
            if let Some(byte) = found {
                self.splitter.end_line(byte);
            }
            if is_last || found.is_some() {
                return Ok(!is_last);
            }
        }
    }

    fn check(&self) -> Result<(), SourceError> {
        let (found, wanted) = (self.width(), self.names.len());
        if wanted == 0 || found == wanted {
            return Ok(());
        }
        let s = if found == 1 { "" } else { "s" };
        let help = match self.splitter.dialect.quote {
            Some(_) => {
                "put a text that contains a delimiter, a quote or a line end in quotes, and double the quotes in it"
            }
            None => "no text may contain a delimiter or a line end; if texts are in quotes, set quote = \"\\\"\"",
        };
        Err(self.error(&format!("has {found} field{s}, the header has {wanted}")).help(help))
    }

    fn refused(&self, fault: &Fault) -> SourceError {
        let field = self.width() + 1;
        match fault {
            Fault::FieldTooLong => self
                .error(&format!("field {field} is above {} MiB", CELL_BYTES >> 20))
                .help("usually a quote is opened there and never closed"),
            Fault::RecordTooLong => self.error(&format!("is above {} MiB", ROW_BYTES >> 20)),
            Fault::TooManyFields => self
                .error(&format!("has more than {MOST_COLUMNS} columns"))
                .help("check the delimiter, and that the file is text"),
            Fault::TextAfterQuote => self.text_after_quote(),
        }
    }

    fn text_after_quote(&self) -> SourceError {
        let Splitter { output, line, .. } = &self.splitter;
        let field = String::from_utf8_lossy(&output[self.splitter.field_start()..]);
        let start = field.char_indices().rev().nth(19).map_or(0, |(at, _)| at);
        let lead = if start > 0 { "…" } else { "" };
        let column = match self.names.get(self.width()) {
            Some(name) => format!("column `{name}`"),
            None => format!("field {}", self.width() + 1),
        };
        let position = Position { line: *line, byte: self.text.byte(), ..self.start };
        let message = format!(
            "{}: {position}: {column}: text follows the quote that closes after `{lead}{}`",
            self.shown,
            &field[start..]
        );
        let help = match field.ends_with('\\') {
            true => r#"if a backslash escapes quotes in this file, set escape = "\\""#,
            false => {
                r#"double a quote inside a text (""), set escape = "\\" if a backslash escapes it, or quote = "none" if quotes are characters like any other"#
            }
        };
        SourceError::new(message).help(help).at(["path"])
    }

    pub(crate) fn error(&self, message: &str) -> SourceError {
        SourceError::new(format!("{}: {}: {message}", self.shown, self.start)).at(["path"])
    }
}

/// The fields of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    text: &'a str,
    ends: &'a [usize],
}

impl<'a> Fields<'a> {
    pub(crate) fn get(self, index: usize) -> &'a str {
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.ends.get(index).and_then(|&to| self.text.get(from..to)).unwrap_or_default()
    }
}
