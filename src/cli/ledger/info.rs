//! `fanfold ledger info`

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Format, existing, failed_ledger, show_json};
use crate::cli::exit::Exit;
use crate::cli::terminal::Terminal;
use crate::report::summary::{count, number};
use crate::store::Contents;

/// Shows what a project's ledger holds: answers, failed calls, models, tokens.
#[derive(Debug, clap::Args)]
pub struct Info {
    /// A spec or its folder.
    #[arg(value_name = "SPEC|FOLDER", default_value = ".")]
    place: PathBuf,
    /// How it is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

impl Info {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some((project, ledger)) = existing(&self.place, terminal) else { return Exit::Environment };
        let contents = match ledger.contents() {
            Ok(contents) => contents,
            Err(error) => return failed_ledger(&error, terminal),
        };
        let (path, bytes) = (project.ledger(), project.ledger_bytes());
        match self.format {
            Format::Human => terminal.data(&human(&path, bytes, &contents)),
            Format::Json => {
                let found = json!({ "schema_version": 1, "path": path, "bytes": bytes, "contents": contents });
                show_json(&found, terminal);
            }
        }
        Exit::Ok
    }
}

fn human(path: &Path, bytes: u64, contents: &Contents) -> String {
    let Contents { format, answers, failed_calls, retired, corrupt, models, oldest_ms, newest_ms } = contents;
    let size = number(bytes.div_ceil(1024));
    let mut out = format!("{}: format {format}, {size} KiB\n", path.display());
    let _ = writeln!(out, "  {}, {}", count(*answers, "answer"), count(*failed_calls, "failed call"));
    if retired + corrupt > 0 {
        let _ = writeln!(
            out,
            "  out of service: {} that no longer fit, {} that were corrupt",
            number(*retired),
            number(*corrupt)
        );
    }
    for model in models {
        let _ = writeln!(
            out,
            "  {}: {}, {} tokens in, {} out",
            model.model,
            count(model.answers, "answer"),
            number(model.prompt_tokens),
            number(model.completion_tokens)
        );
    }
    let time = |ms: &Option<i64>| ms.and_then(chrono::DateTime::from_timestamp_millis);
    if let (Some(oldest), Some(newest)) = (time(oldest_ms), time(newest_ms)) {
        let shown = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let _ = writeln!(out, "  from {} to {}", shown(oldest), shown(newest));
    }
    out
}
