//! Reading: decodes the tables of the document into typed structs, by `language` or by their kind. Names are not
//! resolved yet.
//!
//! A broken table keeps its name and its valid fields, so that the rest of the spec can be checked. No problem is
//! reported only because of another problem.

use std::collections::HashSet;
use std::sync::Arc;

use indexmap::IndexMap;

use super::grid::{GRID, Grid};
use super::language::{Header, ModelTable, OutputTable, StageTable, TestTable};
use super::limits::Limits;
use super::spelling;
use super::stability::{ANSWERS, Worded, Wording};
use crate::assertion::{ASSERTIONS, AssertionConfig};
use crate::document::{self, Document, Node, Path, Problems, Value};
use crate::name::{Name, listed, nearest};
use crate::provider::{Endpoint, Options, PROVIDERS, unknown_field_help};
use crate::random::Streams;
use crate::registry::Kind;
use crate::source::{SOURCES, Source};
use crate::stage::{STAGES, StageConfig, TRANSFORMS, TransformConfig, Wordings};

/// A typed spec whose names are not resolved yet. Only the name is known of an entry that is `None`.
pub(crate) struct Raw {
    pub(crate) header: Header,
    pub(crate) file: String,
    pub(crate) models: IndexMap<Name, Option<ModelTable>>,
    pub(crate) providers: IndexMap<Name, Option<Provider>>,
    pub(crate) sources: IndexMap<Name, Option<Box<dyn Source>>>,
    /// The sources whose file the command line names, not the text. The file may be anywhere.
    pub(crate) given: HashSet<Name>,
    pub(crate) stages: IndexMap<Name, RawStage>,
    pub(super) worded: Worded,
    pub(crate) outputs: IndexMap<Name, Option<OutputTable>>,
    pub(crate) tests: Vec<RawTest>,
    /// Entries with invalid names. An entry without a name is a section that is not a table.
    unreadable: Vec<(&'static str, Option<String>)>,
}

type Provider = (Limits, Arc<dyn Endpoint>);

pub(crate) enum RawStage {
    Asks(Box<RawAsking>),
    /// A stage that is asked in several universes, with the stage of each.
    Grid(RawGrid),
    /// With the universes whose answers it measures, if it asks a stage with several wordings.
    Transforms(Own<Box<dyn TransformConfig>>, Node, Option<RawGrid>),
    Broken,
}

/// A grid with the stage of each universe.
pub(crate) struct RawGrid {
    pub(crate) grid: Grid,
    pub(crate) universes: Vec<RawUniverse>,
}

pub(crate) struct RawAsking {
    pub(crate) table: StageTable,
    pub(crate) own: Own<Box<dyn StageConfig>>,
    pub(crate) node: Node,
}

/// A universe of a grid, in the order of [`Grid::universes`].
pub(crate) struct RawUniverse {
    /// The name of its table.
    pub(crate) name: Name,
    pub(crate) stage: RawAsking,
    /// The models that the universe asks instead of those of the stage, by their names.
    pub(crate) models: IndexMap<String, Name>,
}

pub(crate) struct Own<T> {
    pub(crate) kind: &'static str,
    /// `None` if the fields could not be decoded at all.
    pub(crate) value: Option<T>,
    /// The fields that are missing from `value` because they are broken.
    pub(crate) broken: Vec<String>,
}

/// Decodes `table` as the config of a stage of type `kind`. Returns `None` if a field is broken.
pub(crate) fn config<T>(kinds: &'static [Kind<T>], kind: &str, table: &Node) -> Option<T> {
    let kind = kinds.iter().find(|row| row.name == kind)?;
    (kind.decode)(&pick(table, (kind.fields)()), &Path::root(), &mut Problems::default())
}

pub(crate) struct RawTest {
    pub(crate) path: Path,
    pub(crate) table: TestTable,
    pub(crate) own: Own<Box<dyn AssertionConfig>>,
    pub(crate) node: Node,
}

impl<T> Own<T> {
    fn whole(self) -> Option<T> {
        self.value.filter(|_| self.broken.is_empty())
    }
}

impl RawStage {
    /// Returns the tables that the stage reads, each once, with the field that names it.
    pub(crate) fn inputs(&self) -> Vec<(&'static str, &str)> {
        let mut inputs = match self {
            RawStage::Asks(asking) => vec![("input", asking.table.input.as_str())],
            // All universes have the same input.
            RawStage::Grid(RawGrid { universes, .. }) => {
                universes.iter().take(1).map(|universe| ("input", universe.stage.table.input.as_str())).collect()
            }
            RawStage::Transforms(own, _, answers) => {
                let own = own.value.iter().flat_map(|config| config.inputs());
                let asked = answers.iter().flat_map(|answers| answers.universes.first());
                own.chain(asked.map(|universe| ("input", universe.stage.table.input.as_str()))).collect()
            }
            RawStage::Broken => Vec::new(),
        };
        inputs.dedup();
        inputs
    }

