//! Locks of runs: what the tables of a plan are made from, as far as that is known before it runs, and what they are
//! afterwards. Reads tables and parts; asks nobody.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow_array::RecordBatch;
use serde_json::{Value, json};

use super::RunError;
use super::connect::{Models, Target};
use super::parts::{Parts, batch_rows};
use crate::ask::{Fate, KEY_VERSION, fates};
use crate::plan::Plan;
use crate::prompt::{Failure, Message, Prompt, Role};
use crate::provider::Call;
use crate::spec::{Format, Input, Overflow, Repair, StageSpec};
use crate::store::{
    Lock, LockedBuild, LockedModel, LockedOutput, LockedReshape, LockedSource, LockedStage, PartFacts, RunDir,
    StoreError, read_output,
};
use crate::table::{Row, column_words};

/// What the spec says of a stage beyond what has facets of its own.
fn settings(stage: &StageSpec, meaning: &Value) -> Value {
    let mut settings = json!({ "stage": meaning, "max_attempts": stage.max_attempts });
    if stage.overflow != Overflow::default() {
        settings["overflow"] = json!(stage.overflow);
    }
    if stage.repair != Repair::default() {
        settings["repair"] = json!(stage.repair);
    }
    stage.packing(&mut settings);
    settings
}

/// What the tables of `plan` are made from; of its models as much as `models` tells. Its sources have been read.
pub fn before(plan: &Plan, models: Option<&Models>) -> Lock {
    let spec = &plan.spec;
    let mut lock = Lock::new(&plan.spec_hash, KEY_VERSION);
    for ((name, source), facts) in spec.sources.iter().zip(&plan.sources) {
        let Some(facts) = facts else { continue };
        let columns = source.relation.schema.fields().iter().map(|f| column_words(f)).collect();
        let locked = LockedSource { rows: facts.rows, content: facts.values.clone(), columns };
        lock.sources.insert(name.to_string(), locked);
    }
    for i in plan.reshapes() {
        let reshape = &spec.reshapes[i];
        let meaning = reshape.reshape.meaning();
        let locked = LockedReshape {
            kind: meaning["type"].as_str().unwrap_or_default().to_owned(),
            inputs: reshape.inputs.iter().map(|input| spec.input_name(*input).to_owned()).collect(),
            settings: hash(&meaning),
            rows: plan.rows(Input::Reshape(i)),
        };
        lock.reshapes.insert(reshape.name.clone(), locked);
    }
    for i in plan.stages() {
        let stage = &spec.stages[i];
        let asked = stage.models.iter().flat_map(|model| [model].into_iter().chain(&spec.model(*model).1.fallback));
        for model in asked {
            let (name, model_spec) = spec.model(*model);
            let target = models.map(|models| models.target(*model));
            let build = target.map(|target| target.build.clone()).unwrap_or_default();
            let locked = LockedModel {
                provider: spec.endpoints[&model_spec.endpoint].endpoint.kind().to_owned(),
                model: model_spec.model.id.clone(),
                sent: target.map(sent),
                context_tokens: model_spec.context_tokens,
                fallback: model_spec.fallback.iter().map(|other| spec.model(*other).0.to_string()).collect(),
                build: LockedBuild {
                    digest: build.digest,
                    quantization: build.quantization,
                    template: build.template,
                    replies: None,
                },
            };
            lock.models.insert(name.to_string(), locked);
        }
        let meaning = stage.stage.meaning();
        let locked = LockedStage {
            kind: meaning["type"].as_str().unwrap_or_default().to_owned(),
            input: spec.input_name(stage.input).to_owned(),
            models: stage.model_names.clone(),
            layout: stage.answers.layout().to_owned(),
            replicates: stage.answers.replicates as u64,
            rows_per_prompt: stage.packs().then_some(stage.rows_per_prompt),
            audit: stage.audit.map(|audit| u64::from(audit.rows.get())),
            when: stage.when.as_ref().map(|when| when.source().to_owned()),
            settings: hash(&settings(stage, &meaning)),
            prompts: None,
            answers: None,
            rows: plan.rows(stage.input),
            answered: None,
            failed: None,
            skipped: None,
        };
        lock.stages.insert(stage.name.to_string(), locked);
    }
    for i in plan.outputs() {
        let (name, output) = spec.outputs.get_index(i).expect("an index of this table");
        let fields = spec.relation(output.input).schema.fields();
        let columns = fields.iter().map(|field| match output.format {
            Format::Parquet => column_words(field),
            Format::Csv | Format::Jsonl => field.name().clone(),
        });
        let locked = LockedOutput {
            input: spec.input_name(output.input).to_owned(),
            path: output.path.clone(),
            rows: plan.rows(output.input),
            answered: None,
            failed: None,
            skipped: None,
            content: None,
            columns: columns.collect(),
        };
        lock.outputs.insert(name.to_string(), locked);
    }
    lock
}

