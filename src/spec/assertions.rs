//! Tests: binds each test to the columns of its table.

use super::assumed;
use super::pipeline::{Spec, TestSpec};
use super::read::{Raw, RawTest};
use super::resolve::Resolver;
use super::table::TableId;
use crate::assertion::{StageErrors, TestContext};
use crate::document::{Path, SourcePosition};
use crate::name::{Name, suggestion};
use crate::table::Guard;

impl Resolver<'_> {
    pub(super) fn test(&mut self, spec: &Spec, raw: &Raw, test: &RawTest) -> Option<TestSpec> {
        let RawTest { path, table, own, node } = test;
        if spec.tests.iter().any(|other| Some(&other.name) == table.name.as_ref()) {
            let message = format!("another test is called `{}` too", table.name.as_deref().unwrap_or_default());
            self.error("same-name", path.key("name"), message);
        }
        let tested = self.tested(spec, raw, &path.key("input"), &table.input);
        let config = own.value.as_ref().filter(|_| own.broken.is_empty())?;
        let Some((input, output)) = tested else {
            let mark = self.problems.mark();
            let assumed = assumed::columns(node);
            let site = TestContext { path, table: &table.input, schema: &assumed.schema, stages: &[] };
            config.bind(&site, self.problems);
            // A test of the failed rows of a stage depends on the stages of its table.
            let about_stages = path.key("type");
            self.problems.retain_since(mark, |problem| {
                assumed::without_columns(problem) && problem.place != SourcePosition::Value(about_stages.clone())
            });
            return None;
        };
        let stages = stages(spec, input);
        let site = TestContext { path, table: &table.input, schema: &spec.relation(input).schema, stages: &stages };
        let assertion = config.bind(&site, self.problems)?;
        let name = table.name.clone().unwrap_or_else(|| format!("{}: {}", table.input, assertion.words));
        let (kind, severity, table, path) = (own.kind, table.severity, table.input.clone(), path.clone());
        Some(TestSpec { name, kind, severity, table, input, output, assertion, path })
    }

    fn tested(&mut self, spec: &Spec, raw: &Raw, at: &Path, name: &str) -> Option<(TableId, Option<usize>)> {
        let table = self.find(spec, at, name);
        if let Some(output) = raw.outputs.get(name) {
            let input = self.find(spec, &Path::of(["outputs", name, "input"]), &output.as_ref()?.input)?;
            let Some(other) = table.filter(|other| *other != input) else {
                return Some((input, spec.outputs.get_index_of(name)));
            };
            let what = if spec.table(other).as_source().is_some() { "source" } else { "stage" };
            let message = format!("`{name}` is the name of a {what} and of an output that holds another table");
            self.error("same-name", at.clone(), message).help("give the output another name");
            return None;
        }
        if raw.is_unreadable("outputs", name) {
            return None;
        }
        if !raw.has_table(name) {
            let mut names: Vec<&str> = raw.outputs.keys().map(Name::as_str).chain(raw.tables()).collect();
            names.sort_unstable();
            names.dedup();
            let message = format!("there is no output, stage or source `{name}`");
            self.error("unknown-input", at.clone(), message).help_if(suggestion(name, "there are", names));
        }
        table.map(|table| (table, None))
    }
}

/// Returns the stages that produced the rows of a table, with the columns that contain their errors.
fn stages(spec: &Spec, mut input: TableId) -> Vec<StageErrors> {
    let relation = spec.relation(input);
    let mut errors: Vec<usize> = relation.guards.iter().flatten().filter_map(Guard::error).collect();
    errors.sort_unstable();
    errors.dedup();
    let mut stages = Vec::new();
    // All universes of a grid have the same columns.
    while let Some(stage) = spec.table(input).as_stage().or_else(|| spec.first_universe(input)) {
        // The columns of earlier stages come first.
        let own = errors.partition_point(|column| *column < stage.given);
        stages.push(StageErrors { name: spec.table_name(input).to_owned(), errors: errors.split_off(own) });
        input = stage.input;
    }
    stages
}
