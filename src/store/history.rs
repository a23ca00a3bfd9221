//! The history of a project's runs: `history.jsonl`, to which each run adds one line when it ends. A run with a new
//! `max_tokens` also adds one when it starts.
//!
//! A run that continues keeps its name. Its lines are added up. Broken lines are skipped, and a run without a line is
//! described by its manifest, so nothing depends on the file.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checksum::{is_sealed, seal};
use super::error::StoreError;
use super::manifest::{Manifest, ReplyLimit, State};
use super::project::Project;
use super::replay::ReplayFile;
use super::rundir::RunDir;
use crate::plan::RowChoice;

/// A run as the history knows it. The counts of a line are those of one start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunRecord {
    /// The day (UTC) and a number, such as `2026-11-28-1`.
    pub(crate) name: String,
    /// The name of its folder, which ends in the hash of the plan.
    pub(crate) folder: String,
    pub(crate) pipeline: String,
    pub(crate) state: State,
    /// [`Manifest::start_number`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_number: Option<u64>,
    pub(crate) started_at: String,
    pub(crate) finished_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replay: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) fresh: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u64>,
    /// The chosen rows of each source, if they are not the first ones.
    #[serde(rename = "chosen", skip_serializing_if = "Option::is_none")]
    pub(crate) choice: Option<RowChoice>,
    /// The settings that were changed for this run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) set: Vec<String>,
    /// The rows of the largest stage.
    pub(crate) rows: u64,
    /// The failed rows of all stages.
    pub(crate) failed: u64,
    pub(crate) sent: u64,
    /// The number of calls that the rows need without recorded answers.
    pub(crate) needed: u64,
    /// The cost of the calls that were sent, in US dollars. `None` without a price.
    pub(crate) usd: Option<f64>,
    /// The `max_tokens` of the run's models. They must be known without its folder, so that the ledger alone can answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) limits: Vec<ReplyLimit>,
    /// The `lock::Lock` of the run; `None` if only some rows or stages ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lock: Option<Value>,
}

impl RunRecord {
    fn of(manifest: &Manifest, dir: &RunDir) -> RunRecord {
        let stages = || manifest.stages.values();
        let usd: Vec<f64> =
            stages().filter_map(|stage| stage.usd).chain(manifest.workers.and_then(|workers| workers.usd)).collect();
        RunRecord {
            name: manifest.name.clone().unwrap_or_default(),
            folder: dir.name(),
            pipeline: manifest.pipeline.clone(),
            state: manifest.state,
            start_number: manifest.start_number,
            started_at: manifest.started_at.clone(),
            finished_at: manifest.finished_at.clone(),
            replay: manifest.replay.clone(),
            fresh: manifest.fresh_since_ms.is_some(),
            limit: manifest.limit,
            choice: manifest.rows,
            set: manifest.set.clone(),
            rows: stages().map(|stage| stage.rows).max().unwrap_or(0),
            failed: stages().map(|stage| stage.counts.failed).sum(),
            sent: manifest.sent(),
            needed: stages().map(|stage| stage.needed).sum(),
            usd: (!usd.is_empty()).then(|| usd.iter().sum()),
            limits: ReplyLimit::all_of_run(manifest).collect(),
            lock: manifest.lock.clone(),
        }
    }

    /// The calls that recorded answers replaced.
    pub(crate) fn reused(&self) -> u64 {
        self.needed.saturating_sub(self.sent)
    }

    /// Adds a later start of the same run.
    fn add(&mut self, later: RunRecord) {
        let usd = self.usd.into_iter().chain(later.usd);
        *self = RunRecord {
            start_number: self.start_number,
            started_at: std::mem::take(&mut self.started_at),
            sent: self.sent + later.sent,
            usd: usd.reduce(|sum, more| sum + more),
            ..later
        };
    }
}

/// A run with its folder. Runs of older versions have a name too.
#[derive(Clone, Debug)]
pub(crate) struct NamedRun {
    pub(crate) name: String,
    pub(crate) dir: RunDir,
    pub(crate) manifest: Manifest,
}

/// The runs whose folders exist, oldest first. The name of an older run comes from the day when it started.
pub(crate) fn named_runs(project: &Project) -> Result<Vec<NamedRun>, StoreError> {
    Ok(named(project, &lines(project)))
}

