//! The first section: what ran, when, and how far it came.

use serde_json::Value;

use super::super::content::{Block, Grid, Section};
use super::Subject;
use crate::report::text::number;
use crate::store::State;

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let Subject { plan, folder, manifest, .. } = subject;
    let state = match manifest.state {
        State::Done => "done",
        State::Stopped => "stopped; it can be resumed",
        State::Running => "running, or it was killed",
    };
    let run = manifest.name.clone().unwrap_or_else(|| folder.name());
    let text = format!("The run {run} of {} is {state}. It sent {} calls.", plan.spec.name, number(manifest.sent()));
    let row = |(name, model): (&String, &crate::store::ModelEntry)| {
        [name, &model.provider, &model.model].map(|text| Value::from(text.as_str())).to_vec()
    };
    let columns = ["name", "provider", "model"].map(str::to_owned).to_vec();
    let table = Grid { columns, rows: manifest.models.iter().map(row).collect() };
    let blocks = vec![Block::Text { text }, Block::Table { title: "Models".to_owned(), table }];
    Ok(Some(Section { id: "run".to_owned(), title: "Run".to_owned(), blocks }))
}
