//! Reports: what the commands show, as text for people (`Display`) and as JSON for programs (`Serialize`).
//!
//! One file per command. `verdict` runs the tests of a spec; the other files do not read or write anything but the first
//! rows of a table (`preview`).

mod audit;
pub(crate) mod bench;
pub(crate) mod diagnostics;
pub(crate) mod diff;
pub(crate) mod drift;
pub(crate) mod explanation;
mod freshness;
mod grid;
pub(crate) mod ledger;
pub(crate) mod models;
pub(crate) mod numbers;
pub(crate) mod plan;
pub(crate) mod population;
pub(crate) mod preview;
pub(crate) mod printable;
pub(crate) mod status;
pub(crate) mod summary;
pub(crate) mod test_results;
pub(crate) mod verdict;
pub(crate) mod verification;
