//! Loading: reads and checks the file of a spec.

use std::path::Path;

use super::stability::of_lock;
use super::{Frozen, Spec};
use crate::document::{Diagnostic, Document, EditError, SpecFormat, Unreadable, Value};
use crate::name::suggestion;
use crate::table::files::folder_of;

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
    #[error("`--source`: {}", .0.message)]
    Source(EditError),
}

pub(crate) fn load(path: &Path) -> Result<Loaded, LoadError> {
    load_with(path, &[])
}

/// Loads the spec with changed settings, such as `models.small.temperature=0.7`, and with other files for its sources:
/// `sources.speeches=new.csv`.
pub(crate) fn load_with(path: &Path, set: &[String]) -> Result<Loaded, LoadError> {
    let frozen = Frozen { paraphrases: of_lock(path), ..Frozen::default() };
    load_frozen(path, folder_of(path), set, &frozen)
}

/// Loads a copy of a spec whose folder is `folder`, with what is known of it.
pub(crate) fn load_frozen(path: &Path, folder: &Path, set: &[String], frozen: &Frozen) -> Result<Loaded, LoadError> {
    match parse(path)? {
        Err(unreadable) => Ok(Loaded { document: unreadable.document, problems: unreadable.problems, spec: None }),
        Ok(mut document) => {
            for setting in set {
                match other_file(setting) {
                    Some((source, file)) => read_from(&mut document, source, file).map_err(LoadError::Source)?,
                    None => document.set(setting).map_err(LoadError::Setting)?,
                }
            }
            let (spec, problems) = Spec::check_frozen(&mut document, folder, frozen);
            Ok(Loaded { document, problems, spec })
        }
    }
}

/// The fields of a source about its rows and columns. The others are about the format of its file.
const ROWS: [&str; 6] = ["columns", "key", "limit", "sample", "types", "where"];

/// The source and the file of the setting `sources.NAME=FILE`.
pub(crate) fn other_file(setting: &str) -> Option<(&str, &str)> {
    let (name, file) = setting.strip_prefix("sources.")?.split_once('=')?;
    (!name.contains('.') && !file.trim_start().starts_with('{')).then_some((name, file))
}

/// Replaces the data of a source by those of `file`.
fn read_from(document: &mut Document, name: &str, file: &str) -> Result<(), EditError> {
    let mut sources = document.root.get_mut("sources");
    let names: Vec<String> = sources.iter().flat_map(|all| all.entries()).map(|entry| entry.key.clone()).collect();
    let Some(source) = sources.as_mut().and_then(|all| all.get_mut(name)) else {
        let help = suggestion(name, "there are", names.iter().map(String::as_str));
        return Err(EditError { message: format!("the spec has no source `{name}`"), help });
    };
    source.retain(|field| ROWS.contains(&field));
    source.insert("type", Value::String("file".to_owned()));
    source.insert("path", Value::String(file.to_owned()));
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from_file(setting: &str) -> Result<String, EditError> {
        let text = "[sources.a]\ntype = \"file\"\npath = \"a.csv\"\ndelimiter = \";\"\nkey = \"id\"\n";
        let mut document = Document::parse("spec.toml", text.to_owned(), SpecFormat::Toml).unwrap();
        let (name, file) = other_file(setting).unwrap_or_else(|| panic!("{setting} names no file"));
        read_from(&mut document, name, file).map(|()| document.root.to_json()["sources"]["a"].to_string())
    }

    #[test]
    fn another_file_keeps_the_settings_of_rows_and_drops_those_of_the_format() {
        let expected = r#"{"key":"id","type":"file","path":"d/b = c.parquet"}"#;
        assert_eq!(read_from_file("sources.a=d/b = c.parquet").as_deref(), Ok(expected));
        let error = read_from_file("sources.ab=b.csv").unwrap_err();
        assert_eq!(error.help.as_deref(), Some("did you mean `a`?"));
    }

    #[test]
    fn other_settings_of_sources_are_settings() {
        for setting in ["sources.a.path=b.csv", "sources.a={ type = \"inline\" }", "models.a=b", "sources.a"] {
            assert_eq!(other_file(setting), None, "{setting}");
        }
    }
}
