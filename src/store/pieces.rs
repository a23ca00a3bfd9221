//! Pieces: a table of an earlier run is cut where its bytes say, and equal pieces of all such tables are stored once.
//!
//! `part-00000.parquet` becomes `part-00000.pieces`, a list of hashes and lengths. The pieces are in
//! `pieces.sqlite`. Readers get the bytes of the file as they were, each piece compared with its hash.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::error::StoreError;
use crate::table::files::{folder_of, new_file, persist, sync_folder};
use crate::table::parquet::{Table, TableError};
use crate::table::stored::{ReadRange, Stored};

const LIST: &str = "pieces";
const STORE: &str = "pieces.sqlite";
/// The bytes of a piece. Only the last one of a file can be shorter.
const LEAST: usize = 8 << 10;
const MOST: usize = 96 << 10;
/// A piece ends after a byte at which this many bits of the rolling hash are 0: on average after 16 KB more.
const ZEROS: u32 = 14;
/// A transaction ends after a file with which it has this many bytes.
const GROUP: usize = 64 << 20;
/// How long a connection waits for another process.
const WAIT: Duration = Duration::from_secs(60);
const SCHEMA: &str = "PRAGMA page_size = 2048; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA cache_size = -2048;
    CREATE TABLE IF NOT EXISTS pieces (hash BLOB PRIMARY KEY, bytes BLOB NOT NULL) STRICT;";

type Hash = [u8; 16];

/// What the rolling hash adds for a byte. Files are cut in the same places by all versions with the same table.
static GEAR: [u64; 256] = gear();

const fn gear() -> [u64; 256] {
    let (mut table, mut state, mut at) = ([0; 256], 0u64, 0);
    while at < 256 {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        table[at] = mixed ^ (mixed >> 31);
        at += 1;
    }
    table
}

/// The length of the first piece of `bytes`, which are at least [`MOST`] or the end of a file.
fn first_piece(bytes: &[u8]) -> usize {
    let mut rolling = 0u64;
    for (at, byte) in bytes.iter().enumerate().skip(LEAST) {
        rolling = (rolling << 1).wrapping_add(GEAR[usize::from(*byte)]);
        if rolling >> (u64::BITS - ZEROS) == 0 {
            return at + 1;
        }
    }
    bytes.len()
}

