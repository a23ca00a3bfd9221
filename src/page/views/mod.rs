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
mod distributions;
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
mod wrong;

use std::collections::BTreeSet;

use self::agreement::ModelAgreement;
use self::collect::Collect;
use self::labels::LabelShares;
use self::lists::ListView;
use self::numbers::NumberView;
use self::origins::OriginView;
use self::questions::{PlaceView, QuestionFlow};
use self::quotes::QuoteView;
use self::relations::{MatchView, PieceView, TableView};
use self::replicates::Alike;
use self::table::{Batch, TableRows};
use self::texts::TextView;
use self::tidy::{RowView, TidyView};
use self::wrong::WrongView;
use super::Subject;
use super::content::{Block, Section};
use crate::report::text::{count, listed_briefly};
use crate::spec::{TableId, TableSpec};
use crate::stage::{Shown, View};

/// The models that are named in a sentence.
const NAMED: usize = 5;

/// A section for each table of a stage that has something to show, and for each population.
pub(super) fn sections(subject: &Subject<'_>) -> Result<Vec<Section>, String> {
    let mut sections = Vec::new();
    for (id, table) in subject.plan.spec.tables() {
        sections.extend(match table {
            TableSpec::Source(source) => population::section(&subject.plan.spec, source)?,
            TableSpec::Transform(transform) if transform.is_inner => None,
            TableSpec::Transform(transform) => section(subject, id, transform.transform.work.views())?,
            TableSpec::Stage(stage) if stage.grid.is_some() => None,
            TableSpec::Stage(stage) => section(subject, id, stage.stage.views())?,
        });
    }
    Ok(sections)
}

fn section(subject: &Subject<'_>, id: TableId, views: Vec<View>) -> Result<Option<Section>, String> {
    let table = subject.plan.spec.table(id);
    let Some(rows) = TableRows::open(subject, id) else { return Ok(None) };
    let mut blocks = vec![Block::text(lead(subject, table, &rows))];
    let (of_input, own): (Vec<View>, Vec<View>) =
        views.into_iter().partition(|view| matches!(view.shown, Shown::Wrong(_)));
    blocks.extend(shown(&own, &rows)?);
    if let Some(input) = table.inputs().first().filter(|_| !of_input.is_empty()) {
        let input = TableRows::open(subject, *input).map(|input| shown(&of_input, &input));
        blocks.extend(input.transpose()?.unwrap_or_default());
    }
    let audit = subject.manifest.stages.get(table.name()).and_then(|totals| totals.audit.as_ref());
    blocks.extend(audit.iter().flat_map(|audit| packs::blocks(table.name(), audit)));
    if table.as_stage().is_some_and(|stage| !stage.stage.info.distributions.is_empty()) {
        blocks.extend(distributions::blocks(subject, id, rows.input_rows.unwrap_or(0)));
    }
    let name = table.name().to_owned();
    Ok((blocks.len() > 1).then(|| Section { id: format!("stage-{name}"), title: format!("Stage {name}"), blocks }))
}

/// What the stage does, in one sentence.
fn lead(subject: &Subject<'_>, table: &TableSpec, rows: &TableRows<'_>) -> String {
    let spec = &subject.plan.spec;
    let inputs: BTreeSet<&str> = table.inputs().iter().map(|input| spec.table_name(*input)).collect();
    let inputs: Vec<&str> = inputs.into_iter().collect();
    let n = count(rows.rows(), "row");
    let of_input = rows.input_rows.map_or(String::new(), |rows| format!("{} of ", count(rows, "row")));
    let is_universe = |id: &&TableId| spec.table(**id).as_stage().is_some_and(|stage| stage.grid.is_some());
    let universes = table.inputs().iter().filter(is_universe).count() as u64;
    match table {
        TableSpec::Stage(stage) => {
            let (kind, names) = (stage.stage.info.kind, listed_briefly(&stage.model_names, NAMED));
            let n = if rows.input_rows == Some(rows.rows()) { String::new() } else { format!(" The table has {n}.") };
            format!("`{kind}` asked {names} about {of_input}{}.{n}", inputs.join(", "))
        }
        TableSpec::Transform(transform) if universes > 0 => {
            let (kind, of) = (transform.transform.info.kind, count(universes, "universe"));
            let asked = rows.input_rows.map_or("the same rows".to_owned(), |rows| count(rows, "row"));
            format!("`{kind}` asked about {asked} in {of}. The table has {n}.")
        }
        TableSpec::Transform(transform) => {
            format!("`{}` made {n} from {}.", transform.transform.info.kind, inputs.join(" and "))
        }
        TableSpec::Source(_) => n,
    }
}

/// The blocks of all views of a table.
fn shown(views: &[View], table: &TableRows<'_>) -> Result<Vec<Block>, String> {
    let mut collectors: Vec<(Option<&String>, Box<dyn Collect>)> = Vec::new();
    for view in views {
        let mut all = vec![collector(view, table)];
        if let Shown::Labels { column, labels, probability } = &view.shown {
            let (title, labelled) = (&view.title, (column.as_str(), labels.as_slice()));
            let agreement = ModelAgreement::new(title, labelled, probability.as_deref(), table);
            let alike = Alike::new(title, labelled, table);
            all.extend(agreement.map(|agreement| Box::new(agreement) as Box<dyn Collect>));
            all.extend(alike.map(|alike| Box::new(alike) as Box<dyn Collect>));
        }
        collectors.extend(all.into_iter().map(|collector| (view.heading.as_ref(), collector)));
    }
    let columns: BTreeSet<String> = collectors.iter().flat_map(|(_, collector)| collector.reads()).collect();
    let mut groupings = table.groupings()?;
    let add = |batch: &Batch<'_>| collectors.iter_mut().for_each(|(_, collector)| collector.add(batch));
    table.pass(&columns, &mut groupings, add)?;
    let mut blocks = Vec::new();
    for views in collectors.chunk_by_mut(|a, b| a.0 == b.0) {
        let mut inner = Vec::new();
        for (_, collector) in views.iter_mut() {
            inner.extend(collector.blocks(table, &groupings)?);
        }
        match views[0].0 {
            Some(heading) if !inner.is_empty() => blocks.push(Block::Group { title: heading.clone(), blocks: inner }),
            _ => blocks.extend(inner),
        }
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
        Shown::Kept => Box::new(TableView::of_kept_rows(title)),
        Shown::Prompts => Box::new(TableView::of_prompts(title)),
        Shown::Pieces { number, text } => Box::new(PieceView::new(number, text, table)),
        Shown::Matches { columns } => Box::new(MatchView::new(title, columns)),
        Shown::Wrong(columns) => Box::new(WrongView::new(title, columns, table)),
        Shown::Rows => Box::new(RowView::new(title, table)),
        Shown::Estimates(_) | Shown::Confusion { .. } | Shown::Pairs { .. } | Shown::Curve(_) => {
            Box::new(TidyView::new(view, table))
        }
    }
}
