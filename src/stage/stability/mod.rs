//! `type = "stability"`: whether a model gives the same answers when it is asked again, and when the prompt has other
//! words (Barrie, Palaiologou and Törnberg, Prompt Stability Scoring for Text Annotation with Large Language Models, 2024).
//!
//! The spec asks the stage with each wording, as the universes of a grid (`src/spec/stability.rs`). This folder measures
//! the answers.

mod measure;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::measure::Measuring;
use super::agreement::{Alpha, Checks, Level};
use super::method::columns::{Read, Reading};
use super::method::frame::Frame;
use super::method::settings::{BootstrapSettings, Confidence, read_column};
use super::transform::{InputTable, Transform, TransformConfig, TransformContext};
use super::universes::UNIVERSE;
use super::wordings::{Paraphrase, Wordings, ten};
use crate::document::Problems;
use crate::registry::Kind;

pub(crate) const KIND: Kind<Box<dyn TransformConfig>> = Kind::new::<Stability>(
    "stability",
    "Whether a stage gives the same answers when it is asked again, and when its prompt has other words.",
);

/// Whether a stage gives the same answers when it is asked again, and when its prompt has other words (prompt stability,
/// Barrie, Palaiologou and Törnberg 2024). The stage is asked with its own prompt `replicates` times, and with each other
/// wording. The table has a row for each statistic: the columns of `by`, `statistic`, `model` and `temperature` (where
/// they vary), `compared`, `estimate`, `std_error`, `ci_low`, `ci_high`, `level` (of the interval), `n` (units with two
/// answers or more), `left_out` (other units), `method` and `note`. `intra_alpha` is Krippendorff's alpha of the
/// replicates of the stage's own prompt; `inter_alpha` is that of all wordings. All answers are in the table
/// `<stage>.answers`, which outputs and other stages can read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stability {
    /// The stage whose prompt is varied. It asks models, and has a `prompt` and no grid.
    input: String,
    /// The source or the stage with the rows to ask about, such as a sample. Default: the input of that stage.
    rows: Option<String>,
    /// The column of the stage with the answer.
    value: String,
    /// The column that names the unit. Default: the key of the rows.
    unit: Option<String>,
    /// A file with other wordings of the prompt, separated by lines of `---`; relative to the spec.
    wordings_file: Option<String>,
    /// Lets a model write other wordings, once. They are then part of the lock.
    paraphrase: Option<Paraphrase>,
    /// How often each row is asked with the stage's own prompt. Default: 10.
    #[serde(default = "ten")]
    replicates: NonZeroU32,
    /// How often each row is asked with each other wording. Default: 1.
    #[serde(default = "one")]
    wording_replicates: NonZeroU32,
    /// Temperatures of the stage's models, which are measured one by one. Default: that of the models.
    #[serde(default)]
    temperatures: Vec<f64>,
    /// What the answers are: `nominal` (labels, or lists of labels), `ordinal` (labels in an `order`, or numbers),
    /// `interval` (numbers) or `ratio` (numbers from 0). Default: `nominal`.
    #[serde(default)]
    level: Level,
    /// The labels from the lowest to the highest, for `level = "ordinal"`.
    order: Option<Vec<String>>,
    /// Columns of the rows whose groups are looked at one by one too.
    #[serde(default)]
    by: Vec<String>,
    /// The bootstrap of units. Default: 2000 replicates.
    #[serde(default)]
    bootstrap: BootstrapSettings,
    /// The confidence of the intervals, between 0 and 1. Default: 0.95.
    #[serde(default)]
    confidence: Confidence,
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

impl Stability {
    /// The unit, by default the key of the rows.
    fn unit(&self, input: &InputTable<'_>, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Read> {
        if let Some(name) = &self.unit {
            return read_column(input, context.path.key("unit"), name, Reading::Name, problems);
        }
        let key = input.origins.iter().position(|origin| origin.key == Some(origin.place));
        if key.is_none() && !input.origins.is_empty() {
            problems
                .error(
                    "missing-field",
                    context.path.clone(),
                    "the rows have no key, so that their answers can't be matched",
                )
                .help("write `key` in their source, or `unit` with the column that names a row");
        }
        Some(Read::Column(key.unwrap_or(0), Reading::Name))
    }

    /// The columns of the prompt, the model, the temperature and the replicate, if they vary. The first three are axes of
    /// the grid, in this order.
    fn varying(&self, input: &InputTable<'_>) -> [Option<usize>; 4] {
        let has_wordings = self.wordings_file.is_some() || self.paraphrase.is_some();
        let mut next = input.schema.index_of(UNIVERSE).map_or(input.schema.fields().len(), |universe| universe + 1);
        let mut take = |name: &str, varies: bool| {
            let here = next;
            let is_there = varies && input.schema.fields().get(here).is_some_and(|field| field.name() == name);
            next += usize::from(is_there);
            is_there.then_some(here)
        };
        let prompt = take("prompt", true);
        let prompt = prompt.filter(|_| has_wordings);
        let model = take("model", true);
        let temperature = take("temperature", !self.temperatures.is_empty());
        take("replicates", has_wordings && self.replicates != self.wording_replicates);
        [prompt, model, temperature, take("replicate", self.replicates.max(self.wording_replicates).get() > 1)]
    }
}

impl TransformConfig for Stability {
    fn inputs(&self) -> Vec<(&'static str, &str)> {
        let rows = self.rows.as_deref().map(|rows| ("rows", rows));
        [("input", self.input.as_str())].into_iter().chain(rows).collect()
    }

    fn wordings(&self) -> Option<Wordings<'_>> {
        Some(Wordings {
            stage: &self.input,
            rows: self.rows.as_deref(),
            file: self.wordings_file.as_deref(),
            paraphrase: self.paraphrase.as_ref(),
            replicates: self.replicates.get(),
            others: self.wording_replicates.get(),
            temperatures: &self.temperatures,
        })
    }

    fn bind(&self, context: &TransformContext<'_>, problems: &mut Problems) -> Option<Transform> {
        let input = context.inputs.first()?;
        let before = problems.mark();
        let field = input.schema.field_with_name(&self.value).ok();
        let bootstrap = self.bootstrap.bootstrap(context.seed, KIND.name, self.confidence);
        let mut checks = Checks { path: context.path, problems: &mut *problems };
        let spread = (bootstrap, self.confidence.0);
        let alpha = Alpha::new(self.level, self.order.clone(), field, spread, &mut checks);
        let value = read_column(input, context.path.key("value"), &self.value, alpha.reading(), problems);
        let unit = self.unit(input, context, problems);
        let mut reads: Vec<Read> = [value, unit].into_iter().flatten().collect();
        if problems.had_errors_since(before) {
            return None;
        }
        let [prompt, model, temperature, replicate] = self.varying(input).map(|column| {
            reads.push(Read::Column(column?, Reading::Name));
            Some(reads.len() - 1)
        });
        let frame = Frame {
            kind: KIND.name,
            of: &["model", "temperature", "compared"],
            by: &self.by,
            reads,
            merge: false,
            confidence: self.confidence,
            settings: json!(Stability { input: String::new(), rows: None, ..self.clone() }),
            method: Box::new(Measuring {
                alpha,
                prompt,
                model,
                temperature,
                replicate,
                others: self.wording_replicates.get() as usize,
            }),
        };
        frame.bind(context, problems)
    }
}
