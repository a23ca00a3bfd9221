//! The scores of probabilities: stated, and recalibrated by a fit.

use std::ops::Range;

use crate::stage::method::tidy::{Statistic, add_spreads};
use crate::stats::{
    Bootstrap, Forecast, Isotonic, Ranked, Scores, Units, accuracy_by_coverage, lower_bound, reach, temperature,
    tempered, weighted_share, wilson_at,
};

/// The most points of the curve.
const POINTS: usize = 20;
const SCORES: [&str; 8] = [
    "brier",
    "brier_reliability",
    "brier_resolution",
    "brier_uncertainty",
    "brier_within_bins",
    "log_loss",
    "ece",
    "auroc",
];
const STATED: &str = "stated";

/// Rows with a probability and a truth, in the order of their probabilities.
#[derive(Debug)]
pub(super) struct Scored {
    pub(super) forecasts: Vec<Forecast>,
    /// How many units each row is.
    pub(super) counts: Vec<u64>,
    pub(super) clusters: Option<Vec<usize>>,
    pub(super) left_out: u64,
    /// Why rows are left out.
    pub(super) note: Option<String>,
}

/// Other probabilities, fitted on the rows of one part.
pub(super) struct Recalibrated {
    rows: Scored,
    part: String,
    temperature: Option<f64>,
    isotonic: Option<Isotonic>,
}

impl Scored {
    fn n(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn weights(&self) -> Vec<f64> {
        self.counts.iter().map(|count| *count as f64).collect()
    }

    /// The forecasts, each with the weight of all its units.
    fn all(&self) -> Vec<Forecast> {
        let rows = self.forecasts.iter().zip(&self.counts);
        rows.map(|(forecast, count)| Forecast { weight: forecast.weight * *count as f64, ..*forecast }).collect()
    }

    /// The first row with at least this probability.
    fn from(&self, threshold: f64) -> usize {
        self.forecasts.partition_point(|forecast| forecast.p < threshold)
    }

    /// The forecasts with other probabilities. Rounding must not change their order.
    fn changed(&self, of: impl Fn(f64) -> f64) -> Ranked {
        let mut last = 0.0;
        let changed = |forecast: &Forecast| {
            last = f64::max(last, of(forecast.p));
            Forecast { p: last, ..*forecast }
        };
        Ranked::new(self.forecasts.iter().map(changed).collect())
    }

    fn statistic(&self, name: &'static str, of: [Option<String>; 3], estimate: Option<f64>) -> Statistic {
        let (n, left_out) = (self.n(), self.left_out);
        Statistic { name, of: of.to_vec(), estimate, n, left_out, ..Statistic::default() }
    }

    /// The share of right rows among `rows`, with its Wilson interval.
    fn share(&self, rows: Range<usize>, z: f64, shown: Statistic) -> Statistic {
        let forecasts = self.forecasts[rows.clone()].iter().zip(&self.counts[rows.clone()]);
        let units = forecasts.map(|(forecast, count)| (forecast.hit, forecast.weight, *count as f64));
        let Some((share, std_error, effective)) = weighted_share(units) else { return shown };
        Statistic {
            estimate: Some(share),
            std_error: Some(std_error),
            interval: Some(wilson_at(share, effective, z)),
            n: self.counts[rows].iter().sum(),
            method: Some("wilson"),
            ..shown
        }
    }
}

impl Recalibrated {
    pub(super) fn fit(rows: Scored, part: &str) -> Recalibrated {
        let forecasts = rows.all();
        let (temperature, isotonic) = (temperature(&forecasts), Isotonic::fit(&forecasts));
        Recalibrated { rows, part: part.to_owned(), temperature, isotonic }
    }

