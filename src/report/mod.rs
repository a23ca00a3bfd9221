//! Reports: what a finished run says, made from its manifest (`summary`) and its tables (`preview`, and `verdict`, what the
//! spec's tests say about them).

mod interval;
pub mod preview;
pub mod printable;
pub mod summary;
pub mod verdict;