/// The `max_tokens` with which the project's runs asked their models, and those in a replay file.
pub(crate) fn reply_limits(project: &Project, replay: Option<&ReplayFile>) -> Vec<ReplyLimit> {
    let lines = lines(project);
    let runs = named(project, &lines);
    let own = runs.iter().flat_map(|run| ReplyLimit::all_of_run(&run.manifest));
    let own = own.chain(lines.into_iter().flat_map(|line| line.limits));
    let recorded = replay.into_iter().flat_map(|file| file.models.values()).flat_map(|model| {
        let limit = |max_tokens: &u32| ReplyLimit {
            provider: model.provider.clone(),
            id: model.model.clone(),
            max_tokens: *max_tokens,
        };
        model.shorter.iter().map(limit).collect::<Vec<_>>()
    });
    own.chain(recorded).collect()
}

fn named(project: &Project, lines: &[RunRecord]) -> Vec<NamedRun> {
    let dirs = project.run_dirs().unwrap_or_default().into_iter();
    let mut runs: Vec<(RunDir, Manifest)> = dirs.filter_map(|dir| Some((dir.clone(), Manifest::read(&dir)?))).collect();
    runs.sort_by(|(a_dir, a), (b_dir, b)| {
        (a.start_number, &a.started_at, a_dir.root()).cmp(&(b.start_number, &b.started_at, b_dir.root()))
    });
    let given = runs.iter().filter_map(|(_, manifest)| manifest.name.clone());
    let mut taken: HashSet<String> = given.chain(lines.iter().map(|line| line.name.clone())).collect();
    let name = |(dir, mut manifest): (RunDir, Manifest)| {
        let name = manifest.name.clone().unwrap_or_else(|| first_free(day(&manifest.started_at), &taken));
        taken.insert(name.clone());
        manifest.name = Some(name.clone());
        NamedRun { name, dir, manifest }
    };
    let mut runs: Vec<NamedRun> = runs.into_iter().map(name).collect();
    runs.sort_by_key(|run| (run.manifest.start_number, run.manifest.started_at.clone(), number(&run.name)));
    runs
}

