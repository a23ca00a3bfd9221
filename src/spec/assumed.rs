//! Assumed columns: checks a table whose input is unknown because the input itself is broken.
//!
//! The input is assumed to have a text column for every word in the table. Problems that depend on the actual columns
//! are dropped.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};

use super::columns::Relation;
use crate::document::{Diagnostic, Node, Value};

/// The rules about one value that apply whatever the other fields of its table are.
const ABOUT_ONE_VALUE: [&str; 2] = ["bad-template", "unreadable-file"];
/// Fields of stages that no template and no column name depends on.
const ABOUT_ANSWERS: [&str; 5] = ["output", "json_keys", "quotes", "quote_ratio", "system"];

/// Returns the columns that the input of a table may have.
pub(super) fn columns(table: &Node) -> Relation {
    let mut words = BTreeSet::new();
    collect(table, &mut words);
    let fields: Vec<Field> = words.into_iter().map(|word| Field::new(word, DataType::Utf8, true)).collect();
    let guards = vec![Vec::new(); fields.len()];
    Relation { schema: Arc::new(Schema::new(fields)), guards, key: None, fold: 1, hidden: 0 }
}

fn collect(node: &Node, words: &mut BTreeSet<String>) {
    match &node.value {
        Value::String(text) => {
            words.insert(text.clone());
            let parts = text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            words.extend(parts.map(str::to_owned));
        }
        Value::List(items) => items.iter().for_each(|item| collect(item, words)),
        Value::Table(entries) => entries.iter().for_each(|entry| collect(&entry.node, words)),
        _ => {}
    }
}

/// Whether a problem exists whatever the columns of the input are.
pub(super) fn without_columns(problem: &Diagnostic) -> bool {
    !matches!(
        problem.rule,
        "unknown-column"
            | "missing-column"
            | "unknown-variable"
            | "duplicate-column"
            | "ambiguous-column"
            | "bad-example"
            | "bad-condition"
            | "unknown-part"
            | "unknown-stage"
            | "wrong-type"
            | "constant-prompt"
            | "literal-placeholder"
            | "unread-text-column"
    )
}

/// Whether a problem exists whatever the values of the `broken` fields should be.
pub(super) fn without_fields(problem: &Diagnostic, broken: &[String]) -> bool {
    let names_hold = broken.iter().all(|field| ABOUT_ANSWERS.contains(&field.as_str()));
    ABOUT_ONE_VALUE.contains(&problem.rule)
        || names_hold && matches!(problem.rule, "unknown-column" | "unknown-variable")
}

/// Fields that the columns of a stage's table do not depend on. Broken ones are left out.
const OPTIONAL: [&str; 11] = [
    "combine",
    "persona",
    "system",
    "overlap",
    "tokenizer",
    "strategy",
    "max_input_tokens",
    "order_by",
    "descending",
    "question_order",
    "memory",
];
/// Fields that some kinds require, with possible values. For each of these kinds, one of the values is valid.
const NEEDED: [(&[&str], &str, [&str; 2]); 2] = [
    (&["prompt", "prompt_file", "text_column", "columns"], "prompt", ["-", "{{ rows }}"]),
    (&["when"], "when", ["true", "true"]),
];

/// Returns the table of a stage with its `broken` fields replaced, in each way that may be valid for its kind. Returns
/// nothing if the columns depend on a broken field.
pub(super) fn replaced(table: &Node, broken: &[String]) -> Vec<Node> {
    let is_needed = |field: &str| NEEDED.iter().any(|(fields, ..)| fields.contains(&field));
    if broken.is_empty() || !broken.iter().all(|field| OPTIONAL.contains(&field.as_str()) || is_needed(field)) {
        return Vec::new();
    }
    let mut tables = Vec::new();
    for way in 0..2 {
        let mut table = table.clone();
        table.retain(|key| !broken.iter().any(|field| field == key));
        for (fields, field, values) in NEEDED {
            if broken.iter().any(|broken| fields.contains(&broken.as_str())) {
                table.retain(|key| !fields.contains(&key));
                table.insert(field, Value::String(values[way].to_owned()));
            }
        }
        tables.push(table);
    }
    tables
}