fn each_piece(mut reader: impl Read, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(MOST);
    loop {
        let room = MOST - bytes.len();
        reader.by_ref().take(room as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let end = first_piece(&bytes);
        each(&bytes[..end])?;
        bytes.drain(..end);
    }
}

fn hash(bytes: &[u8]) -> Hash {
    let mut first = Hash::default();
    first.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    first
}

fn broken(error: rusqlite::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// The pieces of a project.
pub(super) struct Pieces {
    path: PathBuf,
    connection: Connection,
}

impl Pieces {
    pub(super) fn path(project: &Path) -> PathBuf {
        project.join(STORE)
    }

    /// Opens the pieces of the project with this folder; creates them if there are none.
    pub(super) fn open(project: &Path) -> Result<Pieces, StoreError> {
        let path = Pieces::path(project);
        let open = || {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(WAIT)?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        let connection = open().map_err(|error| StoreError::io(&path)(broken(error)))?;
        Ok(Pieces { path, connection })
    }

    /// Replaces files by lists of their pieces.
    pub(super) fn cut(&self, mut files: &[PathBuf]) -> Result<(), StoreError> {
        while !files.is_empty() {
            let mut lists = Vec::new();
            self.keep_some(files, &mut lists).map_err(StoreError::io(&self.path))?;
            let (done, rest) = files.split_at(lists.len());
            replace(done, &lists).map_err(StoreError::io(&done[0]))?;
            files = rest;
        }
        Ok(())
    }

    /// Stores the pieces of the first files in one transaction. Adds the list of each to `lists`.
    fn keep_some(&self, files: &[PathBuf], lists: &mut Vec<String>) -> io::Result<()> {
        let transaction = self.connection.unchecked_transaction().map_err(broken)?;
        let mut sum = 0;
        for file in files {
            let mut list = String::new();
            each_piece(File::open(file)?, |bytes| {
                let hash = hash(bytes);
                self.keep(&hash, bytes).map_err(broken)?;
                let _ = writeln!(list, "{} {}", hex(&hash), bytes.len());
                sum += bytes.len();
                Ok(())
            })?;
            lists.push(list);
            if sum > GROUP {
                break;
            }
        }
        transaction.commit().map_err(broken)
    }

    /// Adds a piece unless it is there undamaged.
    fn keep(&self, hash: &Hash, bytes: &[u8]) -> rusqlite::Result<()> {
        let mut find = self.connection.prepare_cached("SELECT bytes = ?2 FROM pieces WHERE hash = ?1")?;
        if find.query_row(params![hash, bytes], |row| row.get(0)).optional()? != Some(true) {
            let mut add = self.connection.prepare_cached("INSERT OR REPLACE INTO pieces VALUES (?1, ?2)")?;
            add.execute(params![hash, bytes])?;
        }
        Ok(())
    }

    /// The bytes of the pieces that no list in `lists` names.
    pub(super) fn unused(&self, lists: &[PathBuf]) -> Result<u64, StoreError> {
        let named = named(lists)?;
        let mut unused = 0;
        self.each(|hash, length| unused += if named.contains(hash) { 0 } else { length.unsigned_abs() })?;
        Ok(unused)
    }

    /// Deletes the pieces that no list in `lists` names.
    pub(super) fn sweep(&self, lists: &[PathBuf]) -> Result<(), StoreError> {
        let named = named(lists)?;
        let mut unused = Vec::new();
        self.each(|hash, _| unused.extend((!named.contains(hash)).then_some(*hash)))?;
        let sweep = || {
            let transaction = self.connection.unchecked_transaction()?;
            {
                let mut delete = transaction.prepare("DELETE FROM pieces WHERE hash = ?1")?;
                unused.iter().try_for_each(|hash| delete.execute(params![hash]).map(drop))?;
            }
            transaction.commit()?;
            // Each step frees a page.
            let mut vacuum = self.connection.prepare("PRAGMA incremental_vacuum")?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            Ok(())
        };
        sweep().map_err(|error| StoreError::io(&self.path)(broken(error)))
    }

    fn each(&self, mut each: impl FnMut(&Hash, i64)) -> Result<(), StoreError> {
        let mut read = || {
            let mut all = self.connection.prepare("SELECT hash, length(bytes) FROM pieces")?;
            let mut rows = all.query([])?;
            while let Some(row) = rows.next()? {
                each(&row.get(0)?, row.get(1)?);
            }
            Ok(())
        };
        read().map_err(|error| StoreError::io(&self.path)(broken(error)))
    }
}

/// Writes the lists of files, and then removes the files.
fn replace(files: &[PathBuf], lists: &[String]) -> io::Result<()> {
    for (file, list) in files.iter().zip(lists) {
        let mut written = new_file(file)?;
        written.write_all(list.as_bytes())?;
        written.as_file().sync_all()?;
        written.persist(list_path(file))?;
    }
    let folders: HashSet<&Path> = files.iter().map(|file| folder_of(file)).collect();
    folders.into_iter().try_for_each(sync_folder)?;
    files.iter().try_for_each(std::fs::remove_file)
}

/// The list of the pieces of a file.
pub(super) fn list_path(file: &Path) -> PathBuf {
    file.with_extension(LIST)
}

pub(super) fn is_list(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == LIST)
}

/// Whether a file is there, in one piece or in several.
pub(crate) fn is_stored(file: &Path) -> bool {
    file.exists() || list_path(file).exists()
}

/// Opens a table, also one that was cut.
pub(crate) fn open_table(file: &Path) -> Result<Table, TableError> {
    match CutFile::of(file) {
        Some(cut) => Table::open_stored(file, Arc::new(cut)),
        None => Table::open(file),
    }
}

/// Calls `each` with the bytes of a file, in order.
pub(super) fn each_bytes(file: &Path, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let Some(cut) = CutFile::of(file) else {
        let mut reader = File::open(file)?;
        let mut bytes = vec![0; MOST];
        loop {
            match reader.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(length) => each(&bytes[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    };
    let open = OpenCut::new(&cut)?;
    (0..cut.pieces.len()).try_for_each(|number| open.piece(number).map(|bytes| each(&bytes)))
}

/// Makes a file that was cut an ordinary file again.
pub(super) fn join(file: &Path) -> Result<(), StoreError> {
    let list = list_path(file);
    let join = || {
        if !file.exists() && list.exists() {
            let (mut whole, mut written) = (new_file(file)?, Ok(()));
            each_bytes(file, &mut |bytes| {
                if written.is_ok() {
                    written = whole.write_all(bytes);
                }
            })?;
            written?;
            persist(whole, file)?;
        }
        match std::fs::remove_file(&list) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    };
    join().map_err(StoreError::io(file))
}

fn named(lists: &[PathBuf]) -> Result<HashSet<Hash>, StoreError> {
    let mut named = HashSet::new();
    for path in lists {
        let text = std::fs::read_to_string(path).map_err(StoreError::io(path))?;
        named.extend(text.lines().filter_map(entry).map(|(hash, _)| hash));
    }
    Ok(named)
}

fn hex(hash: &Hash) -> String {
    format!("{:032x}", u128::from_be_bytes(*hash))
}

/// A line of a list.
fn entry(line: &str) -> Option<(Hash, u64)> {
    let (hash, length) = line.split_once(' ')?;
    Some((u128::from_str_radix(hash, 16).ok()?.to_be_bytes(), length.parse().ok()?))
}

/// A file that was cut.
#[derive(Debug)]
struct CutFile {
    store: PathBuf,
    /// The hash of each piece, and the number of the byte after it.
    pieces: Arc<[(Hash, u64)]>,
}

impl CutFile {
    /// `None` if the file is in one piece, or is not there. Lines that cannot be read are left out; then the checksum of
    /// the file is wrong.
    fn of(file: &Path) -> Option<CutFile> {
        if file.exists() {
            return None;
        }
        let list = std::fs::read(list_path(file)).ok()?;
        let store = file.ancestors().skip(1).map(Pieces::path).find(|path| path.exists())?;
        let mut end = 0u64;
        let lines = list.split(|byte| *byte == b'\n').filter_map(|line| entry(str::from_utf8(line).ok()?));
        let pieces = lines.map(|(hash, length)| {
            end = end.saturating_add(length);
            (hash, end)
        });
        Some(CutFile { store, pieces: pieces.collect() })
    }
}

impl Stored for CutFile {
    fn length(&self) -> u64 {
        self.pieces.last().map_or(0, |(_, end)| *end)
    }

    fn open(&self) -> io::Result<Box<dyn ReadRange>> {
        Ok(Box::new(OpenCut::new(self)?))
    }
}

struct OpenCut {
    connection: Mutex<Connection>,
    pieces: Arc<[(Hash, u64)]>,
}

impl OpenCut {
    fn new(file: &CutFile) -> io::Result<OpenCut> {
        let connection = Connection::open_with_flags(&file.store, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(broken)?;
        connection.busy_timeout(WAIT).map_err(broken)?;
        Ok(OpenCut { connection: Mutex::new(connection), pieces: file.pieces.clone() })
    }

    fn piece(&self, number: usize) -> io::Result<Vec<u8>> {
        let (wanted, end) = self.pieces[number];
        let start = if number == 0 { 0 } else { self.pieces[number - 1].1 };
        let connection = self.connection.lock();
        let mut find = connection.prepare_cached("SELECT bytes FROM pieces WHERE hash = ?1").map_err(broken)?;
        let found: Option<Vec<u8>> = find.query_row(params![wanted], |row| row.get(0)).optional().map_err(broken)?;
        let is_right = |bytes: &Vec<u8>| bytes.len() as u64 == end - start && hash(bytes) == wanted;
        found.filter(is_right).ok_or_else(|| {
            io::Error::new(ErrorKind::InvalidData, format!("the piece {} is missing or damaged", hex(&wanted)))
        })
    }
}

impl ReadRange for OpenCut {
    fn read(&self, start: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        let mut number = self.pieces.partition_point(|(_, end)| *end <= start);
        while bytes.len() < length && number < self.pieces.len() {
            let first = if number == 0 { 0 } else { self.pieces[number - 1].1 };
            let piece = self.piece(number)?;
            let from = (start + bytes.len() as u64 - first) as usize;
            let until = piece.len().min(from + length - bytes.len());
            bytes.extend_from_slice(&piece[from..until]);
            number += 1;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn random(seed: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
        bytes
    }

    fn project() -> (tempfile::TempDir, Pieces) {
        let folder = tempfile::tempdir().unwrap();
        let pieces = Pieces::open(folder.path()).unwrap();
        (folder, pieces)
    }

    fn all(file: &Path) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        each_bytes(file, &mut |bytes| all.extend_from_slice(bytes)).map(|()| all)
    }

    #[test]
    fn a_file_is_read_as_it_was_however_it_is_cut() {
        let (folder, pieces) = project();
        for length in [0, 1, LEAST - 1, LEAST, LEAST + 1, MOST, 400_001] {
            let file = folder.path().join(format!("{length}.parquet"));
            let bytes = random(length as u64, length);
            std::fs::write(&file, &bytes).unwrap();
            pieces.cut(from_ref(&file)).unwrap();
            assert!(!file.exists() && is_stored(&file));
            assert_eq!(all(&file).unwrap(), bytes);
            let cut = CutFile::of(&file).unwrap();
            assert_eq!(cut.length(), length as u64);
            let open = cut.open().unwrap();
            for (start, count) in [(0, length), (length / 3, length / 2), (length / 2, 1), (length, 0)] {
                let end = (start + count).min(length);
                assert_eq!(open.read(start as u64, end - start).unwrap(), bytes[start..end]);
            }
            join(&file).unwrap();
            assert_eq!((std::fs::read(&file).unwrap(), list_path(&file).exists()), (bytes, false));
        }
    }

    #[test]
    fn an_edit_stores_only_what_is_near_it() {
        let (folder, pieces) = project();
        let mut bytes = random(1, 2 << 20);
        let size = || std::fs::metadata(Pieces::path(folder.path())).unwrap().len();
        let mut before = 0;
        for edit in 0..4 {
            let file = folder.path().join(format!("{edit}.parquet"));
            bytes.splice(300_000 * edit..300_000 * edit + 7, *b"a longer text");
            std::fs::write(&file, &bytes).unwrap();
            pieces.cut(from_ref(&file)).unwrap();
            assert!(edit == 0 || size() - before < 3 * MOST as u64, "{} bytes more", size() - before);
            before = size();
        }
        assert_eq!(all(&folder.path().join("3.parquet")).unwrap(), bytes);
    }

    #[test]
    fn what_no_list_names_is_swept() {
        let (folder, pieces) = project();
        let [first, second] = ["a.parquet", "b.parquet"].map(|name| folder.path().join(name));
        for (file, seed) in [(&first, 1), (&second, 2)] {
            std::fs::write(file, random(seed, 1 << 20)).unwrap();
            pieces.cut(from_ref(file)).unwrap();
        }
        let lists = [list_path(&second)];
        assert_eq!(pieces.unused(&lists).unwrap(), 1 << 20);
        pieces.sweep(&lists).unwrap();
        assert_eq!(pieces.unused(&lists).unwrap(), 0);
        assert!(std::fs::metadata(Pieces::path(folder.path())).unwrap().len() < 1200 << 10);
        assert!(all(&first).is_err() && all(&second).unwrap() == random(2, 1 << 20));
    }

    #[test]
    fn a_damaged_piece_is_refused_and_stored_anew() {
        let (folder, pieces) = project();
        let [first, second] = ["a.parquet", "b.parquet"].map(|name| folder.path().join(name));
        let bytes = random(3, 100_000);
        std::fs::write(&first, &bytes).unwrap();
        pieces.cut(from_ref(&first)).unwrap();
        pieces.connection.execute("UPDATE pieces SET bytes = zeroblob(length(bytes))", []).unwrap();
        assert!(all(&first).is_err());
        std::fs::write(&second, &bytes).unwrap();
        pieces.cut(from_ref(&second)).unwrap();
        assert!(all(&first).unwrap() == bytes && all(&second).unwrap() == bytes);
    }
}
