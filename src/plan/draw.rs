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
        Input::Reshape(i) => format!("reshape_{i}"),
    };
    for (i, name) in spec.sources.keys().enumerate() {
        if let Some(facts) = &plan.sources[i] {
            let _ = writeln!(out, "    source_{i}[(\"{name}<br>{} rows\")]", facts.rows);
        }
    }
    for i in plan.reshapes() {
        let reshape = &spec.reshapes[i];
        let rows = plan.rows(Input::Reshape(i)).map(|rows| format!("<br>{rows} rows")).unwrap_or_default();
        let _ = writeln!(out, "    reshape_{i}[[\"{}{rows}\"]]", reshape.name);
        for input in &reshape.inputs {
            let _ = writeln!(out, "    {} --> reshape_{i}", node(*input));
        }
    }
    for i in plan.stages() {
        let stage = &spec.stages[i];
        let models: Vec<&str> = stage.models.iter().map(|m| spec.model(*m).0.as_str()).collect();
        let how = if stage.answers.fanned_out() { "each row by" } else { "rows shared by" };
        let calls = plan.calls(i).map(|calls| format!("<br>{calls} calls")).unwrap_or_default();
        let label = format!("{}<br>{how} {}{calls}", stage.name, models.join(", "));
        let _ = writeln!(out, "    stage_{i}[\"{label}\"]\n    {} --> stage_{i}", node(stage.input));
    }
    for i in plan.outputs() {
        let output = &spec.outputs[i];
        let _ = writeln!(out, "    output_{i}[/\"{}\"/]\n    {} --> output_{i}", output.path, node(output.input));
    }
    out
}
