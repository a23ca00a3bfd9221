//! Estimates from labels by a machine and by people: the naive one, the one from the gold rows, design-based supervised
//! learning and prediction-powered inference.
//!
//! All are means or regressions with a sandwich covariance. Without clusters it is HC0, but HC1 for [`Method::Dsl`], as
//! in the reference numbers; with clusters it is CR1.

use nalgebra::DMatrix;

use super::regression::{Gradients, Link, gram, inverse, sandwich};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Naive,
    GoldOnly,
    Dsl,
    Ppi,
    /// The weight of the machine's labels is tuned.
    PpiTuned,
}

impl Method {
    /// The form of the covariance without clusters.
    pub(crate) fn variance(self) -> &'static str {
        if self == Method::Dsl { "HC1" } else { "HC0" }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    Mean,
    Regression(Link),
}

impl Model {
    fn link(self) -> Link {
        match self {
            Model::Mean => Link::Identity,
            Model::Regression(link) => link,
        }
    }
}

/// The rows of an estimate. The columns of `x` are the predictors with the intercept; no column is a combination of
/// others.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) x: DMatrix<f64>,
    pub(crate) machine: Vec<f64>,
    pub(crate) gold: Vec<Option<f64>>,
    /// The probabilities of inclusion; only those of gold rows are read.
    pub(crate) probability: Vec<f64>,
    /// The cluster of each row, from 0.
    pub(crate) clusters: Option<Vec<usize>>,
}

#[derive(Debug)]
pub(crate) struct Fit {
    pub(crate) coefficients: Vec<f64>,
    pub(crate) std_errors: Vec<f64>,
    /// Rows that are used.
    pub(crate) n: usize,
    /// The weight of the machine's labels in [`Method::PpiTuned`].
    pub(crate) lambda: Option<f64>,
    /// For each number of codes asked for, the standard errors to expect.
    pub(crate) expected: Vec<Vec<f64>>,
}

/// Why there is no estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Undefined {
    /// The coefficients are infinite, or the predictors collinear in the rows that are used.
    Separated,
    /// There are not more rows than coefficients, or none without gold.
    TooFew,
    FewClusters,
}

/// The part of a row in the gradient, without `x`: for each row, the outcome and its weight.
type Outcomes = (Vec<f64>, Vec<f64>);

impl Rows {
    fn len(&self) -> usize {
        self.machine.len()
    }

    fn golden(&self) -> impl Iterator<Item = (usize, f64)> {
        self.gold.iter().enumerate().filter_map(|(i, gold)| Some((i, (*gold)?)))
    }

    /// Estimates the coefficients, and the standard errors to expect with each number of gold rows in `power`.
    pub(crate) fn estimate(&self, model: Model, method: Method, power: &[usize]) -> Result<Fit, Undefined> {
        let gold = self.golden().count();
        let used = if method == Method::GoldOnly { gold } else { self.len() };
        let is_ppi = matches!(method, Method::Ppi | Method::PpiTuned);
        let least = if method == Method::Naive { used } else { gold };
        if least <= self.x.ncols() || (is_ppi && gold == self.len()) {
            return Err(Undefined::TooFew);
        }
        match method {
            Method::Naive => self.weighted(model, method, (self.machine.clone(), vec![1.0; used]), power),
            Method::GoldOnly => {
                let gold = self.only_gold();
                gold.weighted(model, method, gold.gold_outcomes(), power)
            }
            Method::Dsl => self.weighted(model, method, (self.pseudo_outcomes(), vec![1.0; used]), power),
            Method::Ppi => self.powered(model, 1.0, power).map(|(fit, _)| fit),
            Method::PpiTuned => {
                // As in `ppi_py`: once at the estimate of PPI, once at the estimate with the tuned weight.
                let (_, tuned) = self.powered(model, 1.0, &[])?;
                let (_, tuned) = self.powered(model, tuned, &[])?;
                let (fit, _) = self.powered(model, tuned, power)?;
                Ok(Fit { lambda: Some(tuned), ..fit })
            }
        }
    }

