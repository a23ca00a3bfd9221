//! The report of `fanfold plan`: shows the sources, stages, calls and outputs of a run before it starts.

use std::fmt::{self, Display, Formatter, Write};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::import::how;
use super::summary::other_servers;
use super::text::{count, listed_briefly, number, percent};
use super::{batches, freshness, money};
use crate::lock::Freshness;
use crate::name::Name;
use crate::plan::Plan;
use crate::preview::{Amounts, Forecast, Preview, Rendered, StageEstimate, StageForecast};
use crate::source::Population;
use crate::spec::{Spec, StageSpec, TableId, TableSpec, Unwritten};
use crate::store::Batch;

/// The approximate number of bytes per token.
const BYTES: u64 = 4;
/// The most columns of a stage that the text names.
const ADDED: usize = 8;
/// The number of shared bytes after the row's text, per prompt, from which a hint is shown.
const BEHIND: u64 = 200;

/// The plan of a run and its estimated calls, as printed by `fanfold plan`.
pub struct PlanReport {
    pub(crate) preview: Preview,
    /// The freshness of each stage that runs.
    pub(crate) stages: Vec<Freshness>,
    pub(crate) forecast: Forecast,
    /// The batches that are at providers.
    pub(crate) batches: Vec<Batch>,
}

impl Display for PlanReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())?;
        f.write_str(&self.prompts())
    }
}

impl PlanReport {
    /// Everything but the prompts.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a text does not fail.
        let _ = self.write_all(&mut out);
        out
    }

    /// The prompts as they would be sent.
    pub(crate) fn prompts(&self) -> String {
        let mut out = String::new();
        let _ = self.preview.rendered.iter().try_for_each(|rendered| write_prompt(&mut out, rendered));
        out
    }

    fn write_all(&self, f: &mut String) -> fmt::Result {
        let plan = &self.preview.plan;
        let spec = &plan.spec;
        writeln!(f, "pipeline {}", spec.name)?;
        write_sources(f, plan)?;
        for i in plan.transforms().filter(|i| spec.first_universe(*i).is_none()) {
            let transform = spec.transform(i);
            let kind = transform.transform.info.kind.to_owned();
            let rows = rows_of(plan, i);
            let inputs = input_names(spec, &transform.inputs).join(" and ");
            writeln!(f, "  {kind} {}: {rows}, of {inputs}, no calls", transform.name)?;
        }
        for Unwritten { stage, model, n, .. } in &spec.unwritten {
            writeln!(f, "  {model} writes {} of the prompt for {stage} first", count(*n as u64, "wording"))?;
        }
        for (at, i) in plan.stages().enumerate() {
            match &spec.stage(i).grid {
                None => self.write_stage(f, at, i)?,
                Some(grid) => self.write_universe(f, at, i, grid)?,
            }
        }
        self.write_forecast(f)?;
        for i in plan.outputs() {
            let output = &spec.outputs[i];
            let columns = count(output.columns.len() as u64, "column");
            let (rows, input) = (rows_of(plan, output.input), spec.table_name(output.input));
            match output.codebook {
                true => writeln!(f, "  codebook {}: {columns} of {input}", output.path)?,
                false => writeln!(f, "  output {}: {rows}, {columns} of {input}", output.path)?,
            }
        }
        if let Some(replay) = &self.preview.replay {
            writeln!(f, "  answers of {} count with those in the ledger", replay.display())?;
        }
        Ok(())
    }
}

fn write_sources(f: &mut String, plan: &Plan) -> fmt::Result {
    for (id, source) in plan.spec.sources() {
        let Some(facts) = plan.sources.get(&id) else { continue };
        let columns = source.relation.schema.fields().len() as u64;
        let paths = source.source.paths().into_iter().map(|(_, path)| path);
        let from: Vec<String> = source.source.population().map(Population::about).into_iter().chain(paths).collect();
        let (rows, columns) = (count(facts.rows, "row"), count(columns, "column"));
        let from = if from.is_empty() { "in the spec".to_owned() } else { from.join(", ") };
        writeln!(f, "  source {}: {rows}, {columns} ({from})", source.name)?;
        for reading in facts.import.iter().flat_map(|import| &import.files).filter(|file| !file.detected.is_empty()) {
            writeln!(f, "    {}", how(reading))?;
        }
    }
    Ok(())
}

