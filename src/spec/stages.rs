//! Resolving: what the names of a spec refer to, and which columns each stage sees.

use std::num::NonZeroU32;
use std::path::Path as FilePath;
use std::sync::Arc;

use indexmap::IndexMap;

use super::columns::{Answers, Guard, Relation};
use super::outputs::{EXTENSIONS, Format};
use super::paths;
use super::read::{ModelTable, OutputTable, Raw, RawStage, StageTable};
use super::{Input, ModelSpec, OutputSpec, SourceSpec, Spec, StageSpec};
use crate::document::{Diagnostic, Path};
use crate::name::{Name, listed, nearest};
use crate::provider::{Endpoint, Model, PROVIDERS, Sampling, default_endpoint};
use crate::source;
use crate::stage::{Site, StageConfig};
use crate::table::Column;

/// Workers, prompts per worker and rows per part where the spec says nothing.
const DEFAULTS: (u32, u32, u32) = (4, 4, 20_000);
/// Attempts per call where the spec says nothing.
const ATTEMPTS: u32 = 3;

/// Resolves every name; reports all problems.
pub fn resolve(raw: Raw, folder: &FilePath, problems: &mut Vec<Diagnostic>) -> Option<Spec> {
    let mut resolver = Resolver { folder, outside: raw.header.allow_outside, problems };
    let endpoints = resolver.endpoints(&raw);
    let models = resolver.models(&raw, &endpoints);
    let order = resolver.graph(&raw);
    let Raw { header, file, sources, stages, outputs, broken, .. } = raw;
    let mut spec = Spec {
        name: header.name.map_or(file, String::from),
        folder: folder.to_owned(),
        seed: header.seed,
        models,
        endpoints,
        sources: IndexMap::new(),
        stages: Vec::new(),
        outputs: IndexMap::new(),
    };
    let mut unknown: Vec<String> = broken.iter().filter(|(s, _)| *s != "outputs").map(|(_, n)| n.clone()).collect();
    for (name, source) in sources {
        match resolver.relation(&name, source.as_ref()) {
            Some(relation) => drop(spec.sources.insert(name, SourceSpec { source, relation })),
            None => unknown.push(name.into()),
        }
    }
    let mut stages: IndexMap<Name, Option<RawStage>> =
        stages.into_iter().map(|(name, stage)| (name, Some(stage))).collect();
    for name in order {
        let Some((table, config)) = stages.get_mut(&name).and_then(Option::take) else { continue };
        match resolver.stage(&spec, &name, &table, config.as_ref()) {
            Some(stage) => spec.stages.push(stage),
            None => unknown.push(name.into()),
        }
    }
    // A stage that is not in the order stands in a cycle or reads something that doesn't exist.
    unknown.extend(stages.into_iter().filter(|(_, s)| s.is_some()).map(|(name, _)| name.into()));
    for (name, table) in &outputs {
        if let Some(output) = resolver.output(&spec, &unknown, name, table) {
            spec.outputs.insert(name.clone(), output);
        }
    }
    Some(spec)
}

struct Resolver<'a> {
    folder: &'a FilePath,
    outside: bool,
    problems: &'a mut Vec<Diagnostic>,
}