    fn only_gold(&self) -> Rows {
        let rows: Vec<usize> = self.golden().map(|(row, _)| row).collect();
        let numbers = |of: &[f64]| rows.iter().map(|row| of[*row]).collect();
        Rows {
            x: self.x.select_rows(&rows),
            machine: numbers(&self.machine),
            gold: rows.iter().map(|row| self.gold[*row]).collect(),
            probability: numbers(&self.probability),
            clusters: self.clusters.as_ref().map(|clusters| rows.iter().map(|row| clusters[*row]).collect()),
        }
    }

    fn gold_outcomes(&self) -> Outcomes {
        let (mut outcomes, mut weights) = (vec![0.0; self.len()], vec![0.0; self.len()]);
        for (i, gold) in self.golden() {
            (outcomes[i], weights[i]) = (gold, 1.0 / self.probability[i]);
        }
        (outcomes, weights)
    }

    /// `f + R / p (Y - f)`: Egami, Hinck, Stewart and Wei, Using imperfect surrogates for downstream inference (2023),
    /// <https://arxiv.org/abs/2306.04746>.
    fn pseudo_outcomes(&self) -> Vec<f64> {
        let mut outcomes = self.machine.clone();
        for (i, gold) in self.golden() {
            outcomes[i] += (gold - self.machine[i]) / self.probability[i];
        }
        outcomes
    }

    /// A weighted regression. Rows of weight 0 are not used.
    fn weighted(&self, model: Model, method: Method, (y, w): Outcomes, power: &[usize]) -> Result<Fit, Undefined> {
        let link = model.link();
        let targets: Vec<f64> = y.iter().zip(&w).map(|(y, w)| y * w).collect();
        let coefficients = link.fit(&self.x, &targets, &w).ok_or(Undefined::Separated)?;
        let bread = inverse(link.hessian(&self.x, &w, &coefficients)).ok_or(Undefined::Separated)?;
        let linear = &self.x * &coefficients;
        let scores = Gradients::new(&self.x, |i| targets[i] - w[i] * link.mean(linear[i]));
        let used: Vec<usize> = (0..self.len()).filter(|i| w[*i] > 0.0).collect();
        let factor = self.factor(&used, method == Method::Dsl)?;
        let covariance = sandwich(&bread, &scores, self.clusters.as_deref()) * factor;
        let gold = self.golden().count() as f64;
        let now = std_errors(&covariance);
        let robust = sandwich(&bread, &scores, None).diagonal();
        let expected = |codes: &usize| -> Vec<f64> {
            let simple = gold / *codes as f64;
            let more = (method == Method::Dsl).then(|| &bread * self.more_meat(gold, *codes as f64) * &bread);
            let ratio = |i: usize| match (&more, method) {
                (_, Method::Naive) => 1.0,
                // Clusters are assumed to change the error by the same factor.
                (Some(more), _) => Some(1.0 + more[(i, i)] / robust[i]).filter(|ratio| *ratio > 0.0).unwrap_or(simple),
                (None, _) => simple,
            };
            now.iter().enumerate().map(|(i, error)| error * ratio(i).sqrt()).collect()
        };
        Ok(Fit {
            std_errors: now.clone(),
            coefficients: coefficients.iter().copied().collect(),
            n: used.len(),
            lambda: None,
            expected: power.iter().map(expected).collect(),
        })
    }

    /// What the meat of the sandwich of DSL has more with `codes` instead of `gold` gold rows. The expected square of
    /// the pseudo-outcome's residual is `(Y - mean)^2 + (1 / p - 1) (Y - f)^2`, and only `p` changes. The authors'
    /// package `dsl` computes the same in `power_dsl`.
    fn more_meat(&self, gold: f64, codes: f64) -> DMatrix<f64> {
        let mut weights = vec![0.0; self.len()];
        for (i, y) in self.golden() {
            let now = self.probability[i];
            let then = (now * codes / gold).min(1.0);
            weights[i] = (1.0 / then - 1.0 / now) / now * (y - self.machine[i]).powi(2);
        }
        gram(&self.x, |i| weights[i])
    }

