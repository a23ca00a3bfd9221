//! Locating weights: finds the file of a model id and checks its hash.
//!
//! An id is the name of a built-in model, a file of a model hub, the path of a `.gguf` file, or a name that Ollama has
//! pulled. This file opens no connection.

use std::fs;
use std::path::Path;

use super::builtin::{Builtin, Folders, Located, Origin};
use super::hash::{sha256_of, short};
use super::hub::HubFile;
use super::ollama;
use crate::provider::endpoint::EndpointError;

/// A path is relative to the spec's folder. Reads no weights and fetches nothing.
pub(crate) fn locate(id: &str, spec_folder: &Path, folders: &Folders) -> Result<Located, EndpointError> {
    if let Some(builtin) = Builtin::find(id) {
        let sha256 = Some(builtin.sha256.to_owned());
        let origin = Some(Origin::Builtin(builtin));
        return Ok(Located { path: builtin.path(folders), sha256, origin, unused: Vec::new() });
    }
    if let Some(file) = HubFile::parse(id) {
        let file = file?;
        let (path, sha256) =
            folders.hub.find(&file).unwrap_or_else(|| (folders.hub.snapshot(&file, &file.revision), None));
        return Ok(Located { path, sha256, origin: Some(Origin::Hub(file)), unused: Vec::new() });
    }
    if id.ends_with(".gguf") {
        let path = spec_folder.join(id);
        return match fs::metadata(&path) {
            Ok(found) if found.is_file() => Ok(Located { path, sha256: None, origin: None, unused: Vec::new() }),
            Ok(_) => Err(EndpointError::new(format!("the weights {} are not a file", path.display()))),
            Err(error) => {
                let error = EndpointError::new(format!("the weights {} can't be read: {error}", path.display()));
                Err(error.help("the path starts in the spec's folder, and `~` is not expanded"))
            }
        };
    }
    ollama::find(id, &folders.ollama)
}

/// Whether Ollama has pulled a model of this name, usable or not.
#[cfg(feature = "embedded")]
pub(crate) fn is_pulled(id: &str, folders: &Folders) -> bool {
    ollama::is_pulled(id, &folders.ollama)
}

/// Slow: reads the whole file.
pub(crate) fn verify(located: &Located) -> Result<String, EndpointError> {
    let found = sha256_of(&located.path)?;
    match &located.sha256 {
        Some(expected) if *expected != found => {
            let path = located.path.display();
            let message =
                format!("{path} is not what its name says: its SHA-256 is {}, not {}", short(&found), short(expected));
            let again = match &located.origin {
                Some(Origin::Builtin(builtin)) => format!("delete it and run `fanfold models pull {}`", builtin.name()),
                Some(Origin::Hub(file)) => format!("delete it and run `fanfold models pull {file}`"),
                None => "delete it and pull the model again with `ollama pull`".to_owned(),
            };
            Err(EndpointError::new(message).help(again))
        }
        _ => Ok(found),
    }
}
