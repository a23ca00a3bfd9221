//! The reports of `fanfold ledger`, one type per subcommand.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use super::text::{count, from_cache, number};
use crate::store::{Contents, DropCounts, MergeCounts, VerifyCounts};

/// Bytes as a number of KiB, rounded up.
fn kib(bytes: u64) -> String {
    number(bytes.div_ceil(1024))
}

#[derive(Serialize)]
pub(crate) struct InfoReport {
    pub(crate) schema_version: u32,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) contents: Contents,
}

impl Display for InfoReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Contents { format, answers, failed_calls, stopped_calls, retired, corrupt, models, oldest_ms, newest_ms } =
            &self.contents;
        writeln!(f, "{}: format {format}, {} KiB", self.path.display(), kib(self.bytes))?;
        writeln!(f, "  {}, {}", count(*answers, "answer"), count(*failed_calls, "failed call"))?;
        if *stopped_calls > 0 {
            let stopped = count(*stopped_calls, "call");
            writeln!(f, "  {stopped} stopped between two tries; the next run continues them")?;
        }
        if retired + corrupt > 0 {
            writeln!(f, "  no longer used: {} outdated, {} corrupt", number(*retired), number(*corrupt))?;
        }
        for model in models {
            let answers = count(model.answers, "answer");
            let (prompt, reply) = (number(model.prompt_tokens), number(model.completion_tokens));
            let cached = from_cache(model.cached_tokens, 0);
            writeln!(f, "  {}: {answers}, {prompt} tokens in{cached}, {reply} out", model.model)?;
        }
        let time = |ms: &Option<i64>| {
            let time = DateTime::from_timestamp_millis((*ms)?)?;
            Some(time.to_rfc3339_opts(SecondsFormat::Secs, true))
        };
        if let (Some(oldest), Some(newest)) = (time(oldest_ms), time(newest_ms)) {
            writeln!(f, "  from {oldest} to {newest}")?;
        }
        Ok(())
    }
}

#[derive(Serialize)]
pub(crate) struct VerifyReport {
    pub(crate) schema_version: u32,
    pub(crate) verified: VerifyCounts,
}

impl Display for VerifyReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sound = count(self.verified.sound, "sound answer");
        match self.verified.corrupt {
            0 => writeln!(f, "{sound}, none corrupt"),
            n => writeln!(f, "{sound}, {n} corrupt and no longer used; the next run repeats those calls"),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct GcReport {
    pub(crate) schema_version: u32,
    pub(crate) dry_run: bool,
    pub(crate) dropped: DropCounts,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
}

impl Display for GcReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let DropCounts { answers, history } = self.dropped;
        let records = format!("{} and {}", count(answers, "unused answer"), count(history, "old record"));
        if self.dry_run {
            return writeln!(f, "would delete {records}");
        }
        writeln!(f, "deleted {records}; {} KiB before, {} KiB now", kib(self.bytes_before), kib(self.bytes_after))
    }
}

#[derive(Serialize)]
pub(crate) struct ExportReport {
    pub(crate) schema_version: u32,
    pub(crate) path: PathBuf,
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
}

impl Display for ExportReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let calls = count(self.calls, "call");
        writeln!(f, "wrote {}: {calls}, {} KiB", self.path.display(), kib(self.bytes))
    }
}

#[derive(Serialize)]
pub(crate) struct ImportReport {
    pub(crate) schema_version: u32,
    pub(crate) files: Vec<ImportedFile>,
}

#[derive(Serialize)]
pub(crate) struct ImportedFile {
    pub(crate) path: PathBuf,
    pub(crate) merged: MergeCounts,
}

impl Display for ImportedFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let MergeCounts { added, known, corrupt, failed_calls, damaged } = &self.merged;
        write!(f, "{}: {} added", self.path.display(), count(*added, "answer"))?;
        if *damaged {
            write!(f, ", read from a damaged file")?;
        }
        for (n, what) in [(known, "already there"), (corrupt, "corrupt, left out"), (failed_calls, "failed, left out")]
        {
            if *n > 0 {
                write!(f, ", {} {what}", number(*n))?;
            }
        }
        writeln!(f)
    }
}
