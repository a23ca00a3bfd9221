//! The statistics of two samples.

use super::samples::{Design, Regression, Samples, Variable};
use crate::stage::method::columns::Rows;
use crate::stage::method::frame::Method;
use crate::stage::method::tidy::{Statistic, add_spreads};
use crate::stage::transform::DataError;
use crate::stage::view::{Estimates, Shown, View};
use crate::stats::{self, Bootstrap, Link, Units};

/// The fewest groups whose means have a rank correlation.
const FEWEST_GROUPS: usize = 3;
const FEW_ROWS: &str = "too few rows for many values: the bootstrap interval lies beside the estimate";
/// The most labels that a note names.
const NAMED: usize = 3;

#[derive(Debug)]
pub(super) struct Compared {
    /// The columns, then what only regressions read.
    pub(super) variables: Vec<Variable>,
    pub(super) columns: usize,
    /// The number of columns that make groups.
    pub(super) groups: usize,
    pub(super) regressions: Vec<Regression>,
    pub(super) bootstrap: Bootstrap,
}

/// A statistic, with the places of its variables.
enum Quantity {
    TotalVariation(usize),
    JensenShannon(usize),
    Wasserstein(usize),
    VarianceRatio(usize),
    GroupMeans(usize),
    Correlations(Vec<usize>),
    /// The designs of the synthetic and of the human sample.
    Signs(usize, Box<[Design; 2]>),
}

impl Method for Compared {
    fn views(&self) -> Vec<View> {
        let of =
            |statistics: &'static [&'static str]| Estimates { statistics, lines: &["column"], ..Estimates::default() };
        vec![
            View::new(
                "Distance of the distributions",
                Shown::Estimates(Estimates {
                    series: Some("statistic"),
                    shares: true,
                    ..of(&["total_variation", "jensen_shannon"])
                }),
            ),
            View::new(
                "Wasserstein distance",
                Shown::Estimates(Estimates { apart: true, mark: Some(0.0), ..of(&["wasserstein"]) }),
            ),
            View::new(
                "Ratio of the variances, synthetic by human",
                Shown::Estimates(Estimates { mark: Some(1.0), ..of(&["variance_ratio"]) }),
            ),
            View::new(
                "Agreement about groups and relations",
                Shown::Estimates(Estimates {
                    lines: &["column", "predictors"],
                    series: Some("statistic"),
                    ..of(&["group_means_rank_correlation", "sign_agreement"])
                }),
            ),
        ]
    }

    fn statistics(&self, rows: &Rows<'_>) -> Result<Vec<Statistic>, DataError> {
        let samples = Samples::new(rows, &self.variables, self.groups)?;
        let quantities = self.quantities(&samples);
        let estimates = |weights: &[f64]| {
            let weights: Vec<f64> =
                weights.iter().zip(&samples.weights).map(|(count, weight)| count * weight).collect();
            quantities.iter().map(|quantity| quantity.estimate(&samples, &weights)).collect::<Vec<Option<f64>>>()
        };
        let found = estimates(&samples.counts.iter().map(|count| *count as f64).collect::<Vec<f64>>());
        let all: u64 = samples.counts.iter().sum();
        let statistic = |(quantity, estimate): (&Quantity, Option<f64>)| {
            let n: u64 = (0..samples.counts.len())
                .filter(|row| quantity.uses(&samples, *row))
                .map(|row| samples.counts[row])
                .sum();
            let mut statistic = Statistic {
                name: quantity.name(),
                of: self.of(quantity),
                estimate,
                n,
                left_out: all - n,
                ..Statistic::default()
            };
            if estimate.is_none() {
                statistic.add_note(quantity.undefined(&samples));
            } else if let Quantity::TotalVariation(variable) = quantity {
                let labels = samples.unshared(*variable);
                if !labels.is_empty() {
                    let shown: Vec<String> = labels.iter().take(NAMED).map(|label| format!("`{label}`")).collect();
                    let more = if labels.len() > NAMED {
                        format!(" and {} more", labels.len() - NAMED)
                    } else {
                        String::new()
                    };
                    statistic.add_note(format!("only one sample has {}{more}", shown.join(", ")));
                }
            }
            statistic
        };
        let mut statistics: Vec<Statistic> = quantities.iter().zip(found).map(statistic).collect();
        let (synthetic, human) = samples.counts.split_at(samples.synthetic);
        let drawn = [synthetic, human].map(|counts| Units { counts, clusters: None });
        add_spreads(&mut statistics, &self.bootstrap, &drawn, &estimates);
        // A draw has fewer values than its sample, so distances of many values grow with each draw.
        let is_outside = |one: &&mut Statistic| {
            one.estimate.zip(one.interval).is_some_and(|(found, (low, high))| found < low || found > high)
        };
        statistics.iter_mut().filter(is_outside).for_each(|one| one.add_note(FEW_ROWS));
        Ok(statistics)
    }
}

