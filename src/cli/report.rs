//! The command `fanfold report`.

use std::path::PathBuf;
use std::sync::Arc;

use super::load::{load_again, load_lock, load_spec_with};
use super::output::{check_replaces, unwritable};
use super::past_run::PastRun;
use super::runtime::block_on;
use super::selection::SourceArguments;
use super::serve::{ending, serve};
use super::{Exit, Failure, Terminal, load_spec, only_spec};
use crate::name::suggestion;
use crate::page::{Page, Subject, is_page, page};
use crate::serve::{Shown, Site};
use crate::table::files::write_whole;

/// Writes a page about the last run: its rows, its results, what they cost and how they were made.
///
/// The page is one HTML file without links to other files. Reads what the run kept in `.fanfold`; sends nothing. In a
/// clone, first makes the tables of the spec from its replay file.
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
    /// Only these sections, such as `methods`.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    section: Vec<String>,
    /// An earlier run, by its name in `fanfold runs` [default: the run of the spec as it is, or else the last one].
    #[arg(long, value_name = "NAME")]
    run: Option<String>,
    #[command(flatten)]
    sources: SourceArguments,
    /// Opens the page in the browser.
    #[arg(long)]
    open: bool,
    /// Shows the page at an address of this machine until Ctrl-C, and again after each run [default: a free port].
    #[arg(long, value_name = "PORT", num_args = 0..=1, conflicts_with_all = ["output", "format", "section", "run"])]
    serve: Option<Option<u16>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One file for a browser.
    Html,
    /// A short form for pull requests and summaries of workflows.
    Md,
    /// The content of the page, for programs.
    Json,
}

impl Report {
    pub(crate) fn run(self, terminal: &Terminal) -> Result<Exit, Failure> {
        if let Some(port) = self.serve {
            return self.serve(port, terminal);
        }
        let page = self.chosen(self.page(terminal)?)?;
        let is_whole = self.section.is_empty();
        let (text, extension) = match self.format {
            Format::Html => (page.html().map_err(unreadable)?, "html"),
            Format::Md => (page.markdown(is_whole), "md"),
            Format::Json => (page.json(), "json"),
        };
        let sections = self.section.iter().map(|section| format!("{section}.")).collect::<String>();
        let file = match &self.output {
            Some(file) => file.clone(),
            None => self.spec.with_extension(format!("{sections}{extension}")),
        };
        if file.as_os_str() == "-" {
            terminal.data(&text);
            return Ok(Exit::Ok);
        }
        check_replaces(&file, "a report", |file| Ok(is_page(&std::fs::read(file)?)))?;
        write_whole(&file, text.as_bytes()).map_err(|error| unwritable(&file, &error))?;
        terminal.note(&format!("wrote {}", file.display()));
        if self.open {
            open::that_detached(&file).map_err(|error| {
                let message = format!("`{}` can't be opened: {error}", file.display());
                Failure::new(Exit::Environment, message).help("open the file in a browser yourself")
            })?;
        }
        Ok(Exit::Ok)
    }

    fn page(&self, terminal: &Terminal) -> Result<Page, Failure> {
        let files = self.sources.settings(&self.spec);
        if self.run.is_none() && !files.is_empty() {
            let help = "name the run too: `--run NAME`, from `fanfold runs`";
            return Err(Failure::new(Exit::Spec, "`--source` says nothing about the run").help(help));
        }
        let spec = load_spec_with(&self.spec, &files, terminal)?;
        let run = match &self.run {
            Some(name) => PastRun::named(spec, name)?,
            None => PastRun::last_or_replayed(spec, &self.spec, terminal)?,
        };
        let PastRun { plan, dir, manifest, is_current } = run.counted();
        let lock = load_lock(&self.spec, terminal);
        let mut subject = Subject::new(&plan, &dir, &manifest);
        (subject.lock, subject.is_current) = (lock.as_ref(), is_current);
        page(&subject).map_err(unreadable)
    }

    fn serve(self, port: Option<u16>, terminal: &Terminal) -> Result<Exit, Failure> {
        let spec = load_spec(&self.spec, terminal)?;
        let (path, notes) = (self.spec, *terminal);
        let find = move || -> Result<Shown, Failure> {
            let run = PastRun::last_or_replayed(load_again(&path, &[])?, &path, &notes)?.counted();
            let PastRun { plan, dir, is_current, .. } = run;
            Ok(Shown { plan: Arc::new(plan), folder: dir, is_current, spec: path.clone() })
        };
        find()?;
        let site = Site::new(&spec, Box::new(move || find().map_err(said)), false);
        block_on(async {
            let end = ending();
            let _server = serve(Arc::new(site), port, self.open, terminal)?;
            terminal.note("press Ctrl-C to end the server");
            end.await;
            Ok(Exit::Ok)
        })
    }

    /// Only the chosen sections of the page.
    fn chosen(&self, mut page: Page) -> Result<Page, Failure> {
        let ids = || page.sections.iter().map(|section| section.id.as_str());
        if let Some(unknown) = self.section.iter().find(|wanted| !ids().any(|id| id == wanted.as_str())) {
            let help = suggestion(unknown, "there are", ids());
            return Err(Failure::new(Exit::Spec, format!("the page has no section `{unknown}`")).help_if(help));
        }
        if !self.section.is_empty() {
            page.sections.retain(|section| self.section.contains(&section.id));
        }
        Ok(page)
    }
}

/// A failure in a sentence, for the page.
fn said(failure: Failure) -> String {
    let words = failure.words();
    if words.is_empty() { "the spec has problems; `fanfold validate` shows them".to_owned() } else { words }
}

fn unreadable(why: String) -> Failure {
    Failure::new(Exit::Environment, format!("the report can't be made: {why}"))
}
