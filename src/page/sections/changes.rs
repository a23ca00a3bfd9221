//! The section on changes: what is different from the run before, in the spec, in the data and in the answers.

use arrow_array::RecordBatch;
use serde_json::Value;

use super::super::Subject;
use super::super::chart::{Chart, Edge, Flow, Node};
use super::super::content::{Block, Figure, Grid, Section};
use crate::lock::Lock;
use crate::report::drift::data_change;
use crate::report::settings::{SettingChange, is_prose, marked_words, setting_changes, shown};
use crate::report::text::{count, cut, figure, number, percent};
use crate::stats::mcnemar;
use crate::store::{Changes, Manifest, NamedRun, Project, RunDir, State, StoredTable, named_runs};
use crate::table::Cell;
use crate::table::diff::{Batches, ColumnDiff, Confusion, Example, GoldDiff, Matching, Side, TableDiff, Wanted, diff};

/// The most rows of a table of changed rows.
const ROWS: usize = 20;
/// The most rows of each run that are compared.
const COMPARED: u64 = 200_000;
/// The most characters of a cell.
const CELL: usize = 120;

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let mut blocks: Vec<Block> = asked_again(subject.manifest).into_iter().collect();
    blocks.extend(before(subject).iter().flat_map(|before| since(before, subject)));
    let title = "What changed".to_owned();
    Ok((!blocks.is_empty()).then(|| Section { id: "changes".to_owned(), title, blocks }))
}

/// How the answers of a run that asked everything again compare with the answers that they replaced.
fn asked_again(now: &Manifest) -> Option<Block> {
    let row = |stage: &str, model: &str, changes: &Changes| {
        let Changes { equal, different, newly_failed, newly_answered } = *changes;
        let counts = [equal, different, newly_failed, newly_answered].map(Value::from);
        [stage, model].map(Value::from).into_iter().chain(counts).collect::<Vec<Value>>()
    };
    let stages = now.stages.iter().flat_map(|(stage, totals)| totals.changes.iter().map(move |of| (stage, of)));
    let rows: Vec<_> = stages.map(|(stage, (model, changes))| row(stage, model, changes)).collect();
    let columns = ["stage", "model", "equal", "different", "newly failed", "newly answered"];
    let title = "Answers that were asked again".to_owned();
    (!rows.is_empty()).then(|| Block::Table { title, table: Grid::new(&columns, rows) })
}

/// What is different from the run `before`.
fn since(before: &NamedRun, subject: &Subject<'_>) -> Vec<Block> {
    let now = subject.manifest;
    let mut blocks = vec![Block::text(format!("This run is compared with the run {}.", before.name))];
    blocks.extend(settings(&before.dir, subject.folder));
    blocks.extend(data(&before.manifest, now));
    for (output, facts) in now.outputs.iter().filter(|(_, facts)| !facts.codebook && facts.sheet.is_none()) {
        if !before.manifest.outputs.contains_key(output) {
            blocks.push(Block::text(format!("The table {output} is new.")));
            continue;
        }
        let tables = || {
            let old = StoredTable::output(&before.dir, &before.manifest, output)?;
            Ok([old, StoredTable::output(subject.folder, now, output)?])
        };
        let found = tables().and_then(|tables: [StoredTable; 2]| compared(subject, output, tables));
        blocks.push(match found {
            Ok((by, found)) => {
                let is_cut = facts.rows.max(before.manifest.outputs[output].rows) > COMPARED;
                let note = format!("The first {} rows of each run are compared.", number(COMPARED));
                let note = is_cut.then_some(Block::text(note));
                let blocks = note.into_iter().chain(table_blocks(now, &by, &found)).collect();
                Block::Group { title: format!("Table {output}"), blocks }
            }
            Err(why) => Block::text(format!("The table {} was not compared: {why}.", facts.path)),
        });
    }
    blocks
}

/// The last whole run of the pipeline that finished before this one began.
fn before(subject: &Subject<'_>) -> Option<NamedRun> {
    let now = subject.manifest;
    let mut runs = named_runs(&Project::of(&subject.plan.spec.folder)).ok()?;
    runs.retain(|NamedRun { dir, manifest, .. }| {
        let is_finished = manifest.state == State::Done && manifest.lock.is_some();
        let start = |manifest: &Manifest| (manifest.start_number, manifest.started_at.clone());
        let is_before = start(manifest) <= start(now) && dir.root() != subject.folder.root();
        is_finished && is_before && manifest.pipeline == now.pipeline && manifest.run != now.run
    });
    runs.pop()
}