    /// Whether it can't be read, so that its tables are not known.
    fn is_unread(&self) -> bool {
        match self {
            RawStage::Transforms(own, ..) => own.value.is_none(),
            RawStage::Asks(_) | RawStage::Grid(_) => false,
            RawStage::Broken => true,
        }
    }

    /// The parts of the names of further tables of the stage.
    fn parts(&self) -> &'static [&'static str] {
        match self {
            RawStage::Transforms(_, _, Some(_)) => &[ANSWERS],
            RawStage::Transforms(own, ..) => own.value.as_ref().map_or(&[], |config| config.parts()),
            RawStage::Asks(asking) => asking.own.value.as_ref().map_or(&[], |config| config.parts()),
            RawStage::Grid(..) | RawStage::Broken => &[],
        }
    }
}

/// Returns the stage that makes a table: `a` for the table `a` and for its part `a.coders`.
pub(crate) fn stage_of(table: &str) -> &str {
    table.split_once('.').map_or(table, |(stage, _)| stage)
}

impl Raw {
    /// Whether `[section.name]` is in the document but has no valid name, or the whole section can't be read.
    pub(crate) fn is_unreadable(&self, section: &str, name: &str) -> bool {
        self.unreadable.iter().any(|(s, n)| *s == section && n.as_ref().is_none_or(|n| n == name))
    }

    pub(crate) fn has_outputs(&self) -> bool {
        !self.outputs.is_empty() || self.unreadable.iter().any(|(section, _)| *section == "outputs")
    }

    pub(crate) fn has_table(&self, name: &str) -> bool {
        let part = name.split_once('.').and_then(|(stage, part)| Some((self.stages.get(stage)?, part)));
        let there = self.sources.contains_key(name) || self.stages.contains_key(name);
        there
            || part.is_some_and(|(stage, part)| stage.is_unread() || stage.parts().contains(&part))
            || self.is_unreadable("sources", name)
            || self.is_unreadable("stages", name)
    }

    pub(crate) fn known_models(&self) -> impl Iterator<Item = (&Name, &ModelTable)> {
        self.models.iter().filter_map(|(name, table)| Some((name, table.as_ref()?)))
    }

