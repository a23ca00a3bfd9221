//! Populations: the wanted and the drawn share of each characteristic.

use serde_json::json;

use super::blocks::{figure, fold, named};
use crate::page::chart::{Axis, Chart, Dot, DotRow, Dots, Unit};
use crate::page::content::{Block, Section};
use crate::report::text::{count, figure as short, number};
use crate::source::population::report::{Part, RakingReport, Share};
use crate::spec::{SourceSpec, Spec};

/// The most characteristics that are shown open.
const OPEN: usize = 6;

/// `None` if the source is not a population.
pub(super) fn section(spec: &Spec, source: &SourceSpec) -> Result<Option<Section>, String> {
    let Some(population) = source.source.population() else { return Ok(None) };
    let report = population.report(&spec.folder, 0).map_err(|error| error.message)?;
    let name = source.name.as_str();
    let mut blocks = vec![Block::text(format!("{} people: {}.", number(report.rows), population.about()))];
    blocks.extend(report.raking.as_ref().map(raked));
    let mut parts: Vec<Block> = report.parts.iter().map(block).collect();
    let more = parts.split_off(parts.len().min(OPEN));
    blocks.extend(parts);
    blocks.extend(fold("More characteristics".to_owned(), more));
    Ok(Some(Section { id: format!("source-{name}"), title: format!("Population {name}"), blocks }))
}

fn raked(raking: &RakingReport) -> Block {
    let text = format!(
        "Raking converged after {}. The design effect is {}, so the effective sample size is {}.",
        count(raking.iterations.into(), "iteration"),
        short(raking.design_effect),
        short(raking.effective_sample_size),
    );
    Block::text(text)
}

fn title(of: &[String], depends_on: &[String]) -> String {
    match depends_on {
        [] => of.join(" x "),
        parents => format!("{}, by {}", of.join(" x "), parents.join(" and ")),
    }
}

fn block(part: &Part) -> Block {
    match part {
        Part::Shares { of, depends_on, options } => {
            let dot = |series, at| Dot { series, at, interval: None };
            let row = |share: &Share| DotRow {
                label: share.option.clone(),
                dots: vec![dot(0, share.target), dot(1, share.drawn)],
            };
            let axis = Axis::new("Share of people", Unit::Share);
            let series = ["target", "drawn"].map(str::to_owned).to_vec();
            let chart = Dots { axis, series, rows: options.iter().map(row).collect(), marks: Vec::new() };
            let rows = options.iter().map(|share| vec![json!(share.option), json!(share.target), json!(share.drawn)]);
            let numbers = named(&["option", "target", "drawn"], rows.collect());
            figure(title(of, depends_on), Chart::Dots(chart), numbers, None)
        }
        Part::Numbers { of, depends_on, mean, sd, minimum, maximum } => {
            let text = format!(
                "{}: mean {}, standard deviation {}, from {} to {}.",
                title(of, depends_on),
                short(*mean),
                short(*sd),
                short(*minimum),
                short(*maximum),
            );
            Block::text(text)
        }
    }
}
