//! EPUB: the chapters in their reading order, without page numbers.

use super::archive::{Archive, Part, attribute};
use super::content::{Content, MOST_TEXT, named};
use super::html;
use super::plain::decoded;

/// What the package file of a book says.
#[derive(Default)]
struct Package {
    title: String,
    modified: String,
    /// Identifiers of chapters with their files.
    files: Vec<(String, String)>,
    /// Identifiers in the order of reading.
    order: Vec<String>,
}

pub(super) fn read(bytes: &[u8]) -> Result<Content, String> {
    let mut archive = Archive::open(bytes)?;
    let mut path = None;
    archive.read("META-INF/container.xml", |part| {
        if let Part::Start("rootfile", element) = part {
            path = path.take().or_else(|| attribute(element, "full-path"));
        }
        Ok(())
    })?;
    let path = path.ok_or("it is not a book: `META-INF/container.xml` names no package file")?;
    let package = package(&mut archive, &path)?;
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut text = String::new();
    for id in &package.order {
        let Some((_, file)) = package.files.iter().find(|(other, _)| other == id) else { continue };
        let chapter = archive.bytes(&joined(folder, file))?;
        let chapter = decoded(&chapter, None).map_err(|_| format!("`{file}` in it is encrypted or damaged"))?;
        let chapter = html::page(&chapter)?.text;
        if !text.is_empty() && !chapter.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&chapter);
        if text.len() > MOST_TEXT {
            return Err(format!("its text is larger than {} MiB", MOST_TEXT >> 20));
        }
    }
    Ok(Content { title: named(&package.title), text, pages: None, modified: named(&package.modified) })
}

fn package(archive: &mut Archive<'_>, path: &str) -> Result<Package, String> {
    let mut package = Package::default();
    let (mut in_title, mut in_modified) = (false, false);
    archive.read(path, |part| {
        match part {
            Part::Start("title", _) => in_title = package.title.is_empty(),
            Part::Start("meta", element) => {
                in_modified = attribute(element, "property").as_deref() == Some("dcterms:modified");
            }
            Part::Start("item", element) => {
                let is_page = attribute(element, "media-type").is_none_or(|kind| kind.contains("html"));
                if let (Some(id), Some(file), true) = (attribute(element, "id"), attribute(element, "href"), is_page) {
                    package.files.push((id, file));
                }
            }
            Part::Start("itemref", element) => package.order.extend(attribute(element, "idref")),
            Part::Text(text) if in_title => package.title.push_str(text),
            Part::Text(text) if in_modified => package.modified.push_str(text),
            Part::End("title" | "meta") => (in_title, in_modified) = (false, false),
            _ => {}
        }
        Ok(())
    })?;
    Ok(package)
}

/// The name in the archive of a file that a file in `folder` refers to.
fn joined(folder: &str, file: &str) -> String {
    let file = file.split('#').next().unwrap_or_default();
    let mut bytes = Vec::with_capacity(file.len());
    let mut rest = file.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| first == b'%');
        match escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(byte) => (bytes.push(byte), rest = &after[2..]),
            None => (bytes.push(first), rest = after),
        };
    }
    let file = String::from_utf8_lossy(&bytes);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    #[test]
    fn references_are_relative_to_the_package() {
        assert_eq!(super::joined("OEBPS/text", "../a%20b.xhtml#c"), "OEBPS/a b.xhtml");
        assert_eq!(super::joined("", "./c%.xhtml"), "c%.xhtml");
    }
}