/// The changed settings: long texts with their words marked, the others in one table.
fn settings(old: &RunDir, new: &RunDir) -> Vec<Block> {
    let Some((old, new)) = old.read_spec().zip(new.read_spec()) else { return Vec::new() };
    let (mut texts, mut rows) = (Vec::new(), Vec::new());
    for SettingChange { setting, old, new } in setting_changes(&old, &new) {
        match (&old, &new) {
            (Some(Value::String(old)), Some(Value::String(new))) if is_prose(old) || is_prose(new) => {
                let [old, new] = marked_words(old, new);
                let name = |text: &str| Block::text(text.to_owned());
                let blocks =
                    vec![name("Before:"), Block::Marked { parts: old }, name("Now:"), Block::Marked { parts: new }];
                texts.push(Block::Group { title: setting, blocks });
            }
            _ => {
                let value = |value: &Option<Value>| value.as_ref().map(|value| cut(&shown(value), CELL)).into();
                rows.push(vec![setting.into(), value(&old), value(&new)]);
            }
        }
    }
    let has_rows = !rows.is_empty();
    if texts.is_empty() && !has_rows {
        return vec![Block::text("The settings are the same.")];
    }
    let title = "Settings that differ".to_owned();
    let table = Block::Table { title, table: Grid::new(&["setting", "before", "now"], rows) };
    texts.into_iter().chain(Some(table).filter(|_| has_rows)).collect()
}

/// The changes of sources and of model builds.
fn data(old: &Manifest, new: &Manifest) -> Option<Block> {
    let (old, new) = (Lock::of_manifest(old)?, Lock::of_manifest(new)?);
    let mut changes: Vec<String> = old.drift(&new).iter().filter_map(data_change).collect();
    changes.dedup();
    (!changes.is_empty()).then(|| Block::text(format!("Data and models: {}.", changes.join("; "))))
}

fn compared(subject: &Subject<'_>, output: &str, [a, b]: [StoredTable; 2]) -> Result<(Matching, TableDiff), String> {
    let now = subject.manifest;
    let (by, folds) = a.matching(&b)?;
    let shown = now.reads(output).into_iter().filter(|column| a.has(column)).collect();
    let gold = truths(&subject.folder.read_spec().unwrap_or_default()).into_iter().find(|column| a.has(column));
    let (read_a, read_b) = (|| first_rows(a.read()?), || first_rows(b.read()?));
    let old = Side { schema: a.schema(), read: &read_a, fold: folds[0] };
    let new = Side { schema: b.schema(), read: &read_b, fold: folds[1] };
    let wanted = Wanted { examples: ROWS, shown, gold };
    let mut found = diff(&old, &new, &by, &wanted).map_err(|error| error.to_string())?;
    for column in &mut found.columns {
        if let Some(confusion) = &mut column.confusion {
            confusion.sort(&now.labels(&column.name));
        }
    }
    Ok((by, found))
}

/// The first [`COMPARED`] rows, which bound the memory and the time of a comparison.
fn first_rows(batches: Batches) -> Result<Batches, String> {
    let mut left = COMPARED as usize;
    let first = move |batch: Result<RecordBatch, String>| {
        let rows = batch.as_ref().map_or(0, RecordBatch::num_rows).min(left);
        let is_over = left == 0;
        left -= rows;
        (!is_over).then(|| batch.map(|batch| batch.slice(0, rows)))
    };
    Ok(Box::new(batches.map_while(first)))
}

/// The columns that methods of a spec read as the truth.
fn truths(spec: &Value) -> Vec<String> {
    match spec {
        Value::Object(members) => {
            let own = members.get("truth").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(members.values().flat_map(truths)).collect()
        }
        Value::Array(items) => items.iter().flat_map(truths).collect(),
        _ => Vec::new(),
    }
}

