//! Statistics: estimates, intervals and tests over counts and samples. Pure; each function names the source of its
//! formula.

mod agreement;
mod bootstrap;
mod interval;
mod mcnemar;
mod normal;
mod quantile;
mod student;

pub(crate) use agreement::{Chance, Codes, Distance, Scale, View, alpha, kappa, masi};
pub(crate) use bootstrap::{Bootstrap, Spread, Units};
pub(crate) use interval::{wilson, wilson_of_share};
pub(crate) use mcnemar::mcnemar;
pub(crate) use normal::reach;
pub(crate) use quantile::nearest_rank;
pub(crate) use student::student_reach;
