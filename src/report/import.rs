//! Import reports: how the files of a source were read, in one line each.

use super::text::{count, number};
use crate::plan::Plan;
use crate::source::{Import, Reading};

/// A line for each kind of file that this run has read, not for copies of earlier imports.
pub(crate) fn fresh_imports(plan: &Plan) -> Vec<String> {
    let sources = plan.spec.sources().filter_map(|(id, source)| Some((source, plan.sources.get(&id)?)));
    let fresh = sources.filter(|(_, facts)| facts.is_fresh);
    fresh.flat_map(|(source, facts)| facts.import.iter().flat_map(|i| lines(source.name.as_str(), i))).collect()
}

/// The files of the source `name`, and at the end of the last line the counts of all.
pub(crate) fn lines(name: &str, import: &Import) -> Vec<String> {
    let Import { rows, columns, nulls, changed_characters, .. } = import;
    let (rows, columns, nulls) = (count(*rows, "row"), count(*columns, "column"), count(*nulls, "null"));
    let changed = match changed_characters {
        0 => String::new(),
        changed => format!(", changed characters or numbers: {}", number(*changed)),
    };
    let mut lines: Vec<String> = import.files.iter().map(|reading| format!("{name}: read {}", how(reading))).collect();
    if let Some(last) = lines.last_mut() {
        *last += &format!("; {rows}, {columns}, {nulls}{changed}");
    }
    lines
}

/// A file with its format and dialect, such as `a.csv as CSV, delimiter ";" (detected), utf-8`.
pub(crate) fn how(reading: &Reading) -> String {
    let Reading { path, files, format, delimiter, quote, encoding, detected, .. } = reading;
    let more = if *files > 1 { format!(" and {} more", number(files - 1)) } else { String::new() };
    let mark = |name: &str, text: &Option<String>| match text.as_deref() {
        None => String::new(),
        Some("none") => format!(", no {name}s"),
        Some(text) => format!(", {name} {text:?}"),
    };
    let encoding = encoding.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
    let detected = if detected.is_empty() { String::new() } else { format!("; detected: {}", detected.join(", ")) };
    format!("{path}{more} as {format}{}{}{encoding}{detected}", mark("delimiter", delimiter), mark("quote", quote))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_files_were_read_and_the_last_one_what_is_in_them() {
        let comma = Reading {
            path: "a.csv".to_owned(),
            files: 1,
            format: "CSV".to_owned(),
            delimiter: Some(",".to_owned()),
            quote: Some("\"".to_owned()),
            encoding: Some("utf-8".to_owned()),
            ..Reading::default()
        };
        let tab = Reading {
            path: "b.csv".to_owned(),
            files: 3,
            delimiter: Some("\t".to_owned()),
            quote: Some("none".to_owned()),
            detected: vec!["delimiter = \"\\t\"".to_owned()],
            ..comma.clone()
        };
        let import = Import { files: vec![comma, tab], rows: 1200, columns: 2, nulls: 1, changed_characters: 0 };
        assert_eq!(
            lines("rows", &import),
            [
                r#"rows: read a.csv as CSV, delimiter ",", quote "\"", utf-8"#,
                "rows: read b.csv and 2 more as CSV, delimiter \"\\t\", no quotes, utf-8; detected: delimiter = \"\\t\"; \
                 1,200 rows, 2 columns, 1 null",
            ]
        );
        let import = Import { changed_characters: 2, files: import.files[..1].to_vec(), ..import };
        assert!(lines("rows", &import)[0].ends_with("1 null, changed characters or numbers: 2"));
    }
}
