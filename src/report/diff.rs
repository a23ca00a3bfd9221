//! A diff of two runs, locks or tables, for people and as JSON: what they were made from, and what became of each table.

use std::fmt::Write;

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::drift;
use super::printable::printable;
use super::summary::{count, number};
use crate::lock::Drift;
use crate::table::Cell;
use crate::table::diff::{ColumnDiff, Confusion, Distance, Example, Matching, TableDiff};

/// Characters at most of a cell in an example.
const CELL: usize = 60;
/// Characters at most of a value in a confusion table.
const LABEL: usize = 16;

/// What was found of two runs, locks or tables.
pub struct Diff {
    /// The first, in words.
    pub a: String,
    /// The second, in words.
    pub b: String,
    /// What they were made from, where both know.
    pub facets: Option<Facets>,
    /// The tables that both have.
    pub tables: Vec<ComparedTable>,
    /// The tables that only A has.
    pub only_a: Vec<String>,
    /// The tables that only B has.
    pub only_b: Vec<String>,
    /// Why no cells are compared, if none are.
    pub no_cells: Option<&'static str>,
}

/// What two runs were made from and what they made, facet by facet.
pub struct Facets {
    /// How many are the same.
    pub same: usize,
    /// The others.
    pub drift: Vec<Drift>,
}

/// A table that both have.
pub struct ComparedTable {
    /// Its name.
    pub name: String,
    /// What was found.
    pub compared: Compared,
}

/// What was found of two tables.
pub enum Compared {
    /// How rows were matched, and what became of their cells.
    Cells(Matching, Box<TableDiff>),
    /// Nothing, for this reason.
    Not(String),
}

impl Diff {
    /// Whether anything differs.
    pub fn differs(&self) -> bool {
        let table = |table: &ComparedTable| matches!(&table.compared, Compared::Cells(_, found) if found.differs());
        self.facets.as_ref().is_some_and(|facets| !facets.drift.is_empty())
            || !(self.only_a.is_empty() && self.only_b.is_empty())
            || self.tables.iter().any(table)
    }
}

/// The diff for people.
pub fn human(diff: &Diff) -> String {
    let mut out = format!("A  {}\nB  {}\n", diff.a, diff.b);
    if let Some(Facets { same, drift }) = &diff.facets {
        let _ = match drift.len() as u64 {
            0 => writeln!(out, "all {} are the same", count(*same as u64, "facet")),
            differ => writeln!(out, "{} are the same, {} not:", count(*same as u64, "facet"), number(differ)),
        };
        out += &drift::lines(drift, "  ");
    }
    for (only, side) in [(&diff.only_a, "A"), (&diff.only_b, "B")] {
        for name in only {
            let _ = writeln!(out, "table {name}: only in {side}");
        }
    }
    for table in &diff.tables {
        match &table.compared {
            Compared::Not(why) => {
                let _ = writeln!(out, "table {}: not compared: {why}", table.name);
            }
            Compared::Cells(by, found) => human_table(&mut out, &table.name, by, found),
        }
    }
    if let Some(why) = diff.no_cells {
        let _ = writeln!(out, "no cells were compared: {why}");
    }
    out
}

