//! The section on methods: a paragraph and a checklist for a paper, filled from recorded facts only.

use serde_json::{Map, Value};

use super::super::Subject;
use super::super::content::{Block, Check, CheckMark, Section};
use super::head::second;
use crate::report::findings;
use crate::report::text::{count, number, usd};
use crate::store::{Manifest, ModelEntry, RowCounts, StageTotals};

const NOT_RECORDED: &str = "NOT RECORDED";
/// The statistics of a stage that the paragraph has.
const LINES: usize = 4;
/// The texts of a stage that are sent to models, by their names in its settings.
const PROMPTS: [&str; 3] = ["system", "persona", "prompt"];

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let facts = Facts::new(subject);
    let mut blocks = vec![Block::Marked { parts: marked(&facts.paragraph()) }];
    blocks.push(group("Reporting checklist", vec![Block::Checks { items: facts.checklist() }]));
    let prompts: Vec<Block> = facts.stages().flat_map(|(name, stage)| prompts(name, stage)).collect();
    if !prompts.is_empty() {
        blocks.push(group("Prompts and settings of the stages", prompts));
    }
    blocks.push(group("Citation", facts.citation()));
    Ok(Some(Section { id: "methods".to_owned(), title: "Methods".to_owned(), blocks }))
}

fn group(title: &str, blocks: Vec<Block>) -> Block {
    Block::Group { title: title.to_owned(), blocks }
}

/// A text in parts, in which what is not recorded is marked.
fn marked(text: &str) -> Vec<(String, bool)> {
    let mut parts = Vec::new();
    for (at, part) in text.split(NOT_RECORDED).enumerate() {
        parts.extend((at > 0).then(|| (NOT_RECORDED.to_owned(), true)));
        parts.extend((!part.is_empty()).then(|| (part.to_owned(), false)));
    }
    parts
}

/// The prompts of a stage as the spec writes them, and its settings.
fn prompts(name: &str, stage: &Value) -> Vec<Block> {
    let settings = &stage["stage"];
    let text = |key: &str| settings[key].as_str().or_else(|| settings[key]["template"].as_str());
    let code = |title: String, text: &str| Block::Code { title, text: text.trim_end().to_owned() };
    let shown = PROMPTS.iter().filter_map(|key| Some(code(format!("{name}: {key}"), text(key)?)));
    let mut blocks: Vec<Block> = shown.collect();
    let all = serde_json::to_string_pretty(stage).unwrap_or_default();
    let title = format!("All settings of {name} that can change an answer");
    blocks.push(Block::Fold { title: title.clone(), blocks: vec![code(title, &all)] });
    blocks
}

/// What is known about a run.
struct Facts<'a> {
    subject: &'a Subject<'a>,
    manifest: &'a Manifest,
    /// The spec's meaning, as the run recorded it.
    meaning: Value,
    /// The main statistics of the methods: the stage, its type and its lines.
    findings: Vec<(String, String, Vec<String>)>,
}

