//! `fanfold plan`

use std::fmt::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::exit::Exit;
use super::load::load_or_show;
use super::run::failed;
use super::standing::{self, lock_of};
use super::terminal::Terminal;
use crate::lock::{Freshness, Lock, freshness};
use crate::plan::{self, Selection, draw};
use crate::report::drift;
use crate::report::summary::{count, number};
use crate::run::preview::{Known, Preview, Rendered, preview};
use crate::source::Population;
use crate::spec::{Spec, StageSpec, TableId, TableSpec};
use crate::store::Project;

/// Bytes of a token of words, about.
const BYTES: u64 = 4;
/// Bytes of the same words behind every row's text that are worth a hint.
const BEHIND: u64 = 200;

/// Shows what a run would do: stages, rows, calls, and how many of them the ledger answers. Sends and writes nothing.
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// The spec.
    #[arg(value_name = "SPEC")]
    spec: PathBuf,
    /// Show N prompts of each stage as they would be sent.
    #[arg(long, value_name = "N", default_value_t = 0)]
    render: usize,
    /// Only the first N rows of each source.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only this stage and what it reads; can be given several times.
    #[arg(long, value_name = "STAGE")]
    select: Vec<String>,
    /// How the plan is shown.
    #[arg(long, value_enum, default_value = "human")]
    format: Format,
}

/// How a plan is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Human,
    /// One JSON object.
    Json,
    /// A Mermaid flowchart.
    Mermaid,
}

impl Plan {
    /// Runs the command.
    pub fn run(self, terminal: &Terminal) -> Exit {
        let Some(spec) = load_or_show(&self.spec, terminal) else { return Exit::Spec };
        let selection = Selection { stages: self.select, limit: self.limit };
        let lock = lock_of(&self.spec, terminal);
        show(spec, &selection, lock, self.render, self.format, terminal)
    }
}

/// Shows the plan of a spec, whose lock is `lock`.
pub fn show(
    spec: Spec,
    selection: &Selection,
    lock: Option<Lock>,
    render: usize,
    format: Format,
    terminal: &Terminal,
) -> Exit {
    let project = Project::of(&spec.folder);
    let preview = match preview(spec, selection, &project, &|name: &str| std::env::var(name).ok(), render) {
        Ok(preview) => preview,
        Err(error) => return failed(&error, terminal),
    };
    let stages =
        |preview: &Preview| freshness(&preview.plan, &preview.outlooks(), &preview.lock, lock.clone(), &project);
    match format {
        Format::Human => terminal.text(&human(&preview, &stages(&preview))),
        Format::Json => {
            let shown = as_json(&preview, stages(&preview));
            terminal.json(&(serde_json::to_string_pretty(&shown).unwrap_or_default() + "\n"));
        }
        Format::Mermaid => terminal.text(&draw::mermaid(&preview.plan)),
    }
    Exit::Ok
}

