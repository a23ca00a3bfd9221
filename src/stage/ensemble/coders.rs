//! The table of the coders: their confusion matrices, and how the labels were found.

use serde_json::{Value, json};

use super::fit::{CODERS, Fit, Fitting, Form, NAME};
use crate::stage::method::columns::{Read, Rows};
use crate::stage::method::frame::{Frame, Method};
use crate::stage::method::settings::Confidence;
use crate::stage::method::tidy::Statistic;
use crate::stage::transform::DataError;
use crate::stage::view::{Estimates, Shown, View};
use crate::stats::{reach, wilson_at};

/// The columns of the table after `statistic`.
const OF: [&str; 3] = ["coder", "truth", "label"];

pub(super) fn frame(fitting: Fitting, reads: Vec<Read>, settings: Value, confidence: Confidence) -> Frame<'static> {
    let merge = matches!(fitting.form, Form::Wide(_));
    let settings = json!({ "table": CODERS, "of": settings });
    let method = Box::new(Coders { fitting, confidence: confidence.0 });
    Frame { kind: NAME, of: &OF, by: &[], reads, merge, confidence, settings, method }
}

#[derive(Debug)]
struct Coders {
    fitting: Fitting,
    confidence: f64,
}

impl Method for Coders {
    fn views(&self) -> Vec<View> {
        let of = |statistics, lines| Estimates { statistics, lines, shares: true, ..Estimates::default() };
        let confusion = Shown::Confusion { statistic: "confusion", of: "coder", truth: "truth", predicted: "label" };
        vec![
            View::new("Labels of each coder", confusion),
            View::new("Accuracy of the coders", Shown::Estimates(of(&["accuracy", "expected_accuracy"], &["coder"]))),
            View::new("Shares of the labels", Shown::Estimates(of(&["prior"], &["truth"]))),
        ]
    }

    fn statistics(&self, rows: &Rows<'_>) -> Result<Vec<Statistic>, DataError> {
        let fit = self.fitting.fit(rows)?;
        let mut all = fit.model();
        let all_labels = || 0..fit.labels.len();
        all.extend(all_labels().map(|label| fit.statistic("prior", [None, Some(label), None], Some(fit.prior[label]))));
        for coder in 0..fit.coders.len() {
            all.extend(self.accuracy(&fit, coder));
            let expected = fit.expected.as_ref().map(|expected| expected[coder]);
            all.extend(expected.map(|share| {
                let mut expected = fit.statistic("expected_accuracy", [Some(coder), None, None], share);
                if share.is_none() {
                    expected.add_note("no unit has a label of this coder");
                }
                expected
            }));
            for truth in all_labels() {
                let row = &fit.matrices[coder][truth];
                let is_known = row.iter().sum::<f64>() > 0.0;
                for label in all_labels() {
                    let of = [Some(coder), Some(truth), Some(label)];
                    let mut statistic = fit.statistic("confusion", of, is_known.then(|| row[label]));
                    if !is_known {
                        statistic.add_note("undefined: no unit of this coder has this label");
                    }
                    all.push(statistic);
                }
            }
        }
        Ok(all)
    }
}

impl Coders {
    /// The share of right labels on the rows with a truth.
    fn accuracy(&self, fit: &Fit, coder: usize) -> Option<Statistic> {
        let accuracy = fit.accuracy.as_ref()?[coder];
        if accuracy.of == 0 {
            let mut none = fit.statistic("accuracy", [Some(coder), None, None], None);
            none.add_note("no row has both its label and a truth, so it counts as right in every second row");
            return Some(Statistic { n: 0, ..none });
        }
        let share = accuracy.right as f64 / accuracy.of as f64;
        let z = reach(self.confidence);
        Some(Statistic {
            std_error: Some((share * (1.0 - share) / accuracy.of as f64).sqrt()),
            interval: Some(wilson_at(share, accuracy.of as f64, z)),
            n: accuracy.of,
            left_out: 0,
            method: Some("wilson"),
            ..fit.statistic("accuracy", [Some(coder), None, None], Some(share))
        })
    }
}

impl Fit {
    fn statistic(
        &self,
        name: &'static str,
        [coder, truth, label]: [Option<usize>; 3],
        estimate: Option<f64>,
    ) -> Statistic {
        let text = |label: Option<usize>| label.map(|label| self.labels[label].clone());
        Statistic {
            name,
            of: vec![coder.map(|coder| self.coders[coder].clone()), text(truth), text(label)],
            estimate,
            n: coder.map_or(self.n, |coder| self.votes[coder]),
            left_out: self.left_out,
            ..Statistic::default()
        }
    }

    /// How the fit of a model ended.
    fn model(&self) -> Vec<Statistic> {
        let Some(model) = &self.model else { return Vec::new() };
        let mut likelihood = self.statistic("log_likelihood", [None; 3], Some(model.log_likelihood));
        if !model.converged {
            likelihood.add_note("the fit has not converged");
        }
        vec![likelihood, self.statistic("iterations", [None; 3], Some(model.iterations as f64))]
    }
}
