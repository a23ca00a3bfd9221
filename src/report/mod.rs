//! Reports: what the commands show, as text for people (`Display`) and as JSON for programs (`Serialize`).
//!
//! One file per command. `verdict` runs the tests of a spec; the other files do not read or write anything but the first
//! rows of a table (`preview`).

mod audit;
pub mod bench;
pub mod diagnostics;
pub mod diff;
pub mod drift;
pub mod explanation;
mod freshness;
mod grid;
pub mod ledger;
pub mod models;
pub mod numbers;
pub mod plan;
pub mod population;
pub mod preview;
pub mod printable;
pub mod status;
pub mod summary;
pub mod test_results;
pub mod verdict;
pub mod verification;
