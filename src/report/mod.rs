//! Reports: what a finished run says, made from its manifest (`summary`), its tables (`preview`, and `verdict`, what the
//! spec's tests say about them) and its lock (`drift`); what differs between two (`diff`). Pure.

pub mod diff;
pub mod drift;
mod interval;
pub mod preview;
pub mod printable;
pub mod summary;
pub mod verdict;
