//! Numeric distributions, with bounds and rounding. One uniform draw makes one number.
//!
//! To add a distribution: a variant of [`Shape`], its checks, and its quantile.

use std::f64::consts::SQRT_2;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use statrs::function::beta::beta_reg;
use statrs::function::erf::{erfc, erfc_inv};
use statrs::function::gamma::gamma_ur;

use crate::document::{self, Node, Path, Problems};

/// The largest number of steps of `decimals` that a 64-bit floating point number represents exactly.
const MOST_STEPS: f64 = 9_007_199_254_740_992.0;
/// The least share of a normal distribution that must be within its bounds.
const LEAST_MASS: f64 = 1e-12;
/// Half a step of a uniform draw. It replaces a draw of 0, whose normal quantile is infinite.
const HALF_STEP: f64 = 1.0 / (1_u64 << 54) as f64;

/// The shape of a distribution of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shape {
    /// All numbers from `minimum` to `maximum`, equally likely.
    Uniform,
    /// A normal distribution with `mean` and `sd`, truncated at `minimum` and `maximum` if they are set.
    Normal,
    /// Numbers from `minimum` to `maximum`, of which `mode` is the likeliest.
    Triangular,
    /// A beta distribution with `alpha` and `beta`, from `minimum` (default 0) to `maximum` (default 1).
    Beta,
    /// Whole numbers, such as counts, with this `mean`.
    Poisson,
}

/// The largest mean of a Poisson distribution.
const MOST_MEAN: f64 = 1e6;

/// A distribution of numbers, instead of a list or a table of weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Numeric {
    /// `uniform`, `normal`, `triangular`, `beta` or `poisson`.
    #[serde(rename(deserialize = "distribution"))]
    shape: Shape,
    /// Normal: the mean before truncation. Poisson: the mean, above 0 and at most 1,000,000.
    #[serde(serialize_with = "or_zero")]
    mean: Option<f64>,
    /// Normal: the standard deviation before truncation, above 0.
    #[serde(serialize_with = "or_zero")]
    sd: Option<f64>,
    /// Triangular: the likeliest number.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<f64>,
    /// Beta: the first shape parameter, from 0.01 to 10,000. The mean of numbers from 0 to 1 is
    /// alpha / (alpha + beta).
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    /// Beta: the second shape parameter, from 0.01 to 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    beta: Option<f64>,
    /// The smallest number. Required for a uniform or triangular distribution.
    minimum: Option<f64>,
    /// The largest number. Required for a uniform or triangular distribution.
    maximum: Option<f64>,
    /// Decimals to round to, 0 to 15; with 0 the column contains whole numbers. A uniform distribution then draws from
    /// all rounded numbers in the bounds with equal probability. Other numbers are drawn, then rounded, and stay in the
    /// bounds. A Poisson distribution has whole numbers anyway.
    decimals: Option<u32>,
}

impl Numeric {
    pub(crate) fn decode(node: &Node, path: &Path, problems: &mut Problems) -> Option<Numeric> {
        let numeric: Numeric = document::decode(node, path, problems)?;
        let before = problems.mark();
        numeric.check_fields(path, problems);
        if problems.clean_since(before) {
            numeric.check(path, problems);
        }
        problems.clean_since(before).then_some(numeric)
    }

