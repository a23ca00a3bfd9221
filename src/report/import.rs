//! Import reports: how the files of a source were read, in one line each.

use super::text::{count, number};
use crate::plan::Plan;
use crate::source::{Import, Reading, Unreadable};

/// A line for each kind of file that this run has read, not for copies of earlier imports.
pub(crate) fn fresh_imports(plan: &Plan) -> Vec<String> {
    let sources = plan.spec.sources().filter_map(|(id, source)| Some((source, plan.sources.get(&id)?)));
    let fresh = sources.filter(|(_, facts)| facts.is_fresh);
    fresh.flat_map(|(source, facts)| facts.import.iter().flat_map(|i| lines(source.name.as_str(), i))).collect()
}

/// The files of the source `name`, and at the end of the last line the counts of all.
pub(crate) fn lines(name: &str, import: &Import) -> Vec<String> {
    let Import { rows, columns, nulls, changed_characters, unreadable, declared_missing, .. } = import;
    let (rows, columns, nulls) = (count(*rows, "row"), count(*columns, "column"), count(*nulls, "null"));
    let changed = match changed_characters {
        0 => String::new(),
        changed => format!(", changed characters or numbers: {}", number(*changed)),
    };
    let mut lines: Vec<String> = import.files.iter().map(|reading| format!("{name}: read {}", how(reading))).collect();
    if let Some(last) = lines.last_mut() {
        *last += &format!("; {rows}, {columns}, {nulls}{changed}");
    }
    if !declared_missing.is_empty() {
        let columns = declared_missing.iter().map(|(column, cells)| format!("{} of `{column}`", number(*cells)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        lines.push(format!("{name}: null because the file declares the value missing: {columns}"));
    }
    lines.extend(unreadable.iter().map(|column| format!("{name}: {}", null_cells(column))));
    lines
}

/// A warning about the cells of a column that nothing reads.
pub(crate) fn null_cells(unreadable: &Unreadable) -> String {
    let Unreadable { column, cells, first, .. } = unreadable;
    let is = if *cells == 1 { "is" } else { "are" };
    format!("warning: {} of `{column}`, which nothing reads, {is} null: {first}", count(*cells, "cell"))
}

/// A file with its format and dialect, such as `a.csv as CSV, delimiter ";" (detected), utf-8`.
pub(crate) fn how(reading: &Reading) -> String {
    let Reading { path, files, format, delimiter, quote, encoding, weight, detected, .. } = reading;
    let more = if *files > 1 { format!(" and {} more", number(files - 1)) } else { String::new() };
    let mark = |name: &str, text: &Option<String>| match text.as_deref() {
        None => String::new(),
        Some("none") => format!(", no {name}s"),
        Some(text) => format!(", {name} {text:?}"),
    };
    let encoding = encoding.as_ref().map(|name| format!(", {name}")).unwrap_or_default();
    let weight = weight.as_ref().map(|name| format!(", weighted by `{name}`")).unwrap_or_default();
    let detected = if detected.is_empty() { String::new() } else { format!("; detected: {}", detected.join(", ")) };
    format!(
        "{path}{more} as {format}{}{}{encoding}{weight}{detected}",
        mark("delimiter", delimiter),
        mark("quote", quote)
    )
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
        let import = Import { files: vec![comma, tab], rows: 1200, columns: 2, nulls: 1, ..Import::default() };
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

    #[test]
    fn values_declared_missing_and_cells_that_cannot_be_read_have_lines() {
        let (path, format) = ("a.sav".to_owned(), "SPSS".to_owned());
        let reading = Reading { path, format, files: 1, weight: Some("w".to_owned()), ..Reading::default() };
        let (column, first) = ("x".to_owned(), "a.sav: row 2: column `x` is not valid UTF-8".to_owned());
        let import = Import {
            files: vec![reading],
            declared_missing: [("q1".to_owned(), 1200), ("q2".to_owned(), 1)].into(),
            unreadable: vec![Unreadable { column, first, cells: 2, help: None }],
            ..Import::default()
        };
        assert_eq!(
            lines("rows", &import),
            [
                "rows: read a.sav as SPSS, weighted by `w`; 0 rows, 0 columns, 0 nulls",
                "rows: null because the file declares the value missing: 1,200 of `q1`, 1 of `q2`",
                "rows: warning: 2 cells of `x`, which nothing reads, are null: a.sav: row 2: column `x` is not valid UTF-8",
            ]
        );
    }
}
