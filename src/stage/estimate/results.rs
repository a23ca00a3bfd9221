//! Results: the statistics of each method, and what their notes say.

use super::design::{Design, Designer, NoDesign, one_class};
use super::methods::{MethodName, ModelName};
use crate::stage::method::columns::Rows;
use crate::stage::method::frame;
use crate::stage::method::tidy::{Statistic, counted};
use crate::stage::transform::DataError;
use crate::stage::view::{self, Curve, Shown, View};
use crate::stats::{Fit, Undefined, in_parallel, reach};

#[derive(Debug)]
pub(super) struct Estimates {
    pub(super) designer: Designer,
    pub(super) model: ModelName,
    pub(super) methods: Vec<MethodName>,
    pub(super) power: Vec<usize>,
    pub(super) confidence: f64,
}

impl frame::Method for Estimates {
    fn views(&self) -> Vec<View> {
        let is_mean = self.model == ModelName::Mean;
        let shown = view::Estimates {
            statistics: &["mean", "coefficient"],
            lines: if is_mean { &["statistic"] } else { &["term", "reference"] },
            series: Some("method"),
            mark: (!is_mean).then_some(0.0),
            notes: true,
            apart: true,
            ..view::Estimates::default()
        };
        let expected = Curve {
            x: "n",
            y: "expected_std_error",
            point: &[],
            series: &["method", "term"],
            titles: ["Rows with codes", "Expected standard error"],
            shares: false,
            diagonal: false,
        };
        vec![
            View::new("Naive and corrected estimates", Shown::Estimates(shown)),
            View::new("Expected standard errors with more codes", Shown::Curve(expected)),
        ]
    }

    fn statistics(&self, rows: &Rows<'_>) -> Result<Vec<Statistic>, DataError> {
        let message = match self.designer.design(rows) {
            Ok(design) => return Ok(self.estimates(&design)),
            // What is wrong in a group only does not stop the others.
            Err(NoDesign::Wrong(error)) if rows.is_whole() => return Err(error),
            Err(NoDesign::NoRow(message)) => message,
            Err(NoDesign::Wrong(error)) => error.message,
        };
        let none = |method: &MethodName| Statistic {
            left_out: rows.counts().len() as u64,
            note: Some(message.clone()),
            ..self.statistic(*method)
        };
        Ok(self.methods.iter().map(none).collect())
    }
}

impl Estimates {
    fn estimates(&self, design: &Design) -> Vec<Statistic> {
        let fit = |number: usize, _: &mut Vec<f64>| (self.methods[number], self.fit(design, self.methods[number]));
        let fits: Vec<(MethodName, Result<Fit, String>)> = in_parallel(self.methods.len(), fit);
        let mut statistics: Vec<Statistic> =
            fits.iter().flat_map(|(method, fit)| self.of_method(design, *method, fit)).collect();
        self.mark_naive(&mut statistics);
        for statistic in &mut statistics {
            statistic.left_out = design.left_out;
            design.left_out_note.iter().for_each(|note| statistic.add_note(note.clone()));
        }
        statistics
    }

    /// Why all outcomes that `method` uses are equal, if they are.
    fn one_class(&self, design: &Design, method: MethodName) -> Option<String> {
        let machine = || one_class("outcome", design.rows.machine.iter().copied());
        let gold = || one_class("gold", design.rows.gold.iter().copied().flatten());
        match method {
            _ if self.model != ModelName::Logit => None,
            MethodName::Naive => machine(),
            MethodName::GoldOnly => gold(),
            _ => gold().or_else(machine),
        }
    }

    /// The error says why there is no estimate.
    fn fit(&self, design: &Design, method: MethodName) -> Result<Fit, String> {
        let rows = &design.rows;
        let gold = rows.gold.iter().flatten().count();
        if method != MethodName::Naive && gold == 0 {
            let rows = if let [_] = rows.gold[..] {
                "the only row".to_owned()
            } else {
                format!("all {} rows", rows.gold.len())
            };
            return Err(format!("`gold` is missing in {rows}, so nothing can be corrected"));
        }
        let coefficients = counted(rows.x.ncols() as u64, "coefficient", "coefficients");
        rows.estimate(self.model.model(), method.method(), &self.power).map_err(|undefined| match undefined {
            Undefined::TooFew => match method {
                MethodName::Naive => {
                    let found = counted(rows.machine.len() as u64, "row is", "rows are");
                    format!("{found} too few for {coefficients}")
                }
                _ if gold > rows.x.ncols() && gold == rows.machine.len() => "all rows have gold".to_owned(),
                _ => {
                    let found = counted(gold as u64, "row with gold is", "rows with gold are");
                    format!("{found} too few for {coefficients}")
                }
            },
            Undefined::FewClusters => "all rows are in one cluster".to_owned(),
            Undefined::Separated => self.one_class(design, method).unwrap_or_else(|| separation(design, method)),
        })
    }

    fn statistic(&self, method: MethodName) -> Statistic {
        let name = if self.model == ModelName::Mean { "mean" } else { "coefficient" };
        Statistic { name, of: vec![None, None, None], method: Some(method.name()), ..Statistic::default() }
    }