fn human(preview: &Preview, standings: &[Freshness]) -> String {
    let plan = &preview.plan;
    let spec = &plan.spec;
    let mut out = format!("pipeline {}\n", spec.name);
    for (id, source) in spec.sources() {
        if let Some(facts) = plan.sources.get(&id) {
            let columns = source.relation.schema.fields().len() as u64;
            let paths = source.source.paths().into_iter().map(|(_, path)| path);
            let from: Vec<String> =
                source.source.population().map(Population::about).into_iter().chain(paths).collect();
            let (rows, columns) = (count(facts.rows, "row"), count(columns, "column"));
            let _ = writeln!(out, "  source {}: {rows}, {columns} ({})", source.name, from.join(", "));
        }
    }
    for i in plan.reshapes() {
        let reshape = spec.reshape(i);
        let inputs: Vec<&str> = reshape.inputs.iter().map(|input| spec.table_name(*input)).collect();
        let kind = reshape.reshape.meaning()["type"].as_str().unwrap_or_default().to_owned();
        let rows = rows_of(plan, i);
        let _ = writeln!(out, "  {kind} {}: {rows}, of {}, no calls", reshape.name, inputs.join(" and "));
    }
    for (at, (i, known)) in plan.stages().zip(&preview.stages).enumerate() {
        let stage = spec.stage(i);
        let how = match stage.answers.fanned_out() {
            true => "each by",
            false if stage.models.len() > 1 => "shared by",
            false => "asked of",
        };
        let rows = rows_of(plan, stage.input);
        let models = stage.model_names.join(", ");
        let _ = writeln!(out, "  stage {}: {rows} of {}, {how} {models}", stage.name, spec.table_name(stage.input));
        let free = [(known.skipped, "skipped"), (known.complete, "complete already")];
        let free = free.into_iter().filter(|(rows, _)| *rows > 0);
        let free: String = free.map(|(rows, why)| format!(", {} {why}", count(rows, "row"))).collect();
        let calls = count(preview.calls(at), "call");
        let calls = match stage.packs() {
            false => format!("at most {calls}"),
            true => {
                let packed =
                    format!("{} rows a prompt, {calls} if every answer comes back well", stage.rows_per_prompt);
                let audit =
                    stage.audit.map(|audit| format!(" and an audit of {}", count(audit.rows.get().into(), "row")));
                packed + &audit.unwrap_or_default()
            }
        };
        let _ = writeln!(
            out,
            "    {}; {} of up to {}, {} in flight",
            match plan.rows(stage.input) {
                Some(_) => format!("{calls}, {} in the ledger{free}", number(known.from_ledger)),
                None => "calls not known yet".to_owned(),
            },
            parts(plan, i).map_or("parts".to_owned(), |parts| count(parts, "part")),
            count(stage.chunk_size, "row"),
            stage.workers * stage.batch_size,
        );
        said(&mut out, stage, known);
        if known.unknown > 0 {
            let rows = count(known.unknown, "row");
            let _ = writeln!(
                out,
                "    {rows} wait for answers of {}, which are not known yet",
                spec.table_name(stage.input)
            );
        }
        let columns: Vec<&str> = added(preview, i);
        let _ = writeln!(out, "    adds {}", columns.join(", "));
        let _ = writeln!(out, "    {}", standing::words(&standings[at]));
        out += &drift::lines(&standings[at].why, "      ");
    }
    for i in plan.outputs() {
        let output = &spec.outputs[i];
        let columns = spec.relation(output.input).schema.fields().len() as u64;
        let (rows, columns) = (rows_of(plan, output.input), count(columns, "column"));
        let _ = writeln!(out, "  output {}: {rows}, {columns} of {}", output.path, spec.table_name(output.input));
    }
    for rendered in &preview.rendered {
        prompt(&mut out, rendered);
    }
    out
}

/// About how many tokens the first prompts of a stage have, and what is saved of them.
fn said(out: &mut String, stage: &StageSpec, known: &Known) {
    let said = &known.said;
    if said.prompts == 0 {
        return;
    }
    let of = |bytes: u64| number(bytes * stage.width() as u64 / BYTES);
    let rows = if known.unknown > 0 { " about the rows that are known" } else { "" };
    let single = match stage.packs() {
        true => format!("; {} if each row had its own", of(known.packs.single_bytes)),
        false => String::new(),
    };
    let shared = match said.shared {
        0 => String::new(),
        shared => format!(", {} of them shared at the start: {} with a prefix cache", of(shared), of(said.read())),
    };
    let all = of(said.bytes);
    let _ = writeln!(out, "    first prompts{rows} of about {all} tokens (a token for {BYTES} bytes{single}){shared}");
    let behind = said.behind / said.prompts;
    if behind >= BEHIND {
        let _ = writeln!(
            out,
            "    hint: {} tokens of each prompt are the same for all rows but stand behind the row's text; put first, or into \
             `system`, they are part of the beginning that all share",
            number(behind / BYTES)
        );
    }
}

/// The rows of an input, in words.
fn rows_of(plan: &plan::Plan, input: TableId) -> String {
    plan.rows(input).map_or("rows not known yet".to_owned(), |rows| count(rows, "row"))
}

/// How many parts a stage has, where its rows are known.
fn parts(plan: &plan::Plan, stage: TableId) -> Option<u64> {
    plan.rows(plan.spec.stage(stage).input).map(|rows| plan.parts(stage, rows).count() as u64)
}

