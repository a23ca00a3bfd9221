//! Leases: the right to make a call, which one process at a time has. Several runs over one ledger pay a call once.
//!
//! A lease is a lock on one byte of `.fanfold/locks/calls.lock`, whose place is the hash of the call's key. The
//! operating system releases it when the process ends, so a lease needs no heartbeat and no clock. Locks belong to the
//! open file, not to the process, so two runs in one process exclude each other too.
//!
//! ```text
//! bytes 0..8     how many processes have opened the file
//! byte 8         locked shared by each process that has the file open
//! byte 9         locked while the count is changed
//! bytes 16..     one for each key
//! ```

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::record::Key;

const PRESENT: i64 = 8;
const COUNTING: i64 = 9;
const KEYS: i64 = 16;

pub(crate) struct Leases {
    file: Option<File>,
    /// The count if no other process had the file open when this one opened it.
    alone: Option<u64>,
}

/// The right to make a call, until it is dropped.
pub(crate) struct Lease<'a> {
    held: Option<(&'a File, i64)>,
}

impl Leases {
    /// The leases of the calls of a ledger.
    pub(crate) fn of(ledger: &Path) -> Leases {
        Leases::open(&ledger.with_file_name("locks").join("calls.lock"))
    }

    /// A file system without such locks gives every lease at once.
    fn open(path: &Path) -> Leases {
        open(path).unwrap_or(Leases { file: None, alone: None })
    }

    /// Takes the lease of a call. Returns `None` while another process has it.
    pub(crate) fn take(&self, key: Key) -> Option<Lease<'_>> {
        let Some(file) = &self.file else { return Some(Lease { held: None }) };
        let number = u128::from_be_bytes(key.0) as i64 & (i64::MAX >> 1);
        match bytes::lock(file, KEYS + number) {
            Ok(true) => Some(Lease { held: Some((file, KEYS + number)) }),
            Ok(false) => None,
            Err(_) => Some(Lease { held: None }),
        }
    }

    /// Whether no other process has had the file open since this one opened it. Then the ledger has no answers of
    /// others.
    pub(crate) fn is_alone(&self) -> bool {
        let Some((file, at_start)) = self.file.as_ref().zip(self.alone) else { return false };
        count(file).is_ok_and(|now| now == at_start)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some((file, place)) = self.held {
            // The lock also ends with the process.
            let _ = bytes::unlock(file, place);
        }
    }
}

fn open(path: &Path) -> io::Result<Leases> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    while !bytes::lock(&file, COUNTING)? {
        std::thread::sleep(Duration::from_millis(1));
    }
    let counted = bytes::announce(&file, PRESENT).and_then(|others| Ok((others, add_one(&file)?)));
    bytes::unlock(&file, COUNTING)?;
    let (others, count) = counted?;
    Ok(Leases { file: Some(file), alone: (!others).then_some(count) })
}

/// How many processes have opened the file.
fn count(file: &File) -> io::Result<u64> {
    let mut number = [0; 8];
    let read = bytes::read(file, &mut number)?;
    Ok(if read < number.len() { 0 } else { u64::from_le_bytes(number) })
}

