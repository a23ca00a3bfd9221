//! Create-if-absent: makes a complete file appear at a path unless one is there, also on network file systems.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::table::files::{folder_of, new_file, sync_folder};

/// The longest time from a marker to its file. A longer one means that its writer was killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes `file`, which must be in the folder of `path`, appear at `path`. Returns whether this call created the path.
pub(crate) fn put_if_absent(file: &NamedTempFile, path: &Path) -> io::Result<bool> {
    file.as_file().sync_all()?;
    let won = match std::fs::hard_link(file.path(), path) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => is_linked(file),
        // The reply of a network file system may be lost after it has made the link.
        Err(_) if is_linked(file) => true,
        Err(error) if has_no_links(&error) => put_by_marker(file, path)?,
        Err(error) => return Err(error),
    };
    sync_folder(folder_of(path))?;
    Ok(won)
}

/// Some file systems, such as BeeGFS and many of FUSE, have no hard links. A marker that is created first decides.
pub(crate) fn put_by_marker(file: &NamedTempFile, path: &Path) -> io::Result<bool> {
    let marker = marker(path);
    match OpenOptions::new().write(true).create_new(true).open(&marker) {
        Ok(_) if path.exists() => Ok(false),
        Ok(_) => publish(file, path).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let start = Instant::now();
            while !path.exists() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
            // The process that made the marker was killed, so the file is made now.
            if path.exists() { Ok(false) } else { publish(file, path).map(|()| true) }
        }
        Err(error) => Err(error),
    }
}

/// Writes `bytes` to `path` unless a file is there. Returns whether this call created the path.
pub(crate) fn write_if_absent(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    if path.exists() {
        return Ok(false);
    }
    std::fs::create_dir_all(folder_of(path))?;
    let mut file = new_file(path)?;
    io::Write::write_all(&mut file, bytes)?;
    put_if_absent(&file, path)
}

fn publish(file: &NamedTempFile, path: &Path) -> io::Result<()> {
    let copy = with_ending(file.path(), ".copy");
    std::fs::copy(file.path(), &copy)?;
    // Windows syncs only what is open for writing.
    File::options().write(true).open(&copy)?.sync_all()?;
    std::fs::rename(copy, path)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn marker(path: &Path) -> PathBuf {
    with_ending(path, ".taken")
}

fn has_no_links(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied | ErrorKind::CrossesDevices)
}

#[cfg(unix)]
fn is_linked(file: &NamedTempFile) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(file.path()).is_ok_and(|found| found.nlink() == 2)
}

#[cfg(not(unix))]
fn is_linked(_: &NamedTempFile) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// The numbers of the threads that created `path`, of 16 that race.
    fn winners(put: fn(&NamedTempFile, &Path) -> io::Result<bool>, path: &Path) -> Vec<usize> {
        let start = std::sync::Barrier::new(16);
        std::thread::scope(|scope| {
            let race = |number: usize| {
                let start = &start;
                scope.spawn(move || {
                    let mut file = new_file(path).unwrap();
                    write!(file, "{number}").unwrap();
                    start.wait();
                    put(&file, path).unwrap().then_some(number)
                })
            };
            let racers: Vec<_> = (0..16).map(race).collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        })
    }

    #[test]
    fn one_of_many_racers_wins_and_its_file_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let ways: [fn(&NamedTempFile, &Path) -> io::Result<bool>; 2] = [put_if_absent, put_by_marker];
        for (way, put) in ways.into_iter().enumerate() {
            for round in 0..20 {
                let path = folder.path().join(format!("{way}-{round}"));
                let winners = winners(put, &path);
                assert_eq!(winners.len(), 1, "{winners:?}");
                assert_eq!(std::fs::read_to_string(&path).unwrap(), winners[0].to_string());
            }
        }
    }

    #[test]
    fn a_marker_of_a_killed_process_blocks_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(marker(&path), "").unwrap();
        let mut file = new_file(&path).unwrap();
        file.write_all(b"later").unwrap();
        assert!(put_by_marker(&file, &path).unwrap() && !put_by_marker(&file, &path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"later");
    }

    #[test]
    fn a_file_that_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert!(write_if_absent(&path, b"first").unwrap());
        assert!(!write_if_absent(&path, b"second").unwrap());
        let mut file = new_file(&path).unwrap();
        file.write_all(b"third").unwrap();
        assert!(!put_if_absent(&file, &path).unwrap() && !put_by_marker(&file, &path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
    }
}
