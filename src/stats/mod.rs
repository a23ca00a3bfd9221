//! Statistics: estimates, intervals and tests over counts and samples. Pure; each function names the source of its formula.

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
