//! Stages: each bound to the columns of its input.

use std::num::NonZeroU32;
use std::path::Path as FilePath;

use super::columns::{Answers, Form, Relation};
use super::paths;
use super::read::StageTable;
use super::resolve::Resolver;
use super::{ReshapeSpec, Spec, StageSpec, TableId, TableSpec};
use crate::document::Path;
use crate::name::{Name, listed};
use crate::prompt::BoundCondition;
use crate::provider::{PROVIDERS, default_endpoint};
use crate::source;
use crate::stage::{
    self, BindContext, Example, InputTable, Stage, StageConfig, Transform, TransformConfig, TransformContext,
    with_examples,
};
use crate::table::{Column, Guard};

/// Workers, prompts per worker and rows per part where the spec says nothing.
const DEFAULTS: (u32, u32, u32) = (4, 4, 20_000);
/// Attempts per call where the spec says nothing.
const ATTEMPTS: u32 = 3;
/// Rows at most in one prompt.
const MOST_ROWS_PER_PROMPT: u32 = 1000;

impl Resolver<'_> {
    /// Binds a stage that makes a table of tables, and adds it to the spec.
    pub(super) fn reshape(&mut self, spec: &mut Spec, name: &Name, config: &dyn TransformConfig) -> Option<()> {
        let at = Path::of(["stages", name.as_str()]);
        let inputs = config.inputs().iter().map(|(_, input)| spec.find(input)).collect::<Option<Vec<_>>>()?;
        let read = self.reader();
        let reshape = bind_reshape(spec, &at, name, &inputs, &read, |site| config.bind(site, self.problems))?;
        spec.add_table(reshaped(spec, name.to_string(), inputs, reshape));
        Some(())
    }

    /// Binds a stage that asks models, and adds it to the spec with what gathers its rows.
    pub(super) fn stage(
        &mut self,
        spec: &mut Spec,
        name: &Name,
        table: &StageTable,
        config: &dyn StageConfig,
    ) -> Option<()> {
        let at = Path::of(["stages", name.as_str()]);
        let before = self.problems.mark();
        let models = self.stage_models(spec, &at, table);
        self.bounded(&at, table);
        let mut input = spec.find(&table.input)?;
        let read = self.reader();
        let gathered =
            bind_reshape(spec, &at, name, &[input], &read, |site| config.gathers(site, self.problems)).ok()?;
        if let Some(reshape) = gathered {
            input = spec.add_table(reshaped(spec, format!("{name}.groups"), vec![input], reshape));
        }
        let stage = self.asking(spec, name, table, config, (input, models))?;
        if self.problems.had_errors_since(before) {
            return None;
        }
        spec.add_table(TableSpec::Stage(stage));
        Some(())
    }

    fn asking(
        &mut self,
        spec: &Spec,
        name: &Name,
        table: &StageTable,
        config: &dyn StageConfig,
        (input, models): (TableId, Vec<usize>),
    ) -> Option<StageSpec> {
        let at = &Path::of(["stages", name.as_str()]);
        let read = self.reader();
        let rows_per_prompt = u64::from(or(table.rows_per_prompt, 1));
        let relation = spec.relation(input).clone();
        let site = BindContext {
            name: name.as_str(),
            path: at,
            input: &relation.schema,
            hidden: relation.hidden,
            key: relation.key,
            fold: relation.fold,
            seed: spec.seed,
            read: &read,
        };
        let when = self.when(at, &relation, table.when.as_deref());
        let columns: Vec<&str> =
            relation.schema.fields()[..relation.shown()].iter().map(|f| f.name().as_str()).collect();
        let examples = self.examples(at, table, &columns);
        let stage = config.bind(&site, self.problems)?;
        let stage = self.shown(&site, table, stage, examples)?;
        if stage.info.probabilities {
            self.probabilities(spec, at, table);
        }
        self.packed(at, table, &stage);
        let fallback = models.iter().any(|model| !spec.model(*model).1.fallback.is_empty());
        let answers =
            Answers::new(table.fanout, table.layout, models.len(), or(table.replicates, 1) as usize, fallback);
        let names: Vec<&str> = models.iter().map(|m| spec.model(*m).0.as_str()).collect();
        let columns = answers.columns(name.as_str(), &stage.info.writes, &names);
        self.collisions(at, &relation, &stage, &columns);
        self.in_place(at, &answers, &stage);
        let read_by_when = when.iter().flat_map(BoundCondition::reads);
        let upstream =
            stage.info.reads.iter().copied().chain(read_by_when).flat_map(|r| relation.guards[r].iter().copied());
        let mut guards: Vec<Guard> = upstream.chain(stage.info.needs.iter().map(|c| Guard::Missing(*c))).collect();
        guards.sort_unstable();
        guards.dedup();
        Some(StageSpec {
            name: name.clone(),
            input,
            relation: answers.relation(&relation, &columns, stage.info.writes.len(), &stage.info.fills, &guards),
            answers,
            given: relation.shown(),
            stage,
            model_names: names.iter().map(|n| (*n).to_owned()).collect(),
            models,
            when,
            guards,
            workers: or(table.workers, DEFAULTS.0) as usize,
            batch_size: or(table.batch_size, DEFAULTS.1) as usize,
            chunk_size: u64::from(or(table.chunk_size, DEFAULTS.2)).next_multiple_of(rows_per_prompt),
            rows_per_prompt,
            audit: table.audit,
            order: table.order,
            max_failed: table.max_failed,
            max_attempts: or(table.max_attempts, ATTEMPTS),
            overflow: table.overflow,
            repair: table.repair,
        })
    }

    /// The stage with its examples, if it has some; reports what is wrong with them.
    fn shown(
        &mut self,
        site: &BindContext<'_>,
        table: &StageTable,
        stage: Stage,
        examples: Option<Vec<Example>>,
    ) -> Option<Stage> {
        let Some(examples) = examples else { return Some(stage) };
        let Some(why) = stage.info.refuses_examples else {
            return with_examples(stage, site, &examples, self.problems);
        };
        let key = if table.examples.is_some() { "examples" } else { "examples_file" };
        self.problems.error_at_key("bad-value", site.path.key(key), why).help("leave it out");
        None
    }

    /// Reads a text file of the project.
    fn reader(&self) -> impl Fn(&str) -> Result<String, String> + use<> {
        let (folder, outside) = (self.folder.to_owned(), self.outside);
        move |path: &str| read_text(&folder, outside, path)
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
                None => self.unknown_model(path, name, spec.models.keys()),
            }
        }
        models
    }

    /// Reports models that can't say how probable a label was.
    fn probabilities(&mut self, spec: &Spec, at: &Path, table: &StageTable) {
        for (i, name) in table.models.iter().enumerate() {
            let Some(model) = spec.models.get(name.as_str()) else { continue };
            let endpoint = &spec.endpoints[&model.endpoint].endpoint;
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
            self.error("no-probabilities", at.key("models").index(i), message).help(help);
        }
    }

    /// Reports what can't be asked about several rows at once.
    fn packed(&mut self, at: &Path, table: &StageTable, stage: &Stage) {
        if or(table.rows_per_prompt, 1) == 1 {
            if table.audit.is_some() {
                let message = "`audit` compares rows that are asked together with the same rows asked one by one";
                self.error("bad-value", at.key("audit"), message).help("write `rows_per_prompt`, or leave `audit` out");
            }
            return;
        }
        if stage.info.at_once {
            let message = "a group's rows are together in one prompt already";
            self.error("bad-value", at.key("rows_per_prompt"), message)
                .help("leave `rows_per_prompt` out; `max_input_tokens` says how much a prompt holds");
        }
        if stage.info.probabilities {
            let message = "`prob` can't be had with `rows_per_prompt`: in a reply about several rows the probability of a \
                           label hangs on the answers before it";
            self.error("bad-value", at.key("rows_per_prompt"), message).help("leave `rows_per_prompt` or `prob` out");
        }
    }

    fn bounded(&mut self, at: &Path, table: &StageTable) {
        let numbers = [
            ("workers", table.workers, 1024),
            ("batch_size", table.batch_size, 1024),
            ("chunk_size", table.chunk_size, 10_000_000),
            ("max_attempts", table.max_attempts, 100),
            ("replicates", table.replicates, 10_000),
            ("rows_per_prompt", table.rows_per_prompt, MOST_ROWS_PER_PROMPT),
        ];
        for (key, value, most) in numbers {
            if value.is_some_and(|v| v.get() > most) {
                self.error("bad-value", at.key(key), format!("`{key}` must be {most} or less"));
            }
        }
    }

    /// The condition on the rows; reports what is wrong with it.
    fn when(&mut self, at: &Path, input: &Relation, source: Option<&str>) -> Option<BoundCondition> {
        stage::condition(source?, &input.schema, &at.key("when"), self.problems)
    }

    /// Reports columns that are filled in place by several models at once.
    fn in_place(&mut self, at: &Path, answers: &Answers, stage: &Stage) {
        if answers.form == Form::Wide && !stage.info.fills.is_empty() {
            let message = "every model answers every row, so that a column can't be filled in place";
            self.error("bad-value", at.key("fanout"), message)
                .help("leave `target = \"in_place\"` out, or write `layout = \"long\"`");
        }
    }

    /// Reports columns that are there already.
    fn collisions(&mut self, at: &Path, input: &Relation, stage: &Stage, columns: &[Column]) {
        for (i, column) in columns.iter().enumerate() {
            let name = &column.name;
            let message = if input.schema.index_of(name).is_ok() {
                format!("this stage writes the column `{name}`, which its input has already")
            } else if columns[..i].iter().any(|c| c.name == *name) {
                format!("this stage writes the column `{name}` twice")
            } else {
                continue;
            };
            // Where in the stage's table the column comes from, before the suffix for a model.
            let comes = |w: &Column| name.strip_prefix(&w.name).is_some_and(|r| r.is_empty() || r.starts_with('_'));
            let writes = &stage.info.writes;
            let write = writes.iter().position(|w| w.name == *name);
            let write = write.or_else(|| writes.iter().position(comes));
            let origin = write.iter().flat_map(|write| &stage.info.origins[*write]);
            let place = origin.fold(at.clone(), |path, key| path.key(key));
            self.problems
                .error_at_key("duplicate-column", place, message)
                .help("give the key, the stage or the model another name");
        }
    }
}

