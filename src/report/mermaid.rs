//! Mermaid: draws a plan as a flowchart, for a README or a paper.

use std::collections::HashMap;
use std::fmt::Write;

use super::text::count;
use crate::plan::Plan;
use crate::spec::{TableId, TableSpec};

pub(crate) fn mermaid(plan: &Plan) -> String {
    let spec = &plan.spec;
    let mut out = String::from("flowchart LR\n");
    let nodes = nodes(plan);
    for (id, source) in spec.sources() {
        if let Some(facts) = plan.sources.get(&id) {
            let _ = writeln!(out, "    {}[(\"{}<br>{}\")]", nodes[&id], source.name, count(facts.rows, "row"));
        }
    }
    for id in plan.transforms() {
        let transform = spec.transform(id);
        let rows = plan.rows(id).map(|rows| format!("<br>{}", count(rows, "row"))).unwrap_or_default();
        let _ = writeln!(out, "    {}[[\"{}{rows}\"]]", nodes[&id], transform.name);
        // The universes of a grid are one box.
        let of_grid = spec.first_universe(id).map(|universe| std::slice::from_ref(&universe.input));
        for input in of_grid.unwrap_or(&transform.inputs) {
            let _ = writeln!(out, "    {} --> {}", nodes[input], nodes[&id]);
        }
    }
    for id in plan.stages().filter(|id| spec.stage(*id).grid.is_none()) {
        let stage = spec.stage(id);
        let how = match stage.answers.fanned_out() {
            true => "each row by",
            false if stage.answers.models > 1 => "rows shared by",
            false => "asked of",
        };
        let calls = plan.calls(id).map(|calls| format!("<br>at most {}", count(calls, "call"))).unwrap_or_default();
        let label = format!("{}<br>{how} {}{calls}", stage.name, stage.models_in_words());
        let _ = writeln!(out, "    {}[\"{label}\"]\n    {} --> {}", nodes[&id], nodes[&stage.input], nodes[&id]);
    }
    for i in plan.outputs() {
        let output = &spec.outputs[i];
        let _ = writeln!(out, "    output_{i}[/\"{}\"/]\n    {} --> output_{i}", output.path, nodes[&output.input]);
    }
    out
}

/// Returns the names of the nodes: the kind of each table and its number among the tables of that kind, from 0.
fn nodes(plan: &Plan) -> HashMap<TableId, String> {
    let mut seen = [0; 3];
    let node = |(id, table): (TableId, &TableSpec)| {
        let (kind, seen) = match table {
            TableSpec::Source(_) => ("source", &mut seen[0]),
            TableSpec::Stage(_) => ("stage", &mut seen[1]),
            TableSpec::Transform(_) => ("reshape", &mut seen[2]),
        };
        *seen += 1;
        (id, format!("{kind}_{}", *seen - 1))
    };
    plan.spec.tables().map(node).collect()
}
