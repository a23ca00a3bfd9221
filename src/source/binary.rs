//! Binary files: numbers and bytes at counted positions. Every length is checked against the file before memory is
//! reserved for it.

use std::any::Any;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::batches::{SourceError, unreadable};

pub(crate) struct Binary {
    file: BufReader<File>,
    size: u64,
    at: u64,
    big_endian: bool,
    shown: String,
    /// What the file is, such as `SPSS file`.
    what: &'static str,
}

macro_rules! numbers {
    ($($name:ident: $type:ty),*) => {$(
        pub(crate) fn $name(&mut self) -> Result<$type, SourceError> {
            let bytes = self.array()?;
            Ok(if self.big_endian { <$type>::from_be_bytes(bytes) } else { <$type>::from_le_bytes(bytes) })
        }
    )*};
}

impl Binary {
    pub(crate) fn open(path: &Path, shown: &str, what: &'static str) -> Result<Self, SourceError> {
        let file = File::open(path).map_err(|e| unreadable(shown, &e))?;
        let size = file.metadata().map_err(|e| unreadable(shown, &e))?.len();
        let file = BufReader::with_capacity(64 << 10, file);
        Ok(Binary { file, size, at: 0, big_endian: false, shown: shown.to_owned(), what })
    }

    numbers!(u16: u16, i32: i32, u32: u32, i64: i64, u64: u64, f64: f64);

    pub(crate) fn set_big_endian(&mut self, big_endian: bool) {
        self.big_endian = big_endian;
    }

    pub(crate) fn is_big_endian(&self) -> bool {
        self.big_endian
    }

    /// The position of the next byte.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn seek(&mut self, to: u64) -> Result<(), SourceError> {
        if to > self.size {
            return Err(self.damaged(&format!("it refers to byte {to}, and ends at byte {}", self.size)));
        }
        match i64::try_from(to).ok().zip(i64::try_from(self.at).ok()) {
            Some((to, at)) => self.file.seek_relative(to - at).map_err(|e| unreadable(&self.shown, &e))?,
            None => drop(self.file.seek(SeekFrom::Start(to)).map_err(|e| unreadable(&self.shown, &e))?),
        }
        self.at = to;
        Ok(())
    }

    pub(crate) fn skip(&mut self, bytes: u64) -> Result<(), SourceError> {
        self.check(bytes)?;
        self.seek(self.at + bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], SourceError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn bytes(&mut self, count: u64) -> Result<Vec<u8>, SourceError> {
        self.check(count)?;
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(usize::MAX)];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SourceError> {
        self.check(bytes.len() as u64)?;
        self.file.read_exact(bytes).map_err(|e| unreadable(&self.shown, &e))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn check(&self, bytes: u64) -> Result<(), SourceError> {
        if self.size.checked_sub(self.at).is_some_and(|rest| bytes <= rest) {
            return Ok(());
        }
        Err(self.damaged(&format!("{bytes} bytes are missing at its end, byte {} (an interrupted copy?)", self.size)))
    }

    /// An error at the next byte.
    pub(crate) fn damaged(&self, message: &str) -> SourceError {
        damaged(&self.shown, self.what, &format!("byte {}: {message}", self.at))
    }
}

pub(crate) fn damaged(shown: &str, what: &str, message: &str) -> SourceError {
    // Some crates describe where they are in more lines.
    let message = message.lines().next().unwrap_or_default();
    SourceError::of_file(shown, format_args!("the {what} is damaged: {message}")).help("write or copy the file again")
}

/// Runs `read`, and turns a panic of a crate, which some damaged files cause, into an error.
pub(crate) fn careful<T>(
    shown: &str,
    what: &str,
    read: impl FnOnce() -> Result<T, SourceError>,
) -> Result<T, SourceError> {
    let panicked = |panic: Box<dyn Any + Send>| Err(damaged(shown, what, panic_text(panic.as_ref())));
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(panicked)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "it can't be decoded",
    }
}
