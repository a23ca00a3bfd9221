//! Reports: what a finished run says, made from its manifest (`summary`) and its tables (`preview`). Pure.

mod interval;
pub mod preview;
pub mod printable;
pub mod summary;
