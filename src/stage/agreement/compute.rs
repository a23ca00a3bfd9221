//! The statistics of coded units.

use super::coded::{self, Categories, Coded, Layout, MOST_COMPARED, Values};
use super::coefficient::Coefficient;
use crate::stage::method::columns::Rows;
use crate::stage::method::frame::Method;
use crate::stage::method::tidy::{Statistic, add_spreads, counted};
use crate::stage::transform::DataError;
use crate::stage::view::{Estimates, Shown, View as PageView};
use crate::stats::{Bootstrap, Units, View, Weighted, reach, student_reach};

#[derive(Debug)]
pub(super) struct Agreeing {
    pub(super) layout: Layout,
    pub(super) values: Values,
    pub(super) clustered: bool,
    pub(super) statistics: Vec<Coefficient>,
    pub(super) pairs: bool,
    pub(super) bootstrap: Option<Bootstrap>,
    pub(super) confidence: f64,
}

/// Some coders, and the coefficients to compute of them.
struct Compared {
    coders: Vec<usize>,
    view: View,
    values: Vec<f64>,
    coefficients: Vec<Coefficient>,
    /// Whether there are too many categories for a coefficient that compares them all.
    too_many: bool,
}

impl Method for Agreeing {
    fn views(&self) -> Vec<PageView> {
        let coefficients = Estimates {
            without: &["label"],
            lines: &["coders"],
            series: Some("statistic"),
            mark: Some(0.0),
            ..Estimates::default()
        };
        let labels = Estimates { with: &["label"], without: &[], lines: &["label", "coders"], ..coefficients.clone() };
        let pairs = Shown::Pairs { coders: "coders", above: &["cohen_kappa", "krippendorff_alpha"], below: "percent" };
        vec![
            PageView::new("Agreement of the coders", Shown::Estimates(coefficients)),
            PageView::new("Agreement of each pair of coders", pairs),
            PageView::new("Agreement on each label", Shown::Estimates(labels)),
        ]
    }

    fn statistics(&self, rows: &Rows<'_>) -> Result<Vec<Statistic>, DataError> {
        let coded = match &self.layout {
            Layout::Wide(coders) => coded::wide(coders, &self.values, rows, self.clustered)?,
            Layout::Long => {
                let coders = coded::coders_of(rows);
                if coders.len() < 2 {
                    return Ok(self.of_one(coders.first(), rows));
                }
                coded::long(coders, &self.values, rows, self.clustered)?
            }
        };
        let labels: Vec<String> = rows.label_names().iter().cloned().collect();
        let mut statistics = self.of(&coded, &labels, None);
        if let Categories::Sets(sets) = &coded.categories {
            for (label, name) in labels.iter().enumerate() {
                statistics.extend(self.of(&coded.presence(sets, label, name), &labels, Some(name)));
            }
        }
        Ok(statistics)
    }
}

impl Agreeing {
    /// The statistics if a table has fewer than two coders: none is defined.
    fn of_one(&self, coder: Option<&String>, rows: &Rows<'_>) -> Vec<Statistic> {
        let found = coder.map_or("no coder".to_owned(), |coder| format!("only the coder `{coder}`"));
        let one = |coefficient: &Coefficient| Statistic {
            name: coefficient.name(),
            of: vec![coder.cloned(), None],
            left_out: rows.counts().iter().sum(),
            note: Some(format!("the table has {found}; agreement needs two coders or more")),
            ..Statistic::default()
        };
        self.statistics.iter().map(one).collect()
    }

    /// The statistics of all coders, then those of each pair.
    pub(super) fn of(&self, coded: &Coded, labels: &[String], label: Option<&str>) -> Vec<Statistic> {
        let compared = self.compared(coded);
        let weights: Vec<f64> = coded.codes.counts().iter().map(|count| *count as f64).collect();
        let all = weights.iter().sum::<f64>();
        let (mut statistics, mut fixed) = (Vec::new(), Vec::new());
        for one in &compared {
            let Compared { coders, view, values, coefficients, .. } = one;
            let own = view.weights(&weights);
            let units = view.ratings.weighted(&own);
            let n = units.paired;
            let names: Vec<&str> = coders.iter().map(|coder| coded.coders[*coder].as_str()).collect();
            for coefficient in coefficients {
                let mut statistic = Statistic {
                    name: coefficient.name(),
                    of: vec![Some(names.join(", ")), label.map(str::to_owned)],
                    estimate: one.estimate(*coefficient, &units),
                    n: n as u64,
                    left_out: (all - n) as u64,
                    ..Statistic::default()
                };
                let constant = one.constant(coded, *coefficient, (&own, labels));
                fixed.push(constant.is_some());
                if statistic.estimate.is_none() {
                    statistic.add_note(one.undefined(coded, *coefficient, labels));
                } else if let Some(note) = constant {
                    statistic.add_note(note);
                } else if self.bootstrap.is_none() {
                    let error = coefficient.error(view, values, &units);
                    self.add_error(&mut statistic, error, (*coefficient, coefficient.units(&units)));
                }
                if statistic.left_out > 0 {
                    let units = counted(statistic.left_out, "unit has", "units have");
                    statistic.add_note(format!("{units} fewer than two codes"));
                }
                statistics.push(statistic);
            }
        }
        if let Some(bootstrap) = &self.bootstrap {
            let units = Units { counts: coded.codes.counts(), clusters: coded.codes.clusters() };
            let estimates =
                |weights: &[f64]| compared.iter().flat_map(|compared| compared.estimates(weights)).collect();
            add_spreads(&mut statistics, bootstrap, &[units], &estimates);
            // Draws cannot show how a coder with one code would use others.
            for (statistic, _) in statistics.iter_mut().zip(fixed).filter(|(_, is_fixed)| *is_fixed) {
                (statistic.std_error, statistic.interval, statistic.method) = (None, None, None);
            }
        }
        statistics
    }

