//! Facts: fills a lock from a plan and its models before a run, and from its parts and outputs afterwards.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::drift::leaves;
use super::file::{
    Lock, LockedBuild, LockedModel, LockedOutput, LockedSource, LockedStage, LockedTransform, LockedVectors,
};
use super::prompts::{Prompts, hash};
use crate::models::{Models, Target};
use crate::object::fetch;
use crate::output;
use crate::plan::Plan;
use crate::prompt::Message;
use crate::provider::Call;
use crate::spec::{TableId, TableSpec};
use crate::store::{PartFacts, RowCounts, RunDir, StageTotals};
use crate::table::column_words;

#[derive(Clone, Debug, Default)]
pub(crate) struct ModelFacts {
    sent: Option<BTreeMap<String, toml::Value>>,
    build: LockedBuild,
}

impl ModelFacts {
    pub(crate) fn all(models: &Models) -> HashMap<usize, Self> {
        let facts = |target: &Target| ModelFacts { sent: Some(sent(target)), build: target.build.clone().into() };
        models.iter().map(|target| (target.index, facts(target))).collect()
    }
}

/// The lock of `plan` before the run, after its sources are read; `models` is by index in the spec.
pub(crate) fn before(plan: &Plan, models: &HashMap<usize, ModelFacts>) -> Lock {
    let mut lock = Lock { paraphrases: plan.spec.paraphrases.clone(), ..Lock::new(&plan.spec_hash) };
    for (id, source) in plan.spec.sources() {
        let Some(facts) = plan.sources.get(&id) else { continue };
        let columns = source.relation.schema.fields().iter().map(|f| column_words(f)).collect();
        let locked = LockedSource { rows: facts.rows, content: facts.values.clone(), columns };
        lock.sources.insert(source.name.to_string(), locked);
    }
    lock.transforms.extend(plan.transforms().map(|i| transform(plan, i)));
    lock.stages.extend(plan.stages().map(|i| stage(plan, i)));
    for asked in plan.stages().flat_map(|i| &plan.spec.stage(i).models) {
        let fallback = &plan.spec.model(*asked).1.fallback;
        lock.models.extend([asked].into_iter().chain(fallback).map(|i| model(plan, *i, models.get(i))));
    }
    lock.outputs.extend(plan.outputs().map(|i| output(plan, i)));
    lock
}

fn transform(plan: &Plan, id: TableId) -> (String, LockedTransform) {
    let transform = plan.spec.transform(id);
    let info = &transform.transform.info;
    let locked = LockedTransform {
        kind: info.kind.to_owned(),
        inputs: transform.inputs.iter().map(|input| plan.spec.table_name(*input).to_owned()).collect(),
        settings: hash(&info.meaning),
        rows: plan.rows(id),
        looks: BTreeMap::new(),
    };
    (transform.name.clone(), locked)
}

fn model(plan: &Plan, index: usize, facts: Option<&ModelFacts>) -> (String, LockedModel) {
    let (name, model) = plan.spec.model(index);
    let ModelFacts { sent, build } = facts.cloned().unwrap_or_default();
    let locked = LockedModel {
        provider: plan.spec.endpoints[&model.endpoint].endpoint.kind().to_owned(),
        model: model.model.id.clone(),
        sent,
        context_tokens: model.context_tokens,
        fallback: model.fallback.iter().map(|other| plan.spec.model(*other).0.to_string()).collect(),
        build,
    };
    (name.to_string(), locked)
}

fn stage(plan: &Plan, id: TableId) -> (String, LockedStage) {
    let stage = plan.spec.stage(id);
    let info = &stage.stage.info;
    let locked = LockedStage {
        kind: info.kind.to_owned(),
        input: plan.spec.table_name(stage.input).to_owned(),
        models: plan.spec.models_of(stage).map(str::to_owned).collect(),
        layout: stage.answers.layout().to_owned(),
        replicates: stage.answers.replicates as u64,
        rows_per_prompt: stage.packs().then_some(stage.rows_per_prompt),
        audit: stage.audit.map(|audit| u64::from(audit.rows.get())),
        when: stage.when.as_ref().map(|when| when.source().to_owned()),
        corrections: stage.corrections.as_ref().map(|corrections| corrections.hash()),
        vectors: info.embeds.then(|| LockedVectors {
            dimensions: info.meaning["dimensions"].as_u64(),
            normalised: info.meaning["normalise"] == true,
        }),
        settings: hash(&stage.settings()),
        rows: plan.rows(stage.input),
        ..LockedStage::default()
    };
    (stage.name.to_string(), locked)
}