impl PlanReport {
    fn write_stage(&self, f: &mut String, at: usize, i: TableId) -> fmt::Result {
        let plan = &self.preview.plan;
        let (stage, known, fresh) = (plan.spec.stage(i), &self.preview.stages[at], &self.stages[at]);
        let input = plan.spec.table_name(stage.input);
        let how = match stage.answers.fanned_out() {
            true => "each by",
            false if stage.answers.models > 1 => "shared by",
            false => "asked of",
        };
        let (rows, models) = (rows_of(plan, stage.input), stage.models_in_words());
        writeln!(f, "  stage {}: {rows} of {input}, {how} {models}", stage.name)?;
        let free = [(known.skipped, "skipped"), (known.complete, "complete already")];
        let free = free.into_iter().filter(|(rows, _)| *rows > 0);
        let free: String = free.map(|(rows, why)| format!(", {} {why}", count(rows, "row"))).collect();
        let calls = match plan.rows(stage.input) {
            // Without the build of a model, its calls can't be found.
            Some(_) if fresh.is_kept && known.from_ledger == 0 => {
                format!("{}, none needed: the rows are kept{free}", self.calls(stage, at))
            }
            Some(_) => format!("{}, {} in the ledger{free}", self.calls(stage, at), number(known.from_ledger)),
            None => "calls not known yet".to_owned(),
        };
        let parts = parts(plan, i).map_or("parts".to_owned(), |parts| count(parts, "part"));
        let (chunk, lanes) = (count(stage.chunk_size, "row"), stage.workers * stage.batch_size);
        writeln!(f, "    {calls}; {parts} of up to {chunk}, {lanes} in flight")?;
        write_tokens(f, stage, known)?;
        if known.other_servers > 0 {
            writeln!(f, "    {}", other_servers(known.other_servers))?;
        }
        self.write_money(f, at)?;
        if known.unknown > 0 {
            let rows = count(known.unknown, "row");
            writeln!(f, "    the prompts of {rows} depend on answers of {input} that are not known yet")?;
        }
        writeln!(f, "    adds {}", listed_briefly(&added(&self.preview, i), ADDED))?;
        writeln!(f, "    {}{}", freshness::words(fresh), freshness::reasons(fresh))
    }

    /// Writes a line about a universe; before the first one, what its grid adds up to.
    fn write_universe(&self, f: &mut String, at: usize, i: TableId, grid: &Name) -> fmt::Result {
        let plan = &self.preview.plan;
        let (stage, known, fresh) = (plan.spec.stage(i), &self.preview.stages[at], &self.stages[at]);
        let of_grid = |id: &TableId| plan.spec.stage(*id).grid.as_ref() == Some(grid);
        let all: Vec<usize> = plan.stages().enumerate().filter(|(_, id)| of_grid(id)).map(|(at, _)| at).collect();
        if all[0] == at {
            let (universes, rows) = (count(all.len() as u64, "universe"), rows_of(plan, stage.input));
            let input = plan.spec.table_name(stage.input);
            writeln!(f, "  grid {grid}: {universes}, each of {rows} of {input}")?;
            let calls = all.iter().map(|at| self.preview.calls(*at)).sum();
            let sum = |of: fn(&StageEstimate) -> u64| all.iter().map(|at| of(&self.preview.stages[*at])).sum::<u64>();
            let shared = match sum(|known| known.shared) {
                0 => String::new(),
                shared => format!("; {} more equal one of them", number(shared)),
            };
            let ledger = number(sum(|known| known.from_ledger));
            writeln!(f, "    at most {}, {ledger} in the ledger{shared}", count(calls, "call"))?;
            let amounts = Amounts::sum(all.iter().map(|at| &self.forecast.stages[*at].amounts));
            if amounts.calls > 0 {
                writeln!(f, "    {}\n    {}", money::cost_and_time(&amounts), money::tokens(&amounts))?;
            }
            writeln!(f, "    adds {}", listed_briefly(&added(&self.preview, i), ADDED))?;
        }
        let name = stage.name.as_str();
        let own = name.strip_prefix(grid.as_str()).and_then(|name| name.strip_prefix('.'));
        let (name, models) = (own.unwrap_or(name), stage.model_names.join(", "));
        let calls = format!("{}, {} in the ledger", self.calls(stage, at), number(known.from_ledger));
        let words = format!("{}{}", freshness::words(fresh), freshness::reasons(fresh));
        writeln!(f, "    {name}: {models}; {calls}; {words}")
    }

    /// What the calls of a stage will cost, and why.
    fn write_money(&self, f: &mut String, at: usize) -> fmt::Result {
        let StageForecast { models, amounts } = &self.forecast.stages[at];
        if amounts.calls == 0 {
            return Ok(());
        }
        writeln!(f, "    {}\n    {}", money::cost_and_time(amounts), money::tokens(amounts))?;
        for model in models {
            let [price, sizes] = money::basis(model);
            writeln!(f, "      {price}\n        {sizes}")?;
        }
        Ok(())
    }

