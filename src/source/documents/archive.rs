//! Archives: the files inside DOCX, ODT and EPUB files, within limits, and their XML.
//!
//! XML is read as a stream of events. Entities of a document type are not resolved, so no file or address is opened.

use std::borrow::Cow;
use std::io::{BufReader, Cursor, Read};

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use zip::ZipArchive;

/// The most bytes of a file in an archive after it is unpacked.
const MOST_UNPACKED: u64 = 128 << 20;
/// The most files in an archive. Each one takes memory as soon as the archive is opened.
const MOST_FILES: u64 = 50_000;
/// The bytes of a file's entry in the directory of an archive, without its name.
const ENTRY: u64 = 46;
/// The deepest nesting of XML elements.
const DEEPEST: usize = 1000;

pub(super) struct Archive<'a>(ZipArchive<Cursor<&'a [u8]>>);

/// An event of an XML file that matters here.
pub(super) enum Part<'a> {
    /// The name of the element without its prefix, and the element.
    Start(&'a str, &'a BytesStart<'a>),
    End(&'a str),
    Text(&'a str),
}

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.starts_with(&[0xd0, 0xcf, 0x11, 0xe0]) {
            return Err("it is encrypted, or in the format of an older Office; save it again without a password".into());
        }
        let entries =
            bytes.windows(4).filter(|window| window == b"PK\x01\x02").take(MOST_FILES as usize + 1).count() as u64;
        if entries > MOST_FILES && bytes.len() as u64 > MOST_FILES * ENTRY {
            return Err(format!("it contains more than {MOST_FILES} files"));
        }
        ZipArchive::new(Cursor::new(bytes)).map(Archive).map_err(|error| format!("it is damaged: {error}"))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.0.file_names().filter_map(Result::ok)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names().any(|other| other == name)
    }

    pub(super) fn bytes(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.file(name)?.read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
        match bytes.len() as u64 > MOST_UNPACKED {
            true => Err(too_large(name)),
            false => Ok(bytes),
        }
    }

    /// Passes the events of an XML file to `each`.
    pub(super) fn read(
        &mut self,
        name: &str,
        mut each: impl FnMut(Part<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut reader = Reader::from_reader(BufReader::new(self.file(name)?));
        let (mut buffer, mut depth) = (Vec::new(), 0);
        loop {
            let at = reader.buffer_position();
            let event = reader.read_event_into(&mut buffer);
            if reader.buffer_position() > MOST_UNPACKED {
                return Err(too_large(name));
            }
            match event.map_err(|error| format!("{name}, byte {at}: {error}"))? {
                Event::Eof => return Ok(()),
                Event::Start(element) => {
                    depth += 1;
                    if depth > DEEPEST {
                        return Err(format!("{name}, byte {at}: elements are nested more than {DEEPEST} deep"));
                    }
                    each(Part::Start(element.local_name().as_ref(), &element))?;
                }
                Event::Empty(element) => {
                    each(Part::Start(element.local_name().as_ref(), &element))?;
                    each(Part::End(element.local_name().as_ref()))?;
                }
                Event::End(element) => {
                    depth -= 1;
                    each(Part::End(element.local_name().as_ref()))?;
                }
                Event::Text(text) => each(Part::Text(&text))?,
                Event::CData(text) => each(Part::Text(&text))?,
                Event::GeneralRef(reference) => {
                    let text = resolved(&reference);
                    each(Part::Text(text.encode_utf8(&mut [0; 4])))?;
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
            buffer.clear();
        }
    }

    fn file(&mut self, name: &str) -> Result<impl Read + '_, String> {
        let file = self.0.by_name(name).map_err(|error| format!("it has no `{name}`: {error}"))?;
        Ok(file.take(MOST_UNPACKED + 1))
    }
}

/// The value of an attribute by its name without the prefix.
pub(super) fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = element.attributes().flatten().find(|attribute| attribute.key.local_name().as_ref() == name)?;
    Some(found.normalized_value(quick_xml::XmlVersion::Implicit1_0).ok()?.into_owned())
}

fn resolved(reference: &BytesRef<'_>) -> char {
    const UNKNOWN: char = '\u{fffd}';
    match reference.resolve_char_ref() {
        Ok(Some(character)) => character,
        Err(_) => UNKNOWN,
        Ok(None) => match &**reference {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => UNKNOWN,
        },
    }
}

fn too_large(name: &str) -> String {
    format!("`{name}` in it is larger than {} MiB when unpacked", MOST_UNPACKED >> 20)
}
