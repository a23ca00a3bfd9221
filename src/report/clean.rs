//! The report of `fanfold clean`.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use serde::Serialize;

use super::text::{count, number};
use crate::store::{Garbage, GarbageKind};

/// What was deleted, or would be, and the size of the project's folder before.
#[derive(Serialize)]
pub(crate) struct CleanReport {
    pub(crate) schema_version: u32,
    pub(crate) dry_run: bool,
    pub(crate) path: PathBuf,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_freed: u64,
    pub(crate) garbage: Vec<Garbage>,
}

fn kib(bytes: u64) -> String {
    format!("{} KiB", number(bytes.div_ceil(1024)))
}

impl Display for CleanReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let CleanReport { dry_run, path, bytes_before, bytes_freed, garbage, .. } = self;
        for item in garbage {
            let kind = match item.kind {
                GarbageKind::Run => "run",
                GarbageKind::Source => "source",
                GarbageKind::Pieces => "pieces",
                GarbageKind::Temporary => "temporary",
            };
            let shown = item.path.strip_prefix(path).unwrap_or(&item.path).display();
            let name = item.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
            writeln!(f, "  {kind:<9}  {:>14}  {shown}{name}", kib(item.bytes))?;
        }
        let files = count(garbage.len() as u64, "entry").replace("entrys", "entries");
        let of = format!("{files}, {} of {} in {}", kib(*bytes_freed), kib(*bytes_before), path.display());
        match (garbage.is_empty(), dry_run) {
            (true, _) => writeln!(f, "nothing to delete; {} has {}", path.display(), kib(*bytes_before)),
            (false, true) => writeln!(f, "would delete {of}\n`fanfold clean --yes` deletes them"),
            (false, false) => {
                writeln!(f, "deleted {of}\n`fanfold ledger gc` deletes the answers that only these runs used")
            }
        }
    }
}
