//! Inference: runs a model in the process (Cargo feature `embedded`).

mod cache;
mod chat;
mod engine;
mod enum_scores;
mod family;
mod gguf;
mod grammar;
mod linear;
mod model;
mod process;
mod rotation;
mod sampling;
mod sentencepiece;
mod sequence;
#[cfg(test)]
mod tests;
mod transformer;
mod vocabulary;

pub(crate) use process::{Process, examine};

const KIND: &str = "embedded";

/// The version of the answers: to be raised whenever the same call to the same weights is answered differently.
const ENGINE: &str = "candle-0.11.1/1";
