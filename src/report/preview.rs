//! Previews of tables: formats the first rows of a table for the width of a terminal.
//!
//! Answers come first and get the width that they need. The columns used in the prompt share the rest.

use arrow_array::RecordBatch;
use unicode_width::UnicodeWidthStr;

use super::text::{GAP, count, fit, grid, printable};
use crate::plan::Plan;
use crate::spec::{Guard, OutputSpec, Spec, StageSpec, TableSpec};
use crate::store::RunDir;
use crate::table::{Cell, cell_at};

const ROWS: u64 = 5;
const NARROW: usize = 12;
/// The number of characters of a column name that are never cut, so that names with the same beginning stay distinct.
const NAME: usize = 24;

struct Column {
    lines: Vec<String>,
    right: bool,
}

/// The first rows of each stage that has an output. Parts that can't be read are left out.
pub(crate) fn first_rows(plan: &Plan, folder: &RunDir, width: usize) -> Vec<String> {
    let mut stages = Vec::new();
    let mut shown = Vec::new();
    for output in plan.outputs() {
        let output = &plan.spec.outputs[output];
        let Some(stage) = plan.spec.table(output.input).as_stage().filter(|_| !output.codebook) else { continue };
        let part = folder.committed(stage.name.as_str(), 0).filter(|_| !stages.contains(&output.input));
        let Some(part) = part else { continue };
        let rows = part.table.read(0, ROWS, ROWS as usize).ok().and_then(|mut rows| rows.next());
        let Some(Ok(rows)) = rows else { continue };
        let (first, rest) = shaped(output, chosen(&plan.spec, stage));
        let name = |index: usize| output.columns.iter().position(|own| *own == index);
        let named = |index: &usize| {
            column(&rows, *index, name(*index).map_or("", |at| output.schema.field(at).name().as_str()))
        };
        let columns = |indices: &[usize]| -> Vec<Column> { indices.iter().map(named).collect() };
        let table = lines(&columns(&first), &columns(&rest), width);
        let rows = count(rows.num_rows() as u64, "row");
        shown.push(format!("\n{}, the first {rows}:\n{}", output.path, table.trim_end()));
        stages.push(output.input);
    }
    shown
}

pub(crate) fn table(rows: &RecordBatch, room: usize) -> String {
    let schema = rows.schema_ref();
    let columns: Vec<Column> =
        (0..rows.num_columns()).map(|index| column(rows, index, schema.field(index).name())).collect();
    lines(&columns, &[], room)
}

/// The columns to show: first the key and the answers, then the columns used in the prompt. Errors are in the summary.
fn chosen(spec: &Spec, stage: &StageSpec) -> (Vec<usize>, Vec<usize>) {
    let mut first = stage;
    while let TableSpec::Stage(before) = spec.table(first.input) {
        first = before;
    }
    // A stage's table begins with the columns of its input. A group is identified by all its columns.
    let given = if spec.relation(first.input).hidden > 0 { 0 } else { first.given };
    let relation = &stage.relation;
    let is_error = |i: &usize| relation.guards.iter().flatten().any(|guard| *guard == Guard::Error(*i));
    let answers = (given..relation.schema.fields().len()).filter(|i| !is_error(i));
    let key = relation.key.filter(|key| *key < given);
    // The places of quotes come last.
    let is_place = |i: &usize| {
        let name = relation.schema.field(*i).name();
        *i >= given && ["_quote_start", "_quote_end"].iter().any(|part| name.contains(part))
    };
    let (places, answers): (Vec<usize>, Vec<usize>) = answers.partition(is_place);
    // The stage's own answers come before those of earlier stages.
    let (own, earlier): (Vec<usize>, Vec<usize>) = answers.into_iter().partition(|i| given == 0 || *i >= stage.given);
    let first: Vec<usize> = key.into_iter().chain(own).chain(earlier).collect();
    let shown = |i: &usize| *i < stage.given && !first.contains(i) && !places.contains(i) && !is_error(i);
    let rest: Vec<usize> = stage.stage.info.reads.iter().copied().filter(shown).collect();
    (first, rest.into_iter().chain(places).collect())
}

/// The columns of the preview that the output has. Those that the spec lists keep its order.
fn shaped(output: &OutputSpec, (first, rest): (Vec<usize>, Vec<usize>)) -> (Vec<usize>, Vec<usize>) {
    if output.settings.contains_key("columns") {
        return (output.columns.clone(), Vec::new());
    }
    let had = |columns: Vec<usize>| columns.into_iter().filter(|index| output.columns.contains(index)).collect();
    (had(first), had(rest))
}