    fn of_method(&self, design: &Design, method: MethodName, fit: &Result<Fit, String>) -> Vec<Statistic> {
        let statistic = self.statistic(method);
        let fit = match fit {
            Ok(fit) => fit,
            Err(message) => return vec![Statistic { note: Some(message.clone()), ..statistic }],
        };
        let z = reach(self.confidence);
        let variance = if design.rows.clusters.is_some() { "CR1" } else { method.method().variance() };
        let mut statistics = Vec::new();
        for (i, (estimate, error)) in fit.coefficients.iter().zip(&fit.std_errors).enumerate() {
            let term = design.terms.get(i);
            let of = vec![
                term.map(|term| term.name.clone()),
                term.and_then(|term| term.reference.clone()),
                Some(variance.to_owned()),
            ];
            let mut coefficient = Statistic { of, estimate: Some(*estimate), n: fit.n as u64, ..statistic.clone() };
            // Equal values say nothing about their spread; only rounding differs from 0.
            if *error > 1e-14 * estimate.abs() {
                coefficient.std_error = Some(*error);
                coefficient.interval = Some((estimate - z * error, estimate + z * error));
            } else {
                coefficient.add_note("all values are equal, so there is no standard error");
            }
            if method != MethodName::Naive {
                design.sample_note.iter().for_each(|note| coefficient.add_note(note.clone()));
            }
            statistics.push(coefficient);
        }
        statistics.extend(fit.lambda.map(|lambda| Statistic {
            name: "lambda",
            estimate: Some(lambda),
            n: fit.n as u64,
            ..statistic.clone()
        }));
        // More codes do not change a naive estimate.
        if method != MethodName::Naive {
            statistics.extend(self.expected(design, &statistic, fit));
        }
        statistics
    }

    fn expected(&self, design: &Design, statistic: &Statistic, fit: &Fit) -> Vec<Statistic> {
        let rows = design.rows.machine.len();
        let expected = self.power.iter().zip(&fit.expected).flat_map(|(codes, errors)| {
            errors.iter().enumerate().map(move |(i, error)| {
                let term = design.terms.get(i).map(|term| term.name.clone());
                let note = match error {
                    _ if *codes > rows => Some(format!("there are only {rows} rows")),
                    error if !error.is_finite() => Some("no row would be left to the machine alone".to_owned()),
                    _ => None,
                };
                Statistic {
                    name: "expected_std_error",
                    of: vec![term, None, None],
                    estimate: Some(*error).filter(|_| note.is_none()),
                    n: *codes as u64,
                    note,
                    ..statistic.clone()
                }
            })
        });
        expected.collect()
    }

    /// Adds a note to each naive interval that excludes the corrected estimate.
    fn mark_naive(&self, statistics: &mut [Statistic]) {
        let is_corrected = |statistic: &&Statistic| {
            self.methods.iter().any(|method| method.is_corrected() && Some(method.name()) == statistic.method)
        };
        let corrected: Vec<Statistic> = statistics.iter().filter(is_corrected).cloned().collect();
        for naive in statistics.iter_mut().filter(|statistic| statistic.method == Some(MethodName::Naive.name())) {
            let (Some((low, high)), Some(estimate)) = (naive.interval, naive.estimate) else { continue };
            let is_excluded = |other: &&Statistic| {
                let is_same = other.name == naive.name && other.of[0] == naive.of[0];
                is_same && other.estimate.is_some_and(|other| !(low..=high).contains(&other))
            };
            let excluded: Vec<&Statistic> = corrected.iter().filter(is_excluded).collect();
            if excluded.is_empty() {
                continue;
            }
            let words = |other: &&Statistic| {
                format!("{}: {}", other.method.unwrap_or_default(), short(other.estimate.unwrap_or_default()))
            };
            let words: Vec<String> = excluded.iter().map(words).collect();
            // A wide corrected interval that contains the naive estimate leaves it open.
            let excludes =
                |other: &&Statistic| other.interval.is_some_and(|(low, high)| estimate < low || estimate > high);
            let so = if excluded.iter().any(excludes) { "change" } else { "may change" };
            let words = words.join(", ");
            naive.add_note(format!(
                "this interval excludes the corrected estimate ({words}): the machine's errors {so} the finding"
            ));
        }
    }
}

/// A number with three significant digits.
fn short(number: f64) -> String {
    let digits = if number == 0.0 { 2.0 } else { (2.0 - number.abs().log10().floor()).clamp(0.0, 12.0) };
    format!("{number:.*}", digits as usize)
}

/// Why the coefficients of a logit are not finite.
fn separation(design: &Design, method: MethodName) -> String {
    let among_gold = Some(()).filter(|()| method != MethodName::Naive);
    let collinear = among_gold.and_then(|()| design.collinear(&design.gold_predictors()));
    if let Some((message, _)) = collinear {
        return format!("among the rows with gold {message}");
    }
    let naive: Vec<Option<f64>> = design.rows.machine.iter().copied().map(Some).collect();
    let outcomes = if method == MethodName::Naive { &naive } else { &design.rows.gold };
    let term = design.separating(outcomes);
    let term = term.map_or(String::new(), |term| format!(": `{term}` separates the outcomes"));
    format!("the coefficients are not finite{term}")
}
