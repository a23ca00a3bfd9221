//! Sheets: outputs that people fill, and the sources that read them.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use indexmap::IndexMap;

use super::format::TableFormat;
use super::language::OutputTable;
use super::paths;
use super::pipeline::{SheetSpec, Spec};
use super::resolve::Resolver;
use super::table::{TableId, TableSpec};
use crate::document::Path;
use crate::name::Name;
use crate::object::is_address;
use crate::prompt::normalise_option;
use crate::source::{CodingSheet, File, FillColumn, Source};
use crate::table::Labels;

/// Where a column comes from that the coder of a blind sheet must not see.
enum Reveals<'a> {
    Model(&'a str),
    Coder(&'a str),
}

impl Resolver<'_> {
    /// Makes a source of the file of a sheet the source of that sheet.
    pub(super) fn read_sheet(&self, outputs: &IndexMap<Name, Option<OutputTable>>, source: &mut dyn Source) {
        let [(_, path)] = &source.paths()[..] else { return };
        let file = |path: &str| paths::plain(&self.folder.join(path));
        let mut sheets = outputs.values().flatten().filter(|table| !table.fill.is_empty());
        let Some(table) = sheets.find(|table| file(&table.path) == file(path)) else { return };
        let columns = table.columns.iter().flatten();
        let columns = columns.map(|name| table.rename.get(name).unwrap_or(name).clone()).collect();
        source.fill_sheet(&CodingSheet { columns, fill: filled(table) });
    }

    /// The sheet of an output that people fill, and the columns of the file with those that they fill.
    pub(super) fn sheet(
        &mut self,
        spec: &Spec,
        at: &Path,
        table: &OutputTable,
        (input, columns, schema): (TableId, &[usize], SchemaRef),
    ) -> Result<(SchemaRef, Option<SheetSpec>), ()> {
        let before = self.problems.mark();
        if table.blind {
            self.blind(spec, at, table, (input, columns));
        }
        if !table.keep && !table.fill.is_empty() {
            let message = "people fill this file, but the next run would overwrite it";
            self.error("unkept-sheet", at.key("fill"), message).help("add `keep = true`");
        }
        if !table.keep {
            return if self.problems.clean_since(before) { Ok((schema, None)) } else { Err(()) };
        }
        if !matches!(TableFormat::of(&table.path), Some(TableFormat::Csv | TableFormat::Xlsx)) {
            let message = format!("`{}` can't be kept: new rows are only added to .csv and .xlsx", table.path);
            self.error("bad-value", at.key("path"), message).help("end it in `.csv` or `.xlsx`");
        }
        if is_address(&table.path) {
            let message = format!("`{}` is an address, and people fill a file", table.path);
            self.error("bad-value", at.key("path"), message).help("write the sheet into a file");
        }
        if table.columns.is_none() {
            let message = "a sheet that people fill needs the `columns` that they see";
            self.error("missing-field", at.clone(), message).help("write for example `columns = [\"id\", \"text\"]`");
        }
        let fill = filled(table);
        self.fill_columns(at, &schema, &fill);
        let key = self.sheet_key(spec, at, (input, columns));
        let key = key.filter(|_| self.problems.clean_since(before)).ok_or(())?;
        let reads = |source: &&dyn Source| {
            let path = |path: &str| paths::plain(&self.folder.join(path));
            source.sheet().is_some_and(|file| path(&file.path) == path(&table.path))
        };
        let source = spec.sources().map(|(_, source)| source.source.as_ref()).find(reads);
        let file = source.and_then(Source::sheet).cloned().unwrap_or_default();
        let reading = File { path: table.path.clone(), ..file }.of_sheet(schema.field(key).name(), &fill);
        let field = |fill: &FillColumn| {
            let labels = (!fill.labels.is_empty()).then(|| format!("one of: {}", fill.labels.join(", ")));
            Labels { variable: labels, values: Vec::new() }.on(Field::new(&fill.name, DataType::Utf8, true))
        };
        let fields = schema.fields().iter().map(|field| field.as_ref().clone()).chain(fill.iter().map(field));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok((schema, Some(SheetSpec { key, fill, reading })))
    }

    /// Refuses columns from which a coder could learn what a model or another coder answered.
    fn blind(&mut self, spec: &Spec, at: &Path, table: &OutputTable, (input, columns): (TableId, &[usize])) {
        for (place, column) in columns.iter().enumerate() {
            let Some(reveals) = reveals(spec, input, *column) else { continue };
            let name = spec.relation(input).schema.field(*column).name().clone();
            let message = match reveals {
                Reveals::Model(stage) => {
                    format!("`{name}` comes from answers of models (stage `{stage}`), and the sheet is blind")
                }
                Reveals::Coder(source) => {
                    format!("`{name}` has the codes of other people (source `{source}`), and the sheet is blind")
                }
            };
            let at = if table.columns.is_some() { at.key("columns").index(place) } else { at.key("blind") };
            self.error("not-blind", at, message).help("leave the column out, or remove `blind`");
        }
    }

    fn fill_columns(&mut self, at: &Path, schema: &Schema, fill: &[FillColumn]) {
        for FillColumn { name, labels } in fill {
            let at = at.key("fill").key(name);
            if name.trim().is_empty() {
                self.problems.error_at_key("bad-value", at.clone(), "the name of a column is empty");
            } else if schema.index_of(name).is_ok() {
                let message = format!("the sheet has a column `{name}` already");
                self.problems.error_at_key("duplicate-column", at.clone(), message).help("give it another name");
            }
            for (i, label) in labels.iter().enumerate() {
                let twin = labels[..i].iter().find(|other| normalise_option(other) == normalise_option(label));
                if normalise_option(label).is_empty() {
                    self.error("bad-value", at.index(i), "the label is empty");
                } else if let Some(twin) = twin {
                    let message = format!("`{twin}` and `{label}` can't be told apart");
                    self.error("bad-value", at.index(i), message).help("remove one of them");
                }
            }
        }
    }

    /// The place of the key among the columns of the file.
    fn sheet_key(&mut self, spec: &Spec, at: &Path, (input, columns): (TableId, &[usize])) -> Option<usize> {
        let (relation, table) = (spec.relation(input), spec.table_name(input));
        let Some(key) = relation.key.filter(|_| relation.fold == 1) else {
            let message = match relation.key {
                None => format!("`{table}` has no key, by which the rows of a kept sheet are found again"),
                Some(_) => {
                    format!("`{table}` has several rows with the same key, and a kept sheet has one row for each key")
                }
            };
            self.error("missing-key", at.key("keep"), message)
                .help("write `key = \"id\"` in the source, and read rows from before the models");
            return None;
        };
        let place = columns.iter().position(|column| *column == key);
        if place.is_none() {
            let name = relation.schema.field(key).name().clone();
            let message = format!("the sheet lacks the key `{name}`, by which its rows are found again");
            self.error("missing-key", at.key("columns"), message).help(format!("add `{name}`"));
        }
        place
    }
}

