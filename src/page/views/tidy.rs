//! Tidy tables: their statistics as points with intervals, matrices and curves, for all rows and for each group.

use std::collections::HashMap;

use indexmap::{IndexMap, IndexSet};
use serde_json::{Map, Value, json};

use super::blocks::{figure, fold, matrix, named};
use super::collect::Collect;
use super::table::{Batch, Grouping, TableRows};
use crate::page::chart::{Axis, Chart, Dot, DotRow, Dots, Line, Lines, Mark, Matrix, Point, Unit};
use crate::page::content::Block;
use crate::report::findings::in_words;
use crate::report::text::percent;
use crate::stage::{Curve, Estimates, Shown, UNIVERSE, View};
use crate::table::cells_at;

/// The column of the name of a statistic.
const STATISTIC: &str = "statistic";
/// The most groups, lines of a chart, charts of a line, and notes that are shown.
const MOST_GROUPS: usize = 12;
const MOST_LINES: usize = 40;
const MOST_APART: usize = 12;
const MOST_NOTES: usize = 3;

type Row = Map<String, Value>;

/// The rows of a tidy table.
pub(super) struct TidyView {
    view: View,
    columns: Vec<String>,
    rows: Vec<Row>,
}

impl TidyView {
    pub(super) fn new(view: &View, table: &TableRows<'_>) -> TidyView {
        let columns = table.schema.fields().iter().map(|field| field.name().clone()).collect();
        TidyView { view: view.clone(), columns, rows: Vec::new() }
    }

    /// The rows of each group, by the names of the groups. Those of all rows come first.
    fn groups(&self) -> IndexMap<Vec<String>, Vec<&Row>> {
        let mut groups: IndexMap<Vec<String>, Vec<&Row>> = IndexMap::new();
        for row in &self.rows {
            let values = self.view.by.iter().filter_map(|column| word(row, column).map(|v| format!("{column}: {v}")));
            groups.entry(values.collect()).or_default().push(row);
        }
        groups
    }

