//! Drawings of a plan: Mermaid, for a README or a paper.

use std::fmt::Write;

use super::Plan;
use crate::spec::Input;

/// The graph as a Mermaid flowchart.
pub fn mermaid(plan: &Plan) -> String {
    let spec = &plan.spec;
    let mut out = String::from("flowchart LR\n");
    let node = |input: Input| match input {
        Input::Source(i) => format!("source_{i}"),
        Input::Stage(i) => format!("stage_{i}"),
    };
    for (i, name) in spec.sources.keys().enumerate() {
        if let Some(facts) = &plan.sources[i] {
            let _ = writeln!(out, "    source_{i}[(\"{name}<br>{} rows\")]", facts.rows);
        }
    }
    for i in plan.stages() {
        let stage = &spec.stages[i];
        let models: Vec<&str> = stage.models.iter().map(|m| spec.model(*m).0.as_str()).collect();
        let how = if stage.answers.fanned_out() { "each row by" } else { "rows shared by" };
        let label = format!("{}<br>{how} {}<br>{} calls", stage.name, models.join(", "), plan.calls(i));
        let _ = writeln!(out, "    stage_{i}[\"{label}\"]\n    {} --> stage_{i}", node(stage.input));
    }
    for i in plan.outputs() {
        let output = &spec.outputs[i];
        let _ = writeln!(out, "    output_{i}[/\"{}\"/]\n    {} --> output_{i}", output.path, node(output.input));
    }
    out
}
