//! The section on data: the first rows of each output, to search and to open.

use super::super::Subject;
use super::super::content::{Block, Section};
use super::super::data::{DataTable, Search, rows};
use crate::report::text::{count, number};

/// The most rows of an output.
const ROWS: usize = 2000;
/// About the most bytes of all outputs, so that the page stays small.
const BYTES: usize = 900_000;

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let outputs = || subject.plan.spec.table_outputs().filter(|(_, output)| output.sheet.is_none());
    let bytes = BYTES / outputs().count().max(1);
    let mut blocks = Vec::new();
    for (name, output) in outputs() {
        let block = match rows(subject, &Search { output: name.as_str(), from: 0, text: "", rows: ROWS, bytes }) {
            Ok(table) if table.total == 0 => Block::Text { text: format!("{} has no rows.", output.path) },
            Ok(table) => {
                let text = Block::Text { text: about(&table) };
                Block::Group { title: output.path.clone(), blocks: vec![text, Block::Data(Box::new(table))] }
            }
            Err(why) => Block::Text { text: format!("The rows of {} are not shown: {why}.", output.path) },
        };
        blocks.push(block);
    }
    Ok((!blocks.is_empty()).then(|| Section { id: "data".to_owned(), title: "Data".to_owned(), blocks }))
}

/// How much of the table is here.
fn about(table: &DataTable) -> String {
    let here = table.rows.len() as u64;
    let mut text = match table.next {
        None => format!("{}.", count(table.total, "row")),
        Some(_) => format!("The first {} of {}.", number(here), count(table.total, "row")),
    };
    if !table.explains() {
        return text;
    }
    text += match table.unexplained {
        0 => " A cell shows the calls that made it when you open it.",
        _ => "",
    };
    if table.unexplained > 0 {
        text += &format!(
            " The cells of the first {} show the calls that made them when you open them; `fanfold explain` shows those \
             of the others.",
            count(here - table.unexplained, "row")
        );
    }
    text + " Long texts are cut."
}