    fn compared(&self, coded: &Coded) -> Vec<Compared> {
        let lists = matches!(coded.categories, Categories::Sets(_));
        let number = coded.coders.len();
        let fits = |coefficient: &&Coefficient| !lists || coefficient.is_of_lists();
        let (of_two, of_all): (Vec<Coefficient>, Vec<Coefficient>) =
            self.statistics.iter().filter(fits).partition(|coefficient| number > 2 && coefficient.is_of_two());
        let of_pairs: Vec<Coefficient> = match self.pairs {
            true => self.statistics.iter().filter(fits).copied().collect(),
            false => of_two,
        };
        let mut groups = vec![((0..number).collect::<Vec<usize>>(), of_all)];
        if number > 2 && !of_pairs.is_empty() {
            let pairs = (0..number).flat_map(|a| (a + 1..number).map(move |b| vec![a, b]));
            groups.extend(pairs.map(|pair| (pair, of_pairs.clone())));
        }
        let compared = |(coders, coefficients): (Vec<usize>, Vec<Coefficient>)| {
            let view = coded.codes.view(&coders, coded.categories.all(), |used| coded.categories.scale(used));
            let too_many = coded.categories.has_too_many(view.categories.len());
            // Only the weights of Cohen's kappa read the values.
            let values = view.pairs.as_ref().map(|_| coded.categories.values(&view.categories)).unwrap_or_default();
            Compared { coders, view, values, coefficients, too_many }
        };
        groups.into_iter().filter(|(_, coefficients)| !coefficients.is_empty()).map(compared).collect()
    }

    /// The standard error of large samples and its interval: that of Cohen's kappa is normal, and the others have a
    /// degree of freedom less than units.
    fn add_error(&self, statistic: &mut Statistic, error: Option<f64>, (of, units): (Coefficient, f64)) {
        let (Some(estimate), Some(error)) = (statistic.estimate, error) else {
            return statistic.add_note("too few units for a standard error");
        };
        let reach = match of.is_of_two() {
            true => Some(reach(self.confidence)),
            false => student_reach(self.confidence, units - 1.0),
        };
        statistic.std_error = Some(error);
        let least = if of == Coefficient::Percent { 0.0 } else { f64::NEG_INFINITY };
        statistic.interval =
            reach.map(|reach| ((estimate - reach * error).max(least), (estimate + reach * error).min(1.0)));
        statistic.method = Some("large_sample");
    }
}

impl Compared {
    fn estimate(&self, coefficient: Coefficient, units: &Weighted<'_>) -> Option<f64> {
        let is_possible = !(self.too_many && coefficient.has_distances());
        is_possible.then(|| coefficient.estimate(&self.view, &self.values, units)).flatten()
    }

    fn estimates(&self, weights: &[f64]) -> Vec<Option<f64>> {
        let own = self.view.weights(weights);
        let units = self.view.ratings.weighted(&own);
        self.coefficients.iter().map(|coefficient| self.estimate(*coefficient, &units)).collect()
    }

    /// Says which coder used only one code, for a coefficient of two coders. It is then 0.
    fn constant(&self, coded: &Coded, coefficient: Coefficient, (own, labels): (&[f64], &[String])) -> Option<String> {
        let pairs = self.view.pairs.as_ref().filter(|_| coefficient.is_of_two())?;
        let (coder, category) = pairs.constant(&self.view.of_pairs(own))?;
        let coder = &coded.coders[self.coders[coder]];
        let code = coded.categories.name(self.view.categories[category], labels);
        Some(format!("all codes of `{coder}` are `{code}`, so kappa is 0 whatever the other codes are"))
    }

    /// Why a statistic is undefined.
    fn undefined(&self, coded: &Coded, coefficient: Coefficient, labels: &[String]) -> String {
        let silent = self.coders.iter().filter(|coder| !coded.codes.has_codes(**coder));
        let silent: Vec<String> = silent.map(|coder| format!("`{}`", coded.coders[*coder])).collect();
        if self.view.ratings.weighted(&vec![1.0; self.view.len()]).paired == 0.0 {
            let why = if silent.is_empty() { String::new() } else { format!(": no codes of {}", silent.join(", ")) };
            return format!("no unit has two codes{why}");
        }
        match self.view.categories.as_slice() {
            [one] => format!("all codes are `{}`", coded.categories.name(*one, labels)),
            many if self.too_many && coefficient.has_distances() => {
                format!(
                    "{} different codes are too many to compare each with each (the most is {MOST_COMPARED})",
                    many.len()
                )
            }
            _ => "all codes that can be compared are equal".to_owned(),
        }
    }
}