    pub(crate) fn has_fallback(&self, name: &str) -> bool {
        self.models.get(name).and_then(Option::as_ref).is_some_and(|table| !table.fallback.is_empty())
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &str> {
        self.sources.keys().chain(self.stages.keys()).map(Name::as_str)
    }
}

const SECTIONS: [&str; 6] = ["models", "providers", "sources", "stages", "outputs", "tests"];

pub(crate) fn read(document: &Document, wording: &Wording<'_>, problems: &mut Problems) -> Option<Raw> {
    if !matches!(document.root.value, Value::Table(_)) {
        problems.error("wrong-type", Path::root(), "a spec is a table, with `[models]`, `[sources]`, `[stages]`");
        return None;
    }
    let fields = document::fields_of::<Header>();
    let root = &known_fields(&document.root, &[fields, &SECTIONS].concat(), &Path::root(), problems);
    let header: Header = document::decode_partly(&pick(root, fields), &Path::root(), problems).unwrap_or_default();
    let mut reading = Reading { root, unreadable: Vec::new(), problems };
    let mut models = reading.section("models", model);
    let providers = reading.section("providers", provider);
    let mut sources = reading.section("sources", |node, path, problems| {
        let (_, own) = Typed { what: "source", others: &[], shared: &[] }.read(SOURCES, node, path, problems)?;
        own.whole()
    });
    seed(&mut sources, header.seed);
    let is_given = |name: &&Name| {
        let source = document.root.get("sources").and_then(|all| all.get(name.as_str()));
        source.is_some_and(|source| source.entries().iter().any(|entry| entry.key == "path" && entry.is_added()))
    };
    let given = sources.keys().filter(is_given).cloned().collect();
    let mut worded = Worded::default();
    let stages =
        reading.section("stages", |node, path, problems| Some(stage(node, path, (wording, &mut worded), problems)));
    let outputs = reading.section("outputs", document::decode_partly);
    let tests = reading.tests();
    reading.models_of_grids(&stages, &mut models);
    let unreadable = reading.unreadable;
    let stages = stages.into_iter().map(|(name, stage)| (name, stage.unwrap_or(RawStage::Broken))).collect();
    let file = document.name.rsplit(['/', '\\']).next().and_then(|f| f.split('.').next()).unwrap_or_default();
    let file = file.to_owned();
    Some(Raw { header, file, models, providers, sources, given, stages, worded, outputs, tests, unreadable })
}

/// Passes the spec's seed on. The first population without a seed has it, and each later one draws different people.
fn seed(sources: &mut IndexMap<Name, Option<Box<dyn Source>>>, seed: Option<u64>) {
    let mut is_used = false;
    for (name, source) in sources {
        let Some(source) = source else { continue };
        if source.seed(seed) && std::mem::replace(&mut is_used, true) {
            let own = Streams::new(seed.unwrap_or(0), &["sources", name.as_str()]).of(0).below(1 << 53);
            source.seed(Some(own));
        }
    }
}

fn model(node: &Node, path: &Path, problems: &mut Problems) -> Option<ModelTable> {
    let (fields, options) = (document::fields_of::<ModelTable>(), document::fields_of::<Options>());
    let mut node = node.clone();
    for (key, help) in node.entries().iter().filter_map(|entry| Some((&entry.key, unknown_field_help(&entry.key)?))) {
        let message = format!("there is no field `{key}` here");
        problems.error_at_key("unknown-field", path.key(key), message).help(help);
    }
    node.retain(|key| unknown_field_help(key).is_none());
    let node = known_fields(&node, &[fields, options].concat(), path, problems);
    let decoded = document::decode_partly(&pick(&node, options), path, problems);
    let table = document::decode_partly(&pick(&node, fields), path, problems)?;
    Some(ModelTable { options: decoded.unwrap_or_default(), ..table })
}

fn provider(node: &Node, path: &Path, problems: &mut Problems) -> Option<Provider> {
    let shared = document::fields_of::<Limits>();
    let read = Typed { what: "provider", others: &[], shared }.read(PROVIDERS, node, path, problems);
    let limits: Option<Limits> = document::decode(&pick(node, shared), path, problems);
    if limits.is_some_and(|limits| limits.burst.is_some() && limits.requests_per_minute.is_none()) {
        let message = "`burst` has no effect without `requests_per_minute`";
        problems
            .error_at_key("unused-field", path.key("burst"), message)
            .help("add `requests_per_minute`, or remove it");
    }
    limits.zip(read.and_then(|(_, own)| own.whole()))
}

fn stage(node: &Node, path: &Path, wording: (&Wording<'_>, &mut Worded), problems: &mut Problems) -> RawStage {
    let kind = node.get("type").and_then(Node::as_str);
    if TRANSFORMS.iter().any(|transform| Some(transform.name) == kind) {
        let read = Typed { what: "stage", others: &[], shared: &[] }.read(TRANSFORMS, node, path, problems);
        let Some((node, own)) = read else { return RawStage::Broken };
        return match own.value.as_ref().and_then(|config| config.wordings()) {
            None => RawStage::Transforms(own, node, None),
            Some(wordings) => match answers(&wordings, path, wording, problems) {
                Some(answers) => RawStage::Transforms(own, node, Some(answers)),
                None => RawStage::Broken,
            },
        };
    }
    match node.get(GRID) {
        Some(_) => {
            let name = path.last_key().and_then(|name| Name::new(name).ok());
            name.and_then(|name| universes(node, (&name, path), problems)).map_or(RawStage::Broken, RawStage::Grid)
        }
        None => asking(node, path, problems).map_or(RawStage::Broken, |asking| RawStage::Asks(Box::new(asking))),
    }
}

fn asking(node: &Node, path: &Path, problems: &mut Problems) -> Option<RawAsking> {
    let shared = document::fields_of::<StageTable>();
    let others: Vec<&str> = TRANSFORMS.iter().map(|transform| transform.name).collect();
    let read = Typed { what: "stage", others: &others, shared }.read(STAGES, node, path, problems);
    // Without a known type, only `models` shows that the stage asks models.
    let unknown = || node.get("models").map(|_| (node.clone(), Own { kind: "", value: None, broken: Vec::new() }));
    let (mut node, own) = read.or_else(unknown)?;
    if let Some(roles) = own.value.as_ref().and_then(|config| config.roles()) {
        name_models(&mut node, roles, path, problems);
    }
    let table = document::decode_partly(&pick(&node, shared), path, problems)?;
    Some(RawAsking { table, own, node })
}

/// Makes the `models` of a stage that names each of its models in a field.
fn name_models(node: &mut Node, roles: [&str; 2], path: &Path, problems: &mut Problems) {
    if node.get("models").is_some() {
        let [root, sub] = roles;
        let message = format!("this stage names its models as `{root}` and `{sub}`, one each");
        problems.error_at_key("unused-field", path.key("models"), message).help("leave `models` out");
        node.retain(|key| key != "models");
    }
    let named = roles.iter().enumerate().filter_map(|(i, role)| {
        problems.lead(path.key("models").index(i), path.key(role));
        node.get(role).cloned()
    });
    let named = named.collect();
    node.insert("models", Value::List(named));
}

/// Reads the universes in which a stage is asked with several wordings, for the stage at `path` that measures the answers.
fn answers(
    wordings: &Wordings<'_>,
    path: &Path,
    (wording, worded): (&Wording<'_>, &mut Worded),
    problems: &mut Problems,
) -> Option<RawGrid> {
    let table = wording.table(wordings, path, worded, problems)?;
    let name = Name::new(path.last_key()?).ok()?.part(ANSWERS);
    let at = Path::of(["stages", name.as_str()]);
    problems.lead(at.clone(), path.clone());
    problems.lead(at.key(GRID).key("model.temperature"), path.key("temperatures"));
    let by = if wordings.file.is_some() { "wordings_file" } else { "paraphrase" };
    let prompts = table.get(GRID).and_then(|grid| grid.get("prompt")).map_or(0, |prompts| prompts.items().len());
    for prompt in 0..prompts {
        let key = if prompt == 0 { "input" } else { by };
        problems.lead(at.key(GRID).key("prompt").index(prompt), path.key(key));
    }
    universes(&table, (&name, &at), problems)
}

/// Reads each universe of the grid of a stage as a stage, at a path that is not in the text.
fn universes(node: &Node, (stage, path): (&Name, &Path), problems: &mut Problems) -> Option<RawGrid> {
    let grid = Grid::read(node, path, problems)?;
    let read = grid.universes.iter().map(|universe| {
        let name = grid.table_name(stage, universe);
        let at = Path::of(["stages", name.as_str()]);
        problems.lead(at.clone(), path.clone());
        for setting in grid.of_stage(universe) {
            let made = setting.keys.iter().fold(at.clone(), |path, key| path.key(key));
            problems.lead(made, setting.at);
        }
        let mut table = grid.table(node, universe);
        // The axes may have set answers. Those of the stage itself are rewritten already.
        spelling::answers(&mut table, &at, &mut Problems::default());
        let stage = asking(&table, &at, problems)?;
        let other = |model: &String| Some((model.clone(), grid.model(universe, &Name::new(model.as_str()).ok()?)?));
        let models = stage.table.models.iter().filter_map(other).collect();
        Some(RawUniverse { name, stage, models })
    });
    // Each universe is read, so that all their problems are reported.
    let read: Vec<Option<RawUniverse>> = read.collect();
    Some(RawGrid { grid, universes: read.into_iter().collect::<Option<_>>()? })
}

struct Reading<'a> {
    root: &'a Node,
    unreadable: Vec<(&'static str, Option<String>)>,
    problems: &'a mut Problems,
}

impl Reading<'_> {
    fn section<T>(
        &mut self,
        section: &'static str,
        mut read: impl FnMut(&Node, &Path, &mut Problems) -> Option<T>,
    ) -> IndexMap<Name, Option<T>> {
        let path = Path::root().key(section);
        let Some(node) = self.root.get(section) else { return IndexMap::new() };
        if !matches!(node.value, Value::Table(_)) {
            let message = format!("`{section}` holds named tables, such as `[{section}.a]`, not {}", node.kind_name());
            self.problems.error("wrong-type", path, message);
            self.unreadable.push((section, None));
            return IndexMap::new();
        }
        let mut found = IndexMap::new();
        let is_flat = node.entries().iter().any(|entry| entry.node.value == Value::Null);
        for entry in node.entries() {
            let path = path.key(&entry.key);
            if is_flat && !matches!(entry.node.value, Value::Table(_) | Value::Null) {
                // A field of the table before it, which is not indented.
                self.unreadable.push((section, Some(entry.key.clone())));
                continue;
            }
            match Name::new(entry.key.as_str()) {
                Ok(name) if entry.node.value == Value::Null => {
                    let message = format!("`{name}` has no fields");
                    let help = format!("indent the lines of its fields deeper than `{name}`");
                    self.problems.error_at_key("missing-field", path, message).help(help);
                    found.insert(name, None);
                }
                Ok(name) => drop(found.insert(name, read(&entry.node, &path, self.problems))),
                Err(message) => {
                    self.problems.error_at_key("bad-name", path, message);
                    self.unreadable.push((section, Some(entry.key.clone())));
                }
            }
        }
        found
    }

    /// Adds the models of universes that set fields of their models.
    fn models_of_grids(
        &mut self,
        stages: &IndexMap<Name, Option<RawStage>>,
        models: &mut IndexMap<Name, Option<ModelTable>>,
    ) {
        let grids = stages.values().filter_map(|stage| match stage {
            Some(RawStage::Grid(grid) | RawStage::Transforms(_, _, Some(grid))) => Some(grid),
            _ => None,
        });
        for RawGrid { grid, universes } in grids {
            for (universe, raw) in grid.universes.iter().zip(universes) {
                for (base, name) in &raw.models {
                    let written = self.root.get("models").and_then(|models| models.get(base));
                    let Some(mut node) = written.filter(|_| !models.contains_key(name)).cloned() else { continue };
                    let path = Path::of(["models", name.as_str()]);
                    self.problems.lead(path.clone(), Path::of(["models", base]));
                    for setting in grid.of_models(universe) {
                        let made = setting.keys.iter().fold(path.clone(), |path, key| path.key(key));
                        self.problems.lead(made, setting.at);
                        node.replace(setting.keys, setting.node.clone());
                    }
                    models.insert(name.clone(), model(&node, &path, self.problems));
                }
            }
        }
    }

    fn tests(&mut self) -> Vec<RawTest> {
        let path = Path::root().key("tests");
        let Some(node) = self.root.get("tests") else { return Vec::new() };
        if !matches!(node.value, Value::List(_)) {
            let message = format!("`tests` is a list of tables, not {}", node.kind_name());
            self.problems.error("wrong-type", path.clone(), message);
        }
        let shared = document::fields_of::<TestTable>();
        let typed = Typed { what: "test", others: &[], shared };
        let mut tests = Vec::new();
        for (i, node) in node.items().iter().enumerate() {
            let path = path.index(i);
            let Some((node, own)) = typed.read(ASSERTIONS, node, &path, self.problems) else { continue };
            if let Some(table) = document::decode_partly(&pick(&node, shared), &path, self.problems) {
                tests.push(RawTest { path, table, own, node });
            }
        }
        tests
    }
}

/// The words for messages about a table whose `type` names a kind.
struct Typed<'a> {
    what: &'static str,
    /// The types of the other registry that are also allowed.
    others: &'a [&'static str],
    shared: &'a [&'a str],
}