    /// The temperature, and the points of the isotonic function.
    fn statistics(&self) -> Vec<Statistic> {
        let of = |name: &str, at: Option<f64>| [Some(name.to_owned()), None, at.map(|at| at.to_string())];
        let mut temperature = self.rows.statistic("temperature", of("temperature", None), self.temperature);
        temperature.add_note(format!("fitted on the part `{}`", self.part));
        if self.temperature.is_none() {
            temperature.add_note(match constant(&self.rows.forecasts) {
                _ if self.rows.forecasts.is_empty() => "undefined: none of its rows has a probability and a truth",
                Some(true) => "undefined: all its rows are right",
                Some(false) => "undefined: all its rows are wrong",
                None => "undefined: no temperature is the best",
            });
        }
        let points = self.isotonic.iter().flat_map(|isotonic| &isotonic.0);
        let point = |(at, value): &(f64, f64)| {
            self.rows.statistic("isotonic_probability", of("isotonic", Some(*at)), Some(*value))
        };
        std::iter::once(temperature).chain(points.map(point)).collect()
    }
}

/// Whether all rows are right, or all are wrong.
fn constant(forecasts: &[Forecast]) -> Option<bool> {
    let first = forecasts.first()?.hit;
    forecasts.iter().all(|forecast| forecast.hit == first).then_some(first)
}

/// A kind of probabilities: its name, and its probability for a stated one.
type Version<'a> = (&'static str, Box<dyn Fn(f64) -> f64 + 'a>);

fn versions(recalibrated: Option<&Recalibrated>) -> Vec<Version<'_>> {
    let mut versions: Vec<Version<'_>> = vec![(STATED, Box::new(|p| p))];
    let Some(Recalibrated { temperature, isotonic, .. }) = recalibrated else { return versions };
    if let Some(temperature) = *temperature {
        versions.push(("temperature", Box::new(move |p| tempered(p, temperature))));
    }
    if let Some(isotonic) = isotonic {
        versions.push(("isotonic", Box::new(|p| isotonic.at(p))));
    }
    versions
}

/// The values of [`SCORES`].
fn values(scores: &Scores) -> [Option<f64>; 8] {
    let brier = scores.brier.as_ref();
    [
        brier.map(|brier| brier.score),
        brier.map(|brier| brier.reliability),
        brier.map(|brier| brier.resolution),
        brier.map(|brier| brier.uncertainty),
        brier.map(|brier| brier.within),
        scores.log_loss.filter(|loss| loss.is_finite()),
        scores.expected_error,
        scores.auroc,
    ]
}

fn note(score: &str, forecasts: &[Forecast]) -> String {
    match (score, constant(forecasts)) {
        _ if forecasts.is_empty() => "no row has a probability and a truth".to_owned(),
        ("auroc", Some(true)) => "undefined: all rows are right".to_owned(),
        ("auroc", Some(false)) => "undefined: all rows are wrong".to_owned(),
        ("log_loss", _) => "infinite: what happened has the probability 0 in a row".to_owned(),
        _ => "undefined".to_owned(),
    }
}

/// The statistics of the rows that are `shown`; `wanted` is the number of bins and the accuracy.
pub(super) fn statistics(
    shown: &Scored,
    recalibrated: Option<&Recalibrated>,
    (most_bins, wanted): (usize, Option<f64>),
    bootstrap: &Bootstrap,
) -> Vec<Statistic> {
    let z = reach(bootstrap.confidence);
    let versions: Vec<(&str, Ranked)> =
        versions(recalibrated).into_iter().map(|(name, of)| (name, shown.changed(of))).collect();
    let scored = |drawn: &[f64]| -> Vec<Scores> {
        versions.iter().map(|(_, forecasts)| forecasts.scores(drawn, most_bins)).collect()
    };
    let values = |drawn: &[f64]| -> Vec<Option<f64>> { scored(drawn).iter().flat_map(values).collect() };
    let all = shown.all();
    let whole = scored(&shown.weights());
    let names = versions.iter().flat_map(|(version, _)| SCORES.map(|score| (*version, score)));
    let mut scores: Vec<Statistic> = names
        .zip(whole.iter().flat_map(self::values))
        .map(|((version, score), value)| {
            let mut made = shown.statistic(score, [Some(version.to_owned()), None, None], value);
            made.note = value.is_none().then(|| note(score, &all));
            made
        })
        .collect();
    if bootstrap.replicates > 0 {
        let units = Units { counts: &shown.counts, clusters: shown.clusters.as_deref() };
        add_spreads(&mut scores, bootstrap, &[units], &values);
    }
    let mut accuracy = shown.share(0..shown.counts.len(), z, shown.statistic("accuracy", [const { None }; 3], None));
    accuracy.note = all.is_empty().then(|| note("accuracy", &all));
    shown.note.iter().for_each(|note| accuracy.add_note(note.clone()));
    let mut made = vec![accuracy];
    made.extend(scores);
    for ((name, _), scores) in versions.iter().zip(&whole) {
        made.extend(reliability(shown, scores, name, z));
    }
    made.extend(recalibrated.iter().flat_map(|fit| fit.statistics()));
    made.extend(curve(shown, z));
    made.extend(
        wanted.map(|wanted| threshold(shown, recalibrated, wanted, bootstrap.confidence)).into_iter().flatten(),
    );
    made
}