fn add_one(file: &File) -> io::Result<u64> {
    let next = count(file)? + 1;
    bytes::write(file, &next.to_le_bytes()).map(|()| next)
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
mod bytes {
    //! Locks on single bytes of an open file, and the bytes at its beginning.

    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::FileExt;

    // The system's headers give these values another type on macOS than on Linux.
    const SHARED: libc::c_short = libc::F_RDLCK as libc::c_short;
    const EXCLUSIVE: libc::c_short = libc::F_WRLCK as libc::c_short;
    const NONE: libc::c_short = libc::F_UNLCK as libc::c_short;

    /// Locks a byte for this open file alone. Returns `false` if another open file has locked it.
    pub(super) fn lock(file: &File, place: i64) -> io::Result<bool> {
        match control(file, libc::F_OFD_SETLK, EXCLUSIVE, place) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn unlock(file: &File, place: i64) -> io::Result<()> {
        control(file, libc::F_OFD_SETLK, NONE, place).map(drop)
    }

    /// Locks a byte together with the other open files, until the file is closed. Returns whether another open file has
    /// locked it.
    pub(super) fn announce(file: &File, place: i64) -> io::Result<bool> {
        control(file, libc::F_OFD_SETLK, SHARED, place)?;
        Ok(control(file, libc::F_OFD_GETLK, EXCLUSIVE, place)?.l_type != NONE)
    }

    pub(super) fn read(file: &File, into: &mut [u8]) -> io::Result<usize> {
        file.read_at(into, 0)
    }

    pub(super) fn write(file: &File, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, 0)
    }

    fn control(file: &File, command: libc::c_int, kind: libc::c_short, place: i64) -> io::Result<libc::flock> {
        // SAFETY: all zeros are a valid `flock`.
        let mut range: libc::flock = unsafe { std::mem::zeroed() };
        range.l_type = kind;
        range.l_whence = libc::SEEK_SET as libc::c_short;
        range.l_start = place;
        range.l_len = 1;
        // SAFETY: the descriptor is open, and the system writes at most a `flock` to the address.
        match unsafe { libc::fcntl(file.as_raw_fd(), command, &mut range) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(range),
        }
    }
}

#[cfg(windows)]
mod bytes {
    //! Locks on single bytes of an open file, and the bytes at its beginning, which no lock covers.

    use std::fs::File;
    use std::io;
    use std::os::windows::fs::FileExt;
    use std::os::windows::io::AsRawHandle;

    use windows_sys::Win32::Foundation::{ERROR_LOCK_VIOLATION, HANDLE};
    use windows_sys::Win32::Storage::FileSystem::{
        LOCK_FILE_FLAGS, LOCKFILE_EXCLUSIVE_LOCK, LOCKFILE_FAIL_IMMEDIATELY, LockFileEx, UnlockFileEx,
    };
    use windows_sys::Win32::System::IO::OVERLAPPED;

    /// Locks a byte for this open file alone. Returns `false` if another open file has locked it.
    pub(super) fn lock(file: &File, place: i64) -> io::Result<bool> {
        match take(file, place, LOCKFILE_EXCLUSIVE_LOCK | LOCKFILE_FAIL_IMMEDIATELY) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(ERROR_LOCK_VIOLATION as i32) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) fn unlock(file: &File, place: i64) -> io::Result<()> {
        let mut at = at(place);
        // SAFETY: the handle is open, and `at` lives until the call returns.
        done(unsafe { UnlockFileEx(handle(file), 0, 1, 0, &mut at) })
    }

    /// Locks a byte together with the other open files, until the file is closed. Returns whether another open file has
    /// locked it. The caller keeps other open files from doing the same meanwhile.
    pub(super) fn announce(file: &File, place: i64) -> io::Result<bool> {
        let others = !lock(file, place)?;
        if !others {
            unlock(file, place)?;
        }
        take(file, place, LOCKFILE_FAIL_IMMEDIATELY).map(|()| others)
    }

    pub(super) fn read(file: &File, into: &mut [u8]) -> io::Result<usize> {
        file.seek_read(into, 0)
    }

    pub(super) fn write(file: &File, bytes: &[u8]) -> io::Result<()> {
        match file.seek_write(bytes, 0)? {
            written if written == bytes.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn take(file: &File, place: i64, flags: LOCK_FILE_FLAGS) -> io::Result<()> {
        let mut at = at(place);
        // SAFETY: the handle is open and not asynchronous, so `at` is not used after the call.
        done(unsafe { LockFileEx(handle(file), flags, 0, 1, 0, &mut at) })
    }

    fn handle(file: &File) -> HANDLE {
        file.as_raw_handle() as HANDLE
    }

    fn at(place: i64) -> OVERLAPPED {
        let mut at = OVERLAPPED::default();
        at.Anonymous.Anonymous.Offset = place as u32;
        at.Anonymous.Anonymous.OffsetHigh = (place >> 32) as u32;
        at
    }

    fn done(returned: i32) -> io::Result<()> {
        if returned == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
mod bytes {
    //! Systems without locks that belong to an open file.

    use std::fs::File;
    use std::io;

    fn none<T>() -> io::Result<T> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn lock(_: &File, _: i64) -> io::Result<bool> {
        none()
    }

    pub(super) fn unlock(_: &File, _: i64) -> io::Result<()> {
        none()
    }

    pub(super) fn announce(_: &File, _: i64) -> io::Result<bool> {
        none()
    }

    pub(super) fn read(_: &File, _: &mut [u8]) -> io::Result<usize> {
        none()
    }

    pub(super) fn write(_: &File, _: &[u8]) -> io::Result<()> {
        none()
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "macos", windows)))]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_lease_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("locks/calls.lock");
        let [one, other] = [(); 2].map(|()| Leases::open(&path));
        let keys = [Key([0; 16]), Key([255; 16]), Key([7; 16])];
        for key in keys {
            let held = one.take(key).expect("the first lease");
            assert!(other.take(key).is_none());
            assert!(keys.iter().filter(|another| **another != key).all(|another| other.take(*another).is_some()));
            drop(held);
            assert!(other.take(key).is_some());
        }
        let held = one.take(keys[0]);
        drop(held);
        let held = one.take(keys[0]);
        std::mem::forget(held);
        drop(one);
        assert!(other.take(keys[0]).is_some(), "a lease ends with its process");
    }

    #[test]
    fn a_process_knows_whether_others_were_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.lock");
        let one = Leases::open(&path);
        assert!(one.is_alone());
        let other = Leases::open(&path);
        assert!(!one.is_alone() && !other.is_alone());
        drop(other);
        assert!(!one.is_alone(), "the other may have left answers");
        drop(one);
        assert!(Leases::open(&path).is_alone());
    }
}
