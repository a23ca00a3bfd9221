//! `type = "fill-missing"`: looks missing values of a table up in the text of each row.

mod columns;
mod filling;

use std::num::NonZeroU32;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::columns::Columns;
use self::filling::{Filling, Key};
use super::ask::{BindContext, Stage, StageConfig, StageInfo};
use super::evidence::Evidence;
use super::question::{TextColumn, Written};
use super::row_prompt::RowFields;
use crate::document::{Path, Problems};
use crate::prompt::{Field, FieldSpec, FieldType, ItemSpec};
use crate::registry::Kind;
use crate::table::Type;

pub(crate) const KIND: Kind<Box<dyn StageConfig>> = Kind::new::<FillMissing>(
    "fill-missing",
    "Values that are missing in a table, looked up in the text of each row; present values are never overwritten.",
);

/// Default replies that mean that there is no value.
const UNKNOWN: [&str; 17] = [
    "",
    "-",
    "?",
    "n/a",
    "na",
    "nan",
    "none",
    "null",
    "not applicable",
    "not available",
    "not given",
    "not mentioned",
    "not specified",
    "not stated",
    "unclear",
    "unknown",
    "unspecified",
];

/// Values that are missing in a table, looked up in the text of each row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FillMissing {
    /// The column with the text; a row where it is empty is skipped. The prompt can use it as `{{ text }}`.
    text_column: Option<String>,
    /// What is sent about a row, a Jinja template over its columns. Default: the text. The system prompt lists the
    /// keys.
    prompt: Option<String>,
    /// A file with the template, instead of `prompt`; relative to the spec.
    prompt_file: Option<String>,
    /// Columns that follow the prompt, each on a line with its name: `title: ...`. Empty ones are left out. A row where
    /// all are empty fails if the prompt reads no other column.
    columns: Option<Vec<String>>,
    /// Instructions for the model that all rows share, without variables.
    system: Option<String>,
    /// The keys to fill, by name.
    fields: IndexMap<String, FillField>,
    /// More texts that count as missing, such as `["-99", "?"]`. Null, empty texts, white space and NaN always do.
    #[serde(default)]
    null_values: Vec<String>,
    /// Replies that mean that the text has no value; they become null (ignoring case and outer quotes; the options of
    /// an `enum` stay values). Default: "unclear", "unknown", "not mentioned", "n/a", "none" and similar words.
    unknown_values: Option<Vec<String>>,
    /// Whether to ask for the words that support each value and to check that the text column contains them. Adds
    /// `<target>_quote`, `_quote_start` and `_quote_end` (characters from 0, the end not included) and `_quote_found`:
    /// `exact`, `normalised` (ignoring case, white space, quotation marks and Unicode forms), `fuzzy` or `no`. Default:
    /// false.
    #[serde(default)]
    quotes: bool,
    /// The minimum similarity of a `fuzzy` quote: 1 - edit distance / length, from 0.5 to 1. Left out: quotes must be
    /// exact or normalised.
    quote_ratio: Option<f64>,
}

/// A key to fill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FillField {
    /// What the value is.
    #[serde(rename = "type")]
    kind: FieldType,
    /// What the value means; the model reads it.
    description: Option<String>,
    /// The column of the input that may hold the value already; such a value is copied, not asked for. Of a list of
    /// columns, the first that is not empty counts. Left out: no column holds it. Required even if the column has the
    /// name of the key.
    column: Option<Columns>,
    /// The new column, or `in_place` to fill `column` itself (of a list, the first column). Default: `computed_` and the key in lower case.
    target: Option<String>,
    /// The texts that are allowed, for `type = "string"`.
    #[serde(rename = "enum")]
    options: Option<Vec<String>>,
    /// The most characters of a text (Unicode scalar values), for `type = "string"` without `enum`.
    max_length: Option<NonZeroU32>,
    /// The smallest value, for numbers.
    minimum: Option<f64>,
    /// The largest value, for numbers.
    maximum: Option<f64>,
    /// What the items are, for `type = "array"`.
    items: Option<ItemSpec>,
}

/// The value of `target` that fills the column itself.
const IN_PLACE: &str = "in_place";

impl FillField {
    fn spec(&self) -> FieldSpec {
        FieldSpec {
            kind: self.kind,
            options: self.options.clone(),
            max_length: self.max_length,
            minimum: self.minimum,
            maximum: self.maximum,
            items: self.items.clone(),
            nullable: true,
            prob: false,
            distribution: Vec::new(),
            samples: None,
            min_option_mass: None,
            description: self.description.clone(),
        }
    }
}

