//! Resolving: names become indices, and every table is bound to the columns of its inputs.
//!
//! The steps are methods of [`Resolver`], one file each: `models`, `graph`, `stages`, `examples`, `outputs` and
//! `assertions`. A table whose columns are not known is not added to the spec; its readers are checked against assumed
//! columns (`assumed`).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};
use std::rc::Rc;

use arrow_schema::SchemaRef;
use indexmap::IndexMap;

use super::Frozen;
use super::columns::Relation;
use super::language::ClusterTable;
use super::paths;
use super::pipeline::Spec;
use super::read::Raw;
use super::table::{SourceSpec, TableId, TableSpec};
use crate::document::{Path, Problems, Reported};
use crate::name::Name;
use crate::object::{Address, Bucket, ObjectError};
use crate::source::Source;

/// Resolves every name and reports all problems. The spec is complete only if there are no errors.
pub(crate) fn resolve(mut raw: Raw, folder: &FilePath, frozen: &Frozen, problems: &mut Problems) -> Spec {
    let outside = raw.header.allow_outside || problems.is_distrusted(&Path::of(["allow_outside"]));
    let reads = Rc::new(RefCell::new(std::mem::take(&mut raw.worded.files)));
    let mut resolver = Resolver { folder, frozen, outside, problems, reads };
    let endpoints = resolver.endpoints(&raw);
    let models = resolver.models(&raw, &endpoints);
    resolver.contexts(&models, &endpoints);
    resolver.budget(&raw, &endpoints);
    resolver.cluster(&raw.header.cluster);
    let mut spec = Spec {
        name: raw.header.name.take().map_or_else(|| raw.file.clone(), String::from),
        file: PathBuf::new(),
        folder: folder.to_owned(),
        seed: raw.header.seed,
        budget: raw.header.budget.unwrap_or_default(),
        cluster: std::mem::take(&mut raw.header.cluster),
        replay: resolver.replay(raw.header.replay.as_deref()),
        models,
        endpoints,
        tables: Vec::new(),
        outputs: IndexMap::new(),
        tests: Vec::new(),
        paraphrases: std::mem::take(&mut raw.worded.written),
        unwritten: std::mem::take(&mut raw.worded.unwritten),
        reads: BTreeSet::new(),
    };
    for (name, source) in &mut raw.sources {
        let Some(mut source) = source.take() else { continue };
        resolver.read_sheet(&raw.outputs, source.as_mut());
        if let Some(relation) = resolver.relation(name, source.as_ref(), raw.given.contains(name)) {
            spec.add_table(TableSpec::Source(SourceSpec { name: name.clone(), source, relation }));
        }
    }
    resolver.same_populations(&spec);
    for name in resolver.graph(&raw) {
        resolver.stage(&mut spec, &raw, &name);
    }
    for (name, table) in &raw.outputs {
        let Some(table) = table else { continue };
        let outputs = resolver.output(&spec, &raw, name, table);
        spec.outputs.extend(outputs);
    }
    resolver.no_outputs(&raw);
    for test in &raw.tests {
        if let Some(test) = resolver.test(&spec, &raw, test) {
            spec.tests.push(test);
        }
    }
    spec.reads = resolver.reads.take();
    spec
}

pub(super) struct Resolver<'a> {
    pub(super) folder: &'a FilePath,
    pub(super) frozen: &'a Frozen,
    pub(super) outside: bool,
    pub(super) problems: &'a mut Problems,
    /// See [`Spec::reads`].
    pub(super) reads: Rc<RefCell<BTreeSet<String>>>,
}