impl<'a> Facts<'a> {
    fn new(subject: &'a Subject<'a>) -> Facts<'a> {
        let manifest = subject.manifest;
        let kind = |name: &str| manifest.transforms.get(name).map(|entry| entry.kind.clone()).unwrap_or_default();
        let findings = findings::of_run(subject.plan, subject.folder);
        Facts {
            subject,
            manifest,
            meaning: subject.folder.read_spec().unwrap_or_else(|| subject.plan.spec.meaning()),
            findings: findings.into_iter().map(|(name, lines)| (name.clone(), kind(&name), lines)).collect(),
        }
    }

    /// The stages that asked models, with their settings.
    fn stages(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.manifest.stages.keys().filter_map(|name| Some((name.as_str(), self.meaning["stages"].get(name)?)))
    }

    fn setting<'b>(&'b self, stage: &str, key: &str) -> Option<&'b Value> {
        Some(&self.meaning["stages"][stage][key]).filter(|value| !value.is_null())
    }

    fn paragraph(&self) -> String {
        let run = self.manifest.name.as_deref().unwrap_or(NOT_RECORDED);
        let mut sentences = vec![format!("The data are {}.", self.data().unwrap_or(NOT_RECORDED.to_owned()))];
        sentences.extend(self.manifest.stages.iter().filter_map(|(name, totals)| match self.manifest.grid_of(name) {
            None => Some(self.asked(name, totals)),
            Some((grid, universes)) => (universes[0] == *name).then(|| self.asked_in(grid, universes)),
        }));
        sentences.extend(self.manifest.models.iter().map(|(name, model)| self.model(name, model)));
        sentences.push(match self.dates() {
            Some(dates) => format!("The models were called {dates}."),
            None => format!("The dates of the calls: {NOT_RECORDED}."),
        });
        let measures = [
            ("validation", "Compared with codes of people"),
            ("agreement", "The agreement of coders"),
            ("calibration", "The calibration of probabilities"),
            ("repeatability", "The repeatability of the answers"),
            ("estimate", "Estimates with a correction for errors of the labels"),
        ];
        sentences.extend(measures.map(|(kind, words)| format!("{words}: {}.", self.found(kind, LINES))));
        sentences.push(format!("The run {run} was made with fanfold {}.", self.manifest.fanfold));
        sentences.join(" ")
    }

    fn data(&self) -> Option<String> {
        let source = |(name, source): (&String, &crate::store::SourceEntry)| {
            let paths = source.paths.join(", ");
            let from = if paths.is_empty() { String::new() } else { format!(" ({paths})") };
            format!("{} of {name}{from}", count(source.rows, "row"))
        };
        let sources: Vec<String> = self.manifest.sources.iter().map(source).collect();
        Some(sources.join(" and ")).filter(|text| !text.is_empty())
    }

    fn asked_in(&self, grid: &str, universes: &[String]) -> String {
        let all = universes.iter().filter_map(|name| self.manifest.stages.get(name));
        let RowCounts { answered, failed, skipped } = StageTotals::sum(all).counts;
        let of_one = self.manifest.stages.get(&universes[0]).map_or(0, |totals| totals.rows);
        let input = self.manifest.tables.get(&universes[0]).map_or("", |shape| shape.input.as_str());
        format!(
            "Stage {grid} asked about {} of {input} in {}: {} answered, {} failed, {} skipped.",
            count(of_one, "row"),
            count(universes.len() as u64, "universe"),
            number(answered),
            number(failed),
            number(skipped)
        )
    }

    fn asked(&self, name: &str, totals: &StageTotals) -> String {
        let shape = self.manifest.tables.get(name);
        let (models, input) = shape.map(|shape| (shape.models.join(" and "), shape.input.as_str())).unwrap_or_default();
        let times = match shape.map_or(1, |shape| shape.replicates) {
            0 | 1 => String::new(),
            times => format!(", {times} times each"),
        };
        let packed = self.setting(name, "rows_per_prompt").map(|rows| format!(", {rows} rows in a prompt"));
        let counts = &totals.counts;
        format!(
            "Stage {name} asked {models} about {} of {input}{times}{}: {} answered, {} failed, {} skipped.",
            count(totals.rows, "row"),
            packed.unwrap_or_default(),
            number(counts.answered),
            number(counts.failed),
            number(counts.skipped),
        )
    }

    fn model(&self, name: &str, model: &ModelEntry) -> String {
        let build = model.build.digest.as_deref().unwrap_or(NOT_RECORDED);
        let sampling = self.sampling(name).unwrap_or(NOT_RECORDED.to_owned());
        format!("Model {name} is {} of {}, build {build}, with {sampling}.", model.model, model.provider)
    }

    /// The parameters of a model that the spec sets. The server decides the others.
    fn sampling(&self, model: &str) -> Option<String> {
        let sampling = self.meaning["models"][model]["model"]["sampling"].as_object()?;
        let set: Vec<String> = set_fields(sampling).collect();
        Some(match set.as_slice() {
            [] => "the parameters that its server sets".to_owned(),
            set => set.join(", "),
        })
    }

    fn dates(&self) -> Option<String> {
        let span = &self.manifest.calls;
        let (first, last) = span.first.as_ref().zip(span.last.as_ref())?;
        let (first, last) = (second(first), second(last));
        Some(if first == last { format!("at {first} UTC") } else { format!("from {first} to {last} UTC") })
    }

    /// The first main statistics of the stages of a type.
    fn found(&self, kind: &str, most: usize) -> String {
        let stages = self.findings.iter().filter(|(_, of, _)| of == kind).map(|(name, _, lines)| {
            let more = match lines.len().saturating_sub(most) {
                0 => String::new(),
                more => format!("; {more} more in the section on stage {name}"),
            };
            lines[..lines.len().min(most)].join("; ") + &more
        });
        let stages: Vec<String> = stages.collect();
        if stages.is_empty() { NOT_RECORDED.to_owned() } else { stages.join("; ") }
    }

    fn checklist(&self) -> Vec<Check> {
        let manifest = self.manifest;
        let of_models = |text: &dyn Fn(&str, &ModelEntry) -> Option<String>| {
            let known = |(name, model): (&String, &ModelEntry)| {
                format!("{name}: {}", text(name, model).unwrap_or(NOT_RECORDED.to_owned()))
            };
            Some(manifest.models.iter().map(known).collect::<Vec<_>>().join("; "))
        };
        let of_stages = |text: &dyn Fn(&str, &StageTotals) -> Option<String>| {
            let known = |(name, totals): (&String, &StageTotals)| Some(format!("{name}: {}", text(name, totals)?));
            Some(manifest.stages.iter().filter_map(known).collect::<Vec<_>>().join("; "))
        };
        let settings = |name: &str, key: &str| self.setting(name, "stage").map(|stage| stage[key].clone());
        let costs: Vec<f64> = manifest.calls.usd.into_iter().collect();
        let unknown = || None;
        let items: Vec<(&str, Option<String>)> = vec![
            ("Models and providers", of_models(&|_, model| Some(format!("{} of {}", model.model, model.provider)))),
            ("Builds of the models", of_models(&|_, model| model.build.digest.clone())),
            ("Quantization", of_models(&|_, model| model.build.quantization.clone())),
            ("Servers", of_models(&|_, model| Some(server(model)))),
            ("Parameters", of_models(&|name, _| self.sampling(name))),
            ("Dates of the calls", self.dates()),
            ("Prompts in full", Some("see below".to_owned()).filter(|_| self.stages().next().is_some())),
            (
                "Examples in the prompts",
                of_stages(&|name, _| {
                    settings(name, "examples")
                        .filter(|examples| !examples.is_null())
                        .map(|_| "yes; see the settings".to_owned())
                }),
            ),
            ("Data", self.data()),
            ("Hashes of the data", {
                let hash =
                    |(name, source): (&String, &crate::store::SourceEntry)| format!("{name}: {}", source.content);
                Some(manifest.sources.iter().map(hash).collect::<Vec<_>>().join("; "))
            }),
            (
                "Failed and skipped rows",
                of_stages(&|_, totals| {
                    Some(format!("{} failed, {} skipped", number(totals.counts.failed), number(totals.counts.skipped)))
                }),
            ),
            (
                "Attempts at a valid answer",
                of_stages(&|name, _| self.setting(name, "max_attempts").map(|most| format!("at most {most}"))),
            ),
            (
                "Answers that people corrected",
                of_stages(&|name, _| manifest.tables.get(name).map(|shape| number(shape.corrections.len() as u64))),
            ),
            ("Comparison with codes of people", self.measured("validation")),
            ("Agreement of coders", self.measured("agreement")),
            ("Calibration of probabilities", self.measured("calibration")),
            ("Repeatability", self.measured("repeatability")),
            ("Correction of estimates", self.measured("estimate")),
            ("Seed", self.meaning["seed"].as_u64().map(|seed| seed.to_string())),
            ("Cost", costs.first().map(|cost| usd(*cost))),
            ("Software", Some(format!("fanfold {}", manifest.fanfold))),
            (
                "Recorded answers for a replay",
                manifest.replay.clone().or_else(|| {
                    let file = self.subject.plan.spec.replay.as_ref()?.file_name()?;
                    Some(file.to_string_lossy().into_owned())
                }),
            ),
            ("Choice of the model and the prompt", unknown()),
            ("Ethics, consent and data protection", unknown()),
        ];
        items.into_iter().map(|(label, text)| check(label, text)).collect()
    }

    fn measured(&self, kind: &str) -> Option<String> {
        Some(self.found(kind, 1)).filter(|text| text != NOT_RECORDED)
    }

    fn citation(&self) -> Vec<Block> {
        let Manifest { fanfold, run, spec_hash, pipeline, .. } = self.manifest;
        let text = format!(
            "The labels are the tables of the pipeline {pipeline} (spec {spec_hash}, run {run}), made with fanfold {fanfold}. \
             Cite the models and the data too."
        );
        let entry = format!(
            "@software{{fanfold,\n  title = {{fanfold: language models over tables}},\n  version = {{{fanfold}}},\n  \
             note = {{run {run}}}\n}}"
        );
        vec![Block::text(text), Block::Code { title: "BibTeX".to_owned(), text: entry }]
    }
}

