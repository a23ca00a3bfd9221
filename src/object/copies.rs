//! Copies of objects in a project's folder, which are read and written like any file.
//!
//! ```text
//! .fanfold/objects/<hash of the address>/
//!   <name>             the bytes of the object
//!   <name>.version     the version of the object that they are
//! ```
//!
//! A process looks for a new version once, so that everything it reads is of one version.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};

use super::address::Address;
use super::bucket::Bucket;
use super::error::ObjectError;
use crate::table::files::{new_file, persist};

const FOLDER: [&str; 2] = [".fanfold", "objects"];

/// The copies that this process has compared with their objects.
static COMPARED: LazyLock<Mutex<HashMap<PathBuf, Result<(), ObjectError>>>> = LazyLock::new(Mutex::default);

/// Where the copy of an object is; `folder` is the project's.
pub(crate) fn copy_path(folder: &Path, address: &Address) -> PathBuf {
    let hash = blake3::hash(address.to_string().as_bytes()).to_hex();
    let folder = FOLDER.iter().fold(folder.to_owned(), |path, name| path.join(name));
    folder.join(&hash[..16]).join(address.name())
}

/// The copy of an object. Downloads the object if it differs from the copy.
pub(crate) fn fetch(folder: &Path, address: &Address) -> Result<PathBuf, ObjectError> {
    let copy = copy_path(folder, address);
    let mut compared = COMPARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let done = compared.entry(copy.clone()).or_insert_with(|| download(address, &copy));
    done.clone().map(|()| copy)
}

fn download(address: &Address, copy: &Path) -> Result<(), ObjectError> {
    let bucket = Bucket::open(&address.root())?;
    let Some(version) = bucket.version(address.key())? else {
        let _ = std::fs::remove_file(copy);
        return Err(bucket.missing(address.key()));
    };
    if copy.exists() && std::fs::read_to_string(version_path(copy)).is_ok_and(|old| old == version) {
        return Ok(());
    }
    let broken = |error: io::Error| unwritten(address, &error);
    let file = create_folder(copy).and_then(|()| new_file(copy)).map_err(broken)?;
    let version = bucket.get_file(address.key(), file.as_file())?;
    let replace = || {
        remove(&version_path(copy))?;
        persist(file, copy)?;
        std::fs::write(version_path(copy), version)
    };
    replace().map_err(broken)
}

/// Takes note that a copy is going to be written, and will differ from its object.
pub(crate) fn outdate(copy: &Path) -> io::Result<()> {
    create_folder(copy)?;
    remove(&version_path(copy))
}

/// Writes the copy as the object, which appears whole or not at all.
pub(crate) fn publish(address: &Address, copy: &Path) -> Result<(), ObjectError> {
    let version = Bucket::open(&address.root())?.put_file(address.key(), copy)?;
    std::fs::write(version_path(copy), version).map_err(|error| unwritten(address, &error))?;
    let mut compared = COMPARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    compared.insert(copy.to_owned(), Ok(()));
    Ok(())
}

fn unwritten(address: &Address, error: &io::Error) -> ObjectError {
    ObjectError { message: format!("the copy of `{address}` can't be written: {error}"), help: None }
}

fn version_path(copy: &Path) -> PathBuf {
    let mut name = copy.as_os_str().to_owned();
    name.push(".version");
    name.into()
}

/// Creates the folder of a copy, which git ignores.
fn create_folder(copy: &Path) -> io::Result<()> {
    let folder = copy.parent().unwrap_or(copy);
    std::fs::create_dir_all(folder)?;
    match folder.parent().map(|objects| objects.join(".gitignore")) {
        Some(ignore) if !ignore.exists() => std::fs::write(ignore, "*\n"),
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
