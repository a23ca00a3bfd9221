//! The graph of characteristics: resolves parents, and finds a distribution for every value that the parents can have.

use std::collections::HashMap;

use serde::Serialize;

use super::characteristic::{Kind, Law, Written, law, noun};
use super::margin;
use super::numeric::Numeric;
use crate::document::{Node, Path, Problems, Value};
use crate::name::suggestion;
use crate::table::Cell;

const MOST_COMBINATIONS: usize = 1_000_000;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Characteristic {
    pub(crate) name: String,
    pub(crate) parents: Vec<usize>,
    pub(crate) widths: Vec<usize>,
    pub(crate) values: Values,
    /// The file with the options and their shares. Before it is read, `values` has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<margin::Written>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) enum Values {
    /// Options, and their shares for each combination of parent values; `None` for an impossible combination.
    Options {
        choices: Vec<Cell>,
        /// For each combination, the share of each option; they sum to 1.
        shares: Vec<Option<Vec<f64>>>,
    },
    Numbers {
        whole: bool,
        laws: Vec<Option<Numeric>>,
    },
}

impl Characteristic {
    pub(crate) fn combination(&self, options: impl Iterator<Item = usize>) -> usize {
        options.zip(&self.widths).fold(0, |index, (option, width)| index * width + option)
    }

    /// The number of combinations of parent values; 1 without parents.
    pub(crate) fn combinations(&self) -> usize {
        self.widths.iter().product()
    }

    pub(crate) fn choices(&self) -> Option<&[Cell]> {
        match &self.values {
            Values::Options { choices, .. } => Some(choices),
            Values::Numbers { .. } => None,
        }
    }
}

