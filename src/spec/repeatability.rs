//! Repeatability: adds the tables that measure how often a stage gives the same answer again.

use super::columns::{Form, Relation};
use super::pipeline::Spec;
use super::resolve::Resolver;
use super::table::{StageSpec, TableSpec, TransformSpec};
use crate::document::Path;
use crate::name::Name;
use crate::stage::{Asked, Measure, MeasuredColumn, Repeats, Sample, TransformInfo};

impl Resolver<'_> {
    /// Adds the sample, the repeated stage and the comparison, in this order.
    pub(super) fn repeatability(&mut self, spec: &mut Spec, name: &Name, Repeats { stage: of, rows }: Repeats<'_>) {
        let at = Path::of(["stages", name.as_str(), "input"]);
        let Some(id) = self.find(spec, &at, of) else { return };
        let TableSpec::Stage(stage) = spec.table(id) else {
            let (message, help) = match spec.first_universe(id) {
                Some(_) => (format!("`{of}` has a grid"), "name a stage without one, or make `model.seed` an axis"),
                None => {
                    (format!("`{of}` asks no model, so it has no answers to repeat"), "name a stage that asks models")
                }
            };
            self.error("bad-value", at, message).help(help);
            return;
        };
        let stage = StageSpec { name: name.part("repeats"), audit: None, repeat: 1, ..StageSpec::clone(stage) };
        let input = spec.relation(stage.input);
        let sample = Sample {
            asked: Asked {
                stage: stage.stage.clone(),
                when: stage.when.clone(),
                guards: stage.guards.clone(),
                rows_per_prompt: stage.rows_per_prompt as usize,
            },
            rows: rows.get() as usize,
            input: input.schema.clone(),
            key: input.key,
            hidden: input.hidden,
            seed: spec.seed.unwrap_or_default(),
            name: name.to_string(),
        };
        let guards = input.guards.iter().cloned().chain([Vec::new(), Vec::new()]).collect();
        let (sampled, fold, transform) = (input.schema.fields().len(), input.fold, sample.transform());
        let relation = Relation { guards, fold, ..plain(&transform.info) };
        let inputs = vec![stage.input];
        let (name_of_sample, is_inner) = (name.part("sample").to_string(), true);
        let sample = TransformSpec { name: name_of_sample, is_inner, inputs, transform, relation };
        let sample = spec.add_table(TableSpec::Transform(sample));
        let measure = measure(of, &stage, sampled);
        let repeated =
            spec.add_table(TableSpec::Stage(Box::new(StageSpec { input: sample, corrections: None, ..stage })));
        let transform = measure.transform();
        let relation = plain(&transform.info);
        let inputs = vec![sample, repeated, id];
        let (name, is_inner) = (name.to_string(), false);
        spec.add_table(TableSpec::Transform(TransformSpec { name, is_inner, inputs, transform, relation }));
    }
}

fn plain(info: &TransformInfo) -> Relation {
    let guards = vec![Vec::new(); info.schema.fields().len()];
    Relation { schema: info.schema.clone(), guards, key: info.key, fold: 1, hidden: info.hidden }
}

/// What is compared of `stage`. `sampled` is the column of the sample that shows which rows are asked.
fn measure(name: &str, stage: &StageSpec, sampled: usize) -> Measure {
    let (info, answers, names) = (&stage.stage.info, &stage.answers, &stage.model_names);
    let writes = info.writes.len();
    let lead = stage.given + usize::from(answers.replicates > 1);
    let group = answers.group(writes);
    let groups: Vec<(usize, Option<&String>)> = match answers.form {
        Form::Wide => names.iter().enumerate().map(|(i, model)| (lead + i * group, Some(model))).collect(),
        Form::Long => vec![(lead + 1, None)],
        Form::Dealt => vec![(lead, None)],
    };
    let columns = groups.iter().flat_map(|(first, model)| {
        let answered = (0..writes).filter(|write| info.is_answer(*write));
        let written = answered.map(move |write| (first + write, &info.writes[write].name, info.labels[write].clone()));
        let filled = info.fills.iter().map(|fill| (*fill, stage.relation.schema.field(*fill).name(), Vec::new()));
        written.chain(filled).map(move |(index, name, labels)| MeasuredColumn {
            name: name.clone(),
            model: model.cloned(),
            index,
            error: first + group - 1,
            labels,
        })
    });
    let model = match answers.form {
        Form::Long => Some(lead),
        Form::Dealt if names.len() > 1 => Some(lead + writes),
        _ => None,
    };
    let (stage, models, columns) = (name.to_owned(), names.clone(), columns.collect());
    Measure { stage, models, columns, model, fold: answers.fold(), sampled }
}