fn output(plan: &Plan, index: usize) -> (String, LockedOutput) {
    let (name, output) = plan.spec.outputs.get_index(index).expect("an index of this table");
    let columns = output
        .schema
        .fields()
        .iter()
        .filter(|_| !output.codebook)
        .map(|field| if output.format.has_types() { column_words(field) } else { field.name().clone() });
    let locked = LockedOutput {
        input: plan.spec.table_name(output.input).to_owned(),
        path: output.path.clone(),
        rows: plan.rows(output.input).filter(|_| !output.codebook),
        columns: columns.collect(),
        ..LockedOutput::default()
    };
    (name.to_string(), locked)
}

/// The fields of every request other than conversation, schema and model, by their path in the body, with our defaults.
fn sent(target: &Target) -> BTreeMap<String, toml::Value> {
    let body = |said: &str| {
        let messages = [Message::system(said), Message::user(said)];
        let encoded = target.provider.encode(&Call { model: &target.model, messages: &messages, schema: None });
        // The body after the keyed part does not affect the answer; the object may be cut off before that part.
        let keyed = &encoded.body[encoded.unsent.min(encoded.keyed)..encoded.keyed];
        let whole = serde_json::from_slice::<Value>(keyed);
        whole.or_else(|_| serde_json::from_slice(&[keyed, b"}"].concat())).unwrap_or_default()
    };
    let (one, other) = (body("one"), body("other"));
    let mut sent = BTreeMap::new();
    for (key, value) in one.as_object().into_iter().flatten() {
        if key != "model" && other.get(key) == Some(value) {
            leaves(key.clone(), value, &mut |path, leaf| {
                // Nulls and empty lists carry no information.
                if !leaf.is_null() && leaf.as_array().is_none_or(|items| !items.is_empty()) {
                    sent.insert(path, scalar(leaf));
                }
            });
        }
    }
    sent
}

/// A value as TOML. Nested values, and numbers that TOML cannot hold, become text.
fn scalar(value: &Value) -> toml::Value {
    match value {
        Value::Array(items) => toml::Value::Array(items.iter().map(scalar).collect()),
        Value::Object(_) | Value::Null => value.to_string().into(),
        plain => toml::Value::try_from(plain).unwrap_or_else(|_| plain.to_string().into()),
    }
}

impl Lock {
    /// The hash of the prompts of each stage.
    pub(crate) fn prompt_hashes(&self) -> HashMap<String, String> {
        self.stages.iter().filter_map(|(name, stage)| Some((name.clone(), stage.prompts.clone()?))).collect()
    }

    pub(crate) fn add_prompts(&mut self, stage: &str, Prompts { prompts, answers }: Prompts) {
        if let Some(locked) = self.stages.get_mut(stage) {
            (locked.prompts, locked.answers) = (Some(prompts), Some(answers));
        }
    }

    /// Counts only the parts that are committed in `dir`.
    pub(crate) fn add_counts(&mut self, plan: &Plan, dir: &RunDir) {
        let spec = &plan.spec;
        for i in plan.transforms() {
            if let Some(locked) = self.transforms.get_mut(&spec.transform(i).name) {
                locked.rows = rows_of(plan, dir, i);
                locked.looks.extend(look(plan, dir, i));
            }
        }
        let parts: HashMap<TableId, _> = plan.stages().filter_map(|i| Some((i, parts_of(plan, dir, i)?))).collect();
        for (i, PartFacts { counts, .. }) in &parts {
            if let Some(locked) = self.stages.get_mut(spec.stage(*i).name.as_str()) {
                if let Some(vectors) = &mut locked.vectors {
                    vectors.dimensions = vectors.dimensions.or_else(|| dimensions(plan, dir, *i));
                }
                locked.rows = Some(counts.total());
                [locked.answered, locked.failed, locked.skipped] = known(counts, 1);
            }
        }
        if parts.len() == plan.stages().count() {
            for (name, model) in &mut self.models {
                let named = parts.values().filter_map(|part| part.replies.get(name)).flatten();
                let builds: BTreeSet<String> = named.cloned().collect();
                model.build.replies = Some(builds.into_iter().collect());
            }
        }
        for i in plan.outputs() {
            let (name, output) = spec.outputs.get_index(i).expect("an index of this table");
            let Some(locked) = self.outputs.get_mut(name.as_str()).filter(|_| !output.codebook) else { continue };
            locked.rows = locked.rows.or_else(|| rows_of(plan, dir, output.input));
            let Some(PartFacts { counts, .. }) = parts.get(&output.input) else { continue };
            [locked.answered, locked.failed, locked.skipped] = known(counts, spec.stage(output.input).answers.fold());
        }
    }

