//! Text files: decodes them to UTF-8, piece by piece, and reports the exact position of invalid bytes.
//!
//! Supports byte order marks and every encoding of the WHATWG standard. The readers of rows turn a [`Fault`] into an
//! error with row and line. A new check of the bytes belongs in [`Text::decode`].

pub(crate) mod cell;
pub(crate) mod compressed;
pub(crate) mod numbers;

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use crate::name::{listed, nearest};
use crate::source::batches::{SourceError, unreadable};

const PIECE: usize = 64 << 10;

/// Labels to suggest for a wrong one: one for each encoding still in use.
const LABELS: &str = "utf-8 utf-16 utf-16le utf-16be windows-1250 windows-1251 windows-1252 windows-1253 windows-1254 \
                      windows-1255 windows-1256 windows-1257 windows-1258 iso-8859-1 iso-8859-2 iso-8859-15 latin1 \
                      macintosh koi8-r koi8-u shift_jis euc-jp euc-kr gbk gb18030 big5";

/// The encoding of a label.
pub(crate) fn encoding(label: &str) -> Result<&'static Encoding, SourceError> {
    Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| {
        let help = match nearest(label, LABELS.split(' ')) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("some that exist are {}", listed(["utf-8", "utf-16le", "windows-1252", "iso-8859-1"])),
        };
        SourceError::new(format!("there is no encoding `{label}`")).help(help).at(["encoding"])
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The row; 1 is the first row of data, 0 the header.
    pub(crate) row: u64,
    /// The line of the file, from 1; 0 if lines say nothing.
    pub(crate) line: u64,
    /// The byte of the file, from 0; unknown if the file is not UTF-8.
    pub(crate) byte: Option<u64>,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            0 => f.write_str("header")?,
            row => write!(f, "row {row}")?,
        }
        match (self.line, self.byte) {
            (0, Some(byte)) => write!(f, " (byte {byte})"),
            (0, None) => Ok(()),
            (line, Some(byte)) => write!(f, " (line {line}, byte {byte})"),
            (line, None) => write!(f, " (line {line})"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    message: String,
    help: Option<String>,
    byte: Option<u64>,
}

impl Fault {
    pub(crate) fn error(self, shown: &str, position: Position) -> SourceError {
        let position = Position { byte: self.byte, ..position };
        let error = SourceError::new(format!("{shown}: {position}: {}", self.message)).at(["path"]);
        SourceError { help: self.help, ..error }
    }
}

/// A text file, decoded to UTF-8 without NUL bytes. A parser reads a [`piece`](Text::piece) and
/// [`consume`](Text::consume)s what it used.
pub(crate) struct Text {
    source: BufReader<Box<dyn Read + Send>>,
    encoding: &'static Encoding,
    decoder: Decoder,
    /// Bytes of the file that the decoder has read, including the byte order mark.
    taken: u64,
    ended: bool,
    text: Vec<u8>,
    from: usize,
    to: usize,
    /// Bytes before `text[from]`, including the byte order mark; offsets in the file only for UTF-8.
    given: u64,
    fault: Option<Fault>,
    /// Text that [`peek`](Text::peek) has decoded ahead, and how much of it is consumed.
    ahead: (Vec<u8>, usize),
    has_lines: bool,
}

impl Text {
    /// Opens `path`, which messages call `shown`, in the encoding with this label (default: strict UTF-8).
    pub(crate) fn open(path: &Path, shown: &str, label: Option<&str>) -> Result<Self, SourceError> {
        Text::new(compressed::open(path, shown)?, shown, label, PIECE)
    }

    /// The text of a file whose lines say nothing about places.
    pub(crate) fn without_lines(self) -> Self {
        Text { has_lines: false, ..self }
    }

    pub(crate) fn encoding(&self) -> &'static Encoding {
        self.encoding
    }

    pub(crate) fn has_lines(&self) -> bool {
        self.has_lines
    }

    pub(crate) fn new(
        mut source: Box<dyn Read + Send>,
        shown: &str,
        label: Option<&str>,
        piece: usize,
    ) -> Result<Self, SourceError> {
        let in_file = |error: SourceError| SourceError { message: format!("{shown}: {}", error.message), ..error };
        let declared = label.map(encoding).transpose().map_err(in_file)?;
        let mut start = Vec::new();
        source.by_ref().take(4).read_to_end(&mut start).map_err(|error| unreadable(shown, &error))?;
        let (encoding, mark) = begin(&start, declared, label, shown)?;
        start.drain(..mark);
        let decoder = encoding.new_decoder_without_bom_handling();
        let piece = piece.max(4);
        let room = decoder.max_utf8_buffer_length_without_replacement(piece).unwrap_or(piece * 4 + 16);
        Ok(Text {
            source: BufReader::with_capacity(piece, Box::new(Cursor::new(start).chain(source))),
            encoding,
            decoder,
            taken: mark as u64,
            ended: false,
            text: vec![0; room],
            from: 0,
            to: 0,
            given: mark as u64,
            fault: None,
            ahead: (Vec::new(), 0),
            has_lines: true,
        })
    }

    /// The text of a file that is decoded already.
    pub(crate) fn of(text: Vec<u8>) -> Result<Self, SourceError> {
        Text::new(Box::new(Cursor::new(text)), "", Some(UTF_8.name()), PIECE)
    }

    /// The first bytes of the text, at most about `most`, without consuming them, and whether they are all. A fault
    /// after them is reported when it is reached.
    pub(crate) fn peek(&mut self, most: usize) -> (Vec<u8>, bool) {
        let (mut start, given, mut whole) = (Vec::new(), self.given, false);
        while start.len() < most && !whole {
            match self.piece() {
                Ok([]) => whole = true,
                Ok(piece) => {
                    start.extend_from_slice(piece);
                    let taken = piece.len();
                    self.consume(taken);
                }
                Err(_) => break,
            }
        }
        self.ahead = (start.clone(), 0);
        self.given = given;
        let is_middle = |byte: u8| byte & 0xC0 == 0x80;
        let end = (0..=most.min(start.len())).rev().find(|&end| !start.get(end).is_some_and(|&byte| is_middle(byte)));
        start.truncate(end.unwrap_or(0));
        (start, whole && self.ahead.0.len() < most)
    }

    /// The next piece that is not consumed yet; empty at the end of the file.
    pub(crate) fn piece(&mut self) -> Result<&[u8], Fault> {
        if self.ahead.1 < self.ahead.0.len() {
            return Ok(&self.ahead.0[self.ahead.1..]);
        }
        while self.from == self.to {
            if let Some(fault) = &self.fault {
                return Err(fault.clone());
            }
            if self.ended {
                return Ok(&[]);
            }
            self.decode()?;
        }
        Ok(&self.text[self.from..self.to])
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        let ahead = self.ahead.0.len() - self.ahead.1;
        let bytes = bytes.min(if ahead > 0 { ahead } else { self.to - self.from });
        *(if ahead > 0 { &mut self.ahead.1 } else { &mut self.from }) += bytes;
        self.given += bytes as u64;
    }

    /// The offset in the file of the next piece; `None` if the file is not UTF-8.
    pub(crate) fn byte(&self) -> Option<u64> {
        (self.encoding == UTF_8).then_some(self.given)
    }

    fn decode(&mut self) -> Result<(), Fault> {
        let raw = loop {
            match self.source.fill_buf() {
                Ok(_) => break self.source.buffer(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let fault = Fault { message: format!("reading failed: {error}"), help: None, byte: self.byte() };
                    return Err(self.fault.insert(fault).clone());
                }
            }
        };
        let last = raw.is_empty();
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(raw, &mut self.text, last);
        self.source.consume(read);
        self.taken += read as u64;
        (self.from, self.to) = (0, written);
        match result {
            DecoderResult::InputEmpty => self.ended = last,
            DecoderResult::OutputFull => {}
            DecoderResult::Malformed(bad, after) => {
                let place = self.taken.saturating_sub(u64::from(bad) + u64::from(after));
                self.fault = Some(self.malformed(place));
            }
        }
        if let Some(nul) = self.text[..written].iter().position(|&b| b == 0) {
            self.to = nul;
            self.fault = Some(Fault {
                message: "a NUL byte in the text".to_owned(),
                help: Some(r#"the file is damaged or not text; if it is UTF-16, set encoding = "utf-16le""#.to_owned()),
                byte: self.byte().map(|b| b + nul as u64),
            });
        }
        Ok(())
    }

    fn malformed(&self, place: u64) -> Fault {
        let help = match self.encoding == UTF_8 {
            true => {
                r#"set its encoding; files from Excel or older Windows programs are often encoding = "windows-1252""#
            }
            false => "the file is damaged, or in a different encoding from the declared one",
        };
        let message = format!("these bytes are not valid {}", self.encoding.name());
        Fault { message, help: Some(help.to_owned()), byte: Some(place) }
    }
}

/// The encoding and the length of the byte order mark, from the first bytes and the declared encoding.
fn begin(
    first: &[u8],
    declared: Option<&'static Encoding>,
    label: Option<&str>,
    shown: &str,
) -> Result<(&'static Encoding, usize), SourceError> {
    let wrong =
        |field: &str, message: &str, help: &str| Err(SourceError::of_file(shown, message).help(help).at([field]));
    let marked = Encoding::for_bom(first);
    match (declared, marked) {
        (Some(declared), None) => Ok((declared, 0)),
        (Some(declared), Some((marked, mark))) if declared == marked => Ok((declared, mark)),
        (Some(_), Some((marked, mark))) if label.is_some_and(|l| l.trim().eq_ignore_ascii_case("utf-16")) => {
            match marked == UTF_16BE {
                true => Ok((UTF_16BE, mark)),
                false => {
                    wrong("encoding", "declared as utf-16, but begins with the mark of UTF-8", "leave `encoding` out")
                }
            }
        }
        (Some(declared), Some((marked, _))) => {
            let (declared, found) = (declared.name().to_lowercase(), marked.name().to_lowercase());
            let message = format!("declared as {declared}, but begins with the byte order mark of {found}");
            wrong("encoding", &message, &format!("set encoding = \"{found}\""))
        }
        (None, Some((marked, mark))) if marked == UTF_8 => Ok((UTF_8, mark)),
        (None, Some((marked, _))) => {
            let found = if marked == UTF_16LE { "utf-16le" } else { "utf-16be" };
            wrong("encoding", &format!("is {found} text, not UTF-8"), &format!("set encoding = \"{found}\""))
        }
        (None, None) => match first {
            [b'P', b'K', 3, 4] => {
                wrong("format", "is a ZIP archive or an Excel file, not text", r#"set format = "xlsx", or extract it"#)
            }
            [0x1f, 0x8b, ..] => wrong("path", "is compressed (gzip)", "decompress it first"),
            b"PAR1" => wrong("format", "is a Parquet file", r#"set format = "parquet""#),
            _ => Ok((UTF_8, 0)),
        },
    }
}