fn column(rows: &RecordBatch, index: usize, name: &str) -> Column {
    let cells = rows.column(index);
    let right = cells.data_type().is_numeric();
    let name = shown(&Cell::Text(name.to_owned()));
    let values = (0..rows.num_rows()).map(|row| shown(&cell_at(cells.as_ref(), row)));
    Column { lines: [name].into_iter().chain(values).collect(), right }
}

/// A cell on one line, without characters that control a terminal.
fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Boolean(truth) => truth.to_string(),
        Cell::Integer(number) => number.to_string(),
        Cell::Number(number) => {
            let (whole, short) = (number.to_string(), format!("{number:.3}"));
            if whole.len() > short.len() && number.abs() >= 0.001 { short } else { whole }
        }
        Cell::Text(text) => {
            let words: Vec<&str> = text.split_whitespace().collect();
            printable(&words.join(" ")).into_owned()
        }
        Cell::List(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Cell::Object(_) => printable(&cell.text()).into_owned(),
    }
}

fn lines(first: &[Column], rest: &[Column], room: usize) -> String {
    let mut widths = fitted(first, room);
    let taken: usize = widths.iter().map(|width| width + GAP).sum();
    if widths.len() == first.len() {
        widths.extend(fitted(rest, room.saturating_sub(taken)));
    }
    let shown: Vec<(&Column, usize)> = first.iter().chain(rest).zip(widths).collect();
    let row = |row: usize| shown.iter().map(|(column, width)| fit(&column.lines[row], *width)).collect();
    let rows: Vec<Vec<String>> = (0..first.first().map_or(0, |column| column.lines.len())).map(row).collect();
    grid(&rows, "", |i| shown[i].0.right)
}

/// The widths of the columns that fit into `room`. The widest columns are cut first.
fn fitted(columns: &[Column], room: usize) -> Vec<usize> {
    let full: Vec<usize> = columns.iter().map(|c| c.lines.iter().map(|l| l.width()).max().unwrap_or(0)).collect();
    let names: Vec<usize> = columns.iter().map(|c| c.lines.first().map_or(0, |name| name.width()).min(NAME)).collect();
    for count in (1..=full.len()).rev() {
        let gaps = GAP * (count - 1);
        let width = |i: usize, most: usize| full[i].min(most.max(names[i]));
        let sum = |most: usize| (0..count).map(|i| width(i, most)).sum::<usize>() + gaps;
        if let Some(most) = (NARROW..=room).rev().find(|most| sum(*most) <= room) {
            return (0..count).map(|i| width(i, most)).collect();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(lines: &[&str]) -> Column {
        Column { lines: lines.iter().map(|l| shown(&Cell::Text((*l).to_owned()))).collect(), right: false }
    }

    fn answers() -> Vec<Column> {
        let probability = Column { lines: ["prob", "0.817", "0.5"].map(str::to_owned).to_vec(), right: true };
        vec![text(&["id", "p1", "p2"]), text(&["topic", "war", "schools"]), probability]
    }

    #[test]
    fn answers_are_whole_and_prompt_columns_are_cut() {
        let rest = [text(&["text", "We gave our troops a new mission in the field.", "Go."])];
        let expected = "\
id  topic     prob  text
p1  war      0.817  We gave our troops…
p2  schools    0.5  Go.
";
        assert_eq!(lines(&answers(), &rest, 40), expected);
        let all: Vec<usize> = (1..80).map(|room| lines(&answers(), &rest, room)).map(|l| widest(&l)).collect();
        assert!(all.iter().zip(1..).all(|(found, room)| found <= &room), "{all:?}");
    }

    fn widest(text: &str) -> usize {
        text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
    }

    #[test]
    fn columns_that_do_not_fit_are_left_out() {
        let rest = [text(&["text", "We gave our troops a new mission.", "Go."])];
        assert_eq!(lines(&answers(), &rest, 24), "id  topic     prob\np1  war      0.817\np2  schools    0.5\n");
        assert_eq!(lines(&answers(), &rest, 13), "id  topic\np1  war\np2  schools\n");
    }

    #[test]
    fn cells_cannot_control_the_terminal() {
        assert_eq!(shown(&Cell::Text("a\u{1b}[31m\n\tb".into())), "a\u{fffd}[31m b");
        assert_eq!(shown(&Cell::List(vec![Cell::Text("a\r".into()), Cell::Null])), "a, null");
    }

    #[test]
    fn numbers_are_short_and_correct() {
        let cases = [(0.81673, "0.817"), (0.5, "0.5"), (3.0, "3"), (0.000012, "0.000012"), (1234567.5, "1234567.5")];
        for (number, expected) in cases {
            assert_eq!(shown(&Cell::Number(number)), expected);
        }
    }

    #[test]
    fn wide_letters_use_two_columns() {
        assert_eq!(fit("平和と自由", 10), "平和と自由");
        assert_eq!(fit("平和と自由", 8), "平和と…");
    }
}