impl Typed<'_> {
    /// Returns the table with its misspelt fields corrected, and the fields of its kind. An unknown kind has no fields.
    fn read<T>(
        &self,
        kinds: &'static [Kind<T>],
        node: &Node,
        path: &Path,
        problems: &mut Problems,
    ) -> Option<(Node, Own<T>)> {
        let kind = self.kind(kinds, node, path, problems)?;
        let fields = (kind.fields)();
        let node = known_fields(node, &[&["type"], self.shared, fields].concat(), path, problems);
        let mut own = pick(&node, fields);
        let mark = problems.mark();
        let mut value = (kind.decode)(&own, path, problems);
        let mut broken = Vec::new();
        if value.is_none() {
            broken = problems.since(mark).iter().filter_map(|problem| problem.place.field_of(path)).collect();
            broken.iter().for_each(|field| problems.distrust(path.key(field)));
            own.retain(|key| !broken.iter().any(|field| field == key));
            value = (kind.decode)(&own, path, &mut Problems::default());
        }
        Some((node, Own { kind: kind.name, value, broken }))
    }

    fn kind<T>(
        &self,
        kinds: &'static [Kind<T>],
        node: &Node,
        path: &Path,
        problems: &mut Problems,
    ) -> Option<&'static Kind<T>> {
        let what = self.what;
        if !matches!(node.value, Value::Table(_)) {
            problems.error("wrong-type", path.clone(), format!("a {what} is a table, not {}", node.kind_name()));
            return None;
        }
        let names = || kinds.iter().map(|kind| kind.name).chain(self.others.iter().copied());
        let Some(kind) = node.get("type") else {
            let problem = problems.error("missing-field", path.clone(), "`type` is missing");
            problem.help(format!("the {what} types are {}", listed(names())));
            return None;
        };
        let Some(name) = kind.as_str() else {
            let message = format!("`type` must be text, not {}", kind.kind_name());
            problems.error("wrong-type", path.key("type"), message);
            return None;
        };
        let found = kinds.iter().find(|kind| kind.name == name);
        if found.is_none() {
            let message = format!("there is no {what} type `{name}`");
            problems.error("unknown-type", path.key("type"), message).choices(name, &format!("{what} types"), names());
        }
        found
    }
}

fn pick(node: &Node, fields: &[&str]) -> Node {
    let mut picked = node.clone();
    picked.retain(|key| fields.contains(&key));
    picked
}

/// Returns the table with its misspelt fields corrected. Reports the unknown fields.
fn known_fields(node: &Node, known: &[&str], path: &Path, problems: &mut Problems) -> Node {
    let mut node = node.clone();
    let there: Vec<String> = node.entries().iter().map(|entry| entry.key.clone()).collect();
    let Value::Table(entries) = &mut node.value else { return node };
    for entry in entries.iter_mut().filter(|entry| !known.contains(&entry.key.as_str())) {
        let message = format!("there is no field `{}` here", entry.key);
        let problem = problems.error_at_key("unknown-field", path.key(&entry.key), message);
        problem.choices(&entry.key, "fields", known.iter().copied());
        let near = nearest(&entry.key, known.iter().copied());
        let Some(near) = near else { continue };
        if !there.iter().any(|key| key == near) {
            entry.key = near.to_owned();
            problems.distrust(path.key(near));
        } else if matches!(entry.node.value, Value::Table(_)) {
            // A part of the table is under the wrong name, so the other part lacks fields.
            problems.distrust(path.key(near));
        }
    }
    node
}