impl Compared {
    fn quantities(&self, samples: &Samples) -> Vec<Quantity> {
        let mut quantities = Vec::new();
        let columns = || self.variables[..self.columns].iter().enumerate();
        for (column, Variable { kind, .. }) in columns() {
            if kind.has_shares() {
                quantities.extend([Quantity::TotalVariation(column), Quantity::JensenShannon(column)]);
            }
            if kind.has_distances() {
                quantities.extend([Quantity::Wasserstein(column), Quantity::VarianceRatio(column)]);
                if !samples.groups.is_empty() {
                    quantities.push(Quantity::GroupMeans(column));
                }
            }
        }
        let with_distances = columns().filter(|(_, variable)| variable.kind.has_distances());
        let with_distances: Vec<usize> = with_distances.map(|(column, _)| column).collect();
        if with_distances.len() > 1 {
            quantities.push(Quantity::Correlations(with_distances));
        }
        quantities.extend(self.regressions.iter().enumerate().map(|(place, regression)| {
            let design = |human| samples.design(regression, &self.variables, human);
            Quantity::Signs(place, Box::new([design(false), design(true)]))
        }));
        quantities
    }

    /// The values of the columns `column` and `predictors`.
    fn of(&self, quantity: &Quantity) -> Vec<Option<String>> {
        let name = |variable: &usize| self.variables[*variable].name.clone();
        match quantity {
            Quantity::Correlations(_) => vec![None, None],
            Quantity::Signs(place, _) => {
                let Regression { outcome, predictors } = &self.regressions[*place];
                vec![Some(name(outcome)), Some(predictors.iter().map(name).collect::<Vec<_>>().join(", "))]
            }
            _ => vec![quantity.column().as_ref().map(name), None],
        }
    }
}

impl Quantity {
    fn name(&self) -> &'static str {
        match self {
            Quantity::TotalVariation(_) => "total_variation",
            Quantity::JensenShannon(_) => "jensen_shannon",
            Quantity::Wasserstein(_) => "wasserstein",
            Quantity::VarianceRatio(_) => "variance_ratio",
            Quantity::GroupMeans(_) => "group_means_rank_correlation",
            Quantity::Correlations(_) => "correlation_rmse",
            Quantity::Signs(..) => "sign_agreement",
        }
    }

    /// The column, if the statistic is of one.
    fn column(&self) -> Option<usize> {
        match self {
            Quantity::TotalVariation(column)
            | Quantity::JensenShannon(column)
            | Quantity::Wasserstein(column)
            | Quantity::VarianceRatio(column)
            | Quantity::GroupMeans(column) => Some(*column),
            Quantity::Correlations(_) | Quantity::Signs(..) => None,
        }
    }

    /// Whether the statistic is computed from this row.
    fn uses(&self, samples: &Samples, row: usize) -> bool {
        let has = |column: &usize| samples.answers[*column].has(row);
        match self {
            Quantity::GroupMeans(column) => has(column) && samples.groups[row].is_some(),
            Quantity::Correlations(columns) => columns.iter().filter(|column| has(column)).count() > 1,
            Quantity::Signs(_, designs) => designs.iter().any(|design| design.rows.binary_search(&row).is_ok()),
            _ => self.column().is_some_and(|column| has(&column)),
        }
    }

    fn estimate(&self, samples: &Samples, weights: &[f64]) -> Option<f64> {
        let shares =
            |column: usize| Some((samples.shares(column, false, weights)?, samples.shares(column, true, weights)?));
        match self {
            Quantity::TotalVariation(column) => shares(*column).map(|(p, q)| stats::total_variation(&p, &q)),
            Quantity::JensenShannon(column) => shares(*column).map(|(p, q)| stats::jensen_shannon(&p, &q)),
            Quantity::Wasserstein(column) => {
                shares(*column).map(|(p, q)| stats::wasserstein(&samples.answers[*column].values, &p, &q))
            }
            Quantity::VarianceRatio(column) => {
                let (p, q) = shares(*column)?;
                let variance = |shares: &[f64]| stats::mean_and_variance(&samples.answers[*column].values, shares).1;
                let (synthetic, human) = (variance(&p), variance(&q));
                (human > 0.0).then(|| synthetic / human)
            }
            Quantity::GroupMeans(column) => {
                let pairs = group_means(samples, *column, weights);
                (pairs.len() >= FEWEST_GROUPS).then(|| stats::rank_correlation(&pairs)).flatten()
            }
            Quantity::Correlations(columns) => correlation_rmse(samples, columns, weights),
            Quantity::Signs(_, designs) => sign_agreement(designs, weights),
        }
    }

    /// Why the statistic is undefined.
    fn undefined(&self, samples: &Samples) -> String {
        let is_empty = |human: bool| !samples.rows(human).any(|row| self.uses(samples, row));
        if is_empty(false) || is_empty(true) {
            let sample = if is_empty(false) { "synthetic" } else { "human" };
            return format!("no row of the {sample} sample has a value");
        }
        let why = match self {
            Quantity::VarianceRatio(_) => "all values of the human sample are equal",
            Quantity::GroupMeans(_) => "fewer than 3 groups are in both samples, or all means of a sample are equal",
            Quantity::Correlations(_) => "no two columns vary in both samples",
            Quantity::Signs(..) => "the predictors are collinear in a sample, or it has too few rows",
            _ => "all weights are 0",
        };
        why.to_owned()
    }
}

