//! Columnar files: Parquet and Arrow, whose columns are Arrow arrays already.

mod arrays;
pub(crate) mod ipc;
mod pages;
pub(crate) mod parquet;