    pub(crate) fn add_outputs(&mut self, plan: &Plan) {
        for i in plan.outputs() {
            let (name, output) = plan.spec.outputs.get_index(i).expect("an index of this table");
            // People change a sheet that they fill.
            if output.sheet.is_some() {
                continue;
            }
            let Some(locked) = self.outputs.get_mut(name.as_str()) else { continue };
            if let Some(Err(error)) = output.address().map(|address| fetch(&plan.spec.folder, &address)) {
                locked.content = Some(format!("unreadable: {error}"));
                continue;
            }
            if !output.file.exists() {
                locked.content = Some("missing".to_owned());
                continue;
            }
            match output::read(&output.file, output.format) {
                Ok(content) => {
                    locked.content = Some(content.hash);
                    // Some formats are not read, and a table without rows has no columns in JSON Lines.
                    if !content.columns.is_empty() {
                        locked.columns = content.columns;
                    }
                    locked.rows = content.rows.or(locked.rows);
                }
                Err(message) => locked.content = Some(format!("unreadable: {message}")),
            }
        }
    }
}

/// The column of the figures of a method.
const ESTIMATE: &str = "estimate";
/// The rows of a method's table that are read at once.
const LOOKED: usize = 1024;

/// The look at the test part that the table of a transform is: a hash of the rows that it read, and one of the prompts.
fn look(plan: &Plan, dir: &RunDir, id: TableId) -> Option<(String, String)> {
    let transform = plan.spec.transform(id);
    let part = dir.committed(&transform.name, 0).filter(|_| transform.transform.work.looks_at_test())?;
    // Before the first row is coded, the table shows nothing.
    let mut batches = part.table.read(0, part.table.rows(), LOOKED).ok()?.flatten();
    let shows = |column: &ArrayRef| column.null_count() < column.len();
    batches.find(|batch| batch.column_by_name(ESTIMATE).is_some_and(shows))?;
    let stages = plan.spec.upstream(id).into_iter().filter_map(|table| plan.spec.table(table).as_stage());
    let prompts: Vec<&Value> = stages.map(|stage| &stage.stage.info.meaning).collect();
    let [seen, prompts] = [json!(part.facts.inputs), json!(prompts)].map(|of| hash(&of)[..16].to_owned());
    Some((seen, prompts))
}

/// The length of the first vector that a stage wrote.
fn dimensions(plan: &Plan, dir: &RunDir, id: TableId) -> Option<u64> {
    let stage = plan.spec.stage(id);
    let mut parts = plan.parts(id, rows_of(plan, dir, stage.input)?);
    parts.find_map(|part| {
        let table = dir.committed(stage.name.as_str(), part.number)?.table;
        let mut batches = table.read(0, table.rows(), LOOKED).ok()?.flatten();
        batches.find_map(|batch| {
            let lists = batch.columns().iter().skip(stage.given).find_map(|column| column.as_list_opt::<i32>())?;
            (0..lists.len()).find(|row| lists.is_valid(*row)).map(|row| lists.value_length(row) as u64)
        })
    })
}

fn known(counts: &RowCounts, fold: u64) -> [Option<u64>; 3] {
    [counts.answered, counts.failed, counts.skipped].map(|rows| Some(rows * fold))
}

/// The number of rows of an input. A transform of answers has one only after the run in `dir` has made its table.
fn rows_of(plan: &Plan, dir: &RunDir, input: TableId) -> Option<u64> {
    plan.rows(input).or_else(|| match plan.spec.table(input) {
        TableSpec::Source(_) => None,
        TableSpec::Stage(stage) => Some(rows_of(plan, dir, stage.input)? * stage.answers.fold()),
        TableSpec::Transform(transform) => Some(dir.committed(&transform.name, 0)?.table.rows()),
    })
}

/// Sets the counts of rows to those of the committed parts.
pub(crate) fn committed_counts(plan: &Plan, dir: &RunDir, stages: &mut IndexMap<String, StageTotals>) {
    for id in plan.stages() {
        let stage = plan.spec.stage(id);
        let Some((totals, rows)) = stages.get_mut(stage.name.as_str()).zip(rows_of(plan, dir, stage.input)) else {
            continue;
        };
        let committed = plan.parts(id, rows).filter_map(|part| dir.committed(stage.name.as_str(), part.number));
        totals.rows = rows;
        totals.counts = RowCounts::default();
        committed.for_each(|part| totals.counts += part.facts.counts);
    }
}

/// The sums over the parts of a stage; `None` if a part is not committed.
pub(crate) fn parts_of(plan: &Plan, dir: &RunDir, stage: TableId) -> Option<PartFacts> {
    let name = plan.spec.stage(stage).name.as_str();
    let rows = rows_of(plan, dir, plan.spec.stage(stage).input)?;
    let mut sum = PartFacts::default();
    for part in plan.parts(stage, rows) {
        sum.add(dir.committed(name, part.number)?.facts);
    }
    Some(sum)
}
