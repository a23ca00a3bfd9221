//! Tests: each bound to the columns of the table that it is about.

use schemars::JsonSchema;
use serde::Deserialize;

use super::resolve::Resolver;
use super::{Spec, TableId, TableSpec};
use crate::assertion::{Assertion, AssertionConfig, Severity, StageErrors, TestContext};
use crate::document::Path;
use crate::name::{Name, listed, nearest};
use crate::table::Guard;

/// What all tests share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestTable {
    /// What it is called. Default: its table and what it says.
    name: Option<String>,
    /// The output, stage or source whose table it is about.
    input: String,
    /// What becomes of a test that does not hold: `error` makes the exit code of `fanfold test` 1, `warn` only tells it.
    /// Default: `error`.
    #[serde(default)]
    severity: Severity,
}

/// A test whose input is still a word.
#[derive(Debug)]
pub struct RawTest {
    pub path: Path,
    pub table: TestTable,
    pub kind: &'static str,
    pub config: Box<dyn AssertionConfig>,
}

/// What a table must be.
#[derive(Debug)]
pub struct TestSpec {
    /// What it is called.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// What becomes of it when it does not hold.
    pub severity: Severity,
    /// The name of its table.
    pub table: String,
    /// Whose rows its table holds.
    pub input: TableId,
    /// The output that is tested, if it is one, as an index into [`Spec::outputs`].
    pub output: Option<usize>,
    /// What must be.
    pub assertion: Assertion,
    /// Where it stands in the document.
    pub path: Path,
}

impl Resolver<'_> {
    /// A test; `unknown` are names that stand in the spec, but whose tables are wrong.
    pub(super) fn test(&mut self, spec: &Spec, unknown: &[String], raw: RawTest) -> Option<TestSpec> {
        let RawTest { path, table, kind, config } = raw;
        let named = spec.tests.iter().any(|other| Some(&other.name) == table.name.as_ref());
        if named {
            let message = format!("another test is called `{}` too", table.name.as_deref().unwrap_or_default());
            self.error("same-name", path.key("name"), message);
        }
        let (input, output) = self.tested(spec, unknown, &path.key("input"), &table.input)?;
        let relation = spec.relation(input);
        let stages = stages(spec, input);
        let site = TestContext { path: &path, table: &table.input, schema: &relation.schema, stages: &stages };
        let assertion = config.bind(&site, self.problems)?;
        let name = table.name.unwrap_or_else(|| format!("{}: {}", table.input, assertion.words));
        Some(TestSpec { name, kind, severity: table.severity, table: table.input, input, output, assertion, path })
    }

    /// The table that `name` stands for: of an output, or else of a stage or a source.
    fn tested(&mut self, spec: &Spec, unknown: &[String], at: &Path, name: &str) -> Option<(TableId, Option<usize>)> {
        let stage_or_source = spec.find(name);
        if let Some((index, _, output)) = spec.outputs.get_full(name) {
            if let Some(other) = stage_or_source.filter(|other| *other != output.input) {
                let what = if matches!(spec.table(other), TableSpec::Source(_)) { "source" } else { "stage" };
                let message = format!("`{name}` is the name of a {what} and of an output that holds another table");
                self.error("same-name", at.clone(), message).help("give the output another name");
                return None;
            }
            return Some((output.input, Some(index)));
        }
        if stage_or_source.is_none() && !unknown.iter().any(|other| other == name) {
            let tables = spec.tables().map(|(_, table)| table.name()).filter(|name| !name.contains('.'));
            let mut names: Vec<&str> = spec.outputs.keys().map(Name::as_str).chain(tables).collect();
            names.sort_unstable();
            names.dedup();
            let problem = format!("there is no output, stage or source `{name}`");
            let problem = self.problems.error("unknown-input", at.clone(), problem);
            match nearest(name, names.iter().copied()) {
                Some(near) => problem.meant(Some(near)),
                None if names.is_empty() => problem,
                None => problem.help(format!("there are {}", listed(names))),
            };
        }
        stage_or_source.map(|input| (input, None))
    }
}

/// The stages that the rows of a table went through, with the columns that hold their errors.
fn stages(spec: &Spec, mut input: TableId) -> Vec<StageErrors> {
    let relation = spec.relation(input);
    let mut errors: Vec<usize> = relation.guards.iter().flatten().filter_map(Guard::error).collect();
    errors.sort_unstable();
    errors.dedup();
    let mut stages = Vec::new();
    while let TableSpec::Stage(stage) = spec.table(input) {
        // Those of the stages before it stand further to the left.
        let first = stage.given;
        let own = errors.partition_point(|column| *column < first);
        stages.push(StageErrors { name: stage.name.to_string(), errors: errors.split_off(own) });
        input = stage.input;
    }
    stages
}
