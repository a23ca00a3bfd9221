//! Provenance: finds the run that wrote a table, by the table's metadata or else by the manifests.

use std::path::Path;
use std::time::SystemTime;

use super::checksum::open_older;
use super::error::StoreError;
use super::manifest::{Manifest, OutputFacts, SourceEntry, StageShape, State};
use super::pieces::is_stored;
use super::project::Project;
use super::rundir::RunDir;
use crate::table::parquet::Table;

#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) project: Project,
    pub(crate) dir: RunDir,
    pub(crate) manifest: Manifest,
    pub(crate) output: OutputFacts,
    pub(crate) name: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OriginError {
    #[error("{message}")]
    Unknown { message: String, help: Option<String> },
    #[error("{message}")]
    Gone { message: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OriginError {
    pub(crate) fn unknown(message: String, near: Option<&str>) -> OriginError {
        OriginError::Unknown { message, help: near.map(|near| format!("did you mean `{near}`?")) }
    }
}

/// Finds the run that wrote the table at `file`. Searches the project of `folder`. Without one, searches
/// the projects in the file's folder and in the folders above it.
pub(crate) fn origin(file: &Path, folder: Option<&Path>) -> Result<Origin, OriginError> {
    let shown = file.display();
    let Ok(real) = file.canonicalize() else {
        let message = format!("the table `{shown}` does not exist");
        return Err(if folder.is_some() { OriginError::Gone { message } } else { OriginError::unknown(message, None) });
    };
    let run = named_run(&real)?;
    let above: Vec<&Path> = folder.map_or_else(|| real.ancestors().skip(1).collect(), |folder| vec![folder]);
    for folder in above {
        if let Some(found) = in_project(folder, &real, run.as_deref())? {
            return found.whole();
        }
    }
    let message = match run {
        Some(run) => format!("the run `{run}` that wrote `{shown}` does not exist any more"),
        None => format!("no run says that it wrote `{shown}`"),
    };
    Err(OriginError::Gone { message })
}

/// The rows of a source that a run kept. They may be more than the run read. `None` also for rows from the middle of the
/// source in a run of an earlier version, which did not note their file.
pub(crate) fn source_table(project: &Project, manifest: &Manifest, name: &str) -> Option<Table> {
    let entry = manifest.sources.get(name)?;
    let start = entry.content.get(..32).unwrap_or(&entry.content);
    let names = match &entry.copy {
        Some(copy) => vec![copy.clone()],
        None if manifest.rows.is_some() => Vec::new(),
        None => vec![format!("{start}.parquet"), format!("{start}-{}.parquet", entry.rows)],
    };
    let mut tables = names.iter().filter_map(|name| open_older(&project.sources().join(name)).ok());
    tables.find(|table| table.rows() >= entry.rows)
}

fn named_run(file: &Path) -> Result<Option<String>, OriginError> {
    if file.extension().is_none_or(|end| end != "parquet") {
        return Ok(None);
    }
    let table = Table::open(file).map_err(StoreError::from)?;
    match table.fact("fanfold.run") {
        Some(run) => Ok(Some(run.to_owned())),
        None => Err(OriginError::unknown(format!("`{}` was not written by a run of fanfold", file.display()), None)),
    }
}

/// Returns the last run in the project of `folder` that wrote the table, or the run called `run`. If the table was
/// moved, the name of the run is enough only if the run wrote a single table.
fn in_project(folder: &Path, file: &Path, run: Option<&str>) -> Result<Option<Origin>, StoreError> {
    let project = Project::of(folder);
    let mut last: Option<((bool, SystemTime), Origin)> = None;
    for dir in project.run_dirs()? {
        let Some(manifest) = Manifest::read(&dir) else { continue };
        if run.is_some_and(|run| manifest.run != run) {
            continue;
        }
        let here = |output: &OutputFacts| folder.join(&output.path).canonicalize().is_ok_and(|path| path == file);
        let by_path = manifest.outputs.iter().find(|(_, output)| here(output));
        let only = || tables(&manifest).next().filter(|_| run.is_some() && tables(&manifest).count() == 1);
        let (found, known) = (by_path.or_else(only), by_path.is_some());
        let (name, output) = match found {
            Some((name, output)) => (name.clone(), output.clone()),
            // The manifest of a restarted run lists no outputs until the run ends.
            None if run.is_some() => Default::default(),
            None => continue,
        };
        let when = (known, Manifest::written(&dir).unwrap_or(SystemTime::UNIX_EPOCH));
        if last.as_ref().is_none_or(|(before, _)| *before < when) {
            last = Some((when, Origin { project: project.clone(), dir, manifest, output, name }));
        }
    }
    Ok(last.map(|(_, origin)| origin))
}

/// The outputs of a run that hold rows.
fn tables(manifest: &Manifest) -> impl Iterator<Item = (&String, &OutputFacts)> {
    manifest.outputs.iter().filter(|(_, output)| !output.codebook)
}

impl Origin {
    fn whole(self) -> Result<Origin, OriginError> {
        let gone = |what: &str| Err(OriginError::Gone { message: format!("the run `{}` {what}", self.manifest.run) });
        if self.manifest.state != State::Done {
            return gone("that wrote the table has started again and has not finished");
        }
        if self.name.is_empty() {
            let message = format!("the run `{}` wrote several tables, but none to this path", self.manifest.run);
            let help = Some("pass the spec and the output: `--output NAME`".to_owned());
            return Err(OriginError::Unknown { message, help });
        }
        if self.output.input.is_empty() {
            return gone("was made by an older fanfold");
        }
        Ok(self)
    }

    /// Returns the stages that produced the output, in order, and the name of the source or transform before them.
    pub(crate) fn chain(&self) -> (Vec<(&str, &StageShape)>, &str) {
        self.chain_of(&self.output.input)
    }

    /// Returns the same for any table of the run.
    pub(crate) fn chain_of<'a>(&'a self, table: &'a str) -> (Vec<(&'a str, &'a StageShape)>, &'a str) {
        let (mut chain, mut input) = (Vec::new(), table);
        while let Some((name, shape)) = self.manifest.tables.get_key_value(input) {
            chain.push((name.as_str(), shape));
            input = &shape.input;
        }
        chain.reverse();
        (chain, input)
    }

    /// Returns all stages that the table depends on, also those before transforms.
    pub(crate) fn stages_of<'a>(&'a self, table: &'a str) -> Vec<(&'a str, &'a StageShape)> {
        let (mut tables, mut next) = (vec![table], 0);
        while let Some(table) = tables.get(next) {
            let shape = self.manifest.tables.get(*table).map(|shape| std::slice::from_ref(&shape.input));
            let made = || self.manifest.transforms.get(*table).map(|made| made.inputs.as_slice());
            for input in shape.or_else(made).unwrap_or_default() {
                if !tables.contains(&input.as_str()) {
                    tables.push(input);
                }
            }
            next += 1;
        }
        let stages = tables.into_iter().rev();
        stages
            .filter_map(|table| self.manifest.tables.get_key_value(table))
            .map(|(n, shape)| (n.as_str(), shape))
            .collect()
    }

    pub(crate) fn entry(&self, name: &str) -> Result<SourceEntry, OriginError> {
        if let Some(entry) = self.manifest.sources.get(name) {
            return Ok(entry.clone());
        }
        let Some(made) = self.manifest.transforms.get(name) else {
            return Err(OriginError::Gone { message: format!("the run has no source `{name}`") });
        };
        let table = self.source(name)?;
        let from = match made.is_stack {
            true => format!("{} of {} universes", made.kind, made.inputs.len()),
            false => format!("{} of {}", made.kind, made.inputs.join(" and ")),
        };
        Ok(SourceEntry {
            rows: table.rows(),
            content: String::new(),
            paths: vec![from],
            key: made.key.clone(),
            copy: None,
            import: None,
        })
    }

    pub(crate) fn source(&self, name: &str) -> Result<Table, OriginError> {
        if let Some(made) = self.manifest.transforms.get(name) {
            let table = self.part(name, 0)?;
            let schema = table.schema();
            let fields = schema.fields().iter().map(|field| field.name().as_str());
            let shown: Vec<&str> = fields.take(schema.fields().len().saturating_sub(made.hidden)).collect();
            return Ok(if made.hidden > 0 { table.with_columns(&shown) } else { table });
        }
        let gone = || OriginError::Gone { message: format!("the rows of source `{name}` do not exist any more") };
        source_table(&self.project, &self.manifest, name).ok_or_else(gone)
    }

    /// The rows of a part of a stage or a transform.
    pub(crate) fn part(&self, stage: &str, part: u64) -> Result<Table, OriginError> {
        self.existing(&self.dir.part_path(stage, part))?;
        Ok(self.dir.part(stage, part)?)
    }

    pub(crate) fn calls(&self, stage: &str, part: u64) -> Result<Table, OriginError> {
        let path = self.dir.calls_path(stage, part);
        self.existing(&path)?;
        Ok(self.dir.calls_table(&path)?)
    }

    fn existing(&self, path: &Path) -> Result<(), OriginError> {
        if is_stored(path) {
            return Ok(());
        }
        Err(OriginError::Gone { message: format!("`{}`, a part of the run, does not exist any more", path.display()) })
    }
}