impl Resolver<'_> {
    pub(super) fn error(&mut self, rule: &'static str, path: Path, message: impl Into<String>) -> Reported<'_> {
        self.problems.error(rule, path, message)
    }

    /// Returns the table called `name`, if its columns are known. `at` is the path of the name.
    pub(super) fn find(&self, spec: &Spec, at: &Path, name: &str) -> Option<TableId> {
        spec.find(name).filter(|_| !self.problems.is_distrusted(at))
    }

    /// Warns about populations whose rows are drawn alike, so that both contain the same people.
    fn same_populations(&mut self, spec: &Spec) {
        let populations = spec.sources().filter_map(|(_, source)| Some((&source.name, source.source.population()?)));
        let populations: Vec<_> = populations.map(|(name, population)| (name, population.draws())).collect();
        for (i, (name, draws)) in populations.iter().enumerate() {
            let Some((other, _)) = populations[..i].iter().find(|(_, others)| others == draws) else { continue };
            let message = format!(
                "`{name}` contains the same people as `{other}`: both have the same seed and the same characteristics"
            );
            self.problems
                .warning("same-population", Path::of(["sources", name.as_str()]), message)
                .help("give one of them its own `seed`, unless the same people are meant");
        }
    }

    fn cluster(&mut self, cluster: &ClusterTable) {
        let at = Path::of(["cluster"]);
        if let Some(folder) = &cluster.folder {
            let found = Address::parse(folder).unwrap_or_else(|| {
                let message = format!("`{folder}` is not the address of an object store");
                Err(ObjectError::new(message, "write for example `s3://bucket/study`, or leave it out"))
            });
            if let Err(error) = found.and_then(|address| Bucket::open(&address).map(drop)) {
                self.error("bad-value", at.key("folder"), error.message).help_if(error.help);
            }
        }
        let volume = cluster.kubernetes.as_ref().map(|pods| [&pods.claim, &pods.path]);
        if volume.is_some_and(|volume| volume.iter().any(|field| field.is_none())) && cluster.folder.is_none() {
            let message = "the pods need a volume with the project";
            let help = "write `claim` and `path`, or the `folder` of an object store in `[cluster]`";
            self.error("missing-field", at.key("kubernetes"), message).help(help);
        }
        for (i, option) in cluster.sbatch.iter().enumerate().filter(|(_, option)| !option.starts_with('-')) {
            let message = format!("`{option}` is not an option of `sbatch`");
            let help = "write each option as one text, such as `--partition=gpu`";
            self.error("bad-value", Path::of(["cluster", "sbatch"]).index(i), message).help(help);
        }
        let is_name = |name: &str| {
            let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
            !name.is_empty() && name.chars().all(is_letter) && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        for (i, name) in cluster.env.iter().enumerate().filter(|(_, name)| !is_name(name)) {
            let message = format!("`{name}` is not the name of an environment variable");
            self.error("bad-value", Path::of(["cluster", "env"]).index(i), message)
                .help("write only the name; the value comes from the environment of `fanfold run`");
        }
    }

    /// Warns about a spec whose answers are written to no file.
    fn no_outputs(&mut self, raw: &Raw) {
        let Some(last) = raw.stages.keys().last() else { return };
        if !raw.has_outputs() {
            let message =
                format!("there are no outputs, so the table of `{last}` stays in the hidden folder `.fanfold`");
            let help =
                format!("write a table `[outputs.{last}]` with `input = \"{last}\"` and `path = \"{last}.csv\"`");
            let at = Path::of(["stages", last.as_str()]);
            self.problems.warning("no-outputs", at, message).help(help);
        }
    }

    pub(super) fn inside(&mut self, at: Path, path: &str) -> bool {
        let inside = self.outside || paths::stays_inside(self.folder, path);
        if !inside {
            self.error("path-outside", at, format!("`{path}` leaves the folder of the spec"))
                .help("move the file, or write `allow_outside = true` at the top of the spec");
        }
        inside
    }

    fn replay(&mut self, path: Option<&str>) -> Option<PathBuf> {
        let path = path.filter(|path| self.inside(Path::of(["replay"]), path))?;
        Some(paths::plain(&self.folder.join(path)))
    }

    /// Says what was detected in the files, and what the spec should decide.
    fn readings(&mut self, name: &Name, source: &dyn Source) {
        let at = Path::of(["sources", name.as_str(), "path"]);
        for reading in source.readings(self.folder).unwrap_or_default() {
            if !reading.detected.is_empty() {
                let message = format!("{}: detected {}", reading.path, reading.detected.join(", "));
                let help = "write this into the source, so that no other file decides it";
                self.problems.warning("detected-setting", at.clone(), message).help(help);
            }
            for (message, help) in reading.doubts {
                let message = format!("{}: {message}", reading.path);
                self.problems.warning("undecided-setting", at.clone(), message).help(help);
            }
        }
    }

    fn relation(&mut self, name: &Name, source: &dyn Source, is_given: bool) -> Option<Relation> {
        let at = Path::of(["sources", name.as_str()]);
        for (key, path) in source.paths() {
            let is_free = is_given && key == "path";
            if !is_free && !self.inside(at.key(key), &path) {
                return None;
            }
        }
        if let Some(schema) = self.frozen.columns.get(name.as_str()).cloned() {
            return Some(relation(source, schema));
        }
        let schema = source.schema(self.folder).or_else(|error| {
            let place = error.field.iter().fold(at, |path, key| path.key(key));
            self.error("unreadable-source", place, error.message).help_if(error.help);
            source.columns_found(self.folder)
        });
        let schema = schema.ok()?;
        self.readings(name, source);
        Some(relation(source, schema))
    }
}

fn relation(source: &dyn Source, schema: SchemaRef) -> Relation {
    let key = source.key().and_then(|key| schema.index_of(key).ok());
    Relation { guards: vec![Vec::new(); schema.fields().len()], schema, key, fold: 1, hidden: 0 }
}
