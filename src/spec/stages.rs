//! Stages: binds each stage to the columns of its input.

use std::sync::Arc;

use arrow_schema::Schema;
use indexmap::IndexMap;

use super::assumed;
use super::columns::{Answers, Relation};
use super::correction_file::Corrected;
use super::language::{BATCH_SIZE, CHUNK_SIZE, MAX_ATTEMPTS, REPLICATES, ROWS_PER_PROMPT, StageTable, WORKERS};
use super::origins::origins;
use super::paths;
use super::pipeline::Spec;
use super::read::{self, Own, Raw, RawAsking, RawGrid, RawStage};
use super::resolve::Resolver;
use super::stability::ANSWERS;
use super::suffixes::suffixes;
use super::table::{StageSpec, TableId, TableSpec, TransformSpec};
use crate::document::{Diagnostic, Mark, Node, Path, Problems};
use crate::name::Name;
use crate::prompt::{BoundCondition, ConditionError};
use crate::stage::{
    self, BindContext, Broken, ColumnOrigin, Example, InputTable, STAGES, Stage, StageConfig, TRANSFORMS, Transform,
    TransformConfig, TransformContext, with_examples,
};
use crate::table::Guard;

struct Input {
    /// `None` if the columns are assumed.
    id: Option<TableId>,
    name: String,
    relation: Relation,
}

pub(super) struct Asking<'a> {
    pub(super) name: &'a Name,
    pub(super) at: Path,
    pub(super) stage: &'a RawAsking,
    pub(super) universe: Option<Universe<'a>>,
}

/// The universe of a grid that a stage is asked in.
#[derive(Clone, Copy)]
pub(super) struct Universe<'a> {
    /// The name of the grid's table.
    pub(super) grid: &'a Name,
    /// The name of the universe's table.
    pub(super) table: &'a Name,
    /// The models that it asks instead of those of the stage, by their names.
    pub(super) models: &'a IndexMap<String, Name>,
}

impl<'a> Asking<'a> {
    fn table_name(&self) -> &'a Name {
        self.universe.map_or(self.name, |universe| universe.table)
    }

    /// The model that is asked where the stage's table has `name`.
    pub(super) fn model<'n>(&self, name: &'n str) -> &'n str
    where
        'a: 'n,
    {
        self.universe.and_then(|universe| universe.models.get(name)).map_or(name, Name::as_str)
    }
}

struct BoundStage {
    stage: Stage,
    /// The transform that gathers the input rows into groups.
    groups: Option<Transform>,
    /// The input, with the columns of the groups if there are any.
    input: Input,
}

pub(super) struct StageModels {
    /// Indices into [`Spec::models`].
    pub(crate) known: Vec<usize>,
    pub(crate) names: Vec<String>,
    /// The number of models that answer rows, which come first.
    pub(crate) answering: usize,
    /// Whether a fallback may answer. `None` if that depends on a broken model.
    pub(crate) fallback: Option<bool>,
}

