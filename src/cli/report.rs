//! The command `fanfold report`.

use std::path::PathBuf;

use super::{Exit, Failure, Terminal, load_spec, only_spec};
use crate::page::{Subject, page};
use crate::run::{run_or_replay, uncounted};
use crate::store::{Manifest, Project};
use crate::table::parquet::write_whole;

/// Writes a page about the last run: its rows, its results, what they cost and how they were made.
///
/// The page is one HTML file without links to other files. Reads what the run kept in `.fanfold`; sends nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    /// The spec [default: the only spec of this folder].
    #[arg(default_value = "", hide_default_value = true, value_parser = only_spec::parser())]
    spec: PathBuf,
    /// The file to write [default: the name of the spec with `.html`, `.md` or `.json`; `-` is standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Output format.
    #[arg(long, value_enum, default_value = "html")]
    format: Format,
    /// Opens the page in the browser.
    #[arg(long)]
    open: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    Html,
    Json,
}

impl Report {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        let spec = load_spec(&self.spec, terminal)?;
        let project = Project::of(&spec.folder);
        let plan = uncounted(spec)?;
        let folder = run_or_replay(&plan, &project);
        let Some(manifest) = Manifest::read(&folder) else {
            let message = format!("`{}` has no run", self.spec.display());
            let help = format!("start one: fanfold run {}", self.spec.display());
            return Err(Failure::new(Exit::Environment, message).help(help));
        };
        let unreadable = |why: String| Failure::new(Exit::Environment, format!("the report can't be made: {why}"));
        let page = page(&Subject::new(&plan, &folder, &manifest)).map_err(unreadable)?;
        let (text, extension) = match self.format {
            Format::Html => (page.html().map_err(unreadable)?, "html"),
            Format::Json => (serde_json::to_string_pretty(&page).unwrap_or_default(), "json"),
        };
        let file = self.output.unwrap_or_else(|| self.spec.with_extension(extension));
        if file.as_os_str() == "-" {
            terminal.data(&text);
            return Ok(Exit::Ok);
        }
        let failed = |why: &dyn std::fmt::Display| {
            Failure::new(Exit::Environment, format!("`{}` can't be written: {why}", file.display()))
        };
        write_whole(&file, text.as_bytes()).map_err(|error| failed(&error))?;
        terminal.note(&format!("wrote {}", file.display()));
        if self.open {
            open::that_detached(&file).map_err(|error| failed(&error))?;
        }
        Ok(Exit::Ok)
    }
}