impl FillMissing {
    fn key(&self, context: &BindContext<'_>, name: &str, spec: &FillField, problems: &mut Problems) -> Option<Key> {
        let at = context.path.key("fields").key(name);
        let before = problems.mark();
        let field = spec.spec().field(name).map_err(|(key, message)| {
            problems.error("bad-value", at.key(key), message);
        });
        let there = context.input.index_of(name).is_ok();
        let columns = match &spec.column {
            Some(columns) => columns.find(context, &at.key("column"), problems),
            None => {
                if there {
                    let message = format!("the input has a column `{name}` already: does it hold values of this key?");
                    let help =
                        format!("write `column = \"{name}\"` to keep what it holds, or give the key another name");
                    problems.error_at_key("ambiguous-column", at.clone(), message).help(help);
                }
                Vec::new()
            }
        };
        let in_place = spec.target.as_deref() == Some(IN_PLACE);
        if in_place && spec.column.is_none() && !there {
            let message = "a key that is filled in place needs the `column` that is filled";
            problems.error("missing-field", at.clone(), message);
        }
        let mut field = field.ok()?;
        field.unknown = match &self.unknown_values {
            Some(listed) => listed.clone(),
            None => UNKNOWN.map(str::to_owned).to_vec(),
        };
        let filled = columns.first().copied().filter(|_| in_place).map(|index| (index, context.input.field(index)));
        if let Some((_, column)) = filled {
            fits(column, &field, &at, problems);
        }
        let target = match (&spec.target, filled) {
            (_, Some((_, column))) => column.name().clone(),
            (Some(target), None) => target.clone(),
            (None, None) => format!("computed_{}", name.to_lowercase()),
        };
        if target.trim().is_empty() {
            problems.error("bad-value", at.key("target"), "`target` is empty");
        }
        (problems.clean_since(before)).then_some(Key { field, columns, filled: filled.map(|(index, _)| index), target })
    }

    fn keys(&self, context: &BindContext<'_>, problems: &mut Problems) -> Vec<Key> {
        let at = context.path.key("fields");
        if self.fields.is_empty() {
            problems.error("bad-value", at.clone(), "`fields` has no keys");
        }
        let mut keys: Vec<Key> = Vec::new();
        for (name, spec) in &self.fields {
            let Some(key) = self.key(context, name, spec, problems) else { continue };
            if let Some(other) = keys.iter().find(|k| k.filled.is_some() && k.filled == key.filled) {
                let message = format!("`{}` fills this column already", other.field.name);
                problems.error("duplicate-column", at.key(name).key("target"), message);
            }
            if self.quotes && self.fields.contains_key(&format!("{name}_quote")) {
                let message = format!("the quote of `{name}` is called `{name}_quote`, as another key is");
                problems.error_at_key("duplicate-column", at.key(name), message);
            }
            keys.push(key);
        }
        keys
    }
}

/// Reports a column that is filled in place but has another type than the values of `field`.
fn fits(column: &arrow_schema::Field, field: &Field, at: &Path, problems: &mut Problems) {
    let (arrow, needs) = (column.data_type(), field.kind.column());
    if Type::of(arrow) != Some(needs) {
        let holds = Type::of(arrow).map_or_else(|| arrow.to_string(), |kind| kind.words().to_owned());
        let (column, name, needs) = (column.name(), &field.name, needs.words());
        let message = format!("`{column}` holds {holds}, but the values of `{name}` are {needs}");
        let help = "declare the type of the column in its source, or write a different `target` for the key";
        problems.error("wrong-type", at.key("target"), message).help(help);
    }
}

impl StageConfig for FillMissing {
    fn bind(&self, context: &BindContext<'_>, problems: &mut Problems) -> Option<Stage> {
        let before = problems.mark();
        let text = TextColumn::find(context, self.text_column.as_deref(), problems);
        let written = Written { source: self.prompt.as_deref(), file: self.prompt_file.as_deref() };
        let (columns, system) = (self.columns.as_deref(), self.system.as_deref());
        let fields = RowFields { written, text, columns, system };
        let has_prompt = written.is_given() || self.text_column.is_some() || columns.is_some();
        if !has_prompt {
            problems
                .error("missing-field", context.path.clone(), "the stage has no text to look values up in")
                .help("name its column in `text_column`, or write a `prompt`");
        }
        let prompt = if has_prompt { fields.bind(context, problems) } else { None };
        let evidence = Evidence::bind(context, (self.quotes, self.quote_ratio), text, problems);
        let keys = self.keys(context, problems);
        if problems.had_errors_since(before) {
            return None;
        }
        let prompt = prompt?;
        let constant = fields.check(context, &prompt, problems);
        let filling = Filling {
            prompt,
            system: self.system.clone(),
            keys,
            nulls: self.null_values.clone(),
            evidence,
            shapes: Default::default(),
        };
        let info = StageInfo { constant, ..filling.info(KIND.name, text.index) };
        Some(Stage { info, ask: Box::new(filling) })
    }
}