    fn check_fields(&self, path: &Path, problems: &mut Problems) {
        let values = [
            ("mean", self.mean),
            ("sd", self.sd),
            ("mode", self.mode),
            ("alpha", self.alpha),
            ("beta", self.beta),
            ("minimum", self.minimum),
            ("maximum", self.maximum),
            ("decimals", self.decimals.map(f64::from)),
        ];
        let is_set = |field: &str| values.iter().any(|(name, value)| *name == field && value.is_some());
        let mut wrong = |key: &str, message: &str| {
            problems.error("bad-value", path.key(key), message);
        };
        if self.sd.is_some_and(|sd| sd <= 0.0) {
            wrong("sd", "`sd` must be above 0");
        }
        if self.decimals.is_some_and(|decimals| decimals > 15) {
            wrong("decimals", "`decimals` must be at most 15");
        }
        let is_beta = self.shape == Shape::Beta;
        let least = self.minimum.or(is_beta.then_some(0.0));
        let most = self.maximum.or(is_beta.then_some(1.0));
        if least.zip(most).is_some_and(|(least, most)| least >= most) {
            wrong("minimum", "`minimum` must be below `maximum`");
        }
        for (key, value) in [("alpha", self.alpha), ("beta", self.beta)] {
            if value.is_some_and(|value| !(0.01..=1e4).contains(&value)) {
                wrong(key, &format!("`{key}` must be from 0.01 to 10,000"));
            }
        }
        if self.shape == Shape::Poisson && self.mean.is_some_and(|mean| !(mean > 0.0 && mean <= MOST_MEAN)) {
            wrong("mean", "`mean` of a poisson distribution must be above 0 and at most 1,000,000");
        }
        let bounds = self.minimum.zip(self.maximum);
        if bounds.zip(self.mode).is_some_and(|((least, most), mode)| mode < least || mode > most) {
            wrong("mode", "`mode` must be between `minimum` and `maximum`");
        }
        let (name, needed, allowed) = self.shape.fields();
        let unused = values.iter().map(|(field, _)| field).filter(|field| ![needed, allowed].concat().contains(field));
        for field in needed.iter().filter(|field| !is_set(field)) {
            let message = format!("`{field}` is missing: a {name} distribution needs it");
            problems.error("missing-field", path.clone(), message);
        }
        for field in unused.filter(|field| is_set(field)) {
            let message = format!("`{field}` does not apply to a {name} distribution");
            problems.error_at_key("unused-field", path.key(field), message).help("remove it");
        }
    }

    fn check(&self, path: &Path, problems: &mut Problems) {
        if let Some(decimals) = self.decimals {
            let (mean, sd) = self.mean_and_sd();
            let ends = [self.minimum, self.maximum, Some(mean.abs() + 10.0 * sd)];
            if ends.into_iter().flatten().any(|end| end.abs() * scale(decimals) > MOST_STEPS) {
                let message = format!("numbers so large have no {decimals} decimals in 64 bits");
                problems.error("bad-value", path.key("decimals"), message);
                return;
            }
            let (least, most) = self.steps(decimals);
            if least > most {
                let message = "no number between `minimum` and `maximum` has this number of decimals";
                problems.error("bad-value", path.key("decimals"), message);
            }
        }
        if self.shape == Shape::Normal {
            let (low, high, _) = self.tails();
            if high - low < LEAST_MASS {
                let message = "`minimum` and `maximum` leave nothing of the normal distribution";
                problems.error("bad-value", path.clone(), message).help("check `mean` and `sd`");
            }
        }
    }

    fn mean_and_sd(&self) -> (f64, f64) {
        (self.mean.unwrap_or_default(), self.sd.unwrap_or_default())
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.decimals == Some(0) || self.shape == Shape::Poisson
    }

    /// The number for a uniform draw in [0, 1).
    pub(crate) fn at(&self, unit: f64) -> f64 {
        match (self.shape, self.decimals) {
            (Shape::Uniform, Some(decimals)) => {
                let (least, most) = self.steps(decimals);
                (least + (unit * (most - least + 1.0)).floor()).min(most) / scale(decimals)
            }
            (_, None) => self.quantile(unit),
            (_, Some(decimals)) => {
                let (least, most) = self.steps(decimals);
                // Adding 0 turns -0 into 0.
                (self.quantile(unit) * scale(decimals)).round().clamp(least, most) / scale(decimals) + 0.0
            }
        }
    }

    /// The number below which the share `unit` of the distribution is.
    fn quantile(&self, unit: f64) -> f64 {
        let (least, most) = (self.minimum.unwrap_or(0.0), self.maximum.unwrap_or(1.0));
        match self.shape {
            Shape::Uniform => (least * (1.0 - unit) + most * unit).clamp(least, most),
            Shape::Normal => self.normal(unit),
            Shape::Triangular => triangular(unit, [least, self.mode.unwrap_or(least), most]),
            Shape::Beta => {
                let share = beta(unit, self.alpha.unwrap_or(1.0), self.beta.unwrap_or(1.0));
                (least + share * (most - least)).clamp(least, most)
            }
            Shape::Poisson => poisson(unit, self.mean.unwrap_or_default()),
        }
    }

