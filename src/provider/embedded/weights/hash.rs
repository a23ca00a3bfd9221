//! Hashes of files, and sizes as text.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::provider::endpoint::EndpointError;

const BLOCK: usize = 1 << 18;

pub(crate) fn sha256_of(path: &Path) -> Result<String, EndpointError> {
    let unreadable = |error| EndpointError::new(format!("{} can't be read: {error}", path.display()));
    let mut file = File::open(path).map_err(unreadable)?;
    match copied(&mut file, &mut io::sink()) {
        Ok((hash, _)) => Ok(hash),
        Err(Broken::From(error) | Broken::To(error)) => Err(unreadable(error)),
    }
}

/// A SHA-256 in the making.
#[derive(Clone, Default)]
pub(super) struct Hash(Sha256);

impl Hash {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn hex(self) -> String {
        self.0.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }
}

pub(super) enum Broken {
    From(io::Error),
    To(io::Error),
}

pub(super) fn copied(from: &mut dyn Read, to: &mut dyn Write) -> Result<(String, u64), Broken> {
    let mut hash = Hash::default();
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    loop {
        let n = match from.read(&mut block) {
            Ok(0) => return Ok((hash.hex(), bytes)),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Broken::From(error)),
        };
        hash.update(&block[..n]);
        to.write_all(&block[..n]).map_err(Broken::To)?;
        bytes += n as u64;
    }
}

pub(super) fn short(hash: &str) -> &str {
    &hash[..hash.len().min(12)]
}

pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{} MB", (bytes + 500_000) / 1_000_000)
}
