//! Resolving: what the names of a spec refer to: models in `models`, the order of the stages in `graph`, the stages
//! themselves in `stages`, outputs in `outputs`; here are sources and what they share.

use std::path::Path as FilePath;

use indexmap::IndexMap;

use super::columns::Relation;
use super::paths;
use super::read::{Raw, RawStage};
use super::{SourceSpec, Spec, TableSpec};
use crate::document::{Path, Problems, Reported};
use crate::name::{Name, nearest};
use crate::source;

/// Resolves every name; reports all problems.
pub fn resolve(raw: Raw, folder: &FilePath, problems: &mut Problems) -> Option<Spec> {
    let mut resolver = Resolver { folder, outside: raw.header.allow_outside, problems };
    let endpoints = resolver.endpoints(&raw);
    let models = resolver.models(&raw, &endpoints);
    resolver.budget(&raw, &endpoints);
    let order = resolver.graph(&raw);
    let Raw { header, file, sources, stages, outputs, tests, broken, .. } = raw;
    let mut spec = Spec {
        name: header.name.map_or(file, String::from),
        folder: folder.to_owned(),
        seed: header.seed,
        budget: header.budget.unwrap_or_default(),
        models,
        endpoints,
        tables: Vec::new(),
        outputs: IndexMap::new(),
        tests: Vec::new(),
    };
    let mut unknown: Vec<String> = broken.iter().filter(|(s, _)| *s != "outputs").map(|(_, n)| n.clone()).collect();
    for (name, source) in sources {
        match resolver.relation(&name, source.as_ref()) {
            Some(relation) => drop(spec.add_table(TableSpec::Source(SourceSpec { name, source, relation }))),
            None => unknown.push(name.into()),
        }
    }
    let mut stages: IndexMap<Name, Option<RawStage>> =
        stages.into_iter().map(|(name, stage)| (name, Some(stage))).collect();
    for name in order {
        let known = match stages.get_mut(&name).and_then(Option::take) {
            None => continue,
            Some(RawStage::Asks(table, config)) => resolver.stage(&mut spec, &name, &table, config.as_ref()),
            Some(RawStage::Reshapes(config)) => resolver.reshape(&mut spec, &name, config.as_ref()),
        };
        if known.is_none() {
            unknown.push(name.into());
        }
    }
    // A stage that is not in the order stands in a cycle or reads something that doesn't exist.
    unknown.extend(stages.into_iter().filter(|(_, s)| s.is_some()).map(|(name, _)| name.into()));
    for (name, table) in &outputs {
        if let Some(output) = resolver.output(&spec, &unknown, name, table) {
            spec.outputs.insert(name.clone(), output);
        }
    }
    unknown.extend(outputs.into_keys().filter(|name| !spec.outputs.contains_key(name)).map(String::from));
    unknown.extend(broken.into_iter().filter(|(section, _)| *section == "outputs").map(|(_, name)| name));
    for test in tests {
        if let Some(test) = resolver.test(&spec, &unknown, test) {
            spec.tests.push(test);
        }
    }
    Some(spec)
}

/// What it takes to resolve, and the problems so far.
pub(super) struct Resolver<'a> {
    /// The spec's folder.
    pub(super) folder: &'a FilePath,
    /// Whether paths may leave it.
    pub(super) outside: bool,
    pub(super) problems: &'a mut Problems,
}

impl Resolver<'_> {
    pub(super) fn error(&mut self, rule: &'static str, path: Path, message: impl Into<String>) -> Reported<'_> {
        self.problems.error(rule, path, message)
    }

    /// Reports a path that leaves the project.
    pub(super) fn inside(&mut self, at: Path, path: &str) -> bool {
        let inside = self.outside || paths::stays_inside(self.folder, path);
        if !inside {
            let message = format!("`{path}` leaves the folder of the spec");
            self.error("path-outside", at, message)
                .help("move the file, or write `allow_outside = true` at the top of the spec");
        }
        inside
    }

    /// The columns of a source; reports why it can't be read.
    pub(super) fn relation(&mut self, name: &Name, rows: &dyn source::Source) -> Option<Relation> {
        let at = Path::of(["sources", name.as_str()]);
        for (key, path) in rows.paths() {
            if !self.inside(at.key(key), &path) {
                return None;
            }
        }
        let schema = match rows.schema(self.folder) {
            Ok(schema) => schema,
            Err(error) => {
                let place = error.field.iter().fold(at, |path, key| path.key(key));
                self.error("unreadable-source", place, error.message).help_if(error.help);
                return None;
            }
        };
        let key = match rows.key() {
            None => None,
            Some(key) => match schema.index_of(key) {
                Ok(index) => Some(index),
                Err(_) => {
                    let near = nearest(key, schema.fields().iter().map(|f| f.name().as_str()));
                    let help = near.map(|n| format!("did you mean `{n}`?"));
                    self.error("unknown-column", at.key("key"), format!("the source has no column `{key}`"))
                        .help_if(help);
                    return None;
                }
            },
        };
        Some(Relation { guards: vec![Vec::new(); schema.fields().len()], schema, key, fold: 1, hidden: 0 })
    }

    /// Whether a problem under the table of these keys has been reported.
    pub(super) fn reported(&self, keys: &[&str]) -> bool {
        use crate::document::{Place, Segment};
        self.problems.iter().any(|p| match &p.place {
            Place::Value(path) | Place::Key(path) => {
                let segments = path.segments();
                segments.len() >= keys.len()
                    && keys.iter().zip(segments).all(|(k, s)| matches!(s, Segment::Key(key) if key == k))
            }
            Place::Span(_) => false,
        })
    }
}