fn hash(value: &Value) -> String {
    blake3::hash(value.to_string().as_bytes()).to_hex().to_string()
}

/// What every request to a model holds beside the conversation, the schema and the model's name, in the protocol's own
/// words and as it is sent, defaults of ours included.
fn sent(target: &Target) -> BTreeMap<String, toml::Value> {
    let body = |said: &str| {
        let messages = [Message::system(said), Message::user(said)];
        let call = Call { model: &target.model, messages: &messages, schema: None };
        let encoded = target.provider.encode(&call);
        // What comes after the keyed part changes no answer; the object may be cut off before it.
        let keyed = &encoded.body[encoded.unsent.min(encoded.keyed)..encoded.keyed];
        let whole = serde_json::from_slice::<Value>(keyed);
        whole.or_else(|_| serde_json::from_slice(&[keyed, b"}"].concat())).unwrap_or_default()
    };
    let (one, other) = (body("one"), body("other"));
    let mut sent = BTreeMap::new();
    for (key, value) in one.as_object().into_iter().flatten() {
        if key != "model" && other.get(key) == Some(value) {
            leaves(key.clone(), value, &mut sent);
        }
    }
    sent
}

/// Adds the leaves of `value` under their paths; what is null or empty says nothing.
fn leaves(path: String, value: &Value, out: &mut BTreeMap<String, toml::Value>) {
    match value {
        Value::Object(table) => table.iter().for_each(|(key, inner)| leaves(format!("{path}.{key}"), inner, out)),
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        other => {
            out.insert(path, scalar(other));
        }
    }
}

/// A value without nulls in TOML's types; numbers that TOML can't hold, and nested values, as text.
fn scalar(value: &Value) -> toml::Value {
    match value {
        Value::Bool(truth) => (*truth).into(),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => toml::Value::Array(items.iter().map(scalar).collect()),
        Value::Number(number) => match (number.as_i64(), number.is_f64(), number.as_f64()) {
            (Some(whole), ..) => whole.into(),
            (None, true, Some(number)) => number.into(),
            _ => number.to_string().into(),
        },
        Value::Object(_) | Value::Null => value.to_string().into(),
    }
}

/// The hash of what is asked first about each row of a stage, and of the schemas that come with it.
#[derive(Debug, Default)]
pub struct PromptDigest {
    prompts: blake3::Hasher,
    bytes: Vec<u8>,
    schemas: BTreeSet<String>,
    /// The schema of the prompt before, which mostly is the same one.
    last: Option<Arc<Value>>,
}

impl PromptDigest {
    /// Takes the next row, which is not asked about.
    pub fn unasked(&mut self, fate: &Fate) {
        self.prompts.update(match fate {
            Fate::Skipped => b"s",
            Fate::Failed(_) => b"f",
            Fate::Asked => b"c",
        });
    }

    /// Takes the next row with its prompts, or why there are none.
    pub fn asked(&mut self, prompts: &Result<Vec<Prompt>, Failure>) {
        let prompts = match prompts {
            Ok(prompts) => prompts,
            Err(failure) => return self.unasked(&Fate::Failed(failure.clone())),
        };
        let bytes = &mut self.bytes;
        bytes.clear();
        bytes.push(b'a');
        bytes.extend((prompts.len() as u64).to_le_bytes());
        for prompt in prompts {
            bytes.extend((prompt.messages.len() as u64).to_le_bytes());
            for Message { role, content, .. } in &prompt.messages {
                bytes.push(match role {
                    Role::System => b's',
                    Role::User => b'u',
                    Role::Assistant => b'a',
                });
                bytes.extend((content.len() as u64).to_le_bytes());
                bytes.extend(content.as_bytes());
            }
            // Who answers makes another call of the same words.
            bytes.push(u8::from(prompt.respondent.is_some()));
            bytes.extend(prompt.respondent.unwrap_or(0).to_le_bytes());
            if let Some(schema) = &prompt.schema
                && !self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, schema))
            {
                self.schemas.insert(hash(schema));
                self.last = Some(schema.clone());
            }
        }
        self.prompts.update(bytes);
    }

    /// Takes the rows of a batch, the first of which is row `first` (from 0) of the stage's input.
    fn rows(&mut self, stage: &StageSpec, batch: &RecordBatch, first: u64) {
        for (i, fate) in fates(stage, batch, first).iter().enumerate() {
            let row = Row::new(batch, i, first);
            match fate {
                Fate::Asked if stage.stage.asks(row) => self.asked(&stage.stage.prompts(row, &[])),
                other => self.unasked(other),
            }
        }
    }

    /// The hashes of the prompts and of the schemas.
    pub fn finish(self) -> (String, String) {
        let schemas = self.schemas.into_iter().map(Value::from).collect();
        (self.prompts.finalize().to_hex().to_string(), hash(&Value::Array(schemas)))
    }
}

