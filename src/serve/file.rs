//! Files that people fill: read as they are, and changed only if nothing else has changed them or has them open.
//!
//! A request names the content of the file that the page has read. If the file has other content, nothing is saved. So a
//! second page and a person who edits the file by hand never lose anything to this one.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::source::SourceError;
use crate::store::Project;
use crate::table::files::replace;

/// Why a file was not read or not changed, as a sentence without its end.
#[derive(Debug, PartialEq)]
pub(super) enum Refused {
    /// The file has other content than the page has read.
    Changed(String),
    /// What the page asks for can't be.
    Wrong(String),
    /// The file can't be read or written now.
    Failed(String),
}

impl From<SourceError> for Refused {
    fn from(error: SourceError) -> Refused {
        let help = error.help.map_or(String::new(), |help| format!(" ({help})"));
        Refused::Failed(format!("{}{help}", error.message))
    }
}

/// The length of a file and when it was changed.
pub(super) type Stamp = (u64, SystemTime);

pub(super) struct FilledFile {
    /// The path in the spec.
    pub(super) path: String,
    file: PathBuf,
    /// The folder of the spec.
    pub(super) folder: PathBuf,
}

impl FilledFile {
    pub(super) fn new(path: &str, folder: &Path) -> FilledFile {
        FilledFile { path: path.to_owned(), file: folder.join(path), folder: folder.to_owned() }
    }

    pub(super) fn bytes(&self) -> Result<Vec<u8>, Refused> {
        std::fs::read(&self.file).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                Refused::Failed(format!("`{}` does not exist yet. A run writes its sheets at its end", self.path))
            }
            _ => Refused::Failed(format!("`{}` can't be read: {error}", self.path)),
        })
    }

    /// Changes when the file changes. Asking costs nothing.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let found = std::fs::metadata(&self.file).ok()?;
        Some((found.len(), found.modified().ok()?))
    }

    /// Replaces the content called `version` by the result of `edit`, and returns the new version.
    pub(super) fn change(
        &self,
        version: &str,
        edit: impl FnOnce(&[u8]) -> Result<Vec<u8>, Refused>,
    ) -> Result<String, Refused> {
        if let Some(lock) = opened(&self.file) {
            return Err(Refused::Failed(format!(
                "`{}` is open in a spreadsheet program. Close it there; if it is not open, delete `{lock}` next to it",
                self.path
            )));
        }
        let failed = |error: String| Refused::Failed(format!("`{}` can't be written: {error}", self.path));
        let hold = Project::of(&self.folder).hold_sheet(&self.file);
        let _hold = hold.map_err(|error| failed(error.to_string()))?;
        let before = self.bytes()?;
        if self::version(&before) != version {
            return Err(self.changed());
        }
        let after = edit(&before)?;
        match replace(&self.file, &before, &after).map_err(|error| failed(error.to_string()))? {
            true => Ok(self::version(&after)),
            false => Err(self.changed()),
        }
    }

    pub(super) fn changed(&self) -> Refused {
        Refused::Changed(format!("`{}` has changed since this page has read it", self.path))
    }
}

/// The name of a content.
pub(super) fn version(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The file by which Excel or LibreOffice shows that it has a file open. It would overwrite what is saved meanwhile.
fn opened(file: &Path) -> Option<String> {
    let file = file.canonicalize().ok()?;
    let name = file.file_name()?.to_str()?;
    [format!("~${name}"), format!(".~lock.{name}#")].into_iter().find(|lock| file.with_file_name(lock).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_changed_only_as_the_page_has_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = FilledFile::new("a.csv", folder.path());
        assert!(matches!(file.bytes(), Err(Refused::Failed(_))));
        std::fs::write(folder.path().join("a.csv"), "one").unwrap();
        let first = version(&file.bytes().unwrap());
        let second = file.change(&first, |_| Ok(b"two".to_vec())).unwrap();
        assert_eq!(file.change(&first, |_| Ok(b"three".to_vec())), Err(file.changed()));
        let meanwhile = file.change(&second, |_| {
            std::fs::write(folder.path().join("a.csv"), "by hand").unwrap();
            Ok(b"three".to_vec())
        });
        assert_eq!(meanwhile, Err(file.changed()));
        assert_eq!(file.bytes().unwrap(), b"by hand");
    }

    #[test]
    fn a_file_that_a_spreadsheet_program_has_open_is_not_changed() {
        for lock in ["~$a.csv", ".~lock.a.csv#"] {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("a.csv"), "one").unwrap();
            std::fs::write(folder.path().join(lock), "Anna").unwrap();
            let file = FilledFile::new("a.csv", folder.path());
            let refused = file.change(&version(b"one"), |_| Ok(b"two".to_vec()));
            assert!(matches!(&refused, Err(Refused::Failed(why)) if why.contains(lock)), "{refused:?}");
            std::fs::remove_file(folder.path().join(lock)).unwrap();
            file.change(&version(b"one"), |_| Ok(b"two".to_vec())).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_its_file_gets_the_change() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.csv"), folder.path().join("a.csv"));
        std::fs::write(&real, "one").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let file = FilledFile::new("a.csv", folder.path());
        file.change(&version(b"one"), |_| Ok(b"two".to_vec())).unwrap();
        assert!(link.is_symlink() && std::fs::read(&real).unwrap() == b"two");
        std::fs::write(folder.path().join(".~lock.real.csv#"), "").unwrap();
        assert!(file.change(&version(b"two"), |_| Ok(b"three".to_vec())).is_err(), "the lock of the file itself");
    }
}