fn filled(table: &OutputTable) -> Vec<FillColumn> {
    table.fill.iter().map(|(name, labels)| FillColumn { name: name.clone(), labels: labels.clone() }).collect()
}

/// What a column of `table` reveals of answers. A column that a transform makes reveals the answers that it reads.
fn reveals(spec: &Spec, table: TableId, column: usize) -> Option<Reveals<'_>> {
    match spec.table(table) {
        TableSpec::Source(source) => {
            let file = source.source.sheet()?;
            let name = file.name_in_file(source.relation.schema.field(column).name());
            let is_code = file.coding.as_ref()?.fill.iter().any(|fill| fill.name == name);
            is_code.then_some(Reveals::Coder(source.name.as_str()))
        }
        TableSpec::Transform(transform) => match transform.transform.info.origins[column] {
            Some((input, column)) => reveals(spec, transform.inputs[input], column),
            None => {
                let mut read = transform.inputs.iter().flat_map(|input| spec.upstream(*input));
                read.find_map(|input| spec.table(input).as_stage()).map(|stage| Reveals::Model(stage.name.as_str()))
            }
        },
        TableSpec::Stage(stage) if column < stage.given && !stage.stage.info.fills.contains(&column) => {
            reveals(spec, stage.input, column)
        }
        TableSpec::Stage(stage) => Some(Reveals::Model(stage.name.as_str())),
    }
}
