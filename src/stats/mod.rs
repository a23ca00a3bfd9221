//! Statistics: estimates, intervals and tests over counts and samples. Pure; each function names the source of its formula.
//!
//! - `agreement`: Cohen's kappa
//! - `bootstrap`: percentile bootstrap intervals
//! - `interval`: Wilson intervals of shares
//! - `mcnemar`: McNemar's test of paired answers
//! - `quantile`: percentiles by nearest rank

mod agreement;
mod bootstrap;
mod interval;
mod mcnemar;
mod quantile;

pub use agreement::kappa;
pub use bootstrap::bootstrap;
pub use interval::wilson;
pub use mcnemar::mcnemar;
pub use quantile::nearest_rank;