fn human_table(out: &mut String, name: &str, by: &Matching, found: &TableDiff) {
    let mut counts = vec![format!("{} in both, matched by {}", count(found.matched, "row"), matched_by(by))];
    for (rows, what) in [(found.differ, "differ"), (found.only_a, "only in A"), (found.only_b, "only in B")] {
        if rows > 0 {
            counts.push(format!("{} {what}", number(rows)));
        }
    }
    if found.reordered {
        counts.push("in another order".to_owned());
    }
    if !found.differs() {
        counts.push("nothing differs".to_owned());
    }
    let _ = writeln!(out, "table {name}: {}", counts.join(", "));
    for (rows, shown, side) in
        [(found.only_a, &found.examples_only_a, "A"), (found.only_b, &found.examples_only_b, "B")]
    {
        if !shown.is_empty() {
            let keys = shown.iter().map(|cells| key(by, cells)).collect::<Vec<_>>().join("; ");
            let more = if rows > shown.len() as u64 { "; .." } else { "" };
            let _ = writeln!(out, "  rows only in {side}: {keys}{more}");
        }
    }
    for (columns, side) in [(&found.columns_only_a, "A"), (&found.columns_only_b, "B")] {
        if !columns.is_empty() {
            let _ = writeln!(out, "  columns only in {side}: {}", line(&columns.join(", ")));
        }
    }
    for (a, b) in &found.retyped {
        let _ = writeln!(out, "  another type: {} -> {}", line(a), line(b));
    }
    let differ: Vec<&ColumnDiff> = found.columns.iter().filter(|column| column.differ > 0).collect();
    if !differ.is_empty() {
        *out += &grid(&columns_grid(&differ, found.matched), "  ");
    }
    for column in &differ {
        if let Some(confusion) = &column.confusion {
            let kappa = confusion
                .kappa()
                .map(|(kappa, rows)| format!(" (Cohen's kappa {} over {})", rounded(kappa), count(rows, "row")));
            let _ = writeln!(out, "  {}, A down, B across{}:", line(&column.name), kappa.unwrap_or_default());
            *out += &grid(&confusion_grid(confusion), "    ");
        }
    }
    for Example { key: cells, changes } in &found.examples {
        let _ = writeln!(out, "  row {}", key(by, cells));
        for (column, old, new) in changes {
            let _ = writeln!(out, "    {}: {} -> {}", line(column), cell(old, CELL), cell(new, CELL));
        }
    }
    let more = found.differ - found.examples.len() as u64;
    if more > 0 && !found.examples.is_empty() {
        let _ = writeln!(out, "  and {} more", count(more, "row"));
    }
}

fn matched_by(by: &Matching) -> String {
    let number = by.numbered.then_some("number").into_iter();
    number.chain(by.columns.iter().map(String::as_str)).map(line).collect::<Vec<_>>().join(" and ")
}

/// The key of a row in a line.
fn key(by: &Matching, cells: &[Cell]) -> String {
    let plain = |cell: &Cell| match cell {
        Cell::Text(text) => cut(&line(text), CELL),
        other => self::cell(other, CELL),
    };
    let number = if by.numbered { "number " } else { "" };
    format!("{number}{}", cells.iter().map(plain).collect::<Vec<_>>().join(", "))
}

fn columns_grid(columns: &[&ColumnDiff], matched: u64) -> Vec<Vec<String>> {
    let distances = columns.iter().any(|column| column.distance.is_some());
    let mut rows = vec![["column", "differ", "", "from null", "to null"].map(str::to_owned).to_vec()];
    if distances {
        rows[0].push("mean |A - B|".to_owned());
    }
    for column in columns {
        let share = format!("{:.1} %", 100.0 * column.differ as f64 / matched as f64);
        let counts = [number(column.null_in_a), number(column.null_in_b)];
        let mut row = vec![cut(&line(&column.name), CELL), number(column.differ), share];
        row.extend(counts);
        if distances {
            row.push(column.distance.map_or(String::new(), |distance| rounded(distance.mean)));
        }
        rows.push(row);
    }
    rows
}

fn confusion_grid(confusion: &Confusion) -> Vec<Vec<String>> {
    let label = |cell: &Cell| match cell {
        Cell::Null => "(null)".to_owned(),
        Cell::Text(text) if text.trim().is_empty() => self::cell(cell, LABEL),
        Cell::Text(text) => cut(&line(text), LABEL),
        other => self::cell(other, LABEL),
    };
    let head = [String::new()].into_iter().chain(confusion.labels.iter().map(label)).collect();
    let rows = confusion
        .labels
        .iter()
        .zip(&confusion.counts)
        .map(|(cell, counts)| [label(cell)].into_iter().chain(counts.iter().map(|n| number(*n))).collect());
    [head].into_iter().chain(rows).collect()
}

