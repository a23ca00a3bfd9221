//! The frame of all margins: every cell, with the targets and the seed table over them. `raking` fits it.

use std::path::Path as FilePath;

use indexmap::{IndexMap, IndexSet};

use super::characteristic::rounded;
use super::margin::{Entry, Written};
use crate::document::{Diagnostic, Path, Problems, Reported};
use crate::name::{listed, nearest};
use crate::source::batches::SourceError;

const MOST_CELLS: usize = 1_000_000;
const MOST_FAULTS: usize = 20;
/// The largest relative difference between two totals that counts as rounding.
const ROUNDED_TOTALS: f64 = 0.005;
/// The largest difference between shares that two margins have in common.
const AGREEMENT: f64 = 1e-6;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) name: String,
    /// The values, in the order in which the margins first name them.
    pub(crate) values: IndexSet<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) axes: Vec<usize>,
    /// The shares of the cells, which sum to 1. The last axis varies fastest.
    pub(crate) shares: Vec<f64>,
}

/// All cells and their targets. The last axis varies fastest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) axes: Vec<Axis>,
    pub(crate) targets: Vec<Target>,
    pub(crate) seed: Vec<f64>,
}

/// The frame of these tables and their problems, below the path of the population. Without a frame, one of the problems
/// is an error. An error of the function: a file cannot be read.
pub(crate) fn frame(
    margins: &[Written],
    seed: Option<&Written>,
    folder: &FilePath,
    at: &Path,
) -> Result<(Option<Frame>, Problems), SourceError> {
    let mut read = Vec::with_capacity(margins.len());
    for margin in margins {
        read.push((margin.of.as_slice(), margin.entries(folder).map_err(|e| e.at(["margins"]))?));
    }
    let start = match seed {
        Some(seed) => Some((seed.of.as_slice(), seed.entries(folder).map_err(|e| e.at(["seed_table"]))?)),
        None => None,
    };
    let mut framing = Framing { at, axes: axes(&read), problems: Problems::default() };
    let frame = framing.frame(&read, start.as_ref());
    Ok((frame.filter(|_| !framing.problems.iter().any(Diagnostic::is_error)), framing.problems))
}

type Read<'a> = (&'a [String], Vec<Entry>);

fn axes(margins: &[Read<'_>]) -> Vec<Axis> {
    let mut axes: IndexMap<&str, IndexSet<String>> = IndexMap::new();
    for (of, entries) in margins {
        for (level, name) in of.iter().enumerate() {
            axes.entry(name).or_default().extend(entries.iter().map(|(values, _)| values[level].clone()));
        }
    }
    axes.into_iter().map(|(name, values)| Axis { name: name.to_owned(), values }).collect()
}

struct Framing<'a> {
    at: &'a Path,
    axes: Vec<Axis>,
    problems: Problems,
}