    fn blocks_of(&self, title: &str, rows: &[&Row]) -> Vec<Block> {
        match &self.view.shown {
            Shown::Estimates(estimates) => estimated(title, estimates, rows),
            Shown::Confusion { statistic, of, truth, predicted } => {
                confusion(title, (statistic, of), [truth, predicted], rows)
            }
            Shown::Pairs { coders, above, below } => pairs(title, coders, (above, below), rows).into_iter().collect(),
            Shown::Curve(shown) => curve(title, shown, rows).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

impl Collect for TidyView {
    fn reads(&self) -> Vec<String> {
        self.columns.clone()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        self.rows.extend((0..batch.rows.num_rows()).map(|row| cells_at(batch.rows, row)));
    }

    fn blocks(&mut self, _: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        let mut groups = self.groups();
        let mut blocks = Vec::new();
        if let Some(rows) = groups.shift_remove(&Vec::new()) {
            blocks.extend(self.blocks_of(&self.view.title, &rows));
        }
        if let Shown::Estimates(estimates) = &self.view.shown
            && self.view.by.iter().any(|column| column == UNIVERSE)
        {
            let rows: Vec<&Row> = groups.into_values().flatten().collect();
            blocks.extend(specification_curves(&self.view, estimates, &rows));
            return Ok(blocks);
        }
        let all = groups.len();
        let mut inner = Vec::new();
        for (names, rows) in groups.iter().take(MOST_GROUPS) {
            inner.extend(self.blocks_of(&format!("{}, {}", self.view.title, names.join(", ")), rows));
        }
        if all > MOST_GROUPS && !inner.is_empty() {
            inner.push(Block::text(format!("The first {MOST_GROUPS} of {all} groups are shown.")));
        }
        blocks.extend(fold(format!("{} by {}", self.view.title, self.view.by.join(" and ")), inner));
        Ok(blocks)
    }
}

/// A cell as text. `None` for null and for a column that is not there.
fn word(row: &Row, column: &str) -> Option<String> {
    match row.get(column)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn value(row: &Row, column: &str) -> Option<f64> {
    row.get(column)?.as_f64()
}

/// The words of some columns that have a value.
fn words(row: &Row, columns: &[&str]) -> Vec<String> {
    columns.iter().filter_map(|column| word(row, column)).collect()
}

fn is_of(row: &Row, statistic: &str) -> bool {
    row.get(STATISTIC).and_then(Value::as_str) == Some(statistic)
}

fn chosen<'r>(estimates: &Estimates, rows: &[&'r Row]) -> Vec<&'r Row> {
    let fits = |row: &&&Row| {
        let of = |column: &&str| word(row, column).is_some();
        let is_named = estimates.statistics.is_empty() || estimates.statistics.iter().any(|name| is_of(row, name));
        is_named && estimates.with.iter().all(of) && !estimates.without.iter().any(of)
    };
    rows.iter().filter(fits).copied().collect()
}

fn estimated(title: &str, estimates: &Estimates, rows: &[&Row]) -> Vec<Block> {
    let columns = estimates.columns;
    let rows = chosen(estimates, rows);
    let line = |row: &Row| {
        let of = |column: &&str| word(row, column).map(|word| in_words(column, &word));
        let words: Vec<String> = estimates.lines.iter().filter_map(of).collect();
        if words.is_empty() { title.to_owned() } else { words.join(" · ") }
    };
    let series_of = |row: &Row| {
        let of = |column| word(row, column).map(|word| in_words(column, &word));
        estimates.series.and_then(of).unwrap_or_default()
    };
    let series: IndexSet<String> = rows.iter().map(|row| series_of(row)).collect();
    let mut lines: IndexMap<String, Vec<Dot>> = IndexMap::new();
    let mut numbers = Vec::new();
    for row in &rows {
        let name = series_of(row);
        let [estimate, low, high] = [columns.estimate, columns.low, columns.high].map(|column| value(row, column));
        numbers.push(vec![
            json!(line(row)),
            json!(name),
            json!(estimate),
            json!(low),
            json!(high),
            row.get(columns.n).cloned().unwrap_or_default(),
            row.get("note").cloned().unwrap_or_default(),
        ]);
        let dots = lines.entry(line(row)).or_default();
        let dot = |at| Dot { series: series.get_index_of(&name).unwrap_or(0), at, interval: low.zip(high) };
        dots.extend(estimate.map(dot));
    }
    lines.retain(|_, dots| !dots.is_empty());
    if lines.is_empty() {
        return Vec::new();
    }
    let notes = notes(&rows, &line, &series_of);
    let mut blocks = Vec::new();
    if estimates.notes {
        blocks.extend(notes.iter().map(|note| Block::text(note.clone())));
    }
    let (all, most) = (lines.len(), if estimates.apart { MOST_APART } else { MOST_LINES });
    lines.truncate(most);
    let mut note = if estimates.notes { String::new() } else { listed_notes(&notes) };
    if all > lines.len() {
        note = format!("The first {most} of {all} lines are shown. {note}");
    }
    let unit = if estimates.shares { Unit::Share } else { Unit::Number };
    let range = Some((0.0, 1.0)).filter(|_| estimates.shares && estimates.mark.is_none());
    let axis = Axis { title: if estimates.shares { "Share" } else { "Estimate" }.to_owned(), unit, range };
    let name = |name: &String| if name.is_empty() { "estimate".to_owned() } else { name.clone() };
    let names: Vec<String> = series.iter().map(name).collect();
    let marks: Vec<Mark> = estimates.mark.iter().map(|at| Mark { at: *at, label: at.to_string() }).collect();
    let chart = |rows| {
        let (axis, series, marks) = (axis.clone(), names.clone(), marks.clone());
        Chart::Dots(Dots { axis, series, rows, marks })
    };
    let columns = ["line", estimates.series.unwrap_or("series"), "estimate", "low", "high", "n", "note"];
    let note = Some(note.trim().to_owned()).filter(|note| !note.is_empty());
    if !estimates.apart {
        let rows = lines.into_iter().map(|(label, dots)| DotRow { label, dots }).collect();
        blocks.push(figure(title.to_owned(), chart(rows), named(&columns, numbers), note));
        return blocks;
    }
    for (label, dots) in lines {
        let own = numbers.iter().filter(|row| row[0] == label).cloned().collect();
        let title = format!("{title}: {label}");
        blocks.push(figure(title, chart(vec![DotRow { label, dots }]), named(&columns, own), note.clone()));
    }
    blocks
}

/// The estimates of all universes in order, with the choices of each: a chart for each line and series (Simonsohn,
/// Simmons and Nelson 2020, <https://doi.org/10.1038/s41562-020-0912-z>).
fn specification_curves(view: &View, estimates: &Estimates, rows: &[&Row]) -> Vec<Block> {
    let mut curves: IndexMap<String, Vec<&Row>> = IndexMap::new();
    for row in chosen(estimates, rows) {
        let of = |column: &&str| word(row, column).map(|word| in_words(column, &word));
        let name = estimates.lines.iter().chain(&estimates.series).filter_map(of).collect::<Vec<_>>().join(" · ");
        if value(row, estimates.columns.estimate).is_some() {
            curves.entry(name).or_default().push(row);
        }
    }
    curves.into_iter().map(|(name, rows)| specification_curve(view, estimates, &name, rows)).collect()
}

fn specification_curve(view: &View, estimates: &Estimates, name: &str, mut rows: Vec<&Row>) -> Block {
    let columns = estimates.columns;
    let estimate = |row: &Row| value(row, columns.estimate).unwrap_or_default();
    let interval = |row: &Row| value(row, columns.low).zip(value(row, columns.high));
    rows.sort_by(|a, b| estimate(a).total_cmp(&estimate(b)));
    let choices: Vec<&str> = view.by.iter().map(String::as_str).filter(|column| *column != UNIVERSE).collect();
    let label = |row: &Row| match words(row, &choices) {
        words if words.is_empty() => word(row, UNIVERSE).unwrap_or_default(),
        words => words.join(" · "),
    };
    let dot = |row: &Row| Dot { series: 0, at: estimate(row), interval: interval(row) };
    let dots = rows.iter().map(|row| DotRow { label: label(row), dots: vec![dot(row)] }).collect();
    let of = rows.len();
    let median = (estimate(rows[(of - 1) / 2]) + estimate(rows[of / 2])) / 2.0;
    let share = |is: &dyn Fn(&Row) -> bool| percent(rows.iter().filter(|row| is(row)).count() as f64 / of as f64);
    let (least, most) = (estimate(rows[0]), estimate(rows[of - 1]));
    let mut note = format!("{of} universes: median {median:.3}, from {least:.3} to {most:.3}.");
    if let Some(mark) = estimates.mark {
        let sign = share(&|row| (estimate(row) - mark) * (median - mark) > 0.0);
        let apart = share(&|row| interval(row).is_some_and(|(low, high)| low > mark || high < mark));
        note += &format!(" {sign} have the sign of the median; the intervals of {apart} exclude {mark}.");
    }
    let names = [&view.by[..], &["estimate".to_owned(), "low".to_owned(), "high".to_owned()]].concat();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cells = |row: &&Row| {
        let by = view.by.iter().map(|column| row.get(column).cloned().unwrap_or_default());
        let ends = interval(row);
        by.chain([json!(estimate(row)), json!(ends.map(|ends| ends.0)), json!(ends.map(|ends| ends.1))]).collect()
    };
    let numbers = named(&names, rows.iter().map(cells).collect());
    let marks = estimates.mark.iter().map(|at| Mark { at: *at, label: at.to_string() }).collect();
    let axis = Axis { title: "Estimate".to_owned(), unit: Unit::Number, range: None };
    let chart = Dots { axis, series: vec![name.to_owned()], rows: dots, marks };
    figure(format!("Specification curve: {name}"), Chart::Dots(chart), numbers, Some(note))
}

/// The different notes, each with the lines that it is about. A line is named alone if all its series have the note.
fn notes(rows: &[&Row], line: &dyn Fn(&Row) -> String, series: &dyn Fn(&Row) -> String) -> Vec<String> {
    let mut about: IndexMap<String, IndexMap<String, Vec<String>>> = IndexMap::new();
    let mut of_line: HashMap<String, usize> = HashMap::new();
    for row in rows {
        *of_line.entry(line(row)).or_default() += 1;
        for note in word(row, "note").iter().flat_map(|note| note.split("; ")) {
            about.entry(note.to_owned()).or_default().entry(line(row)).or_default().push(series(row));
        }
    }
    let name = |(line, series): (&String, &Vec<String>)| match series.len() == of_line[line] {
        true => line.clone(),
        false => format!("{line} ({})", series.join(", ")),
    };
    let listed = |lines: &IndexMap<String, Vec<String>>| match (lines.len(), lines.len() == of_line.len()) {
        (2.., true) => "all lines".to_owned(),
        (n, _) => {
            let more = if n > MOST_NOTES { format!("; and {} more", n - MOST_NOTES) } else { String::new() };
            lines.iter().take(MOST_NOTES).map(name).collect::<Vec<_>>().join("; ") + &more
        }
    };
    about.iter().map(|(note, lines)| format!("{}: {note}.", listed(lines))).collect()
}

fn listed_notes(notes: &[String]) -> String {
    let mut listed = notes.iter().take(MOST_NOTES).cloned().collect::<Vec<_>>().join(" ");
    if notes.len() > MOST_NOTES {
        listed += " The other notes are in the table of the numbers.";
    }
    listed
}

/// A matrix for each value of `of`.
fn confusion(title: &str, (statistic, of): (&str, &str), [truth, predicted]: [&str; 2], rows: &[&Row]) -> Vec<Block> {
    let rows: Vec<&&Row> = rows.iter().filter(|row| is_of(row, statistic)).collect();
    let names: IndexSet<Option<String>> = rows.iter().map(|row| word(row, of)).collect();
    let labels: IndexSet<String> =
        rows.iter().flat_map(|row| [word(row, truth), word(row, predicted)]).flatten().collect();
    let place = |row: &Row, column: &str| labels.get_index_of(&word(row, column)?);
    let of_name = |name: &Option<String>| {
        let mut values = vec![vec![None; labels.len()]; labels.len()];
        for row in rows.iter().filter(|row| word(row, of) == *name) {
            if let Some((truth, predicted)) = place(row, truth).zip(place(row, predicted)) {
                values[truth][predicted] = value(row, "estimate");
            }
        }
        let labels: Vec<String> = labels.iter().cloned().collect();
        let title = name.as_ref().map_or(title.to_owned(), |name| format!("{title}: {name}"));
        matrix(title, [truth, predicted], &labels, &values)
    };
    names.iter().map(of_name).collect()
}

fn pairs(title: &str, coders: &str, (above, below): (&[&str], &str), rows: &[&Row]) -> Option<Block> {
    let pair = |row: &Row| -> Option<[String; 2]> {
        word(row, coders)?.split(", ").map(str::to_owned).collect::<Vec<_>>().try_into().ok()
    };
    let found: Vec<(&&Row, [String; 2])> = rows.iter().filter_map(|row| Some((row, pair(row)?))).collect();
    let names: IndexSet<String> = found.iter().flat_map(|(_, pair)| pair.clone()).collect();
    if names.len() < 3 {
        return None;
    }
    let above = above.iter().find(|name| found.iter().any(|(row, _)| is_of(row, name)))?;
    let (mut shades, mut texts) =
        (vec![vec![None; names.len()]; names.len()], vec![vec![String::new(); names.len()]; names.len()]);
    let mut numbers = Vec::new();
    for (row, [a, b]) in &found {
        let (a, b) = (names.get_index_of(a)?, names.get_index_of(b)?);
        let (first, last) = (a.min(b), a.max(b));
        let Some(estimate) = value(row, "estimate") else { continue };
        if is_of(row, above) {
            shades[first][last] = Some(estimate.clamp(0.0, 1.0));
            texts[first][last] = format!("{estimate:.2}");
        } else if is_of(row, below) {
            shades[last][first] = Some(estimate.clamp(0.0, 1.0));
            texts[last][first] = percent(estimate);
        } else {
            continue;
        }
        numbers.push(vec![json!(names[a]), json!(names[b]), json!(word(row, STATISTIC)), json!(estimate)]);
    }
    let names: Vec<String> = names.into_iter().collect();
    let (row_title, column_title) = ("Coder".to_owned(), "Coder".to_owned());
    let chart = Matrix { row_title, column_title, rows: names.clone(), columns: names, shades, texts };
    let note = format!("Above the diagonal: {}. Below it: the share of equal codes.", in_words(STATISTIC, above));
    let numbers = named(&["coder", "other coder", "statistic", "estimate"], numbers);
    Some(figure(title.to_owned(), Chart::Matrix(chart), numbers, Some(note)))
}

fn curve(title: &str, curve: &Curve, rows: &[&Row]) -> Option<Block> {
    let mut lines: IndexMap<String, Vec<Point>> = IndexMap::new();
    let mut numbers = Vec::new();
    for row in rows.iter().filter(|row| is_of(row, curve.y)) {
        let (series, point) = (words(row, curve.series), words(row, curve.point));
        let same = |other: &&&Row| {
            is_of(other, curve.x) && words(other, curve.series) == series && words(other, curve.point) == point
        };
        let x = match curve.x {
            "n" => value(row, "n"),
            _ => rows.iter().find(same).and_then(|other| value(other, "estimate")),
        };
        let Some((x, y)) = x.zip(value(row, "estimate")) else { continue };
        let interval = value(row, "ci_low").zip(value(row, "ci_high"));
        let name = series.join(" · ");
        let ends = [json!(interval.map(|ends| ends.0)), json!(interval.map(|ends| ends.1))];
        let n = row.get("n").cloned().unwrap_or_default();
        numbers.push([json!(name), json!(x), json!(y)].into_iter().chain(ends).chain([n]).collect());
        lines.entry(name).or_default().push(Point { x, y, interval });
    }
    if lines.is_empty() {
        return None;
    }
    lines.values_mut().for_each(|points| points.sort_by(|a, b| a.x.total_cmp(&b.x)));
    let axis = |title| if curve.shares { Axis::shares(title) } else { Axis::new(title, Unit::Number) };
    let chart = Lines {
        x: axis(curve.titles[0]),
        y: axis(curve.titles[1]),
        lines: lines.into_iter().map(|(name, points)| Line { name, points, steps: false }).collect(),
        diagonal: curve.diagonal,
        marks: Vec::new(),
    };
    let columns = ["line", curve.titles[0], curve.titles[1], "low", "high", "n"];
    Some(figure(title.to_owned(), Chart::Lines(chart), named(&columns, numbers), None))
}

/// The first rows of a table, closed.
pub(super) struct RowView {
    title: String,
    columns: Vec<String>,
    rows: Vec<Row>,
    all: u64,
}

/// The rows that are listed.
const LISTED: usize = 300;

impl RowView {
    pub(super) fn new(title: &str, table: &TableRows<'_>) -> RowView {
        let columns = table.schema.fields().iter().map(|field| field.name().clone()).collect();
        RowView { title: title.to_owned(), columns, rows: Vec::new(), all: 0 }
    }
}

impl Collect for RowView {
    fn reads(&self) -> Vec<String> {
        self.columns.clone()
    }

    fn add(&mut self, batch: &Batch<'_>) {
        self.all += batch.rows.num_rows() as u64;
        let room = LISTED.saturating_sub(self.rows.len()).min(batch.rows.num_rows());
        self.rows.extend((0..room).map(|row| cells_at(batch.rows, row)));
    }

    fn blocks(&mut self, _: &TableRows<'_>, _: &[Grouping]) -> Result<Vec<Block>, String> {
        if self.rows.is_empty() {
            return Ok(Vec::new());
        }
        let row = |row: &Row| self.columns.iter().map(|name| row.get(name).cloned().unwrap_or_default()).collect();
        let columns: Vec<&str> = self.columns.iter().map(String::as_str).collect();
        let numbers = named(&columns, self.rows.iter().map(row).collect());
        let mut blocks = vec![super::blocks::table(self.title.clone(), numbers)];
        if self.all > self.rows.len() as u64 {
            blocks.push(Block::text(format!("The first {LISTED} of {} rows are shown.", self.all)));
        }
        Ok(fold(self.title.clone(), blocks))
    }
}