/// The means of each group that is in both samples.
fn group_means(samples: &Samples, column: usize, weights: &[f64]) -> Vec<(f64, f64)> {
    let groups = samples.groups.iter().flatten().max().map_or(0, |last| last + 1);
    let means = |human: bool| {
        let mut sums = vec![(0.0, 0.0); groups];
        for row in samples.rows(human) {
            if let (Some(value), Some(group)) = (samples.answers[column].value(row), samples.groups[row]) {
                let (sum, weight) = &mut sums[group];
                (*sum, *weight) = (*sum + value * weights[row], *weight + weights[row]);
            }
        }
        sums
    };
    let pairs = means(false).into_iter().zip(means(true)).filter(|((_, a), (_, b))| *a > 0.0 && *b > 0.0);
    pairs.map(|((a, m), (b, n))| (a / m, b / n)).collect()
}

/// The root mean squared difference of the correlations of all pairs of columns.
fn correlation_rmse(samples: &Samples, columns: &[usize], weights: &[f64]) -> Option<f64> {
    let correlation = |a: usize, b: usize, human: bool| {
        let value = |column: usize, row: usize| samples.answers[column].value(row);
        let rows = samples.rows(human).filter_map(|row| Some((value(a, row)?, value(b, row)?, weights[row])));
        stats::correlation(rows)
    };
    let pairs = columns.iter().enumerate().flat_map(|(i, a)| columns[i + 1..].iter().map(move |b| (*a, *b)));
    let squares: Vec<f64> =
        pairs.filter_map(|(a, b)| Some((correlation(a, b, false)? - correlation(a, b, true)?).powi(2))).collect();
    (!squares.is_empty()).then(|| (squares.iter().sum::<f64>() / squares.len() as f64).sqrt())
}

/// The share of coefficients with the same sign in both samples, without the intercept.
fn sign_agreement(designs: &[Design; 2], weights: &[f64]) -> Option<f64> {
    let fit = |Design { rows, x, y }: &Design| {
        let weights: Vec<f64> = rows.iter().map(|row| weights[*row]).collect();
        let targets: Vec<f64> = y.iter().zip(&weights).map(|(y, weight)| y * weight).collect();
        Link::Identity.fit(x, &targets, &weights)
    };
    let (synthetic, human) = (fit(&designs[0])?, fit(&designs[1])?);
    let terms = synthetic.iter().zip(human.iter()).skip(1);
    let equal = terms.clone().filter(|(a, b)| *a * *b > 0.0).count();
    Some(equal as f64 / terms.count() as f64)
}
