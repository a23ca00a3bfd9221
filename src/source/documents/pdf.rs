//! PDF: the text of the pages in the order in which the file draws it, each page ended by a form feed.
//!
//! The crate `hayro-interpret` bounds nesting and breaks loops of pages, objects and forms. This file bounds what it
//! leaves open: the size of unpacked streams and the time. Ligatures and hyphens at line ends stay as they are.

use std::io::Read;
use std::time::{Duration, Instant};

use flate2::read::ZlibDecoder;
use hayro_interpret::font::{Glyph, GlyphRun, PositionedGlyph};
use hayro_interpret::hayro_cmap::BfString;
use hayro_interpret::hayro_syntax::object::{Array, DateTime, Stream};
use hayro_interpret::hayro_syntax::page::Page;
use hayro_interpret::hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use hayro_interpret::kurbo::{Affine, BezPath, Point, Rect, Vec2};
use hayro_interpret::{
    BlendMode, ClipPath, Context, Device, DrawMode, DrawProps, Image, ImageDrawProps, InterpreterCache,
    InterpreterSettings, RenderContent, SoftMask, interpret_page,
};

use super::content::{Content, Prose, named};

/// The most bytes of a stream after it is unpacked; streams that say that they are images may be larger.
const MOST_STREAM: u64 = 16 << 20;
const MOST_IMAGE: u64 = 256 << 20;
/// The most bytes of a stream in a packing of old programs, whose size when unpacked is not measured here.
const MOST_RARE: usize = 64 << 10;
/// The most bytes of the contents of all pages.
const MOST_CONTENTS: usize = 128 << 20;
const MOST_PAGES: usize = 100_000;
const LONGEST: Duration = Duration::from_secs(120);
/// The bytes before a stream in which its dictionary is looked for.
const DICTIONARY: usize = 1024;

pub(super) fn read(bytes: Vec<u8>) -> Result<Content, String> {
    within(bytes, LONGEST)
}

pub(super) fn within(bytes: Vec<u8>, longest: Duration) -> Result<Content, String> {
    check_streams(&bytes)?;
    let pdf = Pdf::new(bytes).map_err(|error| match error {
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => "it is encrypted and needs a password",
        LoadPdfError::Decryption(_) => "it is encrypted in a way that can't be read",
        LoadPdfError::Invalid => "it is not a PDF file, or it is damaged",
    })?;
    let pages = pdf.pages();
    if pages.len() > MOST_PAGES {
        return Err(format!("it has more than {MOST_PAGES} pages"));
    }
    let settings = InterpreterSettings { render_content: RenderContent::all(), ..InterpreterSettings::default() };
    let cache = InterpreterCache::new();
    let mut writer = Writer { prose: Prose::default(), end: None, until: Instant::now() + longest };
    let mut unpacked = 0;
    for (i, page) in pages.iter().enumerate() {
        unpacked += contents(page);
        if unpacked > MOST_CONTENTS {
            return Err(format!("its pages are larger than {} MiB when unpacked", MOST_CONTENTS >> 20));
        }
        if i > 0 {
            writer.prose.page();
        }
        writer.end = None;
        let area = Rect::new(0.0, 0.0, 1.0, 1.0);
        let mut context = Context::new(Affine::IDENTITY, area, &cache, pdf.xref(), settings.clone());
        interpret_page(page, &mut context, &mut writer);
    }
    let (text, _) = writer.prose.end();
    if text.trim().is_empty() {
        let count = pages.len();
        return Err(match count {
            1 => "no text layer; 1 page: a scan needs OCR first".to_owned(),
            _ => format!("no text layer; {count} pages: a scan needs OCR first"),
        });
    }
    let metadata = pdf.metadata();
    let title = metadata.title.as_deref().and_then(|title| named(&text_string(title)));
    let modified = metadata.modification_date.as_ref().map(date);
    Ok(Content { title, text, pages: Some(pages.len() as u64), modified })
}

