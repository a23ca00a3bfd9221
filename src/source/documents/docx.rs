//! DOCX: the paragraphs and tables of a Word document, then its footnotes and endnotes.
//!
//! Not read: headers, footers, comments, deleted text, and the texts of pictures.

use super::archive::{Archive, Part, attribute};
use super::content::{Content, Prose, named};

pub(super) fn read(bytes: &[u8]) -> Result<Content, String> {
    let mut archive = Archive::open(bytes)?;
    let main = archive.names().find(|name| name.starts_with("word/document") && name.ends_with(".xml"));
    let main = main.ok_or("it is not a Word document: it has no `word/document.xml`")?.into_owned();
    let mut body = Body::default();
    archive.read(&main, |part| body.take(part))?;
    for notes in ["word/footnotes.xml", "word/endnotes.xml"] {
        if archive.has(notes) {
            archive.read(notes, |part| body.take(part))?;
        }
    }
    let (title, modified) = properties(&mut archive, "docProps/core.xml", ["title", "modified"])?;
    let (text, pages) = body.prose.end();
    Ok(Content { title, text, pages, modified })
}

/// The title and the time of the last change, from the elements with these names.
pub(super) fn properties(
    archive: &mut Archive<'_>,
    name: &str,
    elements: [&str; 2],
) -> Result<(Option<String>, Option<String>), String> {
    let mut found = [String::new(), String::new()];
    let mut inside = None;
    if archive.has(name) {
        // Damaged properties do not make the text unreadable.
        let _ = archive.read(name, |part| {
            match part {
                Part::Start(element, _) => inside = elements.iter().position(|wanted| *wanted == element),
                Part::End(_) => inside = None,
                Part::Text(text) => {
                    if let Some(i) = inside {
                        found[i].push_str(text);
                    }
                }
            }
            Ok(())
        });
    }
    Ok((named(&found[0]), named(&found[1])))
}

#[derive(Default)]
struct Body {
    prose: Prose,
    in_text: bool,
    tables: usize,
    /// Depth inside an element that repeats what another program's element says.
    fallback: usize,
}

impl Body {
    fn take(&mut self, part: Part<'_>) -> Result<(), String> {
        match part {
            Part::Start("Fallback", _) => self.fallback += 1,
            Part::End("Fallback") => self.fallback = self.fallback.saturating_sub(1),
            _ if self.fallback > 0 => {}
            Part::Start(name, element) => match name {
                "t" => self.in_text = true,
                "tab" if attribute(element, "val").is_none() => self.prose.push("\t")?,
                "noBreakHyphen" => self.prose.push("-")?,
                "cr" => self.prose.line_break(),
                "br" if attribute(element, "type").as_deref() == Some("page") => self.page(),
                "br" => self.prose.line_break(),
                "lastRenderedPageBreak" => self.page(),
                "tbl" => self.tables += 1,
                _ => {}
            },
            Part::End(name) => match name {
                "t" => self.in_text = false,
                "p" if self.tables > 0 => self.prose.space(),
                "p" => self.prose.paragraph(),
                "tc" => self.prose.cell(),
                "tr" => self.prose.line(),
                "tbl" => {
                    self.tables = self.tables.saturating_sub(1);
                    self.prose.paragraph();
                }
                _ => {}
            },
            Part::Text(text) if self.in_text => self.prose.push(text)?,
            Part::Text(_) => {}
        }
        Ok(())
    }

    /// Word writes where its last layout broke pages, also after a break that the writer asked for.
    fn page(&mut self) {
        if !self.prose.page_is_blank() {
            self.prose.page();
        }
    }
}
