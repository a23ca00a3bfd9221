//! The two samples: the answers, the weight and the group of each row.

use std::collections::{BTreeSet, HashMap};

use nalgebra::DMatrix;

use crate::stage::method::columns::Rows;
use crate::stage::transform::DataError;

/// What a column holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Labels,
    /// Labels from the lowest to the highest.
    Ordered(Vec<String>),
    Whole,
    Real,
}

impl Kind {
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Kind::Whole | Kind::Real)
    }

    /// Whether differences of values matter.
    pub(super) fn has_distances(&self) -> bool {
        *self != Kind::Labels
    }

    /// Whether the shares of the values matter.
    pub(super) fn has_shares(&self) -> bool {
        *self != Kind::Real
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// The places of the variables of a regression.
#[derive(Clone, Debug)]
pub(super) struct Regression {
    pub(super) outcome: usize,
    pub(super) predictors: Vec<usize>,
}

/// The reads before those of the groups and of the variables.
const SAMPLE: usize = 0;
const WEIGHT: usize = 1;
const GROUPS: usize = 2;

/// In place of a value that is missing.
const MISSING: u32 = u32::MAX;

/// The values of a variable.
#[derive(Debug)]
pub(super) struct Answers {
    /// The category of each row.
    categories: Vec<u32>,
    /// The value of each category, ascending: a number, or a place in the order.
    pub(super) values: Vec<f64>,
    /// The label of each category, for labels without an order.
    labels: Vec<String>,
}

/// The rows of both samples, the synthetic ones first.
#[derive(Debug)]
pub(super) struct Samples {
    /// How many rows are synthetic.
    pub(super) synthetic: usize,
    /// How many equal rows each row is.
    pub(super) counts: Vec<u64>,
    /// The survey weight of each row.
    pub(super) weights: Vec<f64>,
    /// The group of each row in both samples. Empty without groups.
    pub(super) groups: Vec<Option<usize>>,
    pub(super) answers: Vec<Answers>,
}

/// The rows of a regression.
#[derive(Debug)]
pub(super) struct Design {
    pub(super) rows: Vec<usize>,
    /// An intercept, then the predictors.
    pub(super) x: DMatrix<f64>,
    pub(super) y: Vec<f64>,
}

impl Samples {
    /// `groups` is the number of columns that make groups.
    pub(super) fn new(rows: &Rows<'_>, variables: &[Variable], groups: usize) -> Result<Samples, DataError> {
        let is_human: Vec<bool> = rows.truths(SAMPLE).into_iter().map(|is_human| is_human == Some(true)).collect();
        let (human, mut order): (Vec<usize>, Vec<usize>) = (0..is_human.len()).partition(|row| is_human[*row]);
        let synthetic = order.len();
        order.extend(human);
        let weights = rows.numbers(WEIGHT);
        let weight = |row: &usize| weights[*row].filter(|weight| weight.is_finite() && *weight >= 0.0);
        let (counts, total) = (rows.counts(), order.len());
        let weights: Vec<f64> = order.iter().filter_map(weight).collect();
        if weights.len() < total {
            let wrong: u64 = order.iter().filter(|row| weight(row).is_none()).map(|row| counts[*row]).sum();
            let rows = if wrong == 1 { "1 row has".to_owned() } else { format!("{wrong} rows have") };
            let message = format!("{rows} no weight, or one below 0");
            return Err(
                DataError::at("weight", message).help("a weight is a number from 0; leave other rows out first")
            );
        }
        let named: Vec<Vec<Option<usize>>> = if rows.is_whole() {
            (GROUPS..GROUPS + groups).map(|read| rows.labels(read)).collect()
        } else {
            Vec::new()
        };
        let mut numbers: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut group = |row: &usize| {
            let names = named.iter().map(|names| names[*row]).collect::<Option<Vec<usize>>>()?;
            let next = numbers.len();
            Some(*numbers.entry(names).or_insert(next))
        };
        let groups_of = if named.is_empty() { Vec::new() } else { order.iter().map(&mut group).collect() };
        let answers = variables.iter().enumerate();
        let answers = answers.map(|(i, variable)| Answers::new(rows, GROUPS + groups + i, variable, &order));
        Ok(Samples {
            synthetic,
            counts: order.iter().map(|row| counts[*row]).collect(),
            weights,
            groups: groups_of,
            answers: answers.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn rows(&self, human: bool) -> std::ops::Range<usize> {
        if human { self.synthetic..self.counts.len() } else { 0..self.synthetic }
    }

    /// The distribution of the values in one sample, with the weight of each row. `None` if no row has a value.
    pub(super) fn shares(&self, variable: usize, human: bool, weights: &[f64]) -> Option<Vec<f64>> {
        let answers = &self.answers[variable];
        let (mut shares, mut total) = (vec![0.0; answers.values.len()], 0.0);
        for row in self.rows(human).filter(|row| answers.has(*row)) {
            shares[answers.categories[row] as usize] += weights[row];
            total += weights[row];
        }
        shares.iter_mut().for_each(|share| *share /= total);
        (total > 0.0).then_some(shares)
    }

    /// Labels that only one of the samples has.
    pub(super) fn unshared(&self, variable: usize) -> Vec<&str> {
        let answers = &self.answers[variable];
        let used = |human| -> BTreeSet<u32> { self.rows(human).map(|row| answers.categories[row]).collect() };
        let (synthetic, human) = (used(false), used(true));
        let unshared = synthetic.symmetric_difference(&human).filter(|category| **category != MISSING);
        unshared.filter_map(|category| answers.labels.get(*category as usize)).map(String::as_str).collect()
    }

    /// The rows of one sample that have all variables of a regression.
    pub(super) fn design(&self, regression: &Regression, variables: &[Variable], human: bool) -> Design {
        let answers = |variable: &usize| &self.answers[*variable];
        let has = |row: &usize| {
            let mut variables = regression.predictors.iter().chain([&regression.outcome]);
            variables.all(|variable| answers(variable).has(*row))
        };
        let rows: Vec<usize> = self.rows(human).filter(has).collect();
        let mut columns = vec![vec![1.0; rows.len()]];
        for predictor in &regression.predictors {
            let answers = answers(predictor);
            if variables[*predictor].kind.has_distances() {
                columns.push(rows.iter().filter_map(|row| answers.value(*row)).collect());
            } else {
                // The first label is the reference in both samples.
                let is = |label: u32| move |row: &usize| f64::from(u8::from(answers.categories[*row] == label));
                columns.extend((1..answers.values.len() as u32).map(|label| rows.iter().map(is(label)).collect()));
            }
        }
        let y = rows.iter().filter_map(|row| answers(&regression.outcome).value(*row)).collect();
        Design { x: DMatrix::from_fn(rows.len(), columns.len(), |row, column| columns[column][row]), rows, y }
    }
}

impl Answers {
    fn new(rows: &Rows<'_>, read: usize, variable: &Variable, order: &[usize]) -> Result<Answers, DataError> {
        if variable.kind.is_number() {
            // Adding 0 makes -0 and 0 the same number.
            let numbers: Vec<Option<f64>> = rows.numbers(read).into_iter().map(|number| Some(number? + 0.0)).collect();
            if let Some(number) = numbers.iter().flatten().find(|number| !number.is_finite()) {
                let message = format!("`{}` has the number {number}, but distances need finite numbers", variable.name);
                return Err(DataError::at("columns", message));
            }
            let mut values: Vec<f64> = numbers.iter().flatten().copied().collect();
            values.sort_unstable_by(f64::total_cmp);
            values.dedup();
            let category = |number: f64| values.partition_point(|value| *value < number) as u32;
            let categories = order.iter().map(|row| numbers[*row].map_or(MISSING, category)).collect();
            return Ok(Answers { categories, values, labels: Vec::new() });
        }
        let (codes, names) = (rows.labels(read), rows.label_names());
        let used: BTreeSet<usize> = codes.iter().flatten().copied().collect();
        let mut places: HashMap<usize, u32> = HashMap::new();
        for (code, number) in used.iter().zip(0..) {
            let place = match &variable.kind {
                Kind::Ordered(order) => order.iter().position(|label| *label == names[*code]).map(|place| place as u32),
                _ => Some(number),
            };
            let unknown = || {
                let message =
                    format!("`{}` has the label `{}`, which is not in its order", variable.name, names[*code]);
                DataError::at("order", message)
            };
            places.insert(*code, place.ok_or_else(unknown)?);
        }
        let (number, labels) = match &variable.kind {
            Kind::Ordered(order) => (order.len(), Vec::new()),
            _ => (used.len(), used.iter().map(|code| names[*code].clone()).collect()),
        };
        let categories = order.iter().map(|row| codes[*row].map_or(MISSING, |code| places[&code])).collect();
        Ok(Answers { categories, values: (0..number).map(|place| place as f64).collect(), labels })
    }

    pub(super) fn has(&self, row: usize) -> bool {
        self.categories[row] != MISSING
    }

    pub(super) fn value(&self, row: usize) -> Option<f64> {
        self.has(row).then(|| self.values[self.categories[row] as usize])
    }
}