/// The reliability table: the mean probability and the share of right rows in each bin.
fn reliability(shown: &Scored, scores: &Scores, version: &str, z: f64) -> Vec<Statistic> {
    let mut first = 0;
    let rows = scores.bins.iter().enumerate().flat_map(|(i, bin)| {
        let rows = first..first + bin.n;
        first += bin.n;
        let of = || [Some(version.to_owned()), Some((i + 1).to_string()), None];
        let units = shown.counts[rows.clone()].iter().sum();
        let stated = Statistic { n: units, left_out: 0, ..shown.statistic("bin_probability", of(), Some(bin.stated)) };
        let empty = Statistic { left_out: 0, ..shown.statistic("bin_accuracy", of(), None) };
        [stated, shown.share(rows, z, empty)]
    });
    rows.collect()
}

fn at(threshold: f64) -> [Option<String>; 3] {
    [Some(STATED.to_owned()), None, Some(threshold.to_string())]
}

/// Accuracy and coverage if rows with a probability below a threshold are left to people.
fn curve(shown: &Scored, z: f64) -> Vec<Statistic> {
    let mut points = Vec::new();
    let mut reached = 0.0;
    for point in accuracy_by_coverage(&shown.forecasts, &shown.counts) {
        if point.coverage * (1.0 + 1e-12) < reached {
            continue;
        }
        reached = ((point.coverage * POINTS as f64).floor() + 1.0) / POINTS as f64;
        let rows = shown.from(point.threshold)..shown.counts.len();
        let coverage = shown.statistic("coverage", at(point.threshold), Some(point.coverage));
        points.push(Statistic { n: point.n, ..coverage });
        points.push(shown.share(rows, z, shown.statistic("accuracy_kept", at(point.threshold), None)));
    }
    points
}

/// The smallest threshold with the wanted accuracy, and what it keeps of the rows that are shown.
fn threshold(shown: &Scored, fit: Option<&Recalibrated>, wanted: f64, confidence: f64) -> Vec<Statistic> {
    let rows = fit.map_or(shown, |fit| &fit.rows);
    let units = |rows: &Scored, at: f64| {
        let from = rows.from(at);
        let kept = rows.forecasts[from..].iter().zip(&rows.counts[from..]);
        kept.fold((0, 0), |(right, n), (forecast, count)| (right + if forecast.hit { *count } else { 0 }, n + count))
    };
    let bound = |rows: &Scored, at: f64| {
        let (right, n) = units(rows, at);
        lower_bound(right, n, confidence)
    };
    let mut found = None;
    for point in accuracy_by_coverage(&rows.forecasts, &rows.counts) {
        // The bound is less than the accuracy itself, which costs nothing.
        let is_possible = point.right as f64 >= wanted * point.n as f64;
        if is_possible && lower_bound(point.right, point.n, confidence) >= wanted {
            found = Some(point.threshold);
        }
    }
    let none = || [const { None }; 3];
    let mut made = Statistic { method: Some("binomial_lower_bound"), ..rows.statistic("threshold", none(), found) };
    match fit {
        Some(fit) => made.add_note(format!("found on the part `{}`", fit.part)),
        None => made.add_note("found on the rows that it is shown on"),
    }
    let Some(found) = found else {
        made.add_note(format!("no threshold has an accuracy of at least {wanted} by its lower bound"));
        return vec![made];
    };
    made.of = at(found).to_vec();
    made.add_note(format!("the accuracy from there on is at least {:.4}", bound(rows, found)));
    let (right, n) = units(shown, found);
    let kept = |name| Statistic { n, ..shown.statistic(name, at(found), None) };
    let coverage = Some(n as f64 / shown.n() as f64).filter(|share| share.is_finite());
    let accuracy = (n > 0).then(|| right as f64 / n as f64);
    let interval = accuracy.map(|_| (bound(shown, found), 1.0));
    let method = Some("binomial_lower_bound");
    let note = accuracy.is_none().then(|| "no row has such a probability".to_owned());
    vec![
        made,
        Statistic { estimate: coverage, ..kept("threshold_coverage") },
        Statistic { estimate: accuracy, interval, method, note, ..kept("threshold_accuracy") },
    ]
}
