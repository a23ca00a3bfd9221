//! Memos: what was found in files, kept as long as the files have the same size and time of change.
//!
//! A memo only saves work. The bytes of the files are hashed before and after an import, and a reader refuses rows that
//! do not fit the columns.

use std::path::PathBuf;
use std::time::SystemTime;

use parking_lot::Mutex;

type Stamp = (PathBuf, u64, SystemTime);

/// A clone remembers nothing: it may get other settings.
#[derive(Debug)]
pub(crate) struct Memo<T>(Mutex<Option<(Vec<Stamp>, T)>>);

impl<T: Clone> Memo<T> {
    /// What `find` finds in the files, or found there earlier.
    pub(crate) fn of<E>(
        &self,
        files: impl IntoIterator<Item = PathBuf>,
        find: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let stamps: Option<Vec<Stamp>> = files.into_iter().map(stamp).collect();
        let mut kept = self.0.lock();
        if let (Some(stamps), Some((known, found))) = (&stamps, &*kept)
            && stamps == known
        {
            return Ok(found.clone());
        }
        let found = find()?;
        *kept = stamps.map(|stamps| (stamps, found.clone()));
        Ok(found)
    }
}

fn stamp(file: PathBuf) -> Option<Stamp> {
    let facts = std::fs::metadata(&file).ok()?;
    Some((file, facts.len(), facts.modified().ok()?))
}

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Memo(Mutex::new(None))
    }
}

impl<T> Clone for Memo<T> {
    fn clone(&self) -> Self {
        Memo::default()
    }
}

/// What is remembered does not make settings different.
impl<T> PartialEq for Memo<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<T> Eq for Memo<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        let memo = Memo::default();
        let read = || memo.of([file.clone()], || std::fs::read_to_string(&file).map_err(|error| error.to_string()));
        assert!(read().is_err());
        std::fs::write(&file, "one").unwrap();
        assert_eq!(read(), Ok("one".to_owned()));
        let kept = memo.of([file.clone()], || Err("read again"));
        assert_eq!(kept, Ok("one".to_owned()));
        assert_eq!(memo.clone().of([file.clone()], || Err("read again")), Err("read again"));
        std::fs::write(&file, "other").unwrap();
        assert_eq!(read(), Ok("other".to_owned()));
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        std::fs::File::open(&file).unwrap().set_modified(later).unwrap();
        assert_eq!(memo.of([file.clone()], || Err("read again")), Err("read again"));
    }
}
