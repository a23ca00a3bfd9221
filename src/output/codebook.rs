//! Codebooks: a description of each column, as Markdown or as CSV.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};

use super::describe::{Description, describe};
use super::table::{Output, Written};
use crate::spec::{StageSpec, TableFormat};
use crate::store::StoreError;

const HEADER: [&str; 14] = [
    "column",
    "question",
    "type",
    "labels",
    "minimum",
    "maximum",
    "rows",
    "missing",
    "missing_share",
    "failed",
    "not_asked",
    "source",
    "models",
    "prompt_hash",
];

pub(super) fn write(output: &Output<'_>, file: &File) -> Result<Written, StoreError> {
    let columns = describe(output)?;
    let bytes = match output.output.format {
        TableFormat::Csv => csv(output, &columns).map_err(|error| output.broken(error))?,
        _ => markdown(output, &columns).into_bytes(),
    };
    let mut file = BufWriter::new(file);
    file.write_all(&bytes).and_then(|()| file.flush()).map_err(|error| output.io(error))?;
    Ok(Written { rows: columns.len() as u64, columns: HEADER.len(), ..Written::default() })
}

fn csv(output: &Output<'_>, columns: &[Description]) -> Result<Vec<u8>, csv::Error> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(HEADER)?;
    for column in columns {
        let [low, high] = column.range.clone().unwrap_or_default().map(|bound| match bound.as_str() {
            "" => bound,
            _ => bound + column.unit,
        });
        let numbers = [column.rows, column.missing].map(|number| number.to_string());
        let absent = [column.failed, column.not_asked].map(|number| number.to_string());
        let share = format!("{:.4}", column.missing as f64 / column.rows.max(1) as f64);
        let labels = column.labels.join("; ");
        let hash = output.prompt_hash(column).unwrap_or_default();
        let texts = [column.name.as_str(), &column.question, &column.kind, &labels, &low, &high];
        csv.write_record(texts.into_iter().chain(numbers.iter().map(String::as_str)).chain([share.as_str()]).chain(
            absent.iter().map(String::as_str).chain([column.source.as_str(), &column.models.join("; "), hash]),
        ))?;
    }
    csv.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

impl Output<'_> {
    fn prompt_hash(&self, column: &Description) -> Option<&str> {
        self.prompts.get(column.stage.as_ref()?).map(String::as_str)
    }
}

fn markdown(output: &Output<'_>, columns: &[Description]) -> String {
    let input = escaped(output.spec.table_name(output.output.input));
    let rows = columns.first().map_or(0, |column| column.rows);
    let pipeline = escaped(&output.spec.name);
    let mut text = format!("# Codebook of {input}\n\nPipeline {pipeline}: {rows} rows, {} columns.\n", columns.len());
    let item = |text: &mut String, name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "- {name}: {}", escaped(value));
        }
    };
    for column in columns {
        let _ = writeln!(text, "\n## {}\n", escaped(&column.name));
        item(&mut text, "question", &column.question);
        item(&mut text, "type", &column.kind);
        item(&mut text, "labels", &column.labels.join("; "));
        if let Some([low, high]) = &column.range {
            let range = if low == high { low.clone() } else { format!("{low} to {high}") };
            item(&mut text, "range", &(range + column.unit));
        }
        item(&mut text, "missing", &missing(column));
        item(&mut text, "source", &column.source);
        item(&mut text, "models", &column.models.join("; "));
        item(&mut text, "prompt hash", output.prompt_hash(column).unwrap_or_default());
    }
    let mut stages: Vec<&str> = columns.iter().filter_map(|column| column.stage.as_deref()).collect();
    stages.dedup();
    for (at, name) in stages.iter().enumerate().filter(|(at, name)| !stages[..*at].contains(name)) {
        let found = output.spec.stages().find(|(_, stage)| stage.name.as_str() == *name);
        if let Some((_, stage)) = found {
            text.push_str(if at == 0 { "\n# Prompts\n" } else { "" });
            prompts(&mut text, stage);
        }
    }
    text
}

fn missing(column: &Description) -> String {
    let share = 100.0 * column.missing as f64 / column.rows.max(1) as f64;
    let mut text = format!("{} of {} ({share:.1} %)", column.missing, column.rows);
    for (number, what) in [(column.failed, "failed"), (column.not_asked, "not asked")] {
        if number > 0 {
            let _ = write!(text, ", {number} {what}");
        }
    }
    text
}

/// The instructions and the prompt of a stage, as the spec writes them.
fn prompts(text: &mut String, stage: &StageSpec) {
    let meaning = &stage.stage.info.meaning;
    let _ = writeln!(text, "\n## Stage {}", escaped(stage.name.as_str()));
    for key in ["system", "persona", "prompt"] {
        let template = &meaning[key];
        if let Some(template) = template.as_str().or_else(|| template["template"].as_str()) {
            let fence = fence(template);
            let _ = writeln!(text, "\n{key}:\n\n{fence}text\n{}\n{fence}", template.trim_end());
        }
    }
    if let Some(columns) = meaning["prompt_columns"].as_array() {
        let names: Vec<String> = columns.iter().filter_map(|name| Some(escaped(name.as_str()?))).collect();
        let _ = writeln!(text, "\ncolumns after the prompt: {}", names.join(", "));
    }
}

/// A fence that `text` does not contain.
pub(crate) fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

/// A text on one line in which nothing is Markdown or HTML.
pub(crate) fn escaped(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        for c in word.chars() {
            if "\\`*_[]<>#|~&$!".contains(c) {
                line.push('\\');
            }
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_only_text() {
        assert_eq!(escaped("a\n# b | <img src=x> `c`"), "a \\# b \\| \\<img src=x\\> \\`c\\`");
        assert_eq!(escaped("[x](http://y)\u{1b}[31m &amp; *b*\r\n- c"), "\\[x\\](http://y) \\[31m \\&amp; \\*b\\* - c");
        assert_eq!(escaped(" \n\t"), "");
    }

    #[test]
    fn a_fence_is_longer_than_every_run_of_backticks() {
        assert_eq!(fence("plain"), "```");
        assert_eq!(fence("a ``` b ````` c"), "``````");
    }
}
