//! The canary: a key that every run of the program is given, and that nothing it leaves may hold.
//!
//! A project looks for it in everything that its runs printed, and in its whole folder when it is dropped; so every artefact of
//! every test is searched. Compressed tables and databases are searched by their values.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::{Cell, Table, entries};

/// The key. It has characters that are written otherwise in URLs.
pub(crate) const CANARY: &str = "sk-CANARY-4f9a8b7c6d/5e+4f3a==";

/// The variables that hold it, unless a test says otherwise: those that services have, and one that belongs to no service.
pub(crate) const VARIABLES: [&str; 4] =
    ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AWS_SECRET_ACCESS_KEY"];

/// The forms in which secrets can be found.
pub(crate) struct Forms(Vec<String>);

impl Forms {
    /// Those of these secrets.
    pub(crate) fn of<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Forms {
        let mut forms = Vec::new();
        for secret in secrets {
            let bytes = secret.as_bytes();
            let encoded = |c: u8| {
                if c.is_ascii_alphanumeric() || b"-_.~".contains(&c) {
                    String::from(char::from(c))
                } else {
                    format!("%{c:02X}")
                }
            };
            forms.push(secret.to_owned());
            forms.push(bytes.iter().map(|c| encoded(*c)).collect());
            forms.push(bytes.iter().map(|c| format!("{c:02x}")).collect());
            // In base64 the letters depend on what precedes; those at both ends on the neighbours too.
            for before in 0..3 {
                let all = base64(&[&vec![b' '; before], bytes].concat());
                let whole = (before + bytes.len()) / 3 * 4;
                forms.push(all[(before * 8).div_ceil(6)..whole].to_owned());
            }
        }
        Forms(forms)
    }

    /// Whether one of them is in these bytes.
    pub(crate) fn stand_in(&self, bytes: &[u8]) -> bool {
        // They are ASCII, so what isn't text around them doesn't matter; the search of `str` is quick in debug builds too.
        let text = String::from_utf8_lossy(bytes);
        self.0.iter().any(|form| text.contains(form))
    }

    fn stand_in_cell(&self, cell: &Cell) -> bool {
        match cell {
            Cell::Text(text) => self.stand_in(text.as_bytes()),
            Cell::Bytes(bytes) => self.stand_in(bytes),
            Cell::List(items) => items.iter().any(|item| self.stand_in_cell(item)),
            Cell::Null | Cell::Int(_) | Cell::Float(_) | Cell::Bool(_) => false,
        }
    }

    /// The files below a folder that hold one.
    pub(crate) fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for path in entries(folder) {
            match path.is_dir() && !path.is_symlink() {
                true => found.extend(self.files(&path)),
                false if self.stand_in_file(&path) => found.push(path),
                false => {}
            }
        }
        found
    }

    fn stand_in_file(&self, path: &Path) -> bool {
        let named = path.file_name().is_some_and(|name| self.stand_in(name.as_encoded_bytes()));
        // A file that is gone or can't be read holds nothing that others could read.
        let bytes = fs::read(path).unwrap_or_default();
        named
            || self.stand_in(&bytes)
            || match &bytes[..] {
                [b'P', b'A', b'R', b'1', ..] => self.stand_in_parquet(path),
                bytes if bytes.starts_with(b"SQLite format 3\0") => self.stand_in_sqlite(path).unwrap_or(false),
                _ => false,
            }
    }

    /// A file that a test has broken on purpose is not a table.
    fn stand_in_parquet(&self, path: &Path) -> bool {
        // The reader panics over some metadata.
        let is_whole = std::panic::catch_unwind(|| {
            let batches = ParquetRecordBatchReaderBuilder::try_new(File::open(path).ok()?).ok()?.build().ok()?;
            Some({ batches }.all(|batch| batch.is_ok()))
        });
        if !is_whole.is_ok_and(|whole| whole == Some(true)) {
            return false;
        }
        let table = Table::read(&[path.to_owned()]);
        table.rows().iter().flatten().any(|cell| self.stand_in_cell(cell))
            || table.metadata().iter().any(|(key, value)| self.stand_in(format!("{key} {value}").as_bytes()))
    }

    fn stand_in_sqlite(&self, path: &Path) -> rusqlite::Result<bool> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let tables: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for table in tables {
            let mut select = connection.prepare(&format!("SELECT * FROM \"{table}\""))?;
            let columns = select.column_count();
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = row.get_ref(column)?
                        && self.stand_in(bytes)
                    {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}

/// Base64 (RFC 4648) of some bytes.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let all = group.iter().chain([0, 0].iter()).take(3).fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        let letters = (0..4)
            .map(|i| if i > group.len() { '=' } else { char::from(LETTERS[(all >> (18 - 6 * i) & 63) as usize]) });
        out.extend(letters);
    }
    out
}
