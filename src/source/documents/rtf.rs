//! RTF: the text of the document, in the code pages of its fonts.
//!
//! Not read: headers, footers, comments, fields' codes and pictures.

use encoding_rs::{Encoding, WINDOWS_1252};
use rtf_grimoire::tokenizer::{Token, read_token};

use super::content::{Content, Prose, named};

/// The deepest nesting of groups.
const DEEPEST: usize = 10_000;

pub(super) fn read(bytes: &[u8]) -> Result<Content, String> {
    if !bytes.starts_with(b"{\\rtf") {
        return Err("it is not RTF: it does not begin with `{\\rtf`".to_owned());
    }
    let mut reader = Reader::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        match read_token(rest) {
            Ok((after, token)) if after.len() < rest.len() => {
                reader.take(token)?;
                rest = after;
            }
            // A NUL or a lone end mark often follows the last group.
            _ if reader.groups.is_empty() => break,
            _ => return Err(format!("it is damaged at byte {at}")),
        }
    }
    reader.flush()?;
    let (text, pages) = reader.prose.end();
    Ok(Content { title: named(&reader.title), text, pages, modified: reader.revised.text() })
}

/// What a group's text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destination {
    Body,
    Title,
    Revised,
    Fonts,
    Skipped,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    destination: Destination,
    /// Whether the next control word may name a destination that few readers know.
    optional: bool,
    encoding: &'static Encoding,
    /// The bytes after `\u` that repeat its character for older readers.
    fallback: usize,
}

#[derive(Debug, Default)]
struct Revised([i32; 5]);

impl Revised {
    fn text(&self) -> Option<String> {
        let [year, month, day, hour, minute] = self.0;
        (year > 0).then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}"))
    }
}

struct Reader {
    prose: Prose,
    title: String,
    revised: Revised,
    groups: Vec<Group>,
    now: Group,
    default: &'static Encoding,
    fonts: Vec<(i32, &'static Encoding)>,
    font: i32,
    /// Bytes of text that are not decoded yet.
    bytes: Vec<u8>,
    /// Units of UTF-16 that are not decoded yet.
    units: Vec<u16>,
    ignored: usize,
}

impl Reader {
    fn new() -> Self {
        let now = Group { destination: Destination::Body, optional: false, encoding: WINDOWS_1252, fallback: 1 };
        Reader {
            prose: Prose::default(),
            title: String::new(),
            revised: Revised::default(),
            groups: Vec::new(),
            now,
            default: WINDOWS_1252,
            fonts: Vec::new(),
            font: 0,
            bytes: Vec::new(),
            units: Vec::new(),
            ignored: 0,
        }
    }

    fn take(&mut self, token: Token) -> Result<(), String> {
        match token {
            Token::Text(bytes) => self.text(&bytes),
            Token::ControlWord { name, arg } if name == "'" => self.text(&[arg.unwrap_or_default() as u8]),
            Token::ControlWord { name, arg } if name == "u" => self.unit(arg.unwrap_or_default() as u16),
            Token::ControlBin(_) | Token::Newline(_) => Ok(()),
            token => {
                self.flush()?;
                self.ignored = 0;
                self.control(token)
            }
        }
    }

    fn control(&mut self, token: Token) -> Result<(), String> {
        match token {
            Token::StartGroup if self.groups.len() == DEEPEST => Err("its groups are nested too deep".to_owned()),
            Token::StartGroup => {
                self.groups.push(self.now);
                Ok(())
            }
            Token::EndGroup => {
                self.now = self.groups.pop().unwrap_or(self.now);
                Ok(())
            }
            Token::ControlSymbol('*') => {
                self.now.optional = true;
                Ok(())
            }
            Token::ControlSymbol(symbol) => match symbol {
                '~' => self.text_of("\u{a0}"),
                '_' => self.text_of("\u{2011}"),
                '\\' | '{' | '}' => self.text_of(symbol.encode_utf8(&mut [0; 4])),
                '\n' | '\r' => self.word("par", None),
                _ => Ok(()),
            },
            Token::ControlWord { name, arg } => self.word(&name, arg),
            _ => Ok(()),
        }
    }

    fn word(&mut self, name: &str, arg: Option<i32>) -> Result<(), String> {
        let optional = std::mem::take(&mut self.now.optional);
        match name {
            "fonttbl" => self.now.destination = Destination::Fonts,
            "title" => self.now.destination = Destination::Title,
            "revtim" => self.now.destination = Destination::Revised,
            "info" | "footnote" | "shptxt" | "fldrslt" => {}
            "colortbl" | "stylesheet" | "pict" | "object" | "author" | "operator" | "keywords" | "subject"
            | "doccomm" | "company" | "creatim" | "printim" | "header" | "headerl" | "headerr" | "headerf"
            | "footer" | "footerl" | "footerr" | "footerf" | "fldinst" | "listtable" | "themedata" | "annotation"
            | "pntext" | "nonshppict" => {
                self.now.destination = Destination::Skipped;
            }
            "ansicpg" => {
                self.default = code_page(arg.unwrap_or_default());
                self.now.encoding = self.default;
            }
            "mac" => self.default = encoding_rs::MACINTOSH,
            "fcharset" if self.now.destination == Destination::Fonts => {
                self.fonts.push((self.font, char_set(arg.unwrap_or_default()).unwrap_or(self.default)));
            }
            "f" => {
                self.font = arg.unwrap_or_default();
                let known = self.fonts.iter().rev().find(|(font, _)| *font == self.font);
                self.now.encoding = known.map_or(self.default, |(_, encoding)| *encoding);
            }
            "uc" => self.now.fallback = arg.unwrap_or(1).clamp(0, 16) as usize,
            "yr" | "mo" | "dy" | "hr" | "min" if self.now.destination == Destination::Revised => {
                let place = ["yr", "mo", "dy", "hr", "min"].iter().position(|other| *other == name);
                self.revised.0[place.unwrap_or_default()] = arg.unwrap_or_default();
            }
            _ if optional => self.now.destination = Destination::Skipped,
            _ if self.now.destination == Destination::Body => return self.layout(name),
            _ => {}
        }
        Ok(())
    }

