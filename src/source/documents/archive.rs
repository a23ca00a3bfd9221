//! Archives: the files inside DOCX, ODT and EPUB files, within limits, and their XML.
//!
//! XML is read as a stream of events. Entities of a document type are not resolved, so no file or address is opened.

use std::borrow::Cow;
use std::io::{BufReader, Cursor, Read, Take};

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use zip::ZipArchive;
use zip::read::ZipFile;

/// The most bytes of all files that are read in an archive, after they are unpacked.
const MOST_UNPACKED: u64 = 128 << 20;
/// The most XML elements in an archive. A book of 1,000 pages has less than a million.
const MOST_ELEMENTS: u64 = 10_000_000;
/// The most files in an archive. Each one takes memory as soon as the archive is opened.
const MOST_FILES: u64 = 50_000;
/// The bytes of a file's entry in the directory of an archive, without its name.
const ENTRY: u64 = 46;
/// The deepest nesting of XML elements.
const DEEPEST: usize = 1000;

pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// The bytes and the elements that may still be read.
    bytes: u64,
    elements: u64,
}

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
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| format!("it is damaged: {error}"))?;
        Ok(Archive { zip, bytes: MOST_UNPACKED, elements: MOST_ELEMENTS })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.zip.file_names().filter_map(Result::ok)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.names().any(|other| other == name)
    }

    pub(super) fn bytes(&mut self, name: &str) -> Result<Vec<u8>, String> {
        let (mut bytes, left) = (Vec::new(), self.bytes);
        self.file(name)?.read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
        self.bytes = left.checked_sub(bytes.len() as u64).ok_or_else(|| too_large(name))?;
        Ok(bytes)
    }

    /// Passes the events of an XML file to `each`.
    pub(super) fn read(
        &mut self,
        name: &str,
        mut each: impl FnMut(Part<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let (bytes, mut elements) = (self.bytes, self.elements);
        let mut reader = Reader::from_reader(BufReader::new(self.file(name)?));
        let (mut buffer, mut depth) = (Vec::new(), 0);
        loop {
            let at = reader.buffer_position();
            let event = reader.read_event_into(&mut buffer);
            if reader.get_ref().get_ref().limit() == 0 {
                return Err(too_large(name));
            }
            match event.map_err(|error| format!("{name}, byte {at}: {error}"))? {
                Event::Eof => {
                    let read = reader.buffer_position();
                    drop(reader);
                    (self.bytes, self.elements) = (bytes - read, elements);
                    return Ok(());
                }
                Event::Start(_) | Event::Empty(_) if elements == 0 => {
                    return Err(format!(
                        "`{name}` in it has more than {} million XML elements",
                        MOST_ELEMENTS / 1_000_000
                    ));
                }
                Event::Start(element) => {
                    elements -= 1;
                    depth += 1;
                    if depth > DEEPEST {
                        return Err(format!("{name}, byte {at}: elements are nested more than {DEEPEST} deep"));
                    }
                    each(Part::Start(element.local_name().as_ref(), &element))?;
                }
                Event::Empty(element) => {
                    elements -= 1;
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

    fn file(&mut self, name: &str) -> Result<Take<ZipFile<'_, Cursor<&'a [u8]>>>, String> {
        let file = self.zip.by_name(name).map_err(|error| format!("it has no `{name}`: {error}"))?;
        Ok(file.take(self.bytes + 1))
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
    format!("it is larger than {} MiB when unpacked, up to `{name}` in it", MOST_UNPACKED >> 20)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn zipped(files: &[(&str, String)]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, text) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    /// Reads the files `a`, `b` and `c`, at most this much of them.
    fn read(texts: [&str; 3], bytes: u64, elements: u64) -> Result<(), String> {
        let files: Vec<_> = ["a", "b", "c"].into_iter().zip(texts.map(|text| format!("<x>{text}</x>"))).collect();
        let zip = zipped(&files);
        let mut archive = Archive { bytes, elements, ..Archive::open(&zip)? };
        archive.read("a", |_| Ok(()))?;
        archive.read("b", |_| Ok(()))?;
        archive.bytes("c").map(drop)
    }

    #[test]
    fn the_files_of_an_archive_are_bounded_together() {
        let (text, paragraphs) = ("x".repeat(93), "<p/>".repeat(9));
        assert_eq!(read([&text, &text, &text], 300, 2), Ok(()));
        let too_large = |name: &str| Err(format!("it is larger than 128 MiB when unpacked, up to `{name}` in it"));
        assert_eq!(read([&text, &text, &text], 299, 9), too_large("c"));
        assert_eq!(read([&text, &text, ""], 199, 9), too_large("b"));
        // Cut in the middle of an element.
        assert_eq!(read([&paragraphs, "", ""], 20, 99), too_large("a"));
        assert_eq!(read([&paragraphs, &paragraphs, ""], 300, 20), Ok(()));
        let too_many = |name: &str| Err(format!("`{name}` in it has more than 10 million XML elements"));
        assert_eq!(read([&paragraphs, "", ""], 300, 9), too_many("a"));
        assert_eq!(read([&paragraphs, &paragraphs, ""], 300, 19), too_many("b"));
    }
}
