//! Folders: the files below a folder that match a glob, ordered by path.
//!
//! Links to files are read. Links to folders are not followed, so that a loop of links ends. Hidden files match only a
//! part of a glob that begins with a dot.

use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern, PatternError};

use crate::source::matching::is_glob;

/// Files that programs leave beside documents.
const LITTER: [&str; 2] = ["thumbs.db", "desktop.ini"];

/// A glob as its folder without `*`, `?` and `[`, and the rest.
pub(super) fn split_glob(glob: &str) -> (PathBuf, String) {
    let parts: Vec<_> = Path::new(glob).iter().collect();
    let fixed = parts.iter().take_while(|part| !is_glob(&part.to_string_lossy())).count();
    let rest = parts[fixed..].iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
    (parts[..fixed].iter().collect(), rest)
}

/// The files below `base` that match, and the folders that can't be opened.
pub(super) fn files(base: &Path, glob: &str) -> Result<Vec<PathBuf>, PatternError> {
    let pattern = Pattern::new(glob)?;
    let deepest = if glob.contains("**") { usize::MAX } else { glob.split('/').count() };
    let options =
        MatchOptions { require_literal_separator: true, require_literal_leading_dot: true, ..MatchOptions::new() };
    let (mut files, mut open) = (Vec::new(), vec![(base.to_owned(), 1)]);
    while let Some((folder, depth)) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            files.extend(folder.exists().then_some(folder));
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                let is_hidden = name(&path).starts_with('.') && !glob.starts_with('.') && !glob.contains("/.");
                if !path.is_symlink() && !is_hidden && depth < deepest {
                    open.push((path, depth + 1));
                }
            } else if pattern.matches_with(&below(base, &path), options) && !is_litter(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The path below `base`, with `/` between its parts on every system.
pub(super) fn below(base: &Path, file: &Path) -> String {
    let parts = file.strip_prefix(base).unwrap_or(file).iter().map(|part| part.to_string_lossy());
    parts.collect::<Vec<_>>().join("/")
}

/// Whether another program made the file as a lock or a cache.
fn is_litter(file: &Path) -> bool {
    let name = name(file).to_lowercase();
    name.starts_with("~$") || name.starts_with(".~lock.") || LITTER.contains(&name.as_str())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
