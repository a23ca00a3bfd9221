//! The section on the pipeline: from the sources through the stages to the outputs, with their rows.

use std::collections::HashMap;

use serde_json::json;

use super::super::Subject;
use super::super::chart::{Chart, Edge, Flow, Node};
use super::super::content::{Block, Figure, Grid, Section};
use crate::lock::Lock;
use crate::report::text::{count, number};

pub(super) fn section(subject: &Subject<'_>) -> Result<Option<Section>, String> {
    let graph = Graph::new(subject);
    if graph.nodes.is_empty() {
        return Ok(None);
    }
    let name = |node: usize| json!(graph.nodes[node].name);
    let rows = graph.edges.iter().map(|edge| vec![name(edge.from), name(edge.to), json!(edge.rows)]);
    let numbers = Grid::new(&["from", "to", "rows"], rows.collect());
    // A box has room for the name of a file, not for its folders.
    let file = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    let nodes = graph.nodes.into_iter().map(|node| Node { name: file(&node.name), ..node }).collect();
    let figure = Figure {
        title: "Tables and rows".to_owned(),
        chart: Chart::Flow(Flow { nodes, edges: graph.edges }),
        numbers,
        note: Some(
            "A band is as wide as the rows that it carries. The red part of a box is the share of failed rows."
                .to_owned(),
        ),
    };
    Ok(Some(Section { id: "pipeline".to_owned(), title: "Pipeline".to_owned(), blocks: vec![Block::Figure(figure)] }))
}

/// The tables of a run as its manifest names them, each after the tables that it reads.
#[derive(Default)]
struct Graph {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    /// The number of each table's node, and its rows.
    tables: HashMap<String, (usize, u64)>,
}

/// A table that is not in the graph yet.
struct Table {
    name: String,
    inputs: Vec<String>,
    rows: u64,
    text: String,
    failed: f64,
}

impl Graph {
    fn new(subject: &Subject<'_>) -> Graph {
        let manifest = subject.manifest;
        let mut graph = Graph::default();
        for (name, source) in &manifest.sources {
            let text = count(source.rows, "row");
            graph.add(Table { name: name.clone(), inputs: Vec::new(), rows: source.rows, text, failed: 0.0 });
        }
        let mut rest = transforms(subject);
        rest.extend(stages(subject));
        // Every round adds the tables whose inputs are there.
        while let Some(ready) = rest.iter().position(|table| graph.has_all(&table.inputs)) {
            let table = rest.remove(ready);
            graph.add(table);
        }
        let last = graph.nodes.iter().map(|node| node.column + 1).max().unwrap_or(0);
        for facts in manifest.outputs.values() {
            let what = if facts.codebook { count(facts.rows, "variable") } else { count(facts.rows, "row") };
            let table = Table {
                name: facts.path.clone(),
                inputs: vec![facts.input.clone()],
                rows: facts.rows,
                text: what,
                failed: 0.0,
            };
            if graph.has_all(&table.inputs) {
                graph.add(table);
                graph.nodes.last_mut().expect("it was added").column = last;
            }
        }
        graph
    }

    fn has_all(&self, inputs: &[String]) -> bool {
        inputs.iter().all(|input| self.tables.contains_key(input))
    }

    fn add(&mut self, table: Table) {
        let to = self.nodes.len();
        let inputs: Vec<(usize, u64)> = table.inputs.iter().map(|input| self.tables[input]).collect();
        let column = inputs.iter().map(|(from, _)| self.nodes[*from].column + 1).max().unwrap_or(0);
        self.edges.extend(inputs.into_iter().map(|(from, rows)| Edge { from, to, rows }));
        self.tables.insert(table.name.clone(), (to, table.rows));
        self.nodes.push(Node { name: table.name, column, text: table.text, failed: table.failed });
    }
}

fn transforms(subject: &Subject<'_>) -> Vec<Table> {
    let locked = Lock::of_manifest(subject.manifest);
    let rows = |name: &str| {
        let locked = locked.as_ref().and_then(|lock| lock.transforms.get(name)?.rows);
        locked.or_else(|| Some(subject.folder.committed(name, 0)?.table.rows()))
    };
    let table = |(name, entry): (&String, &crate::store::TransformEntry)| {
        let rows = rows(name);
        // The universes of a grid are one box.
        let universes = entry.inputs.iter().filter(|_| entry.is_stack);
        let totals = universes.clone().filter_map(|name| subject.manifest.stages.get(name));
        let (failed, asked) = totals.fold((0, 0), |sum, one| (sum.0 + one.counts.failed, sum.1 + one.rows));
        let of_universe = universes.clone().next().and_then(|name| subject.manifest.tables.get(name));
        let text = rows.map_or("not made yet".to_owned(), |rows| count(rows, "row"));
        Table {
            name: name.clone(),
            inputs: of_universe.map_or_else(|| entry.inputs.clone(), |shape| vec![shape.input.clone()]),
            rows: rows.unwrap_or(0),
            text: if entry.is_stack { format!("{text}, {} universes", universes.count()) } else { text },
            failed: failed as f64 / asked.max(1) as f64,
        }
    };
    subject.manifest.transforms.iter().map(table).collect()
}

fn stages(subject: &Subject<'_>) -> Vec<Table> {
    let manifest = subject.manifest;
    let table = |(name, totals): (&String, &crate::store::StageTotals)| {
        let shape = manifest.tables.get(name)?;
        let failed = totals.counts.failed;
        let text = match failed {
            0 => count(totals.rows, "row"),
            failed => format!("{}, {} failed", count(totals.rows, "row"), number(failed)),
        };
        Some(Table {
            name: name.clone(),
            inputs: vec![shape.input.clone()],
            rows: totals.rows * shape.fold,
            text,
            failed: failed as f64 / totals.rows.max(1) as f64,
        })
    };
    manifest.stages.iter().filter(|(name, _)| manifest.grid_of(name).is_none()).filter_map(table).collect()
}
