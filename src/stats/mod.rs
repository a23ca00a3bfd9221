//! Statistics: estimates, intervals and tests over counts and samples. Pure; each function names the source of its
//! formula.

mod agreement;
mod bootstrap;
mod interval;
mod mcnemar;
mod normal;
mod quantile;

pub(crate) use agreement::{alpha, kappa};
pub(crate) use bootstrap::{Bootstrap, Spread, Units};
pub(crate) use interval::{wilson, wilson_of_share};
pub(crate) use mcnemar::mcnemar;
pub(crate) use quantile::nearest_rank;
