//! The design of an estimate: which rows are used, with which outcomes, probabilities and predictors.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use nalgebra::DMatrix;

use super::formula::{Formula, Variable};
use crate::name::{listed, suggestion};
use crate::stage::method::columns::Rows;
use crate::stage::method::gold::PROBABILITY;
use crate::stage::method::outcome;
use crate::stage::transform::DataError;
use crate::stats::{self, Collinear, collinear};

/// The most rows that a message names.
const NAMED: usize = 3;
const INTERCEPT: &str = "intercept";
const REMOVE_IT: &str = "remove it from `formula`";

/// The places of what is read, among the reads of the method.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) gold: Option<usize>,
    pub(super) probability: Option<usize>,
    pub(super) cluster: Option<usize>,
    /// That of the first variable of the formula; the others follow.
    pub(super) variables: usize,
}

/// A column of the predictors.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) name: String,
    /// The levels with which the term compares.
    pub(super) reference: Option<String>,
}

#[derive(Debug)]
pub(super) struct Design {
    pub(super) rows: stats::Rows,
    pub(super) terms: Vec<Term>,
    pub(super) left_out: u64,
    /// Why rows are left out.
    pub(super) left_out_note: Option<String>,
    /// What is not as the sample was drawn.
    pub(super) sample_note: Option<String>,
}

/// What reads a design from rows.
#[derive(Debug)]
pub(super) struct Designer {
    /// Whether each read holds numbers.
    pub(super) numeric: Vec<bool>,
    pub(super) places: Places,
    pub(super) formula: Option<Formula>,
    pub(super) references: IndexMap<String, String>,
    /// Whether the gold rows are a simple random sample of all rows.
    pub(super) simple_random: bool,
    pub(super) is_logit: bool,
}

/// Why there is no design.
#[derive(Debug)]
pub(super) enum NoDesign {
    /// No row can be used. The sentence says why.
    NoRow(String),
    Wrong(DataError),
}

impl From<DataError> for NoDesign {
    fn from(error: DataError) -> Self {
        NoDesign::Wrong(error)
    }
}

impl Designer {
    pub(super) fn design(&self, rows: &Rows<'_>) -> Result<Design, NoDesign> {
        let outcomes = outcome::values(rows, 0, self.numeric[0]);
        let gold = self.places.gold.map(|read| outcome::values(rows, read, self.numeric[read]));
        let gold = gold.unwrap_or_else(|| vec![None; outcomes.len()]);
        let (used, left_out_note) = self.used(rows, &outcomes);
        if used.is_empty() {
            return Err(NoDesign::NoRow("no row has an outcome and all predictors".to_owned()));
        }
        let left_out = (outcomes.len() - used.len()) as u64;
        let machine: Vec<f64> = used.iter().filter_map(|row| outcomes[*row]).collect();
        let kept: Vec<Option<f64>> = used.iter().map(|row| gold[*row]).collect();
        if self.is_logit {
            are_shares("outcome", machine.iter().copied())?;
            are_shares("gold", kept.iter().copied().flatten())?;
        }
        let (probability, sample_note) = self.probabilities(rows, &gold, &used)?;
        let (x, terms) = self.predictors(rows, &used)?;
        let clusters = self.places.cluster.map(|read| rows.labels(read));
        let clusters = clusters.map(|clusters| used.iter().filter_map(|row| clusters[*row]).collect());
        let design = Design {
            rows: stats::Rows { x, machine, gold: kept, probability, clusters },
            terms,
            left_out,
            left_out_note,
            sample_note,
        };
        match design.collinear(&design.rows.x) {
            None => Ok(design),
            Some((message, help)) => Err(DataError::at("formula", message).help(help).into()),
        }
    }