/// Checks how large the streams become when they are unpacked, before another crate unpacks them as a whole.
fn check_streams(bytes: &[u8]) -> Result<(), String> {
    let mut at = 0;
    while let Some(found) = find(&bytes[at..], b"stream") {
        let start = at + found;
        at = start + b"stream".len();
        let data = match &bytes[at..] {
            [b'\r', b'\n', data @ ..] | [b'\n' | b'\r', data @ ..] => data,
            _ => continue,
        };
        let before = &bytes[start.saturating_sub(DICTIONARY)..start];
        let dictionary = &before[before.windows(4).rposition(|word| word == b" obj").unwrap_or(0)..];
        let is_image = find(dictionary, b"/Image").is_some();
        let most = if is_image { MOST_IMAGE } else { MOST_STREAM };
        let is_rare = [b"LZW".as_slice(), b"RunLength"].iter().any(|filter| find(dictionary, filter).is_some());
        let is_unbounded = is_rare && !is_image && find(data, b"endstream").unwrap_or(data.len()) > MOST_RARE;
        let size = match text_decoded(data) {
            Some(data) => unpacked(&data, most),
            None => unpacked(data, most),
        };
        if size > most || is_unbounded {
            return Err(format!("a part at byte {start} is larger than {} MiB when unpacked", most >> 20));
        }
    }
    Ok(())
}

/// The bytes of a stream that is written as hexadecimal digits or in base 85, if they are packed.
fn text_decoded(data: &[u8]) -> Option<Vec<u8>> {
    let end = find(data, b"endstream").unwrap_or(data.len());
    let text = || data[..end].iter().copied().filter(|byte| !byte.is_ascii_whitespace());
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    if text().take(16).all(|byte| digit(byte).is_some()) {
        let digits: Vec<u8> = text().map_while(digit).collect();
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        return is_packed(&bytes).then_some(bytes);
    }
    if !text().take(16).all(|byte| (b'!'..=b'u').contains(&byte) || byte == b'z') {
        return None;
    }
    let mut bytes = Vec::with_capacity(end / 5 * 4);
    let mut group = Vec::with_capacity(5);
    for byte in text().take_while(|byte| *byte != b'~') {
        match byte {
            b'z' if group.is_empty() => bytes.extend([0; 4]),
            _ => group.push(byte.saturating_sub(b'!')),
        }
        if let [a, b, c, d, e] = group[..] {
            let number =
                [a, b, c, d, e].iter().fold(0u32, |sum, digit| sum.wrapping_mul(85).wrapping_add(u32::from(*digit)));
            bytes.extend(number.to_be_bytes());
            group.clear();
        }
    }
    is_packed(&bytes).then_some(bytes)
}

/// The size of a stream, also of one that is packed twice, up to a little more than `most`.
fn unpacked(data: &[u8], most: u64) -> u64 {
    let size = |reader: &mut dyn Read| std::io::copy(&mut reader.take(most + 1), &mut std::io::sink()).unwrap_or(0);
    if !is_packed(data) {
        return 0;
    }
    let mut first = [0; 2];
    match ZlibDecoder::new(data).read_exact(&mut first) {
        Ok(()) if is_packed(&first) => size(&mut ZlibDecoder::new(ZlibDecoder::new(data))),
        _ => size(&mut ZlibDecoder::new(data)),
    }
}

/// Whether the data begins as zlib data does.
fn is_packed(data: &[u8]) -> bool {
    matches!(data, [first, second, ..] if first & 15 == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0)
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word)
}

/// The size of a page's contents, which no other page shares.
fn contents(page: &Page<'_>) -> usize {
    let Some(parts) = page.raw().get::<Array<'_>>(b"Contents".as_slice()) else {
        return page.page_stream().map_or(0, <[u8]>::len);
    };
    let mut size = 0;
    for stream in parts.iter::<Stream<'_>>() {
        size += stream.decoded_data().map_or(0, |data| data.len());
        if size > MOST_CONTENTS {
            break;
        }
    }
    size
}

