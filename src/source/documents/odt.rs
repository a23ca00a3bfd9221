//! ODT: the paragraphs and tables of an OpenDocument text. A note is in brackets where its mark is.
//!
//! Not read: headers, footers, comments, and deleted text.

use super::archive::{Archive, Part, attribute};
use super::content::{Content, Prose};
use super::docx::properties;

/// Elements whose text is not part of the document.
const SKIPPED: [&str; 4] = ["annotation", "tracked-changes", "note-citation", "forms"];
/// The most spaces that one element may write.
const MOST_SPACES: usize = 1000;

pub(super) fn read(bytes: &[u8]) -> Result<Content, String> {
    let mut archive = Archive::open(bytes)?;
    let manifest = "META-INF/manifest.xml";
    if archive.has(manifest) {
        let mut encrypted = false;
        archive.read(manifest, |part| {
            encrypted |= matches!(part, Part::Start("encryption-data", _));
            Ok(())
        })?;
        if encrypted {
            return Err("it is encrypted; save it without a password".to_owned());
        }
    }
    let mut body = Body::default();
    archive.read("content.xml", |part| body.take(part))?;
    let (title, modified) = properties(&mut archive, "meta.xml", ["title", "date"])?;
    let (text, pages) = body.prose.end();
    Ok(Content { title, text, pages, modified })
}

#[derive(Default)]
struct Body {
    prose: Prose,
    paragraphs: usize,
    tables: usize,
    notes: usize,
    skipped: usize,
}

impl Body {
    fn take(&mut self, part: Part<'_>) -> Result<(), String> {
        match part {
            Part::Start(name, _) if SKIPPED.contains(&name) => self.skipped += 1,
            Part::End(name) if SKIPPED.contains(&name) => self.skipped = self.skipped.saturating_sub(1),
            _ if self.skipped > 0 => {}
            Part::Start(name, element) => match name {
                "p" | "h" => self.paragraphs += 1,
                "s" => {
                    let count = attribute(element, "c").and_then(|count| count.parse().ok()).unwrap_or(1);
                    self.prose.push(&" ".repeat(usize::min(count, MOST_SPACES)))?;
                }
                "tab" => self.prose.push("\t")?,
                "line-break" => self.prose.line_break(),
                "soft-page-break" => self.prose.page(),
                "table" => self.tables += 1,
                "note" => {
                    self.notes += 1;
                    self.prose.push(" [")?;
                }
                _ => {}
            },
            Part::End(name) => match name {
                "p" | "h" => {
                    self.paragraphs = self.paragraphs.saturating_sub(1);
                    match self.tables > 0 || self.notes > 0 {
                        true => self.prose.space(),
                        false => self.prose.paragraph(),
                    }
                }
                "table-cell" => self.prose.cell(),
                "table-row" => self.prose.line(),
                "table" => {
                    self.tables = self.tables.saturating_sub(1);
                    self.prose.paragraph();
                }
                "note" => {
                    self.notes = self.notes.saturating_sub(1);
                    self.prose.trim(&[' ']);
                    self.prose.push("]")?;
                }
                _ => {}
            },
            Part::Text(text) if self.paragraphs > 0 => self.prose.push_words(text)?,
            Part::Text(_) => {}
        }
        Ok(())
    }
}
