//! The sections on stages: each table shows the views that its stage lists, computed in one pass over its rows.
//!
//! ```text
//!  View (of a stage) -> Collect (while the rows pass by) -> blocks of the page
//! ```
//!
//! To add a kind of view: a variant of [`Shown`], a file with its collector, and an arm in [`collector`]. Nothing here
//! knows a type of stage.

mod agreement;
mod bins;
mod blocks;
mod collect;
mod labels;
mod lists;
mod numbers;
mod origins;
mod packs;
mod population;
mod questions;
mod quotes;
mod relations;
mod replicates;
mod table;
mod texts;
mod tidy;

use std::collections::BTreeSet;

use self::agreement::ModelAgreement;
use self::collect::Collect;
use self::labels::LabelShares;
use self::lists::ListView;
use self::numbers::NumberView;
use self::origins::OriginView;
use self::questions::{PlaceView, QuestionFlow};
use self::quotes::QuoteView;
use self::relations::{KeptView, MatchView, PieceView};
use self::replicates::Alike;
use self::table::TableRows;
use self::texts::TextView;
use self::tidy::{RowView, TidyView};
use super::Subject;
use super::content::{Block, Section};
use crate::report::text::{count, listed_briefly};
use crate::spec::{TableId, TableSpec};
use crate::stage::{Shown, View};

/// The models that are named in a sentence.
const NAMED: usize = 5;

/// A section for each table of a stage that has something to show, and for each population.
pub(super) fn sections(subject: &Subject<'_>) -> Result<Vec<Section>, String> {
    let spec = &subject.plan.spec;
    let mut sections = Vec::new();
    for (_, table) in spec.tables() {
        let views = match table {
            TableSpec::Source(source) => {
                sections.extend(population::section(spec, source)?);
                continue;
            }
            TableSpec::Transform(transform) if transform.is_inner => continue,
            TableSpec::Transform(transform) => transform.transform.work.views(),
            TableSpec::Stage(stage) => stage.stage.views(),
        };
        let input_rows = table.inputs().first().and_then(|input| row_count(subject, *input));
        let about = (spec.seed.unwrap_or_default(), input_rows);
        let Some(rows) = TableRows::open(subject.folder, table, about) else { continue };
        let mut blocks = vec![Block::Text { text: lead(subject, table, &rows) }];
        blocks.extend(shown(&views, &rows)?);
        let audit = subject.manifest.stages.get(table.name()).and_then(|totals| totals.audit.as_ref());
        blocks.extend(audit.iter().flat_map(|audit| packs::blocks(table.name(), audit)));
        if blocks.len() > 1 {
            let id = format!("stage-{}", table.name());
            sections.push(Section { id, title: table.name().to_owned(), blocks });
        }
    }
    Ok(sections)
}

/// What the stage does, in one sentence.
fn lead(subject: &Subject<'_>, table: &TableSpec, rows: &TableRows<'_>) -> String {
    let spec = &subject.plan.spec;
    let inputs: BTreeSet<&str> = table.inputs().iter().map(|input| spec.table_name(*input)).collect();
    let inputs: Vec<String> = inputs.into_iter().map(|name| format!("`{name}`")).collect();
    let n = count(rows.rows(), "row");
    let of_input = rows.input_rows.map_or(String::new(), |rows| format!("{} of ", count(rows, "row")));
    match table {
        TableSpec::Stage(stage) => {
            let (kind, models) = (stage.stage.info.kind, count(stage.model_names.len() as u64, "model"));
            let names = listed_briefly(&stage.model_names, NAMED);
            let input = inputs.join(", ");
            format!("A stage of the type {kind}: {models} ({names}) asked about {of_input}{input}. The table has {n}.")
        }
        TableSpec::Transform(transform) => {
            format!("A stage of the type {}: {n}, made from {}.", transform.transform.info.kind, inputs.join(" and "))
        }
        TableSpec::Source(_) => n,
    }
}

/// The number of rows of a table, if the manifest says it.
fn row_count(subject: &Subject<'_>, id: TableId) -> Option<u64> {
    let table = subject.plan.spec.table(id);
    match table {
        TableSpec::Source(_) => Some(subject.manifest.sources.get(table.name())?.rows),
        TableSpec::Stage(stage) => Some(subject.manifest.stages.get(table.name())?.rows * stage.answers.fold()),
        TableSpec::Transform(_) => Some(subject.folder.committed(table.name(), 0)?.table.rows()),
    }
}

/// The blocks of all views of a table.
fn shown(views: &[View], table: &TableRows<'_>) -> Result<Vec<Block>, String> {
    let mut collectors: Vec<Box<dyn Collect>> = Vec::new();
    for view in views {
        collectors.push(collector(view, table));
        if let Shown::Labels { column, labels, probability } = &view.shown {
            let (title, labelled) = (&view.title, (column.as_str(), labels.as_slice()));
            let agreement = ModelAgreement::new(title, labelled, probability.as_deref(), table);
            let alike = Alike::new(title, labelled, table);
            collectors.extend(agreement.map(|agreement| Box::new(agreement) as Box<dyn Collect>));
            collectors.extend(alike.map(|alike| Box::new(alike) as Box<dyn Collect>));
        }
    }
    let columns: BTreeSet<String> = collectors.iter().flat_map(|collector| collector.reads()).collect();
    let mut groupings = table.groupings()?;
    table.pass(&columns, &mut groupings, |batch| collectors.iter_mut().for_each(|collector| collector.add(batch)))?;
    let mut blocks = Vec::new();
    for collector in &mut collectors {
        blocks.extend(collector.blocks(table, &groupings)?);
    }
    Ok(blocks)
}

fn collector(view: &View, table: &TableRows<'_>) -> Box<dyn Collect> {
    let title = view.title.as_str();
    match &view.shown {
        Shown::Labels { column, labels, probability } => {
            Box::new(LabelShares::new(title, (column, labels), probability.as_deref(), None, table))
        }
        Shown::Scale { column, steps, ends } => {
            Box::new(LabelShares::new(title, (column, steps), None, Some(ends.clone()), table))
        }
        Shown::Numbers { column, bounds } => Box::new(NumberView::new(title, column, *bounds, table)),
        Shown::Texts { column, most } => Box::new(TextView::new(title, column, *most, table)),
        Shown::Lists { column, items } => Box::new(ListView::new(title, column, items, table)),
        Shown::Quotes { answers, text } => Box::new(QuoteView::new(title, answers, text.as_deref(), table)),
        Shown::Origins { columns } => Box::new(OriginView::new(title, columns, table)),
        Shown::Questions { questions } => Box::new(QuestionFlow::new(title, questions, table)),
        Shown::Places { column, order } => Box::new(PlaceView::new(title, column, order, table)),
        Shown::Kept => Box::new(KeptView::new(title)),
        Shown::Pieces { number, text } => Box::new(PieceView::new(title, number, text, table)),
        Shown::Matches { columns } => Box::new(MatchView::new(title, columns)),
        Shown::Rows => Box::new(RowView::new(title, table)),
        Shown::Estimates(_) | Shown::Confusion { .. } | Shown::Pairs { .. } | Shown::Curve(_) => {
            Box::new(TidyView::new(view, table))
        }
    }
}
