//! JSON lists: `[{..}, {..}]`, read as JSON Lines.
//!
//! Every byte keeps its place: a comma between two objects becomes a line end, and a line end inside an object a space.

use std::io::{self, ErrorKind, Read};
use std::path::Path;

use crate::source::batches::SourceError;
use crate::source::text::Text;
use crate::source::text::compressed;

/// The list of a file as the text of JSON Lines. JSON is UTF-8 always.
pub(crate) fn open(path: &Path, shown: &str, label: Option<&str>) -> Result<Text, SourceError> {
    let lines = Lines { list: compressed::open(path, shown)?, at: At::Start, read: 0 };
    Ok(Text::new(Box::new(lines), shown, label, 64 << 10)?.without_lines())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the list.
    Start,
    /// Before a value; the list can end here only if it is empty.
    Value {
        first: bool,
    },
    Inside {
        depth: u32,
        string: bool,
        escaped: bool,
    },
    /// After a value.
    Between,
    End,
}

struct Lines<R> {
    list: R,
    at: At,
    read: u64,
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.list.read(bytes)?;
        if count == 0 && self.at != At::End && !bytes.is_empty() {
            let message = if self.at == At::Start { "the file is empty" } else { "the list ends without ]" };
            return Err(io::Error::new(ErrorKind::UnexpectedEof, message));
        }
        for byte in &mut bytes[..count] {
            (*byte, self.at) = step(*byte, self.at, self.read)
                .map_err(|message| io::Error::new(ErrorKind::InvalidData, format!("byte {}: {message}", self.read)))?;
            self.read += 1;
        }
        Ok(count)
    }
}

/// What a byte becomes, and where the next one is.
fn step(byte: u8, at: At, place: u64) -> Result<(u8, At), &'static str> {
    let blank = byte.is_ascii_whitespace();
    Ok(match (at, byte) {
        // A byte order mark.
        (At::Start, 0xef | 0xbb | 0xbf) if place < 3 => (byte, at),
        (At::Start, b'[') => (b' ', At::Value { first: true }),
        (At::Start, b'{') => return Err("an object, not a list: write the list of rows alone"),
        (At::Value { first: true }, b']') | (At::Between, b']') => (b'\n', At::End),
        (At::Value { .. }, b',' | b']') => return Err("a value is missing before this comma or ]"),
        (At::Between, b',') => (b'\n', At::Value { first: false }),
        (At::Start | At::Value { .. } | At::Between | At::End, _) if blank => (b' ', at),
        (At::Start, _) => return Err("not a JSON list: it must begin with ["),
        (At::Between, _) => return Err("a comma or ] is missing"),
        (At::End, _) => return Err("text after the end of the list"),
        (At::Value { .. }, _) => (byte, inside(byte, 0, false, false)),
        (At::Inside { depth: 0, string: false, .. }, b',') => (b'\n', At::Value { first: false }),
        (At::Inside { depth: 0, string: false, .. }, b']') => (b'\n', At::End),
        (At::Inside { depth: 0, string: false, .. }, _) if blank => (b' ', At::Between),
        // A line end is not allowed in a string: the reader of lines reports the control character.
        (At::Inside { depth, string, escaped }, _) => {
            let plain = match byte {
                b'\n' if string => 1,
                b'\n' => b' ',
                other => other,
            };
            (plain, inside(byte, depth, string, escaped))
        }
    })
}

/// The place after a byte of a value.
fn inside(byte: u8, depth: u32, string: bool, escaped: bool) -> At {
    let deeper = match byte {
        b'{' | b'[' if !string => depth.saturating_add(1),
        b'}' | b']' if !string => depth.saturating_sub(1),
        _ => depth,
    };
    let string = if byte == b'"' && !escaped { !string } else { string };
    let escaped = string && byte == b'\\' && !escaped;
    At::Inside { depth: deeper, string, escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(list: &str) -> Result<String, String> {
        let mut text = String::new();
        let mut lines = Lines { list: list.as_bytes(), at: At::Start, read: 0 };
        lines.read_to_string(&mut text).map(|_| text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_becomes_lines_and_keeps_every_place() {
        let list = "[\n {\"a\": \"x, ] }\\\" y\",\n  \"b\": [1,\n 2]},{\"a\":null} ,\n 7]\n";
        let wanted = "   {\"a\": \"x, ] }\\\" y\",   \"b\": [1,  2]}\n{\"a\":null} \n  7\n ";
        assert_eq!(lines(list).as_deref(), Ok(wanted));
        assert_eq!(lines("[]").as_deref(), Ok(" \n"));
        assert_eq!(lines(" [ ] ").as_deref(), Ok("   \n "));
    }

    #[test]
    fn other_texts_are_errors_with_their_place() {
        let wanted = [
            ("", "the file is empty"),
            ("{\"data\": []}", "byte 0: an object, not a list: write the list of rows alone"),
            ("x", "byte 0: not a JSON list: it must begin with ["),
            ("[{}", "the list ends without ]"),
            ("[{} {}]", "byte 4: a comma or ] is missing"),
            ("[{},]", "byte 4: a value is missing before this comma or ]"),
            ("[,{}]", "byte 1: a value is missing before this comma or ]"),
            ("[{}] x", "byte 5: text after the end of the list"),
        ];
        for (list, message) in wanted {
            assert_eq!(lines(list).unwrap_err(), message, "{list}");
        }
    }
}