impl Framing<'_> {
    /// The place of the weights of a margin; `None` for the seed table.
    fn place(&self, margin: Option<usize>) -> Path {
        let table = match margin {
            Some(i) => self.at.key("margins").index(i),
            None => self.at.key("seed_table"),
        };
        table.key("weights")
    }

    fn fault(&mut self, margin: Option<usize>, message: String) -> Reported<'_> {
        self.problems.error("bad-margin", self.place(margin), message)
    }

    fn frame(&mut self, margins: &[Read<'_>], seed: Option<&Read<'_>>) -> Option<Frame> {
        let cells = self.axes.iter().try_fold(1_usize, |cells, axis| cells.checked_mul(axis.values.len()));
        let Some(cells) = cells.filter(|cells| *cells <= MOST_CELLS) else {
            self.fault(Some(0), format!("the margins have more than {MOST_CELLS} cells together"));
            return None;
        };
        let targets: Vec<Option<(Target, f64)>> =
            margins.iter().enumerate().map(|(i, margin)| self.target(i, margin)).collect();
        let start = match seed {
            Some(seed) => self.start(seed, cells),
            None => Some(vec![1.0; cells]),
        };
        let (targets, totals): (Vec<Target>, Vec<f64>) =
            targets.into_iter().collect::<Option<Vec<_>>>()?.into_iter().unzip();
        self.totals(&totals);
        self.agreement(&targets);
        let frame = Frame { axes: self.axes.clone(), targets, seed: start? };
        self.reachable(&frame);
        Some(frame)
    }

    /// The weights of a table over its axes; every combination of values must have one.
    fn dense(&mut self, margin: Option<usize>, axes: &[usize], entries: &[Entry]) -> Option<Vec<f64>> {
        let before = self.problems.mark();
        let size = axes.iter().map(|axis| self.axes[*axis].values.len()).product();
        let mut dense: Vec<Option<f64>> = vec![None; size];
        for (values, weight) in entries {
            let mut index = Some(0);
            for (value, axis) in values.iter().zip(axes) {
                let Axis { name, values } = &self.axes[*axis];
                let option = values.get_index_of(value);
                index = index.zip(option).map(|(index, option)| index * values.len() + option);
                if option.is_none() && self.problems.since(before).len() < MOST_FAULTS {
                    let message = format!("no margin has a value `{value}` of `{name}`");
                    let help = meant(value, values.iter().map(String::as_str));
                    self.fault(margin, message).help(help);
                }
            }
            let Some(index) = index else { continue };
            if dense[index].replace(*weight).is_some() && self.problems.since(before).len() < MOST_FAULTS {
                let cell = cell_name(&self.axes, axes, index);
                self.fault(margin, format!("{cell} has two weights"));
            }
        }
        for index in (0..size).filter(|index| dense[*index].is_none()).take(MOST_FAULTS) {
            let cell = cell_name(&self.axes, axes, index);
            self.fault(margin, format!("{cell} has no weight")).help("write 0 for an empty cell");
        }
        self.problems.since(before).is_empty().then(|| dense.into_iter().flatten().collect())
    }

    fn target(&mut self, number: usize, (of, entries): &Read<'_>) -> Option<(Target, f64)> {
        let axes: Vec<usize> =
            of.iter().filter_map(|name| self.axes.iter().position(|axis| axis.name == *name)).collect();
        let weights = self.dense(Some(number), &axes, entries)?;
        let total: f64 = weights.iter().sum();
        Some((Target { axes, shares: weights.into_iter().map(|weight| weight / total).collect() }, total))
    }

    /// The initial weights of all cells: each cell gets the weight of its values in the seed table.
    fn start(&mut self, (of, entries): &Read<'_>, cells: usize) -> Option<Vec<f64>> {
        let mut axes = Vec::new();
        for name in *of {
            match self.axes.iter().position(|axis| axis.name == *name) {
                Some(axis) => axes.push(axis),
                None => {
                    let help = meant(name, self.axes.iter().map(|axis| axis.name.as_str()));
                    self.fault(None, format!("no margin is about `{name}`")).help(help);
                }
            }
        }
        if axes.len() < of.len() {
            return None;
        }
        let weights = self.dense(None, &axes, entries)?;
        let places = projection(&self.axes, &axes);
        Some((0..cells).map(|cell| weights[places[cell] as usize]).collect())
    }

    /// Margins in counts must have the same total. Margins in shares sum to 1 or 100.
    fn totals(&mut self, totals: &[f64]) {
        let near = |total: f64, wanted: f64| (total / wanted - 1.0).abs() <= ROUNDED_TOTALS;
        let exact = |total: f64, wanted: f64| (total / wanted - 1.0).abs() <= AGREEMENT;
        let mut first: Option<(usize, f64)> = None;
        for (i, total) in totals.iter().copied().enumerate() {
            let of = if let Some(wanted) = [1.0, 100.0].into_iter().find(|wanted| near(total, *wanted)) {
                wanted
            } else if let Some((other, wanted)) = first {
                if !near(total, wanted) {
                    let (total, wanted) = (rounded(total), rounded(wanted));
                    let message = format!("its total is {total}, but that of `margins[{other}]` is {wanted}");
                    self.fault(Some(i), message)
                        .help("margins of the same people have the same total; or write shares, which sum to 1");
                    continue;
                }
                wanted
            } else {
                first = Some((i, total));
                total
            };
            if !exact(total, of) {
                let (total, of) = (rounded(total), rounded(of));
                let message = format!("its weights sum to {total}, not to {of}; they will be normalised");
                self.problems.warning("weights-sum", self.place(Some(i)), message);
            }
        }
    }

    /// Two margins must agree on the characteristics that they share.
    fn agreement(&mut self, targets: &[Target]) {
        for (second, target) in targets.iter().enumerate() {
            for (first, other) in targets.iter().enumerate().take(second) {
                let shared: Vec<usize> = target.axes.iter().copied().filter(|axis| other.axes.contains(axis)).collect();
                if shared.len() == target.axes.len() && shared.len() == other.axes.len() {
                    let message = format!("`margins[{first}]` is about the same characteristics");
                    self.fault(Some(second), message).help("remove one of them");
                    continue;
                }
                if shared.is_empty() {
                    continue;
                }
                let (here, there) = (self.collapsed(target, &shared), self.collapsed(other, &shared));
                for cell in
                    (0..here.len()).filter(|cell| (here[*cell] - there[*cell]).abs() > AGREEMENT).take(MOST_FAULTS)
                {
                    let (here, there) = (rounded(here[cell]), rounded(there[cell]));
                    let name = cell_name(&self.axes, &shared, cell);
                    let message = format!("{name} has the share {here} here, but {there} in `margins[{first}]`");
                    self.fault(Some(second), message).help(
                        "no table has both margins: make them agree, or remove the margin that the other implies",
                    );
                }
            }
        }
    }

    fn collapsed(&self, target: &Target, kept: &[usize]) -> Vec<f64> {
        let inner: Vec<Axis> = target.axes.iter().map(|axis| self.axes[*axis].clone()).collect();
        let kept: Vec<usize> = kept.iter().filter_map(|axis| target.axes.iter().position(|a| a == axis)).collect();
        summed(&target.shares, &projection(&inner, &kept), kept.iter().map(|axis| inner[*axis].values.len()).product())
    }

    /// A target above 0 needs a cell above 0 in the seed table.
    fn reachable(&mut self, frame: &Frame) {
        for (i, target) in frame.targets.iter().enumerate() {
            let there = summed(&frame.seed, &projection(&frame.axes, &target.axes), target.shares.len());
            let empty = |cell: &usize| target.shares[*cell] > 0.0 && there[*cell] == 0.0;
            for cell in (0..there.len()).filter(empty).take(MOST_FAULTS) {
                let name = cell_name(&frame.axes, &target.axes, cell);
                let share = rounded(target.shares[cell]);
                self.fault(Some(i), format!("{name} should have the share {share}, but the seed table is 0 there"));
            }
        }
    }
}

fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}", listed(known.take(MOST_FAULTS))),
    }
}

/// For each cell of `axes`, the index of its cell in the axes `kept`. The last axis varies fastest.
pub(crate) fn projection(axes: &[Axis], kept: &[usize]) -> Vec<u32> {
    let cells: usize = axes.iter().map(|axis| axis.values.len()).product();
    let mut strides = vec![1; axes.len()];
    for axis in (1..axes.len()).rev() {
        strides[axis - 1] = strides[axis] * axes[axis].values.len();
    }
    let place = |cell: usize| {
        kept.iter().fold(0, |place, axis| {
            let width = axes[*axis].values.len();
            place * width + cell / strides[*axis] % width
        })
    };
    (0..cells).map(|cell| place(cell) as u32).collect()
}

/// The sums of `weights` by `places`, which are below `size`.
pub(crate) fn summed(weights: &[f64], places: &[u32], size: usize) -> Vec<f64> {
    let mut sums = vec![0.0; size];
    weights.iter().zip(places).for_each(|(weight, place)| sums[*place as usize] += weight);
    sums
}

/// A cell of the axes `kept` for a message: `` `age` = "50+" and `gender` = "male" ``.
pub(crate) fn cell_name(axes: &[Axis], kept: &[usize], cell: usize) -> String {
    let values = cell_values(axes, kept, cell);
    let named = kept.iter().zip(values).map(|(axis, value)| format!("`{}` = \"{value}\"", axes[*axis].name));
    named.collect::<Vec<_>>().join(" and ")
}

pub(crate) fn cell_values<'a>(axes: &'a [Axis], kept: &[usize], cell: usize) -> Vec<&'a str> {
    let mut rest = cell;
    let mut values = Vec::with_capacity(kept.len());
    for axis in kept.iter().rev() {
        let all = &axes[*axis].values;
        values.push(all[rest % all.len()].as_str());
        rest /= all.len();
    }
    values.reverse();
    values
}