impl Resolver<'_> {
    /// Binds the stage called `name`, and adds it to the spec if its columns are known.
    pub(super) fn stage(&mut self, spec: &mut Spec, raw: &Raw, name: &Name) {
        let at = Path::of(["stages", name.as_str()]);
        match raw.stages.get(name.as_str()) {
            Some(RawStage::Asks(stage)) => {
                self.asking(spec, raw, &Asking { name, at, stage, universe: None });
            }
            Some(RawStage::Grid(grid)) => self.grid(spec, raw, (name, name), grid),
            Some(RawStage::Transforms(own, node, answers)) => {
                let answers = answers.as_ref().map(|grid| self.answers(spec, raw, (name, own), grid));
                let repeats = own.value.as_ref().and_then(|config| config.repeats());
                if let Some(repeats) = repeats.filter(|_| own.broken.is_empty()) {
                    return self.repeatability(spec, name, repeats);
                }
                let mark = self.problems.mark();
                let made = own
                    .value
                    .as_ref()
                    .and_then(|config| self.transform(spec, name, (config.as_ref(), answers.as_deref()), node));
                let broken = self.broken_fields(mark, &at, own);
                let made = made.filter(|_| own.broken.is_empty()).or_else(|| {
                    let mut configs = assumed::replaced(node, &broken).into_iter();
                    let config = configs.find_map(|table| read::config(TRANSFORMS, own.kind, &table))?;
                    self.silently(|resolver| {
                        resolver.transform(spec, name, (config.as_ref(), answers.as_deref()), node)
                    })
                });
                for table in made.into_iter().flatten() {
                    spec.add_table(TableSpec::Transform(table));
                }
            }
            Some(RawStage::Broken) | None => {}
        }
    }

    /// Adds the answers to several wordings of a prompt, and returns the name of their table. Problems of the asked stage
    /// are not reported again.
    fn answers(
        &mut self,
        spec: &mut Spec,
        raw: &Raw,
        (name, own): (&Name, &Own<Box<dyn TransformConfig>>),
        grid: &RawGrid,
    ) -> String {
        let answers = name.part(ANSWERS);
        let asked = own.value.as_ref().and_then(|config| Some(config.wordings()?.stage));
        let stage = asked.and_then(|asked| raw.stages.get_key_value(asked)).map_or(name, |(stage, _)| stage);
        let asked = asked.map(|asked| Path::of(["stages", asked]));
        let is_broken = |problem: &Diagnostic| {
            asked.as_ref().is_some_and(|at| problem.is_error() && problem.place.field_of(at).is_some())
        };
        if self.problems.iter().any(is_broken) {
            self.silently(|resolver| resolver.grid(spec, raw, (&answers, stage), grid));
        } else {
            self.grid(spec, raw, (&answers, stage), grid);
        }
        answers.to_string()
    }

    fn input(&self, spec: &Spec, at: &Path, name: &str, node: &Node) -> Input {
        let id = self.find(spec, at, name);
        let relation = id.map_or_else(|| assumed::columns(node), |id| spec.relation(id).clone());
        Input { id, name: name.to_owned(), relation }
    }

    /// Drops problems after `mark` that broken fields of `own` may have caused. Returns the fields of the table `at`
    /// that are broken or have problems.
    fn broken_fields<T>(&mut self, mark: Mark, at: &Path, own: &Own<T>) -> Vec<String> {
        if !own.broken.is_empty() {
            self.problems.retain_since(mark, |problem| assumed::without_fields(problem, &own.broken));
        }
        let found = self.problems.since(mark).iter().filter(|problem| problem.is_error());
        found.filter_map(|problem| problem.place.field_of(at)).chain(own.broken.iter().cloned()).collect()
    }

    fn silently<T>(&mut self, check: impl FnOnce(&mut Self) -> T) -> T {
        let problems = std::mem::take(self.problems);
        let checked = check(self);
        *self.problems = problems;
        checked
    }

    fn transform(
        &mut self,
        spec: &Spec,
        name: &Name,
        (config, answers): (&dyn TransformConfig, Option<&str>),
        node: &Node,
    ) -> Option<Vec<TransformSpec>> {
        let path = &Path::of(["stages", name.as_str()]);
        let read = &self.reader();
        let seed = spec.seed.unwrap_or_default();
        let named = answers.map_or_else(|| config.inputs(), |answers| vec![("input", answers)]);
        let inputs: Vec<Input> =
            named.iter().map(|(key, input)| self.input(spec, &path.key(key), input, node)).collect();
        let origins: Vec<Vec<ColumnOrigin>> =
            inputs.iter().map(|input| input.id.map(|id| origins(spec, id)).unwrap_or_default()).collect();
        let bind = |inputs: &[Input], problems: &mut Problems| {
            let inputs: Vec<InputTable<'_>> =
                inputs.iter().zip(&origins).map(|(input, origins)| input.table(origins)).collect();
            config.bind(&TransformContext { name: name.as_str(), path, inputs: &inputs, seed, read }, problems)
        };
        let mark = self.problems.mark();
        let transform = bind(&inputs, self.problems);
        if let Some(ids) = inputs.iter().map(|input| input.id).collect::<Option<Vec<_>>>() {
            let tables: Vec<InputTable<'_>> =
                inputs.iter().zip(&origins).map(|(input, origins)| input.table(origins)).collect();
            let context = TransformContext { name: name.as_str(), path, inputs: &tables, seed, read };
            let parts = config.parts().iter().filter_map(|part| {
                let made = config.bind_part(part, &context)?;
                Some((name.part(part).to_string(), ids[..1].to_vec(), made))
            });
            let made = std::iter::once((name.to_string(), ids.clone(), transform?)).chain(parts);
            let spec = |(name, inputs_read, transform): (String, Vec<TableId>, Transform)| {
                let relation = derived(&inputs, &transform);
                TransformSpec { name, is_inner: false, inputs: inputs_read, transform, relation }
            };
            return Some(made.map(spec).collect());
        }
        // Keep only unknown columns of known inputs. The next pass assumes all inputs and finds the other problems.
        self.problems.retain_since(mark, |problem| problem.rule == "unknown-column");
        let mark = self.problems.mark();
        let assumed = inputs.into_iter().map(|input| Input { relation: assumed::columns(node), ..input });
        bind(&assumed.collect::<Vec<_>>(), self.problems);
        self.problems.retain_since(mark, assumed::without_columns);
        None
    }

    /// Binds a stage that asks models, and adds it to the spec if its columns are known.
    pub(super) fn asking(&mut self, spec: &mut Spec, raw: &Raw, stage: &Asking<'_>) -> Option<TableId> {
        let Asking { at, stage: RawAsking { table, own, node }, .. } = stage;
        let models = self.stage_models(spec, raw, stage);
        self.bounded(at, table);
        let input = self.input(spec, &at.key("input"), &table.input, node);
        let start = self.problems.mark();
        let shown = &input.relation.schema.fields()[..input.relation.shown()];
        let columns: Vec<&str> = shown.iter().map(|field| field.name().as_str()).collect();
        let examples = self.examples(at, table, &columns);
        let mark = self.problems.mark();
        let config = own.value.as_ref();
        let bound =
            config.and_then(|config| self.bound(spec.seed, stage, config.as_ref(), (&input, examples.as_deref())));
        let broken = self.broken_fields(mark, at, own);
        let is_sample = REPLICATES.of(table) > 1;
        self.problems.extend(bound.as_ref().and_then(|bound| bound.stage.info.constant.clone()).filter(|_| !is_sample));
        let bound = bound.filter(|_| own.broken.is_empty()).or_else(|| {
            let configs = assumed::replaced(node, &broken).into_iter();
            let mut configs = configs.filter_map(|table| read::config(STAGES, own.kind, &table));
            self.silently(|it| configs.find_map(|config| it.bound(spec.seed, stage, config.as_ref(), (&input, None))))
        });
        let when = self.when(spec.seed, stage, &input, bound.as_ref());
        let mut added = None;
        if let Some(bound) = bound {
            self.probabilities(spec, stage, &bound.stage);
            self.one_answer(spec, stage, &bound.stage);
            self.embeddings(spec, stage, &bound.stage);
            self.packed(at, table, &bound.stage);
            self.few_tokens(spec, stage, &bound.stage);
            added = self.assembled(spec, stage, bound, (models, when));
        }
        if input.id.is_none() {
            self.problems.retain_since(start, assumed::without_columns);
        }
        if let Some((id, config)) = added.zip(config).filter(|_| stage.universe.is_none()) {
            self.parts(spec, stage, config.as_ref(), id);
        }
        added
    }

    /// Binds the condition of a stage to what it asks about: the rows of its input, or groups of them.
    fn when(
        &mut self,
        seed: Option<u64>,
        stage: &Asking<'_>,
        input: &Input,
        bound: Option<&BoundStage>,
    ) -> Option<BoundCondition> {
        let Asking { at, stage: RawAsking { table, own, node }, .. } = stage;
        let (source, at) = (table.when.as_deref()?, &at.key("when"));
        let groups = match (bound, &own.value) {
            (Some(bound), _) => bound.groups.as_ref().map(|_| bound.input.relation.clone()),
            (None, Some(config)) => self.silently(|it| match it.gathered(seed, stage, config.as_ref(), input) {
                Ok(groups) => groups.map(|groups| derived(std::slice::from_ref(input), &groups)),
                Err(_) => Some(assumed::columns(node)),
            }),
            // Nothing says which columns a group has.
            (None, None) if ["reduce", "recursive"].contains(&own.kind) => return None,
            (None, None) => None,
        };
        let Some(groups) = groups else {
            return stage::condition(source, &input.relation.schema, at, self.problems);
        };
        let shown = Arc::new(Schema::new(groups.schema.fields()[..groups.shown()].to_vec()));
        let unknown = match BoundCondition::new(source, &shown, &[]) {
            Err(ConditionError::Unknown(unknown)) => unknown,
            _ => return stage::condition(source, &shown, at, self.problems),
        };
        let of_rows = |name: &&str| input.relation.schema.column_with_name(name).is_some();
        let names: Vec<String> = unknown.names().filter(of_rows).map(str::to_owned).collect();
        for name in &names {
            let message = format!("the condition is about groups, which have no column `{name}`");
            let help = format!("write it into `group_by`, or leave out rows of `{}` with a `filter` first", input.name);
            self.error("unknown-variable", at.clone(), message).help(help);
        }
        let others = names.iter().fold(unknown, |unknown, name| unknown.without(name));
        self.problems.extend(others.problems(at, "the condition", &shown));
        None
    }

    /// The transform that gathers the rows of a stage's input into the groups that it asks about.
    fn gathered(
        &mut self,
        seed: Option<u64>,
        stage: &Asking<'_>,
        config: &dyn StageConfig,
        input: &Input,
    ) -> Result<Option<Transform>, Broken> {
        let (inputs, read) = ([input.table(&[])], &self.reader());
        let context = TransformContext {
            name: stage.name.as_str(),
            path: &stage.at,
            inputs: &inputs,
            seed: seed.unwrap_or_default(),
            read,
        };
        config.gathers(&context, self.problems)
    }

    /// Adds the tables that a stage makes beside its own.
    fn parts(&mut self, spec: &mut Spec, stage: &Asking<'_>, config: &dyn StageConfig, id: TableId) {
        let (name, path, seed) = (stage.name.as_str(), &stage.at, spec.seed.unwrap_or_default());
        let own = Input { id: Some(id), name: name.to_owned(), relation: spec.relation(id).clone() };
        let read = &self.reader();
        for part in config.parts() {
            let context = TransformContext { name, path, inputs: &[own.table(&[])], seed, read };
            let Some(transform) = config.bind_part(part, &context) else { continue };
            let relation = derived(std::slice::from_ref(&own), &transform);
            let (name, inputs) = (stage.name.part(part).to_string(), vec![id]);
            spec.add_table(TableSpec::Transform(TransformSpec { name, is_inner: false, inputs, transform, relation }));
        }
    }

    /// Binds a stage to its rows, which are the input's rows or the groups of a transform.
    fn bound(
        &mut self,
        seed: Option<u64>,
        stage: &Asking<'_>,
        config: &dyn StageConfig,
        (input, examples): (&Input, Option<&[Example]>),
    ) -> Option<BoundStage> {
        let (name, path, read) = (stage.name.as_str(), &stage.at, &self.reader());
        let groups = self.gathered(seed, stage, config, input);
        let relation = match &groups {
            Ok(None) => input.relation.clone(),
            Ok(Some(transform)) => derived(std::slice::from_ref(input), transform),
            Err(_) => assumed::columns(&stage.stage.node),
        };
        let context = BindContext {
            name,
            path,
            input: &relation.schema,
            hidden: relation.hidden,
            key: relation.key,
            fold: relation.fold,
            seed,
            read,
        };
        let mark = self.problems.mark();
        let bound = config.bind(&context, self.problems);
        if groups.is_err() {
            self.problems.retain_since(mark, assumed::without_columns);
        }
        let (mut bound, groups) = (bound?, groups.ok()?);
        if let Some(examples) = examples {
            // Invalid examples do not change the columns.
            bound = self
                .exemplified(&context, &stage.stage.table, bound, examples)
                .or_else(|| config.bind(&context, &mut Problems::default()))?;
        }
        let input = Input { id: input.id, name: input.name.clone(), relation: relation.clone() };
        Some(BoundStage { stage: bound, groups, input })
    }

    fn exemplified(
        &mut self,
        context: &BindContext<'_>,
        table: &StageTable,
        stage: Stage,
        examples: &[Example],
    ) -> Option<Stage> {
        let Some(why) = stage.info.refuses_examples else {
            return with_examples(stage, context, examples, self.problems);
        };
        let key = if table.examples.is_some() { "examples" } else { "examples_file" };
        self.problems.error_at_key("bad-value", context.path.key(key), why).help("leave it out");
        None
    }

    fn assembled(
        &mut self,
        spec: &mut Spec,
        stage: &Asking<'_>,
        bound: BoundStage,
        (models, when): (StageModels, Option<BoundCondition>),
    ) -> Option<TableId> {
        let Asking { name, at, stage: RawAsking { table, .. }, .. } = stage;
        let own_name = stage.table_name();
        let BoundStage { stage: bound, groups, input: Input { id, relation, .. } } = bound;
        let info = &bound.info;
        let mark = self.problems.mark();
        let answers = |fallback| {
            let replicates = REPLICATES.of(table) as usize;
            let new = Answers::new(table.fanout.unwrap_or(false), table.layout, models.answering, replicates, fallback);
            Answers { corrected: table.corrections.is_some(), ..new }
        };
        let certain = answers(models.fallback.unwrap_or(false));
        let suffixes = suffixes(spec, table.suffix, &models.known, &models.names);
        self.suffix(at, table);
        self.collisions(at, &relation, &bound, &certain.columns(name.as_str(), &info.writes, &suffixes));
        self.in_place(at, &certain, &bound);
        let layout = ["fanout", "layout", "suffix", "replicates", "models"];
        let is_known = layout.iter().all(|key| !self.problems.is_distrusted(&at.key(key)));
        let mut input = id.filter(|_| is_known && self.problems.clean_since(mark))?;
        if let Some(transform) = groups {
            let (name, inputs, relation) = (format!("{own_name}.groups"), vec![input], relation.clone());
            let groups = TransformSpec { name, is_inner: true, inputs, transform, relation };
            input = spec.add_table(TableSpec::Transform(groups));
        }
        // A broken model may have a fallback, so readers may use the column that names the answering model.
        let answers = answers(models.fallback.unwrap_or(true));
        let columns = answers.columns(name.as_str(), &info.writes, &suffixes);
        let read_by_when = when.iter().flat_map(BoundCondition::reads);
        let upstream = info.reads.iter().copied().chain(read_by_when).flat_map(|r| relation.guards[r].iter().copied());
        let mut guards: Vec<Guard> = upstream.chain(info.needs.iter().map(|c| Guard::Missing(*c))).collect();
        guards.sort_unstable();
        guards.dedup();
        let rows_per_prompt = u64::from(ROWS_PER_PROMPT.of(table));
        let (given, writes) = (relation.shown(), info.writes.len());
        let relation = answers.relation(&relation, &columns, (writes, &info.fills), &guards);
        let batch_size =
            table.batch_size.map_or(info.batch_size.unwrap_or(BATCH_SIZE.of(table)), |size| size.get()) as usize;
        let grid = stage.universe.map(|universe| universe.grid.clone());
        let stage = Corrected { info, answers: &answers, models: &models.names, relation: &relation, given };
        let corrections = table.corrections.as_deref().and_then(|path| self.corrections(at, path, &stage));
        Some(spec.add_table(TableSpec::Stage(Box::new(StageSpec {
            name: own_name.clone(),
            grid,
            input,
            relation,
            answers,
            given,
            stage: Arc::new(bound),
            suffix: table.suffix,
            models: models.known,
            model_names: models.names,
            when: when.map(Arc::new),
            guards,
            workers: WORKERS.of(table) as usize,
            batch_size,
            chunk_size: u64::from(CHUNK_SIZE.of(table)).next_multiple_of(rows_per_prompt),
            rows_per_prompt,
            audit: table.audit,
            repeat: 0,
            corrections: corrections.map(Arc::new),
            order: table.order,
            max_failed: table.max_failed,
            max_attempts: MAX_ATTEMPTS.of(table),
            overflow: table.overflow,
            repair: table.repair,
        }))))
    }

    fn reader(&self) -> impl Fn(&str) -> Result<String, String> + use<> {
        let (read, reads) = (paths::reader(self.folder, self.outside), self.reads.clone());
        move |path: &str| {
            reads.borrow_mut().insert(path.to_owned());
            read(path)
        }
    }
}

