//! Running a model: the Cargo feature `embedded`.
//!
//! A file (`gguf`) gives a vocabulary, a chat template, grammars and a transformer (`model`); `engine` answers calls with
//! it, several at a time, each of them a `sequence`; `process` is the provider that hands them over. Built on candle for
//! the arithmetic, `tokenizers` and `llguidance`; only the forward pass and the batching are our own.

mod body;
mod cache;
mod chat;
mod engine;
mod gguf;
mod grammar;
mod labels;
mod linear;
mod model;
mod process;
mod sampling;
mod sequence;
#[cfg(test)]
mod tests;
mod transformer;
mod vocabulary;

pub use process::Process;

/// What answers: to be raised whenever the same call to the same weights would be answered differently.
const ENGINE: &str = "candle-0.11.1/1";
