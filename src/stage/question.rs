//! Questions: the fields that several asking stages share: text column, templates, answers and conditions.

use std::collections::HashSet;

use arrow_schema::SchemaRef;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ask::BindContext;
use crate::document::{Path, Problems};
use crate::prompt::{Bound, BoundCondition, ConditionError, Expect, Field, FieldSpec, Template};
use crate::table;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TextColumn<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) index: Option<usize>,
}

impl<'a> TextColumn<'a> {
    pub(crate) fn find(context: &BindContext<'_>, name: Option<&'a str>, problems: &mut Problems) -> Self {
        let at = context.path.key("text_column");
        let index = name.and_then(|name| table::column(context.input, name, "the input", at, problems));
        TextColumn { name, index }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) source: Option<&'a str>,
    pub(crate) file: Option<&'a str>,
}

impl Written<'_> {
    /// Returns the template's text with its key. Reports contradictions, unreadable files and a missing template.
    fn text(&self, context: &BindContext<'_>, problems: &mut Problems) -> Option<(String, &'static str)> {
        match (self.source, self.file) {
            (Some(source), None) => Some((source.to_owned(), "prompt")),
            (None, Some(file)) => match (context.read)(file) {
                Ok(source) => Some((source, "prompt_file")),
                Err(message) => {
                    problems.error("unreadable-file", context.path.key("prompt_file"), message);
                    None
                }
            },
            (Some(_), Some(_)) => {
                let message = "a stage has `prompt` or `prompt_file`, not both";
                problems.error_at_key("bad-value", context.path.key("prompt_file"), message);
                None
            }
            (None, None) => {
                problems
                    .error("missing-field", context.path.clone(), "`prompt` is missing")
                    .help("write the question as `prompt = \"...\"`, or name a file in `prompt_file`");
                None
            }
        }
    }

    /// The key of the template in the stage's table.
    pub(crate) fn key(&self) -> &'static str {
        if self.source.is_some() { "prompt" } else { "prompt_file" }
    }

    pub(crate) fn is_given(&self) -> bool {
        self.source.is_some() || self.file.is_some()
    }

    pub(crate) fn bind(
        &self,
        context: &BindContext<'_>,
        text: TextColumn<'_>,
        given: &[&str],
        problems: &mut Problems,
    ) -> Option<Bound> {
        let (source, key) = self.text(context, problems)?;
        bind(context, (&source, key), text, given, problems)
    }
}

pub(crate) fn bind(
    context: &BindContext<'_>,
    (source, key): (&str, &str),
    text: TextColumn<'_>,
    given: &[&str],
    problems: &mut Problems,
) -> Option<Bound> {
    let at = context.path.key(key);
    let template = match Template::new(source) {
        Ok(template) => template,
        Err(error) => {
            let line = error.line.map(|l| format!(" (line {l} of the template)")).unwrap_or_default();
            let message = format!("the template does not compile: {}{line}", error.message);
            problems.error("bad-template", at, message).help_if(quoted_name(source));
            return None;
        }
    };
    let bound = template.bind(context.input, text.index, given);
    // An unknown text column has been reported already.
    let bound = bound.map_err(|unknown| if text.name.is_some() { unknown.without("text") } else { unknown });
    bound.map_err(|unknown| problems.extend(unknown.problems(&at, "the template", context.input))).ok()
}

/// How to write the first name with other letters than a to z.
fn quoted_name(source: &str) -> Option<String> {
    let mut variables = source.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()));
    let is_name = |text: &&str| !text.is_ascii() && text.chars().all(|c| c.is_alphanumeric() || c == '_');
    let name = variables.find(is_name)?;
    Some(format!("write `{{{{ row[\"{name}\"] }}}}`: a name without quotes has only the letters a to z"))
}

pub(crate) fn condition(source: &str, input: &SchemaRef, at: &Path, problems: &mut Problems) -> Option<BoundCondition> {
    match BoundCondition::new(source, input, &[]) {
        Ok(bound) => Some(bound),
        Err(ConditionError::Unknown(unknown)) => {
            problems.extend(unknown.problems(at, "the condition", input));
            None
        }
        Err(error) => {
            problems.extend(error.problems(at));
            None
        }
    }
}

/// The treatment of a text that was cut off at `max_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CutOff {
    /// The model is asked for a briefer one; in the end the row fails.
    #[default]
    Error,
    /// It is the answer, and a column says that it was cut off.
    Keep,
}

/// The fields of a spec that describe an answer. Without `output` and `json_keys`, the answer is a text.
pub(crate) struct AnswerFields<'a> {
    pub(crate) output: Option<&'a IndexMap<String, FieldSpec>>,
    pub(crate) json_keys: Option<&'a Vec<String>>,
    pub(crate) cut_off: CutOff,
}

impl AnswerFields<'_> {
    pub(crate) fn expect(&self, context: &BindContext<'_>, problems: &mut Problems) -> Option<Expect> {
        let mut bad = |key: &str, message: &str| {
            problems.error("bad-value", context.path.key(key), message);
        };
        let is_typed = self.output.is_some() || self.json_keys.is_some();
        if is_typed && self.cut_off == CutOff::Keep {
            let message = "a typed answer that was cut off is not complete: `cut_off` is for plain texts";
            bad("cut_off", message);
            return None;
        }
        match (self.output, self.json_keys) {
            (None, None) if self.cut_off == CutOff::Keep => Some(Expect::CutText),
            (None, None) => Some(Expect::Text),
            (Some(_), Some(_)) => {
                bad("json_keys", "a stage has `output` or `json_keys`, not both");
                None
            }
            (None, Some(keys)) => {
                let twice: HashSet<&String> = keys.iter().collect();
                if keys.is_empty() || twice.len() < keys.len() || keys.iter().any(String::is_empty) {
                    bad("json_keys", "`json_keys` must name at least one key, and each once");
                    return None;
                }
                Some(Expect::Record(keys.iter().map(|k| Field::loose(k)).collect()))
            }
            (Some(output), None) if output.is_empty() => {
                bad("output", "`output` has no keys");
                None
            }
            (Some(output), None) => {
                let mut fields = Vec::new();
                for (name, spec) in output {
                    match spec.field(name) {
                        Ok(field) => fields.push(field),
                        Err((key, message)) => {
                            let path = context.path.key("output").key(name).key(key);
                            problems.error("bad-value", path, message);
                        }
                    }
                }
                (fields.len() == output.len()).then_some(Expect::Record(fields))
            }
        }
    }
}