impl Input {
    fn table<'a>(&'a self, origins: &'a [ColumnOrigin]) -> InputTable<'a> {
        let Relation { schema, key, guards, .. } = &self.relation;
        InputTable { name: &self.name, schema, key: *key, guards, origins }
    }
}

/// Returns the columns of a transform. A guard of a copied column is kept if the column that it reads is copied too. A
/// new column that rests on copied ones has their guards.
fn derived(inputs: &[Input], transform: &Transform) -> Relation {
    let origins = &transform.info.origins;
    let guards = origins.iter().map(|origin| {
        let Some((input, column)) = origin else { return Vec::new() };
        let guards = inputs[*input].relation.guards[*column].iter();
        let here =
            |guard: &Guard| origins.iter().position(|o| *o == Some((*input, guard.column()))).map(|c| guard.at(c));
        guards.filter_map(here).collect()
    });
    let mut guards: Vec<Vec<Guard>> = guards.collect();
    for (column, on) in transform.work.rests_on() {
        let more = guards[on].iter().copied().chain([Guard::Missing(on)]);
        let more: Vec<Guard> = more.collect();
        guards[column].extend(more);
    }
    Relation {
        guards,
        schema: transform.info.schema.clone(),
        key: transform.info.key,
        fold: 1,
        hidden: transform.info.hidden,
    }
}