    /// The rows that have an outcome and all predictors, and why the others are left out.
    fn used(&self, rows: &Rows<'_>, outcomes: &[Option<f64>]) -> (Vec<usize>, Option<String>) {
        let mut missing = vec![("an outcome", outcomes.iter().map(Option::is_none).collect::<Vec<bool>>())];
        let cluster = self.places.cluster.map(|read| rows.labels(read).iter().map(Option::is_none).collect());
        missing.extend(cluster.map(|is_missing| ("a cluster", is_missing)));
        for (place, variable) in self.variables() {
            let is_missing = match self.numeric[place] {
                true => rows.numbers(place).iter().map(Option::is_none).collect(),
                false => rows.labels(place).iter().map(Option::is_none).collect(),
            };
            missing.push((&variable.name, is_missing));
        }
        let used = (0..outcomes.len()).filter(|row| missing.iter().all(|(_, is)| !is[*row])).collect();
        let count = |is: &Vec<bool>| is.iter().filter(|is| **is).count();
        let reasons = missing.iter().filter(|(_, is)| is.contains(&true));
        let reasons: Vec<String> = reasons.map(|(name, is)| format!("{} without {name}", count(is))).collect();
        (used, (!reasons.is_empty()).then(|| format!("rows left out: {}", reasons.join(", "))))
    }

    /// The variables of the formula with their places among the reads.
    fn variables(&self) -> impl Iterator<Item = (usize, &Variable)> {
        let variables = self.formula.iter().flat_map(|formula| &formula.variables);
        variables.enumerate().map(|(i, variable)| (self.places.variables + i, variable))
    }

    /// The probability of each used row, 1 where it is not read, and a note if the gold rows are not the sample.
    fn probabilities(
        &self,
        rows: &Rows<'_>,
        gold: &[Option<f64>],
        used: &[usize],
    ) -> Result<(Vec<f64>, Option<String>), DataError> {
        let coded = used.iter().filter(|row| gold[**row].is_some()).count();
        if self.simple_random {
            return Ok((vec![coded as f64 / used.len() as f64; used.len()], None));
        }
        let Some(read) = self.places.probability else { return Ok((vec![1.0; used.len()], None)) };
        let all = rows.numbers(read);
        let outside: Vec<usize> = (0..all.len()).filter(|row| gold[*row].is_some() && all[*row].is_none()).collect();
        if !outside.is_empty() {
            let message = format!(
                "{} `gold` but no probability of inclusion, so gold is outside the sample",
                rows_have(&outside)
            );
            return Err(DataError::at("gold", message).help("remove these codes, or add the probabilities"));
        }
        let invalid = |row: &usize| all[*row].is_some_and(|p| p.is_nan() || p <= 0.0 || p > 1.0);
        if let Some(row) = (0..all.len()).find(invalid) {
            let p = all[row].unwrap_or_default();
            let message =
                format!("the probability of inclusion of row {} is {p}; it must be above 0 and at most 1", row + 1);
            return Err(DataError::at(PROBABILITY, message));
        }
        let known: Vec<f64> = used.iter().filter_map(|row| all[*row]).collect();
        let of = |factor: f64| used.iter().map(|row| all[*row].map_or(1.0, |p| p * factor)).collect();
        if known.len() < used.len() {
            // Only sampled rows have a probability.
            if coded == known.len() {
                return Ok((of(1.0), None));
            }
            let note = format!(
                "{} of {} sampled rows have gold; their probabilities are scaled, as if the others were missing at random",
                coded,
                known.len()
            );
            return Ok((of(coded as f64 / known.len() as f64), Some(note)));
        }
        let (sum, variance) = known.iter().fold((0.0, 0.0), |(sum, var), p| (sum + p, var + p * (1.0 - p)));
        let is_short = (coded as f64) < sum - 4.0 * f64::sqrt(variance) - 0.5;
        let note = || format!("the probabilities of inclusion sum to {sum:.0}, but {coded} rows have gold");
        Ok((of(1.0), is_short.then(note)))
    }

