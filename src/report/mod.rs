//! Reports: what a finished run says, made from its manifest (`summary`, with `audit`), its tables (`preview`, and `verdict`,
//! what the spec's tests say about them), its lock (`drift`) and its calls (`explanation`); what differs between two (`diff`);
//! what measured calls say (`bench`). Pure.

mod audit;
pub mod bench;
pub mod diff;
pub mod drift;
pub mod explanation;
mod interval;
pub mod preview;
pub mod printable;
pub mod summary;
pub mod verdict;
