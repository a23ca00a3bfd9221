//! Reports: what a finished run says, made from its manifest (`summary`), its tables (`preview`) its lock (`drift`) and its calls (`explanation`).
//! Pure.

pub mod drift;
pub mod explanation;
mod interval;
pub mod preview;
pub mod printable;
pub mod summary;