/// Adds what each stage asked and what became of its rows, from its input and its parts, which all are there.
pub fn add_stages(
    lock: &mut Lock,
    plan: &Plan,
    dir: &RunDir,
    inputs: &HashMap<Input, Arc<Parts>>,
) -> Result<(), RunError> {
    for i in plan.stages() {
        let stage = &plan.spec.stages[i];
        let mut digest = PromptDigest::default();
        let mut first = 0;
        for part in inputs[&stage.input].tables().unwrap_or_default() {
            let rows = part.table.read(0, part.table.rows(), batch_rows(&part.table)).map_err(StoreError::from)?;
            for batch in rows {
                let batch = batch.map_err(StoreError::from)?;
                digest.rows(stage, &batch, first);
                first += batch.num_rows() as u64;
            }
        }
        if let Some(locked) = lock.stages.get_mut(stage.name.as_str()) {
            let (prompts, answers) = digest.finish();
            (locked.prompts, locked.answers) = (Some(prompts), Some(answers));
        }
    }
    add_counts(lock, plan, dir);
    Ok(())
}

/// The rows of an input: those of a reshape of answers are known when the run in `dir` has made it.
pub fn rows_of(plan: &Plan, dir: &RunDir, input: Input) -> Option<u64> {
    plan.rows(input).or_else(|| match input {
        Input::Source(_) => None,
        Input::Stage(i) => {
            let stage = &plan.spec.stages[i];
            Some(rows_of(plan, dir, stage.input)? * stage.answers.fold())
        }
        Input::Reshape(i) => Some(dir.committed(&plan.spec.reshapes[i].name, 0)?.table.rows()),
    })
}

/// What the parts of a stage say together; none if one is not there.
pub fn parts_of(plan: &Plan, dir: &RunDir, stage: usize) -> Option<PartFacts> {
    let name = plan.spec.stages[stage].name.as_str();
    let mut sum = PartFacts::default();
    let rows = rows_of(plan, dir, plan.spec.stages[stage].input)?;
    for part in plan.parts(stage, rows) {
        let facts = dir.committed(name, part.number)?.facts;
        sum.answered += facts.answered;
        sum.failed += facts.failed;
        sum.skipped += facts.skipped;
        for (model, builds) in facts.replies {
            sum.replies.entry(model).or_default().extend(builds);
        }
    }
    Some(sum)
}

/// Adds the row accounting of stages and outputs and the builds that replies named, where the parts of the run are there.
pub fn add_counts(lock: &mut Lock, plan: &Plan, dir: &RunDir) {
    for i in plan.reshapes() {
        if let Some(locked) = lock.reshapes.get_mut(&plan.spec.reshapes[i].name) {
            locked.rows = rows_of(plan, dir, Input::Reshape(i));
        }
    }
    let facts: HashMap<usize, PartFacts> = plan.stages().filter_map(|i| Some((i, parts_of(plan, dir, i)?))).collect();
    for (i, facts) in &facts {
        if let Some(locked) = lock.stages.get_mut(plan.spec.stages[*i].name.as_str()) {
            locked.rows = Some(facts.answered + facts.failed + facts.skipped);
            locked.answered = Some(facts.answered);
            locked.failed = Some(facts.failed);
            locked.skipped = Some(facts.skipped);
        }
    }
    if facts.len() == plan.stages().count() {
        for (name, model) in &mut lock.models {
            let named = facts.values().filter_map(|facts| facts.replies.get(name)).flatten();
            let builds: BTreeSet<String> = named.cloned().collect();
            model.build.replies = Some(builds.into_iter().collect());
        }
    }
    for i in plan.outputs() {
        let (name, output) = plan.spec.outputs.get_index(i).expect("an index of this table");
        let Some(locked) = lock.outputs.get_mut(name.as_str()) else { continue };
        locked.rows = locked.rows.or_else(|| rows_of(plan, dir, output.input));
        let Input::Stage(stage) = output.input else { continue };
        let Some(facts) = facts.get(&stage) else { continue };
        let fold = plan.spec.stages[stage].answers.fold();
        locked.answered = Some(facts.answered * fold);
        locked.failed = Some(facts.failed * fold);
        locked.skipped = Some(facts.skipped * fold);
    }
}

/// Adds what the files of the outputs say now.
pub fn add_outputs(lock: &mut Lock, plan: &Plan) {
    for i in plan.outputs() {
        let (name, output) = plan.spec.outputs.get_index(i).expect("an index of this table");
        let Some(locked) = lock.outputs.get_mut(name.as_str()) else { continue };
        if !output.file.exists() {
            locked.content = Some("missing".to_owned());
            continue;
        }
        match read_output(&output.file, output.format) {
            Ok(content) => {
                locked.content = Some(content.hash);
                // A table without rows has no columns in JSON Lines.
                if output.format != Format::Jsonl || content.rows > 0 {
                    locked.columns = content.columns;
                }
                locked.rows = Some(content.rows);
            }
            Err(message) => locked.content = Some(format!("unreadable: {message}")),
        }
    }
}
