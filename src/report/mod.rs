//! Reports: what a finished run says, made from its manifest. Pure.

pub mod summary;