    fn write_forecast(&self, f: &mut String) -> fmt::Result {
        let plan = &self.preview.plan;
        let amounts = self.forecast.amounts();
        let open: Vec<&str> = plan
            .stages()
            .map(|id| plan.spec.stage(id))
            .filter(|stage| plan.rows(stage.input).is_none())
            .map(|stage| stage.name.as_str())
            .collect();
        if amounts.calls > 0 {
            let calls = count(amounts.calls, "call");
            writeln!(f, "  in all: at most {calls} to send; {}", money::cost_and_time(&amounts))?;
        }
        if let Some(open) = batches::open(&self.batches).filter(|_| amounts.calls > 0) {
            writeln!(f, "  {open}: those of them that this run needs are counted here, and not sent again")?;
        }
        if let Some(known) = money::known_part(&self.forecast) {
            writeln!(f, "  {known}")?;
        }
        if !open.is_empty() {
            writeln!(f, "  not counted: the calls of {}, whose rows are not known yet", open.join(", "))?;
        }
        money::warnings(&self.forecast, &plan.spec.budget).iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        if amounts.calls > 0 && amounts.seconds.is_none() {
            writeln!(f, "  to measure replies and times: fanfold run SPEC --pilot 20")?;
        }
        Ok(())
    }

    fn calls(&self, stage: &StageSpec, at: usize) -> String {
        let calls = count(self.preview.calls(at), "call");
        let info = &stage.stage.info;
        if info.most_sub_prompts > 0 && self.preview.calls(at) > 0 {
            // A row needs one call or more.
            let least = self.preview.calls(at).div_ceil(info.most_prompts);
            return format!("{} to {calls}", number(least));
        }
        if !stage.packs() {
            return format!("at most {calls}");
        }
        let audit = stage.audit.map(|audit| format!(" and an audit of {}", count(audit.rows.get().into(), "row")));
        let rows = stage.rows_per_prompt;
        format!("{rows} rows a prompt, {calls} if every reply is valid{}", audit.unwrap_or_default())
    }
}

/// The approximate number of tokens in the first prompts of a stage, and the number that a prefix cache saves.
fn write_tokens(f: &mut String, stage: &StageSpec, known: &StageEstimate) -> fmt::Result {
    let said = &known.bytes;
    if said.prompts == 0 {
        return Ok(());
    }
    let tokens = |bytes: u64| number(bytes * stage.width() as u64 / BYTES);
    let rows = if known.unknown > 0 { " of the known rows" } else { "" };
    let single = match stage.packs() {
        true => format!(", {} with one row a prompt", tokens(known.packs.single_bytes)),
        false => String::new(),
    };
    let cached = match said.shared {
        0 => String::new(),
        shared => {
            let share = percent(shared as f64 / said.bytes.max(1) as f64);
            format!(", {} on a server with a prefix cache ({share} shared)", tokens(said.read()))
        }
    };
    let all = tokens(said.bytes);
    writeln!(f, "    first prompts{rows}: about {all} tokens{single}{cached}")?;
    let behind = said.behind / said.prompts;
    if behind >= BEHIND {
        writeln!(
            f,
            "    hint: {} tokens of each prompt are the same for all rows but follow the row's text; move them to the \
             front or into `system`, so that all prompts share one beginning",
            number(behind / BYTES)
        )?;
    }
    Ok(())
}

fn rows_of(plan: &Plan, input: TableId) -> String {
    plan.rows(input).map_or("rows not known yet".to_owned(), |rows| count(rows, "row"))
}

fn parts(plan: &Plan, stage: TableId) -> Option<u64> {
    plan.rows(plan.spec.stage(stage).input).map(|rows| plan.parts(stage, rows).count() as u64)
}

fn added(preview: &Preview, stage: TableId) -> Vec<&str> {
    let stage = preview.plan.spec.stage(stage);
    stage.relation.schema.fields().iter().skip(stage.given).map(|f| f.name().as_str()).collect()
}

/// The names of the inputs. A transform may read an input twice.
fn input_names<'a>(spec: &'a Spec, inputs: &[TableId]) -> Vec<&'a str> {
    let mut names: Vec<&str> = inputs.iter().map(|input| spec.table_name(*input)).collect();
    names.dedup();
    names
}

fn write_prompt(f: &mut String, rendered: &Rendered) -> fmt::Result {
    writeln!(f, "\n--- stage {}, row {}", rendered.stage, rendered.row)?;
    let prompt = match &rendered.prompt {
        Err(message) => return writeln!(f, "can't be rendered: {message}"),
        Ok(prompt) => prompt,
    };
    for message in &prompt.messages {
        let role = format!("{:?}", message.role).to_lowercase();
        writeln!(f, "[{role}]\n{}", message.content)?;
    }
    match prompt.schema.as_deref() {
        Some(schema) => writeln!(f, "[schema]\n{schema}"),
        None => Ok(()),
    }
}