fn table_blocks(now: &Manifest, by: &Matching, found: &TableDiff) -> Vec<Block> {
    let mut counts =
        vec![format!("{} in both runs", count(found.matched, "row")), format!("{} differ", number(found.differ))];
    let sides = [(found.only_a, "gone"), (found.only_b, "new")];
    counts.extend(sides.iter().filter(|(rows, _)| *rows > 0).map(|(rows, what)| format!("{} {what}", number(*rows))));
    let mut blocks = vec![Block::text(format!("{}.", counts.join(", ")))];
    for (keys, rows, what) in
        [(&found.examples_only_a, found.only_a, "gone"), (&found.examples_only_b, found.only_b, "new")]
    {
        if rows > 0 {
            let names = keys.iter().map(|key| row_name(key)).collect::<Vec<_>>().join(", ");
            let more = rows - keys.len() as u64;
            let more = if more > 0 { format!(" and {}", count(more, "more row")) } else { String::new() };
            blocks.push(Block::text(format!("Rows that are {what}: {names}{more}.")));
        }
    }
    let columns = [(&found.columns_only_a, "gone"), (&found.columns_only_b, "new")];
    blocks.extend(
        columns
            .into_iter()
            .filter(|(names, _)| !names.is_empty())
            .map(|(names, what)| Block::text(format!("Columns that are {what}: {}.", names.join(", ")))),
    );
    let differ: Vec<&ColumnDiff> = found.columns.iter().filter(|column| column.differ > 0).collect();
    if !differ.is_empty() {
        let title = "Cells that differ, by column".to_owned();
        blocks.push(Block::Table { title, table: columns_grid(&differ, found.matched) });
    }
    for column in differ {
        blocks.extend(column.gold.map(|gold| Block::text(gold_text(&column.name, &gold))));
        let is_label = |confusion: &&Confusion| {
            let is_truth = |label: &Cell| matches!(label, Cell::Boolean(_) | Cell::Null);
            !now.labels(&column.name).is_empty() || confusion.labels.iter().all(is_truth)
        };
        if let Some(confusion) = column.confusion.as_ref().filter(is_label) {
            blocks.push(Block::Figure(label_flow(&column.name, confusion)));
        }
    }
    if !found.examples.is_empty() {
        let title = match found.differ > found.examples.len() as u64 {
            true => format!("The first {} of {} rows that differ", found.examples.len(), number(found.differ)),
            false => "Rows that differ".to_owned(),
        };
        blocks.push(Block::Table { title, table: examples_grid(by, &found.examples) });
    }
    blocks
}

fn row_name(key: &[Cell]) -> String {
    let named = key.iter().filter(|cell| **cell != Cell::Null);
    named.map(|cell| cut(&cell.text(), 60)).collect::<Vec<_>>().join(" ")
}

fn columns_grid(columns: &[&ColumnDiff], matched: u64) -> Grid {
    let names = ["column", "differ", "share", "from null", "to null", "mean difference"];
    let row = |column: &&ColumnDiff| {
        let share = column.differ as f64 / matched.max(1) as f64;
        let distance = column.distance.map(|distance| distance.mean);
        let counts = [column.null_in_a, column.null_in_b].map(Value::from);
        let start = [Value::from(column.name.as_str()), column.differ.into(), share.into()];
        start.into_iter().chain(counts).chain([distance.into()]).collect()
    };
    Grid::new(&names, columns.iter().map(row).collect())
}

fn gold_text(column: &str, gold: &GoldDiff) -> String {
    let GoldDiff { rows, right_in_a, right_in_b, became_right, became_wrong, stayed_wrong } = *gold;
    let share = |right: u64| percent(right as f64 / rows.max(1) as f64);
    format!(
        "{column}, judged by the codes of people: {} changed: {} became right, {} became wrong, {} stayed wrong. Right \
         before: {}, now: {}, of {} (McNemar's test p = {}).",
        number(became_right + became_wrong + stayed_wrong),
        number(became_right),
        number(became_wrong),
        number(stayed_wrong),
        share(right_in_a),
        share(right_in_b),
        count(rows, "row"),
        figure(mcnemar(became_right, became_wrong))
    )
}

/// How many rows went from each label to each label.
fn label_flow(column: &str, confusion: &Confusion) -> Figure {
    let labels: Vec<String> = confusion.labels.iter().map(label).collect();
    let old: Vec<u64> = confusion.counts.iter().map(|counts| counts.iter().sum()).collect();
    let new: Vec<u64> = (0..labels.len()).map(|b| confusion.counts.iter().map(|counts| counts[b]).sum()).collect();
    let mut nodes = Vec::new();
    let mut places = [vec![None; labels.len()], vec![None; labels.len()]];
    for (side, counts) in [&old, &new].into_iter().enumerate() {
        for (i, rows) in counts.iter().enumerate().filter(|(_, rows)| **rows > 0) {
            places[side][i] = Some(nodes.len());
            nodes.push(Node { name: labels[i].clone(), column: side, text: number(*rows), failed: 0.0 });
        }
    }
    let pairs = (0..labels.len()).flat_map(|a| (0..labels.len()).map(move |b| (a, b)));
    let edges = pairs.filter_map(|(a, b)| {
        let rows = Some(confusion.counts[a][b]).filter(|rows| *rows > 0)?;
        Some(Edge { from: places[0][a]?, to: places[1][b]?, rows })
    });
    let row = |(label, counts): (&String, &Vec<u64>)| {
        [Value::from(label.as_str())].into_iter().chain(counts.iter().map(|rows| Value::from(*rows))).collect()
    };
    let kappa = confusion.kappa().map(|(kappa, rows)| {
        format!("Cohen's kappa between the runs is {} over {}.", figure(kappa), count(rows, "row"))
    });
    Figure {
        title: format!("{column}: labels before (left) and now (right)"),
        numbers: Grid {
            columns: ["before / now".to_owned()].into_iter().chain(labels.clone()).collect(),
            rows: labels.iter().zip(&confusion.counts).map(row).collect(),
        },
        chart: Chart::Flow(Flow { edges: edges.collect(), nodes }),
        note: kappa,
    }
}