    /// The correction of the covariance for few rows or clusters (MacKinnon and White, Journal of Econometrics 29 (1985)
    /// 305-325; Cameron and Miller, Journal of Human Resources 50 (2015) 317-372).
    fn factor(&self, used: &[usize], small: bool) -> Result<f64, Undefined> {
        let (n, k) = (used.len() as f64, self.x.ncols() as f64);
        let Some(clusters) = &self.clusters else { return Ok(if small { n / (n - k) } else { 1.0 }) };
        let mut groups: Vec<usize> = used.iter().map(|i| clusters[*i]).collect();
        groups.sort_unstable();
        groups.dedup();
        let g = groups.len() as f64;
        if groups.len() < 2 { Err(Undefined::FewClusters) } else { Ok(g / (g - 1.0) * (n - 1.0) / (n - k)) }
    }

    /// Prediction-powered inference with the weight `lambda` of the machine's labels, and the tuned weight: Angelopoulos
    /// et al., Science 382 (2023) 669-674; Angelopoulos, Duchi and Zrnic, PPI++ (2023), <https://arxiv.org/abs/2311.01453>.
    ///
    /// With equal probabilities of inclusion the machine's part is over the rows without gold, as in `ppi_py`; with
    /// unequal ones gold rows have the weight `1 / p`, and the machine's part is over all rows.
    fn powered(&self, model: Model, lambda: f64, power: &[usize]) -> Result<(Fit, f64), Undefined> {
        let Parts { gold, machine, n, m } = &self.parts();
        let link = model.link();
        let gold_outcomes = |of: &dyn Fn(usize, f64) -> f64| {
            let mut outcomes = vec![0.0; self.len()];
            self.golden().for_each(|(i, y)| outcomes[i] = gold[i] * of(i, y));
            outcomes
        };
        let difference = gold_outcomes(&|i, y| y - lambda * self.machine[i]);
        let machine_targets: Vec<f64> = (0..self.len()).map(|i| lambda * machine[i] * self.machine[i]).collect();
        let sum =
            |a: &[f64], b: &[f64], factor: f64| a.iter().zip(b).map(|(a, b)| a + factor * b).collect::<Vec<f64>>();
        let coefficients = match link {
            // The sum of two regressions, as `ppi_py` does.
            Link::Identity => link
                .fit(&self.x, &difference, gold)
                .zip(link.fit(&self.x, &machine_targets, machine))
                .map(|(rectifier, imputed)| rectifier + imputed),
            Link::Logit => {
                let weights: Vec<f64> =
                    gold.iter().zip(machine).map(|(g, m)| (1.0 - lambda) * g + lambda * m).collect();
                link.fit(&self.x, &sum(&difference, &machine_targets, 1.0), &weights)
            }
        };
        let coefficients = coefficients.ok_or(Undefined::Separated)?;
        let means: Vec<f64> = (&self.x * &coefficients).iter().map(|linear| link.mean(*linear)).collect();
        let all: Vec<f64> = match model {
            Model::Mean => vec![1.0 / self.len() as f64; self.len()],
            Model::Regression(_) => self.pooled(gold, machine, *n, *m),
        };
        let bread = inverse(link.hessian(&self.x, &all, &coefficients)).ok_or(Undefined::Separated)?;
        // The gradients in the gold rows by gold and by machine, and those in the machine's rows; each sums to a mean.
        let gradients = |factor: &dyn Fn(usize) -> f64| Gradients::new(&self.x, factor);
        let by_gold = gradients(&|i| gold[i] * self.gold[i].map_or(0.0, |y| y - means[i]));
        let by_machine = gradients(&|i| gold[i] * (self.machine[i] - means[i]));
        let imputed = gradients(&|i| machine[i] * (self.machine[i] - means[i]));
        let apart = by_machine.sum() - imputed.sum();
        let (by_gold, by_machine) = (by_gold.centred(gold), by_machine.centred(gold));
        let imputed = imputed.centred(machine);
        // The variance of the machine's gradients in both parts together. A row holds 1 / n or 1 / m of its gradient.
        let between = apart.tr_mul(&apart) * (n * m / (n + m));
        let squares = by_machine.product(&by_machine) * (n * n) + imputed.product(&imputed) * (m * m) + between;
        let tuned = tuned(&bread, by_gold.product(&by_machine) * *n, squares / (n + m - 1.0), n / m);
        let rectified = by_gold.plus(&by_machine, -lambda);
        // `ppi_py` divides by n for a mean, and by n - 1 for a regression.
        let small = |n: f64| if model == Model::Mean || self.clusters.is_some() { 1.0 } else { (n / (n - 1.0)).sqrt() };
        let used: Vec<usize> = (0..self.len()).collect();
        let factor = self.factor(&used, false)?;
        let covariance = |codes: f64| {
            // Rows that are coded too leave the machine's part, unless it is over all rows.
            let rest = if *m == self.len() as f64 { *m } else { *n + *m - codes };
            let scores = rectified.clone().times(small(*n) * (*n / codes).sqrt());
            let scores = scores.plus(&imputed, lambda * small(*m) * (*m / rest).sqrt());
            sandwich(&bread, &scores, self.clusters.as_deref()) * factor
        };
        let expected = |codes: &usize| match *codes < self.len() {
            true => std_errors(&covariance(*codes as f64)),
            false => vec![f64::NAN; self.x.ncols()],
        };
        let fit = Fit {
            coefficients: coefficients.iter().copied().collect(),
            std_errors: expected(&(*n as usize)),
            n: self.len(),
            lambda: None,
            expected: power.iter().map(expected).collect(),
        };
        Ok((fit, tuned))
    }