/// Binds a reshape of stage `name` to `inputs`.
fn bind_reshape<T>(
    spec: &Spec,
    at: &Path,
    name: &Name,
    inputs: &[TableId],
    read: &dyn Fn(&str) -> Result<String, String>,
    bind: impl FnOnce(&TransformContext<'_>) -> T,
) -> T {
    let given = inputs.iter().map(|input| {
        let relation = spec.relation(*input);
        InputTable {
            name: spec.table_name(*input),
            schema: &relation.schema,
            key: relation.key,
            guards: &relation.guards,
        }
    });
    let given: Vec<InputTable<'_>> = given.collect();
    bind(&TransformContext { name: name.as_str(), path: at, inputs: &given, read })
}

/// A reshape with the columns of its table; what tells of a cell that it holds no answer goes with the cell.
fn reshaped(spec: &Spec, name: String, inputs: Vec<TableId>, reshape: Transform) -> TableSpec {
    let origins = &reshape.info.origins;
    let guards = origins.iter().map(|origin| {
        let Some((input, column)) = origin else { return Vec::new() };
        let guards = spec.relation(inputs[*input]).guards[*column].iter();
        let here =
            |guard: &Guard| origins.iter().position(|o| *o == Some((*input, guard.column()))).map(|c| guard.at(c));
        guards.filter_map(here).collect()
    });
    let relation = Relation {
        guards: guards.collect(),
        schema: reshape.info.schema.clone(),
        key: reshape.info.key,
        fold: 1,
        hidden: reshape.info.hidden,
    };
    TableSpec::Reshape(ReshapeSpec { name, inputs, reshape, relation })
}

/// A number, or what holds where the spec says nothing.
fn or(number: Option<NonZeroU32>, default: u32) -> u32 {
    number.map_or(default, NonZeroU32::get)
}

/// Reads a prompt file of the project.
fn read_text(folder: &FilePath, outside: bool, path: &str) -> Result<String, String> {
    if !outside && !paths::stays_inside(folder, path) {
        return Err(format!("`{path}` leaves the folder of the spec"));
    }
    source::read_text(folder, path)
}
