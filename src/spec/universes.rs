//! Universes: binds an asking stage in each universe of its grid, and adds the table of all of them.

use std::sync::Arc;

use arrow_schema::{FieldRef, Schema, SchemaRef};

use super::columns::Relation;
use super::grid::Grid;
use super::pipeline::Spec;
use super::read::{Raw, RawGrid, RawUniverse};
use super::resolve::Resolver;
use super::stages::{Asking, Universe};
use super::table::{TableId, TableSpec, TransformSpec};
use crate::document::Path;
use crate::name::Name;
use crate::stage::{UNIVERSE, Universes};
use crate::table::{Cell, Column, Guard, Type};

impl Resolver<'_> {
    /// Adds the tables of the universes and that of the grid, which is called `name`. Columns are named after `stage`.
    pub(super) fn grid(
        &mut self,
        spec: &mut Spec,
        raw: &Raw,
        (name, stage): (&Name, &Name),
        RawGrid { grid, universes }: &RawGrid,
    ) {
        let mut inputs = Vec::new();
        for universe in universes {
            let RawUniverse { name: table, stage: asked, models } = universe;
            let at = Path::of(["stages", table.as_str()]);
            let universe = Some(Universe { grid: name, table, models });
            inputs.extend(self.asking(spec, raw, &Asking { name: stage, at, stage: asked, universe }));
        }
        if inputs.len() < universes.len() {
            return;
        }
        let at = Path::of(["stages", name.as_str(), "grid"]);
        let Some(input) = self.columns_of_all(spec, &at, grid, &inputs) else { return };
        let mut columns = vec![Column::new(UNIVERSE, Type::Text)];
        columns.extend(grid.axes.iter().map(|axis| axis.column.clone()));
        for (i, column) in columns.iter().enumerate() {
            if input.index_of(&column.name).is_ok() {
                let at = if i == 0 { at.clone() } else { grid.axes[i - 1].at.clone() };
                let message =
                    format!("the grid adds the column `{}`, which the stage's table has already", column.name);
                self.problems
                    .error_at_key("duplicate-column", at, message)
                    .help("give the column of the input or the key of the answer another name");
                return;
            }
        }
        let first = spec.stage(inputs[0]);
        let own = |id: &TableId| &spec.relation(*id).schema;
        let places = |id: &TableId| input.fields().iter().map(|field| own(id).index_of(field.name()).ok()).collect();
        let stacked = Universes {
            places: inputs.iter().map(places).collect(),
            given: first.given,
            fills: first.stage.info.fills.clone(),
            cells: grid.universes.iter().map(|u| [vec![Cell::Text(u.label.clone())], grid.cells(u)].concat()).collect(),
            columns,
            views: first.stage.views(),
            input: input.clone(),
        };
        let transform = stacked.transform();
        let schema = transform.info.schema.clone();
        let guards = guards(spec, &inputs, &schema);
        let relation = Relation { schema, guards, key: None, fold: 1, hidden: 0 };
        let (name, is_inner) = (name.to_string(), false);
        spec.add_table(TableSpec::Transform(TransformSpec { name, is_inner, inputs, transform, relation }));
    }

    /// The columns of all universes, each at its place in the first universe that has it. Reports a column of two types.
    fn columns_of_all(&mut self, spec: &Spec, at: &Path, grid: &Grid, universes: &[TableId]) -> Option<SchemaRef> {
        let mut fields: Vec<FieldRef> = Vec::new();
        for (universe, id) in universes.iter().enumerate() {
            let mut next = 0;
            for field in spec.relation(*id).schema.fields() {
                let known = fields.iter().position(|known| known.name() == field.name());
                match known {
                    None => fields.insert(next, field.clone()),
                    Some(place) if fields[place].data_type() != field.data_type() => {
                        let message = format!("the column `{}` has another type in another universe", field.name());
                        let level = grid.difference(&grid.universes[0], &grid.universes[universe]);
                        self.error("bad-value", level.unwrap_or_else(|| at.clone()), message)
                            .help("give the key of the answer another name in this level");
                        return None;
                    }
                    Some(_) => {}
                }
                next = known.unwrap_or(next) + 1;
            }
        }
        Some(Arc::new(Schema::new(fields)))
    }
}

/// The guards of the columns of a grid's table: those that apply in all universes that have the column.
fn guards(spec: &Spec, universes: &[TableId], schema: &SchemaRef) -> Vec<Vec<Guard>> {
    let of_universe = |id: &TableId, name: &str| -> Option<Vec<Guard>> {
        let relation = spec.relation(*id);
        let here = |guard: &Guard| Some(guard.at(schema.index_of(relation.schema.field(guard.column()).name()).ok()?));
        Some(relation.guards[relation.schema.index_of(name).ok()?].iter().filter_map(here).collect())
    };
    let common = |field: &FieldRef| {
        let mut all = universes.iter().filter_map(|id| of_universe(id, field.name()));
        let first = all.next().unwrap_or_default();
        all.fold(first, |common, own| common.into_iter().filter(|guard| own.contains(guard)).collect())
    };
    schema.fields().iter().map(common).collect()
}
