//! Statistics: estimates, intervals and tests over counts and samples. Pure; each function names the source of its
//! formula.

mod agreement;
mod bootstrap;
mod correction;
mod interval;
mod mcnemar;
mod normal;
mod quantile;
mod regression;
mod sampling;
mod student;

pub(crate) use agreement::{Chance, Codes, Distance, Scale, View, alpha, kappa, masi};
pub(crate) use bootstrap::{Bootstrap, Spread, Units};
pub(crate) use correction::{Fit, Method, Model, Rows, Undefined};
pub(crate) use interval::{wilson, wilson_of_share};
pub(crate) use mcnemar::mcnemar;
pub(crate) use normal::reach;
pub(crate) use quantile::nearest_rank;
pub(crate) use regression::{Collinear, Link, collinear};
pub(crate) use sampling::{allocation, inclusion, parts, sampford, systematic};
pub(crate) use student::student_reach;
