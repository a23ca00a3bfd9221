//! Files that are not in one place on the disk: the Parquet reader asks for ranges of their bytes.

use std::fmt::Debug;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// The bytes of a file.
pub(crate) trait Stored: Debug + Send + Sync {
    fn length(&self) -> u64;

    fn open(&self) -> io::Result<Box<dyn ReadRange>>;
}

/// An open file. `length` is at most the rest of the file.
pub(crate) trait ReadRange: Send + Sync {
    fn read(&self, start: u64, length: usize) -> io::Result<Vec<u8>>;
}

/// How many bytes a sequential reader asks for at once.
const STEP: usize = 32 << 10;

/// An open file as the Parquet reader wants it.
#[derive(Clone)]
pub(super) struct Ranges {
    length: u64,
    file: Arc<dyn ReadRange>,
}

impl Ranges {
    pub(super) fn open(stored: &Arc<dyn Stored>) -> io::Result<Ranges> {
        Ok(Ranges { length: stored.length(), file: stored.open()?.into() })
    }
}

impl Length for Ranges {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Ranges {
    type T = io::BufReader<Onward>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(io::BufReader::with_capacity(STEP, Onward { ranges: self.clone(), start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF(format!("the file ends before byte {start} + {length}")));
        }
        Ok(self.file.read(start, length)?.into())
    }
}

/// Reads from a place on.
pub(super) struct Onward {
    ranges: Ranges,
    start: u64,
}

impl Read for Onward {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = (self.ranges.length.saturating_sub(self.start)).min(out.len() as u64) as usize;
        if length > 0 {
            out[..length].copy_from_slice(&self.ranges.file.read(self.start, length)?);
            self.start += length as u64;
        }
        Ok(length)
    }
}
