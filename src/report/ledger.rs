//! The reports of `fanfold ledger`, one type per subcommand.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::numbers::{count, number};
use crate::store::{Contents, DropCounts, MergeCounts, VerifyCounts};

/// Bytes as a number of KiB, rounded up.
fn kib(bytes: u64) -> String {
    number(bytes.div_ceil(1024))
}

pub struct InfoReport {
    /// The file of the ledger.
    pub path: PathBuf,
    pub bytes: u64,
    pub contents: Contents,
}

impl Display for InfoReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Contents { format, answers, failed_calls, retired, corrupt, models, oldest_ms, newest_ms } = &self.contents;
        writeln!(f, "{}: format {format}, {} KiB", self.path.display(), kib(self.bytes))?;
        writeln!(f, "  {}, {}", count(*answers, "answer"), count(*failed_calls, "failed call"))?;
        if retired + corrupt > 0 {
            writeln!(f, "  no longer used: {} outdated, {} corrupt", number(*retired), number(*corrupt))?;
        }
        for model in models {
            let answers = count(model.answers, "answer");
            let (prompt, reply) = (number(model.prompt_tokens), number(model.completion_tokens));
            writeln!(f, "  {}: {answers}, {prompt} tokens in, {reply} out", model.model)?;
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

impl Serialize for InfoReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let InfoReport { path, bytes, contents } = self;
        json!({ "schema_version": 1, "path": path, "bytes": bytes, "contents": contents }).serialize(serializer)
    }
}

pub struct VerifyReport(pub VerifyCounts);

impl Display for VerifyReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sound = count(self.0.sound, "sound answer");
        match self.0.corrupt {
            0 => writeln!(f, "{sound}, none corrupt"),
            n => writeln!(f, "{sound}, {n} corrupt and no longer used; the next run repeats those calls"),
        }
    }
}

impl Serialize for VerifyReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json!({ "schema_version": 1, "verified": self.0 }).serialize(serializer)
    }
}

pub struct GcReport {
    pub dry_run: bool,
    pub dropped: DropCounts,
    pub bytes_before: u64,
    pub bytes_after: u64,
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

impl Serialize for GcReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = json!({
            "schema_version": 1, "dry_run": self.dry_run, "dropped": self.dropped, "bytes_before": self.bytes_before,
            "bytes_after": self.bytes_after,
        });
        value.serialize(serializer)
    }
}

pub struct ExportReport {
    /// The file that was written.
    pub path: PathBuf,
    pub calls: u64,
    pub bytes: u64,
}

impl Display for ExportReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let calls = count(self.calls, "call");
        writeln!(f, "wrote {}: {calls}, {} KiB", self.path.display(), kib(self.bytes))
    }
}

impl Serialize for ExportReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ExportReport { path, calls, bytes } = self;
        json!({ "schema_version": 1, "path": path, "calls": calls, "bytes": bytes }).serialize(serializer)
    }
}

#[derive(Serialize)]
pub struct ImportReport {
    schema_version: u32,
    files: Vec<ImportedFile>,
}

impl ImportReport {
    pub fn new(files: Vec<ImportedFile>) -> Self {
        ImportReport { schema_version: 1, files }
    }
}

#[derive(Serialize)]
pub struct ImportedFile {
    pub path: PathBuf,
    pub merged: MergeCounts,
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
