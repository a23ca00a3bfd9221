//! The site: what the server shows, and the doors that the secrets in its addresses open.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::corrections::Corrected;
use super::guard::Secret;
use super::report::{Find, Report, Totals};
use super::sheet::Sheet;
use super::watch::Watched;
use crate::spec::Spec;

/// What an address opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The report, the progress and the corrections.
    Report,
    /// One coding sheet, as an index, and nothing else.
    Sheet(usize),
    /// The way to the report, for one request.
    Once,
}

pub(crate) struct Site {
    pub(super) name: String,
    secret: Secret,
    /// A secret for one request. Other users of the machine may see the address that a browser is started with.
    once: Mutex<Option<Secret>>,
    pub(super) report: Arc<tokio::sync::Mutex<Report>>,
    /// Whether a run is shown while it goes.
    is_live: bool,
    pub(super) watched: Mutex<Option<Watched>>,
    /// The exit code of the run, and why it has ended.
    ended: Mutex<Option<(u8, String)>>,
    pub(super) sheets: Vec<Sheet>,
    /// The stages whose answers people correct.
    corrected: Vec<String>,
    /// The sheets whose address was opened.
    opened: Mutex<BTreeSet<usize>>,
}

impl Site {
    /// The site of a pipeline. `find` finds the run to report on, which may be one that begins now.
    pub(crate) fn new(spec: &Spec, find: Find, is_live: bool) -> Site {
        Site {
            name: spec.name.clone(),
            secret: Secret::new(),
            once: Mutex::default(),
            report: Arc::new(tokio::sync::Mutex::new(Report::new(find))),
            is_live,
            watched: Mutex::default(),
            ended: Mutex::default(),
            sheets: Sheet::all(spec),
            corrected: Corrected::names(spec),
            opened: Mutex::default(),
        }
    }

    /// Shows the progress of this run from now on.
    pub(crate) fn watch(&self, watched: Watched) {
        *self.watched.lock() = Some(watched);
    }

    /// Shows that the run has ended with this exit code, and why. Returns whether a person has stopped it in the page.
    pub(crate) fn ended(&self, exit: u8, why: String) -> bool {
        *self.ended.lock() = Some((exit, why));
        self.watched.lock().as_ref().is_some_and(|watched| watched.is_stopped)
    }

    /// The totals of a run that goes on.
    pub(super) fn totals(&self) -> Option<Totals> {
        self.watched.lock().as_ref().filter(|_| self.goes_on()).map(Watched::totals)
    }

    /// Whether a run goes on in this process.
    pub(super) fn goes_on(&self) -> bool {
        self.is_live && self.ended.lock().is_none()
    }

    /// The run that is shown while it goes.
    fn run(&self) -> Value {
        let before = || json!({ "stages": [], "waits": [], "budget": [], "stopping": false });
        let ended = self.ended.lock().clone();
        let mut run = self.watched.lock().as_ref().map_or_else(before, |watched| watched.state(ended.is_some()));
        run["exit"] = json!(ended.as_ref().map(|(exit, _)| exit));
        run["why"] = json!(ended.map(|(_, why)| why));
        run
    }

    /// What the secret in an address opens.
    pub(super) fn door(&self, word: &str) -> Option<Door> {
        let sheet = || self.sheets.iter().position(|sheet| sheet.secret.opens(word)).map(Door::Sheet);
        let once = || self.once.lock().take_if(|secret| secret.opens(word)).map(|_| Door::Once);
        if self.secret.opens(word) { Some(Door::Report) } else { sheet().or_else(once) }
    }

    /// A path that leads to the report once.
    pub(super) fn path_once(&self) -> String {
        let secret = self.once.lock().insert(Secret::new()).text().to_owned();
        format!("/{secret}/")
    }

    /// The path of the report, from the root.
    pub(super) fn path(&self) -> String {
        format!("/{}/", self.secret.text())
    }

    /// The paths of the sheets, each with a word about it.
    pub(super) fn sheet_paths(&self) -> impl Iterator<Item = (String, String)> {
        self.sheets.iter().map(|sheet| (sheet.title(), format!("/{}/", sheet.secret.text())))
    }

    pub(super) fn open(&self, sheet: usize) {
        self.opened.lock().insert(sheet);
    }

    /// Why the report is closed: a coder who works blind must not see it. The address of a sheet was opened, and rows of
    /// the sheet have no code yet.
    pub(super) fn closed(&self) -> Option<String> {
        let opened = self.opened.lock().clone();
        let mut blind = opened.iter().map(|index| &self.sheets[*index]).filter(|sheet| sheet.is_blind());
        blind.find_map(|sheet| {
            let filled = sheet.filled().filter(|filled| filled.coded < filled.rows)?;
            Some(format!(
                "The report is closed while {} is coded blind: {} of {} rows have codes. Start another server to read it.",
                sheet.path(), filled.coded, filled.rows
            ))
        })
    }

    /// What changes while the page is open.
    pub(super) fn state(&self) -> Value {
        let sheets = self.sheets.iter().map(|sheet| {
            let text = sheet.filled().map_or("not written yet".to_owned(), |filled| {
                format!("{} of {} rows coded", filled.coded, filled.rows)
            });
            json!({ "title": sheet.title(), "href": format!("/{}/", sheet.secret.text()), "text": text })
        });
        let corrected = self.corrected.iter().map(|stage| {
            json!({ "title": format!("corrections of {stage}"), "href": format!("correct?stage={stage}"), "text": "" })
        });
        let to_fill: Vec<Value> = sheets.chain(corrected).collect();
        json!({ "run": self.is_live.then(|| self.run()), "sheets": to_fill })
    }
}
