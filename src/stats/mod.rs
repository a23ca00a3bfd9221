//! Statistics: estimates, intervals and tests over counts and samples. Pure; each function names the source of its
//! formula.

mod agreement;
mod binomial;
mod bootstrap;
mod calibration;
mod classification;
mod correction;
mod dependence;
mod fidelity;
mod interval;
mod log_histogram;
mod mcnemar;
mod normal;
mod numeric;
mod quantile;
#[cfg(test)]
mod reference_tests;
mod regression;
mod sampling;
mod student;
mod votes;

pub(crate) use agreement::{Chance, Codes, Distance, NO_CODE, Scale, View, Weighted, alpha, kappa, masi};
pub(crate) use binomial::lower_bound;
pub(crate) use bootstrap::{Bootstrap, Units, in_parallel};
pub(crate) use calibration::{Forecast, Isotonic, Ranked, Scores, accuracy_by_coverage, temperature, tempered};
pub(crate) use classification::{Average, Confusion, Score, confusion_cells, weighted_share};
pub(crate) use correction::{Fit, Method, Model, Rows, Undefined};
pub(crate) use dependence::{Dependence, Positions, independence};
pub(crate) use fidelity::{
    correlation, jensen_shannon, mean_and_variance, rank_correlation, total_variation, wasserstein,
};
pub(crate) use interval::{wilson, wilson_at, wilson_of_share};
pub(crate) use log_histogram::LogHistogram;
pub(crate) use mcnemar::mcnemar;
pub(crate) use normal::reach;
pub(crate) use numeric::{Errors, errors};
pub(crate) use quantile::{interpolated, nearest_rank};
pub(crate) use regression::{Collinear, Link, collinear};
pub(crate) use sampling::{allocation, inclusion, parts, sampford, systematic};
pub(crate) use student::student_reach;
pub(crate) use votes::{
    DawidSkene, Matrices, Pattern, Tie, by_accuracy, dawid_skene, entropy, matrices, prior, shares, winner,
};