    /// The first and the last multiple of the smallest step within the bounds, in steps.
    fn steps(&self, decimals: u32) -> (f64, f64) {
        // A bound such as 0.1 is not exact in binary; the multiple at the bound counts as inside.
        let least = self.minimum.map_or(f64::NEG_INFINITY, |least| (least * scale(decimals) - 1e-6).ceil());
        (least, self.maximum.map_or(f64::INFINITY, |most| (most * scale(decimals) + 1e-6).floor()))
    }

    /// The truncated normal quantile (inverse CDF).
    fn normal(&self, unit: f64) -> f64 {
        let (low, high, mirrored) = self.tails();
        let unit = unit.max(HALF_STEP);
        let share = if mirrored { high - unit * (high - low) } else { low + unit * (high - low) };
        // The quantile of `share`, in standard deviations: accurate in the lower tail.
        let deviations = -SQRT_2 * erfc_inv(2.0 * share);
        let (mean, sd) = self.mean_and_sd();
        let number = mean + sd * if mirrored { -deviations } else { deviations };
        number.max(self.minimum.unwrap_or(f64::NEG_INFINITY)).min(self.maximum.unwrap_or(f64::INFINITY))
    }

    /// The shares of the normal distribution below the two bounds. With `true`, the shares above them, for two bounds
    /// above the mean, where shares below lose precision.
    fn tails(&self) -> (f64, f64, bool) {
        let below = |deviations: f64| erfc(-deviations / SQRT_2) / 2.0;
        let (mean, sd) = self.mean_and_sd();
        let deviations = |bound: f64| (bound - mean) / sd;
        let least = self.minimum.map_or(f64::NEG_INFINITY, deviations);
        let most = self.maximum.map_or(f64::INFINITY, deviations);
        if least > 0.0 { (below(-most), below(-least), true) } else { (below(least), below(most), false) }
    }
}