fn label(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        cell => cut(&cell.text(), 60),
    }
}

/// A line for each row, with the texts that the prompts read and the cells that differ.
fn examples_grid(by: &Matching, examples: &[Example]) -> Grid {
    let mut texts: Vec<&String> = examples.iter().flat_map(|row| &row.shown).map(|(name, _)| name).collect();
    texts.sort_unstable();
    texts.dedup();
    let key = if by.columns.is_empty() { "row".to_owned() } else { by.columns.join(" ") };
    let columns = [key].into_iter().chain(texts.iter().map(|name| (*name).clone())).chain(["changes".to_owned()]);
    let cell = |cell: &Cell| match cell {
        Cell::Null => "null".to_owned(),
        cell => cut(&cell.text(), CELL),
    };
    let row = |row: &Example| {
        let text = |name: &&String| row.shown.iter().find(|(other, _)| other == *name).map(|(_, text)| cell(text));
        let changes = row.changes.iter().map(|(column, old, new)| format!("{column}: {} → {}", cell(old), cell(new)));
        let texts = texts.iter().map(|name| Value::from(text(name)));
        [Value::from(row_name(&row.key))]
            .into_iter()
            .chain(texts)
            .chain([changes.collect::<Vec<_>>().join("; ").into()])
            .collect()
    };
    Grid { columns: columns.collect(), rows: examples.iter().map(row).collect() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flow_has_an_edge_for_each_pair_of_labels_with_rows() {
        let labels = ["good", "bad"].map(|label| Cell::Text(label.to_owned())).to_vec();
        let confusion = Confusion {
            labels: [labels, vec![Cell::Null]].concat(),
            counts: vec![vec![5, 2, 0], vec![0, 1, 0], vec![0, 0, 0]],
        };
        let Figure { chart: Chart::Flow(flow), numbers, .. } = label_flow("tone", &confusion) else { panic!("a flow") };
        let nodes: Vec<(&str, usize, &str)> =
            flow.nodes.iter().map(|node| (node.name.as_str(), node.column, node.text.as_str())).collect();
        assert_eq!(nodes, [("good", 0, "7"), ("bad", 0, "1"), ("good", 1, "5"), ("bad", 1, "3")]);
        let edges: Vec<(usize, usize, u64)> = flow.edges.iter().map(|edge| (edge.from, edge.to, edge.rows)).collect();
        assert_eq!(edges, [(0, 2, 5), (0, 3, 2), (1, 3, 1)]);
        assert_eq!(numbers.rows[0], [json!("good"), json!(5), json!(2), json!(0)]);
    }

    #[test]
    fn a_changed_row_is_one_line_with_its_texts_and_its_cells() {
        let text = |text: &str| Cell::Text(text.to_owned());
        let example = Example {
            key: vec![text("s1")],
            shown: vec![("text".to_owned(), text("Peace."))],
            changes: vec![
                ("tone".to_owned(), Cell::Null, text("good")),
                ("score".to_owned(), Cell::Integer(1), Cell::Integer(2)),
            ],
        };
        let by = Matching { columns: vec!["id".to_owned()], numbered: false };
        let grid = examples_grid(&by, &[example]);
        assert_eq!(grid.columns, ["id", "text", "changes"]);
        assert_eq!(grid.rows, [[json!("s1"), json!("Peace."), json!("tone: null → good; score: 1 → 2")]]);
    }

    #[test]
    fn the_truth_of_every_method_is_found() {
        let spec = json!({ "stages": { "a": { "reshape": { "truth": "human" } }, "b": { "prompt": "truth" } },
            "list": [{ "truth": "other" }] });
        assert_eq!(truths(&spec), ["human", "other"]);
    }
}
