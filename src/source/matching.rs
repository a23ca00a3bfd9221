//! File matching: the file of a path, or all files that a glob matches, ordered by name.

use std::path::{Path, PathBuf};

use super::batches::SourceError;
use super::reader::DataFile;
use crate::name::{listed, nearest};
use crate::object::{Address, Bucket, ObjectError, fetch};

/// The most files that are listed instead of a missing one.
const NEIGHBOURS: usize = 5;

/// The files that `path` matches in `folder`, ordered by name; an error if there are none.
///
/// A file or folder that exists under the name as written wins over the glob that the name could be, even with `*`, `?`
/// or `[` in it. A glob never matches hidden files.
pub(crate) fn files(folder: &Path, path: &str) -> Result<Vec<DataFile>, SourceError> {
    if let Some(address) = Address::parse(path) {
        return address.and_then(|address| objects(folder, &address)).map_err(|error| wrong_object(path, error));
    }
    let named = |path: PathBuf| DataFile { shown: shown(folder, &path), path };
    let whole = folder.join(path);
    if whole.is_file() {
        return Ok(vec![named(whole)]);
    }
    let wrong = |message: String| SourceError::new(message).at(["path"]);
    if !is_glob(path) {
        return Err(match whole.is_dir() {
            true => wrong(format!("`{path}` is a folder"))
                .help(format!("name the files in it, such as `{}/*.csv`", path.trim_end_matches('/'))),
            false if path.contains("://") => wrong(format!("`{path}` is an address, and a source reads files"))
                .help("download the file first, and write its path; `s3://`, `gs://` and `az://` are read as they are"),
            false => wrong(format!("there is no file `{path}`")).help(neighbours(folder, path)),
        });
    }
    let inside = glob::Pattern::escape(&folder.to_string_lossy());
    let path_or_glob = with_folders_escaped(folder, path);
    let pattern = match Path::new(path).is_absolute() || inside.is_empty() {
        true => path_or_glob,
        false => format!("{inside}/{path_or_glob}"),
    };
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
    let found = glob::glob_with(&pattern, options)
        .map_err(|e| wrong(format!("`{path}` is not a valid glob: {}", e.msg)).help(GLOBS))?;
    let mut files = Vec::new();
    for entry in found {
        let file = entry.map_err(|e| wrong(format!("`{path}`: {e}")))?;
        if file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    match files.is_empty() {
        true => {
            let bracket =
                if path.contains('[') { "; write `[[]` for a bracket in a name, since `[` is special" } else { "" };
            Err(wrong(format!("no file matches `{path}`")).help(format!("looked in {}{bracket}", folder.display())))
        }
        false => Ok(files.into_iter().map(named).collect()),
    }
}

/// The copies of the objects that an address with or without a glob matches, ordered by name.
fn objects(folder: &Path, address: &Address) -> Result<Vec<DataFile>, ObjectError> {
    let copy = |address: &Address| Ok(DataFile { path: fetch(folder, address)?, shown: address.to_string() });
    if !is_glob(address.key()) {
        return Ok(vec![copy(address)?]);
    }
    let pattern = glob::Pattern::new(address.key())
        .map_err(|error| ObjectError::new(format!("`{address}` is not a valid glob: {}", error.msg), GLOBS))?;
    let plain = address.key().split(['*', '?', '[']).next().unwrap_or_default();
    let listed = plain.rsplit_once('/').map_or("", |(folder, _)| folder);
    let options = glob::MatchOptions {
        require_literal_leading_dot: true,
        require_literal_separator: true,
        ..glob::MatchOptions::new()
    };
    let names = Bucket::open(&address.root())?.list(listed)?;
    let found: Vec<DataFile> = names
        .iter()
        .filter(|name| pattern.matches_with(name, options))
        .map(|name| copy(&address.with_key(name)))
        .collect::<Result<_, _>>()?;
    if found.is_empty() {
        let help = format!("looked in `{}`", address.with_key(listed));
        return Err(ObjectError::new(format!("no object matches `{address}`"), help));
    }
    Ok(found)
}

const GLOBS: &str = "`*`, `**`, `?` and `[a-z]` are special";

fn wrong_object(path: &str, error: ObjectError) -> SourceError {
    // The place in the spec shows the address.
    let message = if error.message.contains(path) { error.message } else { format!("`{path}`: {}", error.message) };
    SourceError { help: error.help, ..SourceError::new(message).at(["path"]) }
}

/// The glob `path`, with the folders at its start that exist under their names as written escaped.
fn with_folders_escaped(folder: &Path, path: &str) -> String {
    let mut reached = folder.to_owned();
    let mut names: Vec<String> = Vec::new();
    let mut parts = path.split('/').peekable();
    while let Some(name) = parts.next() {
        reached.push(if name.is_empty() && names.is_empty() { "/" } else { name });
        if parts.peek().is_none() || !reached.is_dir() {
            names.push(name.to_owned());
            break;
        }
        names.push(glob::Pattern::escape(name));
    }
    names.extend(parts.map(str::to_owned));
    names.join("/")
}

/// What is there instead of the missing file `path`: a file or a folder of a similar name, or the other files.
pub(crate) fn neighbours(folder: &Path, path: &str) -> String {
    let whole = folder.join(path);
    let missing = |path: &&Path| {
        !path.exists() && path.parent().is_none_or(|parent| parent.as_os_str().is_empty() || parent.exists())
    };
    let missing = whole.ancestors().find(missing).unwrap_or(&whole).to_owned();
    let parent = missing.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = match shown(folder, parent) {
        place if place.is_empty() || place == "." => "the current folder".to_owned(),
        place => format!("`{place}`"),
    };
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    let name = missing.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(near) = nearest(name, names.iter().map(String::as_str)) {
        return format!("did you mean `{}`?", shown(folder, &missing.with_file_name(near)));
    }
    match names.len() {
        _ if missing != whole => format!("there is no folder `{}`", shown(folder, &missing)),
        0 => format!("{place} is empty"),
        1..=NEIGHBOURS => format!("{place} has {}", listed(names.iter().map(String::as_str))),
        _ => format!("looked in {place}"),
    }
}

/// Whether `file`, a path below `folder`, is one that the path of a source reads as a glob.
pub(crate) fn matches_glob(folder: &Path, path: &str, file: &Path) -> bool {
    let path = path.strip_prefix("./").unwrap_or(path);
    let options = glob::MatchOptions {
        require_literal_separator: true,
        require_literal_leading_dot: true,
        ..glob::MatchOptions::new()
    };
    let matches = |glob: glob::Pattern| glob.matches_path_with(file, options);
    is_glob(path)
        && !folder.join(path).exists()
        && glob::Pattern::new(&with_folders_escaped(folder, path)).is_ok_and(matches)
}

pub(crate) fn is_glob(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

fn shown(folder: &Path, file: &Path) -> String {
    let shown = file.strip_prefix(folder).unwrap_or(file).display().to_string();
    if cfg!(windows) { shown.replace('\\', "/") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_gives_files_in_name_order_and_nothing_hidden() {
        let folder = tempfile::Builder::new().prefix("odd[x]").tempdir().unwrap();
        for name in ["b.csv", "a.csv", ".hidden.csv", "c.tsv"] {
            std::fs::write(folder.path().join(name), "x\n").unwrap();
        }
        std::fs::create_dir(folder.path().join("d.csv")).unwrap();
        let found = files(folder.path(), "*.csv").unwrap();
        let names: Vec<String> = found.into_iter().map(|f| f.shown).collect();
        assert_eq!(names, ["a.csv", "b.csv"]);
        std::fs::write(folder.path().join("[1].csv"), "x\n").unwrap();
        assert_eq!(files(folder.path(), "[1].csv").unwrap().len(), 1);
    }

    #[test]
    fn folders_that_exist_are_not_globs() {
        let folder = tempfile::tempdir().unwrap();
        // Windows has no such names.
        let wild: &[&str] = if cfg!(windows) { &[] } else { &["who?/x*/a.csv"] };
        for name in ["data [raw]/wave [1].csv", "data [raw]/b.csv", "data r/c.csv"].iter().chain(wild) {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x\n").unwrap();
        }
        let found = |path: &str| files(folder.path(), path).unwrap().into_iter().map(|f| f.shown).collect::<Vec<_>>();
        assert_eq!(found("data [raw]/*.csv"), ["data [raw]/b.csv", "data [raw]/wave [1].csv"]);
        assert_eq!(found("data [[]raw]/wave*.csv"), ["data [raw]/wave [1].csv"]);
        wild.iter().for_each(|name| assert_eq!(found("who?/x*/*.csv"), [*name]));
        assert_eq!(found("data [q-s]/*.csv"), ["data r/c.csv"]);
        let absolute = format!("{}/data [raw]/b*", folder.path().display());
        assert_eq!(found(&absolute), ["data [raw]/b.csv"]);
        let error = files(folder.path(), "data [xyz]/*.csv").unwrap_err();
        assert!(error.help.unwrap().ends_with("write `[[]` for a bracket in a name, since `[` is special"));
    }

    #[test]
    fn what_is_not_there_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let error = files(folder.path(), "a.csv").unwrap_err();
        assert_eq!(error.message, "there is no file `a.csv`");
        assert_eq!(error.field, ["path"]);
        assert_eq!(files(folder.path(), "*.csv").unwrap_err().message, "no file matches `*.csv`");
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let error = files(folder.path(), "data").unwrap_err();
        assert_eq!(error.message, "`data` is a folder");
        assert_eq!(error.help.unwrap(), "name the files in it, such as `data/*.csv`");
        assert!(files(folder.path(), "a***.csv").unwrap_err().message.starts_with("`a***.csv` is not a valid glob"));
    }
}
