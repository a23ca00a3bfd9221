//! The graph of the stages: an order in which each stands after its input.

use super::read::Raw;
use super::resolve::Resolver;
use crate::document::Path;
use crate::name::{Name, listed, nearest};

impl Resolver<'_> {
    /// The stages in an order in which each stands after its input; reports unknown inputs and cycles.
    pub(super) fn graph(&mut self, raw: &Raw) -> Vec<Name> {
        let mut order: Vec<Name> = Vec::new();
        let mut left: Vec<&Name> = Vec::new();
        for (name, stage) in &raw.stages {
            let mut known = true;
            for (key, input) in stage.inputs() {
                known &= self.is_known(raw, name, key, input);
            }
            if known {
                left.push(name);
            }
        }
        loop {
            let ready = |name: &&Name| {
                let placed = |input: &str| order.iter().any(|o| o.as_str() == input);
                raw.stages[*name].inputs().iter().all(|(_, input)| !raw.stages.contains_key(*input) || placed(input))
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

    /// Whether `input`, which the field `key` of stage `name` names, is a source or a stage; reports what it is not.
    fn is_known(&mut self, raw: &Raw, name: &Name, key: &str, input: &str) -> bool {
        if raw.sources.contains_key(input) && raw.stages.contains_key(input) {
            let path = Path::of(["stages", input]);
            self.problems.error_at_key(
                "same-name",
                path,
                format!("`{input}` is the name of a source and of a stage, so that `{key}` can't tell them apart"),
            );
        }
        let known = raw.sources.contains_key(input) || raw.stages.contains_key(input);
        if known || raw.is_broken("sources", input) || raw.is_broken("stages", input) {
            return true;
        }
        let names: Vec<&str> = raw.sources.keys().chain(raw.stages.keys()).map(Name::as_str).collect();
        let help = match nearest(input, names.iter().copied().filter(|n| *n != name.as_str())) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if names.is_empty() => Some("write a source: `[sources.rows]`".to_owned()),
            None => Some(format!("the sources and stages are {}", listed(names))),
        };
        let path = Path::of(["stages", name.as_str(), key]);
        self.error("unknown-input", path, format!("there is no source or stage `{input}`")).help_if(help);
        false
    }

    /// Reports each cycle among the stages that are left, once.
    fn cycles(&mut self, raw: &Raw, left: Vec<&Name>) {
        let mut seen: Vec<&str> = Vec::new();
        for start in &left {
            let mut way: Vec<(&str, &str)> = Vec::new();
            let mut at = start.as_str();
            while !way.iter().any(|(name, _)| *name == at) && !seen.contains(&at) {
                // Of several inputs one that is left too leads around, if any does.
                let stuck = |(_, input): &(&str, &str)| left.iter().any(|name| name.as_str() == *input);
                let Some((key, input)) = raw.stages.get(at).and_then(|s| s.inputs().into_iter().find(stuck)) else {
                    break;
                };
                way.push((at, key));
                at = input;
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