    fn predictors(&self, rows: &Rows<'_>, used: &[usize]) -> Result<(DMatrix<f64>, Vec<Term>), DataError> {
        let Some(formula) = &self.formula else { return Ok((DMatrix::from_element(used.len(), 1, 1.0), vec![])) };
        let intercept = (Term { name: INTERCEPT.to_owned(), reference: None }, vec![1.0; used.len()]);
        let mut columns = if formula.intercept { vec![intercept] } else { Vec::new() };
        let variables = self.variables().map(|(place, variable)| self.columns(rows, used, place, variable));
        let variables = variables.collect::<Result<Vec<Columns>, DataError>>()?;
        let all_levels = formula.all_levels(|variable| !self.numeric[self.places.variables + variable]);
        for (term, all_levels) in formula.terms.iter().zip(all_levels) {
            let of = |variable: &usize| variables[*variable].of(all_levels.contains(variable));
            let mut products = of(&term[0]);
            for variable in &term[1..] {
                let with = |(a, x): &Column| {
                    let with = |(b, y): Column| (a.times(&b), x.iter().zip(y).map(|(x, y)| x * y).collect());
                    of(variable).into_iter().map(with).collect::<Vec<_>>()
                };
                products = products.iter().flat_map(with).collect();
            }
            columns.extend(products);
        }
        drop(variables);
        let (terms, values): (Vec<Term>, Vec<Vec<f64>>) = columns.into_iter().unzip();
        let mut all = Vec::with_capacity(used.len() * terms.len());
        values.into_iter().for_each(|column| all.extend(column));
        Ok((DMatrix::from_vec(used.len(), terms.len(), all), terms))
    }

    /// The columns of a variable.
    fn columns(
        &self,
        rows: &Rows<'_>,
        used: &[usize],
        place: usize,
        Variable { name, categories }: &Variable,
    ) -> Result<Columns, DataError> {
        if self.numeric[place] {
            let numbers = rows.numbers(place);
            let numbers = used.iter().filter_map(|row| numbers[*row]).collect();
            let term = Term { name: name.clone(), reference: None };
            return Ok(Columns { columns: vec![(term, numbers)], reference: None });
        }
        let (codes, names) = (rows.labels(place), rows.names(place));
        let levels: BTreeSet<usize> = used.iter().filter_map(|row| codes[*row]).collect();
        let names: Vec<&str> = levels.iter().filter_map(|code| Some(names.get_index(*code)?.as_str())).collect();
        let are_numbers = names.len() > 2 && names.iter().all(|name| name.trim().parse::<f64>().is_ok());
        if are_numbers && !categories {
            let message = format!("all values of `{name}` are numbers, but its column holds text");
            let help = format!(
                "declare its type in the source, such as `types = {{ {name} = \"number\" }}`; for a coefficient of each \
                 value, write `C({name})` in `formula`"
            );
            return Err(DataError::at("formula", message).help(help));
        }
        let reference = self.references.get(name).map_or(names[0], String::as_str);
        if !names.contains(&reference) {
            let near = suggestion(reference, "did you mean", names.iter().copied());
            let near = near.unwrap_or_else(|| format!("the levels are {}", listed(names.iter().copied())));
            let message = format!("no row has `{name}` = `{reference}`, the reference level");
            return Err(DataError::at("reference", message).help(near));
        }
        let column = |(level, code): (&&str, &usize)| {
            let term = Term { name: format!("{name}[{level}]"), reference: None };
            (term, used.iter().map(|row| f64::from(u8::from(codes[*row] == Some(*code)))).collect())
        };
        let columns = names.iter().zip(&levels).map(column).collect();
        let place = names.iter().position(|level| *level == reference);
        Ok(Columns { columns, reference: place.map(|place| (place, reference.to_owned())) })
    }
}

/// A predictor: its term, and its number in each row.
type Column = (Term, Vec<f64>);

/// The columns of a variable: its numbers, or a column for each level.
struct Columns {
    columns: Vec<Column>,
    /// The place and the name of the reference level.
    reference: Option<(usize, String)>,
}

impl Columns {
    /// All columns, or those after the reference level.
    fn of(&self, all_levels: bool) -> Vec<Column> {
        let reference = self.reference.as_ref().filter(|_| !all_levels);
        let others = self.columns.iter().enumerate().filter(|(i, _)| reference.is_none_or(|(place, _)| i != place));
        let column = |(_, (term, values)): (usize, &Column)| {
            (Term { reference: reference.map(|(_, name)| name.clone()), ..term.clone() }, values.clone())
        };
        others.map(column).collect()
    }
}

