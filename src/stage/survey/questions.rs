//! Questions: a questionnaire as written in the spec, as a list of tables or as a map from texts to options.
//!
//! `check` finds contradictions. The deserializer distinguishes the two forms, so that every problem keeps its path.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::names::ColumnNames;
use super::order::Order;
use super::wording::Labels;
use crate::document::Path;
use crate::name::Name;
use crate::prompt::Mode;

/// A questionnaire for every row.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Survey {
    /// Instructions before the persona that all rows share, without variables.
    pub(crate) system: Option<String>,
    /// The respondent, a Jinja template over the row's columns: `You are {{ name }}, {{ age }} years old.` Left out: a
    /// list of all columns except the key and `weight`, without nulls.
    pub(crate) persona: Option<String>,
    /// The questions: a list of tables, or as a shorthand a table of texts with their options.
    #[schemars(required)]
    pub(crate) questions: Option<Questions>,
    /// The content of one call: a question, or the whole questionnaire of a respondent. Default: `question`.
    #[serde(default)]
    pub(crate) per: Per,
    /// Whether later questions include the earlier ones and their answers, for `per = "question"`. Default: false.
    #[serde(default)]
    pub(crate) memory: bool,
    /// The order of options, recorded in a column `<id>_shown`. Default: `as_given`.
    #[serde(default)]
    pub(crate) option_order: Order,
    /// The order of questions, recorded in a column `<stage>_question_order`. Questions that are tied by `when` move as
    /// one block. Default: `as_given`.
    #[serde(default)]
    pub(crate) question_order: Order,
    /// The labels before the options, used in the answer. Default: `none`.
    #[serde(default)]
    pub(crate) option_labels: Labels,
    /// How probable each option of the questions with one answer is: a column `<id>_distribution_<mode>` for each of
    /// these modes, for `per = "question"`. Default: none.
    #[serde(default)]
    pub(crate) distribution: Vec<Mode>,
    /// The number of answers of the mode `sample`, of which the first is the answer in the table. Default: 20.
    pub(crate) samples: Option<u32>,
    /// The least probability of all options together in the mode `logprobs`; a respondent with less fails. Default: 0.5.
    pub(crate) min_option_mass: Option<f64>,
    /// The names of the answer columns: `id`, or `text` for a short form of the question (`what_is_your_age`). Codebooks
    /// have the whole question. Conditions always use the ids. Default: `id`.
    #[serde(default)]
    pub(crate) column_names: ColumnNames,
}

/// The content of one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Per {
    /// One question.
    #[default]
    Question,
    /// The whole questionnaire.
    Respondent,
}

/// One question of a survey; its answer becomes one column.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuestionTable {
    /// The name in the `when` of later questions, and of the column of the answer.
    pub(crate) id: Name,
    /// The question as it is asked; not a template.
    pub(crate) text: String,
    /// The type of the answer. Default: `single` with `options`, `text` without.
    #[serde(rename = "type")]
    pub(crate) kind: Option<QuestionType>,
    /// The options, for `single` and `multiple`.
    pub(crate) options: Option<Vec<String>>,
    /// Options that keep their position in every `option_order`, such as "Don't know".
    #[serde(default)]
    pub(crate) pinned_options: Vec<String>,
    /// The order of this question's options. Default: the stage's.
    pub(crate) option_order: Option<Order>,
    /// How probable each option is, for `single`. Default: the stage's.
    pub(crate) distribution: Option<Vec<Mode>>,
    /// The number of answers of the mode `sample`. Default: the stage's.
    pub(crate) samples: Option<u32>,
    /// The least probability of all options together in the mode `logprobs`. Default: the stage's.
    pub(crate) min_option_mass: Option<f64>,
    /// The lower end, for `scale` (a whole number) and `number`.
    pub(crate) min: Option<f64>,
    /// The upper end, for `scale` (a whole number) and `number`.
    pub(crate) max: Option<f64>,
    /// The meaning of the lower end of a `scale`, such as "not at all".
    pub(crate) min_label: Option<String>,
    /// The meaning of the upper end of a `scale`.
    pub(crate) max_label: Option<String>,
    /// Skip logic: a Jinja expression over the input's columns and the ids of earlier questions, such as
    /// `employed == "yes"`. If it is false, the question is not asked and its answer is null.
    pub(crate) when: Option<String>,
    /// Whether the question keeps its position in every `question_order`. Default: false.
    #[serde(default)]
    pub(crate) pinned: bool,
}