impl Shape {
    /// The name, the fields that it needs, and the fields that it may have.
    fn fields(self) -> (&'static str, &'static [&'static str], &'static [&'static str]) {
        match self {
            Shape::Uniform => ("uniform", &["minimum", "maximum"], &["decimals"]),
            Shape::Normal => ("normal", &["mean", "sd"], &["minimum", "maximum", "decimals"]),
            Shape::Triangular => ("triangular", &["minimum", "mode", "maximum"], &["decimals"]),
            Shape::Beta => ("beta", &["alpha", "beta"], &["minimum", "maximum", "decimals"]),
            Shape::Poisson => ("poisson", &["mean"], &[]),
        }
    }
}

/// The quantile of the triangular distribution with these corners: least, likeliest and largest number.
fn triangular(unit: f64, [least, mode, most]: [f64; 3]) -> f64 {
    let (width, rise) = (most - least, mode - least);
    let number = match unit * width < rise {
        true => least + (unit * width * rise).sqrt(),
        false => most - ((1.0 - unit) * width * (most - mode)).sqrt(),
    };
    number.clamp(least, most)
}

/// The quantile of the beta distribution on 0 to 1, by bisection: unlike Newton's method, it never leaves the bounds.
fn beta(unit: f64, alpha: f64, beta: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if beta_reg(alpha, beta, middle) < unit { low = middle } else { high = middle }
    }
    if unit <= 0.0 { 0.0 } else { high }
}

/// The quantile of the Poisson distribution: the least count whose cumulative probability is above `unit`.
fn poisson(unit: f64, mean: f64) -> f64 {
    let is_above = |count: f64| gamma_ur(count + 1.0, mean) > unit;
    // No draw is further from the mean than 40 standard deviations and 40.
    let (mut low, mut high) = (-1.0, (mean + 40.0 * mean.sqrt() + 40.0).ceil());
    while high - low > 1.0 {
        let middle = ((low + high) / 2.0_f64).floor();
        if is_above(middle) { high = middle } else { low = middle }
    }
    high
}

fn or_zero<S: Serializer>(number: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(number.unwrap_or_default())
}

fn scale(decimals: u32) -> f64 {
    10_f64.powi(decimals.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, SpecFormat};

    fn try_decode(text: &str) -> Result<Numeric, Vec<String>> {
        let document = Document::parse("s.toml", text.to_owned(), SpecFormat::Toml).unwrap();
        let mut problems = Problems::default();
        let numeric = Numeric::decode(&document.root, &Path::root(), &mut problems);
        numeric.ok_or_else(|| problems.into_iter().map(|p| p.message).collect())
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
    }

    /// Quantiles of the normal distribution as in printed tables (Abramowitz and Stegun, 26.2).
    #[test]
    fn normal_quantiles() {
        let numeric = try_decode("distribution = 'normal'\nmean = 100\nsd = 15").unwrap();
        close(numeric.at(0.5), 100.0);
        close(numeric.at(0.975), 100.0 + 15.0 * 1.959_963_984_540_054);
        close(numeric.at(0.025), 100.0 - 15.0 * 1.959_963_984_540_054);
        assert!(numeric.at(0.0).is_finite() && numeric.at(1.0 - f64::EPSILON / 2.0).is_finite());
    }

    #[test]
    fn a_truncated_normal_keeps_its_bounds_and_its_quantiles() {
        // The median of a standard normal above 0 is its 75 % quantile, also when mirrored.
        let upper = try_decode("distribution = 'normal'\nmean = 0\nsd = 1\nminimum = 0").unwrap();
        close(upper.at(0.5), 0.674_489_750_196_081_7);
        let lower = try_decode("distribution = 'normal'\nmean = 0\nsd = 1\nmaximum = 0").unwrap();
        close(lower.at(0.5), -0.674_489_750_196_081_7);
        // Far out: between 6 and 7 deviations the numbers still grow with the draw and keep the bounds.
        let far = try_decode("distribution = 'normal'\nmean = 0\nsd = 1\nminimum = 6\nmaximum = 7").unwrap();
        let numbers = [0.0, 0.25, 0.5, 0.75, 0.999_999].map(|unit| far.at(unit));
        assert!(
            numbers.is_sorted() && numbers[0] >= 6.0 && numbers[4] <= 7.0 && numbers[0] < numbers[4],
            "{numbers:?}"
        );
        close(far.at(0.0), 6.0);
    }

    #[test]
    fn rounded_uniform_numbers_are_equally_likely() {
        let dice = try_decode("distribution = 'uniform'\nminimum = 1\nmaximum = 6\ndecimals = 0").unwrap();
        let mut sides = [0; 6];
        for i in 0..600 {
            sides[dice.at(f64::from(i) / 600.0) as usize - 1] += 1;
        }
        assert_eq!(sides, [100; 6]);
        let tenths = try_decode("distribution = 'uniform'\nminimum = 0.1\nmaximum = 0.3\ndecimals = 1").unwrap();
        assert_eq!([0.0, 0.5, 0.99].map(|unit| tenths.at(unit)), [0.1, 0.2, 0.3]);
        let plain = try_decode("distribution = 'uniform'\nminimum = -1\nmaximum = 1").unwrap();
        assert_eq!([0.0, 0.5, 0.75].map(|unit| plain.at(unit)), [-1.0, 0.0, 0.5]);
    }

    #[test]
    fn rounding_stays_in_the_bounds() {
        let numeric =
            try_decode("distribution = 'normal'\nmean = 0\nsd = 9\nminimum = -0.4\nmaximum = 2.6\ndecimals = 0")
                .unwrap();
        let found: Vec<f64> = (0..100).map(|i| numeric.at(f64::from(i) / 100.0)).collect();
        assert_eq!((found[0], found[99]), (0.0, 2.0));
        assert!(found[0].is_sign_positive());
    }

    /// Means of many quantiles, and single ones from the closed forms.
    #[test]
    fn the_other_shapes_have_their_quantiles() {
        let mean = |numeric: &Numeric| (0..10_000).map(|i| numeric.at((f64::from(i) + 0.5) / 1e4)).sum::<f64>() / 1e4;
        let triangular = try_decode("distribution = 'triangular'\nminimum = 0\nmode = 3\nmaximum = 6").unwrap();
        close(triangular.at(0.5), 3.0);
        close(triangular.at(0.125), 1.5);
        assert!((mean(&triangular) - 3.0).abs() < 1e-3 && triangular.at(0.0) == 0.0);
        let corner = try_decode("distribution = 'triangular'\nminimum = 1\nmode = 1\nmaximum = 3").unwrap();
        close(corner.at(0.75), 2.0);
        let beta = try_decode("distribution = 'beta'\nalpha = 2\nbeta = 1\nminimum = 10\nmaximum = 20").unwrap();
        // The quantile of beta(2, 1) is a square root.
        assert!((beta.at(0.25) - 15.0).abs() < 1e-6);
        assert!((mean(&beta) - (10.0 + 20.0 / 3.0)).abs() < 1e-2 && beta.at(0.0) == 10.0);
        let rounded = try_decode("distribution = 'beta'\nalpha = 0.5\nbeta = 0.5\ndecimals = 2").unwrap();
        assert!((0..=20).map(|i| rounded.at(f64::from(i) / 20.0)).all(|n| (0.0..=1.0).contains(&n)));
        for (alpha, beta) in [("1e4", "1e4"), ("0.01", "0.01"), ("0.01", "1e4"), ("1", "1")] {
            let extreme = try_decode(&format!("distribution = 'beta'\nalpha = {alpha}\nbeta = {beta}")).unwrap();
            let numbers: Vec<f64> = (0..50).map(|i| extreme.at(f64::from(i) / 50.0)).collect();
            assert!(numbers.is_sorted() && numbers[0] >= 0.0 && numbers[49] <= 1.0, "{alpha} {beta}: {numbers:?}");
        }
        let poisson = try_decode("distribution = 'poisson'\nmean = 2").unwrap();
        // The probabilities of 0 and 1 are exp(-2) = 0.1353 and 0.2707.
        assert_eq!([0.0, 0.135, 0.136, 0.405, 0.407].map(|unit| poisson.at(unit)), [0.0, 0.0, 1.0, 1.0, 2.0]);
        assert!(poisson.is_whole() && (mean(&poisson) - 2.0).abs() < 1e-2);
        let large = try_decode("distribution = 'poisson'\nmean = 100000").unwrap();
        assert!((large.at(0.5) - 1e5).abs() <= 1.0 && large.at(1.0 - f64::EPSILON / 2.0) < 103_000.0);
    }

    #[test]
    fn what_is_wrong_is_said_at_once() {
        for (text, message) in [
            (
                "distribution = 'poisson'\nmean = 0",
                "`mean` of a poisson distribution must be above 0 and at most 1,000,000",
            ),
            ("distribution = 'poisson'\nmean = 1\ndecimals = 0", "`decimals` does not apply to a poisson distribution"),
            ("distribution = 'beta'\nalpha = -1\nbeta = 1", "`alpha` must be from 0.01 to 10,000"),
            ("distribution = 'beta'\nalpha = 1", "`beta` is missing: a beta distribution needs it"),
            (
                "distribution = 'triangular'\nminimum = 0\nmode = 9\nmaximum = 6",
                "`mode` must be between `minimum` and `maximum`",
            ),
            ("distribution = 'normal'\nmean = 1\nsd = 1\nmode = 1", "`mode` does not apply to a normal distribution"),
        ] {
            assert_eq!(try_decode(text).unwrap_err(), [message], "{text}");
        }
        let found = try_decode("distribution = 'normal'\nsd = 0\nminimum = 3\nmaximum = 2").unwrap_err();
        let expected = ["`sd` must be above 0", "`minimum` must be below `maximum`"];
        assert_eq!(found[..2], expected);
        assert_eq!(found[2], "`mean` is missing: a normal distribution needs it");
        assert_eq!(try_decode("distribution = 'uniform'\nmean = 1").unwrap_err().len(), 3);
        assert_eq!(
            try_decode("distribution = 'normal'\nmean = 0\nsd = 1\nminimum = 40").unwrap_err(),
            ["`minimum` and `maximum` leave nothing of the normal distribution"]
        );
        assert_eq!(
            try_decode("distribution = 'uniform'\nminimum = 0.2\nmaximum = 0.8\ndecimals = 0").unwrap_err(),
            ["no number between `minimum` and `maximum` has this number of decimals"]
        );
        assert_eq!(
            try_decode("distribution = 'uniform'\nminimum = 0\nmaximum = 1e6\ndecimals = 12").unwrap_err(),
            ["numbers so large have no 12 decimals in 64 bits"]
        );
    }
}