/// The columns that a stage adds to its input.
fn added(preview: &Preview, stage: TableId) -> Vec<&str> {
    let spec = &preview.plan.spec;
    let stage = spec.stage(stage);
    stage.relation.schema.fields().iter().skip(stage.given).map(|f| f.name().as_str()).collect()
}

fn prompt(out: &mut String, rendered: &Rendered) {
    let _ = writeln!(out, "\n--- stage {}, row {}", rendered.stage, rendered.row);
    match &rendered.prompt {
        Err(message) => {
            let _ = writeln!(out, "can't be rendered: {message}");
        }
        Ok(prompt) => {
            for message in &prompt.messages {
                let role = format!("{:?}", message.role).to_lowercase();
                let _ = writeln!(out, "[{role}]\n{}", message.content);
            }
            if let Some(schema) = prompt.schema.as_deref() {
                let _ = writeln!(out, "[schema]\n{schema}");
            }
        }
    }
}

fn as_json(preview: &Preview, standings: Vec<Freshness>) -> Value {
    let plan = &preview.plan;
    let spec = &plan.spec;
    let kind = |input: TableId| match spec.table(input) {
        TableSpec::Source(_) => "source",
        TableSpec::Stage(_) | TableSpec::Reshape(_) => "stage",
    };
    let sources = spec.sources().filter_map(|(id, source)| {
        let facts = plan.sources.get(&id)?;
        Some(json!({ "name": source.name, "rows": facts.rows, "content": facts.content }))
    });
    let stages = plan.stages().zip(&preview.stages).zip(standings).enumerate().map(|(at, ((i, known), standing))| {
        let (stage, calls) = (spec.stage(i), preview.calls(at));
        json!({
            "name": stage.name, "input": { "kind": kind(stage.input), "name": spec.table_name(stage.input) },
            "models": stage.model_names, "fanout": stage.answers.fanned_out(), "rows": plan.rows(stage.input),
            "calls": plan.rows(stage.input).map(|_| calls), "from_ledger": known.from_ledger, "skipped": known.skipped,
            "complete": known.complete, "rows_per_prompt": stage.rows_per_prompt,
            "prompt_bytes": known.said.bytes, "prompt_bytes_shared_beginnings": known.said.shared,
            "prompt_bytes_with_prefix_cache": known.said.read(), "prompt_bytes_shared_behind_rows": known.said.behind,
            "prompt_bytes_without_packing": stage.packs().then_some(known.packs.single_bytes),
            "not_known_yet": known.unknown, "parts": parts(plan, i), "adds": added(preview, i),
            "state": standing::word(standing.state), "why": standing.why,
            "calls_to_send": standing.is_counted.then_some(standing.to_send),
        })
    });
    let outputs = plan.outputs().map(|i| {
        let output = &spec.outputs[i];
        json!({
            "path": output.path, "input": { "kind": kind(output.input), "name": spec.table_name(output.input) },
            "rows": plan.rows(output.input), "columns": spec.relation(output.input).schema.fields().len(),
        })
    });
    let prompts = preview.rendered.iter().map(|r| match &r.prompt {
        Ok(prompt) => json!({
            "stage": r.stage, "row": r.row, "messages": prompt.messages, "schema": prompt.schema.as_deref(),
        }),
        Err(message) => json!({ "stage": r.stage, "row": r.row, "error": message }),
    });
    let reshapes = plan.reshapes().map(|i| {
        let reshape = spec.reshape(i);
        let inputs: Vec<&str> = reshape.inputs.iter().map(|input| spec.table_name(*input)).collect();
        json!({ "name": reshape.name, "inputs": inputs, "rows": plan.rows(i) })
    });
    json!({
        "schema_version": 1, "pipeline": spec.name, "spec_hash": plan.spec_hash, "run": plan.run_name(),
        "sources": sources.collect::<Vec<_>>(), "reshapes": reshapes.collect::<Vec<_>>(), "stages": stages.collect::<Vec<_>>(),
        "outputs": outputs.collect::<Vec<_>>(), "prompts": prompts.collect::<Vec<_>>(),
    })
}