/// The number in a name of a run.
fn number(name: &str) -> u64 {
    name.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn day(time: &str) -> &str {
    time.get(..10).unwrap_or(time)
}

/// The first name of the day that is not taken, for a run of an older version. Later names do not change it.
fn first_free(day: &str, taken: &HashSet<String>) -> String {
    let mut names = (1..).map(|number| format!("{day}-{number}"));
    names.find(|name| !taken.contains(name)).expect("there is always a next number")
}

/// The first name of the day after all names of the day that are taken.
fn free(day: &str, taken: &HashSet<String>) -> String {
    let number = |name: &String| name.strip_prefix(day)?.strip_prefix('-')?.parse::<u64>().ok();
    format!("{day}-{}", taken.iter().filter_map(number).max().unwrap_or(0) + 1)
}

/// Whether `text` has the form of a run's name.
pub(crate) fn is_run_name(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut digits = |count| parts.next().is_some_and(|part| part.len() == count && is_number(part));
    let is_day = digits(4) && digits(2) && digits(2);
    is_day && parts.next().is_some_and(is_number) && parts.next().is_none()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// When the last run ended, in milliseconds since 1970. Without one, the beginning of time.
pub(crate) fn last_end(project: &Project) -> i64 {
    let lines = lines(project);
    let of_folders = named(project, &lines).into_iter().map(|run| run.manifest.finished_at);
    let ends = lines.into_iter().map(|line| line.finished_at).chain(of_folders).flatten();
    let ends = ends.filter_map(|end| chrono::DateTime::parse_from_rfc3339(&end).ok());
    // The times are cut to seconds.
    ends.map(|end| end.timestamp_millis() + 999).max().unwrap_or(i64::MIN)
}

/// The runs of a pipeline, oldest first, also those whose folder is gone or was used again.
pub(crate) fn history(project: &Project, pipeline: &str) -> Result<Vec<RunRecord>, StoreError> {
    let lines = lines(project);
    let mut runs: Vec<RunRecord> = Vec::new();
    let named = named(project, &lines);
    for line in lines.into_iter().filter(|line| line.pipeline == pipeline) {
        match runs.iter_mut().find(|run| run.name == line.name) {
            Some(run) => run.add(line),
            None => runs.push(line),
        }
    }
    // A run that still runs has a folder.
    runs.iter_mut().filter(|run| run.state == State::Running).for_each(|run| run.state = State::Stopped);
    for NamedRun { name, dir, manifest } in named.into_iter().filter(|run| run.manifest.pipeline == pipeline) {
        let is_running = manifest.state == State::Running && project.is_locked(dir.root());
        let state = match manifest.state {
            State::Running if !is_running => State::Stopped,
            state => state,
        };
        match runs.iter_mut().find(|run| run.name == name) {
            Some(run) => run.state = state,
            None => runs.push(RunRecord { state, ..RunRecord::of(&manifest, &dir) }),
        }
    }
    // A replay that lacks calls made nothing.
    runs.retain(|run| run.replay.is_none() || run.state == State::Done);
    runs.sort_by_key(|run| (run.start_number, run.started_at.clone(), number(&run.name)));
    Ok(runs)
}

/// The manifest of the run in `dir` with the run's name.
pub(crate) fn earlier(project: &Project, dir: &RunDir) -> Option<Manifest> {
    Manifest::read(dir).filter(|manifest| manifest.name.is_some()).or_else(|| {
        let mut runs = named_runs(project).ok()?.into_iter();
        Some(runs.find(|run| run.dir.root() == dir.root())?.manifest)
    })
}

/// Writes the manifest of a run that starts, with the name of `earlier`, or else a new one.
pub(crate) fn begin(
    project: &Project,
    dir: &RunDir,
    manifest: &mut Manifest,
    earlier: Option<&Manifest>,
) -> Result<(), StoreError> {
    let _alone = project.hold_history()?;
    let (lines, dirs) = (lines(project), project.run_dirs()?);
    let starts = dirs.iter().filter_map(|dir| Manifest::read(dir)?.start_number);
    let last = starts.chain(lines.iter().filter_map(|line| line.start_number)).max();
    manifest.start_number = Some(last.unwrap_or_default() + 1);
    manifest.name = earlier.and_then(|earlier| earlier.name.clone());
    if manifest.name.is_none() {
        let names = named(project, &lines).into_iter().map(|run| run.name);
        let taken = names.chain(lines.iter().map(|line| line.name.clone())).collect();
        manifest.name = Some(free(day(&manifest.started_at), &taken));
    }
    manifest.write(dir)?;
    // A run that is killed adds no line at its end, and its limits are needed even without its folder.
    let known: Vec<ReplyLimit> = lines.into_iter().flat_map(|line| line.limits).collect();
    if ReplyLimit::all_of_run(manifest).any(|limit| !known.contains(&limit)) {
        let first = earlier.unwrap_or(manifest);
        let (start_number, started_at) = (first.start_number, first.started_at.clone());
        let _ = add(project, &RunRecord { start_number, started_at, ..RunRecord::of(manifest, dir) });
    }
    Ok(())
}

/// Writes the manifest of a run that ends, and adds its line. A finished run that sent nothing again keeps the dates of
/// `earlier` and adds no line.
pub(crate) fn end(
    project: &Project,
    dir: &RunDir,
    manifest: &mut Manifest,
    earlier: Option<&Manifest>,
) -> Result<(), StoreError> {
    let is_done = |manifest: &Manifest| manifest.state == State::Done;
    let again = earlier.filter(|earlier| {
        is_done(manifest) && is_done(earlier) && manifest.sent() == 0 && manifest.name == earlier.name
    });
    if let Some(earlier) = again {
        (manifest.start_number, manifest.started_at) = (earlier.start_number, earlier.started_at.clone());
        manifest.finished_at = earlier.finished_at.clone();
    }
    manifest.write(dir)?;
    let _alone = project.hold_history()?;
    // The counts of the first run must not be lost when its manifest is replaced.
    let is_end = |line: &RunRecord| line.state != State::Running && Some(&line.name) == manifest.name.as_ref();
    let is_known = || lines(project).iter().any(is_end);
    let line = match again {
        None => Some(RunRecord::of(manifest, dir)),
        Some(earlier) if !is_known() => Some(RunRecord::of(earlier, dir)),
        Some(_) => None,
    };
    // The run is complete without its line.
    let _ = line.map(|line| add(project, &line));
    Ok(())
}

/// Adds a line at the end of the file, after the end of a line that a kill has cut off.
fn add(project: &Project, line: &RunRecord) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(project.history())?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let start = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{start}{}\n", seal(&serde_json::to_string(line)?)).as_bytes())?;
    file.sync_data()
}

fn lines(project: &Project) -> Vec<RunRecord> {
    let text = std::fs::read(project.history()).unwrap_or_default();
    let lines = text.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
    let lines = lines.filter(|line| is_sealed(line)).filter_map(|line| serde_json::from_str(line).ok());
    lines.filter(|line: &RunRecord| is_run_name(&line.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(project: &Project, folder: &str, sent: u64, state: State) -> (RunDir, Manifest) {
        let dir = RunDir::new(project.run(folder));
        let mut manifest = Manifest::start("p", "h", folder);
        manifest.started_at = "2026-11-28T10:00:00Z".to_owned();
        let earlier = earlier(project, &dir);
        begin(project, &dir, &mut manifest, earlier.as_ref()).unwrap();
        let totals = crate::store::StageTotals { rows: 10, calls: sent, needed: 10, ..Default::default() };
        manifest.stages.insert("s".to_owned(), totals);
        manifest.end(state);
        manifest.finished_at = Some(format!("2026-11-28T10:00:{sent:02}Z"));
        end(project, &dir, &mut manifest, earlier.as_ref()).unwrap();
        (dir, manifest)
    }

    fn project() -> (tempfile::TempDir, Project) {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::of(folder.path());
        project.create().unwrap();
        (folder, project)
    }

    fn told(project: &Project) -> Vec<(String, u64, u64, State)> {
        let runs = history(project, "p").unwrap().into_iter();
        runs.map(|run| (run.name.clone(), run.sent, run.reused(), run.state)).collect()
    }

    #[test]
    fn a_run_that_continues_is_one_run_and_a_rerun_changes_no_date() {
        let (_folder, project) = project();
        run(&project, "p-a", 4, State::Stopped);
        let (_, first) = run(&project, "p-a", 6, State::Done);
        run(&project, "p-b", 3, State::Done);
        let (_, again) = run(&project, "p-a", 0, State::Done);
        assert_eq!((again.started_at, again.finished_at), (first.started_at, first.finished_at));
        let expected = [("2026-11-28-1", 10, 0), ("2026-11-28-2", 3, 7)];
        let expected = expected.map(|(name, sent, reused)| (name.to_owned(), sent, reused, State::Done));
        assert_eq!(told(&project), expected);
        assert_eq!(history(&project, "other").unwrap(), []);
    }

    #[test]
    fn broken_lines_are_skipped_and_a_missing_file_is_no_loss() {
        let (_folder, project) = project();
        run(&project, "p-a", 4, State::Done);
        let mut file = OpenOptions::new().append(true).open(project.history()).unwrap();
        file.write_all(b"{\"name\":\"2026-11-28-7\",\"pip").unwrap();
        run(&project, "p-b", 5, State::Done);
        let both = told(&project);
        assert_eq!(both.iter().map(|run| run.1).collect::<Vec<_>>(), [4, 5]);
        std::fs::remove_file(project.history()).unwrap();
        assert_eq!(told(&project), both);
    }

    #[test]
    fn an_old_run_has_a_name_that_no_other_run_gets() {
        let (_folder, project) = project();
        for (folder, time) in [("p-b", "2026-11-28T10:00:00Z"), ("p-a", "2026-11-28T11:00:00Z")] {
            let mut old = Manifest::start("p", "h", folder);
            (old.started_at, old.state) = (time.to_owned(), State::Done);
            old.write(&RunDir::new(project.run(folder))).unwrap();
        }
        run(&project, "p-c", 1, State::Done);
        let names: Vec<String> = told(&project).into_iter().map(|run| run.0).collect();
        assert_eq!(names, ["2026-11-28-1", "2026-11-28-2", "2026-11-28-3"]);
        let (_, continued) = run(&project, "p-a", 2, State::Done);
        assert_eq!(continued.name.as_deref(), Some("2026-11-28-2"));
    }

    #[test]
    fn runs_are_in_the_order_of_their_starts_whatever_the_clock_says() {
        let (_folder, project) = project();
        let mut order = Vec::new();
        for (folder, day) in [("p-a", 28), ("p-b", 30), ("p-c", 27), ("p-d", 26)] {
            let dir = RunDir::new(project.run(folder));
            let mut manifest = Manifest::start("p", "h", folder);
            manifest.started_at = format!("2026-11-{day}T10:00:00Z");
            begin(&project, &dir, &mut manifest, None).unwrap();
            manifest.end(State::Done);
            end(&project, &dir, &mut manifest, None).unwrap();
            order.push(manifest.name.unwrap());
        }
        let folders = |runs: Vec<NamedRun>| runs.into_iter().map(|run| run.name).collect::<Vec<_>>();
        assert_eq!(folders(named_runs(&project).unwrap()), order);
        let listed = || history(&project, "p").unwrap().into_iter().map(|run| run.name).collect::<Vec<_>>();
        assert_eq!(listed(), order);
        // The folders are gone: the lines have the order too, and a later run comes last.
        std::fs::remove_dir_all(project.runs()).unwrap();
        run(&project, "p-e", 1, State::Done);
        assert_eq!(listed()[..4], order);
    }

    #[test]
    fn names_of_runs_are_a_day_and_a_number() {
        assert!(["2026-11-28-1", "2026-11-28-112"].into_iter().all(is_run_name));
        let others = ["2026-11-28", "2026-11-28-", "2026-11-28-1-2", "26-11-28-1", "tones-73e7d95650fa", "HEAD~2", ""];
        assert!(!others.into_iter().any(is_run_name));
    }
}
