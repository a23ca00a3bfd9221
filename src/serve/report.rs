//! The served report: makes the page when it is asked for, and again only when its run has changed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use crate::lock::{Lock, committed_counts};
use crate::page::{Served, Subject, page};
use crate::plan::Plan;
use crate::store::{Manifest, Project, RunDir, StageTotals, State};

/// The least time between two pages, and how many times as long as a page takes it is.
type Pace = (Duration, u32);
/// For a person who asks for the page.
const FAST: Pace = (Duration::from_secs(2), 4);
/// For an open page that renews itself while a run goes on in this process, which pays for it.
const SLOW: Pace = (Duration::from_secs(12), 50);

/// The run to show.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) plan: Arc<Plan>,
    pub(crate) folder: RunDir,
    /// Whether the run is of the spec and its data as they are now.
    pub(crate) is_current: bool,
    /// The file of the spec.
    pub(crate) spec: PathBuf,
}

impl Shown {
    /// Works on the run as a page does. `totals` are those of a run that goes on in this process.
    pub(super) fn with<T>(
        &self,
        totals: Option<Totals>,
        work: impl FnOnce(&Subject<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut manifest = Manifest::read(&self.folder).ok_or("The run has not begun yet.")?;
        match totals {
            Some(totals) if manifest.state == State::Running => manifest.stages = totals,
            _ if manifest.state == State::Done => {}
            _ => committed_counts(&self.plan, &self.folder, &mut manifest.stages),
        }
        let lock = Lock::read(&Lock::path_of(&self.spec)).ok().flatten();
        let mut subject = Subject::new(&self.plan, &self.folder, &manifest);
        (subject.lock, subject.is_current) = (lock.as_ref(), self.is_current);
        work(&subject)
    }
}

/// Finds the run to show. The error is a sentence.
pub(crate) type Find = Box<dyn Fn() -> Result<Shown, String> + Send + Sync>;

/// The totals of the stages by their names.
pub(super) type Totals = IndexMap<String, StageTotals>;

pub(super) struct Report {
    find: Find,
    shown: Option<(Shown, Option<String>)>,
    made: Option<Made>,
}

/// A page with the state of the run that it is about.
#[derive(Clone)]
pub(super) struct Made {
    pub(super) html: String,
    pub(super) version: String,
    at: Instant,
    took: Duration,
}

impl Report {
    pub(super) fn new(find: Find) -> Report {
        Report { find, shown: None, made: None }
    }

    /// The run to show: the last one, also if it has started since the last call.
    pub(super) fn shown(&mut self) -> Result<Shown, String> {
        let history = |shown: &Shown| changed(Project::of(&shown.plan.spec.folder).history());
        if let Some((shown, at)) = &self.shown
            && history(shown) == *at
        {
            return Ok(shown.clone());
        }
        let shown = (self.find)()?;
        self.shown = Some((shown.clone(), history(&shown)));
        Ok(shown)
    }

    /// The version of the page that a reader would get now. `goes_on` is whether a run goes on in this process.
    pub(super) fn version(&mut self, goes_on: bool) -> Result<String, String> {
        let now = version(&self.shown()?);
        Ok(self.recent(if goes_on { SLOW } else { FAST }).map_or(now, |made| made.version.clone()))
    }

    /// The page, made again if the run has changed and the last page is not recent. `totals` are those of a run that goes
    /// on in this process. `renews` is whether an open page asks.
    pub(super) fn page(
        &mut self,
        totals: Option<Totals>,
        renews: bool,
        served: impl Fn(&str) -> Served,
    ) -> Result<Made, String> {
        let shown = self.shown()?;
        let version = version(&shown);
        if let Some(made) = self
            .recent(if renews && totals.is_some() { SLOW } else { FAST })
            .or(self.made.as_ref().filter(|made| made.version == version))
        {
            return Ok(made.clone());
        }
        let start = Instant::now();
        let html = shown.with(totals, |subject| page(subject)?.served(&served(&version)))?;
        let made = Made { html, version, at: Instant::now(), took: start.elapsed() };
        self.made = Some(made.clone());
        Ok(made)
    }

    fn recent(&self, (least, times): Pace) -> Option<&Made> {
        let pause = |made: &Made| least.max(made.took * times);
        self.made.as_ref().filter(|made| made.at.elapsed() < pause(made))
    }
}

/// Changes when the manifest or the parts of the run change.
fn version(shown: &Shown) -> String {
    let root = shown.folder.root();
    let stages = shown.plan.spec.tables().map(|(_, table)| root.join("stages").join(table.name()));
    let times = [root.join("manifest.json")].into_iter().chain(stages).map(changed);
    let times: Vec<String> = times.map(Option::unwrap_or_default).collect();
    blake3::hash([vec![shown.folder.name()], times].concat().join("\n").as_bytes()).to_hex()[..16].to_owned()
}

fn changed(path: PathBuf) -> Option<String> {
    let time = std::fs::metadata(path).and_then(|found| found.modified()).ok()?;
    Some(format!("{time:?}"))
}
