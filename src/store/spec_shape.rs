//! Spec shapes: the layout of a run's tables, stored in the manifest for readers without the spec.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spec::{Form, Spec, StageSpec};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StageShape {
    pub(crate) input: String,
    pub(crate) models: Vec<String>,
    /// The layout of the answers: `dealt`, `wide` or `long`.
    pub(crate) layout: String,
    pub(crate) replicates: u64,
    /// The number of rows of the stage's table per row of its input.
    pub(crate) fold: u64,
    /// The number of input rows in every part except the last.
    pub(crate) chunk_size: u64,
    pub(crate) adds: Vec<AddedColumn>,
    /// The columns of the input that the stage fills where they are empty.
    pub(crate) fills: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AddedColumn {
    pub(crate) name: String,
    /// The model that gave the answers, if each model has its own columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// The keys of the stage's table in the spec that define the column. Empty for the run's columns (errors, models).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) from: Vec<String>,
    /// The JSON Schema of the value, if the column is one key of the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<Value>,
}

impl StageShape {
    pub(crate) fn of(spec: &Spec, stage: &StageSpec) -> StageShape {
        let input = spec.relation(stage.input);
        let name = |column: usize| input.schema.field(column).name().clone();
        StageShape {
            input: spec.table_name(stage.input).to_owned(),
            models: stage.model_names.clone(),
            layout: stage.answers.layout().to_owned(),
            replicates: stage.answers.replicates as u64,
            fold: stage.answers.fold(),
            chunk_size: stage.chunk_size,
            adds: added(stage),
            fills: stage.stage.info.fills.iter().map(|column| name(*column)).collect(),
        }
    }
}

fn added(stage: &StageSpec) -> Vec<AddedColumn> {
    let info = &stage.stage.info;
    let writes = info.writes.len();
    // Each model adds its answers, its name if the table has that column, and its error.
    let group = writes + usize::from(stage.answers.names_model()) + 1;
    let lead = usize::from(stage.answers.replicates > 1) + usize::from(stage.answers.form == Form::Long);
    let column = |(i, field): (usize, &Arc<arrow_schema::Field>)| {
        let mut column = AddedColumn { name: field.name().clone(), model: None, from: Vec::new(), schema: None };
        let Some(place) = i.checked_sub(lead) else { return column };
        column.model = (stage.answers.form == Form::Wide).then(|| stage.model_names[place / group].clone());
        if place % group < writes {
            column.from = info.origins[place % group].clone();
            let key = info.answer_key(place % group);
            column.schema = key.and_then(|key| info.schema.as_ref()?["properties"].get(key)).cloned();
        }
        column
    };
    stage.relation.schema.fields().iter().skip(stage.given).enumerate().map(column).collect()
}
