//! The formats of documents: their extensions and how they are read.
//!
//! To add a format: a file with a `read` function and a row in [`FORMATS`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

use super::content::Content;
use super::{docx, epub, html, odt, pdf, plain, rtf};
use crate::name::listed;

/// The most bytes of a document's file.
pub(super) const MOST_BYTES: u64 = 256 << 20;
/// Threads that read documents have this name, and a panic in them is not printed.
pub(super) const THREAD: &str = "fanfold-document";

struct Format {
    extensions: &'static [&'static str],
    /// The first bytes of every such file, if they tell more than the extension.
    start: &'static [u8],
    /// Reads the bytes of a file; the text is the label of an encoding, for formats that do not declare theirs.
    read: fn(Vec<u8>, Option<&str>) -> Result<Content, String>,
}

static FORMATS: &[Format] = &[
    Format { extensions: &["txt", "text"], start: b"", read: |bytes, label| plain::text(&bytes, label) },
    Format { extensions: &["md", "markdown"], start: b"", read: |bytes, label| plain::markdown(&bytes, label) },
    Format { extensions: &["html", "htm", "xhtml"], start: b"", read: |bytes, label| html::read(&bytes, label) },
    Format { extensions: &["docx", "docm"], start: b"", read: |bytes, _| docx::read(&bytes) },
    Format { extensions: &["odt"], start: b"", read: |bytes, _| odt::read(&bytes) },
    Format { extensions: &["rtf"], start: b"{\\rtf", read: |bytes, _| rtf::read(&bytes) },
    Format { extensions: &["epub"], start: b"", read: |bytes, _| epub::read(&bytes) },
    Format { extensions: &["pdf"], start: b"%PDF-", read: |bytes, _| pdf::read(bytes) },
];

/// The extensions of all formats.
pub(crate) fn extensions() -> impl Iterator<Item = &'static str> {
    FORMATS.iter().flat_map(|format| format.extensions.iter().copied())
}

/// Reads a document. The error says why it can't be read, also if a crate that reads it fails.
pub(super) fn read(path: &Path, label: Option<&str>) -> Result<Content, String> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase()).unwrap_or_default();
    let by_extension = FORMATS.iter().find(|format| format.extensions.contains(&extension.as_str()));
    let facts = std::fs::metadata(path).map_err(|error| format!("it can't be read: {error}"))?;
    if !facts.is_file() {
        return Err(if facts.is_dir() { "the folder can't be opened" } else { "it is not a file" }.to_owned());
    }
    if by_extension.is_none() && extension != "doc" {
        let known = listed(extensions());
        return Err(match extension.is_empty() {
            true => format!("it has no extension; the formats are {known}"),
            false => format!("`.{extension}` is not a format of documents; the formats are {known}"),
        });
    }
    if facts.len() > MOST_BYTES {
        return Err(format!("it is larger than {} MiB", MOST_BYTES >> 20));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("it can't be read: {error}"))?;
    let by_start = FORMATS.iter().find(|format| !format.start.is_empty() && bytes.starts_with(format.start));
    let Some(format) = by_start.or(by_extension) else {
        return Err("it is in the old format of Word; save it as .docx".to_owned());
    };
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let content = guarded(|| (format.read)(bytes, label))?;
    if content.text.trim().is_empty() {
        return Err("it contains no text".to_owned());
    }
    Ok(content)
}

/// Reads bytes as a document with this extension, as the fuzzer does.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_bytes(extension: &str, bytes: Vec<u8>) -> Result<String, String> {
    let format = FORMATS.iter().find(|format| format.extensions.contains(&extension)).ok_or("an extension")?;
    guarded(|| (format.read)(bytes, None)).map(|content| content.text)
}

/// Turns a panic into an error.
pub(super) fn guarded(read: impl FnOnce() -> Result<Content, String>) -> Result<Content, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| {
        Err(match panic.downcast::<pdf::Stopped>() {
            Ok(stopped) => stopped.0,
            Err(_) => "it is damaged: the reader of this format failed".to_owned(),
        })
    })
}

/// Keeps panics of threads that read documents from the terminal: they are errors of rows.
pub(super) fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some(THREAD) {
                others(panic);
            }
        }));
    });
}
