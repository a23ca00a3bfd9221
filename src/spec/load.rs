//! Loading: reads and checks the file of a spec.

use std::path::Path;

use super::Spec;
use crate::document::{Diagnostic, Document, EditError, SpecFormat, Unreadable};
use crate::table::parquet::folder_of;

#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) document: Document,
    pub(crate) problems: Vec<Diagnostic>,
    pub(crate) spec: Option<Spec>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("`{0}` is not a spec: its name must end in .toml, .yaml or .yml")]
    Extension(String),
    #[error("`{0}` can't be read: {1}")]
    Io(String, std::io::Error),
    #[error("`{0}` is not UTF-8 (byte {1})")]
    NotUtf8(String, usize),
    #[error("`--set`: {}", .0.message)]
    Setting(EditError),
}

pub(crate) fn load(path: &Path) -> Result<Loaded, LoadError> {
    load_with(path, &[])
}

/// Loads the spec with changed settings, such as `models.small.temperature=0.7`.
pub(crate) fn load_with(path: &Path, set: &[String]) -> Result<Loaded, LoadError> {
    match parse(path)? {
        Err(unreadable) => Ok(Loaded { document: unreadable.document, problems: unreadable.problems, spec: None }),
        Ok(mut document) => {
            set.iter().try_for_each(|setting| document.set(setting)).map_err(LoadError::Setting)?;
            let (spec, problems) = Spec::check(&mut document, folder_of(path));
            Ok(Loaded { document, problems, spec })
        }
    }
}

/// Reads the file of a spec without checking it.
pub(crate) fn document(path: &Path) -> Result<Document, LoadError> {
    Ok(parse(path)?.unwrap_or_else(|unreadable| unreadable.document))
}

fn parse(path: &Path) -> Result<Result<Document, Box<Unreadable>>, LoadError> {
    let name = path.display().to_string();
    let Some(format) = SpecFormat::of(path) else { return Err(LoadError::Extension(name)) };
    let bytes = std::fs::read(path).map_err(|error| LoadError::Io(name.clone(), error))?;
    let text =
        String::from_utf8(bytes).map_err(|error| LoadError::NotUtf8(name.clone(), error.utf8_error().valid_up_to()))?;
    Ok(Document::parse(name, text, format))
}