impl Term {
    fn times(&self, other: &Term) -> Term {
        let references: Vec<&str> = [self, other].iter().filter_map(|term| term.reference.as_deref()).collect();
        let reference = (!references.is_empty()).then(|| references.join(":"));
        Term { name: format!("{}:{}", self.name, other.name), reference }
    }
}

impl Design {
    /// Why these rows of the predictors have no unique coefficients, and what to do.
    pub(super) fn collinear(&self, x: &DMatrix<f64>) -> Option<(String, &'static str)> {
        let Collinear { column, of } = collinear(x).filter(|_| !self.terms.is_empty())?;
        let name = |term: usize| format!("`{}`", self.terms[term].name);
        let others: Vec<String> = of.into_iter().map(name).collect();
        Some(match others.as_slice() {
            [] => (format!("{} is 0 in all rows", name(column)), REMOVE_IT),
            [intercept] if intercept == "`intercept`" => {
                (format!("{} has one value in all rows", name(column)), REMOVE_IT)
            }
            others => {
                let message = format!("{} is a combination of {}", name(column), others.join(" and "));
                (message, "remove one of them from `formula`")
            }
        })
    }

    /// The predictors of the rows with gold.
    pub(super) fn gold_predictors(&self) -> DMatrix<f64> {
        let gold = self.rows.gold.iter().enumerate().filter(|(_, gold)| gold.is_some());
        self.rows.x.select_rows(&gold.map(|(row, _)| row).collect::<Vec<_>>())
    }

    /// A term that separates the outcomes of a logit: its rows, or the others, have one outcome.
    pub(super) fn separating(&self, outcomes: &[Option<f64>]) -> Option<&str> {
        let values = |of: f64, column: usize| {
            let rows = outcomes.iter().enumerate().filter(move |(_, outcome)| **outcome == Some(of));
            rows.map(move |(row, _)| self.rows.x[(row, column)])
        };
        let ends = |of, column| {
            values(of, column).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
        };
        let separates = |column: &usize| {
            let ((low, high), (other_low, other_high)) = (ends(0.0, *column), ends(1.0, *column));
            // The values of one outcome end where those of the other begin.
            (high <= other_low || other_high <= low) && (low, high) != (other_low, other_high)
        };
        let is_predictor = |column: &usize| self.terms[*column].name != INTERCEPT;
        let found = (0..self.terms.len()).filter(is_predictor).find(separates);
        found.map(|column| self.terms[column].name.as_str())
    }
}

/// Checks that the outcomes of a logit are from 0 to 1.
fn are_shares(field: &'static str, mut values: impl Iterator<Item = f64>) -> Result<(), DataError> {
    match values.find(|value| !(0.0..=1.0).contains(value)) {
        None => Ok(()),
        Some(value) => {
            let message = format!("`{field}` is {value} in a row, but a logit needs outcomes that are true or false");
            Err(DataError::at(field, message))
        }
    }
}

/// Why a logit has no coefficients: all its outcomes are equal.
pub(super) fn one_class(field: &str, mut values: impl Iterator<Item = f64>) -> Option<String> {
    let first = values.next()?;
    let mut rows = 1;
    for value in values {
        if value != first {
            return None;
        }
        rows += 1;
    }
    let word = match first {
        0.0 => "false".to_owned(),
        1.0 => "true".to_owned(),
        share => share.to_string(),
    };
    Some(format!("`{field}` is {word} in all {rows} rows that have it, but a logit needs both outcomes"))
}

fn rows_have(rows: &[usize]) -> String {
    let named: Vec<String> = rows.iter().take(NAMED).map(|row| (row + 1).to_string()).collect();
    match rows {
        [row] => format!("row {} has", row + 1),
        rows if rows.len() <= NAMED => format!("rows {} have", named.join(", ")),
        rows => format!("{} rows (first {}) have", rows.len(), named.join(", ")),
    }
}