impl Resolver<'_> {
    fn error(&mut self, rule: &'static str, path: Path, message: impl Into<String>) -> &mut Diagnostic {
        self.problems.push(Diagnostic::error(rule, path, message));
        self.problems.last_mut().expect("one was just pushed")
    }

    /// Reports a path that leaves the project.
    fn inside(&mut self, at: Path, path: &str) -> bool {
        let inside = self.outside || paths::stays_inside(self.folder, path);
        if !inside {
            let message = format!("`{path}` leaves the folder of the spec");
            self.error("path-outside", at, message).help =
                Some("move the file, or write `allow_outside = true` at the top of the spec".to_owned());
        }
        inside
    }

    /// The endpoints that the models use.
    fn endpoints(&mut self, raw: &Raw) -> IndexMap<String, Arc<dyn Endpoint>> {
        let mut endpoints: IndexMap<String, Arc<dyn Endpoint>> = IndexMap::new();
        for (name, endpoint) in &raw.providers {
            endpoints.insert(name.to_string(), endpoint.clone());
        }
        for (name, model) in &raw.models {
            let wanted = &model.provider;
            if endpoints.contains_key(wanted) || raw.is_broken("providers", wanted) {
                continue;
            }
            if let Some(endpoint) = default_endpoint(wanted) {
                endpoints.insert(wanted.clone(), endpoint);
                continue;
            }
            let kinds = PROVIDERS.iter().map(|k| k.name);
            let known: Vec<&str> = raw.providers.keys().map(Name::as_str).chain(kinds).collect();
            let help = match nearest(wanted, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the providers are {}", listed(known)),
            };
            let path = Path::of(["models", name.as_str(), "provider"]);
            self.error("unknown-provider", path, format!("there is no provider `{wanted}`")).help = Some(help);
        }
        endpoints
    }

    fn models(&mut self, raw: &Raw, endpoints: &IndexMap<String, Arc<dyn Endpoint>>) -> IndexMap<Name, ModelSpec> {
        let mut models = IndexMap::new();
        for (name, table) in &raw.models {
            let at = |key: &str| Path::of(["models", name.as_str(), key]);
            self.sampling(table, at);
            if endpoints.contains_key(&table.provider) {
                let sampling = Sampling {
                    temperature: table.temperature,
                    top_p: table.top_p,
                    max_tokens: table.max_tokens,
                    stop: table.stop.clone(),
                    seed: table.seed.or(raw.header.seed),
                    num_ctx: table.num_ctx,
                };
                let model = Model { id: table.model.clone(), sampling };
                models.insert(name.clone(), ModelSpec { endpoint: table.provider.clone(), model });
            }
        }
        models
    }

    fn sampling(&mut self, table: &ModelTable, at: impl Fn(&str) -> Path) {
        if table.temperature.is_some_and(|t| !(0.0..=5.0).contains(&t)) {
            self.error("bad-value", at("temperature"), "`temperature` must be from 0 to 5");
        }
        if table.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            self.error("bad-value", at("top_p"), "`top_p` must be above 0 and at most 1");
        }
        for (key, value) in [("max_tokens", table.max_tokens), ("num_ctx", table.num_ctx)] {
            if value == Some(0) {
                self.error("bad-value", at(key), format!("`{key}` must be 1 or more"));
            }
        }
        if table.model.is_empty() {
            self.error("bad-value", at("model"), "`model` is empty");
        }
    }

    /// The columns of a source; reports why it can't be read.
    fn relation(&mut self, name: &Name, rows: &dyn source::Source) -> Option<Relation> {
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
                self.error("unreadable-source", place, error.message).help = error.help;
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
                    self.error("unknown-column", at.key("key"), format!("the source has no column `{key}`")).help =
                        help;
                    return None;
                }
            },
        };
        Some(Relation { guards: vec![Vec::new(); schema.fields().len()], schema, key, fold: 1 })
    }

    /// The stages in an order in which each stands after its input; reports unknown inputs and cycles.
    fn graph(&mut self, raw: &Raw) -> Vec<Name> {
        let mut order: Vec<Name> = Vec::new();
        let mut left: Vec<&Name> = Vec::new();
        for (name, (table, _)) in &raw.stages {
            let input = table.input.as_str();
            if raw.sources.contains_key(input) && raw.stages.contains_key(input) {
                let path = Path::of(["stages", input]);
                self.problems.push(Diagnostic::error_at_key(
                    "same-name",
                    path,
                    format!("`{input}` is the name of a source and of a stage, so that `input` can't tell them apart"),
                ));
            }
            let known = raw.sources.contains_key(input) || raw.stages.contains_key(input);
            if known || raw.is_broken("sources", input) || raw.is_broken("stages", input) {
                left.push(name);
            } else {
                let names: Vec<&str> = raw.sources.keys().chain(raw.stages.keys()).map(Name::as_str).collect();
                let help = match nearest(input, names.iter().copied().filter(|n| *n != name.as_str())) {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None if names.is_empty() => Some("write a source: `[sources.rows]`".to_owned()),
                    None => Some(format!("the sources and stages are {}", listed(names))),
                };
                let path = Path::of(["stages", name.as_str(), "input"]);
                self.error("unknown-input", path, format!("there is no source or stage `{input}`")).help = help;
            }
        }
        loop {
            let ready = |name: &&Name| {
                let input = raw.stages[*name].0.input.as_str();
                !raw.stages.contains_key(input) || order.iter().any(|o| o.as_str() == input)
            };
            let (now, later): (Vec<&Name>, Vec<&Name>) = left.into_iter().partition(ready);
            if now.is_empty() {
                left = later;
                break;
            }
            order.extend(now.into_iter().cloned());
            left = later;
        }
        self.cycles(raw, left);
        order
    }

    /// Reports each cycle among the stages that are left, once.
    fn cycles(&mut self, raw: &Raw, left: Vec<&Name>) {
        let mut seen: Vec<&str> = Vec::new();
        for start in left {
            let mut way: Vec<&str> = Vec::new();
            let mut at = start.as_str();
            while raw.stages.contains_key(at) && !way.contains(&at) && !seen.contains(&at) {
                way.push(at);
                at = &raw.stages[at].0.input;
            }
            if let Some(first) = way.iter().position(|n| *n == at) {
                let circle = way[first..].iter().chain([&at]).map(|n| format!("`{n}`")).collect::<Vec<_>>();
                let message = format!("these stages read each other in a circle: {}", circle.join(" reads "));
                self.error("cycle", Path::of(["stages", at, "input"]), message);
            }
            seen.extend(way);
        }
    }

    fn stage(&mut self, spec: &Spec, name: &Name, table: &StageTable, config: &dyn StageConfig) -> Option<StageSpec> {
        let at = Path::of(["stages", name.as_str()]);
        let before = self.problems.len();
        let models = self.stage_models(spec, &at, table);
        self.bounded(&at, table);
        let input = find_input(spec, &table.input)?;
        let relation = spec.relation(input).clone();
        let folder = self.folder.to_owned();
        let outside = self.outside;
        let read = move |path: &str| read_text(&folder, outside, path);
        let site = Site { name: name.as_str(), path: &at, input: &relation.schema, read: &read };
        let stage = config.bind(&site, self.problems)?;
        if stage.needs_probabilities() {
            self.probabilities(spec, &at, table);
        }
        let answers = Answers::new(table.fanout, table.layout, models.len());
        let names: Vec<&str> = models.iter().map(|m| spec.model(*m).0.as_str()).collect();
        let columns = answers.columns(name.as_str(), stage.writes(), &names);
        self.collisions(&at, &relation, stage.writes(), &columns);
        if self.problems[before..].iter().any(Diagnostic::is_error) {
            return None;
        }
        let upstream = stage.reads().iter().flat_map(|r| relation.guards[*r].iter().copied());
        let mut guards: Vec<Guard> = upstream.chain(stage.needs().iter().map(|c| Guard::Missing(*c))).collect();
        guards.sort_unstable();
        guards.dedup();
        Some(StageSpec {
            name: name.clone(),
            input,
            relation: answers.relation(&relation, &columns, stage.writes().len(), models.len(), &guards),
            answers,
            stage,
            model_names: names.iter().map(|n| (*n).to_owned()).collect(),
            models,
            guards,
            workers: or(table.workers, DEFAULTS.0) as usize,
            batch_size: or(table.batch_size, DEFAULTS.1) as usize,
            chunk_size: or(table.chunk_size, DEFAULTS.2).into(),
            order: table.order,
            max_failed: table.max_failed,
            max_attempts: or(table.max_attempts, ATTEMPTS),
        })
    }

    fn stage_models(&mut self, spec: &Spec, at: &Path, table: &StageTable) -> Vec<usize> {
        let mut models = Vec::new();
        if table.models.is_empty() {
            self.error("bad-value", at.key("models"), "`models` is empty; a stage asks at least one model");
        }
        for (i, name) in table.models.iter().enumerate() {
            let path = at.key("models").index(i);
            match spec.models.get_index_of(name.as_str()) {
                Some(model) if models.contains(&model) => {
                    self.error("duplicate-model", path, format!("`{name}` stands in `models` twice"));
                }
                Some(model) => models.push(model),
                // A model whose own table is wrong has been reported there.
                None if self.reported(&["models", name]) => {}
                None => {
                    let names: Vec<&str> = spec.models.keys().map(Name::as_str).collect();
                    let help = match nearest(name, names.iter().copied()) {
                        Some(near) => Some(format!("did you mean `{near}`?")),
                        None if names.is_empty() => Some(format!("write a table `[models.{name}]`")),
                        None => Some(format!("the models are {}", listed(names))),
                    };
                    self.error("unknown-model", path, format!("there is no model `{name}`")).help = help;
                }
            }
        }
        models
    }

    /// Reports models that can't say how probable a label was.
    fn probabilities(&mut self, spec: &Spec, at: &Path, table: &StageTable) {
        for (i, name) in table.models.iter().enumerate() {
            let Some(model) = spec.models.get(name.as_str()) else { continue };
            let endpoint = &spec.endpoints[&model.endpoint];
            if endpoint.gives_probabilities() {
                continue;
            }
            let kinds = PROVIDERS.iter().map(|kind| kind.name);
            let able = kinds.filter(|kind| default_endpoint(kind).is_some_and(|e| e.gives_probabilities()));
            let help = format!("providers that do: {}; or leave `prob` out", listed(able));
            let message = format!(
                "`prob` needs the probabilities of labels, which the provider of `{name}` ({}) does not report",
                endpoint.kind()
            );
            self.error("no-probabilities", at.key("models").index(i), message).help = Some(help);
        }
    }

    /// Whether a problem under the table of these keys has been reported.
    fn reported(&self, keys: &[&str]) -> bool {
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

    fn bounded(&mut self, at: &Path, table: &StageTable) {
        let numbers = [
            ("workers", table.workers, 1024),
            ("batch_size", table.batch_size, 1024),
            ("chunk_size", table.chunk_size, 10_000_000),
            ("max_attempts", table.max_attempts, 100),
        ];
        for (key, value, most) in numbers {
            if value.is_some_and(|v| v.get() > most) {
                self.error("bad-value", at.key(key), format!("`{key}` must be {most} or less"));
            }
        }
    }

    /// Reports columns that are there already.
    fn collisions(&mut self, at: &Path, input: &Relation, writes: &[Column], columns: &[Column]) {
        for (i, column) in columns.iter().enumerate() {
            let name = &column.name;
            let message = if input.schema.index_of(name).is_ok() {
                format!("this stage writes the column `{name}`, which its input has already")
            } else if columns[..i].iter().any(|c| c.name == *name) {
                format!("this stage writes the column `{name}` twice")
            } else {
                continue;
            };
            // The key in `output` that the column comes from, if it comes from one.
            let key =
                writes.iter().find(|w| name.strip_prefix(&w.name).is_some_and(|r| r.is_empty() || r.starts_with('_')));
            let place = key.map_or(at.clone(), |key| at.key("output").key(&key.name));
            self.problems.push(
                Diagnostic::error_at_key("duplicate-column", place, message)
                    .help("give the key in `output`, the stage or the model another name"),
            );
        }
    }

    fn output(&mut self, spec: &Spec, unknown: &[String], name: &Name, table: &OutputTable) -> Option<OutputSpec> {
        let at = Path::of(["outputs", name.as_str()]);
        let input = find_input(spec, &table.input);
        if input.is_none() && !unknown.contains(&table.input) {
            let names: Vec<&str> =
                spec.sources.keys().chain(spec.stages.iter().map(|s| &s.name)).map(Name::as_str).collect();
            let help = match nearest(&table.input, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the sources and stages are {}", listed(names)),
            };
            let message = format!("there is no source or stage `{}`", table.input);
            self.error("unknown-input", at.key("input"), message).help = Some(help);
        }
        let format = Format::of(&table.path);
        if format.is_none() {
            let message = format!("`{}` does not say the format", table.path);
            let extensions: Vec<String> = EXTENSIONS.iter().map(|e| format!(".{e}")).collect();
            self.error("bad-value", at.key("path"), message).help =
                Some(format!("end it in {}", listed(extensions.iter().map(String::as_str))));
        }
        let inside = self.inside(at.key("path"), &table.path);
        let file = paths::plain(&self.folder.join(&table.path));
        if let Some(source) = self.source_over(spec, &file) {
            let message = format!("this output would overwrite the file that source `{source}` reads");
            self.error("output-over-input", at.key("path"), message);
            return None;
        }
        if let Some((other, _)) = spec.outputs.iter().find(|(_, o)| o.file == file) {
            let message = format!("the output `{other}` is written to the same file");
            self.error("duplicate-output", at.key("path"), message);
            return None;
        }
        let (input, format) = (input?, format.filter(|_| inside)?);
        Some(OutputSpec { input, path: table.path.clone(), file, format })
    }

    /// The source that reads `file`.
    fn source_over(&self, spec: &Spec, file: &FilePath) -> Option<String> {
        let real = |path: &FilePath| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let reads =
            |s: &SourceSpec| s.source.files(self.folder).is_ok_and(|files| files.iter().any(|f| real(f) == real(file)));
        spec.sources.iter().find(|(_, s)| reads(s)).map(|(name, _)| name.to_string())
    }
}

/// A number, or what holds where the spec says nothing.
fn or(number: Option<NonZeroU32>, default: u32) -> u32 {
    number.map_or(default, NonZeroU32::get)
}

fn find_input(spec: &Spec, name: &str) -> Option<Input> {
    let source = spec.sources.get_index_of(name).map(Input::Source);
    source.or_else(|| spec.stages.iter().position(|s| s.name.as_str() == name).map(Input::Stage))
}

/// Reads a prompt file of the project.
fn read_text(folder: &FilePath, outside: bool, path: &str) -> Result<String, String> {
    if !outside && !paths::stays_inside(folder, path) {
        return Err(format!("`{path}` leaves the folder of the spec"));
    }
    source::read_text(folder, path)
}
