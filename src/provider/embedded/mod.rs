//! The embedded provider: a model of open weights that runs inside this process.

pub mod weights;
