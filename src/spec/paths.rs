//! Paths: files that a spec names must be in its folder, unless the spec says `allow_outside = true`.

use std::path::{Component, Path, PathBuf};

use crate::source;

/// Returns the path without `.` and `..`, except for a leading `..`. Does not access the disk.
pub(crate) fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// Whether `path`, relative to `folder`, stays in that folder. Follows links of existing paths.
pub(crate) fn stays_inside(folder: &Path, path: &str) -> bool {
    let written = Path::new(path);
    if written.is_absolute() || plain(written).starts_with("..") {
        return false;
    }
    let Ok(root) = folder.canonicalize() else { return true };
    let joined = folder.join(plain(written));
    let existing = joined.ancestors().find_map(|a| a.canonicalize().ok());
    existing.is_none_or(|real| real.starts_with(root))
}

/// Reads the text files that a spec in `folder` names. `outside` is whether they may leave the folder.
pub(super) fn reader(folder: &Path, outside: bool) -> impl Fn(&str) -> Result<String, String> + use<> {
    let folder = folder.to_owned();
    move |path: &str| {
        if !outside && !stays_inside(&folder, path) {
            return Err(format!("`{path}` leaves the folder of the spec"));
        }
        source::read_text(&folder, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_folder_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        for inside in ["a.csv", "data/a.csv", "./a", "data/../a.csv", "data/*.csv"] {
            assert!(stays_inside(folder.path(), inside), "{inside}");
        }
        for outside in ["../a.csv", "/etc/passwd", "data/../../a.csv", ".."] {
            assert!(!stays_inside(folder.path(), outside), "{outside}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_out_of_the_folder_is_followed() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(other.path(), folder.path().join("out")).unwrap();
        assert!(!stays_inside(folder.path(), "out/x.parquet"));
    }
}