    fn layout(&mut self, name: &str) -> Result<(), String> {
        match name {
            "par" | "sect" => self.prose.paragraph(),
            "line" => self.prose.line_break(),
            "page" => self.prose.page(),
            "cell" | "nestcell" => self.prose.cell(),
            "row" | "nestrow" => self.prose.line(),
            _ => {
                return self.text_of(match name {
                    "tab" => "\t",
                    "emdash" => "—",
                    "endash" => "–",
                    "lquote" => "‘",
                    "rquote" => "’",
                    "ldblquote" => "“",
                    "rdblquote" => "”",
                    "bullet" => "•",
                    _ => "",
                });
            }
        }
        Ok(())
    }

    fn text(&mut self, bytes: &[u8]) -> Result<(), String> {
        let ignored = self.ignored.min(bytes.len());
        self.ignored -= ignored;
        if bytes.len() > ignored && !self.units.is_empty() {
            self.flush()?;
        }
        if !matches!(self.now.destination, Destination::Skipped | Destination::Fonts | Destination::Revised) {
            self.bytes.extend(&bytes[ignored..]);
        }
        Ok(())
    }

    fn unit(&mut self, unit: u16) -> Result<(), String> {
        if !self.bytes.is_empty() {
            self.flush()?;
        }
        self.units.push(unit);
        self.ignored = self.now.fallback;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        if !self.units.is_empty() {
            let text = String::from_utf16_lossy(&std::mem::take(&mut self.units));
            self.text_of(&text)?;
        }
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            let text = self.now.encoding.decode_without_bom_handling(&bytes).0;
            self.text_of(&text)?;
        }
        Ok(())
    }

    fn text_of(&mut self, text: &str) -> Result<(), String> {
        match self.now.destination {
            Destination::Body => self.prose.push(text),
            Destination::Title => {
                self.title.push_str(text);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn code_page(number: i32) -> &'static Encoding {
    let label = match number {
        10000 => "macintosh".to_owned(),
        932 => "shift_jis".to_owned(),
        936 => "gbk".to_owned(),
        949 => "euc-kr".to_owned(),
        950 => "big5".to_owned(),
        65001 => "utf-8".to_owned(),
        number => format!("windows-{number}"),
    };
    Encoding::for_label(label.as_bytes()).unwrap_or(WINDOWS_1252)
}

/// The encoding of a Windows character set; `None` for the default of the document.
fn char_set(number: i32) -> Option<&'static Encoding> {
    let page = match number {
        0 => 1252,
        77 => 10000,
        128 => 932,
        129 => 949,
        134 => 936,
        136 => 950,
        161 => 1253,
        162 => 1254,
        163 => 1258,
        177 => 1255,
        178 => 1256,
        186 => 1257,
        204 => 1251,
        222 => 874,
        238 => 1250,
        _ => return None,
    };
    Some(code_page(page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_by_the_code_page_of_its_font() {
        let rtf = br"{\rtf1\ansi\ansicpg1252\uc1{\fonttbl{\f0\fcharset0 Arial;}{\f1\fcharset204 Arial;}}
{\info{\title A \'e9}{\revtim\yr2024\mo5\dy6\hr7\min8}{\author X}}{\*\generator Y;}{\stylesheet{\s0 Normal;}}
\f0 caf\'e9\~\u8364?\emdash  {\f1 \'e4\'e0} \{x\}\par
{\pict 0102}{\field{\*\fldinst HYPERLINK x}{\fldrslt link}}\page next{\footnote note}\u-10179?\u-8694?\par}";
        let found = read(rtf).unwrap();
        assert_eq!((found.title.as_deref(), found.modified.as_deref()), (Some("A é"), Some("2024-05-06T07:08")));
        assert_eq!(found.text, "café\u{a0}€— да {x}\n\nlink\n\u{c}nextnote😊");
        assert_eq!(found.pages, Some(2));
    }

    #[test]
    fn a_hostile_file_is_an_error() {
        assert!(read(b"{\\rt").is_err() && read(b"").is_err());
        let deep = read(&[b"{\\rtf1".as_slice(), &b"{".repeat(1 << 16)].concat()).unwrap_err();
        assert_eq!(deep, "its groups are nested too deep");
        assert_eq!(read(b"{\\rtf1 \\'zz}").unwrap_err(), "it is damaged at byte 7");
        assert_eq!(read(b"{\\rtf1 cut \\b off").unwrap().text, "cut off");
    }
}
