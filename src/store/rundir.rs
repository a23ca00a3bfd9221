//! A run's folder: the parts of each stage and their calls, committed one by one.
//!
//! ```text
//! runs/<name>-<hash>/
//!   manifest.json
//!   spec.json                             the settings that can change a table, prompts included
//!   stages/<stage>/part-00000.parquet     the stage's rows, input columns included; of a transform all rows
//!   stages/<stage>/part-00000.sum         its checksum
//!   stages/<stage>/part-00000.pieces      the part in an earlier run, see pieces.rs; calls are cut like it
//!   calls/<stage>-00000.parquet           the calls of the part; the folder can be read as one table
//!   replaced/<hash>/<file>                an output before a fresh or locked run wrote a different one
//! ```
//!
//! A part is committed when its file and its checksum exist. The facts in the file contain the checksum of its calls. The file is written under a temporary name, synced and
//! renamed, after the part's calls.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::absent::put_if_absent;
use super::audit::Audit;
use super::calls::calls_schema;
use super::changes::ChangesByModel;
use super::checksum::{is_sealed, open_checked, seal, sum_of, sum_path, write_sum};
use super::counts::{RowCounts, Share, Shares};
use super::error::StoreError;
use super::mirror::{Mirror, pack, unpack};
use super::pieces::{is_list, is_stored, list_path, open_table};
use crate::plan::Part;
use crate::table::files::{clean, persist, write_whole};
use crate::table::parquet::{Options, Table, TableWriter};

const FACTS: &str = "fanfold.part";
const SPEC: &str = "spec.json";

#[derive(Clone, Debug)]
pub(crate) struct RunDir {
    root: PathBuf,
    sharing: Sharing,
}

/// Whether other processes may commit the same parts.
#[derive(Clone, Debug, Default)]
enum Sharing {
    #[default]
    Alone,
    Folder,
    /// In an object store. The folder is a copy.
    Store(Mirror),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartFacts {
    pub(crate) id: String,
    pub(crate) inputs: Vec<String>,
    #[serde(flatten)]
    pub(crate) counts: RowCounts,
    #[serde(default)]
    pub(crate) calls: u64,
    /// The checksum of the calls. `None` in a part of an older version, and in a table without calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) calls_sum: Option<String>,
    #[serde(default)]
    pub(crate) shares: Shares,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) audit: Option<Audit>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) replies: Replies,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) changes: ChangesByModel,
}

impl PartFacts {
    pub(crate) fn add(&mut self, more: PartFacts) {
        self.counts += more.counts;
        self.calls += more.calls;
        Share::add(&mut self.shares, &more.shares);
        if let Some(audit) = &more.audit {
            self.audit.get_or_insert_default().add(audit);
        }
        for (model, builds) in more.replies {
            self.replies.entry(model).or_default().extend(builds);
        }
        for (model, changes) in more.changes {
            *self.changes.entry(model).or_default() += changes;
        }
    }
}

pub(crate) type Replies = BTreeMap<String, BTreeSet<String>>;

#[derive(Clone, Debug)]
pub(crate) struct CommittedPart {
    pub(crate) facts: PartFacts,
    pub(crate) table: Table,
}

impl RunDir {
    pub(crate) fn new(root: PathBuf) -> Self {
        RunDir { root, sharing: Sharing::Alone }
    }

    /// The same folder, in which other processes may commit the same parts.
    pub(crate) fn shared(self) -> Self {
        RunDir { sharing: Sharing::Folder, ..self }
    }

    /// The same folder as the copy of one in an object store, in which other processes commit the same parts.
    pub(super) fn on_store(self, mirror: Mirror) -> Self {
        RunDir { sharing: Sharing::Store(mirror), ..self }
    }