/// Resolves the characteristics in the order of the spec; reports every problem. Without errors, the list is
/// complete. The second list contains the indices, parents before children.
pub(crate) fn resolve(written: &[Written<'_>], problems: &mut Problems) -> Option<(Vec<Characteristic>, Vec<usize>)> {
    let index: HashMap<&str, usize> = written.iter().enumerate().map(|(i, w)| (w.name, i)).collect();
    let mut parents: Vec<Vec<usize>> = vec![Vec::new(); written.len()];
    let mut missing = vec![false; written.len()];
    for (i, one) in written.iter().enumerate() {
        let Kind::Given { parents: named, .. } = &one.kind else { continue };
        for (name, path) in named {
            let Some(parent) = index.get(name) else {
                missing[i] = true;
                let others = written.iter().map(|other| other.name).filter(|other| *other != one.name);
                problems
                    .error("unknown-characteristic", path.clone(), format!("there is no characteristic `{name}`"))
                    .help_if(suggestion(name, "the others are", others));
                continue;
            };
            parents[i].push(*parent);
        }
    }
    let order = order(written, &parents, problems);
    let mut done: Vec<Option<Characteristic>> = vec![None; written.len()];
    for i in &order {
        if !missing[*i] {
            done[*i] =
                Resolver { written: &written[*i], parents: &parents[*i], done: &done, problems, laws: Vec::new() }
                    .resolve();
        }
    }
    let all: Option<Vec<Characteristic>> = done.into_iter().collect();
    all.map(|all| (all, order))
}

/// The indices, parents before children, otherwise in the order of the spec. Cycles are reported and omitted.
fn order(written: &[Written<'_>], parents: &[Vec<usize>], problems: &mut Problems) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::with_capacity(parents.len());
    let mut placed = vec![false; parents.len()];
    while let Some(next) = (0..parents.len()).find(|i| !placed[*i] && parents[*i].iter().all(|p| placed[*p])) {
        placed[next] = true;
        order.push(next);
    }
    let mut told = placed.clone();
    while let Some(start) = told.iter().position(|told| !told) {
        // Each remaining characteristic has a remaining parent, so the walk ends in a cycle.
        let mut way = vec![start];
        let cycle = loop {
            let last = way[way.len() - 1];
            let Some(up) = parents[last].iter().copied().find(|p| !placed[*p]) else { break Vec::new() };
            match way.iter().position(|seen| *seen == up) {
                Some(from) => break way.split_off(from),
                None => way.push(up),
            }
        };
        // A characteristic that only depends on a cycle is not reported.
        if let Some(first) = cycle.iter().min().copied()
            && !told[first]
        {
            let from = cycle.iter().position(|i| *i == first).unwrap_or_default();
            let names: Vec<String> =
                (1..=cycle.len()).map(|k| format!("`{}`", written[cycle[(from + k) % cycle.len()]].name)).collect();
            let message = format!("`{}` depends on {}", written[first].name, names.join(", which depends on "));
            problems.error("cycle", written[first].path.key("depends_on"), message);
        }
        told[start] = true;
        cycle.iter().chain(&way).for_each(|i| told[*i] = true);
    }
    order
}

struct Resolver<'a> {
    written: &'a Written<'a>,
    parents: &'a [usize],
    done: &'a [Option<Characteristic>],
    problems: &'a mut Problems,
    /// The distributions found so far, in the order of the combinations; `None` for an impossible combination.
    laws: Vec<Option<(Law, Path)>>,
}

impl Resolver<'_> {
    fn resolve(mut self) -> Option<Characteristic> {
        let name = self.written.name.to_owned();
        let (widths, laws) = match &self.written.kind {
            Kind::Computed(_) => return None,
            Kind::File(file) => {
                let values = Values::Options { choices: Vec::new(), shares: vec![None] };
                let file = Some(margin::Written::of_file(&name, file));
                return Some(Characteristic { name, parents: Vec::new(), widths: Vec::new(), values, file });
            }
            Kind::Alone(law) => (Vec::new(), vec![Some((law.clone()?, self.written.path.clone()))]),
            Kind::Given { parents, distributions, path } => {
                let widths = self.widths(parents)?;
                let before = self.problems.mark();
                self.walk(distributions, path, &mut Vec::new(), &widths);
                if self.problems.had_errors_since(before) {
                    return None;
                }
                (widths, std::mem::take(&mut self.laws))
            }
        };
        let values = self.values(laws)?;
        Some(Characteristic { name, parents: self.parents.to_vec(), widths, values, file: None })
    }

    /// The number of options of each parent; `None` if a parent has no options or is invalid.
    fn widths(&mut self, names: &[(&str, Path)]) -> Option<Vec<usize>> {
        let mut widths = Vec::new();
        let mut all = true;
        for (parent, (name, path)) in self.parents.iter().zip(names) {
            if self.done[*parent].as_ref().is_some_and(|parent| parent.file.is_some()) {
                all = false;
                let message =
                    format!("the options of `{name}` are in a file; only options in the spec can be a parent's");
                self.problems.error("bad-parent", path.clone(), message);
                continue;
            }
            match self.done[*parent].as_ref().map(Characteristic::choices) {
                Some(Some(choices)) => widths.push(choices.len()),
                Some(None) => {
                    all = false;
                    let message =
                        format!("`{name}` contains numbers; only a characteristic with options can be a parent");
                    self.problems.error("bad-parent", path.clone(), message);
                }
                None => all = false,
            }
        }
        let combinations = widths.iter().try_fold(1_usize, |product, width| product.checked_mul(*width));
        if all && combinations.is_none_or(|n| n > MOST_COMBINATIONS) {
            let message = format!("the parents have more than {MOST_COMBINATIONS} combinations of values");
            self.problems.error("bad-parent", self.written.path.key("depends_on"), message);
            all = false;
        }
        all.then_some(widths)
    }

    /// Walks the nested tables, one level per parent; `chosen` are the options of the parents so far.
    fn walk(&mut self, node: &Node, path: &Path, chosen: &mut Vec<usize>, widths: &[usize]) {
        let level = chosen.len();
        let Some(parent) = self.parents.get(level).and_then(|p| self.done[*p].as_ref()) else {
            let law = law(node, path, self.problems).map(|law| (law, path.clone()));
            self.laws.push(law);
            return;
        };
        let choices = parent.choices().unwrap_or_default();
        let Value::Table(entries) = &node.value else {
            let message = format!(
                "there must be a table here with a key for each value of `{}`, not {}",
                parent.name,
                node.kind_name()
            );
            self.problems.error("wrong-type", path.clone(), message);
            return;
        };
        let known: Vec<String> = choices.iter().map(Cell::text).collect();
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key)) {
            let message = format!("`{}` has no value `{}`", parent.name, entry.key);
            let help = suggestion(&entry.key, "its values are", known.iter().map(String::as_str));
            self.problems.error_at_key("unknown-value", path.key(&entry.key), message).help_if(help);
        }
        for (option, value) in known.iter().enumerate() {
            chosen.push(option);
            match node.get(value) {
                Some(next) => self.walk(next, &path.key(value), chosen, widths),
                None if self.can_be(chosen) => self.missing(path, chosen),
                None => self.laws.extend(std::iter::repeat_n(None, widths[level + 1..].iter().product())),
            }
            chosen.pop();
        }
    }

    /// Whether the parents can have these options together. An option of a parent cannot occur if its share is 0 for
    /// the options of that parent's parents.
    fn can_be(&self, chosen: &[usize]) -> bool {
        let option_of = |index: usize| self.parents.iter().zip(chosen).find(|(p, _)| **p == index).map(|(_, o)| *o);
        self.parents.iter().zip(chosen).all(|(parent, option)| {
            let Some(parent) = &self.done[*parent] else { return true };
            let given: Option<Vec<usize>> = parent.parents.iter().map(|p| option_of(*p)).collect();
            match (given, &parent.values) {
                (Some(given), Values::Options { shares, .. }) => {
                    let shares = &shares[parent.combination(given.into_iter())];
                    shares.as_ref().is_some_and(|shares| shares[*option] > 0.0)
                }
                _ => true,
            }
        })
    }

    fn missing(&mut self, path: &Path, chosen: &[usize]) {
        let named: Vec<String> = self
            .parents
            .iter()
            .zip(chosen)
            .filter_map(|(p, o)| {
                let parent = self.done[*p].as_ref()?;
                Some(format!("`{}` = \"{}\"", parent.name, parent.choices()?[*o].text()))
            })
            .collect();
        let message = format!("`{}` has no distribution for {}", self.written.name, named.join(" and "));
        self.problems.error("missing-distribution", path.clone(), message);
    }

    fn values(&mut self, laws: Vec<Option<(Law, Path)>>) -> Option<Values> {
        let (first, first_path) = laws.iter().flatten().next()?.clone();
        let before = self.problems.mark();
        let described = |law: &Law| match law {
            Law::Options(options) => options.first().map_or("options", |(choice, _)| noun(choice)),
            Law::Number(numeric) if numeric.is_whole() => "numbers without decimals",
            Law::Number(_) => "numbers with decimals",
        };
        for (law, path) in laws.iter().flatten().filter(|(law, _)| described(law) != described(&first)) {
            let message = format!(
                "a characteristic has one type: these are {}, those of `{first_path}` {}",
                described(law),
                described(&first)
            );
            self.problems.error("mixed-types", path.clone(), message);
        }
        if self.problems.had_errors_since(before) {
            return None;
        }
        if let Law::Number(numeric) = &first {
            let number = |law| match law {
                Law::Number(numeric) => Some(numeric),
                Law::Options(_) => None,
            };
            let whole = numeric.is_whole();
            return Some(Values::Numbers { whole, laws: laws.into_iter().map(|l| number(l?.0)).collect() });
        }
        let mut choices: Vec<Cell> = Vec::new();
        let mut place = |(choice, share): (Cell, f64)| {
            let known = choices.iter().position(|other| *other == choice);
            let place = known.unwrap_or_else(|| {
                choices.push(choice);
                choices.len() - 1
            });
            (place, share)
        };
        let placed: Vec<Option<Vec<(usize, f64)>>> = laws
            .into_iter()
            .map(|law| match law?.0 {
                Law::Options(options) => Some(options.into_iter().map(&mut place).collect()),
                Law::Number(_) => None,
            })
            .collect();
        let dense = |placed: Vec<(usize, f64)>| {
            let mut shares = vec![0.0; choices.len()];
            placed.into_iter().for_each(|(index, share)| shares[index] = share);
            shares
        };
        let shares = placed.into_iter().map(|placed| placed.map(dense)).collect();
        Some(Values::Options { choices, shares })
    }
}
