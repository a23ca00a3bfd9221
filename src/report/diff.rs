//! The report of `fanfold diff`: shows how the inputs and the tables of two runs, locks or tables differ.

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::drift;
use super::settings::SettingChange;
use super::text::{count, cut, figure, grid, number, percent, printable};
use crate::lock::Drift;
use crate::stats::mcnemar;
use crate::table::Cell;
use crate::table::diff::{ColumnDiff, Confusion, Distance, Example, GoldDiff, Matching, TableDiff};

const CELL: usize = 60;
const LABEL: usize = 16;
const INDENT: usize = 4;
/// The most settings that differ in the text.
const SETTINGS: usize = 20;

pub(crate) struct DiffReport {
    pub(crate) a: String,
    pub(crate) b: String,
    pub(crate) facets: Option<Facets>,
    pub(crate) tables: Vec<ComparedTable>,
    pub(crate) only_a: Vec<String>,
    pub(crate) only_b: Vec<String>,
    pub(crate) no_cells: Option<&'static str>,
    /// The settings that differ; `None` if they are not known.
    pub(crate) settings: Option<Vec<SettingChange>>,
    pub(crate) gold: Option<String>,
    /// Whether the text shows every facet, even if the settings show what it means.
    pub(crate) verbose: bool,
    pub(crate) width: usize,
}

pub(crate) struct Facets {
    pub(crate) same: usize,
    pub(crate) drift: Vec<Drift>,
}

pub(crate) struct ComparedTable {
    pub(crate) name: String,
    pub(crate) compared: Compared,
}

pub(crate) enum Compared {
    Cells(Matching, Box<TableDiff>),
    Not(String),
}

impl DiffReport {
    pub(crate) fn differs(&self) -> bool {
        let table = |table: &ComparedTable| matches!(&table.compared, Compared::Cells(_, found) if found.differs());
        self.settings.as_ref().is_some_and(|settings| !settings.is_empty())
            || self.facets.as_ref().is_some_and(|facets| !facets.drift.is_empty())
            || !(self.only_a.is_empty() && self.only_b.is_empty())
            || self.tables.iter().any(table)
    }
}

impl Display for DiffReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "A  {}\nB  {}", self.a, self.b)?;
        let settings = self.settings.as_deref().unwrap_or_default();
        let most = if self.verbose { settings.len() } else { SETTINGS };
        settings.iter().take(most).try_for_each(|change| writeln!(f, "  {}", change.words()))?;
        if settings.len() > most {
            writeln!(f, "  and {} (`-v` shows them)", count((settings.len() - most) as u64, "more setting"))?;
        }
        if let Some(Facets { same, drift }) = &self.facets {
            let same = count(*same as u64, "facet");
            let mut changes: Vec<String> = drift.iter().filter_map(drift::data_change).collect();
            changes.dedup();
            match drift.len() as u64 {
                0 => writeln!(f, "all {same} are the same")?,
                differ if self.verbose || self.settings.is_none() => {
                    writeln!(
                        f,
                        "{same} are the same, {} not:\n{}",
                        number(differ),
                        drift::lines(drift, "  ").trim_end()
                    )?;
                }
                differ => {
                    changes.iter().try_for_each(|change| writeln!(f, "  {change}"))?;
                    writeln!(f, "{same} are the same, {} not (`-v` shows them)", number(differ))?;
                }
            }
        }
        for (only, side) in [(&self.only_a, "A"), (&self.only_b, "B")] {
            only.iter().try_for_each(|name| writeln!(f, "table {name}: only in {side}"))?;
        }
        for ComparedTable { name, compared } in &self.tables {
            match compared {
                Compared::Not(why) => writeln!(f, "table {name}: not compared: {why}")?,
                Compared::Cells(by, found) => self.write_table(f, name, by, found)?,
            }
        }
        if let Some(why) = self.no_cells {
            writeln!(f, "no cells were compared: {why}")?;
        }
        Ok(())
    }
}