/// A text of the document's properties: UTF-16 or UTF-8 with a mark, else nearly Latin 1.
fn text_string(bytes: &[u8]) -> String {
    match encoding_rs::Encoding::for_bom(bytes) {
        Some((encoding, mark)) => encoding.decode_without_bom_handling(&bytes[mark..]).0.into_owned(),
        None => encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned(),
    }
}

fn date(at: &DateTime) -> String {
    let DateTime { year, month, day, hour, minute, second, utc_offset_hour, utc_offset_minute } = *at;
    let zone = match (utc_offset_hour, utc_offset_minute) {
        (0, 0) => "Z".to_owned(),
        (hours, minutes) => format!("{hours:+03}:{minutes:02}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{zone}")
}

/// Writes glyphs as text: a gap becomes a space, another base line a new line, a larger step a blank line.
struct Writer {
    prose: Prose,
    end: Option<End>,
    until: Instant,
}

/// Where a glyph ends, its direction, and the size of its font.
#[derive(Clone, Copy)]
struct End {
    point: Point,
    along: Vec2,
    size: f64,
}

/// Why the interpretation of a page was stopped.
pub(super) struct Stopped(pub(super) String);

impl Writer {
    /// Stops the interpreter, which has no other way to be stopped.
    fn stop(&self, why: String) -> ! {
        std::panic::resume_unwind(Box::new(Stopped(why)))
    }

    fn check_time(&self) {
        if Instant::now() > self.until {
            self.stop(format!("reading it takes more than {} seconds", LONGEST.as_secs()));
        }
    }

    fn glyph(&mut self, glyph: &PositionedGlyph<'_>, transform: Affine) {
        let width = match &**glyph {
            Glyph::Outline(outline) => outline.advance_width(),
            Glyph::Type3(drawn) => drawn.advance_width(),
        };
        let [a, b, c, d, ..] = transform.as_coeffs();
        // The units of a glyph are thousandths of its font's size.
        let (unit, size) = (Vec2::new(a, b), Vec2::new(c, d).hypot() * 1000.0);
        let (start, along) = (transform * Point::ZERO, unit / unit.hypot().max(f64::MIN_POSITIVE));
        if let Some(end) = self.end {
            self.separate(end, start, along, size);
        }
        let written = match glyph.as_unicode() {
            Some(BfString::Char(character)) => self.prose.push(character.encode_utf8(&mut [0; 4])),
            Some(BfString::String(text)) => self.prose.push(&text),
            None => Ok(()),
        };
        if let Err(why) = written {
            self.stop(why);
        }
        self.end = Some(End { point: start + unit * f64::from(width.unwrap_or(0.0)), along, size });
    }

    fn separate(&mut self, end: End, start: Point, along: Vec2, size: f64) {
        let step = start - end.point;
        let (ahead, across) = (step.dot(end.along), step.cross(end.along).abs());
        let size = size.max(end.size);
        let turned = end.along.dot(along) < 0.9;
        if turned || across > 0.5 * size || (ahead < -0.5 * size && across > 0.1 * size) {
            match across > 1.8 * size {
                true => self.prose.paragraph(),
                false => self.prose.line(),
            }
        } else if ahead > 0.15 * size || ahead < -size {
            self.prose.space();
        }
    }
}

impl Device<'_> for Writer {
    fn draw_glyph_run(&mut self, run: &GlyphRun<'_, '_>, props: DrawProps<'_>, _: &DrawMode) {
        self.check_time();
        for glyph in run.glyphs() {
            self.glyph(glyph, props.transform * glyph.transform());
        }
    }

    // Every form draws at least its clip path.
    fn push_clip_path(&mut self, _: &ClipPath) {
        self.check_time();
    }

    fn draw_path(&mut self, _: &BezPath, _: DrawProps<'_>, _: &DrawMode) {}
    fn push_transparency_group(&mut self, _: f32, _: Option<SoftMask<'_>>, _: BlendMode) {}
    fn draw_image(&mut self, _: Image<'_, '_>, _: ImageDrawProps<'_>) {}
    fn pop_clip(&mut self) {}
    fn pop_transparency_group(&mut self) {}
}