/// Rows of cells as lines: the first column to the left, the others to the right.
fn grid(rows: &[Vec<String>], indent: &str) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = indent.to_owned();
        for (i, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let space = " ".repeat(width - cell.width());
            line += &if i == 0 { format!("{cell}{space}") } else { format!("  {space}{cell}") };
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// A cell as JSON writes it, so that a text is never taken for a null or a number; cut to so many characters.
fn cell(cell: &Cell, most: usize) -> String {
    match cell {
        Cell::Number(number) if !number.is_finite() => number.to_string(),
        other => cut(&other.json().to_string(), most),
    }
}

/// A text on one line, as it will be printed.
fn line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" ")).into_owned()
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

/// A measure with three places, as far as they say anything.
fn rounded(number: f64) -> String {
    let text = format!("{number:.3}");
    match number != 0.0 && number.abs() < 0.001 {
        true => format!("{number:.1e}"),
        false => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

/// The diff for machines.
pub fn as_json(diff: &Diff) -> String {
    let value = json!({
        "schema_version": 1, "a": diff.a, "b": diff.b, "differs": diff.differs(),
        "facets": diff.facets.as_ref().map(|facets| json!({ "same": facets.same, "differ": facets.drift })),
        "tables_only_in_a": diff.only_a, "tables_only_in_b": diff.only_b,
        "tables": diff.tables.iter().map(json_table).collect::<Vec<_>>(),
        "cells_not_compared": diff.no_cells,
    });
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}

fn json_table(table: &ComparedTable) -> Value {
    let (by, found) = match &table.compared {
        Compared::Not(why) => return json!({ "name": table.name, "not_compared": why }),
        Compared::Cells(by, found) => (by, found),
    };
    let cells = |cells: &Vec<Cell>| cells.iter().map(Cell::json).collect::<Value>();
    let example = |example: &Example| {
        let change = |(column, old, new): &(String, Cell, Cell)| json!({ "column": column, "old": old.json(), "new": new.json() });
        json!({ "key": cells(&example.key), "changes": example.changes.iter().map(change).collect::<Vec<_>>() })
    };
    json!({
        "name": table.name, "differs": found.differs(),
        "matched_by": { "row_number": by.numbered, "columns": by.columns },
        "rows": {
            "matched": found.matched, "differ": found.differ, "only_in_a": found.only_a, "only_in_b": found.only_b,
            "reordered": found.reordered,
        },
        "columns_only_in_a": found.columns_only_a, "columns_only_in_b": found.columns_only_b,
        "retyped": found.retyped.iter().map(|(a, b)| json!({ "old": a, "new": b })).collect::<Vec<_>>(),
        "columns": found.columns.iter().map(json_column).collect::<Vec<_>>(),
        "examples": found.examples.iter().map(example).collect::<Vec<_>>(),
        "examples_only_in_a": found.examples_only_a.iter().map(cells).collect::<Vec<_>>(),
        "examples_only_in_b": found.examples_only_b.iter().map(cells).collect::<Vec<_>>(),
    })
}

fn json_column(column: &ColumnDiff) -> Value {
    let confusion = column.confusion.as_ref().map(|confusion| {
        let labels: Value = confusion.labels.iter().map(Cell::json).collect();
        let kappa = confusion.kappa().map(|(kappa, rows)| json!({ "kappa": kappa, "rows": rows }));
        json!({ "labels": labels, "counts": confusion.counts, "agreement": kappa })
    });
    let distance = column.distance.map(|Distance { mean, rows }| json!({ "mean_absolute": mean, "rows": rows }));
    json!({
        "name": column.name, "differ": column.differ, "from_null": column.null_in_a, "to_null": column.null_in_b,
        "confusion": confusion, "distance": distance,
    })
}
