//! The graph of the stages: an order in which each stands after its input.

use super::read::Raw;
use super::resolve::Resolver;
use crate::document::{Diagnostic, Path};
use crate::name::{Name, listed, nearest};

impl Resolver<'_> {
    /// The stages in an order in which each stands after its input; reports unknown inputs and cycles.
    pub(super) fn graph(&mut self, raw: &Raw) -> Vec<Name> {
        let mut order: Vec<Name> = Vec::new();
        let mut left: Vec<&Name> = Vec::new();
        for (name, (table, _)) in &raw.stages {
            let input = table.input.as_str();
            if raw.sources.contains_key(input) && raw.stages.contains_key(input) {
                let path = Path::of(["stages", input]);
                self.problems.push(Diagnostic::error_at_key(
                    "same-name",
                    path,
                    format!("`{input}` is the name of a source and of a stage, so that `input` can't tell them apart"),
                ));
            }
            let known = raw.sources.contains_key(input) || raw.stages.contains_key(input);
            if known || raw.is_broken("sources", input) || raw.is_broken("stages", input) {
                left.push(name);
            } else {
                let names: Vec<&str> = raw.sources.keys().chain(raw.stages.keys()).map(Name::as_str).collect();
                let help = match nearest(input, names.iter().copied().filter(|n| *n != name.as_str())) {
                    Some(near) => Some(format!("did you mean `{near}`?")),
                    None if names.is_empty() => Some("write a source: `[sources.rows]`".to_owned()),
                    None => Some(format!("the sources and stages are {}", listed(names))),
                };
                let path = Path::of(["stages", name.as_str(), "input"]);
                self.error("unknown-input", path, format!("there is no source or stage `{input}`")).help = help;
            }
        }
        loop {
            let ready = |name: &&Name| {
                let input = raw.stages[*name].0.input.as_str();
                !raw.stages.contains_key(input) || order.iter().any(|o| o.as_str() == input)
            };
            let (now, later): (Vec<&Name>, Vec<&Name>) = left.into_iter().partition(ready);
            if now.is_empty() {
                left = later;
                break;
            }
            order.extend(now.into_iter().cloned());
            left = later;
        }
        self.cycles(raw, left);
        order
    }

    /// Reports each cycle among the stages that are left, once.
    fn cycles(&mut self, raw: &Raw, left: Vec<&Name>) {
        let mut seen: Vec<&str> = Vec::new();
        for start in left {
            let mut way: Vec<&str> = Vec::new();
            let mut at = start.as_str();
            while raw.stages.contains_key(at) && !way.contains(&at) && !seen.contains(&at) {
                way.push(at);
                at = &raw.stages[at].0.input;
            }
            if let Some(first) = way.iter().position(|n| *n == at) {
                let circle = way[first..].iter().chain([&at]).map(|n| format!("`{n}`")).collect::<Vec<_>>();
                let message = format!("these stages read each other in a circle: {}", circle.join(" reads "));
                self.error("cycle", Path::of(["stages", at, "input"]), message);
            }
            seen.extend(way);
        }
    }
}
