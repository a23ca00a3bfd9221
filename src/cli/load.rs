//! Loading: from a path to a checked spec, with every problem shown.

use std::path::{Path, PathBuf};

use super::diagnostics;
use super::terminal::Terminal;
use crate::document::{Diagnostic, Document, Format};
use crate::spec::Spec;

/// A document with what was found in it.
pub struct Loaded {
    /// The document.
    pub document: Document,
    /// All problems.
    pub problems: Vec<Diagnostic>,
    /// The spec, if no problem is an error.
    pub spec: Option<Spec>,
}

/// Reads and checks the spec at `path`; the error is a sentence about the file itself.
pub fn load(path: &Path) -> Result<Loaded, String> {
    let name = path.display().to_string();
    let Some(format) = Format::of(path) else {
        return Err(format!("`{name}` is not a spec: its name must end in .toml, .yaml or .yml"));
    };
    let bytes = std::fs::read(path).map_err(|error| format!("`{name}` can't be read: {error}"))?;
    let text = String::from_utf8(bytes)
        .map_err(|error| format!("`{name}` is not UTF-8 (byte {})", error.utf8_error().valid_up_to()))?;
    match Document::parse(name, text, format) {
        Err(unreadable) => Ok(Loaded { document: unreadable.document, problems: unreadable.problems, spec: None }),
        Ok(mut document) => {
            let (spec, problems) = Spec::check(&mut document, &folder(path));
            Ok(Loaded { document, problems, spec })
        }
    }
}

/// The folder of a spec.
fn folder(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

/// The spec at `path`; without one, every problem has been shown.
pub fn load_or_show(path: &Path, terminal: &Terminal) -> Option<Spec> {
    with_document(path, terminal).map(|(_, spec)| spec)
}

/// The spec at `path` with its document; without one, every problem has been shown.
pub fn with_document(path: &Path, terminal: &Terminal) -> Option<(Document, Spec)> {
    match load(path) {
        Err(message) => {
            terminal.error(&message, None);
            None
        }
        Ok(loaded) => {
            if !loaded.problems.is_empty() {
                let shown = diagnostics::human(&loaded.problems, &loaded.document, terminal.color);
                terminal.marked(shown.trim_end());
            }
            Some((loaded.document, loaded.spec?))
        }
    }
}