fn server(model: &ModelEntry) -> String {
    let software = model.build.service.software.as_ref().map(|name| format!(" ({name})"));
    format!("{}{}", model.endpoint, software.unwrap_or_default())
}

/// The fields that have a value, as `temperature 0.5`.
fn set_fields(fields: &Map<String, Value>) -> impl Iterator<Item = String> {
    let is_set = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    fields.iter().filter(move |(_, value)| is_set(value)).map(move |(name, value)| format!("{name} {}", text(value)))
}

/// A line of the checklist. It is open if something is not recorded.
fn check(label: &str, text: Option<String>) -> Check {
    let text = text.filter(|text| !text.is_empty()).unwrap_or(NOT_RECORDED.to_owned());
    let mark = if text.contains(NOT_RECORDED) { CheckMark::Open } else { CheckMark::Ok };
    Check { mark, label: label.to_owned(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_recorded_is_marked() {
        let parts =
            |text: &str| marked(text).into_iter().map(|(text, mark)| format!("{text}{mark}")).collect::<Vec<_>>();
        assert_eq!(parts("a NOT RECORDED."), ["a false", "NOT RECORDEDtrue", ".false"]);
        assert_eq!(parts("a"), ["afalse"]);
        assert_eq!(parts("NOT RECORDED"), ["NOT RECORDEDtrue"]);
    }

    #[test]
    fn a_line_without_a_fact_is_open() {
        assert_eq!((check("a", None).mark, check("a", Some(String::new())).mark), (CheckMark::Open, CheckMark::Open));
        assert_eq!(check("a", Some("b: NOT RECORDED; c: d".to_owned())).mark, CheckMark::Open);
        assert_eq!(check("a", Some("b".to_owned())).mark, CheckMark::Ok);
    }

    #[test]
    fn only_set_parameters_are_named() {
        let fields = serde_json::json!({ "temperature": 0.0, "top_p": null, "stop": [], "options": {}, "word": "a" });
        let set: Vec<String> = set_fields(fields.as_object().expect("an object")).collect();
        assert_eq!(set, ["temperature 0.0", "word a"]);
    }
}