/// The type of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum QuestionType {
    /// One of the options.
    Single,
    /// Some of the options.
    Multiple,
    /// A whole number from `min` to `max`.
    Scale,
    /// A number.
    Number,
    /// Free text.
    Text,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Questions {
    List(Vec<QuestionTable>),
    Map(IndexMap<String, Shorthand>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shorthand {
    /// The options of which one is chosen; without any, a free text.
    Options(Vec<String>),
    Word(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) at: Path,
    pub(crate) options_at: Path,
    pub(crate) table: QuestionTable,
    pub(crate) stray: Option<String>,
}

impl Questions {
    /// Returns the questions at `at`, in order. Questions of the short form are called `q1`, `q2`, ...
    pub(crate) fn drafts(&self, at: &Path) -> Vec<Draft> {
        match self {
            Questions::List(tables) => {
                let draft = |(i, table): (usize, &QuestionTable)| {
                    let at = at.index(i);
                    Draft { options_at: at.key("options"), at, table: table.clone(), stray: None }
                };
                tables.iter().enumerate().map(draft).collect()
            }
            Questions::Map(entries) => {
                let draft = |(i, (text, value)): (usize, (&String, &Shorthand))| {
                    let (options, stray) = match value {
                        Shorthand::Options(options) => (Some(options.clone()).filter(|o| !o.is_empty()), None),
                        Shorthand::Word(word) => (None, Some(word.clone()).filter(|w| w != "text")),
                    };
                    let at = at.key(text);
                    Draft { options_at: at.clone(), at, table: QuestionTable::short(i, text, options), stray }
                };
                entries.iter().enumerate().map(draft).collect()
            }
        }
    }
}

impl QuestionTable {
    fn short(index: usize, text: &str, options: Option<Vec<String>>) -> Self {
        let table = json!({ "id": format!("q{}", index + 1), "text": text, "options": options });
        serde_json::from_value(table).expect("a letter and a number are a name, and all other fields have defaults")
    }
}

impl<'de> Deserialize<'de> for Questions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Questions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of questions or a table of their texts and options")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Questions, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Questions::List)
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Questions, A::Error> {
                IndexMap::deserialize(MapAccessDeserializer::new(entries)).map(Questions::Map)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Shorthand {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Beside;
        impl<'de> Visitor<'de> for Beside {
            type Value = Shorthand;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of options, or \"text\" for an answer in the respondent's own words")
            }

            fn visit_unit<E: Error>(self) -> Result<Shorthand, E> {
                Ok(Shorthand::Options(Vec::new()))
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Shorthand, E> {
                Ok(Shorthand::Word(word.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Shorthand, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Shorthand::Options)
            }
        }
        deserializer.deserialize_any(Beside)
    }
}

impl JsonSchema for Questions {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Questions".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "array", "minItems": 1, "items": generator.subschema_for::<QuestionTable>() },
            {
                "description": "The short form: the text of each question, with its options; `[]`, `null` or \"text\" for \
                    a free text. The columns are `q1`, `q2`, ..., unless `column_names` is `text`.",
                "type": "object",
                "minProperties": 1,
                "additionalProperties": { "anyOf": [
                    { "type": "array", "items": { "type": "string" } },
                    { "const": "text" },
                    { "const": null },
                ] },
            },
        ] })
    }
}
