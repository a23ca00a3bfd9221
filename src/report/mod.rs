//! Reports: format the results of the commands, as text for people (`Display`) and as JSON for programs (`Serialize`).
//!
//! Most commands have one file. `verdict` runs the tests of a spec and `preview` reads the first rows of a table. The
//! other files do no input or output.

pub(crate) mod batches;
pub(crate) mod bench;
mod changes;
pub(crate) mod clean;
pub(crate) mod colors;
pub(crate) mod columns;
pub(crate) mod diagnostics;
pub(crate) mod diff;
pub(crate) mod distributions;
pub(crate) mod drift;
pub(crate) mod explanation;
pub(crate) mod findings;
mod freshness;
mod import;
pub(crate) mod ledger;
pub(crate) mod mermaid;
pub(crate) mod models;
pub(crate) mod money;
mod packs;
pub(crate) mod plan;
pub(crate) mod population;
pub(crate) mod preview;
pub(crate) mod progress;
mod requests;
pub(crate) mod runs;
pub(crate) mod settings;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod summary;
pub(crate) mod table_files;
pub(crate) mod test_results;
pub(crate) mod text;
pub(crate) mod verdict;
pub(crate) mod verification;
pub(crate) mod wait;
pub(crate) mod wrap;
