//! The section on tests: what each test of the spec wanted and found.

use serde_json::{Value, json};

use super::super::Subject;
use super::super::content::{Block, Check, CheckMark, Grid, Section};
use crate::assertion::{Finding, Severity};
use crate::report::verdict::verdicts;
use crate::spec::TestSpec;
use crate::store::Project;

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let spec = &subject.plan.spec;
    if spec.tests.is_empty() || !subject.is_current {
        return Ok(None);
    }
    let blocks = match verdicts(spec, &Project::of(&spec.folder), vec![subject.folder.clone()]) {
        Err(error) => vec![Block::text(format!("The tests can't be evaluated: {error}."))],
        Ok(findings) => {
            let tests = || spec.tests.iter().zip(&findings);
            let mut blocks =
                vec![Block::Checks { items: tests().map(|(test, finding)| check(test, finding)).collect() }];
            let rows: Vec<Vec<Value>> = tests().flat_map(|(test, finding)| examples(test, finding)).collect();
            if !rows.is_empty() {
                let table = Grid::new(&["test", "row", "value"], rows);
                blocks.push(Block::Table { title: "First rows that break a test".to_owned(), table });
            }
            blocks
        }
    };
    Ok(Some(Section { id: "tests".to_owned(), title: "Tests".to_owned(), blocks }))
}

fn check(test: &TestSpec, finding: &Finding) -> Check {
    let mark = match (finding.holds, test.severity) {
        (true, _) => CheckMark::Ok,
        (false, Severity::Error) => CheckMark::Failed,
        (false, Severity::Warn) => CheckMark::Open,
    };
    let wanted = &test.assertion.words;
    // Without a name in the spec, the name ends with these words.
    let wanted = if test.name.ends_with(wanted) { String::new() } else { format!("wanted: {wanted}; ") };
    let text = format!("{wanted}found: {}", finding.found);
    Check { mark, label: test.name.clone(), text }
}

fn examples(test: &TestSpec, finding: &Finding) -> Vec<Vec<Value>> {
    finding.examples.iter().map(|example| vec![json!(test.name), json!(example.row), json!(example.value)]).collect()
}
