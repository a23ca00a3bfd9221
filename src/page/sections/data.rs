//! The section on data: the first rows of each output, to search and to open.

use super::super::Subject;
use super::super::content::{Block, Section};
use super::super::data::{DataTable, Search, rows, size};
use crate::report::text::{count, number};
use crate::spec::TableSpec;

/// The most rows of an output.
const ROWS: usize = 2000;
/// About the most bytes of all outputs, so that the page stays small.
const BYTES: f64 = 1e6;

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    if !subject.is_current {
        return Ok(None);
    }
    let spec = &subject.plan.spec;
    let outputs: Vec<_> = spec.table_outputs().filter(|(_, output)| output.sheet.is_none()).collect();
    // The small tables of methods first: the others share the rest of the bytes.
    let mut order: Vec<usize> = (0..outputs.len()).collect();
    order.sort_by_key(|place| matches!(spec.table(outputs[*place].1.input), TableSpec::Stage(_)));
    let (mut left, mut blocks) = (BYTES, vec![None; outputs.len()]);
    for (done, place) in order.into_iter().enumerate() {
        let (name, output) = outputs[place];
        let bytes = left.max(0.0) / (outputs.len() - done) as f64;
        let search = Search { output: name.as_str(), from: 0, text: "", rows: ROWS, bytes: bytes as usize };
        blocks[place] = Some(match rows(subject, &search) {
            Ok(table) if table.total == 0 => Block::text(format!("{} has no rows.", output.path)),
            Ok(table) => {
                left -= size(&table);
                let text = Block::text(about(&table));
                Block::Group { title: output.path.clone(), blocks: vec![text, Block::Data(Box::new(table))] }
            }
            Err(why) => Block::text(format!("The rows of {} are not shown: {why}.", output.path)),
        });
    }
    let blocks: Vec<Block> = blocks.into_iter().flatten().collect();
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
