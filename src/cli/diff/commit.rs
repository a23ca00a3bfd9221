//! A commit of a spec: its text and its lock, read with the `git` program.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::super::{Exit, Failure};
use crate::document::{Document, SpecFormat};
use crate::lock::Lock;
use crate::table::files::folder_of;

/// The document of a spec, with the files of its prompts, and its lock.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) document: Value,
    pub(super) lock: Option<Lock>,
}

struct Commit {
    folder: PathBuf,
    id: String,
}

impl Commit {
    fn find(folder: &Path, revision: &str) -> Result<Commit, Failure> {
        let failure = |message: String, help: &str| Failure::new(Exit::Environment, message).help(help);
        let git = |words: &[&str]| {
            git(folder, words).map_err(|error| {
                let message = format!("`{revision}` is neither a file nor a run, and `git` can't be started: {error}");
                failure(message, "install git, or name a run from `fanfold runs SPEC`")
            })
        };
        if !git(&["rev-parse", "--is-inside-work-tree"])?.status.success() {
            let message = format!("`{revision}` is neither a file nor a run, and {} is not in git", folder.display());
            return Err(failure(message, "name a run from `fanfold runs SPEC`, or a file"));
        }
        let named = format!("{revision}^{{commit}}");
        let found = git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &named])?;
        let id = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        if !found.status.success() || id.is_empty() {
            let message = format!("`{revision}` is neither a file, a run nor a commit");
            return Err(failure(message, "`fanfold runs SPEC` lists the runs, `git log` the commits"));
        }
        Ok(Commit { folder: folder.to_owned(), id })
    }

    /// The text of a file, by its path from the folder. `None` if the commit does not have it.
    fn file(&self, path: &str) -> Option<String> {
        let shown = git(&self.folder, &["show", &format!("{}:./{path}", self.id)]).ok()?;
        shown.status.success().then(|| String::from_utf8_lossy(&shown.stdout).into_owned())
    }
}

fn git(folder: &Path, words: &[&str]) -> std::io::Result<Output> {
    Command::new("git").arg("-C").arg(folder).args(words).output()
}

/// The version of the spec at `path` in the commit `revision`.
pub(super) fn version_in(path: &Path, revision: &str) -> Result<Version, Failure> {
    let folder = folder_of(path);
    let commit = Commit::find(folder, revision)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let failure = |message: String| Failure::new(Exit::Spec, message);
    let text = commit.file(&name).ok_or_else(|| failure(format!("the commit `{revision}` has no `{name}`")))?;
    let lock = match commit.file(&format!("{name}.lock")) {
        None => None,
        Some(text) => {
            Some(Lock::parse(&text).map_err(|error| failure(format!("{name}.lock in `{revision}`: {error}")))?)
        }
    };
    let document = parsed(path, text, |file| commit.file(file));
    let document = document.ok_or_else(|| failure(format!("`{name}` in `{revision}` can't be read as a spec")))?;
    Ok(Version { document, lock })
}

/// The version of the spec at `path` in its folder.
pub(super) fn version_now(path: &Path) -> Option<Version> {
    let folder = folder_of(path);
    let document =
        parsed(path, std::fs::read_to_string(path).ok()?, |file| std::fs::read_to_string(folder.join(file)).ok())?;
    Some(Version { document, lock: Lock::read(&Lock::path_of(path)).ok().flatten() })
}

/// `None` if the text has syntax errors.
fn parsed(path: &Path, text: String, read: impl Fn(&str) -> Option<String>) -> Option<Value> {
    let document = Document::parse(path.display().to_string(), text, SpecFormat::of(path)?).ok()?;
    let mut value = document.root.to_json();
    with_prompts(&mut value, &read);
    Some(value)
}

/// Puts the texts of prompt files in the place of their paths.
fn with_prompts(value: &mut Value, read: &impl Fn(&str) -> Option<String>) {
    let Value::Object(table) = value else { return };
    let file = table.get("prompt_file").and_then(Value::as_str);
    if let Some(text) = file.and_then(read) {
        table.remove("prompt_file");
        table.insert("prompt".to_owned(), text.into());
    }
    table.values_mut().for_each(|inner| with_prompts(inner, read));
}