impl DiffReport {
    fn write_table(&self, f: &mut Formatter<'_>, name: &str, by: &Matching, found: &TableDiff) -> fmt::Result {
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
        writeln!(f, "table {name}: {}", counts.join(", "))?;
        write_sides(f, by, found)?;
        let differ: Vec<&ColumnDiff> = found.columns.iter().filter(|column| column.differ > 0).collect();
        if !differ.is_empty() {
            f.write_str(&grid(&columns_grid(&differ, found.matched), "  ", |i| i > 0))?;
        }
        for (column, confusion) in differ.iter().filter_map(|column| Some((column, column.confusion.as_ref()?))) {
            let kappa = confusion
                .kappa()
                .map(|(kappa, rows)| format!(" (Cohen's kappa {} over {})", rounded(kappa), count(rows, "row")));
            writeln!(f, "  {}, A down, B across{}:", line(&column.name), kappa.unwrap_or_default())?;
            f.write_str(&grid(&confusion_grid(confusion), "    ", |i| i > 0))?;
        }
        for column in found.columns.iter().filter(|column| column.differ > 0) {
            if let Some((gold, name)) = column.gold.as_ref().zip(self.gold.as_ref()) {
                gold_lines(&line(&column.name), &line(name), gold)
                    .iter()
                    .try_for_each(|line| writeln!(f, "  {line}"))?;
            }
        }
        for Example { key: cells, shown, changes } in &found.examples {
            writeln!(f, "  row {}", key(by, cells))?;
            for (column, cell) in shown {
                let text = format!("{}: {}", line(column), line(&cell.text()));
                writeln!(f, "    {}", cut(&text, self.width.saturating_sub(INDENT + 2).max(CELL / 2)))?;
            }
            for (column, old, new) in changes {
                writeln!(f, "    {}: {} -> {}", line(column), cell(old, CELL), cell(new, CELL))?;
            }
        }
        let more = found.differ - found.examples.len() as u64;
        if more > 0 && !found.examples.is_empty() {
            writeln!(f, "  and {} more", count(more, "row"))?;
        }
        Ok(())
    }
}

/// How the changes of a column compare with the gold column.
fn gold_lines(column: &str, name: &str, gold: &GoldDiff) -> Vec<String> {
    let GoldDiff { rows, right_in_a, right_in_b, became_right, became_wrong, stayed_wrong } = *gold;
    let share = |right: u64| format!("{} ({})", number(right), percent(right as f64 / rows.max(1) as f64));
    let (right, wrong, p) = (number(became_right), number(became_wrong), rounded(mcnemar(became_right, became_wrong)));
    let (a, b, of) = (share(right_in_a), share(right_in_b), count(rows, "row"));
    let mut lines = vec![format!("{column} by {name}: {right} became right, {wrong} became wrong")];
    if stayed_wrong > 0 {
        lines.push(format!("  {} changed and stayed wrong", number(stayed_wrong)));
    }
    lines.push(format!("  right in A {a}, in B {b} of {of}; McNemar's test p = {p}"));
    lines
}

fn write_sides(f: &mut Formatter<'_>, by: &Matching, found: &TableDiff) -> fmt::Result {
    let rows = [(found.only_a, &found.examples_only_a, "A"), (found.only_b, &found.examples_only_b, "B")];
    for (rows, shown, side) in rows.into_iter().filter(|(_, shown, _)| !shown.is_empty()) {
        let keys = shown.iter().map(|cells| key(by, cells)).collect::<Vec<_>>().join("; ");
        let more = if rows > shown.len() as u64 { "; .." } else { "" };
        writeln!(f, "  rows only in {side}: {keys}{more}")?;
    }
    for (columns, side) in [(&found.columns_only_a, "A"), (&found.columns_only_b, "B")] {
        if !columns.is_empty() {
            writeln!(f, "  columns only in {side}: {}", line(&columns.join(", ")))?;
        }
    }
    found.retyped.iter().try_for_each(|(a, b)| writeln!(f, "  another type: {} -> {}", line(a), line(b)))
}

fn matched_by(by: &Matching) -> String {
    let number = by.numbered.then_some("number").into_iter();
    number.chain(by.columns.iter().map(String::as_str)).map(line).collect::<Vec<_>>().join(" and ")
}

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
        let share = percent(column.differ as f64 / matched as f64);
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
    let labels = labels(&confusion.labels);
    let head = [String::new()].into_iter().chain(labels.iter().cloned()).collect();
    let rows = labels.iter().zip(&confusion.counts);
    let rows =
        rows.map(|(label, counts)| [label.clone()].into_iter().chain(counts.iter().map(|n| number(*n))).collect());
    [head].into_iter().chain(rows).collect()
}

