//! Provenance: the run that wrote a table, found by what the table's metadata says or else by the manifests.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Manifest, OutputFacts, Project, RunDir, SourceEntry, StageShape, StoreError};
use crate::table::parquet::Table;

/// Where a table comes from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The project.
    pub project: Project,
    /// The run's folder.
    pub dir: RunDir,
    /// What the run did.
    pub manifest: Manifest,
    /// What it says of the table.
    pub output: OutputFacts,
    /// The name of the output in the spec.
    pub name: String,
}

/// Why nothing can be said about a table or a row of it.
#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    /// It was asked for something that isn't there.
    #[error("{message}")]
    Unknown {
        /// The sentence.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// The run is not there any more, or not as it was when it wrote the table.
    #[error("{message}")]
    Gone {
        /// The sentence.
        message: String,
    },
    /// Something can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OriginError {
    /// Something that isn't there, with "did you mean" if there is a suggestion.
    pub fn unknown(message: String, near: Option<&str>) -> OriginError {
        OriginError::Unknown { message, help: near.map(|near| format!("did you mean `{near}`?")) }
    }
}

/// A folder with runs in it, and where the paths of their outputs start.
type Place = (PathBuf, Project);

/// The run that wrote the table at `file`. Looks into the project of `folder`; without one, into those beside the file and
/// in the folders above it.
pub fn origin(file: &Path, folder: Option<&Path>) -> Result<Origin, OriginError> {
    let shown = file.display();
    let Ok(real) = file.canonicalize() else {
        let message = format!("there is no table `{shown}`");
        return Err(if folder.is_some() { OriginError::Gone { message } } else { OriginError::unknown(message, None) });
    };
    let run = named_run(&real)?;
    let above: Vec<&Path> = folder.map_or_else(|| real.ancestors().skip(1).collect(), |folder| vec![folder]);
    let places: Vec<Place> = above.iter().map(|folder| ((*folder).to_owned(), Project::of(folder))).collect();
    for place in places.iter().filter(|(_, project)| project.runs().is_dir()) {
        if let Some(found) = in_project(place, &real, run.as_deref())? {
            return found.whole();
        }
    }
    let message = match run {
        Some(run) => format!("the run `{run}` that wrote `{shown}` is not there any more"),
        None => format!("no run says that it wrote `{shown}`"),
    };
    Err(OriginError::Gone { message })
}

/// The run that a Parquet file names; none for other formats, which name none.
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

/// The last run of a project that wrote the table at `file`, or that `run` names. A table that has been moved is found by the
/// name of the run alone, if that wrote only one.
fn in_project((folder, project): &Place, file: &Path, run: Option<&str>) -> Result<Option<Origin>, StoreError> {
    let runs = project.runs();
    let mut last: Option<((bool, SystemTime), Origin)> = None;
    for entry in std::fs::read_dir(&runs).map_err(StoreError::io(&runs))?.flatten() {
        let dir = RunDir::new(entry.path());
        let Some(manifest) = Manifest::read(&dir) else { continue };
        if run.is_some_and(|run| manifest.run != run) {
            continue;
        }
        let here = |output: &OutputFacts| folder.join(&output.path).canonicalize().is_ok_and(|path| path == file);
        let by_path = manifest.outputs.iter().find(|(_, output)| here(output));
        let only = || manifest.outputs.first().filter(|_| run.is_some() && manifest.outputs.len() == 1);
        let (found, known) = (by_path.or_else(only), by_path.is_some());
        let (name, output) = match found {
            Some((name, output)) => (name.clone(), output.clone()),
            // A run that has begun again says nothing of its outputs until it ends.
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

impl Origin {
    /// The origin, if the run is as it was when it wrote the table.
    fn whole(self) -> Result<Origin, OriginError> {
        let gone = |what: &str| Err(OriginError::Gone { message: format!("the run `{}` {what}", self.manifest.run) });
        if self.manifest.state != super::State::Done {
            return gone("that wrote the table has begun again and is not done");
        }
        if self.name.is_empty() {
            let message = format!("the run `{}` wrote several tables, none of them here", self.manifest.run);
            let help = Some("give the spec, and the output with `--output NAME`".to_owned());
            return Err(OriginError::Unknown { message, help });
        }
        if self.output.input.is_empty() {
            return gone("was made by an older fanfold");
        }
        Ok(self)
    }

    /// The stages that the table went through, from its source or from the last table that was made of tables on, with their
    /// names, and the name of that.
    pub fn chain(&self) -> (Vec<(&str, &StageShape)>, &str) {
        let mut chain = Vec::new();
        let mut input = self.output.input.as_str();
        while let Some((name, shape)) = self.manifest.tables.get_key_value(input) {
            chain.push((name.as_str(), shape));
            input = &shape.input;
        }
        chain.reverse();
        (chain, input)
    }

    /// What is known of the source `name`, or of the table that was made of tables.
    pub fn entry(&self, name: &str) -> Result<SourceEntry, OriginError> {
        if let Some(entry) = self.manifest.sources.get(name) {
            return Ok(entry.clone());
        }
        let Some(made) = self.manifest.reshapes.get(name) else {
            return Err(OriginError::Gone { message: format!("the run says nothing of source `{name}`") });
        };
        let table = self.source(name)?;
        let from = format!("{} of {}", made.kind, made.inputs.join(" and "));
        Ok(SourceEntry { rows: table.rows(), content: String::new(), paths: vec![from], key: made.key.clone() })
    }

    /// The rows of the source `name` as they were read, or of a table that was made of tables.
    pub fn source(&self, name: &str) -> Result<Table, OriginError> {
        if let Some(made) = self.manifest.reshapes.get(name) {
            let table = self.open(&self.dir.part_path(name, 0))?;
            let schema = table.schema();
            let fields = schema.fields().iter().map(|field| field.name().as_str());
            let shown: Vec<&str> = fields.take(schema.fields().len().saturating_sub(made.hidden)).collect();
            return Ok(if made.hidden > 0 { table.with_columns(&shown) } else { table });
        }
        let gone = || OriginError::Gone { message: format!("the rows of source `{name}` are not there any more") };
        let entry = self.manifest.sources.get(name).ok_or_else(gone)?;
        let start = entry.content.get(..32).unwrap_or(&entry.content);
        let names = [format!("{start}.parquet"), format!("{start}-{}.parquet", entry.rows)];
        let mut tables = names.iter().filter_map(|name| Table::open(&self.project.sources().join(name)).ok());
        tables.find(|table| table.rows() >= entry.rows).ok_or_else(gone)
    }

    /// A file of the run's folder: a part, or the calls behind it.
    pub fn open(&self, path: &Path) -> Result<Table, OriginError> {
        if path.exists() {
            return Ok(Table::open(path).map_err(StoreError::from)?);
        }
        Err(OriginError::Gone { message: format!("`{}`, a part of the run, is not there any more", path.display()) })
    }
}