    pub(super) fn mirror(&self) -> Option<&Mirror> {
        match &self.sharing {
            Sharing::Store(mirror) => Some(mirror),
            Sharing::Alone | Sharing::Folder => None,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The name of the folder, which ends in the hash of the plan.
    pub(crate) fn name(&self) -> String {
        self.root.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn calls(&self) -> PathBuf {
        self.root.join("calls")
    }

    /// Keeps [`crate::spec::Spec::meaning`], for comparisons with other runs.
    pub(crate) fn write_spec(&self, meaning: &Value) -> Result<(), StoreError> {
        let path = self.root.join(SPEC);
        let text = serde_json::to_string_pretty(meaning).unwrap_or_default();
        write_whole(&path, seal(&text).as_bytes()).map_err(StoreError::io(&path))
    }

    /// `None` if the run is of an older version, or if the file is damaged.
    pub(crate) fn read_spec(&self) -> Option<Value> {
        let text = std::fs::read_to_string(self.root.join(SPEC)).ok()?;
        let mut spec: Value = serde_json::from_str(&text).ok().filter(|_| is_sealed(&text))?;
        spec.as_object_mut()?.shift_remove("checksum");
        Some(spec)
    }

    /// The files of the calls table, in order. Unfinished files have another extension and are skipped. Files of earlier
    /// runs may be cut, so [`open_table`] opens them.
    pub(crate) fn call_files(&self) -> Result<Vec<PathBuf>, StoreError> {
        tables_in(&self.calls())
    }

    /// All files with a part or its calls, also those that are cut.
    pub(super) fn tables(&self) -> Result<Vec<PathBuf>, StoreError> {
        let stages = files_in(&self.root.join("stages"))?.into_iter().filter(|path| path.is_dir());
        let tables = stages.chain([self.calls()]).map(|folder| tables_in(&folder));
        Ok(tables.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Whether the part is there, perhaps damaged.
    pub(crate) fn has_part(&self, stage: &str, part: u64) -> bool {
        is_stored(&self.part_path(stage, part))
    }

    /// The checked tables of [`Self::call_files`] whose parts are committed. Reads every byte.
    pub(crate) fn call_tables(&self) -> Result<Vec<(PathBuf, Table)>, StoreError> {
        let files = self.call_files()?.into_iter();
        files
            .filter(|file| self.part_of(file).is_some_and(|part| is_stored(&part)))
            .map(|file| Ok((file.clone(), self.calls_table(&file)?)))
            .collect()
    }

    /// Opens a file of the calls table and compares it with the checksum in its part.
    pub(crate) fn calls_table(&self, file: &Path) -> Result<Table, StoreError> {
        let damaged = || StoreError::Damaged { path: file.to_owned() };
        let part = self.part_of(file).ok_or_else(damaged)?;
        let facts = open_table(&part).ok().and_then(|part| facts(&part));
        match facts.ok_or(StoreError::Damaged { path: part })?.calls_sum {
            Some(sum) if sum_of(file).map_err(StoreError::io(file))? != sum => Err(damaged()),
            _ => Ok(open_table(file)?),
        }
    }

    /// The part of a file of the calls table.
    fn part_of(&self, calls: &Path) -> Option<PathBuf> {
        let (stage, part) = calls.file_stem()?.to_str()?.rsplit_once('-')?;
        Some(self.part_path(stage, part.parse().ok()?))
    }

    pub(crate) fn part_path(&self, stage: &str, part: u64) -> PathBuf {
        self.root.join("stages").join(stage).join(format!("part-{part:05}.parquet"))
    }

    pub(crate) fn calls_path(&self, stage: &str, part: u64) -> PathBuf {
        self.calls().join(format!("{stage}-{part:05}.parquet"))
    }

    /// Removes the temporary files of a killed run. The caller must hold the run's lock.
    pub(crate) fn clean(&self) {
        let stages = std::fs::read_dir(self.root.join("stages")).into_iter().flatten().flatten();
        for folder in stages.map(|s| s.path()).chain([self.root.clone(), self.calls()]) {
            clean(&folder, None);
        }
    }

    /// Removes the folder and its files. The caller must hold the run's lock.
    pub(crate) fn remove(&self) -> Result<(), StoreError> {
        if self.root.exists() {
            std::fs::remove_dir_all(&self.root).map_err(StoreError::io(&self.root))
        } else {
            Ok(())
        }
    }

    /// Removes all parts of `stages` and the calls table. The caller must hold the run's lock.
    pub(crate) fn remove_parts<'a>(&self, stages: impl Iterator<Item = &'a str>) -> Result<(), StoreError> {
        let folders = stages.map(|stage| self.root.join("stages").join(stage)).chain([self.calls()]);
        for folder in folders.filter(|folder| folder.exists()) {
            std::fs::remove_dir_all(&folder).map_err(StoreError::io(&folder))?;
        }
        Ok(())
    }

    /// Removes a committed part and its calls. The caller must hold the run's lock.
    pub(crate) fn remove_part(&self, stage: &str, part: u64) -> Result<(), StoreError> {
        let rows = self.part_path(stage, part);
        let calls = self.calls_path(stage, part);
        for path in [sum_path(&rows), list_path(&rows), rows, list_path(&calls), calls] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(StoreError::io(&path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns part `part` of `stage` if it is committed and its checksum is right. Reads every byte.
    pub(crate) fn committed(&self, stage: &str, part: u64) -> Option<CommittedPart> {
        committed(&self.part_path(stage, part))
    }

    /// Like [`Self::committed`]. Looks in the object store too, if the run is on one.
    pub(crate) fn find(&self, stage: &str, part: u64) -> Result<Option<CommittedPart>, StoreError> {
        if let Some(mirror) = self.mirror().filter(|_| !self.has_sum(stage, part))
            && let Some(bytes) = mirror.bucket().get(&Mirror::part_name(stage, part))?
        {
            self.unpack_part(stage, part, &bytes)?;
        }
        Ok(self.committed(stage, part))
    }

    /// Writes a part as an object has it. A damaged one is not committed.
    pub(super) fn unpack_part(&self, stage: &str, part: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.part_path(stage, part);
        let Some((rows, calls)) = unpack(bytes) else { return Ok(()) };
        let write = |path: &Path, bytes: &[u8]| {
            std::fs::create_dir_all(path.parent().unwrap_or(path))
                .and_then(|()| write_whole(path, bytes))
                .map_err(StoreError::io(path))
        };
        if !calls.is_empty() {
            write(&self.calls_path(stage, part), calls)?;
        }
        write(&path, rows)?;
        write_sum(&path)
    }

    pub(super) fn has_sum(&self, stage: &str, part: u64) -> bool {
        sum_path(&self.part_path(stage, part)).exists()
    }

    /// The numbers of the parts of `stage` that have a checksum.
    pub(super) fn parts_of(&self, stage: &str) -> Result<Vec<u64>, StoreError> {
        let files = files_in(&self.root.join("stages").join(stage))?.into_iter();
        let sums = files.filter(|file| file.extension().is_some_and(|ending| ending == "sum"));
        let number = |file: PathBuf| file.file_stem()?.to_str()?.strip_prefix("part-")?.parse().ok();
        Ok(sums.filter_map(number).collect())
    }

    /// Returns the table of a part if its checksum is right. Reads every byte.
    pub(crate) fn part(&self, stage: &str, part: u64) -> Result<Table, StoreError> {
        open_checked(&self.part_path(stage, part))
    }

    /// Whether the calls of a part are there and undamaged.
    pub(crate) fn has_calls(&self, stage: &str, part: u64) -> bool {
        self.calls_table(&self.calls_path(stage, part)).is_ok()
    }

    /// The number of parts of `stage` that have a checksum. Reads no part.
    pub(crate) fn count_parts(&self, stage: &str) -> u64 {
        let files = std::fs::read_dir(self.root.join("stages").join(stage)).into_iter().flatten().flatten();
        files.filter(|file| Path::new(&file.file_name()).extension().is_some_and(|ending| ending == "sum")).count()
            as u64
    }

    /// Keeps the file at `output` in this folder before a run replaces it. Returns `None` if there is no file.
    pub(crate) fn keep_replaced(&self, output: &Path) -> Result<Option<ReplacedFile>, StoreError> {
        let Some(name) = output.file_name().filter(|_| output.is_file()) else { return Ok(None) };
        // Outputs in different folders may have equal names.
        let folder = blake3::hash(output.as_os_str().as_encoded_bytes()).to_hex();
        let kept = self.root.join("replaced").join(&folder[..8]).join(name);
        let link = || {
            std::fs::create_dir_all(kept.parent().unwrap_or(&self.root))?;
            let _ = std::fs::remove_file(&kept);
            // A link costs nothing, and some file systems have none.
            std::fs::hard_link(output, &kept).or_else(|_| std::fs::copy(output, &kept).map(drop))
        };
        link().map_err(StoreError::io(&kept))?;
        Ok(Some(ReplacedFile(kept)))
    }

    pub(crate) fn write_part(&self, stage: &str, part: Part, schema: SchemaRef) -> Result<PartWriter, StoreError> {
        let rows_path = self.part_path(stage, part.number);
        let distinct = vec!["call_key", "prompt", "reply", "probabilities", "latency_ms", "row"];
        let options = Options { distinct, ..own_options() };
        Ok(PartWriter {
            rows: TableWriter::create(&rows_path, schema, &own_options())?,
            calls: Some(TableWriter::create(&self.calls_path(stage, part.number), calls_schema(), &options)?),
            calls_path: self.calls_path(stage, part.number),
            path: rows_path,
            sharing: self.sharing.clone(),
            place: (stage.to_owned(), part.number),
        })
    }

    pub(crate) fn write_table(&self, transform: &str, schema: SchemaRef) -> Result<PartWriter, StoreError> {
        let path = self.part_path(transform, 0);
        let rows = TableWriter::create(&path, schema, &own_options())?;
        let (sharing, place) = (self.sharing.clone(), (transform.to_owned(), 0));
        Ok(PartWriter { rows, calls: None, calls_path: PathBuf::new(), path, sharing, place })
    }
}

/// How the project's own tables are written: so that equal rows of several runs can be stored once.
pub(super) fn own_options() -> Options {
    Options { is_own: true, ..Options::default() }
}

/// The tables in a folder, in order. A table that is cut has the name of the whole file.
pub(super) fn tables_in(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut files = files_in(folder)?;
    files.retain(|path| is_list(path) || path.extension().is_some_and(|end| end == "parquet"));
    for path in files.iter_mut().filter(|path| is_list(path)) {
        path.set_extension("parquet");
    }
    files.dedup();
    Ok(files)
}

/// Returns the files and folders in a folder, sorted. The folder may be missing.
pub(crate) fn files_in(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut paths = Vec::new();
    if folder.exists() {
        for entry in std::fs::read_dir(folder).map_err(StoreError::io(folder))? {
            paths.push(entry.map_err(StoreError::io(folder))?.path());
        }
    }
    paths.sort();
    Ok(paths)
}

fn committed(path: &Path) -> Option<CommittedPart> {
    let table = open_checked(path).ok()?;
    Some(CommittedPart { facts: facts(&table)?, table })
}

fn facts(part: &Table) -> Option<PartFacts> {
    serde_json::from_str(part.fact(FACTS)?).ok()
}

/// A file that a run has kept before it replaced it.
pub(crate) struct ReplacedFile(PathBuf);

impl ReplacedFile {
    /// Returns where the file is kept, or deletes it if `new` has the same bytes.
    pub(crate) fn unless_equal(self, new: &Path) -> Option<PathBuf> {
        if sum_of(&self.0).ok()? == sum_of(new).ok()? {
            let _ = std::fs::remove_file(&self.0);
            return None;
        }
        Some(self.0)
    }
}

pub(crate) struct PartWriter {
    path: PathBuf,
    rows: TableWriter,
    /// `None` if the stage asks no models.
    calls: Option<TableWriter>,
    calls_path: PathBuf,
    sharing: Sharing,
    /// The table and the number of the part.
    place: (String, u64),
}

/// The longest time from the creation of a part to its checksum. A longer one means that its writer was killed.
const PATIENCE: Duration = Duration::from_secs(5);

impl PartWriter {
    pub(crate) fn write(&mut self, rows: RecordBatch) -> Result<(), StoreError> {
        Ok(self.rows.write(rows)?)
    }

    /// Does nothing in the table of a transform.
    pub(crate) fn write_calls(&mut self, calls: RecordBatch) -> Result<(), StoreError> {
        Ok(self.calls.as_mut().map_or(Ok(()), |writer| writer.write(calls))?)
    }

    /// Commits the calls, then the part. All calls of the part must already be durable in the ledger.
    pub(crate) fn commit(mut self, mut facts: PartFacts) -> Result<CommittedPart, StoreError> {
        match std::mem::take(&mut self.sharing) {
            Sharing::Alone => {}
            Sharing::Folder => return self.commit_first(facts),
            Sharing::Store(mirror) => return self.commit_object(facts, &mirror),
        }
        if let Some(calls) = self.calls {
            calls.commit()?;
            facts.calls_sum = Some(sum_of(&self.calls_path).map_err(StoreError::io(&self.calls_path))?);
        }
        self.rows.fact(FACTS, serde_json::to_string(&facts).unwrap_or_default());
        self.rows.commit()?;
        write_sum(&self.path)?;
        Ok(CommittedPart { facts, table: Table::open(&self.path)? })
    }

    /// Commits the part as an object, unless another process has committed it; then returns the other's part.
    fn commit_object(mut self, mut facts: PartFacts, mirror: &Mirror) -> Result<CommittedPart, StoreError> {
        let read = |path: &Path| std::fs::read(path).map_err(StoreError::io(path));
        let calls = match self.calls.take() {
            Some(writer) => read(writer.finish()?.0.path())?,
            None => Vec::new(),
        };
        if !self.calls_path.as_os_str().is_empty() {
            facts.calls_sum = Some(blake3::hash(&calls).to_hex().to_string());
        }
        self.rows.fact(FACTS, serde_json::to_string(&facts).unwrap_or_default());
        let (rows, path) = self.rows.finish()?;
        let own = pack(&read(rows.path())?, &calls);
        let folder = path.ancestors().nth(3).unwrap_or(&path).to_owned();
        let dir = RunDir::new(folder);
        let (table, part) = (self.place.0.as_str(), self.place.1);
        let name = Mirror::part_name(table, part);
        if !mirror.bucket().put_new(&name, own.clone())?
            && let Some(bytes) = mirror.bucket().get(&name)?.filter(|bytes| *bytes != own)
        {
            dir.unpack_part(table, part, &bytes)?;
            // A part of other inputs, or a damaged one, is replaced.
            if let Some(other) = committed(&path).filter(|other| other.facts.inputs == facts.inputs) {
                return Ok(other);
            }
            mirror.bucket().put(&name, own.clone())?;
        }
        dir.unpack_part(table, part, &own)?;
        Ok(CommittedPart { facts, table: Table::open(&path)? })
    }

    /// Commits the part unless another process has committed it; then returns the other's part and drops this one.
    fn commit_first(mut self, mut facts: PartFacts) -> Result<CommittedPart, StoreError> {
        let calls = self.calls.map(TableWriter::finish).transpose()?;
        if let Some((calls, path)) = &calls {
            facts.calls_sum = Some(sum_of(calls.path()).map_err(StoreError::io(path))?);
        }
        self.rows.fact(FACTS, serde_json::to_string(&facts).unwrap_or_default());
        let (rows, path) = self.rows.finish()?;
        if !put_if_absent(&rows, &path).map_err(StoreError::io(&path))? {
            let start = Instant::now();
            while !sum_path(&path).exists() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(50));
            }
            // A part of other inputs, or of a writer that was killed, is replaced.
            if let Some(other) = committed(&path).filter(|other| other.facts.inputs == facts.inputs) {
                return Ok(other);
            }
            persist(rows, &path).map_err(StoreError::io(&path))?;
        }
        if let Some((calls, path)) = calls {
            persist(calls, &path).map_err(StoreError::io(&path))?;
        }
        let sum = sum_path(&path);
        let written = sum_of(&path).and_then(|found| write_whole(&sum, found.as_bytes()));
        written.map_err(StoreError::io(&sum))?;
        Ok(CommittedPart { facts, table: Table::open(&path)? })
    }
}