/// The labels, cut to a length at which they differ. Labels that differ only further on are numbered.
fn labels(cells: &[Cell]) -> Vec<String> {
    let cut_to = |most: usize| {
        let label = |cell: &Cell| match cell {
            Cell::Null => "(null)".to_owned(),
            Cell::Text(text) if text.trim().is_empty() => self::cell(cell, most),
            Cell::Text(text) => cut(&line(text), most),
            other => self::cell(other, most),
        };
        cells.iter().map(label).collect::<Vec<_>>()
    };
    let differ = |labels: &Vec<String>| labels.iter().collect::<HashSet<_>>().len() == labels.len();
    let found = [LABEL, 2 * LABEL, CELL].map(cut_to).into_iter().find(differ);
    let numbered = || cut_to(LABEL).into_iter().enumerate().map(|(i, label)| format!("{label} ({})", i + 1)).collect();
    found.unwrap_or_else(numbered)
}

/// A cell in JSON notation, cut to `most` characters. JSON distinguishes text from null and numbers.
fn cell(cell: &Cell, most: usize) -> String {
    match cell {
        Cell::Number(number) if !number.is_finite() => number.to_string(),
        other => cut(&other.json().to_string(), most),
    }
}

fn line(text: &str) -> String {
    printable(&text.split_whitespace().collect::<Vec<_>>().join(" ")).into_owned()
}

/// A number with three significant digits, or in scientific notation if it is very small.
fn rounded(number: f64) -> String {
    if number != 0.0 && number.abs() < 0.001 { format!("{number:.1e}") } else { figure(number) }
}

impl Serialize for DiffReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = json!({
            "schema_version": 1, "settings": self.settings, "gold": self.gold, "a": self.a, "b": self.b, "differs": self.differs(),
            "facets": self.facets.as_ref().map(|facets| json!({ "same": facets.same, "differ": facets.drift })),
            "tables_only_in_a": self.only_a, "tables_only_in_b": self.only_b,
            "tables": self.tables.iter().map(json_table).collect::<Vec<_>>(),
            "cells_not_compared": self.no_cells,
        });
        value.serialize(serializer)
    }
}

fn json_table(table: &ComparedTable) -> Value {
    let (by, found) = match &table.compared {
        Compared::Not(why) => return json!({ "name": table.name, "not_compared": why }),
        Compared::Cells(by, found) => (by, found),
    };
    let cells = |cells: &Vec<Cell>| cells.iter().map(Cell::json).collect::<Value>();
    let example = |example: &Example| {
        let change = |(column, old, new): &(String, Cell, Cell)| json!({ "column": column, "old": old.json(), "new": new.json() });
        let shown = example.shown.iter().map(|(column, cell)| json!({ "column": column, "value": cell.json() }));
        json!({ "key": cells(&example.key), "shown": shown.collect::<Vec<_>>(), "changes": example.changes.iter().map(change).collect::<Vec<_>>() })
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
    let gold = column.gold.map(|gold| {
        json!({
            "rows": gold.rows, "right_in_a": gold.right_in_a, "right_in_b": gold.right_in_b,
            "became_right": gold.became_right, "became_wrong": gold.became_wrong, "stayed_wrong": gold.stayed_wrong,
            "mcnemar_p": mcnemar(gold.became_right, gold.became_wrong),
        })
    });
    let distance = column.distance.map(|Distance { mean, rows }| json!({ "mean_absolute": mean, "rows": rows }));
    json!({
        "name": column.name, "differ": column.differ, "from_null": column.null_in_a, "to_null": column.null_in_b,
        "confusion": confusion, "distance": distance, "gold": gold,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_differ_stay_different() {
        let shown =
            |texts: &[&str]| labels(&texts.iter().map(|text| Cell::Text((*text).to_owned())).collect::<Vec<_>>());
        assert_eq!(shown(&["short", "a long label of many words"]), ["short", "a long label of .."]);
        let near = ["to some extent, agree", "to some extent, disagree"];
        assert_eq!(shown(&near), near);
        let far = ["x".repeat(70) + "a", "x".repeat(70) + "b"];
        let found = shown(&[&far[0], &far[1]]);
        assert_eq!(found, [format!("{}.. (1)", "x".repeat(16)), format!("{}.. (2)", "x".repeat(16))]);
    }
}
