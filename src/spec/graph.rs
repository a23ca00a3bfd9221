//! The graph of the stages: an order in which each stage comes after its inputs.

use super::read::{Raw, stage_of};
use super::resolve::Resolver;
use crate::document::Path;
use crate::name::Name;

impl Resolver<'_> {
    /// Returns all stages, each after the stages that it reads, except in cycles. Reports unknown inputs and cycles.
    pub(super) fn graph(&mut self, raw: &Raw) -> Vec<Name> {
        for (name, stage) in &raw.stages {
            for (key, input) in stage.inputs() {
                if raw.sources.contains_key(input) && raw.stages.contains_key(input) {
                    let message = format!("`{input}` is the name of a source and of a stage: `{key}` is ambiguous");
                    self.problems.error_at_key("same-name", Path::of(["stages", input]), message);
                }
                self.known_input(raw, Path::of(["stages", name.as_str(), key]), input, Some(name));
            }
        }
        let mut order: Vec<Name> = Vec::new();
        let mut left: Vec<&Name> = raw.stages.keys().collect();
        loop {
            let ready = |name: &&Name| {
                let placed = |input: &str| order.iter().any(|o| o.as_str() == input);
                let mut inputs = raw.stages[*name].inputs().into_iter().map(|(_, input)| stage_of(input));
                inputs.all(|input| !raw.stages.contains_key(input) || placed(input))
            };
            let (now, later): (Vec<&Name>, Vec<&Name>) = left.into_iter().partition(ready);
            left = later;
            if now.is_empty() {
                break;
            }
            order.extend(now.into_iter().cloned());
        }
        order.extend(left.iter().map(|name| (*name).clone()));
        self.cycles(raw, left);
        order
    }

    /// Reports an `input` at `path` that is neither a source nor a stage. `own` is the stage that reads it.
    pub(super) fn known_input(&mut self, raw: &Raw, path: Path, input: &str, own: Option<&Name>) {
        if raw.has_table(input) {
            return;
        }
        let others = raw.tables().filter(|name| own.is_none_or(|own| own.as_str() != *name));
        let problem = self.error("unknown-input", path, format!("there is no source or stage `{input}`"));
        match raw.tables().next() {
            None => problem.help("write a source: `[sources.rows]`"),
            Some(_) => problem.choices(input, "sources and stages", others),
        };
    }

    fn cycles(&mut self, raw: &Raw, left: Vec<&Name>) {
        let mut seen: Vec<&str> = Vec::new();
        for start in &left {
            let mut way: Vec<(&str, &str)> = Vec::new();
            let mut at = start.as_str();
            while !way.iter().any(|(name, _)| *name == at) && !seen.contains(&at) {
                // The cycle goes through an input that is also left.
                let stuck = |(_, input): &(&str, &str)| left.iter().any(|name| name.as_str() == stage_of(input));
                let Some((key, input)) = raw.stages.get(at).and_then(|s| s.inputs().into_iter().find(stuck)) else {
                    break;
                };
                way.push((at, key));
                at = stage_of(input);
            }
            if let Some(first) = way.iter().position(|(name, _)| *name == at) {
                let circle: Vec<String> =
                    way[first..].iter().map(|(name, _)| *name).chain([at]).map(|n| format!("`{n}`")).collect();
                let message = format!("these stages read each other in a circle: {}", circle.join(" reads "));
                self.error("cycle", Path::of(["stages", at, way[first].1]), message);
            }
            seen.extend(way.into_iter().map(|(name, _)| name));
        }
    }
}