    fn parts(&self) -> Parts {
        let n = self.golden().count() as f64;
        let (low, high) = self.golden().fold((f64::INFINITY, 0.0_f64), |(low, high), (i, _)| {
            (low.min(self.probability[i]), high.max(self.probability[i]))
        });
        let is_equal = high - low <= 1e-9 * high;
        let total: f64 = self.golden().map(|(i, _)| 1.0 / self.probability[i]).sum();
        let mut gold = vec![0.0; self.len()];
        self.golden().for_each(|(i, _)| gold[i] = 1.0 / self.probability[i] / total);
        let m = if is_equal { self.len() as f64 - n } else { self.len() as f64 };
        let machine = self.gold.iter().map(|gold| if is_equal && gold.is_some() { 0.0 } else { 1.0 / m }).collect();
        Parts { gold, machine, n, m }
    }

    /// The weights of the rows in the Hessian: those of both parts together.
    fn pooled(&self, gold: &[f64], machine: &[f64], n: f64, m: f64) -> Vec<f64> {
        match m == self.len() as f64 {
            true => machine.to_vec(),
            false => gold.iter().zip(machine).map(|(g, w)| (g * n + w * m) / (n + m)).collect(),
        }
    }
}

/// The two parts of prediction-powered inference: the weights of the rows in each, which sum to 1, and their numbers.
struct Parts {
    gold: Vec<f64>,
    machine: Vec<f64>,
    n: f64,
    m: f64,
}

/// The weight of the machine's labels with the smallest total variance, from 0 to 1 (PPI++, proposition 2). `together` is
/// the covariance of the gradients by gold and by machine, `pooled` the variance of those by machine, and `ratio` the
/// number of gold rows for each other row.
fn tuned(bread: &DMatrix<f64>, together: DMatrix<f64>, pooled: DMatrix<f64>, ratio: f64) -> f64 {
    let trace = |square: DMatrix<f64>| (bread * square * bread).trace();
    let (together, pooled) = (trace(together), trace(pooled));
    if pooled > 0.0 { (together / ((1.0 + ratio) * pooled)).clamp(0.0, 1.0) } else { 0.0 }
}

fn std_errors(covariance: &DMatrix<f64>) -> Vec<f64> {
    covariance.diagonal().iter().map(|variance| variance.max(0.0).sqrt()).collect()
}

#[cfg(test)]
mod tests;