impl Serialize for PlanReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let plan = &self.preview.plan;
        let spec = &plan.spec;
        let sources = spec.sources().filter_map(|(id, source)| {
            let facts = plan.sources.get(&id)?;
            Some(json!({ "name": source.name, "rows": facts.rows, "content": facts.content, "import": facts.import }))
        });
        let transforms = plan.transforms().map(|i| {
            let transform = spec.transform(i);
            let inputs = input_names(spec, &transform.inputs);
            json!({ "name": transform.name, "inputs": inputs, "rows": plan.rows(i) })
        });
        let outputs = plan.outputs().map(|i| {
            let output = &spec.outputs[i];
            json!({
                "path": output.path, "input": input_json(spec, output.input),
                "rows": plan.rows(output.input), "columns": output.columns.len(),
            })
        });
        let prompts = self.preview.rendered.iter().map(|r| match &r.prompt {
            Ok(prompt) => json!({
                "stage": r.stage, "row": r.row, "messages": prompt.messages, "schema": prompt.schema.as_deref(),
            }),
            Err(message) => json!({ "stage": r.stage, "row": r.row, "error": message }),
        });
        let stages = plan.stages().enumerate().map(|(at, i)| self.stage_json(at, i));
        let value = json!({
            "schema_version": 1, "pipeline": spec.name, "replay": self.preview.replay, "spec_hash": plan.spec_hash, "run": plan.run_name(),
            "sources": sources.collect::<Vec<_>>(), "reshapes": transforms.collect::<Vec<_>>(),
            "stages": stages.collect::<Vec<_>>(), "outputs": outputs.collect::<Vec<_>>(),
            "unwritten": spec.unwritten.iter().map(unwritten).collect::<Vec<_>>(),
            "batches": self.batches.iter().map(batches::value).collect::<Vec<_>>(),
            "forecast": self.forecast_json(), "prompts": prompts.collect::<Vec<_>>(),
        });
        value.serialize(serializer)
    }
}

impl PlanReport {
    fn stage_json(&self, at: usize, i: TableId) -> Value {
        let (plan, fresh, known) = (&self.preview.plan, &self.stages[at], &self.preview.stages[at]);
        let (stage, rows) = (plan.spec.stage(i), plan.rows(plan.spec.stage(i).input));
        let mut value = json!({
            "name": stage.name, "input": input_json(&plan.spec, stage.input),
            "models": stage.model_names, "fanout": stage.answers.fanned_out(), "rows": rows,
            "calls": rows.map(|_| self.preview.calls(at)), "from_ledger": known.from_ledger, "skipped": known.skipped,
            "complete": known.complete, "rows_per_prompt": stage.rows_per_prompt,
            "prompt_bytes": known.bytes.bytes, "prompt_bytes_shared_beginnings": known.bytes.shared,
            "prompt_bytes_with_prefix_cache": known.bytes.read(), "prompt_bytes_shared_behind_rows": known.bytes.behind,
            "prompt_bytes_without_packing": stage.packs().then_some(known.packs.single_bytes),
            "not_known_yet": known.unknown, "perhaps_of_other_servers": known.other_servers, "parts": parts(plan, i), "adds": added(&self.preview, i),
            "state": freshness::word(fresh.state), "why": fresh.why,
            "calls_to_send": fresh.to_send, "forecast": self.stage_forecast_json(at),
        });
        if let Some(grid) = &stage.grid {
            (value["grid"], value["equal_calls"]) = (json!(grid), json!(known.shared));
        }
        value
    }

    fn stage_forecast_json(&self, at: usize) -> Value {
        let StageForecast { models, amounts } = &self.forecast.stages[at];
        let mut json = money::amounts_json(amounts);
        json["models"] = models.iter().map(money::model_json).collect();
        json
    }

    fn forecast_json(&self) -> Value {
        let earlier = self.forecast.earlier;
        let mut json = money::amounts_json(&self.forecast.amounts());
        json["spent_before"] =
            json!(earlier.map(|cost| json!({ "calls": cost.calls, "tokens": cost.tokens, "usd": cost.usd })));
        json["warnings"] = json!(money::warnings(&self.forecast, &self.preview.plan.spec.budget));
        json
    }
}

fn unwritten(Unwritten { stage, model, n, .. }: &Unwritten) -> Value {
    json!({ "stage": stage, "model": model, "wordings": n })
}

fn input_json(spec: &Spec, input: TableId) -> Value {
    let kind = if matches!(spec.table(input), TableSpec::Source(_)) { "source" } else { "stage" };
    json!({ "kind": kind, "name": spec.table_name(input) })
}
